"""Tests of `cadtwist.net.httpask`, over loopback."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from cadtwist.net.httpask import HttpAnswer, HttpAsk

reactor: Any = real_reactor


class Peer(Resource):
    """Answers what it was asked; `/held` begins to answer, and the test goes on."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.held: Deferred[Request] = Deferred()
        self.left: Deferred[None] = Deferred()

    def render(self, request: Request) -> Any:
        if request.path == b"/held":
            request.setResponseCode(500 if b"refuse" in request.uri else 200)
            request.write(b"begin ")
            request.notifyFinish().addBoth(lambda _: self.left.callback(None))
            self.held.callback(request)
            return NOT_DONE_YET
        if request.path == b"/away":
            request.setResponseCode(302)
            request.setHeader("Location", "/elsewhere")
            return b""
        request.setHeader("X-Mine", "yes")
        request.setResponseCode(207)
        content = request.content.read() if request.content is not None else b""
        return b"|".join([request.method, request.uri, content, request.getHeader(b"x-a") or b""])


class AskTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.peer = Peer()
        self.port = reactor.listenTCP(0, Site(self.peer), interface="127.0.0.1")
        self.ask = HttpAsk(reactor, 30.0)

    async def close(self) -> None:
        await self.ask.close()
        await self.port.stopListening()

    def tearDown(self) -> Any:
        return ensureDeferred(self.close())

    def url(self, path: str) -> bytes:
        return f"http://127.0.0.1:{self.port.getHost().port}{path}".encode()

    async def refused(self, asked: Deferred[Any]) -> str:
        with self.assertRaises(OSError) as caught:
            await asked
        return str(caught.exception)

    def test_all_of_a_request_and_its_answer(self) -> Any:
        async def run() -> None:
            found = await self.ask(b"PUT", self.url("/a?b=c%20d"), [(b"x-a", b"1")], b"body")
            self.assertEqual(found[::2], (207, b"PUT|/a?b=c%20d|body|1"))
            self.assertEqual(found.headers["x-mine"], "yes")
            self.assertEqual((await self.ask(b"GET", self.url("/away"), [], b"")).status, 302)
            found = await self.ask(b"GET", self.url("/a"), [], b"")
            self.assertEqual((found.body, "content-encoding" in found.headers), (b"GET|/a||", False))
            self.assertIsInstance(found, HttpAnswer)

        return ensureDeferred(run())

    def test_nobody_there(self) -> Any:
        async def run() -> None:
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                url = f"http://127.0.0.1:{taken.getsockname()[1]}/".encode()
                self.assertIn("refused", await self.refused(self.ask(b"GET", url, [], b"")))
                self.assertIn("refused", await self.refused(self.ask.stream(b"GET", url, [], print)))

        return ensureDeferred(run())

    def test_an_answer_that_does_not_end_is_given_up(self) -> Any:
        async def run() -> None:
            self.ask.timeout_s = 0.2
            await self.refused(self.ask(b"GET", self.url("/held"), [], b""))
            await self.peer.left

        return ensureDeferred(run())

    def test_an_answer_that_is_too_long(self) -> Any:
        async def run() -> None:
            self.ask.most_bytes = 5
            self.assertIn("more than 5 bytes", await self.refused(self.ask(b"GET", self.url("/held"), [], b"")))
            await self.peer.left

        return ensureDeferred(run())

    def test_a_stream(self) -> Any:
        async def run() -> None:
            found: list[bytes] = []
            first: Deferred[None] = Deferred()

            def take(part: bytes) -> None:
                found.append(part)
                if not first.called:
                    first.callback(None)

            over = self.ask.stream(b"GET", self.url("/held"), [], take)
            request = await self.peer.held
            await first
            self.assertEqual(found, [b"begin "])
            ended: list[object] = []
            over.addBoth(ended.append)
            self.assertEqual(ended, [])
            request.write(b"end")
            request.finish()
            await over
            self.assertEqual(b"".join(found), b"begin end")

        return ensureDeferred(run())

    def test_a_stream_that_is_refused(self) -> Any:
        async def run() -> None:
            found: list[bytes] = []
            asked = self.ask.stream(b"GET", self.url("/held?refuse"), [], found.append)
            self.assertEqual(await self.refused(asked), "answers 500")
            await self.peer.left
            self.assertEqual(found, [])

        return ensureDeferred(run())

    def test_who_reads_a_stream_may_leave(self) -> Any:
        async def run() -> None:
            over = self.ask.stream(b"GET", self.url("/held"), [], lambda _: None)
            await self.peer.held
            over.cancel()
            await self.peer.left
            with self.assertRaises((CancelledError, OSError)):
                await over

        return ensureDeferred(run())
