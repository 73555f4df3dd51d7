"""Hostile input among good: nothing raises, nothing grows, every good item arrives."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from cadtwist.codec.carbonpickle import PickleCodec
from cadtwist.codec.frames import Frames, frame
from cadtwist.codec.line import LineCodec
from cadtwist.codec.protobuf import ProtobufCodec, encode_payload
from cadtwist.codec.relayline import Dialect, RelayCodec, graphite_lines, regex_lines, statsd_lines
from cadtwist.model.batch import Columns, Floats, Ids
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.cachequery import CacheQueryFactory
from cadtwist.protocols.carbonpickle import PickleConnection
from cadtwist.protocols.httpingest import IngestSite
from cadtwist.protocols.protobuf import ProtobufConnection
from cadtwist.protocols.relayline import RelayConnection
from cadtwist.protocols.udp import DatagramIntake
from cadtwist.services.httpdoors import HttpDoor
from cadtwist.telemetry import Account
from tests.fuzz.fuzzing import CASES, Fuzzing, dumped
from tests.protocols.parts import Receiving
from tests.protocols.test_relayline import LineSink, receiving


class LineFuzz(Fuzzing):
    def test_lines(self) -> None:
        self.stream(
            Receiving,
            lambda number: b"good.%d %d 1700000000\n" % (number % 9, number),
            lambda: b"".join(self.line() + b"\n" for _ in range(self.dice.randrange(5))),
            len,
            0.25,
        )

    def test_datagrams(self) -> None:
        dice = self.dice
        for case in range(int(CASES * 0.15)):
            if case % 50 == 0:
                receiving = Receiving(LineCodec, intake=DatagramIntake)
            intake: Any = receiving.intake
            receiving.sink.points.clear()
            datagrams = [b"good.1 %d 5" % case, *(self.line() for _ in range(dice.randrange(5))), b"good.2 1 5\r"]
            joined = b"".join(part + b"\n" for part in datagrams)
            intake.datagrams(joined, lambda _: "192.0.2.1", lambda position: position)
            receiving.turn()
            arrived = [what for name, _, what in receiving.sink.points if name.startswith("good.")]
            self.assertEqual(arrived, [float(case), 1.0], datagrams)


class FrameFuzz(Fuzzing):
    def test_pickles(self) -> None:
        self.stream(
            lambda: Receiving(PickleCodec, PickleConnection),
            lambda number: frame(pickle.dumps([(f"good.{number % 9}", (5, number))], number % 6)),
            lambda: b"".join(frame(self.pickled()) for _ in range(self.dice.randrange(3))),
            lambda frames: frames.held,
            0.2,
        )

    def test_protobuf(self) -> None:
        def hostile() -> bytes:
            point = (float(self.dice.randrange(1 << 32)), struct.unpack("<d", self.dice.randbytes(8))[0])
            message = encode_payload([(self.line(), [point] * self.dice.randrange(3))])
            return frame(self.damaged(message) if self.dice.random() < 0.8 else self.dice.randbytes(30))

        self.stream(
            lambda: Receiving(ProtobufCodec, ProtobufConnection),
            lambda number: frame(encode_payload([(b"good.%d" % (number % 9), [(5, float(number))])])),
            hostile,
            lambda frames: frames.held,
            0.1,
        )

    def test_headers(self) -> None:
        for _ in range(int(CASES * 0.05)):
            frames, found = Frames(1000), 0
            for part in self.cut(self.dice.randbytes(self.dice.randrange(60))):
                data, spans = frames.feed(part)
                found += len(spans)
                self.assertTrue(all(0 <= start <= end <= len(data) for start, end in spans))
            self.assertLess(frames.held, 1100)


class CacheQueryFuzz(Fuzzing):
    def test_requests(self) -> None:
        class Answers:
            def peek(self, metrics: Sequence[str], most: int) -> tuple[Ids, Floats, Floats]:
                return np.zeros(len(metrics) + 1, np.uint32), np.zeros(0), np.zeros(0)

            def get_metadata(self, metric: str, key: str) -> object:
                raise ValueError(metric)

            def set_metadata(self, metric: str, key: str, value: object) -> tuple[object, object]:
                raise ValueError(metric)

        factory = CacheQueryFactory(Answers(), Account("cachequery"), BadInputLog(lambda: 0.0))
        kinds = ("cache-query", "cache-query-bulk", "get-metadata", "set-metadata", "", 5, None)
        good = frame(pickle.dumps({"type": "cache-query", "metric": "a"}))
        for case in range(int(CASES * 0.1)):
            if case % 1000 == 999:
                self.remember_memory(case, int(CASES * 0.1))
            transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
            connection: Any = factory.buildProtocol(transport.getPeer())
            connection.makeConnection(transport)
            asked = {"type": self.dice.choice(kinds), "metric": self.value(2), "metrics": self.value(), "key": "k",
                     "value": self.value()}  # fmt: skip
            data = self.damaged(dumped(asked, self.dice.randrange(6)))
            for part in self.cut(good + frame(data) + good):
                connection.dataReceived(part)
            replies = _count_frames(transport.value())
            self.assertEqual(replies, 1 if transport.disconnecting else 3, data)


def _count_frames(data: bytes) -> int:
    _, spans = Frames(1 << 20).feed(data)
    return len(spans)


class RelayFuzz(Fuzzing):
    """Lines that are relayed: what is good arrives unchanged, whatever stands between."""

    def relayed(self, dialect: Dialect, good: bytes) -> None:
        dice = self.dice
        for case in range(int(CASES * 0.05)):
            if case % 50 == 0:
                sink = LineSink()
                made = Receiving(lambda table, _, emit: RelayCodec(table, Columns(64, True), emit, dialect),
                                 RelayConnection)  # fmt: skip
                made.intake.replace_sink(sink)
                connection, transport = made.connect()
            sink.lines.clear()
            lines = [good % case, *(self.line() for _ in range(dice.randrange(5))), good % (case + 1)]
            for piece in self.cut(b"".join(line + b"\n" for line in lines)):
                connection.dataReceived(piece)
            made.turn()
            arrived = [line for line in sink.lines if line.startswith(b"good.")]
            self.assertEqual([arrived[0], arrived[-1]], [good % case, good % (case + 1)], lines)
            self.assertFalse(transport.disconnecting)

    def test_statsd_lines(self) -> None:
        self.relayed(statsd_lines(), b"good.key:%d|ms|@0.5")

    def test_raw_lines(self) -> None:
        self.relayed(statsd_lines(validate=False), b"good.key:%d whatever")

    def test_graphite_lines(self) -> None:
        for cleaning in ("none", "cadent", "c_relay"):
            self.relayed(graphite_lines(cleaning=cleaning), b"good.name 1.50 %d")

    def test_regex_lines(self) -> None:
        dialect = regex_lines(r"^(?P<Key>[a-z.]+) is (\d+|(?:a+)+b) at (?P<Timestamp>\S+ \S+)$", "2006-01-02 15:04:05")
        self.relayed(dialect, b"good.name is %d at 2023-11-14 22:13:20")

    def test_bodies_of_requests(self) -> None:
        """Posted bodies between damaged requests: what is good is taken, nobody else's connection ends."""
        dice, good = self.dice, b"good.key:%d|c"
        head = b"POST /put HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
        for case in range(int(CASES * 0.02)):
            if case % 50 == 0:
                made, sink = receiving()
                site = IngestSite(made.intake, "/put", clock=made.clock, max_body_bytes=1 << 20)
                door = HttpDoor(site, made.clock)
            sink.lines.clear()
            lines = [good % case, *(self.line() for _ in range(dice.randrange(5))), good % (case + 1)]
            body = b"\n".join(lines)
            request = head % len(body) + body
            for data, whole in ((request, True), (self.damaged(request), False)):
                channel: Any = door.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1))
                transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 1))
                channel.makeConnection(transport)
                for piece in self.cut(data):
                    if not transport.disconnecting:
                        channel.dataReceived(piece)
                made.turn()
                if whole:
                    arrived = [line for line in sink.lines if line.startswith(b"good.")]
                    self.assertEqual([arrived[0], arrived[-1]], [good % case, good % (case + 1)], lines)
                    self.assertIn(b"lines processed", transport.value())
                channel.connectionLost(Failure(ConnectionDone()))
            self.assertEqual(door.connections, set())
