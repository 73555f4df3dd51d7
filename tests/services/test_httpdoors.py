"""Connections of HTTP's doors at a hand-over and at a stop, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from cadtwist.protocols.httpingest import IngestSite
from cadtwist.services.httpdoors import HttpDoor
from cadtwist.web.requests import BoundedSite
from tests.protocols.test_relayline import LineSink, receiving

HEAD = b"POST /stats HTTP/1.1\r\nContent-Length: 6\r\n\r\n"


class DoorCase(SynchronousTestCase):
    door: HttpDoor

    def connect(self) -> tuple[Any, StringTransport]:
        transport = StringTransport()
        channel = self.door.buildProtocol(None)
        channel.makeConnection(transport)
        return channel, transport


class IngestDoorTests(DoorCase):
    def open(self, **how: Any) -> tuple[Any, LineSink]:
        made, sink = receiving(False)
        self.door = HttpDoor(IngestSite(made.intake, "/stats", clock=made.clock, **how), made.clock)
        return made, sink

    def test_closes_its_connections_and_takes_another_timeout(self) -> None:
        self.open(idle_timeout_s=60.0)
        channel, transport = self.connect()
        self.assertIn(channel, self.door.connections)
        self.door.change(float("inf"), None)
        self.assertIsNone(self.door.site.timeOut)
        self.door.disconnect()
        self.assertTrue(transport.disconnecting)
        channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.door.connections, set())

    def test_goes_to_another_process_between_two_requests(self) -> None:
        """What has begun is finished; of the next one nothing is read, but for what came in the same read."""
        made, sink = self.open()
        (idle, idle_wire), (busy, busy_wire) = self.connect(), self.connect()
        busy.dataReceived(HEAD + b"a:1")
        drained = self.door.drain(stays=True)
        self.assertNoResult(drained)
        self.assertEqual(self.door.passable(), [idle])
        self.assertEqual((idle_wire.producerState, busy_wire.producerState), ("paused", "producing"))
        busy.dataReceived(b"|c\n" + HEAD + b"b:1|c\nPOST /st")
        self.successResultOf(drained)
        made.turn()
        self.assertEqual(busy_wire.value().count(b"lines processed 1"), 2)
        self.assertNotIn(b"close", busy_wire.value().lower())
        self.assertEqual(busy_wire.producerState, "paused")
        self.assertEqual((busy.unread(), idle.unread()), ((b"POST /st", False), (b"", False)))
        self.assertCountEqual(self.door.passable(), [idle, busy])
        self.open()
        channel, transport = self.connect()
        channel.take_up(b"POST /st", False)
        channel.dataReceived(b"ats HTTP/1.1\r\nContent-Length: 6\r\n\r\nc:1|c\n")
        self.assertTrue(transport.value().endswith(b"lines processed 1"))
        self.assertEqual(sink.lines, [b"a:1|c", b"b:1|c"])

    def test_ends_with_the_next_answer(self) -> None:
        made, sink = self.open()
        (idle, idle_wire), (busy, busy_wire), (gone, _) = (self.connect() for _ in range(3))
        busy.dataReceived(HEAD)
        drained = self.door.drain(stays=False)
        for channel, transport in ((busy, busy_wire), (idle, idle_wire)):
            channel.dataReceived(b"a:1|c\n" if channel is busy else HEAD + b"b:1|c\n")
            self.assertIn(b"\r\nConnection: close\r\n", transport.value())
            self.assertTrue(transport.value().endswith(b"lines processed 1"))
            self.assertTrue(transport.disconnecting)
            channel.connectionLost(Failure(ConnectionDone()))
            self.assertNoResult(drained)
        gone.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(drained)
        made.turn()
        self.assertEqual(sink.lines, [b"a:1|c", b"b:1|c"])
        self.successResultOf(self.door.drain(stays=False))

    def test_idle_connections_need_not_be_waited_for(self) -> None:
        self.open()
        (idle, idle_wire), (busy, busy_wire) = self.connect(), self.connect()
        busy.dataReceived(HEAD)
        drained = self.door.drain(stays=False)
        self.door.close_idle()
        self.assertEqual((idle_wire.disconnecting, busy_wire.disconnecting), (True, False))
        idle.connectionLost(Failure(ConnectionDone()))
        self.assertNoResult(drained)
        busy.dataReceived(b"a:1|c\n")
        busy.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(drained)

    def test_who_says_no_more_is_answered(self) -> None:
        """Be it that the receivers wait; who has said half of it only has asked nothing."""
        made, sink = self.open()
        made.gate.pause("full")
        (whole, whole_wire), (half, half_wire) = self.connect(), self.connect()
        whole.dataReceived(HEAD + b"a:1|c\n")
        half.dataReceived(HEAD + b"b:1")
        for channel in (whole, half):
            channel.readConnectionLost()
        self.assertEqual((whole_wire.disconnecting, half_wire.disconnecting), (False, True))
        made.gate.resume("full")
        made.turn()
        self.assertTrue(whole_wire.value().endswith(b"lines processed 1"))
        self.assertTrue(whole_wire.disconnecting)
        self.assertEqual((half_wire.value(), sink.lines), (b"", [b"a:1|c"]))

    def test_says_so_when_what_waits_for_the_gate_is_not_read(self) -> None:
        made, sink = self.open()
        made.gate.pause("full")
        (waits, waits_wire), (half, half_wire) = self.connect(), self.connect()
        waits.dataReceived(HEAD + b"a:1|c\n")
        half.dataReceived(HEAD + b"a:1")
        self.assertNoResult(self.door.drain(stays=True))
        self.door.disconnect()
        self.assertTrue(waits_wire.value().startswith(b"HTTP/1.1 503"), waits_wire.value())
        self.assertIn(b"\r\nConnection: close\r\n", waits_wire.value())
        self.assertEqual((half_wire.value(), half_wire.disconnected), (b"", True))
        made.gate.resume("full")
        made.turn()
        self.assertEqual(sink.lines, [])


class _Page(Resource):
    """Answers when it is told to."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Request] = []

    def render(self, request: Request) -> int:
        self.asked.append(request)
        return NOT_DONE_YET

    def answer(self) -> None:
        while self.asked:
            request = self.asked.pop()
            request.write(b"answer")
            request.finish()


