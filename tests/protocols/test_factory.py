"""Limits, pauses, idle time of stream receivers."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import EventLoggingObserver, StringTransport
from twisted.logger import globalLogPublisher
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.protocols.factory import READ_BYTES, ConnectionLimit
from tests.protocols.parts import Receiving


class FakePort:
    """A listening port that writes down what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def stopReading(self) -> None:
        self.told.append("stop")

    def startReading(self) -> None:
        self.told.append("start")


class GateTests(SynchronousTestCase):
    def test_pauses_when_it_delivers_into_a_shut_gate(self) -> None:
        receiving = Receiving()
        busy, busy_transport = receiving.connect()
        _, quiet_transport = receiving.connect()
        receiving.gate.pause("cache_full")
        self.assertEqual(busy_transport.producerState, "producing")
        busy.dataReceived(b"a 1 2\n")
        self.assertEqual(busy_transport.producerState, "paused")
        self.assertEqual(quiet_transport.producerState, "producing")
        receiving.turn()
        self.assertEqual(receiving.sink.points, [("a", 2.0, 1.0)])

    def test_a_shut_gate_bounds_what_others_read_in_the_same_turn(self) -> None:
        class Sized(StringTransport):
            bufferSize = 65536

        receiving = Receiving()
        transports = [Sized(), Sized(), Sized()]
        receiving.factory.startFactory()
        for number, transport in enumerate(transports):
            if number == 2:
                receiving.gate.pause("cache_full")
            connection: Any = receiving.factory.buildProtocol(None)
            connection.makeConnection(transport)
        self.assertEqual([each.bufferSize for each in transports], [1, 1, 1])
        receiving.gate.resume("cache_full")
        self.assertEqual([each.bufferSize for each in transports], [READ_BYTES] * 3)
        receiving.gate.pause("cache_full")
        receiving.factory.stopFactory()
        receiving.factory.stopFactory()
        self.assertEqual([each.bufferSize for each in transports], [READ_BYTES] * 3)

    def test_resumes_when_the_last_of_two_reasons_goes(self) -> None:
        receiving = Receiving()
        connection, transport = receiving.connect()
        receiving.gate.pause("cache_full")
        receiving.gate.pause("log_full")
        connection.dataReceived(b"a 1 2\n")
        receiving.gate.resume("cache_full")
        self.assertEqual(transport.producerState, "paused")
        receiving.gate.resume("log_full")
        self.assertEqual(transport.producerState, "producing")

    def test_begins_paused_while_the_gate_is_shut(self) -> None:
        receiving = Receiving()
        receiving.gate.pause("cache_full")
        _, transport = receiving.connect()
        self.assertEqual(transport.producerState, "paused")
        receiving.gate.resume("cache_full")
        self.assertEqual(transport.producerState, "producing")

    def test_a_lost_connection_is_not_resumed(self) -> None:
        receiving = Receiving()
        receiving.gate.pause("cache_full")
        connection, transport = receiving.connect()
        connection.connectionLost(Failure(ConnectionDone()))
        receiving.gate.resume("cache_full")
        self.assertEqual(transport.producerState, "paused")


class IdleTests(SynchronousTestCase):
    def test_closes_without_a_good_datapoint_in_time(self) -> None:
        receiving = Receiving(idle_timeout_s=10.0)
        connection, transport = receiving.connect()
        receiving.clock.advance(6)
        connection.dataReceived(b"a 1 2\n")
        receiving.clock.advance(6)
        connection.dataReceived(b"garbage\n")
        self.assertFalse(transport.disconnected)
        receiving.clock.advance(4)
        self.assertTrue(transport.disconnected)
        self.assertEqual(receiving.account.counters["idle_closed"], 1)

    def test_paused_time_does_not_count(self) -> None:
        receiving = Receiving(idle_timeout_s=10.0)
        receiving.gate.pause("cache_full")
        _, transport = receiving.connect()
        for _ in range(5):
            receiving.clock.advance(9)
        receiving.gate.resume("cache_full")
        receiving.clock.advance(9)
        self.assertFalse(transport.disconnected)
        receiving.clock.advance(11)
        self.assertTrue(transport.disconnected)

    def test_no_timer_survives_the_connection(self) -> None:
        receiving = Receiving(idle_timeout_s=10.0)
        connection, _ = receiving.connect()
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(receiving.clock.getDelayedCalls(), [])


