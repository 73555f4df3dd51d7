"""Loads for daemons under test: threads that send without end until they are told to stop, and know what they sent."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = [
    "Asker", "BothWays", "Client", "HttpClient", "LineFeeder", "Load", "Poster", "Repeater", "Stream", "Visitor",
    "leave",
]  # fmt: skip

Sent = TypeVar("Sent")


class Load(threading.Thread, Generic[Sent]):
    """Sends from `start` to `end`; `sent` says what went out, `faults` what went wrong.

    Subclasses give `load`, which sends as long as `goes_on()`.
    """

    sent: Sent

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.faults: list[str] = []
        self._end_wanted = threading.Event()

    def end(self) -> Sent:
        """Stop sending; return what was sent."""
        self._end_wanted.set()
        self.join(60)
        return self.sent

    def goes_on(self, pause_s: float = 0.0) -> bool:
        """Wait so long; tell whether nobody wants the end."""
        return not self._end_wanted.wait(pause_s)

    def run(self) -> None:
        try:
            self.load()
        except (OSError, http.client.HTTPException) as fault:
            self.faults.append(f"after {self.sent}: {fault!r}")

    def load(self) -> None:
        """Send."""
        raise NotImplementedError


def leave(wire: socket.socket) -> None:
    """End a connection in order: say that no more comes, and wait until the other end has read it all."""
    wire.shutdown(socket.SHUT_WR)
    while wire.recv(4096):
        pass


class LineFeeder(Load[int]):
    """Sends numbered lines over TCP at a rate, connecting again whenever it must.

    Line n is `feed.m<n mod names>`, with the value n; the first one is `first`.
    """

    def __init__(self, port: int, per_s: int, names: int = 500, first: int = 0) -> None:
        super().__init__()
        self.port = port
        self.per_s = per_s
        self.names = names
        self.first = self.sent = first
        self.reconnects = 0

    def load(self) -> None:
        connection: socket.socket | None = None
        part = max(1, self.per_s // 50)
        while self.goes_on():
            begun = time.monotonic()
            if connection is None:
                try:
                    connection = socket.create_connection(("127.0.0.1", self.port), 5)
                except OSError:
                    time.sleep(0.05)
                    continue
            numbers = range(self.sent, self.sent + part)
            data = b"".join(b"feed.m%d %d %d\n" % (n % self.names, n, int(time.time())) for n in numbers)
            try:
                connection.sendall(data)
            except OSError:
                connection, self.reconnects = None, self.reconnects + 1
                continue
            self.sent += part
            time.sleep(max(0.0, part / self.per_s - (time.monotonic() - begun)))
        if connection is not None:
            connection.settimeout(10)
            leave(connection)


class Visitor(Load[int]):
    """Opens connections without end and sends `line(n)` over the n-th; `refused` tells who was.

    With `datagram`, `datagram(n)` goes out beside each of them.
    """

    def __init__(
        self,
        port: int,
        line: Callable[[int], bytes],
        pause_s: float = 0.01,
        datagram: Callable[[int], bytes] | None = None,
    ) -> None:
        super().__init__()
        self.sent = 0
        self.refused: list[str] = []
        self._address = "127.0.0.1", port
        self._line = line
        self._pause_s = pause_s
        self._datagram = datagram

    def load(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            while self.goes_on(self._pause_s):
                number = self.sent
                try:
                    with socket.create_connection(self._address, 30) as connection:
                        connection.sendall(self._line(number))
                        self.sent += 1
                        leave(connection)
                except OSError as refusal:
                    self.refused.append(repr(refusal))
                if self._datagram is not None:
                    datagrams.sendto(self._datagram(number), self._address)


class BothWays(Load[dict[str, int]]):
    """Sends `line(kind, n)` over one TCP connection (kind `tcp`), each in two pieces, and over UDP (kind `udp`).

    In each round so many `streamed` ones and `datagrams`; `udp_port` where it is another one.
    """

    def __init__(
        self,
        port: int,
        line: Callable[[str, int], bytes],
        streamed: int = 1,
        datagrams: int = 1,
        pause_s: float = 0.001,
        udp_port: int = 0,
    ) -> None:
        super().__init__()
        self.sent = {"tcp": 0, "udp": 0}
        self._port = port
        self._udp_port = udp_port or port
        self._line = line
        self._round = ["tcp"] * streamed + ["udp"] * datagrams
        self._pause_s = pause_s

    def load(self) -> None:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with socket.create_connection(("127.0.0.1", self._port), 10) as stream, datagrams:
            datagrams.connect(("127.0.0.1", self._udp_port))
            while self.goes_on(self._pause_s):
                for kind in self._round:
                    line = self._line(kind, self.sent[kind])
                    if kind == "udp":
                        datagrams.send(line)
                    else:
                        stream.sendall(line[: len(line) // 2])
                        stream.sendall(line[len(line) // 2 :])
                    self.sent[kind] += 1


class Repeater(Load[int]):
    """Sends the same text again and again over one connection; `sent` is how often it may have arrived."""

    def __init__(self, port: int, text: bytes, pause_s: float = 0.0) -> None:
        super().__init__()
        self.sent = 0
        self._port = port
        self._text = text
        self._pause_s = pause_s

    def load(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 10) as connection:
            while self.goes_on(self._pause_s):
                self.sent += 1
                connection.sendall(self._text)


class Client(Load[int]):
    """Sends numbered lines, `<kind>.m<n> 1 1`; subclasses give `say(line)`; `connects` counts connections."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.sent = 0
        self.connects = 0

    def load(self) -> None:
        while self.goes_on(0.004):
            self.say(b"%s.m%d 1 1\n" % (self.kind.encode(), self.sent))
            self.sent += 1
        self.leave()

    def say(self, line: bytes) -> None:
        """Send one line."""
        raise NotImplementedError

    def leave(self) -> None:
        """Close what is open."""


