"""What tests of destinations share: an endpoint that does as it is told, and lines by number."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["ToldEndpoint", "lines", "numbers"]


def lines(first: int, count: int = 1, size: int = 20) -> bytes:
    """Return `count` lines of `size` bytes that begin with their numbers."""
    return b"".join((b"%d " % n).ljust(size - 1, b".") + b"\n" for n in range(first, first + count))


def numbers(data: bytes) -> list[int]:
    """Return the numbers of whole lines."""
    return [int(line.split()[0]) for line in data.split(b"\n")[:-1]]


class Transport(StringTransport):
    """Remembers its end."""

    protocol: Any

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
        self.transports.append(transport)
        protocol.makeConnection(transport)
        connecting.callback(protocol)
        return transport

    def refuse(self) -> None:
        """Let the oldest attempt fail."""
        self.attempts.pop(0)[0].errback(ConnectError())
