"""What patterns meant the last time, as long as no name came or went: dashboards ask for the same again and again."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["LeafCache"]

_MOST_NAMES = 50_000
_MOST_OF_ONE = 5_000
_LONGEST = 1_000


class LeafCache:
    """Keeps the names that patterns mean: of at most 50,000 names altogether, the least recently asked for go first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, list[str]] = OrderedDict()
        self._names = 0
        self._version = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, pattern: str, version: int) -> list[str] | None:
        """Return the names of a pattern, not to be changed; None where they are not known for this version."""
        if version != self._version:
            self._kept.clear()
            self._names, self._version = 0, version
            return None
        found = self._kept.get(pattern)
        if found is not None:
            self._kept.move_to_end(pattern)
        return found

    def put(self, pattern: str, version: int, names: list[str]) -> None:
        """Keep the names of a pattern, if `version` is still that of the last question."""
        if version != self._version or len(names) > _MOST_OF_ONE or len(pattern) > _LONGEST:
            return
        known = self._kept.pop(pattern, None)
        self._names += len(names) + 1 - (0 if known is None else len(known) + 1)
        self._kept[pattern] = names
        while self._names > _MOST_NAMES:
            _, gone = self._kept.popitem(last=False)
            self._names -= len(gone) + 1
