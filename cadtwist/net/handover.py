"""What one process leaves to the next: listening sockets, datagram sockets, connections and what waits in memory.

The two talk over a pair of unix sockets (`SOCK_SEQPACKET`, so that descriptors stay with their message).  The new one
says READY when it has loaded everything and only waits; the old one stops reading, sends all that it has, closes
its files and ends.  Meanwhile clients meet the kernel's buffers.  One that ends before says NOT_WANTED.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

__all__ = [
    "NOT_WANTED", "READY", "FdChannel", "Inheritance", "Kind", "NotWanted", "Passed", "close_all", "detached",
    "receive_all", "receive_one", "send_all",
]  # fmt: skip

READY = b"ready"
NOT_WANTED = b"not wanted"
_END = b"end"
_PIECE_BYTES = 32 << 10
_LONGEST = 256 << 20
_MOST_FDS = 8
_PIECE_S = 10.0
_MORE, _LAST = b"+", b"."

Kind = Literal["listener", "datagrams", "connection", "chunk"]


class NotWanted(Exception):  # noqa: N818 (no fault: an answer)
    """The former process was told to end, and nobody is to take its place."""


class Passed(msgspec.Struct, kw_only=True):
    """One thing that is passed on.

    `key` is the name of its listener or destination.  A connection brings in `data` the bytes of the item that is not
    complete, and `skipping` if the rest of that item is to be thrown away; a chunk brings what waits for a destination
    with its number of `points`.  `fd` is -1 for a chunk; whoever holds a Passed owns its descriptor.
    """

    kind: Kind
    key: str
    data: bytes = b""
    points: int = 0
    skipping: bool = False
    fd: int = -1


class FdChannel:
    """Messages with descriptors over one end of a `SOCK_SEQPACKET` pair.  Raises OSError.

    A message has at most 256 MiB and travels in pieces of 32 KiB, its descriptors with the last.  It blocks, or, with
    `blocking` set to False, raises BlockingIOError where a message cannot begin; the other pieces of one that has
    begun are waited for, some seconds each.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(True)

    @property
    def blocking(self) -> bool:
        """Whether `send` and `receive` wait."""
        return self._end.getblocking()

    @blocking.setter
    def blocking(self, blocking: bool) -> None:
        self._end.setblocking(blocking)

    def fileno(self) -> int:
        """Return the descriptor of our end."""
        return self._end.fileno()

    def send(self, message: bytes, fds: Sequence[int] = ()) -> None:
        """Send one message."""
        if len(message) > _LONGEST or len(fds) > _MOST_FDS:
            raise ValueError("too much for one message")
        place, timeout = 0, self._end.gettimeout()
        try:
            while len(message) - place > _PIECE_BYTES:
                self._end.send(_MORE + message[place : place + _PIECE_BYTES])
                place += _PIECE_BYTES
                self._be_patient()
            socket.send_fds(self._end, [_LAST + message[place:]], list(fds))
        finally:
            self._end.settimeout(timeout)

    def _be_patient(self) -> None:
        if self._end.gettimeout() is not None:
            self._end.settimeout(_PIECE_S)

    def receive(self) -> tuple[bytes, list[int]] | None:
        """Return the next message with its descriptors, None when the other end is gone."""
        message, timeout = bytearray(), self._end.gettimeout()
        try:
            return self._receive(message)
        finally:
            self._end.settimeout(timeout)

    def _receive(self, message: bytearray) -> tuple[bytes, list[int]] | None:
        while True:
            try:
                piece, fds, _, _ = socket.recv_fds(self._end, _PIECE_BYTES + 1, _MOST_FDS)
            except ConnectionResetError:
                return None
            if not piece:
                return None
            for fd in fds:
                os.set_inheritable(fd, False)
            message += piece[1:]
            if piece[:1] == _LAST:
                return bytes(message), fds
            if len(message) > _LONGEST:
                raise OSError("the other process sends a message longer than allowed")
            self._be_patient()

    def close(self) -> None:
        """Close our end."""
        self._end.close()


def send_all(channel: FdChannel, things: Iterable[Passed]) -> None:
    """Send everything and the end mark, then close the descriptors on our side; where that fails they stay open."""
    sent = list(things)
    for thing in sent:
        channel.send(msgspec.msgpack.encode(thing), [thing.fd] if thing.fd >= 0 else [])
    channel.send(_END)
    close_all(sent)


def receive_one(channel: FdChannel) -> Passed | None:
    """Return the next thing, None behind the last one; OSError, also where the other process has ended, NotWanted."""
    received = channel.receive()
    if received is None:
        raise ConnectionResetError("the other process is gone")
    message, fds = received
    if message == _END:
        return None
    if message == NOT_WANTED:
        raise NotWanted
    thing = msgspec.msgpack.decode(message, type=Passed)
    thing.fd = fds[0] if fds else -1
    return thing


def receive_all(channel: FdChannel) -> list[Passed] | None:
    """Wait for everything; None when the old process ended without having sent all of it (then nothing is passed).

    Raises NotWanted.
    """
    found: list[Passed] = []
    while True:
        try:
            thing = receive_one(channel)
        except OSError:
            close_all(found)
            return None
        if thing is None:
            return found
        found.append(thing)


class Inheritance:
    """What was passed to this process, until somebody takes it.  Reactor thread."""

    def __init__(self, things: Iterable[Passed] = ()) -> None:
        self._things = list(things)

    def take(self, kind: Kind, key: str) -> list[Passed]:
        """Return what is there of `kind` for `key`; it is the caller's from then on."""
        taken = [thing for thing in self._things if (thing.kind, thing.key) == (kind, key)]
        self._things = [thing for thing in self._things if (thing.kind, thing.key) != (kind, key)]
        return taken

    def socket(self, kind: Kind, key: str) -> socket.socket | None:
        """Return the socket that was passed for `key`, None if there is none."""
        taken = self.take(kind, key)
        close_all(taken[1:])
        return socket.socket(fileno=taken[0].fd) if taken else None

    def close(self) -> list[Passed]:
        """Close what nobody took (the configuration has changed) and return it, for the counters."""
        left, self._things = self._things, []
        close_all(left)
        return left


def detached(transport: Any, protocol: Any = None) -> int:
    """Take the descriptor of a connection or listening port out of Twisted's hands: a copy of it, which is ours.

    Nothing is said to the peer.  Twisted itself would shut the socket down, which concerns every copy; here its own
    copy is only closed.  `protocol` hears that its connection is over.
    """
    fd = os.dup(transport.fileno())
    transport.stopReading()
    if hasattr(transport, "stopWriting"):
        transport.stopWriting()
    transport.socket.close()
    transport.connected = False
    transport.disconnected = True
    if protocol is not None:
        protocol.connectionLost(Failure(ConnectionDone("passed to the next process")))
    return fd


def has_unsent(transport: Any) -> bool:
    """Tell whether bytes wait in Twisted's hands for the peer of a connection to take them: nobody else tells."""
    return bool(getattr(transport, "dataBuffer", b"") or getattr(transport, "_tempDataBuffer", ()))


def close_all(things: Iterable[Passed]) -> None:
    """Close the descriptors of what nobody wants."""
    for thing in things:
        if thing.fd >= 0:
            with contextlib.suppress(OSError):
                os.close(thing.fd)
