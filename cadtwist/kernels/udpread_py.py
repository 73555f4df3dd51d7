"""Reads a UDP socket into one text of many datagrams: the readable twin of `udpread.pyx`, without a thread.

The text is what a line parser wants: each datagram followed by a line feed, unless it ends in one.
"""

from __future__ import annotations

import bisect
import socket

__all__ = ["Reader"]

_MOST_DATAGRAMS = 256
_LAST_READS = 64


class Reader:
    """Reads the UDP socket behind `fd` (duplicated; made non-blocking); reactor thread.

    `ring_bytes` bounds what one `take` returns, `max_datagram` what is kept of a datagram (the rest is cut off and
    counted).  A `whole` datagram has a line feed of ours behind its own.  After `stop` nothing more is read, but what
    had come can still be taken.
    """

    def __init__(self, fd: int, ring_bytes: int, max_datagram: int = 65535, whole: bool = False) -> None:
        if ring_bytes < max_datagram + 1 or max_datagram < 1:
            raise ValueError("the ring must hold one datagram")
        self._socket: socket.socket | None = socket.socket(fileno=socket.dup(fd))
        self._socket.setblocking(False)
        self._ring_bytes = ring_bytes
        self._max_datagram = max_datagram
        self._whole = whole
        self._left: list[tuple[list[int], list[str], bytes]] = []
        self._starts: list[int] = []
        self._size = 0
        self._peers: list[str] = []
        self._stats = {"datagrams": 0, "bytes": 0, "cut": 0, "dropped": 0, "waits": 0, "errors": 0}

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is something to take; -1 after `stop`."""
        return self._socket.fileno() if self._socket is not None else -1

    def take(self) -> bytes:
        """Return what has come, or the first piece of it, b"" for nothing."""
        parts: list[bytes] = []
        size = 0
        self._starts, self._peers = [], []
        if self._left and self._socket is None:
            self._starts, self._peers, data = self._left.pop(0)
            self._size = len(data)
            return data
        while self._socket is not None and len(parts) < _MOST_DATAGRAMS:
            if size + self._max_datagram + 1 > self._ring_bytes:
                break
            try:
                data, address = self._socket.recvfrom(self._max_datagram + 1)
            except BlockingIOError:
                break
            except OSError:
                self._stats["errors"] += 1
                break
            self._stats["datagrams"] += 1
            self._stats["bytes"] += len(data)
            if len(data) > self._max_datagram:
                self._stats["cut"] += 1
                data = data[: self._max_datagram]
            if not data:
                continue
            self._starts.append(size)
            self._peers.append(str(address[0]))
            parts.append(data if data.endswith(b"\n") and not self._whole else data + b"\n")
            size += len(parts[-1])
        self._size = size
        return b"".join(parts)

    @property
    def more(self) -> bool:
        """True when `take` returned only the first piece of what had come."""
        return bool(self._left)

    def peer(self, position: int) -> str:
        """Return the address (no port) that sent the byte at `position` of what `take` returned last, "" if unknown."""
        row = bisect.bisect_right(self._starts, position) - 1
        return self._peers[row] if row >= 0 else ""

    def after(self, position: int) -> int:
        """Return where the datagram behind that of `position` begins in what `take` returned last, or else its end."""
        row = bisect.bisect_right(self._starts, max(position, 0))
        return self._starts[row] if row < len(self._starts) else self._size

    def stats(self) -> dict[str, int]:
        """Return counts since the start.

        datagrams and bytes received; cut: longer than allowed; dropped: lost by the kernel because nobody read in
        time (SO_RXQ_OVFL, native twin only); waits: times the ring was full; errors of the socket.
        """
        return dict(self._stats)

    def stop(self) -> None:
        """Read once more what has come, then close the socket; idempotent."""
        if self._socket is not None:
            for _ in range(_LAST_READS):
                data = self.take()
                if not data:
                    break
                self._left.append((self._starts, self._peers, data))
            self._socket.close()
            self._socket = None
