"""Sockets that write at once: a real pair without a running reactor, and what a port accepts with it."""

from __future__ import annotations

import socket

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cadtwist.net.directsocket import DirectServer, DirectSocket


class Recorder(Protocol):
    def __init__(self):
        self.taken, self.reasons = [], []

    def dataReceived(self, data):
        self.taken.append(data)

    def connectionLost(self, reason):
        self.reasons.append(reason)


class DirectSocketTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        ours, self.peer = socket.socketpair()
        self.addCleanup(self.peer.close)
        self.protocol = Recorder()
        self.link = DirectSocket(self.reactor, ours, self.protocol)
        self.addCleanup(ours.close)

    def turn(self):
        """Do what the reactor would: write, then read."""
        for act, those in (("doWrite", self.reactor.getWriters()), ("doRead", self.reactor.getReaders())):
            for one in list(those):
                reason = getattr(one, act)()
                if reason is not None:
                    one.connectionLost(Failure(reason))

    def test_what_is_written_is_there_at_once(self):
        self.link.write(b"a")
        self.link.writeSequence([b"b", b"c"])
        self.assertEqual(self.peer.recv(10), b"abc")
        self.assertEqual(self.reactor.getWriters(), [])

    def test_what_the_kernel_does_not_take_follows_in_order(self):
        text = bytes(range(256)) * 8192
        self.link.write(text)
        self.link.write(b"end")
        self.assertEqual(self.reactor.getWriters(), [self.link])
        self.peer.setblocking(False)
        received = b""
        while len(received) < len(text) + 3:
            received += self.peer.recv(1 << 20)
            self.turn()
        self.assertEqual(received, text + b"end")
        self.assertEqual(self.reactor.getWriters(), [])
        self.link.write(b"more")
        self.assertEqual(self.peer.recv(10), b"more")

    def test_reads_in_turns_of_the_reactor(self):
        self.turn()
        self.peer.send(b"x")
        self.turn()
        self.assertEqual(self.protocol.taken, [b"x"])

    def test_waiting(self):
        self.assertFalse(self.link.wait(0.001))
        self.peer.send(b"x")
        self.assertTrue(self.link.wait(0.001))
        self.assertEqual(self.protocol.taken, [b"x"])

    def test_the_peer_goes(self):
        self.peer.close()
        self.assertFalse(self.link.wait(0.001), "the reactor tells of the end")
        self.assertEqual(self.protocol.reasons, [])
        self.turn()
        self.assertTrue(self.protocol.reasons[0].check(ConnectionDone))
        self.assertEqual(self.link.fileno(), -1)
        self.assertFalse(self.link.wait(0.001))
        self.link.write(b"nobody")
        self.assertEqual(self.reactor.getReaders() + self.reactor.getWriters(), [])

    def test_the_peer_goes_while_we_write(self):
        self.peer.close()
        self.link.write(b"x")
        self.turn()
        self.assertTrue(self.protocol.reasons[0].check(ConnectionLost))

    def test_we_go(self):
        self.link.loseConnection()
        self.turn()
        self.assertEqual(self.peer.recv(10), b"")
        self.assertEqual(len(self.protocol.reasons), 1)


class DirectServerTests(TestCase):
    """Accepted connections, over real sockets, in turns of the real reactor."""

    @inlineCallbacks
    def setUp(self):
        factory = Factory.forProtocol(self.accepted)
        door = socket.create_server(("127.0.0.1", 0))
        door.setblocking(False)
        port = reactor.adoptStreamPort(door.fileno(), socket.AF_INET, factory)
        port.transport = DirectServer
        self.addCleanup(port.stopListening)
        door.close()
        self.arrived = Deferred()
        self.peer = socket.create_connection(("127.0.0.1", port.getHost().port), 10)
        self.addCleanup(self.peer.close)
        self.here = yield self.arrived

    def accepted(self):
        protocol = Recorder()
        protocol.connectionMade = lambda: self.arrived.callback(protocol)
        protocol.gone = Deferred()
        protocol.connectionLost = lambda reason: protocol.gone.callback(reason.type)
        return protocol

    def test_an_answer_is_there_at_once(self):
        self.assertIsInstance(self.here.transport, DirectServer)
        self.here.transport.writeSequence([b"a", b"b"])
        self.assertEqual(self.peer.recv(10), b"ab")
        self.assertNotIn(self.here.transport, reactor.getWriters())

    @inlineCallbacks
    def test_what_the_kernel_does_not_take_follows_and_then_the_end(self):
        text = bytes(range(256)) * (1 << 16)
        self.here.transport.write(text)
        self.assertIn(self.here.transport, reactor.getWriters())
        self.here.transport.write(b"end")
        self.here.transport.loseConnection()
        received = yield deferToThread(self.read_all)
        self.assertEqual(received, text + b"end")
        self.assertIs((yield self.here.gone), ConnectionDone)

    def read_all(self):
        pieces = []
        while piece := self.peer.recv(1 << 20):
            pieces.append(piece)
        return b"".join(pieces)

    @inlineCallbacks
    def test_a_peer_that_is_gone(self):
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.peer.close()
        self.here.transport.write(b"a")
        self.here.transport.write(b"b")
        self.assertIn((yield self.here.gone), (ConnectionDone, ConnectionLost))
        self.here.transport.write(b"nobody")
