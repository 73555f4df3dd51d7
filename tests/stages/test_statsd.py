"""Tests of `cadtwist.stages.statsd`: recorded flushes of statsd and statsite, and what a flush in slices must keep."""

from __future__ import annotations

import math
import random
import re
import struct
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.statsdadmin import reply
from cadtwist.kernels import active
from cadtwist.stages.statsdnames import GraphiteTeller, Telling
from cadtwist.stages.statsdsums import Etsy, exact_values
from tests.stages.statsdreplay import START, StatsdReplay, StatsiteReplay, recording

SCENARIOS = (
    "default_legacy", "new_namespace", "new_namespace_custom_prefixes", "new_namespace_empty_prefixes",
    "legacy_suffix_prefixStats", "percentiles_many", "percentile_single_25", "histogram", "deleteIdleStats",
    "deleteIdleStats_gauges_kept", "deleteGauges_ttl3", "deleteCounters_only", "flush_counts_false",
    "flush_counts_false_new", "key_sanitise", "key_sanitise_off", "calculatedTimerMetrics", "dogstatsd_tags",
    "dogstatsd_tags_new_ns_suffix", "malformed", "multi_value_line", "gauge_semantics", "set_semantics", "sampling",
    "float_format", "tcp_server", "prefixStats_deleteIdle_new", "flushInterval_5000",
)  # fmt: skip
VOLATILE = re.compile(
    r"(timestamp_lag|calculationtime|processing_time|last_exception|last_flush|flush_time|flush_length)"
)
RATES_OF_ZERO = ("key4", "key9")


def shown(lines: list[str]) -> Counter[str]:
    """Return lines without volatile values."""
    found = (line.split(" ") for line in lines)
    return Counter(f"{name} {'*' if VOLATILE.search(name) else value}" for name, value, _ in found)


class RecordedStatsdTests(SynchronousTestCase):
    def replay(self, name: str, budget_s: float = math.inf, interned: bool = False) -> None:
        recorded = recording(name)
        replay = StatsdReplay(recorded["config"], interned=interned)
        replay.flush()
        later = recorded.get("packets_before_later_flush", {})
        for number, expected in enumerate(recorded["flushes"]):
            replay.send(recorded["packets"] if number == 0 else later.get(str(number), []), recorded["transport"])
            found, wanted = shown(replay.flush(budget_s)), shown(self.corrected(name, number, expected))
            self.assertEqual((found - wanted, wanted - found), (Counter(), Counter()), (name, number))

    def corrected(self, name: str, number: int, lines: list[str]) -> list[str]:
        """Return recorded lines as they are here: see docs/compatibility.md, section statsd."""
        top100 = {
            "mean_top100": {"t": "556.5", "two": "1.5"}, "sum_top100": {"t": "5565", "two": "3"},
            "sum_squares_top100": {"t": "4042483", "two": "5"},
        }  # fmt: skip
        found = []
        for line in lines:
            metric, value, _ = line.split(" ")
            key, _, field = metric.removeprefix("stats.timers.").rpartition(".")
            if value == "NaN":
                line = f"{metric} {top100[field][key]} TS"
            if value == "Infinity" or (name == "malformed" and any(key in metric for key in RATES_OF_ZERO)):
                continue
            if name == "malformed" and "bad_lines_seen" in metric and number == 0:
                line = f"{metric} {float(value) * 13 / 11:g} TS"
            if name == "malformed" and metric == "statsd.numStats":
                line = f"{metric} {int(value) - 2} TS"
            found.append(line)
        return found

    def test_as_recorded(self) -> None:
        for name in SCENARIOS:
            self.replay(name)

    def test_as_recorded_with_interned_names(self) -> None:
        for name in SCENARIOS:
            self.replay(name, interned=True)

    def test_as_recorded_in_slices(self) -> None:
        for name in ("default_legacy", "deleteIdleStats", "percentiles_many"):
            self.replay(name, 0.0)


