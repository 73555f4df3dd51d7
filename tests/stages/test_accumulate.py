"""Tests of `cadtwist.stages.accumulate`: lines in, lines out."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.relayline import RelayCodec, RelayTail, graphite_lines, regex_lines, statsd_lines
from cadtwist.codec.statsd import StatsdCodec, StatsdColumns
from cadtwist.kernels import active
from cadtwist.kernels.statsdline import CADENT
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch, Columns, Spans
from cadtwist.model.cadentstyle import cadent_style, guessed_rules, reduce_method
from cadtwist.model.told import Told
from cadtwist.stages.accumulate import AccumulatedSums, Blackhole, Loopback, RawLines, Silence, StatsdNames
from cadtwist.stages.aggregate import Window, WindowPolicy
from cadtwist.stages.names import Outcome
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.stages.statsdnames import GraphiteTeller, Telling
from cadtwist.stages.statsdsums import OwnCounts
from cadtwist.telemetry import Account

START = 1_700_000_000.0
STEP = 10


class Taken:
    """Keeps the lines of Batches with spans, and the datapoints of others."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.values: list[float] = []

    def accept(self, batch: Batch) -> None:
        self.values += batch.values.tolist()
        if batch.spans is not None:
            data = batch.spans.data
            self.lines += [data[start:end].decode(errors="replace") for start, _, end in batch.spans.table.tolist()]


def refuse(bad: BadInput, lines: int) -> None:
    raise AssertionError(bad)


class Relay:
    """Reads lines as a relay's listener does, and gives them to `sink`."""

    def __init__(self, sink: Any, lines: str) -> None:
        self.table = active.table.MetricTable(7)
        dialect = statsd_lines(False) if lines == "statsd" else graphite_lines(True, "cadent")
        self.codec = RelayCodec(self.table, Columns(keep_spans=True), sink.accept, dialect, numbers=True)

    def feed(self, *lines: str) -> None:
        self.codec.feed(RelayTail(), "".join(f"{line}\n" for line in lines).encode(), START, refuse)
        self.codec.flush()


class RawLinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.series, self.names = active.table.MetricTable(1), active.table.MetricTable(2)
        self.taken, self.account = Taken(), Account("input")

    def reader(self, plain: bool = False) -> RawLines:
        def codec(emit: Any) -> StatsdCodec:
            return StatsdCodec(self.series, StatsdColumns(), emit, CADENT)

        return RawLines(codec, self.names, self.taken, self.account, lambda: START, plain)

    def batch(self, data: bytes, *spans: tuple[int, int, int], renamed: tuple[bool, ...] | None = None) -> Batch:
        ids = np.array([self.names.intern(b"n%d" % n, 0) for n in range(len(spans))], np.uint32)
        table = np.array(spans, np.uint32).reshape(len(spans), 3)
        moved = None if renamed is None else np.array(renamed)
        return Batch(ids, np.zeros(len(ids)), np.zeros(len(ids)), None, Spans(data, table, moved))

    def test_reads_the_lines_that_are_there(self) -> None:
        places = ((0, 1, 5), (6, 7, 11), (12, 13, 17), (18, 18, 18))
        self.reader().accept(self.batch(b"a:1|c\nb:2|c\nc:x|c\n\r\n", *places))
        self.assertEqual((self.taken.values, len(self.series)), ([1.0, 2.0], 2))
        self.assertEqual((self.account.dropped, self.account.balance()), ({"bad.value": 1, "blank": 1}, 0))

    def test_reads_renamed_lines_under_their_new_names(self) -> None:
        self.reader().accept(self.batch(b"a:1|c\nb:2|c", (0, 1, 5), (6, 7, 11), renamed=(True, False)))
        self.assertEqual([self.series.name(0), self.series.name(1)], [b"n0|c", b"b|c"])

    def test_what_has_no_line(self) -> None:
        batch = Batch(np.zeros(2, np.uint32), np.zeros(2), np.array([1.0, 2.0]))
        self.reader().accept(batch)
        self.assertEqual((self.account.dropped, self.taken.values), ({"no_line": 2}, []))
        self.reader(plain=True).accept(batch)
        self.assertEqual((self.taken.values, self.account.balance()), ([1.0, 2.0], 0))


    def test_whatever_comes_is_counted(self) -> None:
        text = st.binary(max_size=12)
        part = st.one_of(text, st.sampled_from([b":", b"|", b"1|c", b"|@0.1", b" ", b"\r", b"\xff", b"a.b 1 1", b";"]))
        lines = st.lists(st.lists(part, max_size=6).map(b"".join), max_size=8)

        @settings(max_examples=150, deadline=None)
        @given(lines, st.booleans())
        def balances(drawn: list[bytes], keyed: bool) -> None:
            self.setUp()
            names = active.table.MetricTable(5)

            def codec(emit: Any) -> RelayCodec | StatsdCodec:
                if keyed:
                    return StatsdCodec(self.series, StatsdColumns(), emit, CADENT)
                return RelayCodec(names, Columns(keep_spans=True), emit, graphite_lines(True, "cadent"), numbers=True)

            reader = RawLines(codec, self.names, self.taken, self.account, lambda: START)
            dialect = regex_lines(r"(?s)(?P<Key>.+)") if not keyed else statsd_lines(False)
            front = RelayCodec(self.names, Columns(keep_spans=True), reader.accept, dialect)
            front.feed(RelayTail(), b"".join(line + b"\n" for line in drawn), START, lambda *_: None)
            front.flush()
            self.assertEqual(self.account.balance(), 0)
            self.assertEqual(len(self.taken.values), self.account.out)

        balances()


