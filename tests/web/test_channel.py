"""The server's end of a connection: how long a client may be silent, and requests that are read as Twisted does."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cadtwist.web.answering import LEFT_AFTER_S
from cadtwist.web.answers import Answer, CrossOrigin, header, send
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

    def test_who_says_no_more_is_answered(self):
        """All that was asked, in order; then the connection ends."""
        self.channel.dataReceived(ASKED * 3)
        self.clock.advance(0.1)
        self.channel.readConnectionLost()
        for left in (2, 1, 0):
            self.assertFalse(self.transport.disconnecting)
            self.answer()
            self.channel.readConnectionLost()  # as twisted tells again when it is told to read again
            self.clock.advance(0)
            self.assertEqual(len(self.door.waiting), min(left, 1))
        self.assertEqual(self.transport.value().count(b"HTTP/1.1 200 OK\r\n"), 3)
        self.assertTrue(self.transport.disconnecting)

    def test_who_says_no_more_within_a_request_has_asked_nothing(self):
        for begun in (b"", ASKED[:5], b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc"):
            self.setUp()
            self.channel.dataReceived(begun)
            self.channel.readConnectionLost()
            self.assertEqual((self.door.waiting, self.transport.disconnecting), ([], True))
            self.setUp()
            self.channel.dataReceived(ASKED + begun)
            self.channel.readConnectionLost()
            self.assertFalse(self.transport.disconnecting)
            self.answer()
            self.clock.advance(0)
            self.assertTrue(self.transport.value().endswith(b"x"))
            self.assertEqual((self.door.waiting, self.transport.disconnecting), ([], True))

    def test_who_gives_up_waiting_is_gone(self):
        self.ask()
        self.clock.advance(LEFT_AFTER_S)
        self.channel.readConnectionLost()
        self.assertTrue(self.transport.disconnecting)

    def test_a_connection_that_is_gone_leaves_no_timer(self):
        for _ in range(10):
            self.ask()
            self.answer()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Told(Resource):
    """Answers with what it understood of a request, after a moment of `clock`, or at once."""

    isLeaf = True

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def render(self, request):
        names = (b"host", b"accept", b"x-a", b"cookie", b"content-type")
        told = [request.method, request.uri, request.path, request.content.read(), request.received_cookies]
        told += [(header(request, name), request.getHeader(name)) for name in names]
        answer = request, Answer(repr(told).encode(), "text/plain"), CrossOrigin()
        if self.clock is None:
            send(*answer)
        else:
            self.clock.callLater(0.1, send, *answer)
        return NOT_DONE_YET


LINES = [
    b"Host: a", b"host:b", b"X-A:  two words\t", b"x-a: \xc3\xbc\xff", b"Cookie: a=b; c", b"Accept: */*", b"X-A:",
    b"Content-Length: 0", b"Content-Length: 3", b"content-length: x", b"Transfer-Encoding: chunked",
    b"Expect: 100-continue", b"Connection: close", b"no colon", b" folded", b": none", b"bad name: x", b"X-A: \0",
    b"X-A: a\rb", b"",
]  # fmt: skip
FIRST = [
    b"GET /a?b=%20c HTTP/1.1", b"GET / HTTP/1.1", b"GET /\xc3 HTTP/1.1", b"GET / HTTP/1.0", b"GET / HTTP/2",
    b"GET  / HTTP/1.1", b"HEAD / HTTP/1.1", b"POST / HTTP/1.1", b"get / HTTP/1.1", b"",
    b"GET /" + b"a" * 16_380 + b" HTTP/1.1",
]  # fmt: skip
REQUESTS = st.builds(
    lambda first, lines, end: b"\r\n".join([first, *lines]) + end,
    st.sampled_from(FIRST), st.lists(st.sampled_from(LINES), max_size=4),
    st.sampled_from([b"\r\n\r\n"] * 4 + [b"\r\n\r\nabc", b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"\n\n", b"\r\n"]),
)  # fmt: skip


class LikeTwistedTests(SynchronousTestCase):
    """What is read as a whole is answered as what is read line by line, to the letter."""

    def answers(self, protocol, pieces, later=False):
        clock = Clock()
        site = BoundedSite(Told(clock if later else None), reactor=clock, request=DirectRequest)
        site.protocol = protocol or HTTPChannel
        transport = Transport()
        channel = site.buildProtocol(PEER)
        channel.makeConnection(transport)
        for piece in pieces:
            if not transport.disconnecting:
                channel.dataReceived(piece)
        clock.pump([0.1] * 10)
        return re.sub(rb"\r\nDate: [^\r]*", b"", transport.value()), transport.disconnecting

    @settings(max_examples=500, deadline=None, database=None)
    @given(
        st.lists(REQUESTS, min_size=1, max_size=4), st.lists(st.integers(0, 400), max_size=3),
        st.booleans(), st.booleans(),
    )  # fmt: skip
    def test_anything(self, requests, cuts, joined, later):
        pieces = [b"".join(requests)] if joined else requests
        for cut in cuts:
            pieces = [part for piece in pieces for part in (piece[:cut], piece[cut:]) if part]
        self.assertEqual(self.answers(DirectChannel, pieces, later), self.answers(None, pieces, later))

    def test_the_same_headers_again_and_others(self):
        plain = request_bytes("GET", "/", headers={"X-A": "1"})
        other = request_bytes("GET", "/", headers={"X-A": "2", "Accept": "*"})
        form = request_bytes("POST", "/", headers={"X-A": "1"}, body=b"x")
        pieces = [plain, plain, other, form, plain, other[:9], other[9:]]
        self.assertEqual(self.answers(DirectChannel, pieces), self.answers(None, pieces))

    def test_many_headers(self):
        for many in (499, 500, 501):
            asked = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * many + b"\r\n"
            self.assertEqual(self.answers(DirectChannel, [asked]), self.answers(None, [asked]))