class PageDoorTests(DoorCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.page = _Page()

    def test_requests_that_wait_for_news_are_let_go(self) -> None:
        self.door = HttpDoor(BoundedSite(self.page, reactor=self.clock, let_go=self.page.answer), self.clock)
        channel, transport = self.connect()
        channel.dataReceived(HEAD + b"a:1|c\n")
        self.assertEqual(transport.value(), b"")
        self.successResultOf(self.door.drain(stays=True))
        self.assertIn(b"answer", transport.value())
        self.assertEqual(self.door.passable(), [channel])

    def test_a_connection_is_passed_when_the_last_byte_of_its_answer_has_gone(self) -> None:
        self.door = HttpDoor(Site(self.page, reactor=self.clock), self.clock)
        channel, transport = self.connect()
        for left in ("dataBuffer", "_tempDataBuffer"):
            channel.dataReceived(HEAD + b"a:1|c\n")
            drained = self.door.drain(stays=True)
            setattr(transport, left, [b"wer"])
            self.page.answer()
            self.clock.advance(1.0)
            self.assertNoResult(drained)
            self.assertEqual(self.door.passable(), [])
            setattr(transport, left, [])
            self.clock.advance(1.0)
            self.successResultOf(drained)
            self.assertEqual(self.door.passable(), [channel])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1, "its idle time")

    def test_a_stop_ends_the_look_at_what_has_not_gone(self) -> None:
        self.door = HttpDoor(Site(self.page, reactor=self.clock), self.clock)
        channel, transport = self.connect()
        transport.dataBuffer = b"wer"  # type: ignore[attr-defined]
        self.assertNoResult(self.door.drain(stays=True))
        self.door.disconnect()
        self.assertTrue(transport.disconnecting)
        channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_doors_of_one_site_know_their_own_connections(self) -> None:
        site = Site(self.page, reactor=self.clock)
        first, second = HttpDoor(site, self.clock), HttpDoor(site, self.clock)
        for self.door in (first, second):
            self.connect()
        self.assertEqual((len(first.connections), len(second.connections)), (1, 1))
