"""What happened to the files of a store, each told once; what its lanes counted together."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

__all__ = ["Counting", "FileReport", "FileReports", "summed"]

_MAX_REPORTS = 1000
_MAX_REMEMBERED = 10_000


class FileReport(NamedTuple):
    """What happened to a file, as one of its store's kinds; the metric or counter; the system's error."""

    kind: str
    name: str
    error: str


class Counting(Protocol):
    """A writer that counts."""

    def counters(self) -> dict[str, int]:
        """Return the counts by name."""


class FileReports:
    """Takes reports of files from any thread until somebody asks for them.

    `kinds` are words by the kernel's numbers.  The same of a file is told once, a fault that passes (`retry`) once
    per error of the system; at most 1,000 wait, and 10,000 are remembered.
    """

    def __init__(self, kinds: Mapping[int, str]) -> None:
        self._kinds = dict(kinds)
        self._waiting: deque[FileReport] = deque(maxlen=_MAX_REPORTS)
        self._told: set[tuple[str, str]] = set()

    def take(self, kind: int, name: bytes, code: int) -> None:
        """Take a kernel's report: one of the kinds, the name, an errno or 0."""
        what, text = self._kinds[kind], name.decode("utf-8", "replace")
        key = (what, os.strerror(code) if what == "retry" else text)
        if key in self._told:
            return
        if len(self._told) < _MAX_REMEMBERED:
            self._told.add(key)
        self._waiting.append(FileReport(what, text, os.strerror(code) if code else ""))

    def read(self) -> list[FileReport]:
        """Return and forget what came since the last call."""
        found = []
        while self._waiting:
            found.append(self._waiting.popleft())
        return found

    def names(self, kind: str) -> list[str]:
        """Return the names, sorted, of which something of that kind was told and is remembered."""
        return sorted(name for told, name in self._told.copy() if told == kind)

    def tell_again(self, *but: str) -> None:
        """Forget what was told, except of the kinds `but`, so that faults which persist are told once more."""
        self._told = {key for key in self._told if key[0] in but}


def summed(lanes: Iterable[Counting], names: Iterable[str]) -> dict[str, int]:
    """Return what all lanes counted together, by the `names` and whatever else they count."""
    total = dict.fromkeys(names, 0)
    for lane in lanes:
        for what, amount in lane.counters().items():
            total[what] = total.get(what, 0) + amount
    return total
