"""Datagrams: every recorded one, peers of bad lines, and a real socket."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.protocols.udp import DatagramIntake, DatagramReader
from tests.protocols.parts import Receiving
from tests.protocols.test_line import RECORDED, expected, last_of_each, sent


class FakeReader:
    """A kernel reader that was given its datagrams."""

    def __init__(self, fd: int, ring_bytes: int, max_datagram: int, whole: bool) -> None:
        self.data = b""
        self.stopped = False
        self.more = False

    def fileno(self) -> int:
        return -1

    def take(self) -> bytes:
        data, self.data = self.data, b""
        return data

    def peer(self, position: int) -> str:
        return f"192.0.2.{position}"

    def after(self, position: int) -> int:
        return position + 1

    def stats(self) -> dict[str, int]:
        return {"datagrams": 3}

    def stop(self) -> None:
        self.stopped = True


class FakeFDSet:
    """A reactor's list of what it reads."""

    def __init__(self) -> None:
        self.readers: list[Any] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.remove(reader)


class DatagramTests(SynchronousTestCase):
    def test_recordings(self) -> None:
        for case in RECORDED:
            if case["desc"].startswith("UDP"):
                receiving = Receiving(intake=DatagramIntake)
                intake: Any = receiving.intake
                intake.datagrams(sent(case) + b"\n", lambda _: "192.0.2.1", lambda position: position)
                receiving.turn()
                self.assertEqual(last_of_each(receiving.sink.points), expected(case), case["desc"])

    def test_reads_are_one_batch_a_turn_and_bad_lines_have_a_peer(self) -> None:
        observer = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        receiving = Receiving(intake=DatagramIntake)
        reactor: Any = FakeFDSet()
        made: list[FakeReader] = []

        def make(*arguments: int) -> Any:
            made.append(FakeReader(*arguments))
            return made[-1]

        intake: Any = receiving.intake
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            reader = DatagramReader(reactor, bound, intake, make_reader=make)
        reader.start()
        self.assertEqual(reactor.readers, [reader])
        for data in (b"a 1 2\n", b"b 1 2\nbad\n"):
            made[0].data = data
            reader.doRead()
        receiving.turn()
        self.assertEqual((receiving.sink.batches, len(receiving.sink.points)), (1, 2))
        self.assertEqual([event["peer"] for event in observer if "kind" in event], ["192.0.2.6"])
        self.assertEqual(receiving.account.gauges["udp.datagrams"](), 3)
        made[0].data = b"last 1 2\n"
        reader.stop()
        reader.stop()
        receiving.turn()
        self.assertEqual(receiving.sink.points[-1][0], "last")
        self.assertEqual((reactor.readers, made[0].stopped), ([], True))
