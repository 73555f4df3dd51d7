"""Graphite lines in datagrams."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.kernels import active
from cadtwist.model.badinput import BadInput
from cadtwist.protocols.intake import Bad, Codec, Intake

__all__ = ["MAX_DATAGRAM_BYTES", "DatagramCodec", "DatagramIntake", "DatagramReader"]

MAX_DATAGRAM_BYTES = 65535
"""No datagram is longer."""

_TURN_BYTES = 2 << 20


class DatagramCodec(Codec, Protocol):
    """What an intake of datagrams needs of a codec."""

    def datagram(self, data: bytes, now: float, bad: Bad, after: Callable[[int], int], /) -> None:
        """Read datagrams that are joined by line feeds."""


class DatagramIntake(Intake):
    """An intake of datagrams: never paused, what is too much is dropped and counted where it happens."""

    codec: DatagramCodec

    def datagrams(self, data: bytes, peer: Callable[[int], str], after: Callable[[int], int]) -> int:
        """Read datagrams that are joined by line feeds.

        `peer` tells who sent the byte at a position, `after` where the datagram behind it begins.
        """

        def who(bad: BadInput) -> str:
            place = data.find(bad.excerpt) if bad.excerpt else 0
            return peer(max(place, 0))

        return self._read(who, len(data), lambda now: self.codec.datagram(data, now, self._bad, after))


@implementer(IReadDescriptor)
class DatagramReader:
    """Connects one bound UDP socket to its intake: one parse per wake-up of the reactor.

    The socket stays the caller's; the kernel reader works on a copy of its descriptor.  `whole`: the intake gets a line
    feed behind each datagram, even behind one that ends in its own.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        bound: socket.socket,
        intake: DatagramIntake,
        ring_bytes: int = 16 << 20,
        make_reader: Callable[[int, int, int, bool], active.udpread.Reader] = active.udpread.Reader,
        whole: bool = False,
    ) -> None:
        self._reactor = reactor
        self._intake = intake
        self._reader = make_reader(bound.fileno(), ring_bytes, MAX_DATAGRAM_BYTES, whole)
        self._reading = False
        for what in self._reader.stats():
            intake.account.gauge(f"udp.{what}", partial(self._stat, what))

    def start(self) -> None:
        """Read from now on."""
        self._reading = True
        self._reactor.addReader(self)

    def stop(self) -> None:
        """Read what has come, then no more; idempotent."""
        if self._reading:
            self._reading = False
            self._reactor.removeReader(self)
            self._reader.stop()
            while self._read():
                pass

    def fileno(self) -> int:
        """Return the descriptor that the reactor watches."""
        return self._reader.fileno()

    def doRead(self) -> None:
        """Read the datagrams that have come; after two megabytes others have their turn."""
        size = self._read()
        while self._reader.more and size < _TURN_BYTES:
            size += self._read()

    def _read(self) -> int:
        """Read one piece; return its bytes, 0 when there is nothing."""
        data = self._reader.take()
        if data:
            self._intake.datagrams(data, self._reader.peer, self._reader.after)
        return len(data)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor gave up on the descriptor: say so, other listeners go on."""
        if self._reading:
            self._reading = False
            self.log.info("reading datagrams ended: {why}", why=reason.getErrorMessage())
            self._reader.stop()

    def _stat(self, what: str) -> float:
        return self._reader.stats()[what]

    def logPrefix(self) -> str:
        """Return what the reactor calls us."""
        return "udp"
