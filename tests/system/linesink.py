"""Destinations of a relay under test: they keep every line that arrives, and can be slow, away or gone at once."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter

from tests.system.process import until

__all__ = ["DatagramSink", "LineSink"]


class LineSink:
    """A TCP server on a port of its own that collects lines, in threads."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.host = host
        self.lines: Counter[bytes] = Counter()
        self.order: list[bytes] = []
        self.bytes_per_s = 0.0
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._reading = 0
        self._listening: socket.socket | None = None
        self.port = port
        self.open()

    def open(self) -> None:
        """Accept connections (again, on the same port)."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((self.host, self.port))
        listening.listen(64)
        self.port = listening.getsockname()[1]
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def close(self, abruptly: bool = False) -> None:
        """Be away: no new connection, the present ones end (`abruptly`: by a reset, whatever is on its way)."""
        with self._lock:
            listening, self._listening = self._listening, None
            connections, self._connections = self._connections, []
        if listening is not None:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            listening.close()
        for connection in connections:
            if abruptly:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def settle(self) -> None:
        """Wait until all is here that peers sent which have ended since."""
        with socket.create_connection((self.host, self.port), 10) as last:  # accepted behind all that wait
            last.shutdown(socket.SHUT_WR)
            last.recv(1)
        until("all connections are read to their end", lambda: not self._reading, 60)

    @property
    def total(self) -> int:
        """Lines so far, repeated ones included."""
        with self._lock:
            return len(self.order)

    def seen(self) -> Counter[bytes]:
        """Return a copy of all lines with how often each came."""
        with self._lock:
            return Counter(self.lines)

    def take(self) -> Counter[bytes]:
        """Return all lines with how often each came, and begin anew."""
        with self._lock:
            lines, self.lines, self.order = self.lines, Counter(), []
        return lines

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with self._lock:
                if self._listening is not listening:
                    connection.close()
                    return
                self._connections.append(connection)
                self._reading += 1
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self._read_lines(connection)
        with self._lock:
            self._reading -= 1
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)

    def _read_lines(self, connection: socket.socket) -> None:
        tail = b""
        while data := connection.recv(1 << 16 if not self.bytes_per_s else 4096):
            *lines, tail = (tail + data).split(b"\n")
            with self._lock:
                self.lines.update(lines)
                self.order += lines
            if self.bytes_per_s:
                time.sleep(len(data) / self.bytes_per_s)


class DatagramSink:
    """A UDP socket of its own that keeps datagrams."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._socket.close()

    def _read(self) -> None:
        while True:
            try:
                self.datagrams.append(self._socket.recv(65536))
            except OSError:
                return
