"""What a reader asks the process that owns names and hot points, and the answers inside that process.

The answers are plain values that MessagePack carries: `services.resolve` takes them to other processes.  Resolving is
what is asked while points come in: what a pattern means is remembered with the metrics' numbers, as columns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from zope.interface import Interface, implementer

from cadtwist.model.batch import Floats, Ids
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
from cadtwist.query.leafcache import HotColumns, LeafCache, Leaves, leaves_of
from cadtwist.query.resolution import METRICS_AT_ONCE, Piece, Resolution, SchemaInfo, assembled
from cadtwist.query.tags import tag_query

__all__ = ["HotPoints", "IOwner", "LocalOwner", "NoMetrics", "QueryLimits"]

HotPoints = Callable[[Ids, Floats, float, float], HotColumns]
"""`PointStore.peek_within`: ids, slacks, start, end -> what is in memory."""

_NAMES_AT_ONCE = 2048


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

    def found(queries):  # type: ignore[no-untyped-def]  # noqa: N805
        """Return the same as a `Found` for each query: who asks sorts them, if need be."""

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
        """Return the plain values of a topic: "status", "ledger" or "waits" (why we are not ready, a list).

        "rescan" has the files looked through again, where that is done at all.
        """


def _uncounted(what: str, amount: int) -> None:
    """Nobody counts."""


def _always_same() -> object:
    """No metric gets or loses its number."""
    return None


@implementer(IOwner)
@dataclass(frozen=True)
class LocalOwner:
    """The answers inside the owner's process.  Reactor thread; no method holds it for long within `limits`.

    What does not end in its first slice goes on by `cooperate(slices)`, which returns a Deferred of their result; with
    None it is done at once.  `lookup` and `hot` are MetricTable's and PointStore's; `schema(name)` how a name is (to
    be) kept; `reports` gives the values of each topic; `count(what, amount)` adds to a counter.
    `waiting` tells how many datapoints wait in memory, `recent` remembers what patterns meant, as long as
    `numbers_version` gives the same: it changes whenever a metric gets or loses its number.
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
    numbers_version: Callable[[], object] = _always_same

    def find(self, queries: list[str]) -> Any:
        """See IOwner."""
        return self.answer(self._finding(queries))

    def found(self, queries: list[str]) -> Any:
        """See IOwner."""
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
        pieces: list[Piece] = []
        quiet = yield from self._in_pieces(patterns, start, end, pieces.append)
        return assembled(len(patterns), pieces, quiet)

    def pieces(self, patterns: list[str], start: int, end: int, take: Callable[[Piece], object]) -> Any:
        """Give `take` what `resolve` answers, piece by piece; return whether it is quiet."""
        return self.answer(self._in_pieces(patterns, start, end, take))

    def _in_pieces(
        self, patterns: list[str], start: int, end: int, take: Callable[[Piece], object]
    ) -> Slices[bool]:
        budget, meant, series, points = self.limits.find.budget(), list[Leaves](), 0, 0
        for pattern in patterns:
            meant.append((yield from self._leaves_of(pattern, budget, self.limits.series - series)))
            series += len(meant[-1])
        quiet = self.waiting is not None and not self.waiting()
        done = 0
        for number, leaves in enumerate(meant):
            for low in range(0, len(leaves), METRICS_AT_ONCE):
                high = min(low + METRICS_AT_ONCE, len(leaves))
                if done and done + high - low > METRICS_AT_ONCE:
                    yield
                    done = 0
                done += high - low
                piece = leaves.piece(number, low, high, self._found(leaves, low, high, start, end))
                points += len(piece.timestamps) // 8
                if points > self.limits.points:
                    raise TooBroad(f"The request means more than {self.limits.points} points in memory, too many")
                take(piece)
        return quiet

    def _found(self, leaves: Leaves, low: int, high: int, start: int, end: int) -> HotColumns | None:
        """Return the points of [start, end] and those that may share a slot of a file with them."""
        if not leaves.has_numbers:
            return None
        return self.hot(leaves.ids[low:high], leaves.slacks[low:high], start, end)

    def _leaves_of(self, pattern: str, budget: FindBudget, room: int) -> Slices[Leaves]:
        version = self.index.version, self.numbers_version()
        leaves = self.recent.get(pattern, version)
        if leaves is not None and len(leaves) <= budget.matches:
            budget.matches -= len(leaves)
            self._check(len(leaves), room)
            return leaves
        expressions = tag_query(pattern)
        if expressions is not None:
            names = self.known.tags.find(expressions)
        else:
            names = yield from finding_leaves(self.index, pattern, budget)
        self._check(len(names), room)
        leaves = yield from self._numbered(names)
        if expressions is None and (self.index.version, self.numbers_version()) == version:
            self.recent.put(pattern, version, leaves)
        return leaves

    def _check(self, series: int, room: int) -> None:
        if series > room:
            known = self.limits.series - room + series
            raise TooBroad(f"The request means {known} series or more, the limit is {self.limits.series}")

    def _numbered(self, names: list[str]) -> Slices[Leaves]:
        """Return metrics with how they are kept, and the numbers under which their points wait."""
        schemas: dict[SchemaInfo, int] = {}
        known, number = None, 0
        ids, numbers = list[int](), list[int]()
        for low in range(0, len(names), _NAMES_AT_ONCE):
            if low:
                yield
            for name in names[low : low + _NAMES_AT_ONCE]:
                schema = self.schema(name)
                if schema is not known:
                    known, number = schema, schemas.setdefault(schema, len(schemas))
                numbers.append(number)
                ids.append(self.lookup(name.encode("utf-8", "replace")))
        columns = np.array(numbers, np.uint32).tobytes() if len(schemas) > 1 else b""
        return leaves_of(names, list(schemas), columns, np.array(ids, np.uint32))


@implementer(IOwner)
@dataclass(frozen=True)
class NoMetrics:
    """The answers of a process that keeps no metrics; `reports` give a topic's values or a Deferred of them."""

    reports: dict[str, Callable[[], object]] = field(default_factory=dict)

    def find(self, queries: list[str]) -> list[list[Match]]:
        """See IOwner."""
        return [[] for _ in queries]

    def found(self, queries: list[str]) -> list[Found]:
        """See IOwner."""
        return [Found() for _ in queries]

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
