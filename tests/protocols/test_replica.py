"""Connections between replica and master: order, pauses, bounds, silence."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.replica import Kind, Pdus, ReplicaError, pdu
from cadtwist.protocols.replica import SILENCE_S, ReplicaConnection, ReplicaFactory


class Wire(StringTransport):
    """A transport that also has a socket's options, and can be aborted."""

    aborted = False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Nothing is to be kept alive."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing waits."""

    def abortConnection(self) -> None:
        self.aborted = True

    @property
    def paused(self) -> bool:
        return self.producerState == "paused"


class Side:
    """Keeps what it hears; `busy` is what it answers."""

    def __init__(self) -> None:
        self.said: list[tuple[Kind, bytes]] = []
        self.events: list[str] = []
        self.busy: Deferred[Any] | None = None
        self.wrong: Exception | None = None

    def opened(self, connection: ReplicaConnection) -> None:
        self.events.append("opened")

    def heard(self, connection: ReplicaConnection, kind: Kind, payload: bytes) -> Deferred[Any] | None:
        self.said.append((kind, payload))
        if self.wrong is not None:
            raise self.wrong
        return self.busy

    def flowing(self, connection: ReplicaConnection) -> None:
        self.events.append("flowing")

    def closed(self, connection: ReplicaConnection, why: str) -> None:
        self.events.append(why)


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.side, self.wire = Clock(), Side(), Wire()
        self.connection = ReplicaConnection(self.side, self.clock, 1000, most_unsent=1000)
        self.connection.makeConnection(self.wire)

    def sent(self) -> list[tuple[Kind, bytes]]:
        return list(Pdus().feed(self.wire.value()))

    def test_one_after_the_other(self) -> None:
        self.side.busy = waiting = Deferred()
        self.connection.dataReceived(pdu(Kind.BEAT, b"1") + pdu(Kind.BEAT, b"2") + pdu(Kind.BEAT, b"3")[:5])
        self.assertEqual((self.side.said, self.wire.paused), ([(Kind.BEAT, b"1")], True))
        self.side.busy = None
        waiting.callback(None)
        self.assertEqual((len(self.side.said), self.wire.paused), (2, False))
        self.connection.dataReceived(pdu(Kind.BEAT, b"3")[5:])
        self.assertEqual(self.side.said[-1], (Kind.BEAT, b"3"))

    def test_silence_ends_it_but_not_our_own_work(self) -> None:
        self.side.busy = waiting = Deferred()
        self.connection.dataReceived(pdu(Kind.LIVE))
        self.clock.advance(SILENCE_S * 3)
        self.assertFalse(self.wire.aborted)
        self.side.busy = None
        waiting.callback(None)
        self.clock.advance(SILENCE_S - 1)
        self.assertFalse(self.wire.aborted)
        self.clock.advance(2)
        self.assertTrue(self.wire.aborted)

    def test_what_may_not_be_said_is_told_and_ends_it(self) -> None:
        self.side.wrong = ReplicaError("not so")
        self.connection.dataReceived(pdu(Kind.LIVE) + pdu(Kind.LIVE))
        self.assertEqual(self.sent(), [(Kind.ERROR, b"not so\0")])
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(len(self.side.said), 1)
        self.connection.dataReceived(pdu(Kind.LIVE))
        self.connection.send(Kind.LIVE)
        self.assertEqual((len(self.side.said), len(self.sent())), (1, 1))

    def test_a_fault_of_ours_is_logged_and_ends_it(self) -> None:
        self.side.busy = Deferred()
        self.connection.dataReceived(pdu(Kind.LIVE))
        self.side.busy.errback(KeyError("x"))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertTrue(self.wire.disconnecting)

    def test_garbage_ends_it(self) -> None:
        self.connection.dataReceived(b"GET / HTTP/1.0\r\n\r\n")
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(self.side.said, [])

    def test_an_error_from_there_ends_it(self) -> None:
        self.connection.dataReceived(pdu(Kind.ERROR, b"too old\0"))
        self.assertTrue(self.wire.aborted)
        self.connection.connectionLost()
        self.assertEqual(self.side.events, ["opened", "it says: too old"])

    def test_who_does_not_read_is_left(self) -> None:
        self.connection.send(Kind.REDO, bytes(5000))
        self.assertFalse(self.wire.aborted)
        self.connection.pauseProducing()
        self.assertTrue(self.connection.blocked)
        self.connection.send(Kind.REDO, bytes(900))
        self.connection.resumeProducing()
        self.assertEqual(self.side.events, ["opened", "flowing"])
        self.connection.pauseProducing()
        self.connection.send(Kind.REDO, bytes(900))
        self.assertFalse(self.wire.aborted)
        self.connection.send(Kind.REDO, bytes(900))
        self.assertTrue(self.wire.aborted)

    def test_a_master_has_a_bounded_number_of_replicas(self) -> None:
        factory = ReplicaFactory(Side(), self.clock, most=2)
        made = [factory.buildProtocol(None) for _ in range(2)]
        for connection in made:
            assert connection is not None
            connection.makeConnection(Wire())
        self.assertIsNone(factory.buildProtocol(None))
        assert made[0] is not None
        made[0].connectionLost()
        self.assertIsNotNone(factory.buildProtocol(None))
        factory.disconnect()
        assert made[1] is not None
        self.assertTrue(made[1].transport.aborted)
