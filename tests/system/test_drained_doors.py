"""A new process takes the place of an old one that has connections which nobody can take over: TLS, PROXY, HTTP."""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import ssl
import threading
from pathlib import Path

from cadtwist.net.tls import TLS_AVAILABLE
from tests.net.test_tls import made, pem
from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.process import free_ports, until
from tests.system.relayd import Relayd

PROXY = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 2003\r\n"


class Client(threading.Thread):
    """Sends numbered lines until told to stop; subclasses give `say(line)`.  `faults` is what went wrong."""

    def __init__(self, kind: str) -> None:
        super().__init__(daemon=True)
        self.kind = kind
        self.sent = 0
        self.connects = 0
        self.faults: list[str] = []
        self._stop_wanted = threading.Event()

    def end(self) -> None:
        """Stop sending and wait for it."""
        self._stop_wanted.set()
        self.join(60)

    def run(self) -> None:
        try:
            while not self._stop_wanted.wait(0.004):
                self.say(b"%s.m%d 1 1\n" % (self.kind.encode(), self.sent))
                self.sent += 1
            self.leave()
        except (OSError, http.client.HTTPException) as fault:
            self.faults.append(f"{self.kind} after {self.sent}: {fault!r}")

    def say(self, line: bytes) -> None:
        """Send one line."""
        raise NotImplementedError

    def leave(self) -> None:
        """Close what is open."""


class Stream(Client):
    """A connection that stays as long as the relay does not close it; a line is sent in two pieces."""

    def __init__(self, kind: str, address: object, first: bytes = b"", context: ssl.SSLContext | None = None) -> None:
        super().__init__(kind)
        self._address = address
        self._first = first
        self._context = context
        self._wire: socket.socket | None = None

    def say(self, line: bytes) -> None:
        """Send it, over a new connection where the relay has ended the old one."""
        if self._wire is not None and self._is_over(self._wire):
            self.leave()
        if self._wire is None:
            self._wire = self._connected()
        self._wire.sendall(line[:5])
        self._wire.sendall(line[5:])

    def leave(self) -> None:
        """Close in order, as a good client of TLS does."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.settimeout(30)
            if isinstance(wire, ssl.SSLSocket):
                with contextlib.suppress(OSError):
                    wire = wire.unwrap()
            with contextlib.suppress(OSError):
                wire.shutdown(socket.SHUT_WR)
                while wire.recv(1000):
                    pass
            wire.close()

    def _connected(self) -> socket.socket:
        self.connects += 1
        wire = socket.socket(socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET)
        wire.settimeout(30)
        wire.connect(self._address)
        wire.sendall(self._first)
        return wire if self._context is None else self._context.wrap_socket(wire, server_hostname="localhost")

    @staticmethod
    def _is_over(wire: socket.socket) -> bool:
        if isinstance(wire, ssl.SSLSocket):
            wire.settimeout(0)
            try:
                return wire.recv(1) == b""
            except ssl.SSLWantReadError:
                return False
            finally:
                wire.settimeout(30)
        return bool(select.select([wire], [], [], 0)[0]) and wire.recv(1) == b""


class Poster(Client):
    """Posts a line at a time over a connection that is kept; `pieces` lets a body take a while."""

    def __init__(self, kind: str, connection: http.client.HTTPConnection, pieces: int = 1) -> None:
        super().__init__(kind)
        self._connection = connection
        self._pieces = pieces

    def say(self, line: bytes) -> None:
        """Post it; it counts when the answer is good."""
        self.connects += self._connection.sock is None  # the last answer has ended it
        body = line if self._pieces == 1 else self._slowly(line)
        self._connection.request("POST", "/in", body, {"Content-Length": str(len(line))})
        answer = self._connection.getresponse()
        text = answer.read()
        if (answer.status, text) != (200, b"lines processed 1"):
            raise OSError(f"{answer.status} {text!r}")

    def _slowly(self, line: bytes) -> list[bytes]:
        return [line[place : place + 1] for place in range(len(line))]


class Asker(Client):
    """Asks for a page again and again over a connection that is kept."""

    def __init__(self, kind: str, port: int, path: str) -> None:
        super().__init__(kind)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._path = path

    def say(self, line: bytes) -> None:
        """Ask; the answer must be good and whole."""
        self.connects += self._connection.sock is None
        self._connection.request("GET", self._path)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise OSError(f"{answer.status} of {self._path}")

    def leave(self) -> None:
        """Close the connection."""
        self._connection.close()


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
            Poster("slow", http.client.HTTPConnection(here, self.http, 30), 10),
            Poster("https", http.client.HTTPSConnection("localhost", self.https, timeout=30, context=self.context)),
        ]

    def check(self, workers: int) -> None:
        relay = self.relay(workers)
        self.addCleanup(self.end, relay)
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
            old = until("it serves", lambda: self.pid(relay), 60)
            os.kill(old, signal.SIGUSR2)
            until("another process serves", lambda old=old: self.pid(relay) not in (0, old), 60)
            until("the old process is gone", lambda old=old: _is_dead(old), 60)
            self.post(idle, b"idle.m%d 1 1\n" % number)
        self.assertIs(idle.sock, wire, "an idle connection of HTTP is kept")
        for client in (*clients, asker):
            client.end()
        self.assertEqual([client.faults for client in (*clients, asker) if client.faults], [])
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

    def pid(self, relay: Relayd) -> int:
        """Return who serves now, 0 for nobody who is ready."""
        try:
            status = relay.json("/ops/status")
        except OSError:
            return 0
        return int(status["pid"]) if status["ready"] else 0

    def end(self, relay: Relayd) -> None:
        pid = self.pid(relay)
        if pid:
            os.kill(pid, signal.SIGTERM)
            until("it ends", lambda: _is_dead(pid), 60)

    def test_one_process(self) -> None:
        self.check(1)

    def test_two_workers(self) -> None:
        self.check(2)


def _is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
