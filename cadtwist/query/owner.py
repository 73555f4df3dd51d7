"""What a reader asks the process that owns names and hot points, and the answers inside that process.

The answers are plain values that MessagePack carries: `services.resolve` takes them to other processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct
from zope.interface import Interface, implementer

from cadtwist.model.batch import NO_ID, Ids
from cadtwist.query.catalog import Catalog
from cadtwist.query.find import (
    FindBudget,
    FindLimits,
    Found,
    Match,
    Slices,
    TooBroad,
    at_once,
    finding_leaves,
    matched,
    searching,
)
from cadtwist.query.index import MetricIndex
from cadtwist.query.leafcache import LeafCache
from cadtwist.query.tags import tag_query

__all__ = ["HotMetric", "HotPoints", "IOwner", "LocalOwner", "NoMetrics", "QueryLimits", "Resolution", "SchemaInfo"]

Floats = npt.NDArray[np.float64]
HotPoints = Callable[[npt.NDArray[np.uint32]], tuple[npt.NDArray[np.uint32], Floats, Floats]]
"""`PointStore.peek_many`: ids -> (offsets, timestamps, values)."""


class SchemaInfo(Struct, frozen=True, array_like=True):
    """How a metric is kept: (step, points) from fine to coarse, aggregation method and xFilesFactor.

    Of a range its store gives the steps of [start, end) with `from_start`, as ceres does, else those of (start, end].
    """

    archives: tuple[tuple[int, int], ...]
    method: str
    xff: float
    from_start: bool = False


class HotMetric(Struct, frozen=True, array_like=True, gc=False):
    """One metric that a pattern means; its points in memory as native float64 columns; the number of its schema."""

    name: str
    schema: int
    timestamps: bytes = b""
    values: bytes = b""


class Resolution(Struct, frozen=True, array_like=True):
    """The metrics of each pattern, sorted by name, and the schemas that they refer to.

    `quiet`: no datapoint at all waited in memory.
    """

    patterns: list[list[HotMetric]]
    schemas: list[SchemaInfo]
    quiet: bool = False


@dataclass(frozen=True)
class QueryLimits:
    """What one request may cost: series, points, calls of functions, seconds, and what its globs may."""

    series: int = 10_000
    points: int = 20_000_000
    calls: int = 20_000
    seconds: float = 10.0
    find: FindLimits = field(default_factory=FindLimits)


class IOwner(Interface):
    """Answers readers.  Every method returns its value or a Deferred of it and may raise TooBroad."""

    def find(queries):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return for each query (str) its matches, a list of (path, LEAF | BRANCH), sorted by path."""

    def resolve(patterns, start, end):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return the `Resolution` of patterns (str) for a range of epoch seconds."""

    def leaves(cursor, budget):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return a slice of all paths of metrics (str) from `cursor` (first 0), and the next cursor (0: the end)."""

    def catalog(question, arguments):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return what a `Catalog` answers to a question (str) with its arguments (a list)."""

    def tell(counts):  # type: ignore[no-untyped-def]  # noqa: N805
        """Take what a reader has counted: numbers (int) by name (str)."""

    def names_version():  # type: ignore[no-untyped-def]
        """Return, at once, a number that changes whenever what `find` returns does; None where nobody counts."""

    def report(topic):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return the plain values of a topic: "status", "ledger" or "waits" (why we are not ready, a list)."""


def _uncounted(what: str, amount: int) -> None:
    """Nobody counts."""