class LimitTests(SynchronousTestCase):
    def test_ports_pause_at_the_limit_and_resume_below(self) -> None:
        receiving = Receiving(most=2)
        port = FakePort()
        receiving.limit.add_port(port)
        first, _ = receiving.connect()
        self.assertEqual(port.told, [])
        receiving.connect()
        self.assertEqual(port.told, ["stop"])
        self.assertIsNone(receiving.connect()[0])
        self.assertEqual(receiving.account.counters["connections_refused"], 1)
        first.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(port.told, ["stop", "start"])
        self.assertEqual(receiving.account.gauges["connections_open"](), 1)

    def test_is_shared_by_listeners_and_knows_late_ports(self) -> None:
        limit = ConnectionLimit(1)
        early, late, gone = FakePort(), FakePort(), FakePort()
        limit.add_port(early)
        limit.add_port(gone)
        limit.remove_port(gone)
        limit.opened()
        limit.add_port(late)
        limit.closed()
        self.assertEqual((early.told, late.told, gone.told), (["stop", "start"], ["stop", "start"], []))

    def test_a_new_bound_counts_at_once(self) -> None:
        limit, port = ConnectionLimit(1), FakePort()
        limit.add_port(port)
        limit.opened()
        limit.most = 2
        limit.most = 1
        self.assertEqual(port.told, ["stop", "start", "stop"])


class ClosingTests(SynchronousTestCase):
    def test_disconnect_waits_for_the_last(self) -> None:
        receiving = Receiving()
        pairs = [receiving.connect() for _ in range(3)]
        done: list[object] = []
        receiving.factory.disconnect().addCallback(done.append)
        for connection, transport in pairs:
            self.assertTrue(transport.disconnected)
            self.assertEqual(done, [])
            connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(done, [None])
        self.assertEqual(self.successResultOf(receiving.factory.disconnect()), None)

    def test_connects_and_ends_are_logged_as_wanted(self) -> None:
        observer = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        receiving = Receiving(log_connections=True)
        for reason in (ConnectionDone(), ConnectionLost()):
            connection, _ = receiving.connect("192.0.2.9")
            connection.connectionLost(Failure(reason))
        told = [event["log_format"].format(**event) for event in _events(observer)]
        self.assertEqual(
            told,
            [
                "line connection with 192.0.2.9 established",
                "line connection with 192.0.2.9 closed cleanly",
                "line connection with 192.0.2.9 established",
            ],
        )

    def test_the_address_of_the_proxy_protocol_counts(self) -> None:
        receiving = Receiving(log_connections=True)
        observer = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        for header in (
            b"PROXY TCP4 198.51.100.1 198.51.100.2 1000 2003\r\n",
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc6\x33\x64\x01\xc6\x33\x64\x02\x03\xe8\x07\xd3",
        ):
            wrapper: Any = HAProxyWrappingFactory(receiving.factory)
            transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 1))
            protocol = wrapper.buildProtocol(transport.getPeer())
            protocol.makeConnection(transport)
            protocol.dataReceived(header + b"a 1 2\nbad\n")
            protocol.connectionLost(Failure(ConnectionDone()))
        receiving.turn()
        self.assertEqual(receiving.sink.points, [("a", 2.0, 1.0)] * 2)
        bad = [event["peer"] for event in _events(observer) if "kind" in event]
        self.assertEqual(bad, ["198.51.100.1"])


def _events(observer: EventLoggingObserver) -> list[dict[str, Any]]:
    return [event for event in observer if "cadtwist" in event.get("log_namespace", "")]
