"""Clients that say all they have to say and listen, as `nc -N` does: they are answered at every door of HTTP."""

from __future__ import annotations

import socket

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.counterd import Counterd
from tests.system.dattssd import Dattssd
from tests.system.linesink import LineSink
from tests.system.process import free_ports
from tests.system.relayd import Relayd


def said_all(port: int, text: bytes) -> bytes:
    """Return what comes back to the end for a text behind which nothing more is said."""
    with socket.create_connection(("127.0.0.1", port), 30) as wire:
        wire.sendall(text)
        wire.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: wire.recv(65536), b""))


class HalfClosedTests(SystemTestCase):
    """One question, and several at once, over connections that end their side behind it."""

    def answered(self, port: int, *paths: str) -> None:
        for path in paths:
            asked = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            for count in (1, 3):
                found = said_all(port, asked * count)
                self.assertEqual(found.count(b"HTTP/1.1 200 OK\r\n"), count, (path, found[:400]))
            self.assertEqual(said_all(port, asked[:-2]), b"", "half a question is none")

    def test_web_processes(self) -> None:
        daemon = self.started(Cadtwistd(self.folder / "cadtwist"))
        self.answered(daemon.http, "/metrics/find?query=*", "/render?target=constantLine(1)&format=json", "/ledger")

    def test_relay(self) -> None:
        """Pages for operators, lines in bodies, and reports; one process and two workers."""
        sink = LineSink()
        self.addCleanup(sink.close)
        lines = [f"{kind}.{workers} 1 1\n".encode() for kind in ("length", "chunks") for workers in (1, 2)]
        for workers in (1, 2):
            ops, posts = free_ports(2)
            doors = (
                f"[processes]\nworkers = {workers}",
                f'[[listeners]]\nprotocol = "ops"\nport = {ops}',
                f'[[listeners]]\nprotocol = "line"\ntransport = "http"\nport = {posts}\npath = "/in"',
            )
            relay = self.started(Relayd(self.folder / f"relay{workers}", [sink.port], text="\n".join(doors)))
            self.answered(ops, "/", "/stats", "/ops/status", "/servers", "/hashcheck?key=a")
            self.answered(relay.http, "/ledger", "/ops/status", "/metrics")
            head = b"POST /in HTTP/1.1\r\nHost: x\r\n"
            whole, piece = lines[workers - 1], lines[workers + 1]
            bodies = (
                b"Content-Length: %d\r\n\r\n%b" % (len(whole), whole),
                b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(piece), piece),
            )
            for body in bodies:
                self.assertIn(b"lines processed 1", said_all(posts, head + body))
            self.assertEqual(said_all(posts, head + bodies[1][:-5]), b"")
            relay.stop()
        self.assertEqual(set(sink.seen()), {line.rstrip() for line in lines})

    def test_counters(self) -> None:
        daemon = self.started(Counterd("istatd", self.folder / "istatd"))
        self.answered(daemon.http, "/?q=*", "/ledger", "/")

    def test_partial_aggregates(self) -> None:
        daemon = self.started(Dattssd(self.folder / "dattss"))
        self.answered(daemon.http, "/", f"/s/status?auth={daemon.keys.key('user1')}")
