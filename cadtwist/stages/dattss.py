"""What DaTtSs' server keeps of a user: a rolling minute of partials, the current state, and what each minute stores.

Everything is small: partials come every five seconds for each statistic, not for each value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cadtwist.model.batch import NO_ID, Ids
from cadtwist.model.partial import KINDS, Partial, minute
from cadtwist.model.summary import SummaryBatch

__all__ = ["WINDOW_S", "Environment", "Statistic", "summaries_of"]

WINDOW_S = 60.0
"""The minute over which averages go, and after which clean partials leave."""

Entry = dict[str, Any]


@dataclass
class _Received:
    partial: Partial
    at: float
    dirty: bool = True


@dataclass
class Statistic:
    """One statistic of one type: its partials of the last minute, oldest first, and what is known of it."""

    kind: str
    path: str
    rolling: deque[_Received] = field(default_factory=deque)
    total: float = 0.0
    last: float | None = None
    emphasis: bool = False

    def slide(self, now: float) -> None:
        """Let go of what is older than a minute and already part of a stored one."""
        rolling = self.rolling
        while rolling and not rolling[0].dirty and now - rolling[0].at >= WINDOW_S:
            rolling.popleft()

    def entry(self) -> Entry:
        """Return the current state, as the API shows it: averages are texts of two decimals."""
        partials = [each.partial for each in self.rolling]
        if partials:
            self.emphasis = any(each.emp for each in partials)
        shown: Entry = {"typ": self.kind, "pth": self.path, "emp": self.emphasis}
        total = sum(each.sum for each in partials)
        if self.kind == "c":
            return {**shown, "sum": self.total, "avg": f"{total / WINDOW_S:.2f}"}
        count = sum(each.cnt for each in partials)
        if self.kind == "g":
            shown["lst"] = self.last
        shown["avg"] = f"{total / count:.2f}" if count else None
        shown["max"] = max(each.max for each in partials) if partials else None
        shown["min"] = min(each.min for each in partials) if partials else None
        return shown


class Environment:
    """All statistics of one user.  Reactor thread; times are epoch seconds.

    `most` bounds the statistics; partials of further ones are counted in `refused`.
    """

    def __init__(self, most: int = 1_000_000) -> None:
        self.statistics: dict[tuple[str, str], Statistic] = {}
        self.last = 0.0
        self.dirty = False
        self.refused = 0
        self._most = most
        self._uptimes: dict[str, float] = {}

    def take(self, partials: Iterable[Partial], now: float) -> None:
        """Take the partials of one PUT."""
        self.last, self.dirty = now, True
        self.tick(now)
        for partial in partials:
            found = self._statistic(partial.typ, partial.pth)
            if found is None:
                self.refused += 1
                continue
            found.rolling.append(_Received(partial, now))
            found.total += partial.sum
            found.last = partial.lst

    def restarted(self, process: str, uptime_s: float) -> bool:
        """Take note of a process' uptime; if it is less than before, forget the state of the process."""
        before, self._uptimes[process] = self._uptimes.get(process, 0.0), uptime_s
        if uptime_s >= before:
            return False
        for key in [key for key in self.statistics if key[1].startswith(f"{process}.")]:
            del self.statistics[key]
        return True

    def tick(self, now: float) -> None:
        """Let averages decay while nothing comes."""
        for statistic in self.statistics.values():
            statistic.slide(now)

    def status(self) -> dict[str, list[Entry]]:
        """Return the current state by type, each sorted by path."""
        found: dict[str, list[Entry]] = {kind: [] for kind in KINDS}
        for statistic in sorted(self.statistics.values(), key=lambda each: each.path):
            found[statistic.kind].append(statistic.entry())
        return found

    def restore(self, status: dict[str, list[Entry]]) -> None:
        """Begin with the state that was stored before a restart."""
        for kind in KINDS:
            for entry in status.get(kind, ()):
                found = self._statistic(kind, str(entry["pth"]))
                if found is not None:
                    found.total = float(entry.get("sum") or 0.0)
                    found.last = entry.get("lst")
                    found.emphasis = bool(entry.get("emp"))

    def commit(self, now: float) -> list[Partial]:
        """Return the minute of each statistic that has partials in none yet; they are clean after that."""
        found = []
        for statistic in self.statistics.values():
            statistic.slide(now)
            fresh = [each for each in statistic.rolling if each.dirty]
            if fresh:
                found.append(minute([each.partial for each in fresh]))
            for each in fresh:
                each.dirty = False
        self.dirty = False
        return found

    def _statistic(self, kind: str, path: str) -> Statistic | None:
        found = self.statistics.get((kind, path))
        if found is None and len(self.statistics) < self._most:
            found = self.statistics[kind, path] = Statistic(kind, path)
        return found


def summaries_of(minutes: list[Partial], ids: Ids, start: float) -> SummaryBatch:
    """Return minutes as summaries of the metrics `ids` (NO_ID: left out) that begin at `start`, epoch seconds.

    Sums of squares are not sent: they are those of values that are all the mean.
    """
    chosen = [each for each, number in zip(minutes, ids.tolist(), strict=True) if number != NO_ID]

    def column(name: str) -> Any:
        return np.array([getattr(each, name) for each in chosen], np.float64)

    counts, sums = column("cnt"), column("sum")
    squares = np.divide(sums * sums, counts, out=np.zeros(len(chosen)), where=counts > 0)
    return SummaryBatch(
        ids[ids != NO_ID], np.full(len(chosen), start), counts, sums, squares, column("min"), column("max"),
        column("fst"), column("lst"),
    )  # fmt: skip