class Stream(Client):
    """A connection that stays as long as the relay does not close it; a line is sent in two pieces."""

    def __init__(
        self, kind: str, address: tuple[str, int] | str, first: bytes = b"", context: ssl.SSLContext | None = None
    ) -> None:
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
                leave(wire)
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


class HttpClient(Client):
    """Asks over a connection that is kept as long as the other end keeps it."""

    def __init__(self, kind: str, connection: http.client.HTTPConnection) -> None:
        super().__init__(kind)
        self._connection = connection

    def ask(self, method: str, path: str, body: bytes | None = None, pieces: bool = False) -> bytes:
        """Return a good answer; with `pieces` a body goes byte by byte."""
        self.connects += self._connection.sock is None  # the last answer has ended it
        headers = {} if body is None else {"Content-Length": str(len(body))}
        slow = None if body is None else [body[place : place + 1] for place in range(len(body))]
        self._connection.request(method, path, slow if pieces else body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise OSError(f"{method} {path}: {answer.status} {text!r}")
        return text

    def leave(self) -> None:
        """Close the connection."""
        self._connection.close()


class Poster(HttpClient):
    """Posts a line at a time; `pieces` lets a body take a while."""

    def __init__(self, kind: str, connection: http.client.HTTPConnection, pieces: bool = False) -> None:
        super().__init__(kind, connection)
        self._pieces = pieces

    def say(self, line: bytes) -> None:
        """Post it; it counts when the answer is good."""
        text = self.ask("POST", "/in", line, self._pieces)
        if text != b"lines processed 1":
            raise OSError(repr(text))


class Asker(HttpClient):
    """Asks for a page again and again; every answer must be good and whole."""

    def __init__(self, kind: str, port: int, path: str) -> None:
        super().__init__(kind, http.client.HTTPConnection("127.0.0.1", port, timeout=30))
        self._path = path

    def say(self, line: bytes) -> None:
        """Ask."""
        self.ask("GET", self._path)
