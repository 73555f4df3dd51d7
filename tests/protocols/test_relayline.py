"""Relayed lines over streams and datagrams: strict mode, commands and their texts."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from cadtwist.codec.relayline import RelayCodec, statsd_lines
from cadtwist.interfaces import ISink
from cadtwist.model.batch import Batch, Columns
from cadtwist.protocols.factory import READ_BYTES
from cadtwist.protocols.relayline import (
    MAX_STATUS_BYTES,
    DestinationStatus,
    GroupStatus,
    RelayConnection,
    RelayStatus,
    shards_reply,
)
from cadtwist.protocols.udp import DatagramIntake
from tests.protocols.parts import Receiving

SCENARIOS = {
    each["name"]: each
    for each in json.loads((Path(__file__).parents[1] / "data/statsrelay/scenarios.json").read_text())
}


@implementer(ISink)
class LineSink:
    """Keeps the raw lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def accept(self, batch: Batch) -> None:
        assert batch.spans is not None
        self.lines += [batch.spans.data[start:end] for start, _, end in batch.spans.table.tolist()]


def receiving(strict: bool = False, answers: Any = None, **how: Any) -> tuple[Receiving, LineSink]:
    """Return a listener for statsd lines and what it delivers."""
    dialect, sink = statsd_lines(strict=strict), LineSink()
    made = Receiving(
        lambda table, _, emit: RelayCodec(table, Columns(64, True), emit, dialect),
        partial(RelayConnection, answers=answers),
        **how,
    )
    made.intake.replace_sink(sink)
    return made, sink


class RelayConnectionTests(SynchronousTestCase):
    def test_a_bad_line_closes_a_strict_stream_only(self) -> None:
        for step in SCENARIOS["tcp_bad_line_closes"]["steps"][:2]:
            for strict in (True, False):
                made, sink = receiving(strict)
                connection, transport = made.connect()
                connection.dataReceived(step["send"].encode())
                made.turn()
                self.assertEqual(transport.disconnecting, strict)
                self.assertEqual(len(sink.lines), 1 if strict else 2)
                self.assertEqual(sum(made.account.counters[f"bad.{kind}"] for kind in ("fields", "empty")
                                     if f"bad.{kind}" in made.account.counters), 1)  # fmt: skip

    def test_a_bad_line_ends_a_strict_datagram(self) -> None:
        made, sink = receiving(True, intake=DatagramIntake)
        intake: Any = made.intake
        starts = [0, 16, 22]
        intake.datagrams(
            b"e:1|c\nbad\nf:1|c\ng:1|c\n", lambda _: "192.0.2.1", lambda at: next(s for s in starts if s > at)
        )
        made.turn()
        self.assertEqual(sink.lines, [b"e:1|c", b"g:1|c"])

    def test_commands_see_what_came_before_them(self) -> None:
        def answers(command: bytes) -> bytes:
            return b"%s after %d lines and %d bytes\n" % (command, len(sink.lines), made.account.counters["bytes"])

        made, sink = receiving(answers=answers)
        connection, transport = made.connect()
        connection.dataReceived(b"a:1|c\nstatus\nb:1|c\n")
        connection.dataReceived(b"shards\nstatus extra\n")
        self.assertEqual(transport.value(), b"status after 1 lines and 19 bytes\nshards after 2 lines and 39 bytes\n")
        self.assertFalse(transport.disconnecting)
        self.assertEqual(made.account.counters["commands"], 2)

    def test_answers_while_the_gate_is_shut(self) -> None:
        sizes: list[int] = []

        class Sized(StringTransport):
            bufferSize = 65536

            def write(self, data: bytes) -> None:
                sizes.append(self.bufferSize)
                super().write(data)

        made, _ = receiving(answers=lambda command: command)
        made.factory.startFactory()
        connection: Any = made.factory.buildProtocol(None)
        transport = Sized()
        connection.makeConnection(transport)
        made.gate.pause("full")
        connection.dataReceived(b"status\n")
        self.assertEqual((sizes, transport.bufferSize, transport.value()), ([READ_BYTES], 1, b"status"))

    def test_without_answers_commands_are_bad_lines(self) -> None:
        made, _ = receiving()
        connection, transport = made.connect()
        connection.dataReceived(b"status\n")
        self.assertEqual((transport.value(), made.account.counters["bad.fields"]), (b"", 1))

    def test_a_client_that_reads_no_answers_is_closed(self) -> None:
        made, _ = receiving(answers=lambda _: b"x" * 1000)

        class Full(StringTransport):
            """Asks its producer to pause once it holds so much."""

            def write(self, data: bytes) -> None:
                super().write(data)
                if len(self.value()) >= 10_000 and self.producer is not None:
                    self.producer.pauseProducing()

        connection: Any = made.factory.buildProtocol(None)
        transport = Full()
        connection.makeConnection(transport)
        connection.dataReceived(b"status\n" * 1000)
        self.assertEqual(len(transport.value()), 10_000)
        self.assertTrue(transport.disconnected)
        self.assertEqual(made.account.counters["answers_unread"], 1)


class StatusTests(SynchronousTestCase):
    def test_the_recorded_text(self) -> None:
        reply = next(
            step["reply"]
            for step in SCENARIOS["duplicate_prefix_suffix_filter_blacklist"]["steps"]
            if step["send"] == "status\n"
        )
        bytes_by_group = [(65, 65, 5), (65, 95, 5), (31, 37, 2), (33, 42, 3), (65, 65, 5)]
        status = RelayStatus(
            tcp_bytes=72,
            connections=2,
            groups=[
                GroupStatus(relayed=5),
                GroupStatus(relayed=5),
                GroupStatus(filtered=3, relayed=2),
                GroupStatus(relayed=3, rejected=2),
                GroupStatus(relayed=5),
            ],
            destinations=[
                DestinationStatus(f"127.0.0.1:BACK{number}:{'udp' if number == 4 else 'tcp'}", queued, sent, relayed)
                for number, (queued, sent, relayed) in enumerate(bytes_by_group)
            ],
        )
        self.assertEqual(status.reply().decode(), reply)

    def test_every_counter_has_its_place(self) -> None:
        told = RelayStatus(1, 2, 3, 4, 5, 6, [GroupStatus(7, 8, 9, 10)], [DestinationStatus("k", 11, 12, 13, 14, True)])
        figures = [int(line.rsplit(" ", 1)[1]) for line in told.reply().decode().split("\n") if line]
        self.assertEqual(figures, [1, 2, 3, 0, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 1])

    def test_the_answer_is_bounded(self) -> None:
        reply = RelayStatus(destinations=[DestinationStatus(f"host{n}:8125:tcp") for n in range(1000)]).reply()
        self.assertLessEqual(len(reply), MAX_STATUS_BYTES)
        self.assertGreater(len(reply), MAX_STATUS_BYTES - 100)
        self.assertTrue(reply.endswith(b"\n\n"))

    def test_shards(self) -> None:
        recorded = json.loads((Path(__file__).parents[1] / "data/statsrelay/process_more.json").read_text())
        key = "127.0.0.1:BACK:tcp"
        self.assertEqual(shards_reply([[key] * 3, [key]]).decode(), recorded["shared_connection"]["shards"])
        self.assertEqual(shards_reply([["127.0.0.1:BACK0:tcp"], []]), b"127.0.0.1:BACK0:tcp\n\n")
        self.assertEqual(shards_reply([]), b"")
