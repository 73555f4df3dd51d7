"""A socket that writes at once: over a real pair of sockets, without a running reactor."""

from __future__ import annotations

import socket

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.net.directsocket import DirectSocket


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