class Facts:
    """The management's view of a replay."""

    healthy = True

    def __init__(self, replay: StatsdReplay) -> None:
        self.replay = replay

    def stats(self) -> list[tuple[str, float]]:
        return []

    def table(self, kind: str) -> dict[str, float | list[float]]:
        own, window = self.replay.etsy.waiting(), self.replay.window
        found = window.open_values(kind)
        if kind == "c":
            for name, count in (("bad_lines_seen", own.wrong), ("packets_received", own.packets),
                                ("metrics_received", own.lines)):  # fmt: skip
                found[f"statsd.{name}"] = float(count)
        return {key: value for key, value in found.items() if "timestamp_lag" not in key}

    def delete(self, kind: str, names: Sequence[str]) -> None:
        ids = [self.replay.table.lookup(f"{name}|{kind}".encode()) for name in names]
        self.replay.window.delete(np.array(ids, np.uint32))

    def shown(self) -> tuple[str, ...]:
        return self.replay.config.shown


class RecordedManagementTests(SynchronousTestCase):
    def test_as_recorded(self) -> None:
        recorded = recording("mgmt")
        replay = StatsdReplay(recorded["config"])
        facts = Facts(replay)
        replay.flush()
        replay.send(recorded["packets"])
        for exchange in recorded["mgmt"]:
            command, wanted = exchange["send"], exchange["reply"]
            if command.split()[0] not in ("stats", "config", "quit") and not command.startswith("del"):
                self.assertEqual(reply(command.encode(), facts), wanted.encode(), command)
        self.assertEqual(shown(replay.flush()), shown(recorded["flushes"][0]))
        for exchange in recorded["mgmt"]:
            if exchange["send"].startswith("del"):
                self.assertEqual(reply(exchange["send"].encode(), facts), exchange["reply"].encode(), exchange["send"])
        self.assertEqual(shown(replay.flush()), shown(recorded["flushes"][1]))


class RecordedStatsiteTests(SynchronousTestCase):
    def test_as_recorded(self) -> None:
        for scenario in recording("statsite")["scenarios"]:
            replay = StatsiteReplay(scenario)
            replay.send(scenario["packets"], scenario["transport"])
            replay.finish()
            if "output_lines" in scenario:
                self.compare(scenario["name"], replay.lines, scenario["output_lines"])
            else:
                records = scenario["binary_records_[type,value_type,key_with_nul,value,(count)]"]
                self.assertEqual(binary(replay.stream), records, scenario["name"])

    def compare(self, name: str, found: list[str], recorded: list[str]) -> None:
        numbers = [dict(line.removesuffix("|TS").rsplit("|", 1) for line in lines) for lines in (found, recorded)]
        self.assertEqual(set(numbers[0]), set(numbers[1]), name)
        pairs = [[line for line in lines if line.startswith("kv.")] for lines in (found, recorded)]
        self.assertEqual(*pairs)
        for key, value in numbers[1].items():
            mine = numbers[0][key]
            samples = int(float(numbers[1].get(key.rpartition(".")[0] + ".count", "0")))
            if re.search(r"\.(p[0-9]+|median)$", key) and samples >= 100:
                self.assertLess(abs(float(mine) - float(value)), 0.02 * samples, (name, key))
            elif key.startswith("sets.") and int(value) > 64:
                self.assertLess(abs(int(mine) / int(key[6:] or 1000) - 1), 0.2, (name, key, mine))
            else:
                self.assertEqual(mine, value, (name, key))


def binary(stream: bytes) -> list[Any]:
    """Return the records of a binary stream, without timestamps."""
    found, at = [], 0
    while at < len(stream):
        _, kind, value_kind, size, value = struct.unpack_from("<QBBHd", stream, at)
        at += 20
        record = [kind, value_kind, stream[at : at + size].decode(), value]
        at += size
        if value_kind in (8, 9, 10):
            record.append(struct.unpack_from("<I", stream, at)[0])
            at += 4
        found.append(record)
    return found


