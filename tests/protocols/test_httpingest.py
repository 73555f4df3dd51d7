"""Lines over HTTP, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.protocols.httpingest import IngestSite
from tests.protocols.test_relayline import LineSink, receiving


class IngestTests(SynchronousTestCase):
    def open(self, path: str = "/stats", strict: bool = False, **how: Any) -> tuple[Any, LineSink]:
        made, sink = receiving(strict)
        self.made = made
        self.site = IngestSite(made.intake, path, clock=made.clock, **how)
        return made, sink

    def connect(self) -> tuple[Any, StringTransport]:
        transport = StringTransport()
        channel: Any = self.site.buildProtocol(None)
        channel.makeConnection(transport)
        return channel, transport

    def ask(self, body: bytes, method: str = "POST", path: str = "/stats", head: str = "") -> bytes:
        channel, transport = self.connect()
        length = head or f"Content-Length: {len(body)}\r\n"
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n".encode() + body)
        self.made.turn()
        return transport.value()

    def test_takes_lines_by_any_method_and_a_last_one_without_lf(self) -> None:
        _, sink = self.open()
        for method in ("POST", "PUT", "GET", "DELETE", "WHATEVER"):
            answer = self.ask(b"a:1|c\nbad\nb:2|c", method)
            self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer)
            self.assertTrue(answer.endswith(b"lines processed 2"), answer)
        self.assertEqual(sink.lines, [b"a:1|c", b"b:2|c"] * 5)
        self.assertEqual(self.made.account.counters["bad.fields"], 5)
        self.assertTrue(self.ask(b"").endswith(b"lines processed 0"))

    def test_the_path_must_be_equal(self) -> None:
        _, sink = self.open()
        for path in ("/", "/stats/", "/stats/x", "/stat"):
            self.assertTrue(self.ask(b"a:1|c\n", path=path).startswith(b"HTTP/1.1 404"))
        self.assertTrue(self.ask(b"a:1|c\n", path="/stats?x=1").endswith(b"lines processed 1"))
        self.assertEqual(len(sink.lines), 1)
        self.open("")
        self.assertTrue(self.ask(b"a:1|c\n", path="/").endswith(b"lines processed 1"))

    def test_bodies_in_pieces_and_in_chunks(self) -> None:
        _, sink = self.open()
        channel, transport = self.connect()
        for piece in (b"POST /stats HTTP/1.1\r\nContent-Le", b"ngth: 12\r\n\r\na:1", b"|c\nb:", b"1|c\n"):
            channel.dataReceived(piece)
        self.assertTrue(transport.value().endswith(b"lines processed 2"))
        answer = self.ask(b"4\r\nc:1|\r\n2\r\nc\n\r\n0\r\n\r\n", head="Transfer-Encoding: chunked\r\n")
        self.assertIn(b"lines processed 1", answer)
        self.assertEqual(sink.lines, [b"a:1|c", b"b:1|c", b"c:1|c"])

    def test_a_long_body(self) -> None:
        _, sink = self.open()
        self.assertTrue(self.ask(b"a:1|c\n" * 100_000).endswith(b"lines processed 100000"))
        self.assertEqual(len(sink.lines), 100_000)

    def test_bodies_are_bounded(self) -> None:
        _, sink = self.open(max_body_bytes=100)
        self.assertTrue(self.ask(b"a:1|c\n" * 16).endswith(b"lines processed 16"))
        self.assertTrue(self.ask(b"", head="Content-Length: 101\r\n").startswith(b"HTTP/1.1 413"))
        chunk = b"40\r\n" + b"a:1|c\n" * 10 + b"a:1|\r\n"
        answer = self.ask(chunk * 2 + b"0\r\n\r\n", head="Transfer-Encoding: chunked\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413"), answer)
        self.assertEqual(len(sink.lines), 16)

    def test_takes_another_timeout(self) -> None:
        self.open(idle_timeout_s=60.0)
        self.site.change(float("inf"), None)
        self.assertIsNone(self.site.timeOut)

    def test_waits_for_the_gate(self) -> None:
        made, sink = self.open()
        made.gate.pause("full")
        channel, transport = self.connect()
        other, _ = self.connect()
        for each in (channel, other):
            each.dataReceived(b"POST /stats HTTP/1.1\r\nContent-Length: 6\r\n\r\na:1|c\n")
        self.assertEqual(transport.value(), b"")
        other.connectionLost(Failure(ConnectionDone()))
        made.gate.resume("full")
        made.turn()
        self.assertTrue(transport.value().endswith(b"lines processed 1"))
        self.assertEqual(sink.lines, [b"a:1|c"])

    def test_a_bad_line_ends_a_strict_body(self) -> None:
        _, sink = self.open(strict=True)
        self.assertTrue(self.ask(b"a:1|c\nbad\nb:1|c").endswith(b"lines processed 1"))
        self.assertEqual(sink.lines, [b"a:1|c"])
