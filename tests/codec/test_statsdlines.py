"""Our own metrics as statsd lines: sampling, names, kinds."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.statsdlines import Reading, Sampled, StatsdLines


def reading(**given: object) -> Reading:
    parts: dict[str, object] = {"fast": {}, "slow": {}, "gauges": {}, "timers": {}, **given}
    return Reading(**parts)  # type: ignore[arg-type]


def made(rate: float = 1.0, timer_rate: float = 1.0) -> StatsdLines:
    return StatsdLines("p.host", rate, timer_rate, np.random.default_rng(3))


class StatsdLinesTests(SynchronousTestCase):
    def test_fast_counters_are_told_again_as_zero(self) -> None:
        lines = made()
        self.assertEqual(lines.lines(reading(fast={"a": 5})), [b"p.host.a:5|c"])
        self.assertEqual(lines.lines(reading(fast={"a": 5, "b": 1})), [b"p.host.a:0|c", b"p.host.b:1|c"])
        self.assertEqual(lines.lines(reading(fast={"a": 7})), [b"p.host.a:2|c", b"p.host.b:0|c"])

    def test_slow_counters_are_told_when_they_change(self) -> None:
        lines = made(0.1)
        self.assertEqual(lines.lines(reading(slow={"a": 5, "b": 0})), [b"p.host.a:5|c"])
        self.assertEqual(lines.lines(reading(slow={"a": 5, "b": 2})), [b"p.host.b:2|c"])

    def test_gauges_are_told_as_they_are(self) -> None:
        told = made(0.1).lines(reading(gauges={"a": 5, "b": 0.5, "c": 0}))
        self.assertEqual(told, [b"p.host.a:5|g", b"p.host.b:0.5|g", b"p.host.c:0|g"])

    def test_timers_in_milliseconds(self) -> None:
        told = made().lines(reading(timers={"t": Sampled([1.5, 0.25], 2)}))
        self.assertEqual(told, [b"p.host.t:1.500000|ms", b"p.host.t:0.250000|ms"])

    def test_a_sample_of_timers_tells_of_how_many_it_is(self) -> None:
        told = made().lines(reading(timers={"t": Sampled([1.0] * 100, 400)}))
        self.assertEqual((len(told), told[0]), (100, b"p.host.t:1.000000|ms|@0.250000"))
        told = made(1.0, 0.5).lines(reading(timers={"t": Sampled([1.0] * 100, 100)}))
        self.assertTrue(30 < len(told) < 70)
        self.assertTrue(told[0].endswith(b"|ms|@0.500000"))
        self.assertEqual(made().lines(reading(timers={"t": Sampled([], 0)})), [])

    def test_sampled_counters_carry_their_rate(self) -> None:
        (line,) = made(0.1).lines(reading(fast={"a": 100_000}))
        value, _, rest = line.removeprefix(b"p.host.a:").partition(b"|")
        self.assertEqual(rest, b"c|@0.100000")
        self.assertTrue(9_500 < int(value) < 10_500)

    def test_a_counter_that_begins_anew_tells_nothing(self) -> None:
        lines = made()
        lines.lines(reading(fast={"a": 5}, slow={"b": 5}))
        self.assertEqual(lines.lines(reading(fast={"a": 2}, slow={"b": 1})), [b"p.host.a:0|c"])
        self.assertEqual(lines.lines(reading(fast={"a": 3}, slow={"b": 1})), [b"p.host.a:1|c"])

    def test_names_cannot_break_a_line(self) -> None:
        told = StatsdLines("p:x", 1.0, 1.0, np.random.default_rng(1)).lines(reading(fast={"a b|c@d\ne": 1}))
        self.assertEqual(told, [b"p_x.a_b_c_d_e:1|c"])

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 1000)), max_size=8))
    def test_nothing_is_told_twice_or_lost(self, steps: list[dict[str, int]]) -> None:
        lines, totals, told = made(), dict.fromkeys("abc", 0), dict.fromkeys("abc", 0)
        for step in steps:
            for name, amount in step.items():
                totals[name] += amount
            for line in lines.lines(reading(fast=dict(totals))):
                name, _, value = line.decode().removeprefix("p.host.").partition(":")
                told[name] += int(value.removesuffix("|c"))
        self.assertEqual(told, totals)
