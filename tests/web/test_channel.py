"""The server's end of a connection: how long a client may be silent, and which addresses it tells."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cadtwist.web.answers import Answer, CrossOrigin, send
from cadtwist.web.channel import DirectChannel
from cadtwist.web.requests import BoundedSite, DirectRequest
from tests.web.wire import request_bytes

IDLE_S = 60
ASKED = request_bytes("GET", "/x")
PEER = IPv4Address("TCP", "192.0.2.1", 9)


class Transport(StringTransport):
    """Counts who asks for addresses."""

    asked = aborted = 0

    def getPeer(self):
        self.asked += 1
        return PEER

    def abortConnection(self):
        self.aborted += 1


class Slow(Resource):
    """Answers when told."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.waiting = []

    def render(self, request):
        self.waiting.append(Deferred().addCallback(lambda _: send(request, Answer(b"x", "text/plain"), CrossOrigin())))
        self.peer = request.getClientAddress()
        return NOT_DONE_YET


class ChannelTests(SynchronousTestCase):
    def setUp(self):
        self.clock, self.door = Clock(), Slow()
        self.site = BoundedSite(self.door, reactor=self.clock, request=DirectRequest)
        self.site.protocol = DirectChannel
        self.transport = Transport()
        self.channel = self.site.buildProtocol(PEER)
        self.channel.makeConnection(self.transport)

    def ask(self):
        self.channel.dataReceived(ASKED)

    def answer(self):
        self.door.waiting.pop().callback(None)

    def test_requests_are_answered(self):
        for _ in range(3):
            self.ask()
            self.answer()
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 200 OK\r\n"), 3)
        self.assertEqual((self.door.peer, self.transport.asked), (PEER, 1))

    def test_one_that_never_asks(self):
        self.clock.advance(IDLE_S - 1)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(1.1)
        self.assertTrue(self.transport.disconnecting)

    def test_silence_counts_from_the_last_byte_or_answer(self):
        self.clock.advance(IDLE_S - 1)
        self.channel.dataReceived(ASKED[:5])
        self.clock.advance(IDLE_S - 1)
        self.assertFalse(self.transport.disconnecting)
        self.channel.dataReceived(ASKED[5:])
        self.clock.advance(0.5)
        self.answer()
        self.clock.advance(IDLE_S - 0.1)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(0.2)
        self.assertTrue(self.transport.disconnecting)

    def test_an_answer_may_take_longer(self):
        self.ask()
        for _ in range(5):
            self.clock.advance(IDLE_S)
        self.assertFalse(self.transport.disconnecting)
        self.answer()
        self.clock.advance(IDLE_S - 1)
        self.assertFalse(self.transport.disconnecting)
        self.clock.advance(1.1)
        self.assertTrue(self.transport.disconnecting)

    def test_one_that_does_not_go_is_dropped(self):
        self.clock.advance(IDLE_S + 0.1)
        self.clock.advance(DirectChannel.abortTimeout + 0.1)
        self.assertEqual((self.transport.disconnecting, self.transport.aborted), (True, 1))

    def test_a_connection_that_is_gone_leaves_no_timer(self):
        for _ in range(10):
            self.ask()
            self.answer()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
