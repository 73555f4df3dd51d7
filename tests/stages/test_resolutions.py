"""Tests of `cadtwist.stages.resolutions` and `.summaries`."""

from __future__ import annotations

import random
from itertools import count
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.statsd import StatsdCodec, StatsdColumns
from cadtwist.kernels import active
from cadtwist.kernels.statsdline import CADENT
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch
from cadtwist.model.cadentstyle import cadent_style
from cadtwist.model.summary import SummaryBatch
from cadtwist.stages.resolutions import Resolution, Resolutions
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.stages.statsdnames import GraphiteTeller, Telling
from cadtwist.stages.statsdsums import Etsy, OwnCounts
from cadtwist.stages.summaries import KeySummaries
from cadtwist.telemetry import Account

START = 1_700_000_000.0
Row = tuple[int, float, float, float, float, float, float, float]


class Taken:
    """Keeps the bins that it is told."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.resolutions: set[Resolution] = set()

    def accept_summaries(self, batch: SummaryBatch, resolution: Resolution) -> None:
        assert batch.firsts is not None
        assert batch.lasts is not None
        columns = (batch.ids, batch.timestamps, batch.counts, batch.sums, batch.minima, batch.maxima, batch.firsts,
                   batch.lasts)  # fmt: skip
        self.rows += zip(*(column.tolist() for column in columns), strict=True)
        self.resolutions.add(resolution)


def summaries(*rows: tuple[int, float, float]) -> SummaryBatch:
    """Return summaries of one value each: (id, time, value)."""
    ids, times, values = (np.array(column) for column in zip(*rows, strict=True))
    ids, values, one = ids.astype(np.uint32), values.astype(np.float64), np.ones(len(ids))
    return SummaryBatch(ids, times.astype(np.float64), one, values, values * values, values, values, values, values)


class ResolutionsTests(SynchronousTestCase):
    def make(self, *steps: float, now: float = 0.0, clock: Any = float, max_bytes: int = 0) -> Resolutions:
        self.taken = [Taken() for _ in steps]
        self.account = Account("bins")
        sinks = [(Resolution(step, 3600.0), taken) for step, taken in zip(steps, self.taken, strict=True)]
        return Resolutions(sinks, self.account, now, clock, max_bytes)

    def test_each_resolution_in_its_time(self) -> None:
        bins = self.make(10.0, 60.0)
        bins.accept_summaries(summaries((1, 5.0, 3.0), (1, 9.0, 1.0), (1, 15.0, 7.0)))
        self.assertEqual(bins.next_flush(9.0), 10.0)
        self.assertTrue(bins.flush(10.0))
        self.assertEqual(self.taken[0].rows, [(1, 0.0, 2.0, 4.0, 1.0, 3.0, 3.0, 1.0)])
        bins.flush(60.0)
        self.assertEqual(self.taken[0].rows[1:], [(1, 10.0, 1.0, 7.0, 7.0, 7.0, 7.0, 7.0)])
        self.assertEqual(self.taken[1].rows, [(1, 0.0, 3.0, 11.0, 1.0, 7.0, 3.0, 7.0)])
        self.assertEqual((self.account.balance(), self.account.held()), (0, 0))
        self.assertEqual(self.taken[1].resolutions, {Resolution(60.0, 3600.0)})

    def test_open_bins_go_on_elsewhere(self) -> None:
        bins = self.make(10.0, 60.0)
        bins.accept_summaries(summaries((1, 5.0, 3.0), (2, 9.0, 1.0), (1, 15.0, 7.0)))
        left = bins.open_cells()
        again = self.make(10.0, 30.0)
        for cells in left:
            again.restore(cells)
        self.assertEqual((self.account.made, self.account.dropped, self.account.balance()), (5, {"expired": 2}, 0))
        again.accept_summaries(summaries((1, 6.0, 1.0)))
        again.flush(20.0)
        self.assertEqual(
            self.taken[0].rows,
            [(1, 0.0, 2.0, 4.0, 1.0, 3.0, 3.0, 1.0), (1, 10.0, 1.0, 7.0, 7.0, 7.0, 7.0, 7.0),
             (2, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)],
        )  # fmt: skip
        again.flush(30.0)
        self.assertEqual(self.taken[1].rows, [(1, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)])
        self.assertEqual((self.account.balance(), self.account.held()), (0, 0))

    def test_late_data_is_told_with_the_next_bin(self) -> None:
        bins = self.make(10.0)
        bins.flush(20.0)
        bins.accept_summaries(summaries((1, 5.0, 3.0)))
        bins.flush(30.0)
        self.assertEqual([row[1] for row in self.taken[0].rows], [0.0])

    def test_slices(self) -> None:
        bins = self.make(10.0, clock=count().__next__)
        bins.accept_summaries(summaries(*[(number, 5.0, 1.0) for number in range(9000)]))
        self.assertFalse(bins.flush(10.0, 0.5))
        self.assertEqual((len(self.taken[0].rows), bins.next_flush(10.0)), (4096, 10.0))
        bins.accept_summaries(summaries((1, 11.0, 1.0), (8999, 12.0, 1.0)))
        while not bins.flush(10.0, 0.5):
            pass
        self.assertEqual((len(self.taken[0].rows), self.account.held()), (9000, 2))
        self.assertEqual(self.account.balance(), 0)

    def test_the_end_tells_all(self) -> None:
        bins = self.make(10.0, 60.0)
        bins.accept_summaries(summaries((1, 5.0, 3.0)))
        bins.finish(6.0)
        self.assertEqual((len(self.taken[0].rows), len(self.taken[1].rows), self.account.balance()), (1, 1, 0))

    def test_holding_and_forgetting(self) -> None:
        bins = self.make(10.0)
        bins.accept_summaries(summaries((1, 5.0, 3.0)))
        ids = np.array([1, 2], np.uint32)
        self.assertEqual(bins.holds(ids).tolist(), [True, False])
        bins.forget(ids)
        self.assertFalse(bins.holds(ids).any())
        self.assertEqual((self.account.dropped, self.account.balance()), ({"expired": 1}, 0))
        bins.accept_summaries(summaries((1, 5.0, 3.0)))
        self.assertTrue(bins.holds(ids)[0])

    def test_memory_is_bounded(self) -> None:
        bins = self.make(10.0, max_bytes=500)
        bins.accept_summaries(summaries(*[(number, 5.0, 1.0) for number in range(9)]))
        self.assertGreater(self.account.dropped["window_full"], 3)
        self.assertEqual(self.account.balance(), 0)

    def test_truth(self) -> None:
        point = st.tuples(st.integers(0, 3), st.integers(0, 199), st.integers(-9, 9))
        points = st.lists(point, min_size=1, max_size=50)

        @settings(max_examples=60, deadline=None)
        @given(points, st.integers(0, 999))
        def agrees(given_points: list[tuple[int, int, int]], seed: int) -> None:
            random.Random(seed).shuffle(given_points)
            bins = self.make(20.0, 60.0)
            bins.accept_summaries(summaries(*[(i, float(t), float(v)) for i, t, v in given_points]))
            bins.flush(1000.0)
            for step, taken in zip((20, 60), self.taken, strict=True):
                model: dict[tuple[int, float], list[int]] = {}
                for number, when, value in given_points:
                    model.setdefault((number, float(when - when % step)), []).append(value)
                wanted = {key: (len(v), sum(v), min(v), max(v), v[0], v[-1]) for key, v in model.items()}
                self.assertEqual({row[:2]: row[2:] for row in taken.rows}, wanted)

        agrees()


class CadentStatsdTests(SynchronousTestCase):
    """A statsd accumulator: lines in, named values and summaries out."""

    def setUp(self) -> None:
        self.table, self.graphite, self.writers = (active.table.MetricTable(n) for n in range(3))
        self.told: dict[str, float] = {}
        self.taken, self.account = Taken(), Account("accumulator")

    def make(self, options: dict[str, str], flush_s: float = 3.0, keep_keys: bool = False) -> None:
        style, naming = cadent_style(options, flush_s, keep_keys, False)
        teller = GraphiteTeller(Telling(self.table, naming), self.graphite, self, self.account)
        bins = Resolutions([(Resolution(flush_s, 60.0), self.taken)], Account("bins"), START, float)
        self.bins = bins
        self.summaries = KeySummaries(self.table, self.writers, bins, self.account)
        self.window = StatsdWindow(
            self.table, Etsy(style, 0.0, lambda: OwnCounts(0, 0, 0)), teller, self.account, float, START,
            summaries=self.summaries,
        )  # fmt: skip
        self.codec = StatsdCodec(self.table, StatsdColumns(), self.window.accept, CADENT)

    def accept(self, batch: Batch) -> None:
        names = [name.decode() for name in self.graphite.names(batch.ids)]
        self.told |= dict(zip(names, batch.values.tolist(), strict=True))

    def flush(self, *lines: str) -> dict[str, float]:
        def fail(bad: BadInput, items: int) -> None:
            raise AssertionError(bad)

        self.codec.datagram("\n".join(lines).encode(), START, fail)
        self.codec.flush()
        self.told = {}
        due = self.window.next_flush(0.0)
        assert due is not None
        self.window.flush(due)
        self.assertEqual(self.account.balance(), 0)
        return {name: round(value, 6) for name, value in self.told.items()}

    def test_as_recorded_but_for_known_faults(self) -> None:
        self.make({})
        told = self.flush(*[f"t:{value}|ms" for value in range(10, 101, 10)], "cnt:3|c", "cnt:2|c|@0.5")
        self.assertEqual(
            {name.removeprefix("stats.timers.t."): value for name, value in told.items() if ".t." in name},
            {"count": 10.0, "count_ps": 3.333333, "lower": 10.0, "upper": 100.0, "sum": 550.0, "mean": 55.0,
             "std": 28.722813, "median": 55.0, "count_90": 9.0, "mean_90": 50.0, "sum_90": 450.0, "upper_90": 90.0,
             "count_95": 10.0, "mean_95": 55.0, "sum_95": 550.0, "upper_95": 100.0, "count_99": 10.0, "mean_99": 55.0,
             "sum_99": 550.0, "upper_99": 100.0},
        )  # fmt: skip
        self.assertEqual((told["stats.counters.cnt"], told["stats_counts.cnt"]), (2.333333, 7.0))

    def test_the_other_tree(self) -> None:
        tree = {"globalPrefix": "PRE", "globalSuffix": "SUF", "legacyNamespace": "false"}
        self.make({**tree, "percentThreshold": "0.57,99.9"})
        told = self.flush("c1:3|c", "t1:5|ms", "t1:9|ms", "t1:1|ms")
        self.assertEqual((told["PRE.counters.SUF.count.c1"], told["PRE.counters.SUF.rate.c1"]), (3.0, 1.0))
        self.assertEqual(told["PRE.timers.SUF.t1.median"], 5.0)
        self.assertEqual([told[f"PRE.timers.SUF.t1.{f}_57"] for f in ("count", "mean", "sum", "upper")], [2, 3, 6, 5])
        self.assertEqual(told["PRE.timers.SUF.t1.upper_99_9"], 9.0)

    def test_idle_keys(self) -> None:
        self.make({}, keep_keys=True)
        self.flush("c:1|c", "g:5|g", "t:1|ms")
        told = self.flush()
        self.assertEqual((told["stats_counts.c"], told["stats.gauges.g"]), (0.0, 5.0))
        idle = {name for name in told if ".t." in name}
        self.assertEqual(idle, {f"stats.timers.t.{f}" for f in
                                ("count", "count_ps", "lower", "upper", "sum", "mean", "std", "median")})  # fmt: skip
        self.make({})
        self.flush("c:1|c", "g:5|g")
        self.assertEqual(self.flush(), {})

    def test_gauges_move(self) -> None:
        self.make({}, keep_keys=True)
        self.flush("g:5|g")
        self.assertEqual(self.flush("g:+2|g", "g:-3|g")["stats.gauges.g"], 4.0)

    def test_one_summary_of_each_key(self) -> None:
        self.make({}, flush_s=10.0)
        self.flush("g:1|g", "g:1|g")
        self.bins.finish(START)
        self.taken.rows.clear()
        self.flush("a.b:3|c", "a.b:2|c|@0.5", "t:5|ms", "t:1|ms|@0.1", "g:8|g", "s:x|s")
        self.bins.finish(START)
        rows = {self.writers.name(row[0]): row[1:] for row in self.taken.rows}
        self.assertEqual(
            rows,
            {b"a.b": (START + 20.0, 2.0, 7.0, 2.0, 3.0, 3.0, 2.0), b"t": (START + 20.0, 2.0, 6.0, 1.0, 5.0, 5.0, 1.0),
             b"g": (START + 20.0, 1.0, 8.0, 8.0, 8.0, 8.0, 8.0)},
        )  # fmt: skip
        names = np.array([self.writers.lookup(b"a.b")], np.uint32)
        self.assertTrue(self.summaries.holds(names)[0])
        self.window.forget(np.array([self.table.lookup(b"a.b|c")], np.uint32))
        self.assertFalse(self.summaries.holds(names)[0])
