"""Tests of `cadtwist.services.statsdbackends` and of the key log."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct

import numpy as np
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from cadtwist.codec.statsdoutput import StatsdEncoder
from cadtwist.interfaces import IDestination
from cadtwist.kernels import active
from cadtwist.model.batch import BATCH_POINTS
from cadtwist.model.told import Told
from cadtwist.services.statsdbackends import CROWDED_POINTS, ConsoleTeller, GraphiteOutput, Repeater, Tellers
from cadtwist.services.statsdkeys import KeyCounts
from cadtwist.telemetry import Account
from tests.stages.statsdreplay import StatsdReplay, recording


@implementer(IDestination)
class Sent:
    """A destination that keeps what it is sent."""

    key = "sent"
    connected = True
    queued_points = 0

    def __init__(self) -> None:
        self.chunks: list[tuple[bytes, int]] = []

    def send(self, chunk: bytes, points: int) -> None:
        self.chunks.append((chunk, points))


class GraphiteOutputTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table, self.sent, self.now = active.table.MetricTable(1), Sent(), 100.0
        self.account = Account("graphite output")

    def output(self, destination: Sent | None = None) -> GraphiteOutput:
        return GraphiteOutput(destination, self.account, lambda: self.now)

    def test_what_is_told_is_queued(self) -> None:
        self.output(destination=self.sent).send(b"a 1 1700000000\nb 0.5 1700000000\n", 2)
        self.assertEqual(self.sent.chunks, [(b"a 1 1700000000\nb 0.5 1700000000\n", 2)])
        self.assertEqual(self.account.balance(), 0)

    def test_recorded_pickle(self) -> None:
        recorded = recording("pickle")
        replay = StatsdReplay(recorded["config"])
        replay.flush()
        replay.send(recorded["packets"])
        frames: list[bytes] = []
        replay.teller._encoder = StatsdEncoder("pickle")
        replay.teller._send = lambda data, points: frames.append(data)
        replay.flush()
        (wanted,) = [each for each in recorded["flushes"] if isinstance(each, dict)][:1]
        (frame,) = frames
        self.assertEqual(struct.unpack(">I", frame[:4])[0], len(frame) - 4)
        found, recorded_text = frame[4:].decode().replace(f"(L{int(replay.now)}L", "(LTSL"), wanted["body_normalised"]
        volatile = re.compile(r"((?:graphiteStats\.\w+|processing_time)'\n\(LTSL\nS)'[^']+'")
        self.assertEqual(volatile.sub(r"\1*", found), volatile.sub(r"\1*", recorded_text))

    def test_a_large_flush_is_pickled_in_several_frames(self) -> None:
        encoder, keys = StatsdEncoder("pickle"), [b"k%d|g" % number for number in range(BATCH_POINTS + 3)]
        offsets = np.cumsum([0, *map(len, keys)]).astype(np.uint32)
        values = np.zeros((len(keys), 1))
        begun = list(encoder.encode(b"".join(keys), offsets, [b""], [b""], values, 5))
        ended = list(encoder.rest())
        self.assertEqual([points for _, points in begun + ended], [BATCH_POINTS, 3])
        self.assertEqual(pickle.loads(ended[0][0][4:])[-1], (f"k{BATCH_POINTS + 2}", (5, "0")))
        self.assertEqual(list(encoder.rest()), [])

    def test_pickled_tags_may_have_any_character(self) -> None:
        replay = StatsdReplay({"keyNameSanitize": False})
        frames: list[bytes] = []
        replay.teller._encoder = StatsdEncoder("pickle")
        replay.teller._send = lambda data, points: frames.append(data)
        replay.send(["a b:1|g|#it's:1 2,back\\:\x0b\u2028é"])
        replay.flush()
        items = [item for frame in frames for item in pickle.loads(frame[4:], encoding="utf-8")]
        self.assertIn(("stats.gauges.a_b;it's=1 2;back\\=\x0b\u2028é", (int(replay.now), "1")), items)

    def test_nobody_to_send_to(self) -> None:
        self.output().send(b"a 1 1\n", 1)
        self.assertEqual((self.account.dropped, self.account.balance()), ({"no_graphite_host": 1}, 0))

    def test_it_is_crowded_only_where_somebody_takes(self) -> None:
        output = self.output(destination=self.sent)
        self.assertFalse(output.crowded())
        self.sent.queued_points = CROWDED_POINTS
        self.assertTrue(output.crowded())
        self.sent.connected = False
        self.assertFalse(output.crowded())
        self.assertFalse(self.output().crowded())

    def test_how_the_last_flush_went(self) -> None:
        output = self.output(destination=self.sent)
        self.assertEqual(output.status()["flush_length"], 0.0)
        self.assertEqual(output.status()["last_exception"], 0.0)
        output.begin()
        output.send(b"a 1 1700000000\n", 1)
        self.now = 100.25
        output.end()
        output.failed()
        self.assertEqual(
            output.status(),
            {"last_flush": 100.0, "last_exception": 100.0, "flush_time": 250.0, "flush_length": 15.0},
        )


class TellersTests(SynchronousTestCase):
    def test_console(self) -> None:
        table, out = active.table.MetricTable(1), io.StringIO()
        ids = np.array([table.intern(name, 1) for name in (b"a|c", b"t|ms")], np.uint32)
        console = ConsoleTeller(table, out, False, lambda now: f"at {now}")
        tellers = Tellers([console])
        tellers.begin({"c": 1})
        tellers.tell(Told("c", 0, ("rate", "count"), ids[:1], np.array([[0.5, 5.0]])), 7.0)
        tellers.tell(Told("ms", 0, ("mean", ""), ids[1:], np.array([[2.0, 9.0]])), 7.0)
        tellers.end(7.0, {})
        head, text = out.getvalue().splitlines()
        self.assertEqual(head, "Flushing stats at  at 7.0")
        self.assertEqual(
            json.loads(text),
            {"counters": {"a": 5.0}, "counter_rates": {"a": 0.5}, "timer_data": {"t": {"mean": 2.0}}, "gauges": {},
             "sets": {}},
        )  # fmt: skip


class RepeaterTests(SynchronousTestCase):
    def test_packets_as_they_came(self) -> None:
        one, two = Sent(), Sent()
        repeater = Repeater([one, two], False)
        for packet in (b"a:1|c\nbad line", b"b:2|ms"):
            repeater.packet(packet)
        self.assertEqual([chunk for chunk, _ in one.chunks], [b"a:1|c\nbad line", b"b:2|ms"])
        self.assertEqual(one.chunks, two.chunks)

    def test_what_no_datagram_holds_goes_in_several(self) -> None:
        sent, lines = Sent(), Sent()
        line = b"k" * 40_000 + b":1|c\n"
        Repeater([sent], False).packet(line * 3 + b"x" * 70_000)
        found = [chunk for chunk, _ in sent.chunks]
        self.assertEqual(found[:3], [line] * 3)
        self.assertEqual((b"".join(found), max(map(len, found))), (line * 3 + b"x" * 70_000, 65507))
        Repeater([lines], True).packet(line * 3)
        self.assertEqual(lines.chunks, [(line * 3 + b"\n", 1)])

    def test_over_tcp_each_ends_with_a_line_feed(self) -> None:
        sent = Sent()
        Repeater([sent], True).packet(b"a:1|c")
        self.assertEqual(sent.chunks, [(b"a:1|c\n", 1)])


class KeyCountsTests(SynchronousTestCase):
    def test_the_most_frequent_first(self) -> None:
        table = active.table.MetricTable(1)
        ids = {name: table.intern(name, 1) for name in (b"a|c", b"b|ms", b"b|c", b"c|g", b"d|s")}
        counts = KeyCounts(table)
        for name, times in ((b"a|c", 5), (b"b|ms", 3), (b"b|c", 4), (b"c|g", 1), (b"d|s", 2)):
            counts.add(np.full(times, ids[name], np.uint32))
        counts.add(np.zeros(0, np.uint32))
        self.assertEqual(counts.lines(50.0, "NOW"), ["NOW count=7 key=b", "NOW count=5 key=a"])
        self.assertEqual(counts.lines(100.0, "NOW"), [])