class Model:
    """A plain statsd: dicts, and the formulas as they are written down."""

    def __init__(self, deletes: bool, ttl: int) -> None:
        self.deletes, self.ttl = deletes, ttl
        self.counters: dict[str, float] = {}
        self.timers: dict[str, list[tuple[float, float]]] = {}
        self.sets: dict[str, set[str]] = {}
        self.gauges: dict[str, float] = {}
        self.left: dict[str, int] = {}

    def take(self, key: str, kind: str, text: str, rate: float) -> None:
        weight = 1.0 / rate
        if kind == "c":
            self.counters[key] = self.counters.get(key, 0.0) + float(text) * weight
        elif kind == "ms":
            self.timers.setdefault(key, []).append((abs(float(text)), weight))
        elif kind == "s":
            self.sets.setdefault(key, set()).add(text)
        else:
            delta = text[0] in "+-" and self.gauges.get(key)
            self.gauges[key] = (self.gauges[key] if delta else 0.0) + float(text)
            self.left[key] = self.ttl

    def flush(self) -> dict[str, float]:
        told = {f"stats_counts.{key}": value for key, value in self.counters.items()}
        told |= {f"stats.{key}": value / 10.0 for key, value in self.counters.items()}
        told |= {f"stats.gauges.{key}": value for key, value in self.gauges.items()}
        told |= {f"stats.sets.{key}.count": float(len(members)) for key, members in self.sets.items()}
        for key, pairs in self.timers.items():
            told |= {f"stats.timers.{key}.{field}": value for field, value in self.timer(pairs).items()}
        if self.deletes:
            self.counters, self.timers, self.sets = {}, {}, {}
            self.left = {key: left - 1 for key, left in self.left.items()}
            self.gauges = {key: value for key, value in self.gauges.items() if self.left[key] >= 1}
        else:
            self.counters = dict.fromkeys(self.counters, 0.0)
            self.timers = {key: [] for key in self.timers}
            self.sets = {key: set() for key in self.sets}
        return told

    def timer(self, pairs: list[tuple[float, float]]) -> dict[str, float]:
        if not pairs:
            return {"count": 0.0, "count_ps": 0.0}
        values, n = sorted(value for value, _ in pairs), len(pairs)
        weights = sum(weight for _, weight in pairs)
        mean = sum(values) / n
        middle = (values[(n - 1) // 2] + values[n // 2]) / 2.0
        found = {
            "count": weights, "count_ps": weights / 10.0, "lower": values[0], "upper": values[-1], "sum": sum(values),
            "sum_squares": sum(v * v for v in values), "mean": mean, "median": middle,
            "std": math.sqrt(sum((v - mean) ** 2 for v in values) / n),
        }  # fmt: skip
        for name, percent in (("90", 90), ("top25", -25)):
            k = 1 if n == 1 else math.floor(abs(percent) / 100 * n + 0.5)
            part = values[:k] if percent > 0 else values[n - k :]
            if part:
                bound = {f"upper_{name}": part[-1]} if percent > 0 else {f"lower_{name}": part[0]}
                squares = sum(v * v for v in part)
                found |= {f"count_{name}": float(k), f"mean_{name}": sum(part) / k, f"sum_{name}": sum(part), **bound,
                          f"sum_squares_{name}": squares}  # fmt: skip
        return found


ELEMENTS = st.tuples(
    st.sampled_from(["a", "b.c", "d"]), st.sampled_from(["c", "ms", "g", "s"]),
    st.sampled_from(["1", "-2.5", "+3", "7", "0", "-0.5", "12"]), st.sampled_from([1.0, 1.0, 0.5, 0.1]),
)  # fmt: skip
ROUNDS = st.lists(st.lists(st.lists(ELEMENTS, max_size=6), min_size=1, max_size=6), min_size=1, max_size=6)


class TruthTests(SynchronousTestCase):
    """A plain model agrees with every value told, also with input between the slices of a flush."""

    def test_every_kind(self) -> None:
        @settings(max_examples=120, deadline=None)
        @given(ROUNDS, st.booleans(), st.integers(1, 3))
        def agrees(rounds: list[list[list[Any]]], deletes: bool, ttl: int) -> None:
            config = {"percentThreshold": [90, -25], "deleteIdleStats": deletes, "gaugesMaxTTL": ttl}
            replay, model = StatsdReplay(config), Model(deletes, ttl)
            for bursts in rounds:
                self.send(replay, model, bursts[0])
                wanted = model.flush()
                due = replay.window.next_flush(replay.now)
                assert due is not None
                replay.now, replay.lines = due, []
                between = iter(bursts[1:])
                while not replay.window.flush(replay.now, 0.0):
                    burst = next(between, [])
                    self.send(replay, model, [e for e in burst if not deletes or e[1] != "g" or e[2][0] not in "+-"])
                self.compare(replay.lines, wanted)
                self.assertEqual(replay.account.balance(), 0)
            self.assertEqual(replay.account.dropped, {})

        agrees()

    def send(self, replay: StatsdReplay, model: Model, elements: list[Any]) -> None:
        for key, kind, text, rate in elements:
            plain = text.lstrip("-+") if kind == "ms" else text
            replay.send([f"{key}:{plain}|{kind}|@{rate}"])
            model.take(key, kind, text, rate)

    def compare(self, lines: list[str], wanted: dict[str, float]) -> None:
        found = {name: float(value) for name, value, _ in (line.split(" ") for line in lines) if "statsd." not in name}
        self.assertEqual(set(found), set(wanted))
        for name, value in wanted.items():
            self.assertTrue(math.isclose(found[name], value, rel_tol=1e-9, abs_tol=1e-9), (name, found[name], value))


class StatsiteTruthTests(SynchronousTestCase):
    """Quantiles of many values are within `timer_eps` of their rank, sets of many members near what `set_eps` says."""

    def test_many_values(self) -> None:
        @settings(max_examples=12, deadline=None)
        @given(st.sampled_from([0.01, 0.05]), st.integers(2000, 12000), st.integers(1, 20000), st.integers(0, 10**6))
        def near(error: float, n: int, different: int, seed: int) -> None:
            rng = random.Random(seed)
            values = [rng.randrange(different) for _ in range(n - n // 4)]
            values += values[: n // 4]
            rng.shuffle(values)
            members = {f"u{rng.randrange(different)}" for _ in range(n // 4)}
            replay = StatsiteReplay(
                {"options": {"timer_eps": error, "set_eps": error, "quantiles": "0.05, 0.5, 0.99"}, "sections": ""},
                kept=exact_values(error),
            )
            for at in range(0, n, 100):
                replay.send(["".join(f"t:{value}|ms\n" for value in values[at : at + 100])])
            sent = [*members, *members]
            rng.shuffle(sent)
            for at in range(0, len(sent), 100):
                replay.send(["".join(f"s:{member}|s\n" for member in sent[at : at + 100])])
            found = dict(line.split("|")[:2] for line in replay.finish().decode().splitlines())
            self.assertEqual((float(found["timers.t.count"]), float(found["timers.t.sum"])), (len(values), sum(values)))
            values.sort()
            for name, q in (("p5", 0.05), ("p50", 0.5), ("p99", 0.99)):
                rank, value = math.ceil(q * len(values)), float(found[f"timers.t.{name}"])
                least, most = bisect_left(values, value) + 1, bisect_right(values, value)
                self.assertLessEqual(max(least - rank, rank - most), error * len(values), (name, value))
            size = float(found["sets.s"])
            if len(members) <= 64:
                self.assertEqual(size, len(members))
            self.assertLess(abs(size / len(members) - 1), 4 * error + 1 / len(members))

        near()


class StatsdWindowTests(SynchronousTestCase):
    def test_flushes_stay_on_the_grid(self) -> None:
        replay = StatsdReplay({"flushInterval": 5000})
        due = []
        for late in (0.0, 0.4, 1.9, 12.0, 0.0):
            due.append(replay.window.next_flush(replay.now))
            replay.now = (due[-1] or 0.0) + late
            replay.window.flush(replay.now + 0.0)
            replay.lines = []
        self.assertEqual([when - START for when in due if when], [5.0, 10.0, 15.0, 20.0, 35.0])
        self.assertEqual(replay.window.next_flush(0.0), START + 40.0)

    def test_nothing_is_told_before_it_is_due(self) -> None:
        replay = StatsdReplay({})
        replay.send(["a:1|c"])
        self.assertTrue(replay.window.flush(START + 9.9))
        self.assertEqual(replay.lines, [])

    def test_finish_tells_the_open_window(self) -> None:
        replay = StatsdReplay({})
        replay.send(["a:1|c", "t:3|ms"])
        replay.now = START + 3.0
        replay.window.finish(START + 3.0)
        self.assertIn("stats_counts.a 1 TS", replay.lines)
        self.assertEqual((replay.account.held(), replay.account.balance()), (0, 0))

    def crowded_replay(self) -> tuple[StatsdReplay, list[bool]]:
        """Return a replay whose flush is due and found the way crowded, and the switch for that."""
        replay, crowded = StatsdReplay({}), [True]
        replay.window.crowded = lambda: crowded[0]
        replay.send(["a:1|c", "t:3|ms", "g:2|g"])
        replay.now = START + 10.0
        self.assertFalse(replay.window.flush(replay.now))
        return replay, crowded

    def test_a_flush_waits_while_the_way_is_crowded(self) -> None:
        replay, crowded = self.crowded_replay()
        told = list(replay.lines)
        self.assertFalse(replay.window.flush(START + 17.4))
        self.assertEqual(replay.lines, told)
        self.assertEqual(replay.window.next_flush(START + 12.0), START + 12.01)
        crowded[0] = False
        self.assertEqual(replay.window.next_flush(START + 12.0), START + 12.0)
        self.assertTrue(replay.window.flush(START + 12.0))
        self.assertEqual(replay.window.next_flush(START + 12.0), START + 20.0)
        self.assertEqual(len([line for line in replay.lines if line.startswith("stats.gauges.g ")]), 1)
        self.assertEqual((replay.account.held(), replay.account.balance()), (0, 0))

    def test_a_flush_does_not_wait_until_the_next_one_is_due(self) -> None:
        replay, _ = self.crowded_replay()
        self.assertEqual(replay.window.next_flush(START + 17.5), START + 17.5)
        self.assertTrue(replay.window.flush(START + 17.5))
        self.assertIn("stats.gauges.g 2 TS", replay.lines)

    def test_nobody_waits_at_the_end_or_for_other_settings(self) -> None:
        replay, _ = self.crowded_replay()
        replay.window.change(replay.etsy, replay.teller, START + 10.0)
        self.assertIn("stats.gauges.g 2 TS", replay.lines)
        replay, _ = self.crowded_replay()
        replay.send(["b:4|c"])
        sent: list[bytes] = []
        replay.teller._send = lambda data, points: sent.append(data)
        replay.window.finish(START + 11.0)
        lines = b"".join(sent).decode().splitlines()
        self.assertIn(f"stats.gauges.g 2 {START + 10:.0f}", lines)
        self.assertIn(f"stats_counts.b 4 {START + 11:.0f}", lines)
        self.assertEqual((replay.account.held(), replay.account.balance()), (0, 0))

    def test_series_are_claimed_and_forgotten(self) -> None:
        replay = StatsdReplay({}, interned=True)
        replay.send(["a:1|c", "a:1|ms"])
        ids = np.array([replay.table.lookup(name) for name in (b"a|c", b"a|ms")], np.uint32)
        replay.flush()
        names = np.array([replay.graphite.lookup(b"stats_counts.a")], np.uint32)
        self.assertTrue(replay.window.holds(ids).all())
        self.assertTrue(replay.teller.holds(names)[0])
        replay.send(["a:5|c"])
        replay.window.forget(ids)
        self.assertFalse(replay.window.holds(ids).any() or replay.teller.holds(names)[0])
        self.assertEqual(replay.account.dropped, {"expired": 1})
        self.assertFalse(any("stats_counts.a " in line for line in replay.flush()))
        replay.send(["a:2|c"])
        self.assertIn("stats_counts.a 2 TS", replay.flush())

    def test_delete(self) -> None:
        replay = StatsdReplay({})
        replay.send(["a:1|c", "g:4|g", "b:1|c"])
        replay.window.delete(replay.window.series("g"))
        counters = replay.window.series("c")
        self.assertEqual(replay.table.names(counters), [b"a|c", b"b|c"])
        replay.window.delete(counters[:1])
        lines = replay.flush()
        self.assertEqual([line for line in lines if ".a " in line or "gauges.g" in line], [])
        self.assertIn("stats_counts.b 1 TS", lines)
        replay.send(["g:-4|g"])
        self.assertIn("stats.gauges.g -4 TS", replay.flush())

    def test_other_settings(self) -> None:
        replay = StatsdReplay({})
        replay.send(["t:1|ms", "t:3|ms", "g:2|g", "h:7|ms"])
        other = StatsdReplay({"percentThreshold": 50, "graphite": {"legacyNamespace": False}, "flushInterval": 5000,
                              "histogram": [{"metric": "h", "bins": [5, "inf"]}]})  # fmt: skip
        telling = Telling(replay.table, other.config.naming, other.config.naming.own)
        teller = GraphiteTeller(telling, replay.graphite, replay, replay.account)
        replay.window.change(Etsy(other.config.style, START, replay.counts), teller, START)
        lines = replay.flush()
        self.assertEqual(replay.now, START + 5.0)
        self.assertIn("stats.timers.t.upper_50 1 TS", lines)
        self.assertIn("stats.gauges.g 2 TS", lines)
        self.assertFalse(any("_90" in line for line in lines))
        self.assertIn("stats.timers.h.histogram.bin_inf 1 TS", lines)
        self.assertFalse(any(".t.histogram" in line for line in lines))

    def test_own_series_without_a_name_and_thresholds_twice_or_none(self) -> None:
        replay = StatsdReplay({"prefixStats": "", "percentThreshold": [50, 50]})
        replay.send(["t:1|ms"])
        lines = replay.flush()
        self.assertIn("stats..packets_received 0.1 TS", lines)
        self.assertEqual(lines.count("stats.timers.t.upper_50 1 TS"), 1)
        replay = StatsdReplay({"percentThreshold": []})
        replay.send(["t:1|ms"])
        fields = [line.split()[0].rpartition(".")[2] for line in replay.flush() if ".t." in line]
        self.assertEqual(
            fields, ["std", "upper", "lower", "count", "count_ps", "sum", "sum_squares", "mean", "median"]
        )

    def test_names_that_every_javascript_object_has(self) -> None:
        replay = StatsdReplay({})
        replay.send(["constructor:1|c", "__proto__:2|ms", "toString:3|g", "s:__proto__|s:a|s", "__proto__:4|g:+1|g"])
        lines = replay.flush()
        for line in ("stats_counts.constructor 1", "stats.timers.__proto__.upper 2", "stats.gauges.toString 3",
                     "stats.sets.s.count 2", "stats.gauges.__proto__ 5"):  # fmt: skip
            self.assertIn(f"{line} TS", lines)

    def test_thresholds_beyond_all_values(self) -> None:
        replay = StatsdReplay({"percentThreshold": [150, -150]})
        replay.send(["t:1|ms:2|ms"])
        found = {line.split()[0][15:]: line.split()[1] for line in replay.flush() if "150" in line}
        wanted = {"count": "2", "mean": "1.5", "sum": "3", "sum_squares": "5"}
        self.assertEqual(
            found,
            {f"{field}_{name}": value for field, value in wanted.items() for name in ("150", "top150")}
            | {"upper_150": "2", "lower_top150": "1"},
        )

    def test_the_lag_is_no_idle_gauge(self) -> None:
        replay = StatsdReplay({"deleteGauges": True})
        replay.send(["g:1|g"])
        replay.flush()
        replay.flush()
        self.assertEqual(list(replay.window.open_values("g")), ["statsd.timestamp_lag"])

    def test_what_exceeds_the_memory_is_counted(self) -> None:
        replay = StatsdReplay({}, max_bytes=1200)
        replay.send([f"k{i}:1|c" for i in range(40)])
        self.assertGreater(replay.account.dropped["window_full"], 20)
        self.assertEqual(replay.account.balance(), 0)

    def test_a_full_table_of_outputs_is_counted(self) -> None:
        replay = StatsdReplay({})
        small = active.table.MetricTable(1, 200)
        teller = GraphiteTeller(Telling(replay.table, replay.config.naming), small, replay, replay.account)
        replay.graphite = small
        replay.window.change(replay.etsy, teller, START)
        replay.send([f"k{i}:1|c" for i in range(9)])
        self.assertLess(len(replay.flush()), 9)
        self.assertGreater(replay.account.counters["table_full"], 9)

    def test_numbers_that_are_not_finite_stay_here(self) -> None:
        replay = StatsdReplay({})
        replay.send(["a:Infinity|c", "t:Infinity|ms", "g:-Infinity|g"])
        lines = replay.flush()
        self.assertFalse(any("nan" in line.lower() or "inf" in line.lower() for line in lines), lines)
        self.assertIn("stats.timers.t.count 1 TS", lines)
        self.assertGreater(replay.account.counters["not_finite"], 3)


class StatsiteWindowTests(SynchronousTestCase):
    def scenario(self, **options: object) -> StatsiteReplay:
        return StatsiteReplay({"options": options, "sections": ""})

    def test_everything_is_forgotten_at_a_flush(self) -> None:
        replay = self.scenario(flush_interval=10)
        replay.send(["g:5|g", "c:1|c"])
        replay.window.flush(START + 10.0)
        self.assertEqual(replay.lines, ["counts.c|1.000000|TS", "gauges.g|5.000000|TS"])
        replay.stream = b""
        replay.send(["g:-2|g"])
        replay.window.flush(START + 20.0)
        self.assertEqual(replay.lines, ["gauges.g|-2.000000|TS"])
        replay.stream = b""
        replay.window.flush(START + 30.0)
        self.assertEqual(replay.stream, b"")

    def test_aligned_flushes(self) -> None:
        self.assertEqual(self.scenario(flush_interval=7).window.next_flush(START), START + 7.0)
        self.assertEqual(self.scenario(flush_interval=7, aligned_flush=1).window.next_flush(START), 1_700_000_001.0)

    def test_no_flush_is_of_a_second_to_come_or_of_one_that_was_told(self) -> None:
        replay, stamps = self.scenario(flush_interval=1, aligned_flush=1), []
        for late in (1.7, 2.0, 3.9, 4.5):
            replay.send(["a:1|c"])
            replay.window.flush(START + late)
            stamps.append(int(replay.stream.split(b"|")[-1]) - START)
            replay.stream = b""
        self.assertEqual(stamps, [1.0, 2.0, 3.0, 4.0])

    def test_a_bin_is_told_by_how_many_widths_a_value_is_above_the_minimum(self) -> None:
        section = "[histogram_a]\nprefix=\nmin={}\nmax={}\nwidth={}\n"
        for (low, high, width), sent, wanted in (
            ((0, 10, 3), (-1, 0, 2.9, 3, 8.9, 9, 9.5, 10), {"<0.00": 1, "0.00": 2, "3.00": 1, "6.00": 1, ">10.00": 3}),
            ((0, 2, 3), (-1, 1, 2), {"<0.00": 1, ">2.00": 2}),
            ((0.1, 1.1, 0.1), (0.4, 0.8), {"0.40": 1, "0.80": 1}),
        ):
            replay = StatsiteReplay({"options": {}, "sections": section.format(low, high, width)})
            replay.send([f"t:{value}|ms" for value in sent])
            replay.finish()
            found = (re.fullmatch(r"timers\.t\.histogram\.bin_(.*)\|([1-9]+)\|TS", line) for line in replay.lines)
            self.assertEqual({each[1]: int(each[2]) for each in found if each}, wanted)

    def test_each_quantile_is_told(self) -> None:
        replay = self.scenario(quantiles="0.999, 0.9999, 0.5", timers_include="count")
        replay.send(["t:4|ms"])
        replay.finish()
        told = [f"timers.t.{field}|4.000000|TS" for field in ("p100", "p100", "p50")]
        self.assertEqual(replay.lines, ["timers.t.count|1|TS", *told])

    def test_signs_and_points_without_digits(self) -> None:
        replay = self.scenario()
        replay.send(["a:-|kv", "b:.|kv", "c:+x|kv", "d:-.|kv", "e:e5|kv", "f:-e5|kv", "g:.e5|kv", "h:5e|kv", "i:x|kv"])
        replay.finish()
        self.assertEqual(
            sorted(replay.lines),
            ["kv.a|-0.000000|TS", "kv.b|0.000000|TS", "kv.c|0.000000|TS", "kv.d|-0.000000|TS", "kv.h|5.000000|TS"],
        )

    def test_inputs_are_counted_once(self) -> None:
        replay = self.scenario(flush_interval=10, input_counter="in")
        for flush, packets in enumerate((["a:1|c", "b:1|c"], ["a:1|c"], [])):
            replay.stream = b""
            replay.send(packets)
            replay.window.flush(START + 10.0 * (flush + 1))
            wanted = [f"counts.in|{len(packets)}.000000|TS"] if packets else []
            self.assertEqual([line for line in replay.lines if ".in|" in line], wanted)
