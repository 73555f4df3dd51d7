"""What DaTtSs' server keeps of a user: a rolling minute of partials, the current state, and what each minute stores.

Everything is small: partials come every five seconds for each statistic, not for each value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cadtwist.model.partial import KINDS, Partial, merged, minute
from cadtwist.model.summaryjob import Kept

__all__ = ["WINDOW_S", "Environment", "MinuteRow", "Statistic", "plain"]

WINDOW_S = 60.0
"""The minute over which averages go, and after which clean partials leave."""

_MOST_APART = 24
_TOGETHER_S = 2.0
"""Of one statistic, so many partials stand alone; beyond, those that come within two seconds are put together."""

_MOST_PROCESSES = 10_000
_STORED_BEFORE = 0
_EXACT = 2.0**53

Entry = dict[str, Any]


@dataclass(slots=True)
class _Received:
    """A partial; `generation` is that of the commit which stores it."""

    partial: Partial
    at: float
    generation: int


class MinuteRow(NamedTuple):
    """What is to be stored of one statistic."""

    minute: Partial
    kept: Kept


@dataclass(slots=True)
class Statistic:
    """One statistic of one type: its partials of the last minute, oldest first, and what is known of it.

    `stored` is everywhere the last generation that is stored.
    """

    kind: str
    path: str
    rolling: deque[_Received] = field(default_factory=deque)
    total: float = 0.0
    last: float | None = None
    emphasis: bool = False
    seen: float = 0.0

    def take(self, partial: Partial, now: float, generation: int, stored: int) -> None:
        """Take a partial."""
        self.slide(now, stored)
        rolling = self.rolling
        self.last, self.seen = partial.lst, now
        if generation != _STORED_BEFORE:
            self.total += partial.sum
        newest = rolling[-1] if len(rolling) >= _MOST_APART else None
        if newest is not None and newest.generation == generation and now - newest.at < _TOGETHER_S:
            newest.partial = merged(newest.partial, partial)
        else:
            rolling.append(_Received(partial, now, generation))

    def slide(self, now: float, stored: int) -> None:
        """Let go of what is older than a minute and already part of a stored one."""
        rolling = self.rolling
        while rolling and rolling[0].generation <= stored and now - rolling[0].at >= WINDOW_S:
            rolling.popleft()

    def collapse(self, now: float) -> None:
        """Put together what is older than a minute and could not be stored, so that it does not grow."""
        old: _Received | None = None
        rolling = self.rolling
        while rolling and now - rolling[0].at >= WINDOW_S:
            each = rolling.popleft()
            together = each.partial if old is None else merged(old.partial, each.partial)
            old = _Received(together, each.at, each.generation)
        if old is not None:
            rolling.appendleft(old)

    def entry(self) -> Entry:
        """Return the current state, as the API shows it: averages are texts of two decimals."""
        partials = [each.partial for each in self.rolling]
        if partials:
            self.emphasis = any(each.emp for each in partials)
        shown: Entry = {"typ": self.kind, "pth": self.path, "emp": self.emphasis}
        total = sum(each.sum for each in partials)
        if self.kind == "c":
            return {**shown, "sum": plain(self.total), "avg": f"{total / WINDOW_S:.2f}"}
        count = sum(each.cnt for each in partials)
        if self.kind == "g":
            shown["lst"] = plain(self.last)
        shown["avg"] = f"{total / count:.2f}" if count else None
        shown["max"] = plain(max(each.max for each in partials)) if partials else None
        shown["min"] = plain(min(each.min for each in partials)) if partials else None
        return shown

    def commit(self, now: float, generation: int, stored: int) -> MinuteRow | None:
        """Return the minute of what came behind `stored`, up to a generation; None where there is nothing."""
        self.slide(now, stored)
        fresh, total = [], self.total
        for each in self.rolling:
            if each.generation > generation:
                total -= each.partial.sum
            elif each.generation > stored:
                fresh.append(each)
        if not fresh:
            return None
        newest = fresh[-1]
        self.emphasis = any(each.partial.emp for each in self.rolling)
        kept = Kept(total, newest.partial.lst, self.emphasis, int(newest.at))
        return MinuteRow(minute([each.partial for each in fresh]), kept)


class Environment:
    """All statistics of one user.  Reactor thread; times are epoch seconds.

    `most` bounds the statistics; partials of further ones are counted in `refused`.  `waiting` is the number of
    partials that are in no stored minute yet.
    """

    def __init__(self, most: int = 1_000_000) -> None:
        self.statistics: dict[tuple[str, str], Statistic] = {}
        self.refused = 0
        self.waiting = 0
        self._most = most
        self._generation = 1
        self._stored = _STORED_BEFORE
        self._dirty: dict[int, Statistic] = {}
        self._under_way: list[Statistic] = []
        self._under_way_partials = 0
        self._reset: list[tuple[str, str]] = []
        self._resets_under_way = 0
        self._uptimes: dict[str, float] = {}

    @property
    def dirty(self) -> bool:
        """Whether something is to be stored."""
        return bool(self._dirty)

    def take(self, partials: Iterable[Partial], now: float, stored: bool = False) -> int:
        """Take the partials of one PUT; return how many found no room.

        `stored`: an earlier life has stored them, they only matter to averages.
        """
        refused = 0
        for partial in partials:
            found = self._statistic(partial.typ, partial.pth)
            if found is None:
                refused += 1
                continue
            found.take(partial, now, _STORED_BEFORE if stored else self._generation, self._stored)
            if not stored:
                self._dirty[id(found)] = found
                self.waiting += 1
        self.refused += refused
        return refused

    def restarted(self, process: str, uptime_s: float) -> bool:
        """Take note of a process' uptime; if it is less than before, forget the state of the process.

        What is in no stored minute yet is stored nevertheless.
        """
        before = self._uptimes.get(process, 0.0)
        self.note_uptime(process, uptime_s)
        if uptime_s >= before:
            return False
        self._let_go(process)
        return True

    @property
    def uptimes(self) -> dict[str, float]:
        """The last uptime of each process that has told one, in seconds."""
        return self._uptimes

    def destroy(self, process: str) -> bool:
        """Forget a process and its state; False where there is none of that name.

        What is in no stored minute yet is stored nevertheless.
        """
        known = self._uptimes.pop(process, None) is not None
        return self._let_go(process) or known

    def _let_go(self, process: str) -> bool:
        """Forget the statistics of a process; tell whether there were any."""
        keys = [key for key in self.statistics if key[1].startswith(f"{process}.")]
        for key in keys:
            self.statistics.pop(key).total = 0.0
            self._reset.append(key)
        return bool(keys)

    @property
    def reset(self) -> list[tuple[str, str]]:
        """The statistics (type, path) whose totals are to begin anew in the store as well."""
        return self._reset

    def note_uptime(self, process: str, uptime_s: float) -> None:
        """Take note of it, whatever it was before; those heard of last are remembered."""
        self._uptimes.pop(process, None)
        self._uptimes[process] = uptime_s
        if len(self._uptimes) > _MOST_PROCESSES:
            del self._uptimes[next(iter(self._uptimes))]

    def status(self, now: float) -> dict[str, list[Entry]]:
        """Return the current state by type, each sorted by path; averages decay while nothing comes."""
        found: dict[str, list[Entry]] = {kind: [] for kind in KINDS}
        for statistic in sorted(self.statistics.values(), key=lambda each: each.path):
            statistic.slide(now, self._stored)
            found[statistic.kind].append(statistic.entry())
        return found

    def restore(self, kind: str, path: str, kept: Kept) -> None:
        """Begin with what was stored of a statistic before a restart."""
        found = self._statistic(kind, path)
        if found is not None:
            found.total, found.last, found.emphasis, found.seen = kept.total, kept.last, kept.emphasis, kept.seen

    def commit(self, now: float) -> Iterator[MinuteRow]:
        """Begin to store what is in no minute yet; yield the minute of each statistic.  `settle` ends that.

        What is taken while the minutes are asked for is of the next commit.
        """
        generation, self._generation = self._generation, self._generation + 1
        self._under_way, self._dirty = list(self._dirty.values()), {}
        self._under_way_partials, self.waiting = self.waiting, 0
        self._resets_under_way = len(self._reset)
        stored = self._stored

        def rows() -> Iterator[MinuteRow]:
            for statistic in self._under_way:
                row = statistic.commit(now, generation, stored)
                if row is not None:
                    yield row

        return rows()

    def settle(self, stored: bool, now: float) -> int:
        """End the last commit: its minutes are `stored`, or have to be another time.  Return their partials."""
        under_way, self._under_way = self._under_way, []
        partials, self._under_way_partials = self._under_way_partials, 0
        if stored:
            self._stored = self._generation - 1
            del self._reset[: self._resets_under_way]
            return partials
        for statistic in under_way:
            statistic.slide(now, self._stored)
            statistic.collapse(now)
            self._dirty[id(statistic)] = statistic
        self.waiting += partials
        return 0

    @property
    def held(self) -> int:
        """The partials that are in no stored minute yet, those of a commit under way included."""
        return self.waiting + self._under_way_partials

    def forget(self, before: float) -> int:
        """Forget the statistics that were seen last before a time; return how many."""
        old = [key for key, each in self.statistics.items() if each.seen < before and not each.rolling]
        for key in old:
            del self.statistics[key]
        return len(old)

    def _statistic(self, kind: str, path: str) -> Statistic | None:
        found = self.statistics.get((kind, path))
        if found is None and len(self.statistics) < self._most:
            found = self.statistics[kind, path] = Statistic(kind, path)
        return found


def plain(value: float | None) -> float | int | None:
    """Return a whole number as one, so that it is written without a fraction."""
    if value is None or isinstance(value, int):
        return value
    return int(value) if value.is_integer() and abs(value) <= _EXACT else value
