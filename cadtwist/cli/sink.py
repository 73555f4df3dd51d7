"""`cadtwist sink --servers=URL,...`: listens, and prints (or with `--quiet` only counts) every line that arrives.

Takes tcp, udp, unix and http URLs.  Every five seconds it tells per server how many connections and lines there were.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from cadtwist.net.listeners import remove_stale

__all__ = ["DatagramSink", "LineSink", "Receiver", "SinkFactory", "listen", "run"]

PROGRESS_S = 5.0
MAX_TAIL_BYTES = 1 << 20


class Receiver:
    """What one server has taken; `show` gets each line as text (None: only count)."""

    def __init__(self, url: str, show: Callable[[str], object] | None) -> None:
        self.url = url
        self._show = show
        self.accepted = self.open = self.lines = self.total = 0

    def take(self, data: bytes) -> bytes:
        """Count and show the complete lines of `data`; return what is left."""
        lines, _, tail = data.rpartition(b"\n")
        if lines or len(tail) < len(data):
            self.take_lines(lines.split(b"\n"))
        return tail

    def take_lines(self, lines: Sequence[bytes]) -> None:
        """Count and show lines without their ends."""
        self.lines += len(lines)
        self.total += len(lines)
        if self._show is not None:
            for line in lines:
                self._show(f"[ECHO from {self.url}] {line.decode('utf-8', 'replace').rstrip()}")

    def report(self, elapsed_s: float) -> str:
        """Return the line of progress, and begin to count anew."""
        lines, self.lines = self.lines, 0
        return (
            f"Server {self.url}: ValidConnections: {self.accepted}, OpenConnections: {self.open}, Lines: {lines},"
            f" Lines/s: {lines / max(elapsed_s, 1e-9):.2f} Total: {self.total}"
        )


class LineSink(Protocol):
    """A stream of lines; many connections at once."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._tail = b""

    def connectionMade(self) -> None:
        """Count the connection."""
        self._receiver.accepted += 1
        self._receiver.open += 1

    def dataReceived(self, data: bytes) -> None:
        """Take what is complete."""
        self._tail = self._receiver.take(self._tail + data)
        if len(self._tail) > MAX_TAIL_BYTES:
            self._receiver.take_lines([self._tail])
            self._tail = b""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Take the last line, which may lack its end."""
        del reason
        self._receiver.open -= 1
        if self._tail:
            self._receiver.take_lines([self._tail])


class SinkFactory(Factory):
    """Makes a `LineSink` for each connection."""

    noisy = False

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def buildProtocol(self, addr: Any) -> LineSink:
        """Serve everybody."""
        del addr
        return LineSink(self._receiver)


class DatagramSink(DatagramProtocol):
    """Datagrams of lines; the last one of a datagram needs no end."""

    noisy = False

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Take all lines."""
        del addr
        lines = datagram.splitlines()
        self._receiver.take_lines(lines)


class _PostSink(Resource):
    isLeaf = True

    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self._receiver = receiver

    def render_POST(self, request: Any) -> bytes:
        self._receiver.accepted += 1
        lines = request.content.read().splitlines()
        self._receiver.take_lines(lines)
        return f"lines processed {len(lines)}".encode()

    render_PUT = render_POST


def listen(reactor: Any, url: str, show: Callable[[str], object] | None) -> Receiver:
    """Open the door that `url` describes; ValueError for a URL that describes none, CannotListenError as Twisted."""
    parts = urllib.parse.urlsplit(url)
    receiver = Receiver(url, show)
    if parts.scheme == "unix":
        path = parts.netloc + parts.path
        remove_stale(path)
        reactor.listenUNIX(path, SinkFactory(receiver))
        return receiver
    if parts.scheme not in ("tcp", "udp", "http") or parts.hostname is None or parts.port is None:
        raise ValueError(f"{url}: tcp://host:port, udp://host:port, unix:///path or http://host:port expected")
    if parts.scheme == "tcp":
        reactor.listenTCP(parts.port, SinkFactory(receiver), interface=parts.hostname)
    elif parts.scheme == "http":
        reactor.listenTCP(parts.port, Site(_PostSink(receiver)), interface=parts.hostname)
    else:
        reactor.listenUDP(parts.port, DatagramSink(receiver), interface=parts.hostname, maxPacketSize=65536)
    return receiver


def run(argv: Sequence[str], stdout: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> int:
    """Listen until Ctrl-C; without arguments show how to use it."""
    del environ
    parser = _parser()
    if not argv:
        parser.print_help(stdout)
        return 0
    asked = parser.parse_args(list(argv))
    from twisted.internet import reactor  # noqa: PLC0415 (importing it installs it)

    def say(text: str) -> None:
        print(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {text}", file=stdout, flush=True)

    try:
        urls = [url.strip() for url in asked.servers.split(",") if url.strip()]
        if not urls:
            raise ValueError("--servers must not be empty")
        receivers = [listen(reactor, url, None if asked.quiet else say) for url in urls]
    except (ValueError, OSError, CannotListenError) as error:
        print(f"cadtwist sink: {error}", file=sys.stderr)
        return 1
    for receiver in receivers:
        say(f"listening on {receiver.url}")

    def report() -> None:
        for receiver in receivers:
            say(receiver.report(PROGRESS_S))

    LoopingCall(report).start(PROGRESS_S, now=False)
    any_reactor: Any = reactor
    any_reactor.run()
    report()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cadtwist sink", description="Listen and print every line.")
    add = parser.add_argument
    add("--servers", "-servers", default="tcp://127.0.0.1:6002", help="URLs, comma list (tcp://127.0.0.1:6002)")
    add("--quiet", "-quiet", action="store_true", help="only count")
    return parser
