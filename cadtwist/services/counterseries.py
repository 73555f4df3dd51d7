"""Counters as series: each figure of a counter (`a.b.avg`, `a.b.count` ...) is one, found and rendered like a metric.

Whoever keeps counters reads their cells; here they become points.  Beside another owner's metrics they are found in
one tree; of a name that both know, the other owner's metric counts.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
from twisted.internet.defer import Deferred
from zope.interface import implementer

from cadtwist.model.statretention import StatRetention
from cadtwist.query.catalog import Catalog
from cadtwist.query.fetch import window
from cadtwist.query.find import Found, Match, Slices, TooBroad, finding_leaves
from cadtwist.query.index import MetricIndex
from cadtwist.query.istat import COUNTER_FIGURES, Cells, figures
from cadtwist.query.owner import IOwner, LocalOwner, QueryLimits
from cadtwist.query.resolution import HotMetric, Piece, Resolution, SchemaInfo, cut

__all__ = ["CounterOwner", "CounterSeries", "JoinedOwner", "ReadCells"]

ReadCells = Callable[[Sequence[str], int, int, int], Awaitable[list[Cells | None]]]
"""(counters, interval, start, end) -> the cells of each from start to before end, None where it has no such file."""

_AT_ONCE = 64
"""Counters that are read in one piece."""


class CounterSeries:
    """The names of all series.  Not for several threads."""

    def __init__(self, index: MetricIndex) -> None:
        self.index = index

    def add(self, counter: str) -> None:
        """Let a counter's series be found."""
        name = counter.encode("utf-8", "replace")
        for figure in COUNTER_FIGURES:
            self.index.add(b"%b.%b" % (name, figure.encode("ascii")))

    def remove(self, counter: str) -> None:
        """Let them be found no longer."""
        name = counter.encode("utf-8", "replace")
        for figure in COUNTER_FIGURES:
            self.index.remove(b"%b.%b" % (name, figure.encode("ascii")))


@implementer(IOwner)
class CounterOwner:
    """Answers readers about counters.  Reactor thread.

    `retentions` are those of new counters, of which the ones without a season are shown; `now()` is epoch seconds.
    """

    def __init__(
        self,
        index: MetricIndex,
        read: ReadCells,
        retentions: Sequence[StatRetention],
        now: Callable[[], float],
        reports: dict[str, Callable[[], object]],
        limits: QueryLimits,
        cooperate: Callable[[Slices[Any]], Any] | None = None,
        known: Catalog | None = None,
    ) -> None:
        plain = [retention for retention in retentions if not retention.factor]
        self._archives = tuple((retention.interval, retention.samples) for retention in plain)
        self._schemas = [SchemaInfo(self._archives, method, 0.0) for method in COUNTER_FIGURES.values()]
        self._numbers = {figure: number for number, figure in enumerate(COUNTER_FIGURES)}
        self._read = read
        self._now = now
        self._local = LocalOwner(
            index, _no_id, _no_points, lambda _name: self._schemas[0], reports, limits, cooperate, known or Catalog()
        )

    def find(self, queries: list[str]) -> Any:
        """See IOwner."""
        return self._local.find(queries)

    def found(self, queries: list[str]) -> Any:
        """See IOwner."""
        return self._local.found(queries)

    def leaves(self, cursor: int, budget: int) -> tuple[list[str], int]:
        """See IOwner."""
        return self._local.leaves(cursor, budget)

    def names_version(self) -> int:
        """See IOwner."""
        return self._local.names_version()

    def count_changes_in(self, number: npt.NDArray[np.uint64]) -> None:
        """Count names that come and go in `number`, as others do."""
        self._local.index.names.changes = number

    def catalog(self, question: str, arguments: list[Any]) -> Any:
        """See IOwner."""
        return self._local.catalog(question, arguments)

    def tell(self, counts: dict[str, int]) -> None:
        """See IOwner."""
        self._local.tell(counts)

    def report(self, topic: str) -> object:
        """See IOwner."""
        return self._local.report(topic)

    def resolve(self, patterns: list[str], start: int, end: int) -> Deferred[Resolution]:
        """See IOwner."""
        return Deferred.fromCoroutine(self._resolve(patterns, start, end))

    def pieces(self, patterns: list[str], start: int, end: int, take: Callable[[Piece], object]) -> Deferred[bool]:
        """See LocalOwner."""
        return self.resolve(patterns, start, end).addCallback(cut, take)

    async def _resolve(self, patterns: list[str], start: int, end: int) -> Resolution:
        names: list[list[str]] = await _value(self._local.answer(self._finding(patterns)))
        wanted = {name: name.rpartition(".")[::2] for found in names for name in found}
        if sum(map(len, names)) > self._local.limits.series:
            raise TooBroad(f"The request means {sum(map(len, names))} series, the limit is {self._local.limits.series}")
        points = await self._points(list(dict.fromkeys(counter for counter, _ in wanted.values())), start, end)
        metrics = {
            name: HotMetric(name, self._numbers[figure], *points.get(counter, {}).get(figure, (b"", b"")))
            for name, (counter, figure) in wanted.items()
        }
        return Resolution([[metrics[name] for name in found] for found in names], self._schemas)

    def _finding(self, patterns: list[str]) -> Slices[list[list[str]]]:
        budget = self._local.limits.find.budget()
        names = []
        for pattern in patterns:
            found = [] if _is_tagged(pattern) else (yield from finding_leaves(self._local.index, pattern, budget))
            names.append(found)
        return names

    async def _points(self, counters: list[str], start: int, end: int) -> dict[str, dict[str, tuple[bytes, bytes]]]:
        """Return times and values of each figure of each counter."""
        kept = window(self._archives, start, end, int(self._now())) if self._archives else None
        if kept is None:
            return {}
        first, behind, step = kept
        points: dict[str, dict[str, tuple[bytes, bytes]]] = {}
        amount = 0
        for at in range(0, len(counters), _AT_ONCE):
            some = counters[at : at + _AT_ONCE]
            for counter, cells in zip(some, await self._read(some, step, first, behind), strict=True):
                amount += 0 if cells is None else len(cells)
                points[counter] = _told(cells, first)
            if amount > self._local.limits.points:
                raise TooBroad(f"The request means more than {self._local.limits.points} points")
        return points