class LoopbackTests(SynchronousTestCase):
    def test_lines_are_read_as_if_they_had_come(self) -> None:
        source, table = active.table.MetricTable(1), active.table.MetricTable(2)
        taken, account = Taken(), Account("lines")
        for as_statsd, dialect, names in (
            (False, graphite_lines(True, "cadent"), (b"a", b"b c", b"d")),
            (True, statsd_lines(False), (b"a|c", b"b|g")),
        ):
            loopback = Loopback(source, as_statsd, table, dialect, True, taken, account, lambda: START)
            ids = np.array([source.intern(name, 0) for name in names], np.uint32)
            loopback.accept(Batch(ids, np.full(len(ids), 7.0), np.arange(len(ids)) + 0.5))
        self.assertEqual(taken.lines, ["a 0.500000 7", "d 2.500000 7", "a:0.500000|c", "b:1.500000|g"])
        self.assertEqual((account.dropped, account.balance()), ({"bad.value": 1}, 0))
        loopback.accept(Batch(ids[1:], np.zeros(1), np.array([-1.5])))
        self.assertEqual((taken.lines[-2:], account.balance()), (["b:0|g", "b:-1.500000|g"], 0))
        ids = np.array([0, 1], np.uint32)
        loopback.forget(ids)
        self.assertEqual(loopback.holds(ids).tolist(), [False, False])

    def test_nobody_wants_it(self) -> None:
        account, silence = Account("lines"), Silence()
        Blackhole(account).accept(Batch(np.zeros(2, np.uint32), np.zeros(2), np.zeros(2)))
        self.assertEqual((account.dropped, account.balance()), ({"blackhole": 2}, 0))
        silence.begin({})
        silence.forget(np.zeros(0, np.uint32))
        told = Told("c", 0, ("count",), np.zeros(1, np.uint32), np.zeros((1, 1)))
        self.assertEqual((silence.tell(told, START), silence.end(START, {})), (0, 0))

    def test_names_for_a_statsd(self) -> None:
        self.assertEqual(StatsdNames()("stats.counters.a"), Outcome(("a|c",)))


