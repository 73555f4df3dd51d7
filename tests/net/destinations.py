"""What tests of destinations share: an endpoint that does as it is told, and lines by number."""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["SilentSocket", "ToldEndpoint", "Transport", "lines", "numbers"]


def lines(first: int, count: int = 1, size: int = 20) -> bytes:
    """Return `count` lines of `size` bytes that begin with their numbers."""
    return b"".join((b"%d " % n).ljust(size - 1, b".") + b"\n" for n in range(first, first + count))


def numbers(data: bytes) -> list[int]:
    """Return the numbers of whole lines."""
    return [int(line.split()[0]) for line in data.split(b"\n")[:-1]]


class SilentSocket(socket.socket):
    """One whose kernel says that what was sent is `repeated`, and when the peer's last answer came."""

    repeated = 0
    last_answer_s = 0.0

    def getsockopt(self, level: int, name: int, size: int = 0) -> Any:
        if (level, name) != (socket.IPPROTO_TCP, socket.TCP_INFO):
            return super().getsockopt(level, name, size)
        info = bytearray(size)
        info[2] = self.repeated  # tcpi_retransmits
        struct.pack_into("@I", info, 56, round(self.last_answer_s * 1000))  # tcpi_last_ack_recv
        return bytes(info)


class Transport(StringTransport):
    """Remembers its end; over TLS, say, there is another `transport` below, which has the socket."""

    protocol: Any
    transport: Any = None
    handle: Any = None

    def getHandle(self) -> Any:
        return self.handle

    def loseConnection(self) -> None:
        if self.connected:
            self.end()

    def abortConnection(self) -> None:
        self.loseConnection()

    def end(self) -> None:
        self.connected = False
        self.protocol.connectionLost(Failure(ConnectionDone()))


@implementer(IStreamClientEndpoint)
class ToldEndpoint:
    """Connects, or fails, when the test says so."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.attempts: list[tuple[Deferred[IProtocol], IProtocolFactory]] = []
        self.transports: list[Transport] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        connecting: Deferred[IProtocol] = Deferred()
        self.attempts.append((connecting, protocolFactory))
        return connecting

    def succeed(self) -> Transport:
        """Let the oldest attempt succeed; return its transport."""
        connecting, factory = self.attempts.pop(0)
        protocol = factory.buildProtocol(None)  # type: ignore[arg-type]
        assert protocol is not None
        transport = Transport()
        transport.protocol = protocol
        transport.connected = True
        transport.transport = Transport()
        transport.transport.handle = self.handle
        self.transports.append(transport)
        protocol.makeConnection(transport)
        connecting.callback(protocol)
        return transport

    def refuse(self) -> None:
        """Let the oldest attempt fail."""
        self.attempts.pop(0)[0].errback(ConnectError())
