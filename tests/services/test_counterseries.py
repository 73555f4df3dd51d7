"""Counters found and resolved like metrics, alone and beside metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.kernels.statformat import CELL
from cadtwist.model.statretention import parse_stat_retentions
from cadtwist.query.find import TooBroad, at_once, matched
from cadtwist.query.index import BRANCH, LEAF, MetricIndex
from cadtwist.query.istat import COUNTER_FIGURES
from cadtwist.query.owner import IOwner, QueryLimits
from cadtwist.services.counterseries import CounterOwner, CounterSeries, JoinedOwner
from tests.query.test_owner import owner

NOW = 1_000_000


def cells(*rows: tuple[float, ...]) -> Any:
    """Return cells of (time, count, sum, sumsq, min, max)."""
    made = np.zeros(len(rows), CELL)
    for number, row in enumerate(rows):
        for name, value in zip(("time", "count", "sum", "sumsq", "min", "max"), row, strict=True):
            made[number][name] = value
    return made


class CounterOwnerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[tuple[list[str], int, int, int]] = []
        self.kept: dict[str, Any] = {}
        self.series = CounterSeries(MetricIndex(1))

    def owner(self, limits: QueryLimits | None = None) -> CounterOwner:
        async def read(counters: Any, step: int, start: int, end: int) -> list[Any]:
            self.asked.append((list(counters), step, start, end))
            return [self.kept.get(counter) for counter in counters]

        retentions = parse_stat_retentions("10s:1h,5m:1d,5m:7d:season:0.9")
        return CounterOwner(
            self.series.index, read, retentions, lambda: NOW, {"status": lambda: {"pid": 1}}, limits or QueryLimits()
        )

    def test_interface(self) -> None:
        verifyObject(IOwner, self.owner())
        verifyObject(IOwner, JoinedOwner(owner([], {}), self.owner()))

    def test_each_figure_is_a_series(self) -> None:
        self.series.add("a.b")
        self.kept["a.b"] = cells((NOW - 20, 2, 12, 80, 4, 8))
        one = self.owner()
        self.assertEqual(one.find(["a.*", "a.b.?um"]), [[("a.b", BRANCH)], [("a.b.sum", LEAF)]])
        found = self.successResultOf(one.resolve(["a.b.*", "none.*", "seriesByTag('x=y')"], NOW - 60, NOW))
        names = [[metric.name for metric in metrics] for metrics in found.patterns]
        self.assertEqual(names, [[f"a.b.{figure}" for figure in COUNTER_FIGURES], [], []])
        told = {m.name[4:]: np.frombuffer(m.values).tolist() for m in found.patterns[0]}
        self.assertEqual(told, {"avg": [6], "count": [2], "max": [8], "min": [4], "sdev": [8**0.5], "sum": [12]})
        methods = {m.name[4:]: found.schemas[m.schema].method for m in found.patterns[0]}
        self.assertEqual(methods, COUNTER_FIGURES)
        self.assertEqual(found.schemas[0].archives, ((10, 360), (300, 288)))
        self.assertEqual(self.asked, [(["a.b"], 10, NOW - 50, NOW + 10)])

    def test_which_file_and_what_is_unknown(self) -> None:
        self.series.add("a")
        one = self.owner()
        found = self.successResultOf(one.resolve(["a.avg"], NOW - 7200, NOW - 3600))
        self.assertEqual(self.asked[0][1], 300)
        self.assertTrue(np.isnan(np.frombuffer(found.patterns[0][0].values)).all())
        found = self.successResultOf(one.resolve(["a.avg"], 1, 2))
        self.assertEqual((len(self.asked), found.patterns[0][0].timestamps), (1, b""))

    def test_limits(self) -> None:
        for number in range(100):
            self.series.add(f"c.{number}")
            self.kept[f"c.{number}"] = cells(*((NOW - 10 * n, 1, 1, 1, 1, 1) for n in range(10)))
        few = self.owner(QueryLimits(series=99))
        self.failureResultOf(few.resolve(["c.*.avg"], NOW - 60, NOW), TooBroad)
        small = self.owner(QueryLimits(points=700))
        self.failureResultOf(small.resolve(["c.*.avg"], NOW - 60, NOW), TooBroad)
        self.successResultOf(self.owner().resolve(["c.*.avg"], NOW - 60, NOW))
        self.assertEqual([len(counters) for counters, *_ in self.asked[-2:]], [64, 36])

    def test_removed(self) -> None:
        self.series.add("a.b")
        self.series.remove("a.b")
        self.assertEqual(self.owner().find(["*"]), [[]])


class JoinedTests(CounterOwnerTests):
    def joined(self) -> JoinedOwner:
        first = owner([b"a.b.avg", b"m.x"], {b"a.b.avg": [(NOW - 10, 5.0)]})
        for counter in ("a.b", "m"):
            self.series.add(counter)
            self.kept[counter] = cells((NOW - 20, 1, 1, 1, 1, 1))
        return JoinedOwner(first, self.owner())

    def test_both_are_found_in_one_tree(self) -> None:
        both = self.joined()
        found = self.successResultOf(both.find(["*", "m.*", "a.b.avg"]))
        self.assertEqual(found[0], [("a", BRANCH), ("m", BRANCH)])
        self.assertEqual([path for path, _ in found[1]], sorted(["m.x", *(f"m.{f}" for f in COUNTER_FIGURES)]))
        self.assertEqual(found[2], [("a.b.avg", LEAF)])
        columns = self.successResultOf(both.found(["*", "m.*", "none"]))
        self.assertEqual([at_once(matched(each)) for each in columns], [found[0], found[1], []])

    def test_of_a_name_that_both_know_the_metric_counts(self) -> None:
        both = self.joined()
        found = self.successResultOf(both.resolve(["a.b.*", "m.sum"], NOW - 60, NOW))
        names = [metric.name for metric in found.patterns[0]]
        self.assertEqual(names, [f"a.b.{figure}" for figure in COUNTER_FIGURES])
        average, count = found.patterns[0][:2]
        self.assertEqual(found.schemas[average.schema].archives, ((60, 10), (300, 100)))
        self.assertEqual(np.frombuffer(average.values).tolist(), [5.0])
        self.assertEqual(found.schemas[count.schema].method, "sum")
        self.assertEqual(np.frombuffer(found.patterns[1][0].values).tolist(), [1.0])

    def test_all_leaves(self) -> None:
        both, names, cursor = self.joined(), [], 0
        while True:
            some, cursor = both.leaves(cursor, 3)
            names += some
            if not cursor:
                break
        self.assertEqual(set(names), {"m.x", *(f"{c}.{f}" for c in ("a.b", "m") for f in COUNTER_FIGURES)})

    def test_the_rest_is_the_first_ones(self) -> None:
        both = self.joined()
        self.assertEqual(both.report("status"), {"pid": 1})
        self.assertEqual(both.catalog("events", [0, 1, [], "all"]), [])
