"""Tests of `cadtwist.stages.aggregate`: recorded buffers, lateness, reloads, and a plain model of every method."""

from __future__ import annotations

import json
import math
import os
import random
import statistics
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels import active
from cadtwist.model.aggregationrules import AGGREGATE_METHODS, AggregateRule
from cadtwist.model.batch import Batch
from cadtwist.model.cadentstyle import guessed_rules
from cadtwist.stages.aggregate import Window, WindowPolicy
from cadtwist.telemetry import Account

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "carbon")
Point = tuple[str, float, float]


class Aggregation:
    """A window with a clock, and what it passes on."""

    def __init__(
        self,
        *rules: AggregateRule,
        policy: WindowPolicy | None = None,
        start: float = 0.0,
        names_bytes: int = 0,
        ticks: Callable[[], float] = float,
    ) -> None:
        self.table = active.table.MetricTable(5, names_bytes)
        self.out: list[Point] = []
        self.account = Account("aggregator")
        self.clock = Clock()
        self.clock.advance(start)
        self.window = Window(
            rules, self.table, self, self.account, self.clock.seconds, ticks, policy or WindowPolicy()
        )

    def accept(self, batch: Batch) -> None:
        names = [name.decode(errors="replace") for name in self.table.names(batch.ids)]
        self.out += zip(names, batch.timestamps.tolist(), batch.values.tolist(), strict=True)

    def feed(self, *points: Point) -> list[Point]:
        ids = np.array([self.table.intern(name.encode(), 1) for name, _, _ in points], np.uint32)
        times = np.array([when for _, when, _ in points], np.float64)
        self.out = []
        self.window.accept(Batch(ids, times, np.array([value for _, _, value in points], np.float64)))
        assert self.account.balance() == 0, self.account.snapshot()
        return self.out

    def until(self, when: float) -> list[Point]:
        """Let time pass, flushing whenever something is due; return what was told."""
        self.out = []
        while (due := self.window.next_flush(self.clock.seconds())) is not None and due <= when:
            self.clock.advance(max(0.0, due - self.clock.seconds()))
            self.window.flush(self.clock.seconds())
        self.clock.advance(when - self.clock.seconds())
        assert self.account.balance() == 0, self.account.snapshot()
        return self.out

    def starts(self, output: str) -> list[int]:
        """Return the starts of the intervals that are open for an output."""
        outputs = self.window.outputs
        rows = np.flatnonzero(outputs.ids == self.table.lookup(output.encode())).astype(np.uint32)
        return [int(start) for start in outputs.buckets.read(outputs.buckets.cells_of(rows))[1].tolist()]


def rule(output: str = "all.<x>", method: str = "sum", pattern: str = "in.*.<x>", frequency: int = 60) -> AggregateRule:
    return AggregateRule(output, frequency, method, pattern)


def only(points: Sequence[Point], output: str) -> list[tuple[float, float]]:
    return [(when, value) for name, when, value in points if name == output]


class RecordedBuffersTests(SynchronousTestCase):
    """What carbon's buffers told and held, on a simulated clock."""

    def test_as_recorded(self) -> None:
        with open(os.path.join(DATA, "aggregator_buffers.json"), encoding="utf-8") as file:
            versions = json.load(file)
        for version in versions:
            lateness = "carbon-1.1" if version["carbon"].startswith("1.1") else "carbon"
            for run in version["runs"]:
                self.replay(run, lateness)

    def replay(self, run: Any, lateness: str) -> None:
        most, write_back = run["MAX_AGGREGATION_INTERVALS"], run["WRITE_BACK_FREQUENCY"]
        policy = WindowPolicy(lateness, most, write_back, forward_all=False)
        start = float(run["start_time"])
        one = AggregateRule("agg.m", run["frequency"], run["method"], "in.*")
        aggregation = Aggregation(one, policy=policy, start=start)
        inputs = {point["at"]: point for point in run["inputs"]}
        told, held, before = [], [], []
        for second in range(max(inputs) + 1000):
            for name, when, value in aggregation.until(start + second):
                told.append({"at": second, "metric": name, "timestamp": int(when), "value": value})
            now = aggregation.starts("agg.m")
            if now != before:
                held.append({"at": second, "intervals": now or None})
            if second in inputs:
                aggregation.feed(("in.a", float(inputs[second]["timestamp"]), inputs[second]["value"]))
                after = aggregation.starts("agg.m")
                if after != now:
                    held.append({"at": second + 1, "intervals": after or None})
                now = after
            before = now
        self.assertEqual(sorted_told(told), sorted_told(run["emitted"]), (lateness, run))
        self.assertEqual(held, run["intervals_held"], (lateness, run))