class DueTests(SynchronousTestCase):
    def test_the_next_multiple(self) -> None:
        style, _ = cadent_style({}, 10.0, False, False)
        sums = AccumulatedSums(style, 0.0, lambda: OwnCounts(0, 0, 0))
        for now, due in ((1008.0, 1010.0), (1010.0, 1020.0), (1011.0, 1020.0)):
            self.assertEqual(sums.due(now), due)
        for start in (1000.2, 1000.7):
            sums = AccumulatedSums(style, start, lambda: OwnCounts(0, 0, 0))
            self.assertEqual(sums.due(start), 1010.0)
        style, _ = cadent_style({}, 0.1, False, False)
        sums, now = AccumulatedSums(style, 3.0, lambda: OwnCounts(0, 0, 0)), START
        for _ in range(100):
            due = sums.due(now)
            self.assertTrue(0.09 < due - now < 0.11, due)
            now = due

    def test_no_flush_is_of_a_second_to_come_or_of_one_that_was_told(self) -> None:
        series, names, stamps = active.table.MetricTable(1), active.table.MetricTable(2), list[float]()

        class Stamps:
            def accept(self, batch: Batch) -> None:
                stamps.append(batch.timestamps[0])

        style, naming = cadent_style({}, 1.0, True, False)
        teller = GraphiteTeller(Telling(series, naming), names, Stamps(), Account("lines"))
        sums = AccumulatedSums(style, 0.0, lambda: OwnCounts(0, 0, 0))
        window = StatsdWindow(series, sums, teller, Account("window"), float, START)
        window.add(b"a|g", 1.0)
        for late in (1.7, 2.0, 3.9):
            window.flush(START + late)
        window.finish(START + 4.5)
        self.assertEqual([stamp - START for stamp in stamps], [1.0, 2.0, 3.0, 4.0])


class GraphiteTruth(SynchronousTestCase):
    """A graphite accumulator against a plain model of it."""

    NAMES = ("a.min", "a.max", "a.sum", "a.gauges.x", "a.b", "stats.counters.c")

    def told(self, events: list[Any]) -> list[Counter[str]]:
        taken, self.account, names = Taken(), Account("window"), active.table.MetricTable(3)
        dialect = graphite_lines(True, "cadent")
        back = Loopback(names, False, names, dialect, True, taken, Account("lines"), lambda: START)
        policy = WindowPolicy("each-beat", forward_all=False, aligned=True)
        window = Window(guessed_rules(STEP), names, back, self.account, lambda: START, float, policy)

        def codec(emit: Any) -> RelayCodec:
            return RelayCodec(names, Columns(keep_spans=True), emit, dialect, numbers=True)

        reader = RawLines(codec, names, window, Account("input"), lambda: START)
        relay = Relay(reader, "graphite")
        found, now = [], START
        for event in events:
            if event is None:
                now += STEP
                window.flush(now)
                found.append(Counter(taken.lines))
                taken.lines.clear()
            else:
                name, when, value = event
                relay.feed(f"{name} {value} {int(START) + when}")
        return found

    @staticmethod
    def model(events: list[Any]) -> list[Counter[str]]:
        found: list[Counter[str]] = []
        bins: dict[tuple[str, int], list[int]] = {}
        reduce = {"sum": sum, "min": min, "max": max, "last": lambda v: v[-1], "avg": lambda v: sum(v) / len(v)}
        for event in events:
            if event is None:
                lines = [f"{n} {reduce[reduce_method(n)](v):.6f} {t}" for (n, t), v in bins.items()]  # type: ignore[operator]
                found.append(Counter(lines))
                bins = {}
            else:
                name, when, value = event
                when += int(START)
                bins.setdefault((name, when - when % STEP), []).append(value)
        return found

    def test_shuffled_late_and_duplicated_input(self) -> None:
        point = st.tuples(st.sampled_from(self.NAMES), st.integers(-35, 35), st.integers(-9, 9))
        events = st.lists(st.one_of(point, point, point, st.none()), min_size=1, max_size=40)

        @settings(max_examples=80, deadline=None)
        @given(events, st.integers(0, 3))
        def agrees(drawn: list[Any], twice: int) -> None:
            drawn = drawn + drawn[: twice * 5] + [None]
            self.assertEqual(self.told(drawn), self.model(drawn))
            self.assertEqual((self.account.balance(), self.account.held(), self.account.dropped), (0, 0, {}))

        agrees()