@implementer(IOwner)
@dataclass(frozen=True)
class LocalOwner:
    """The answers inside the owner's process.  Reactor thread; no method holds it for long within `limits`.

    What does not end in its first slice goes on by `cooperate(slices)`, which returns a Deferred of their result; with
    None it is done at once.  `lookup` and `hot` are MetricTable's and PointStore's; `schema(name)` how a name is (to
    be) kept; `reports` gives the values of each topic; `count(what, amount)` adds to a counter.
    `waiting` tells how many datapoints wait in memory, `recent` remembers what patterns meant.
    """

    index: MetricIndex
    lookup: Callable[[bytes], int]
    hot: HotPoints
    schema: Callable[[str], SchemaInfo]
    reports: dict[str, Callable[[], object]] = field(default_factory=dict)
    limits: QueryLimits = field(default_factory=QueryLimits)
    cooperate: Callable[[Slices[Any]], Any] | None = None
    known: Catalog = field(default_factory=Catalog)
    count: Callable[[str, int], object] = _uncounted
    waiting: Callable[[], int] | None = None
    recent: LeafCache = field(default_factory=LeafCache)

    def find(self, queries: list[str]) -> Any:
        """See IOwner."""
        return self.answer(self._finding(queries))

    def found(self, queries: list[str]) -> Any:
        """Return what `find` does as a `Found` for each query: who asks sorts them, so that the owner need not."""
        return self.answer(self._searching(queries))

    def _searching(self, queries: list[str]) -> Slices[list[Found]]:
        budget = self.limits.find.budget()
        results = []
        for query in queries:
            results.append((yield from searching(self.index, query, budget)))  # noqa: PERF401 (it pauses)
        return results

    def _finding(self, queries: list[str]) -> Slices[list[list[Match]]]:
        results = []
        for found in (yield from self._searching(queries)):
            results.append((yield from matched(found)))  # noqa: PERF401 (it pauses)
        return results

    def answer(self, slices: Slices[Any]) -> Any:
        """Return the result of `slices`, or a Deferred of it where they do not end in the first one."""
        if self.cooperate is None:
            return at_once(slices)
        try:
            next(slices)
        except StopIteration as end:
            return end.value
        return self.cooperate(slices)

    def leaves(self, cursor: int, budget: int) -> tuple[list[str], int]:
        """See IOwner."""
        names, following = self.index.leaves(cursor, budget)
        return [name.decode("utf-8", "replace") for name in names], following

    def names_version(self) -> int:
        """See IOwner."""
        return self.index.version

    def catalog(self, question: str, arguments: list[Any]) -> Any:
        """See IOwner."""
        return self.known.answer(question, arguments)

    def tell(self, counts: dict[str, int]) -> None:
        """See IOwner."""
        for what, amount in counts.items():
            self.count(what, amount)

    def report(self, topic: str) -> object:
        """See IOwner."""
        read = self.reports.get(topic)
        return None if read is None else read()

    def resolve(self, patterns: list[str], start: int, end: int) -> Any:
        """See IOwner."""
        return self.answer(self._resolving(patterns, start, end))

    def _resolving(self, patterns: list[str], start: int, end: int) -> Slices[Resolution]:
        budget = self.limits.find.budget()
        names = []
        for pattern in patterns:
            expressions = tag_query(pattern)
            if expressions is None:
                names.append((yield from self._leaves_of(pattern, budget)))
            else:
                names.append(self.known.tags.find(expressions))
        return self._resolution(names, start, end)

    def _leaves_of(self, pattern: str, budget: FindBudget) -> Slices[list[str]]:
        version = self.index.version
        found = self.recent.get(pattern, version)
        if found is not None and len(found) <= budget.matches:
            budget.matches -= len(found)
        else:
            found = yield from finding_leaves(self.index, pattern, budget)
            if self.index.version == version:
                self.recent.put(pattern, version, found)
        return found

    def _resolution(self, names: list[list[str]], start: int, end: int) -> Resolution:
        """Return the hot points and schemas of the metrics of each pattern."""
        flat = names[0] if len(names) == 1 else [name for found in names for name in found]
        if len(flat) > self.limits.series:
            raise TooBroad(f"The request means {len(flat)} series, the limit is {self.limits.series}")
        quiet = self.waiting is not None and not self.waiting()
        schemas: dict[SchemaInfo, int] = {}
        numbers = [schemas.setdefault(self.schema(name), len(schemas)) for name in flat]
        ids = np.array([self.lookup(name.encode("utf-8", "replace")) for name in flat], np.uint32)
        if (ids == NO_ID).all():
            metrics = list(map(HotMetric, flat, numbers))
        else:
            metrics = self._with_points(flat, numbers, list(schemas), ids, start, end)
        if len(names) == 1:
            return Resolution([metrics], list(schemas), quiet)
        grouped = iter(metrics)
        return Resolution([[next(grouped) for _ in found] for found in names], list(schemas), quiet)

    def _with_points(
        self, names: list[str], numbers: list[int], schemas: list[SchemaInfo], ids: Ids, start: int, end: int
    ) -> list[HotMetric]:
        offsets, timestamps, values = self._hot_points(ids, len(names))
        if len(timestamps) > self.limits.points:
            raise TooBroad(f"The request means {len(timestamps)} points in memory, too many")
        if not len(timestamps):
            return list(map(HotMetric, names, numbers))
        slacks = np.array([schema.archives[-1][0] for schema in schemas], np.float64)
        slack = np.repeat(slacks[numbers], np.diff(offsets))
        near = (timestamps >= start - slack) & (timestamps <= end + slack)
        bounds = (8 * np.concatenate(([0], np.cumsum(near)))[offsets]).tolist()
        times, what = timestamps[near].tobytes(), values[near].tobytes()
        return [
            HotMetric(name, number, times[low:high], what[low:high])
            for name, number, low, high in zip(names, numbers, bounds, bounds[1:], strict=False)
        ]

    def _hot_points(self, ids: npt.NDArray[np.uint32], n: int) -> tuple[npt.NDArray[np.int64], Floats, Floats]:
        """Return offsets of all rows, with nothing for rows without an id, and the columns."""
        known = ids != NO_ID
        offsets, timestamps, values = self.hot(ids[known])
        counts = np.zeros(n + 1, np.int64)
        counts[1:][known] = np.diff(offsets.astype(np.int64))
        return np.cumsum(counts), timestamps, values


@implementer(IOwner)
@dataclass(frozen=True)
class NoMetrics:
    """The answers of a process that keeps no metrics; `reports` give a topic's values or a Deferred of them."""

    reports: dict[str, Callable[[], object]] = field(default_factory=dict)

    def find(self, queries: list[str]) -> list[list[Match]]:
        """See IOwner."""
        return [[] for _ in queries]

    def leaves(self, cursor: int, budget: int) -> tuple[list[str], int]:  # noqa: ARG002
        """See IOwner."""
        return [], 0

    def names_version(self) -> int:
        """See IOwner."""
        return 0

    def catalog(self, question: str, arguments: list[Any]) -> Any:
        """See IOwner."""
        return Catalog().answer(question, arguments)

    def tell(self, counts: dict[str, int]) -> None:
        """See IOwner."""

    def report(self, topic: str) -> object:
        """See IOwner."""
        read = self.reports.get(topic)
        return None if read is None else read()

    def resolve(self, patterns: list[str], start: int, end: int) -> Resolution:  # noqa: ARG002
        """See IOwner."""
        return Resolution([[] for _ in patterns], [])