def sorted_told(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(told, key=lambda each: (each["at"], each["timestamp"]))


class WindowTests(SynchronousTestCase):
    def test_feeds_and_forwards(self) -> None:
        aggregation = Aggregation(rule(), start=1000.0)
        points = [("in.a.x", 1000.0, 1.0), ("in.b.x", 1001.0, 2.0), ("other", 1000.0, 3.0)]
        self.assertEqual(aggregation.feed(*points), points)
        self.assertEqual(only(aggregation.until(1060.0), "all.x"), [(960.0, 3.0)])

    def test_an_output_is_not_forwarded_to_itself(self) -> None:
        aggregation = Aggregation(rule("in.all.x", pattern="in.*.x"))
        self.assertEqual(aggregation.feed(("in.all.x", 1.0, 5.0), ("in.b.x", 1.0, 1.0)), [("in.b.x", 1.0, 1.0)])

    def test_without_forwarding(self) -> None:
        aggregation = Aggregation(rule(), policy=WindowPolicy(forward_all=False))
        self.assertEqual(aggregation.feed(("in.a.x", 1.0, 1.0), ("other", 1.0, 1.0)), [])
        self.assertEqual(aggregation.account.dropped, {"unmatched": 1})

    def test_all_matching_rules_apply(self) -> None:
        aggregation = Aggregation(rule(), rule("count.<x>", "count"), rule("p.<x>", "p90", frequency=10))
        aggregation.feed(*[(f"in.{i}.x", 5.0, float(i)) for i in range(11)])
        told = aggregation.until(60.0)
        self.assertEqual([only(told, f"{name}.x") for name in ("all", "count", "p")],
                         [[(0.0, 55.0)], [(0.0, 11.0)], [(0.0, 9.0)]])  # fmt: skip

    def test_two_rules_of_one_output_share_the_first_ones_settings(self) -> None:
        aggregation = Aggregation(rule("o", "sum", "a.*"), rule("o", "max", "*.b", 10))
        aggregation.feed(("a.b", 1.0, 2.0), ("c.b", 1.0, 5.0))
        self.assertEqual(only(aggregation.until(100.0), "o"), [(0.0, 9.0)])

    def test_explain(self) -> None:
        window = Aggregation(rule(), rule("m.<x>", "max"), policy=WindowPolicy(forward_all=False)).window
        self.assertEqual(
            window.explain("in.a.x"), "in.a.x: feeds sum of all.x every 60 s, max of m.x every 60 s; not passed on"
        )
        self.assertEqual(window.explain("y"), "y: feeds nothing; not passed on")

    def test_final_once_drops_late_data(self) -> None:
        policy = WindowPolicy("final-once", allowance_s=5.0, aligned=True)
        aggregation = Aggregation(rule(), policy=policy, start=30.0)
        aggregation.feed(("in.a.x", 30.0, 1.0), ("in.a.x", 61.0, 10.0))
        self.assertEqual(aggregation.until(64.0), [])
        aggregation.feed(("in.a.x", 59.0, 2.0))
        self.assertEqual(only(aggregation.until(65.0), "all.x"), [(0.0, 3.0)])
        aggregation.feed(("in.a.x", 59.0, 4.0), ("in.a.x", 62.0, 20.0))
        self.assertEqual(only(aggregation.until(300.0), "all.x"), [(60.0, 30.0)])
        self.assertEqual(aggregation.account.dropped, {"late": 1})

    def test_revise_corrects_and_then_drops(self) -> None:
        aggregation = Aggregation(rule(), policy=WindowPolicy("revise", 2, aligned=True), start=30.0)
        aggregation.feed(("in.a.x", 30.0, 1.0))
        self.assertEqual(only(aggregation.until(60.0), "all.x"), [(0.0, 1.0)])
        aggregation.feed(("in.a.x", 59.0, 2.0))
        self.assertEqual(only(aggregation.until(120.0), "all.x"), [(0.0, 3.0)])
        self.assertEqual(aggregation.account.counters["revised"], 1)
        aggregation.until(181.0)
        aggregation.feed(("in.a.x", 59.0, 4.0))
        self.assertEqual(aggregation.account.dropped, {"late": 1})
        self.assertEqual(aggregation.until(600.0), [])

    def test_each_beat_tells_all_and_forgets(self) -> None:
        policy = WindowPolicy("each-beat", forward_all=False, aligned=True)
        aggregation = Aggregation(*guessed_rules(10), policy=policy, start=100.0)
        aggregation.feed(("a.b", 101.0, 1.0), ("a.b", 103.0, 3.0), ("a.b", 112.0, 9.0), ("a.sum", 5.0, 4.0))
        told = aggregation.until(110.0)
        self.assertEqual(sorted(told), [("a.b", 100.0, 2.0), ("a.b", 110.0, 9.0), ("a.sum", 0.0, 4.0)])
        aggregation.feed(("a.b", 102.0, 5.0))
        self.assertEqual(aggregation.until(130.0), [("a.b", 100.0, 5.0)])

    def test_names_that_cannot_be_read(self) -> None:
        for forward_all, dropped in ((True, {}), (False, {"name": 1})):
            aggregation = Aggregation(rule(), policy=WindowPolicy(forward_all=forward_all))
            ids = np.array([aggregation.table.intern(b"in.a.\xff", 0)], np.uint32)
            aggregation.window.accept(Batch(ids, np.ones(1), np.ones(1)))
            self.assertEqual((aggregation.account.dropped, aggregation.account.balance()), (dropped, 0))
            self.assertEqual(aggregation.account.out, int(forward_all))

    def test_idle_outputs_may_be_told_as_zero(self) -> None:
        policy = WindowPolicy("each-beat", forward_all=False, aligned=True, keep_idle=True)
        aggregation = Aggregation(*guessed_rules(10), policy=policy, start=100.0)
        aggregation.feed(("a.b", 101.0, 1.0))
        self.assertEqual(aggregation.until(130.0), [("a.b", 100.0, 1.0), ("a.b", 110.0, 0.0), ("a.b", 120.0, 0.0)])
        aggregation.window.forget(np.array([aggregation.table.lookup(b"a.b")], np.uint32))
        aggregation.until(150.0)
        self.assertEqual((len(aggregation.window.outputs), aggregation.until(200.0)), (0, []))

    def test_a_budget_in_time_cuts_a_flush_into_slices(self) -> None:
        aggregation = Aggregation(rule("out.<x>"), ticks=count().__next__)
        aggregation.feed(*[(f"in.a.m{i}", 1.0, 1.0) for i in range(9000)])
        aggregation.clock.advance(60.0)
        aggregation.out = []
        self.assertFalse(aggregation.window.flush(60.0, 0.5))
        self.assertEqual(len(aggregation.out), 4096)
        self.assertEqual(aggregation.window.next_flush(60.0), 60.0)
        self.assertFalse(aggregation.window.flush(60.0, 0.5))
        self.assertTrue(aggregation.window.flush(60.0, 0.5))
        self.assertEqual((len(aggregation.out), aggregation.account.balance()), (9000, 0))

    def test_finish_tells_what_is_open(self) -> None:
        aggregation = Aggregation(rule())
        aggregation.feed(("in.a.x", 10.0, 1.0), ("in.a.x", 70.0, 2.0))
        aggregation.out = []
        aggregation.window.finish(20.0)
        self.assertEqual(only(aggregation.out, "all.x"), [(0.0, 1.0), (60.0, 2.0)])
        self.assertEqual((aggregation.account.held(), aggregation.account.balance()), (0, 0))

    def test_a_full_table_is_told(self) -> None:
        aggregation = Aggregation(rule(), names_bytes=64)
        self.assertEqual(aggregation.feed(("in.a.x", 1.0, 1.0), ("in.a.x", 2.0, 1.0)), [])
        self.assertEqual(aggregation.account.dropped, {"table_full": 2})
        self.assertEqual(len(aggregation.window.outputs), 0)


class HoldingTests(SynchronousTestCase):
    def test_outputs_are_claimed_while_something_feeds_them(self) -> None:
        aggregation = Aggregation(rule())
        aggregation.feed(("in.a.x", 1.0, 1.0))
        source, output = (np.array([aggregation.table.lookup(n)], np.uint32) for n in (b"in.a.x", b"all.x"))
        window = aggregation.window
        self.assertEqual((window.holds(source).tolist(), window.holds(output).tolist()), ([False], [True]))
        window.forget(source)
        self.assertTrue(window.holds(output)[0])
        aggregation.until(2000.0)
        self.assertFalse(window.holds(output)[0])
        self.assertEqual((len(window.outputs), window.next_flush(0.0)), (0, None))

    def test_what_feeds_itself_goes_when_it_is_idle(self) -> None:
        policy = WindowPolicy("each-beat", forward_all=False, aligned=True)
        aggregation = Aggregation(*guessed_rules(10), policy=policy)
        aggregation.feed(("a.b", 1.0, 1.0))
        window, ids = aggregation.window, np.array([aggregation.table.lookup(b"a.b")], np.uint32)
        self.assertTrue(window.holds(ids)[0])
        aggregation.until(10.0)
        self.assertFalse(window.holds(ids)[0])
        window.forget(ids)
        self.assertEqual((len(window.outputs), window.holds(ids).tolist()), (0, [False]))

    def test_rows_are_used_again(self) -> None:
        aggregation = Aggregation(rule("out.<x>"))
        for number in range(300):
            aggregation.feed((f"in.a.m{number}", float(number), 1.0))
            aggregation.window.forget(np.array([aggregation.table.lookup(f"in.a.m{number}".encode())], np.uint32))
            aggregation.window.finish(float(number))
        self.assertEqual(len(aggregation.window.outputs), 0)
        self.assertLess(len(aggregation.window.outputs.ids), 200)


class ReloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.aggregation = Aggregation(rule(), rule("gone.<x>"), rule("other.<x>", "max"))
        self.aggregation.feed(("in.a.x", 1.0, 1.0), ("in.b.x", 2.0, 2.0))

    def reload(self, *rules: AggregateRule) -> None:
        old = self.aggregation.window
        fresh = old.replaced(rules)
        live = self.aggregation.table.live()
        self.assertEqual(fresh.prime(live, 3), len(live) - 3)
        fresh.prime(live, 100)
        self.aggregation.window = fresh
        fresh.adopt(old)

    def test_unchanged_outputs_go_on_and_others_are_told_to_their_end(self) -> None:
        self.reload(rule(), rule("other.<x>", "min"), rule("new.<x>", "count"))
        self.aggregation.feed(("in.a.x", 3.0, 10.0))
        told = self.aggregation.until(60.0)
        self.assertEqual(only(told, "all.x"), [(0.0, 13.0)])
        self.assertEqual(only(told, "gone.x"), [(0.0, 3.0)])
        self.assertEqual(sorted(only(told, "other.x")), [(0.0, 2.0), (0.0, 10.0)])
        self.assertEqual(only(told, "new.x"), [(0.0, 1.0)])
        self.aggregation.until(3000.0)
        self.assertEqual(len(self.aggregation.window.outputs), 3)

    def test_no_rule_left(self) -> None:
        self.reload()
        self.assertEqual(len(self.aggregation.feed(("in.a.x", 3.0, 10.0))), 1)
        self.assertEqual(len(self.aggregation.until(60.0)), 3)
        self.aggregation.until(3000.0)
        self.assertEqual(len(self.aggregation.window.outputs), 0)

    def test_while_it_is_primed_the_old_one_flushes(self) -> None:
        old = self.aggregation.window
        fresh = old.replaced([rule("new.<x>", "count")])
        fresh.prime(self.aggregation.table.live(), 100)
        self.aggregation.until(61.0)
        self.aggregation.window = fresh
        fresh.adopt(old)
        self.aggregation.feed(("in.a.x", 70.0, 1.0))
        self.assertEqual(only(self.aggregation.until(200.0), "new.x"), [(60.0, 1.0)])


def percentile(values: list[float], q: float) -> float:
    """The plain definition: linear between the two nearest ranks."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] if low == high else ordered[low] * (high - place) + ordered[high] * (place - low)


def expected(method: str, values: list[float]) -> float:
    """What a method makes of the values of an interval, in order of arrival."""
    plain = {"sum": sum, "min": min, "max": max, "count": len, "avg": statistics.fmean}
    if method in plain:
        return float(plain[method](values))
    return percentile(values, float(f"0.{method[1:]}"))


VALUES = st.one_of(st.integers(-1000, 1000).map(float), st.floats(-1e6, 1e6))
ARRIVALS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 299), VALUES), min_size=1, max_size=60)


class FinalOnce:
    """What `final-once` says, of one rule, without any cleverness: lists of values, and beats that are walked through.

    A beat is at a multiple of the interval and the allowance.  It tells what is over, and closes what was told and all
    before it.
    """

    def __init__(self, frequency: int, allowance: int) -> None:
        self.told: dict[tuple[str, float], list[float]] = {}
        self.late = 0
        self._frequency = frequency
        self._allowance = allowance
        self._open: dict[tuple[str, float], list[float]] = {}
        self._closed: dict[str, float] = {}

    def feed(self, output: str, when: float, value: float) -> None:
        """Take a datapoint."""
        start = when - when % self._frequency
        if start < self._closed.get(output, -math.inf):
            self.late += 1
        else:
            self._open.setdefault((output, start), []).append(value)

    def until(self, now: int, when: int) -> None:
        """Let time pass."""
        for second in range(now + 1, when + 1):
            if (second - self._allowance) % self._frequency == 0:
                for output, start in list(self._open):
                    end = start + self._frequency
                    if end + self._allowance <= second:
                        self.told[output, start] = self._open.pop((output, start))
                        self._closed[output] = max(end, self._closed.get(output, end))


class TruthTests(SynchronousTestCase):
    """A plain model agrees with every value told, over shuffled, late and duplicated input, for every method."""

    def test_final_once(self) -> None:
        """Each interval is told once, with what had come until then; what comes later is counted."""
        rules = [rule(f"{method}.<x>", method, frequency=20) for method in AGGREGATE_METHODS]
        points = st.lists(st.tuples(st.integers(0, 3), st.integers(-70, 30), VALUES), max_size=8)
        moves = st.lists(st.tuples(st.integers(0, 50), points), min_size=1, max_size=12)

        @settings(max_examples=80, deadline=None)
        @given(moves, st.integers(0, 25), st.integers(0, 10**6))
        def agrees(moves: list[Any], allowance: int, seed: int) -> None:
            policy = WindowPolicy("final-once", allowance_s=float(allowance), forward_all=False, aligned=True)
            aggregation, model = Aggregation(*rules, policy=policy, start=1000.0), FinalOnce(20, allowance)
            now, told = 1000, list[Point]()
            for pause, some in moves:
                points = [(f"in.h{host}.m{host % 2}", float(now + off), value) for host, off, value in some]
                points += points[: len(points) // 3]
                random.Random(seed).shuffle(points)
                aggregation.feed(*points)
                for name, when, value in points:
                    model.feed(name[-2:], when, value)
                told += aggregation.until(now + pause)
                model.until(now, now + pause)
                now += pause
            told += aggregation.until(now + 1000)
            model.until(now, now + 1000)
            found = {(name, start): value for name, start, value in told}
            self.assertEqual(len(found), len(told), "an interval is told twice")
            self.assertEqual(len(found), len(model.told) * len(rules))
            for (name, start), values in model.told.items():
                for method in AGGREGATE_METHODS:
                    true = expected(method, values)
                    near = math.isclose(found[f"{method}.{name}", start], true, rel_tol=1e-9, abs_tol=1e-6)
                    self.assertTrue(near, (method, start, values, found[f"{method}.{name}", start], true))
            dropped = {"late": model.late * len(rules)} if model.late else {}
            self.assertEqual((aggregation.account.dropped, aggregation.account.held()), (dropped, 0))

        agrees()

    def test_every_method(self) -> None:
        rules = [rule(f"{method}.<x>", method, frequency=20) for method in AGGREGATE_METHODS]

        @settings(max_examples=60, deadline=None)
        @given(ARRIVALS, st.integers(0, 10**6), st.lists(st.integers(1, 90), max_size=5))
        def agrees(arrivals: list[tuple[int, int, float]], seed: int, pauses: list[int]) -> None:
            random.Random(seed).shuffle(arrivals)
            arrivals += arrivals[: len(arrivals) // 3]
            aggregation = Aggregation(*rules, policy=WindowPolicy("revise", 10**6, forward_all=False, aligned=True))
            model: dict[tuple[str, float], list[float]] = {}
            told: dict[tuple[str, float], float] = {}
            step = max(1, len(arrivals) // (len(pauses) + 1))
            for at in range(0, len(arrivals), step):
                some = arrivals[at : at + step]
                part = [(f"in.h{host}.m{host % 2}", float(when), value) for host, when, value in some]
                aggregation.feed(*part)
                for name, when, value in part:
                    model.setdefault((name[-2:], when - when % 20), []).append(value)
                pause = pauses.pop() if pauses else 1000
                told |= {(n, t): v for n, t, v in aggregation.until(aggregation.clock.seconds() + pause)}
            told |= {(n, t): v for n, t, v in aggregation.until(aggregation.clock.seconds() + 2000)}
            self.assertEqual(len(told), len(model) * len(rules))
            for (name, start), values in model.items():
                for method in AGGREGATE_METHODS:
                    found, true = told[f"{method}.{name}", start], expected(method, values)
                    near = math.isclose(found, true, rel_tol=1e-9, abs_tol=1e-6)
                    self.assertTrue(near, (method, values, found, true))
            self.assertEqual((aggregation.account.dropped, aggregation.account.held()), ({}, 0))

        agrees()
