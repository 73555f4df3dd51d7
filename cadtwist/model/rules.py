"""Rules about names as plain values: what configuration reads and stages apply."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["PatternList", "PatternProblem", "RewriteRule", "read_patterns", "read_rewrites"]


@dataclass(frozen=True, slots=True)
class PatternProblem:
    """A line that is no regular expression: `line` counts from 1, `reason` is Python's."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class PatternList:
    """Python regular expressions, each searched anywhere in a name; an empty list matches nothing."""

    patterns: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.patterns)


@dataclass(frozen=True, slots=True)
class RewriteRule:
    """Replace each match of `pattern` by `replacement`, which may name groups as Python's `re.sub` does."""

    pattern: str
    replacement: str


def read_patterns(text: str) -> tuple[PatternList, list[PatternProblem]]:
    """Read a whitelist.conf or blacklist.conf: a pattern per line, blank lines and lines that start with # aside.

    Invalid patterns are left out and told.
    """
    patterns, problems = [], []
    for number, line in enumerate(text.splitlines(), 1):
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        reason = _fault(pattern)
        if reason is None:
            patterns.append(pattern)
        else:
            problems.append(PatternProblem(number, pattern, reason))
    return PatternList(tuple(patterns)), problems


def read_rewrites(lines: list[tuple[int, str]]) -> tuple[tuple[RewriteRule, ...], list[PatternProblem]]:
    """Read `regex = replacement` lines, given with their numbers; invalid ones are left out and told."""
    rules, problems = [], []
    for number, line in lines:
        pattern, equals, replacement = line.partition("=")
        reason = _fault(pattern.strip()) if equals else "no = between pattern and replacement"
        if reason is None:
            rules.append(RewriteRule(pattern.strip(), replacement.strip()))
        else:
            problems.append(PatternProblem(number, line, reason))
    return tuple(rules), problems


def _fault(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    return None
