"""All counters by name, with the levels above them, found by istatd's patterns.  Pure."""

from __future__ import annotations

import re
from bisect import insort
from collections.abc import Callable, Iterable
from typing import NamedTuple

__all__ = ["AGGREGATE", "EVENT", "GAUGE", "CounterTree", "Found", "matcher"]

GAUGE, EVENT, AGGREGATE = range(3)
_SAFE_WILDCARDS = 3
_MOST_PATTERN = 4096


class Found(NamedTuple):
    """One level of a name: a leaf is GAUGE or EVENT; what has levels below it is AGGREGATE."""

    name: str
    kind: int


class CounterTree:
    """Counters and their levels, kept sorted.  Not for several threads."""

    def __init__(self) -> None:
        self._kinds: dict[str, int] = {}
        self._below: dict[str, int] = {}
        self._sorted: list[str] = []
        self._fresh: list[str] = []

    def __len__(self) -> int:
        return len(self._kinds)

    def __contains__(self, name: str) -> bool:
        return name in self._kinds

    def add(self, name: str, event: bool) -> None:
        """Keep a counter and every level above it; a level that is there stays what it is."""
        kind = EVENT if event else GAUGE
        while name and name not in self._kinds:
            self._kinds[name] = kind
            self._fresh.append(name)
            above = name.rpartition(".")[0]
            if above:
                self._below[above] = self._below.get(above, 0) + 1
            name = above

    def remove(self, name: str) -> None:
        """Forget a counter without levels below it; else nothing happens."""
        if name not in self._kinds or self._below.get(name):
            return
        del self._kinds[name]
        self._sorted = []
        self._fresh = list(self._kinds)
        above = name.rpartition(".")[0]
        if above:
            self._below[above] -= 1

    def names(self) -> list[str]:
        """Return every level, sorted; not to be changed."""
        if len(self._fresh) > 64:
            self._sorted = sorted([*self._sorted, *self._fresh])
        else:
            for name in self._fresh:
                insort(self._sorted, name)
        self._fresh = []
        return self._sorted

    def matching(self, pattern: str) -> list[Found]:
        """Return the levels that a pattern matches, sorted."""
        kinds, below = self._kinds, self._below
        return [Found(name, AGGREGATE if below.get(name) else kinds[name]) for name in filtered(self.names(), pattern)]

    def series(self, above: bool = False) -> list[str]:
        """Return the counters with no levels below them; all, with `above`."""
        return [name for name in self._kinds if above or not self._below.get(name)]

    def leaves(self, pattern: str) -> list[str]:
        """Return the counters that a pattern matches, whether or not levels lie below them."""
        return list(filtered(self.names(), pattern))


def filtered(names: Iterable[str], pattern: str) -> Iterable[str]:
    """Return the names that a pattern matches."""
    return names if pattern == "*" else filter(matcher(pattern), names)


def matcher(pattern: str) -> Callable[[str], object]:
    """Return a test of whole names: `*` is any run, `?` any run without a dot, all else itself.  Case counts.

    Time is bounded by the lengths of pattern and name, whatever they are.  An empty pattern matches nothing.
    """
    if not pattern or len(pattern) > _MOST_PATTERN:
        return lambda _name: False
    pieces = [piece for piece in re.split(r"([*?]+)", pattern) if piece]
    parts = ["*" if "*" in piece else "?" if piece[0] == "?" else piece for piece in pieces]
    if parts[-1] == "*" and len(parts) == 2:
        prefix = parts[0]
        return lambda name: name.startswith(prefix)
    if sum(part in "*?" for part in parts) <= _SAFE_WILDCARDS:
        wild = {"*": ".*", "?": "[^.]*"}
        return re.compile("".join(wild.get(part) or re.escape(part) for part in parts), re.DOTALL).fullmatch
    return lambda name: _matches(name, parts)


def _matches(name: str, parts: list[str]) -> bool:
    """Match by the set of places that each part can end at: no backtracking."""
    places = {0}
    for part in parts:
        if part == "*":
            places = set(range(min(places), len(name) + 1))
        elif part == "?":
            reached: set[int] = set()
            for place in sorted(places):
                if place in reached:
                    continue
                dot = name.find(".", place)
                reached.update(range(place, (len(name) if dot < 0 else dot) + 1))
            places = reached
        else:
            places = {place + len(part) for place in places if name.startswith(part, place)}
        if not places:
            return False
    return len(name) in places