@implementer(IOwner)
class JoinedOwner:
    """Two owners as one; of a name that both know, the first one's metric counts.  Reactor thread."""

    def __init__(self, first: Any, second: CounterOwner) -> None:
        self._first = first
        self._second = second

    def find(self, queries: list[str]) -> Deferred[list[list[Match]]]:
        """See IOwner."""

        async def both() -> list[list[Match]]:
            mine, others = await _value(self._first.find(queries)), await _value(self._second.find(queries))
            return [_merged(some, more) for some, more in zip(mine, others, strict=True)]

        return Deferred.fromCoroutine(both())

    def found(self, queries: list[str]) -> Deferred[list[Found]]:
        """See LocalOwner."""

        async def both() -> list[Found]:
            mine, others = await _value(self._first.found(queries)), await _value(self._second.found(queries))
            return [_united(some, more) for some, more in zip(mine, others, strict=True)]

        return Deferred.fromCoroutine(both())

    def resolve(self, patterns: list[str], start: int, end: int) -> Deferred[Resolution]:
        """See IOwner."""

        async def both() -> Resolution:
            mine: Resolution = await _value(self._first.resolve(patterns, start, end))
            others: Resolution = await self._second.resolve(patterns, start, end)
            behind = len(mine.schemas)
            found = []
            for some, more in zip(mine.patterns, others.patterns, strict=True):
                known = {metric.name for metric in some}
                added = [
                    HotMetric(metric.name, metric.schema + behind, metric.timestamps, metric.values)
                    for metric in more
                    if metric.name not in known
                ]
                found.append(sorted([*some, *added], key=lambda metric: metric.name) if added else some)
            return Resolution(found, [*mine.schemas, *others.schemas])

        return Deferred.fromCoroutine(both())

    def pieces(self, patterns: list[str], start: int, end: int, take: Callable[[Piece], object]) -> Deferred[bool]:
        """See LocalOwner."""
        return self.resolve(patterns, start, end).addCallback(cut, take)

    def leaves(self, cursor: int, budget: int) -> tuple[list[str], int]:
        """See IOwner; even cursors are the first owner's."""
        which = cursor % 2
        names, following = (self._second if which else self._first).leaves(cursor // 2, budget)
        return names, following * 2 + which if following else 1 - which

    def names_version(self) -> int:
        """See IOwner: both count in the same place."""
        return self._second.names_version()

    def catalog(self, question: str, arguments: list[Any]) -> Any:
        """See IOwner."""
        return self._first.catalog(question, arguments)

    def tell(self, counts: dict[str, int]) -> None:
        """See IOwner."""
        self._first.tell(counts)

    def report(self, topic: str) -> object:
        """See IOwner."""
        return self._first.report(topic)


async def _value(answer: Any) -> Any:
    """Return what an owner answered, at once or by a Deferred."""
    return await answer if isinstance(answer, Deferred) else answer


def _is_tagged(pattern: str) -> bool:
    """Return whether a pattern is about tags, which counters do not have."""
    return ";" in pattern or pattern.startswith("seriesByTag(")


def _told(cells: Cells | None, first: int) -> dict[str, tuple[bytes, bytes]]:
    """Return times and values of each figure; of a counter that has nothing, one value that is unknown."""
    if cells is None or not len(cells):
        nothing = np.array([first], np.float64).tobytes(), np.array([np.nan]).tobytes()
        return dict.fromkeys(COUNTER_FIGURES, nothing)
    told = figures(cells)
    times = cells["time"].astype(np.float64).tobytes()
    return {figure: (times, np.array(told[figure], np.float64).tobytes()) for figure in COUNTER_FIGURES}


def _merged(some: list[Match], more: list[Match]) -> list[Match]:
    """Return the matches of both, sorted by path; what is a metric here and a branch there is both."""
    if not some or not more:
        return some or more
    return list(_combined(heapq.merge(some, more)))


def _combined(matches: Iterator[Match]) -> Iterator[Match]:
    for path, same in groupby(matches, key=lambda match: match[0]):
        kind = 0
        for _, each in same:
            kind |= each
        yield path, kind


def _united(some: Found, more: Found) -> Found:
    """Return what both searches found."""
    if not some.ends or not more.ends:
        return some if some.ends else more
    kinds: dict[bytes, int] = {}
    for found in (some, more):
        begin = 0
        for end, kind in zip(np.frombuffer(found.ends, np.uint32).tolist(), found.kinds, strict=True):
            path, begin = found.paths[begin:end], end
            kinds[path] = kinds.get(path, 0) | kind
    ends = np.cumsum(np.fromiter(map(len, kinds), np.uint32, len(kinds)), dtype=np.uint32)
    return Found(b"".join(kinds), ends.tobytes(), bytes(kinds.values()), some.branches)


def _no_id(_name: bytes) -> int:
    return 0xFFFFFFFF


def _no_points(ids: Any, _slacks: Any, _start: float, _end: float) -> Any:
    nothing = np.zeros(0, np.float64)
    return np.zeros(len(ids) + 1, np.uint32), nothing, nothing
