"""Lines in bodies of HTTP requests: what an answer means for them."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.net.client import Retry
from cadtwist.net.destination import Destination, DestinationOptions
from cadtwist.net.httpout import BODY_BYTES, HttpPost
from cadtwist.telemetry import Account
from tests.net.destinations import lines, numbers

URL = "http://127.0.0.1/lines"


class HttpOutletTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.account = Account("d")
        self.asked: list[tuple[bytes, Deferred[int]]] = []

    def post(self, url: str, body: bytes) -> Deferred[int]:
        self.assertEqual(url, URL)
        answer: Deferred[int] = Deferred()
        self.asked.append((body, answer))
        return answer

    def made(self, **options: Any) -> Destination:
        wanted = DestinationOptions(
            transport="http", path=URL, retry=Retry(1.0, 2.0, 5.0, 0.0), limits=QueueLimits(), **options
        )
        made = Destination(self.clock, "d", wanted, self.account, post=self.post)
        made.start()
        return made

    def answer(self, status: int) -> list[int]:
        """Answer the oldest request; return the numbers of its lines."""
        body, answer = self.asked.pop(0)
        answer.callback(status)
        return numbers(body)

    def test_a_success_answers_for_its_lines(self) -> None:
        d = self.made()
        self.assertTrue(d.connected)
        d.send(lines(0), 1)
        self.clock.advance(0.01)
        d.send(lines(1), 1)
        self.clock.advance(0.01)
        self.assertEqual((len(self.asked), self.account.out), (1, 0))
        self.assertEqual(self.answer(200), [0])
        self.assertEqual(self.account.out, 1)
        self.assertEqual(self.answer(204), [1])
        self.assertEqual((self.account.out, self.account.balance()), (2, 0))

    def test_other_answers_are_tried_again(self) -> None:
        d = self.made()
        told: list[bool] = []
        d.listen(lambda it: told.append(it.connected))
        d.send(lines(0), 1)
        self.clock.advance(0.01)
        waits = []
        for status in (500, 429, 503):
            self.assertEqual(self.answer(status), [0])
            begun = self.clock.seconds()
            while not self.asked:
                self.clock.advance(0.25)
            waits.append(round(self.clock.seconds() - begun, 3))
        self.assertEqual(waits, [1.0, 2.0, 4.0])
        self.assertFalse(d.connected)
        self.asked.pop(0)[1].errback(OSError("no route"))
        self.clock.advance(5.0)
        self.assertEqual(self.answer(200), [0])
        self.assertEqual(told, [False, False, False, False, True])
        self.assertEqual((self.account.out, self.account.balance()), (1, 0))

    def test_what_the_peer_will_never_take_is_dropped(self) -> None:
        d = self.made()
        d.send(lines(0, 3), 3)
        self.clock.advance(0.01)
        self.answer(400)
        self.assertEqual(self.account.dropped, {"http_refused": 3})
        self.assertEqual((self.account.out, self.account.held(), self.account.balance()), (0, 0, 0))

    def test_bodies_are_bounded_and_connections_too(self) -> None:
        d = self.made(connections=2)
        for i in range(0, 50_000, 100):
            d.send(lines(i, 100), 100)
        self.clock.advance(0.01)
        self.assertEqual(len(self.asked), 2)
        got: list[int] = []
        while self.asked:
            self.assertLess(len(self.asked[0][0]), BODY_BYTES + 2000)
            got += self.answer(200)
        self.assertEqual(sorted(got), list(range(50_000)))

    def test_closing_gives_up_what_is_under_way(self) -> None:
        d = self.made()
        d.send(lines(0), 1)
        self.clock.advance(0.01)
        closed = d.close(1.0)
        self.clock.pump([0.1] * 15)
        self.successResultOf(closed)
        self.assertEqual(self.account.dropped, {"stopped": 1})
        self.assertEqual(self.account.balance(), 0)

    def test_closing_waits_for_the_answer(self) -> None:
        d = self.made()
        d.send(lines(0), 1)
        closed = d.close(1.0)
        self.answer(200)
        self.clock.pump([0.1] * 3)
        self.successResultOf(closed)
        self.assertEqual((self.account.out, self.account.dropped), (1, {}))


class Lines(Resource):
    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.got = b""
        self.answered: Deferred[None] = Deferred()

    def render_POST(self, request: Any) -> bytes:
        self.got += request.content.read()
        request.notifyFinish().addCallback(lambda _: self.answered.callback(None))
        return b"lines processed"


class Endless(Protocol):
    """Answers as its factory says, and leaves the end of the answer open."""

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        self.factory.came.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(self.factory.answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.gone.callback(None)


class RealRequestTests(TestCase):
    @inlineCallbacks
    def test_an_answer_that_never_ends_counts_and_keeps_nobody(self) -> Any:
        for head in (b"Content-Length: 1000000", b"X: y", b"Transfer-Encoding: chunked"):
            factory: Any = Factory.forProtocol(Endless)
            factory.answer = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n"
            factory.came, factory.gone = [], Deferred()
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
            account = Account("d")
            url = f"http://127.0.0.1:{port.getHost().port}/x"
            options = DestinationOptions(transport="http", path=url, retry=Retry(0.02, 1.0, 0.02, 0.0, 0.2))
            d = Destination(reactor, "d", options, account)
            d.start()
            d.send(lines(0, 10), 10)
            yield factory.gone
            yield d.close()
            yield port.stopListening()
            self.assertEqual((account.out, account.dropped, len(factory.came)), (10, {}, 1))

    @inlineCallbacks
    def test_why_there_is_no_answer(self) -> Any:
        for answer, why in ((b"", "no answer in time"), (b"garbage\r\n\r\n", "garbage")):
            factory: Any = Factory.forProtocol(Endless)
            factory.answer, factory.came, factory.gone = answer, [], Deferred()
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
            post = HttpPost(reactor, 0.2)
            failure = yield self.assertFailure(post(f"http://127.0.0.1:{port.getHost().port}/x", b"a"), Exception)
            self.assertIn(why, str(failure))
            self.assertNotIn("Failure", str(failure))
            yield factory.gone
            yield post.close()
            yield port.stopListening()

    @inlineCallbacks
    def test_over_a_socket(self) -> Any:
        page = Lines()
        port = reactor.listenTCP(0, Site(page), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        account = Account("d")
        options = DestinationOptions(transport="http", path=f"http://127.0.0.1:{port.getHost().port}/x")
        d = Destination(reactor, "d", options, account)
        d.start()
        d.send(lines(0, 100), 100)
        yield page.answered
        yield d.close()
        self.assertEqual(page.got, lines(0, 100))
        self.assertEqual((account.out, account.dropped), (100, {}))