class StatsdTruth(SynchronousTestCase):
    """A statsd accumulator against a plain model of it."""

    def setUp(self) -> None:
        self.series, self.names = active.table.MetricTable(1), active.table.MetricTable(2)
        self.told: dict[str, float] = {}

    def accept(self, batch: Batch) -> None:
        names = [name.decode() for name in self.names.names(batch.ids)]
        self.told |= dict(zip(names, batch.values.tolist(), strict=True))

    def flushed(self, events: list[Any], keep_keys: bool) -> list[dict[str, float]]:
        self.setUp()
        style, naming = cadent_style({"percentThreshold": "0.5,-0.5"}, STEP, keep_keys, False)
        account, now = Account("accumulator"), START
        teller = GraphiteTeller(Telling(self.series, naming), self.names, self, account)
        sums = AccumulatedSums(style, 0.0, lambda: OwnCounts(0, 0, 0))
        window = StatsdWindow(self.series, sums, teller, account, float, START)
        codec = StatsdCodec(self.series, StatsdColumns(), window.accept, CADENT)
        found = []
        for event in events:
            if event is None:
                codec.flush()
                now += STEP
                window.flush(now)
                found.append({name: round(value, 6) for name, value in self.told.items()})
                self.told = {}
                self.assertEqual((account.balance(), account.held()), (0, 0))
            else:
                codec.feed(RelayTail(), f"{event}\n".encode(), START, refuse)
        return found

    @staticmethod
    def model(events: list[Any], keep_keys: bool) -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        counters: dict[str, float] = {}
        gauges: dict[str, float] = {}
        timers: dict[str, list[tuple[float, float]]] = {}
        sets: dict[str, set[str]] = {}
        for event in events:
            if event is not None:
                key, _, rest = event.partition(":")
                text, kind, *more = rest.split("|")
                rate = float(more[0][1:]) if more else 1.0
                if kind == "c":
                    counters[key] = counters.get(key, 0.0) + float(text) / rate
                elif kind == "g":
                    gauges[key] = gauges.get(key, 0.0) + float(text) if text[0] in "+-" else float(text)
                elif kind == "s":
                    sets.setdefault(key, set()).add(text)
                else:
                    timers.setdefault(key, []).append((float(text), 1.0 / rate))
                continue
            told: dict[str, float] = {}
            for key, total in counters.items():
                told |= {f"stats_counts.{key}": total, f"stats.counters.{key}": total / STEP}
            told |= {f"stats.gauges.{key}": value for key, value in gauges.items()}
            told |= {f"stats.sets.{key}": len(members) for key, members in sets.items()}
            for key, pairs in timers.items():
                told |= {f"stats.timers.{key}.{field}": value for field, value in StatsdTruth.timer(pairs).items()}
            found.append({name: round(value, 6) for name, value in told.items()})
            counters = dict.fromkeys(counters, 0.0) if keep_keys else {}
            gauges = gauges if keep_keys else {}
            timers = {key: [] for key in timers} if keep_keys else {}
            sets = {key: set() for key in sets} if keep_keys else {}
        return found

    @staticmethod
    def timer(pairs: list[tuple[float, float]]) -> dict[str, float]:
        fields = ("count", "count_ps", "lower", "upper", "sum", "mean", "std", "median")
        if not pairs:
            return dict.fromkeys(fields, 0.0)
        values, weight, n = sorted(value for value, _ in pairs), sum(weight for _, weight in pairs), len(pairs)
        own = (weight, weight / STEP, values[0], values[-1], sum(values), sum(values) / n, statistics.pstdev(values),
               statistics.median(values))  # fmt: skip
        told = dict(zip(fields, own, strict=True))
        k = int(0.5 * n + 0.5)
        if k:
            told |= {"upper_50": values[k - 1], "lower_50": values[n - k], "count_50": k}
            told |= {"mean_50": sum(values[n - k :]) / k, "sum_50": sum(values[n - k :])}  # of both, the last
        return told

    def test_any_order(self) -> None:
        key, value = st.sampled_from("ab"), st.integers(0, 9)
        line = st.one_of(
            st.builds("{}:{}|c{}".format, key, st.integers(-9, 9), st.sampled_from(["", "|@0.5", "|@0.25"])),
            st.builds("{}:{}{}|g".format, key, st.sampled_from(["", "+", "-"]), value),
            st.builds("{}:{}|ms{}".format, key, value, st.sampled_from(["", "|@0.5"])),
            st.builds("{}:{}|s".format, key, value),
        )
        events = st.lists(st.one_of(line, line, line, line, st.none()), min_size=1, max_size=40)

        @settings(max_examples=80, deadline=None)
        @given(events, st.booleans())
        def agrees(drawn: list[Any], keep_keys: bool) -> None:
            drawn = [*drawn, *drawn[:5], None]
            self.assertEqual(self.flushed(drawn, keep_keys), self.model(drawn, keep_keys))

        agrees()
