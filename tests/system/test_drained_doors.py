"""A new process takes the place of an old one that has connections which nobody can take over: TLS, PROXY, HTTP."""

from __future__ import annotations

import http.client
import os
import ssl
from pathlib import Path

from cadtwist.net.tls import TLS_AVAILABLE
from tests.net.test_tls import made, pem
from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.loads import Asker, Client, Poster, Stream
from tests.system.process import end_serving, free_ports, hand_over, until
from tests.system.relayd import Relayd

PROXY = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 2003\r\n"


class DrainTests(SystemTestCase):
    """SIGUSR2 and SIGTERM while clients go on."""

    def setUp(self) -> None:
        super().setUp()
        if not TLS_AVAILABLE:
            self.skipTest("cadtwist[tls] is not installed")
        self.sink = LineSink()
        self.addCleanup(self.sink.close)
        self.tls, self.http, self.https, self.proxy, self.text, self.secret, self.ops = free_ports(7)
        self.path = str(Path("/tmp") / f"drained-{os.getpid()}.sock")
        self.addCleanup(lambda: Path(self.path).unlink(missing_ok=True))
        certificate, key = made("localhost")
        self.pem = self.folder / "own.pem"
        self.pem.write_bytes(pem(certificate, key))
        self.context = ssl.create_default_context(cafile=str(self.pem))

    def relay(self, workers: int = 1) -> Relayd:
        secret = f'tls = {{ certificate = "{self.pem}" }}'
        doors = [
            f'port = {self.tls}\n{secret}',
            f'port = {self.proxy}\nproxy_protocol = true',
            f'transport = "http"\nport = {self.http}\npath = "/in"',
            f'transport = "http"\nport = {self.https}\npath = "/in"\n{secret}',
            f'transport = "endpoint"\nendpoint = "tcp:{self.text}:interface=127.0.0.1"',
            f'transport = "endpoint"\nendpoint = "ssl:{self.secret}:privateKey={self.pem}:interface=127.0.0.1"',
        ]
        opened = [
            f'[[listeners]]\nprotocol = "line"\n{door}'
            + ("" if "endpoint" in door else '\ninterface = "127.0.0.1"')
            for door in doors
        ]
        opened.append(f'[[listeners]]\nprotocol = "ops"\nport = {self.ops}')
        unix = f'[[listeners]]\nprotocol = "line"\ntransport = "unix"\npath = "{self.path}"'
        text = "\n".join((f"[processes]\nworkers = {workers}", *opened, unix))
        relay = Relayd(self.folder / "relay", [self.sink.port], text=text,
                       destination={"queue": {"resend_window_s": 0.0}})  # fmt: skip
        return self.started(relay)

    def clients(self) -> list[Client]:
        here = "127.0.0.1"
        return [
            Stream("unix", self.path),
            Stream("endpoint", (here, self.text)),
            Stream("tls", (here, self.tls), context=self.context),
            Stream("ssl", (here, self.secret), context=self.context),
            Stream("proxy", (here, self.proxy), PROXY),
            Poster("http", http.client.HTTPConnection(here, self.http, 30)),
            Poster("slow", http.client.HTTPConnection(here, self.http, 30), True),
            Poster("https", http.client.HTTPSConnection("localhost", self.https, timeout=30, context=self.context)),
        ]

    def check(self, workers: int) -> None:
        relay = self.relay(workers)
        self.addCleanup(end_serving, relay.serving)
        clients = self.clients()
        idle = http.client.HTTPConnection("127.0.0.1", self.http, 30)
        self.addCleanup(idle.close)
        self.post(idle, b"idle.m0 1 1\n")
        wire = idle.sock
        asker = Asker("asker", self.ops, "/stats")
        for client in (*clients, asker):
            client.start()
        rounds = self.number("CADTWIST_SYSTEM_HANDOVERS", 3)
        for number in range(1, rounds + 1):
            hand_over(relay.serving)
            self.post(idle, b"idle.m%d 1 1\n" % number)
        self.assertIs(idle.sock, wire, "an idle connection of HTTP is kept")
        for client in (*clients, asker):
            client.end()
        faults = [(client.kind, client.faults) for client in (*clients, asker) if client.faults]
        self.assertEqual(faults, [])
        self.assertEqual(asker.connects, 1 if workers == 1 else 1 + rounds)
        self.assertEqual({client.kind: client.connects for client in clients}, {
            "unix": 1, "endpoint": 1, "http": 1, "slow": 1,
            **dict.fromkeys(("tls", "ssl", "proxy", "https"), 1 + rounds),
        })  # fmt: skip
        wanted = [b"%s.m%d 1 1" % (each.kind.encode(), n) for each in clients for n in range(each.sent)]
        wanted += [b"idle.m%d 1 1" % number for number in range(rounds + 1)]
        until("all arrived", lambda: self.sink.total >= len(wanted), 30)
        found = self.sink.seen()
        self.assertEqual([line for line in wanted if found[line] != 1][:20], [])
        self.assertEqual(relay.unbalanced(), {})

    def post(self, connection: http.client.HTTPConnection, line: bytes) -> None:
        connection.request("POST", "/in", line)
        self.assertEqual(connection.getresponse().read(), b"lines processed 1")

    def test_one_process(self) -> None:
        self.check(1)

    def test_two_workers(self) -> None:
        self.check(2)
