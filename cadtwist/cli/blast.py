"""`cadtwist blast`: a load generator with random names, for Graphite and statsd receivers.

Lines are packed until the buffer would overflow, sent, and after each send the sender waits.  Every five seconds it
tells how many lines went out.  Without `--seconds` or `--lines` it goes on until Ctrl-C.
"""

from __future__ import annotations

import argparse
import http.client
import os
import pickle
import random
import re
import socket
import struct
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

__all__ = ["FORMATS", "Payloads", "Totals", "connect", "graphite_line", "pickle_frame", "run", "seconds", "statsd_line"]

PROGRESS_S = 5.0
TIMEOUT_S = 10.0
MAX_DATAGRAM_BYTES = 65507
_MOST_FORKS = 1000
_DURATION = re.compile(r"([0-9]*\.?[0-9]+)(ns|us|ms|s|m|h|)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}
_STATSD_TYPES = ("c", "g", "ms")
Send = Callable[[bytes], object]
Point = tuple[str, int]


def graphite_line(key: str, value: int, now: int, rng: random.Random) -> bytes:
    """Return `graphitetest.KEY VALUE NOW` and LF."""
    del rng
    return f"graphitetest.{key} {value} {now}\n".encode()


def statsd_line(key: str, value: int, now: int, rng: random.Random) -> bytes:
    """Return `statdtest.KEY:VALUE|TYPE|@RATE` and LF; a rate is never zero."""
    del now
    return f"statdtest.{key}:{value}|{rng.choice(_STATSD_TYPES)}|@{rng.randint(1, 99) / 100:.2f}\n".encode()


def pickle_frame(points: Sequence[Point], now: int) -> bytes:
    """Return the frame that carbon's pickle receiver takes for (key, value) pairs."""
    body = pickle.dumps([(f"graphitetest.{key}", (now, value)) for key, value in points], protocol=2)
    return struct.pack("!L", len(body)) + body


FORMATS = {"graphite": graphite_line, "statsd": statsd_line}
_PICKLED_POINT_BYTES = 50


class Payloads:
    """An endless supply of buffers of at most `size` bytes (one line at least), of random metrics.

    `form` is `graphite`, `statsd` or `pickle`; `words` what names are made of, `length` how many to a name.
    """

    def __init__(self, form: str, words: Sequence[str], length: int, size: int, rng: random.Random) -> None:
        self._form = form
        self._words = words
        self._length = length
        self._size = size
        self._rng = rng
        self._carried = b""

    def next(self, now: int) -> tuple[bytes, int]:
        """Return a buffer and the number of its lines; `now` is the timestamp of new lines."""
        if self._form == "pickle":
            points = [self._point() for _ in range(max(1, self._size // _PICKLED_POINT_BYTES))]
            return pickle_frame(points, now), len(points)
        encode = FORMATS[self._form]
        parts = [self._carried] if self._carried else []
        filled = len(self._carried)
        while True:
            line = encode(*self._point(), now, self._rng)
            if parts and filled + len(line) > self._size:
                self._carried = line
                return b"".join(parts), len(parts)
            parts.append(line)
            filled += len(line)

    def _point(self) -> Point:
        return ".".join(self._rng.choices(self._words, k=self._length)), self._rng.randrange(10000)


class Totals:
    """What all senders together have done; `limit` 0 = no bound.  Any thread."""

    def __init__(self, limit: int = 0) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self.lines = 0
        self.failed = 0

    def add(self, lines: int, failed: bool = False) -> bool:
        """Count one send; False when the limit is reached."""
        with self._lock:
            if failed:
                self.failed += 1
            else:
                self.lines += lines
            return not self._limit or self.lines < self._limit


def connect(server: str) -> tuple[Send, Callable[[], None]]:
    """Return (send, close) for a URL tcp://host:port, udp://host:port, unix:///path or http://host:port/path.

    OSError when nobody is there; ValueError for another kind of URL.
    """
    url = parsed(server)
    if url.scheme in ("http", "https"):
        return _post_to(url), lambda: None
    if url.scheme == "unix":
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(TIMEOUT_S)
        stream.connect(url.netloc + url.path)
        return stream.sendall, stream.close
    if url.scheme == "tcp":
        stream = socket.create_connection((url.hostname, url.port or 0), TIMEOUT_S)
        return stream.sendall, stream.close
    family, kind, protocol, _, address = socket.getaddrinfo(url.hostname, url.port, type=socket.SOCK_DGRAM)[0]
    datagrams = socket.socket(family, kind, protocol)
    datagrams.connect(address)
    return datagrams.send, datagrams.close


def parsed(server: str) -> urllib.parse.SplitResult:
    """Return the parts of a URL that `connect` takes; ValueError for another."""
    url = urllib.parse.urlsplit(server if "://" in server else f"tcp://{server}")
    has_port = url.scheme in ("tcp", "udp") and url.hostname and url.port
    has_place = (url.scheme in ("http", "https") and url.hostname) or (url.scheme == "unix" and url.netloc + url.path)
    if not has_port and not has_place:
        raise ValueError(f"{server}: tcp://host:port, udp://host:port, unix:///path or http://host:port/path expected")
    return url


def _post_to(url: urllib.parse.SplitResult) -> Send:
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=TIMEOUT_S)
    target = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))

    def send(data: bytes) -> None:
        connection.request("POST", target, data, {"Content-Type": "text/plain"})
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 400:
            raise OSError(f"{answer.status} {answer.reason}")

    return send


def seconds(text: str) -> float:
    """Return the seconds of a duration such as `0.1s`, `250ms`, `1m30s` or a bare number of seconds."""
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(part[0] for part in parts) != text:
        raise argparse.ArgumentTypeError(f"no duration: {text!r} (0.1s, 250ms, 1m30s ...)")
    return sum(float(part[1]) * _UNIT_S[part[2]] for part in parts)


def run(argv: Sequence[str], stdout: TextIO = sys.stdout, environ: Mapping[str, str] = os.environ) -> int:
    """Send until told to stop; 1 when nothing could be sent, 2 when the arguments do not fit together."""
    del environ
    asked = _parser().parse_args(list(argv))
    servers = [server.strip() for server in asked.servers.split(",") if server.strip()]
    words = [word for word in asked.words.split(",") if word]
    if not servers or not words:
        print("cadtwist blast: --servers and --words must not be empty", file=sys.stderr)
        return 2
    try:
        for server in servers:
            parsed(server)
    except ValueError as error:
        print(f"cadtwist blast: {error}", file=sys.stderr)
        return 2
    totals, ended = Totals(asked.lines), threading.Event()
    senders = []
    for number, server in enumerate(server for server in servers for _ in range(asked.forks)):
        rng = random.Random(None if asked.seed is None else asked.seed + number)
        size = min(asked.buffer, MAX_DATAGRAM_BYTES) if server.startswith("udp:") else asked.buffer
        payloads = Payloads(asked.type, words, asked.words_per_stat, size, rng)
        arguments = (server, payloads, asked.rate, totals, ended)
        senders.append(threading.Thread(target=_send_all, args=arguments, daemon=True))
    for sender in senders:
        sender.start()
    try:
        for line in _progress(totals, ended, asked.seconds):
            print(line, file=stdout, flush=True)
    finally:
        ended.set()
    for sender in senders:
        sender.join(TIMEOUT_S)
    return 0 if totals.lines else 1


def _send_all(server: str, payloads: Payloads, rest_s: float, totals: Totals, ended: threading.Event) -> None:
    """One sender: connect, send, wait; reconnect after a failure."""
    send: Send | None = None
    close: Callable[[], None] = _nothing
    while not ended.is_set():
        data, lines = payloads.next(int(time.time()))
        try:
            if send is None:
                send, close = connect(server)
            send(data)
        except (OSError, ValueError, http.client.HTTPException) as error:
            print(f"{server}: {error}", file=sys.stderr)
            close()
            send, close = None, _nothing
            totals.add(lines, failed=True)
            if isinstance(error, ValueError):
                break
            ended.wait(max(rest_s, 1.0))
            continue
        if not totals.add(lines):
            ended.set()
        elif rest_s:
            ended.wait(rest_s)
    close()


def _nothing() -> None:
    return None


def _progress(totals: Totals, ended: threading.Event, seconds_at_most: float) -> Iterator[str]:
    """Yield a line every `PROGRESS_S` seconds and one at the end."""
    started = last = time.monotonic()
    before = 0
    while not ended.is_set():
        left = started + seconds_at_most - time.monotonic() if seconds_at_most else PROGRESS_S
        if left <= 0:
            break
        ended.wait(min(left, PROGRESS_S))
        now, lines = time.monotonic(), totals.lines
        if now - last >= PROGRESS_S * 0.9:
            yield f"Lines sent: {lines}, Lines/s: {(lines - before) / (now - last):.2f}, failed sends: {totals.failed}"
            last, before = now, lines
    spent = max(time.monotonic() - started, 1e-9)
    yield (
        f"Lines sent: {totals.lines} in {spent:.1f} s, Lines/s: {totals.lines / spent:.2f},"
        f" failed sends: {totals.failed}"
    )


def _within(low: int, high: int) -> Callable[[str], int]:
    """Return what reads a whole number of a range."""

    def read(text: str) -> int:
        number = int(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{number} is out of range, {low} to {high}")
        return number

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cadtwist blast", description="Send random metrics.", allow_abbrev=False)
    add = parser.add_argument
    add("--servers", "-servers", default="tcp://127.0.0.1:8125", help="URLs, comma list (tcp://127.0.0.1:8125)")
    add("--type", "-type", choices=("statsd", "graphite", "pickle"), default="statsd", help="what to send (statsd)")
    add("--rate", "-rate", type=seconds, default=0.1, help="wait after each send (0.1s); 0 = none")
    add("--buffer", "-buffer", type=_within(1, 1 << 26), default=512, help="bytes per send (512)")
    add("--forks", "-forks", type=_within(1, _MOST_FORKS), default=2, help="senders per server (2)")
    add("--words", "-words", default="test,house,here,there,badline,cow,now", help="what names are made of")
    add("--words_per_stat", "-words_per_stat", type=_within(1, 1000), default=3, help="words per name (3)")
    add("--seconds", type=seconds, default=0.0, help="end after this time (0: never)")
    add("--lines", type=int, default=0, help="end after so many lines (0: never)")
    add("--seed", type=int, help="for the same names again")
    return parser
