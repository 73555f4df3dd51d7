"""Rules about names as plain values: what configuration reads and stages apply."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["PatternList", "RewriteRule"]


@dataclass(frozen=True, slots=True)
class PatternList:
    """The valid regular expressions of a black or white list, each searched anywhere in a name."""

    patterns: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[str]:
        return iter(self.patterns)


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """Replace each match of `pattern` by `replacement`, which may name groups as Python's `re.sub` does."""

    pattern: str
    replacement: str

    def fault(self) -> str | None:
        """Return why the rule cannot be used, or None."""
        try:
            re.sub(self.pattern, self.replacement, "")
        except (re.error, IndexError, OverflowError, RecursionError) as error:
            return str(error)
        return None
