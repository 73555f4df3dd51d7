"""Flood control as statsrelay's recordings show it, and where it is deliberately better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cadtwist.codec.relayline import RelayCodec, RelayTail, statsd_lines
from cadtwist.interfaces import IHolder, ISink
from cadtwist.kernels import active
from cadtwist.model.batch import Batch, Columns
from cadtwist.stages.flood import FloodLimits, FloodStage
from cadtwist.stages.relaynames import IngressFilter
from cadtwist.telemetry import Account

SCENARIOS = {
    each["name"]: each
    for each in json.loads((Path(__file__).parents[1] / "data/statsrelay/scenarios.json").read_text())
}


@implementer(ISink)
class Lines:
    """Keeps lines as a group with prefix `t1.` and suffix `.x` sends them."""

    def __init__(self, prefix: bytes, suffix: bytes) -> None:
        self.prefix, self.suffix = prefix, suffix
        self.text = b""
        self.batches: list[Batch] = []

    def accept(self, batch: Batch) -> None:
        assert batch.spans is not None
        self.batches.append(batch)
        for start, key_end, stop in batch.spans.table.tolist():
            data = batch.spans.data
            self.text += self.prefix + data[start:key_end] + self.suffix + data[key_end:stop] + b"\n"


class Flooding:
    """A codec, the stage and what leaves it; `group` is that of a recording."""

    def __init__(self, group: dict[str, Any], **options: Any) -> None:
        self.clock = Clock()
        self.table = active.table.MetricTable(3)
        self.sink = Lines(group.get("prefix", "").encode(), group.get("suffix", "").encode())
        self.account = Account("flood")
        limits = [
            FloodLimits(
                group.get(f"{kind}sampling_threshold", -1),
                group.get(f"{kind}sampling_window", -1),
                group.get(f"{kind or 'counter_'}cardinality", 10_000),
            )
            for kind in ("", "timer_", "gauge_")
        ]
        options.setdefault("extremes", group.get("timer_flush_min_max", False))
        self.stage = FloodStage(*limits, self.table, self.sink, self.account, now=0.0, **options)
        self.codec = RelayCodec(self.table, Columns(keep_spans=True), self.stage.accept, statsd_lines())

    def feed(self, text: str) -> None:
        self.codec.feed(RelayTail(), text.encode(), self.clock.seconds(), lambda bad, _: None)
        self.codec.flush()

    def wait(self, seconds: float) -> None:
        """Let time pass; the stage is flushed whenever it asks for it."""
        until = self.clock.seconds() + seconds
        while (at := self.stage.next_flush(self.clock.seconds())) <= until:
            self.clock.advance(max(0.0, at - self.clock.seconds()))
            self.stage.flush(self.clock.seconds(), self.clock.seconds)
        self.clock.advance(until - self.clock.seconds())


def group_of(scenario: dict[str, Any]) -> dict[str, Any]:
    group: dict[str, Any] = scenario["config"]["statsd"]["duplicate_to"][0]
    return group


class RecordedFloodTests(SynchronousTestCase):
    def replay(self, name: str, **options: Any) -> Flooding:
        """Send the steps; each took a while on its own when it was recorded, and so did the start."""
        scenario = SCENARIOS[name]
        flooding = Flooding(group_of(scenario), **options)
        flooding.wait(0.5)
        for step in scenario["steps"]:
            if "sleep" in step:
                flooding.wait(step["sleep"])
            else:
                flooding.feed(step["send"])
                flooding.wait(1.5)
        flooding.wait(3)
        self.assertEqual(flooding.account.balance(), 0)
        return flooding

    def recorded(self, name: str) -> bytes:
        return str(SCENARIOS[name]["backend_received"][-1]).encode()

    def test_every_recording_in_the_old_form(self) -> None:
        for name in ("sampling_counter", "sampling_gauge", "sampling_timer", "sampling_other_types_pass"):
            self.assertEqual(self.replay(name, old_rates=True).sink.text, self.recorded(name), name)

    def test_rates_that_servers_read(self) -> None:
        for name in ("sampling_counter", "sampling_timer"):
            text = self.replay(name).sink.text
            expected = self.recorded(name).replace(b"c@", b"c|@").replace(b"ms@", b"ms|@")
            self.assertEqual(text, expected)

    def test_cardinality_limits(self) -> None:
        flooding = self.replay("cardinality_limits")
        self.assertEqual(flooding.sink.text, self.recorded("cardinality_limits"))
        self.assertEqual(flooding.account.dropped, {"flagged_lines": 12})
        self.assertEqual(flooding.stage.keys(), (3, 2, 1))


class FloodStageTests(SynchronousTestCase):
    GROUP = {"sampling_threshold": 2, "sampling_window": 10, "timer_sampling_threshold": 2, "timer_sampling_window": 10}

    def test_without_extremes_no_value_is_withheld(self) -> None:
        flooding = Flooding({**self.GROUP, "timer_sampling_threshold": 8}, extremes=False)
        flooding.feed("".join(f"t:{value}|ms\n" for value in range(8)))
        flooding.feed("t:1000|ms\nt:-5|ms\n")
        flooding.wait(10)
        self.assertTrue(flooding.sink.text.endswith(b"t:7|ms\nt:1000|ms|@1\nt:-5|ms|@1\n"), flooding.sink.text)

    def test_a_batch_of_which_all_passes_is_not_copied(self) -> None:
        flooding = Flooding(self.GROUP)
        seen: list[Batch] = []
        flooding.codec._emit = lambda batch: (seen.append(batch), flooding.stage.accept(batch))[0]
        flooding.feed("a:1|c\nb:1|c\n")
        self.assertIs(flooding.sink.batches[0], seen[0])

    def test_a_flush_goes_on_where_its_budget_ended(self) -> None:
        flooding = Flooding(self.GROUP)
        flooding.feed("".join(f"k{number}:1|c\n" * 4 for number in range(100)))
        now, ticks = 10.0, iter(range(10_000))
        self.assertEqual(flooding.stage.next_flush(5.0), 10.0)
        calls = 1
        before = len(flooding.sink.text.splitlines())
        while not flooding.stage.flush(now, lambda: float(next(ticks)), 2.0):
            self.assertEqual(flooding.stage.next_flush(now), now)
            calls += 1
        self.assertEqual(len(flooding.sink.text.splitlines()) - before, 100)
        self.assertGreater(calls, 3)
        self.assertEqual((flooding.stage.next_flush(now), flooding.account.balance()), (20.0, 0))
        self.assertEqual((flooding.account.merged, flooding.account.made), (200, 100))

    def test_names_that_the_group_refuses_are_no_keys(self) -> None:
        refuse = IngressFilter(None, "^no")
        flooding = Flooding({**self.GROUP, "counter_cardinality": 2}, refuse=refuse)
        flooding.feed("no.1:1|c\n" * 9 + "a:1|c\n" * 3 + "no.2:1|c\nb:1|c\nc:1|c\n")
        self.assertEqual(flooding.sink.text.count(b"no."), 10)
        self.assertEqual((flooding.account.merged, flooding.account.dropped), (1, {"flagged_lines": 1}))
        flooding.stage.forget(np.array([0], np.uint32))
        flooding.feed("no.1:1|c\n")
        self.assertEqual((flooding.stage.keys()[0], flooding.account.balance()), (2, 0))

    def test_late_flushes_skip_windows(self) -> None:
        flooding = Flooding(self.GROUP)
        flooding.stage.flush(47.0, flooding.clock.seconds)
        self.assertEqual(flooding.stage.next_flush(47.0), 50.0)

    def test_idle_keys_are_purged(self) -> None:
        flooding = Flooding({**self.GROUP, "counter_cardinality": 1}, purge_interval_s=60, key_ttl_s=200)
        flooding.feed("a:1|c\nb:1|c\n")
        flooding.wait(150)
        flooding.feed("b:1|c\n")
        self.assertEqual(flooding.account.dropped, {"flagged_lines": 2})
        flooding.wait(100)
        flooding.feed("b:1|c\n")
        self.assertEqual(flooding.account.dropped, {"flagged_lines": 2})
        self.assertEqual(flooding.account.counters["keys_purged"], 1)

    def test_holds_what_is_not_sent(self) -> None:
        flooding = Flooding(self.GROUP)
        flooding.feed("a:1|c\n" * 3 + "b:1|c\n")
        ids = np.array([0, 1], np.uint32)
        self.assertEqual(flooding.stage.holds(ids).tolist(), [True, False])
        flooding.wait(10)
        self.assertEqual(flooding.stage.holds(ids).tolist(), [False, False])
        flooding.stage.forget(ids)
        self.assertEqual(flooding.stage.keys(), (0, 0, 0))
        self.assertTrue(verifyObject(ISink, flooding.stage) and verifyObject(IHolder, flooding.stage))

    def test_sums_beyond_all_numbers_are_not_sent(self) -> None:
        flooding = Flooding(self.GROUP)
        flooding.feed("a:1e308|c\n" * 9)
        flooding.wait(10)
        self.assertEqual(flooding.sink.text, b"a:1e308|c\n" * 2)
