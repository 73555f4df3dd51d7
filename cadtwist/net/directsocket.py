"""Connected sockets that write at once what the kernel takes; the one between processes of ours can be waited for.

Twisted's own transports write in the next turn of the reactor: two more calls of epoll and a turn for each message.
Where a message is small and answered at once, that is most of what it costs.
"""

from __future__ import annotations

import errno
import select
import socket
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["DirectServer", "DirectSocket"]

_READ_BYTES = 1 << 18
_LATER = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS)


@implementer(IAddress)
class _Nameless:
    """The address of a socket pair's end."""


class _AtOnce(FileDescriptor):
    """Writes at once what its `socket` takes as long as nothing waits to be written, and the rest in later turns."""

    socket: socket.socket
    _buffered = False

    def write(self, data: bytes) -> None:
        """Send `data`, what the kernel does not take now as soon as it does."""
        if not self._buffered and self.connected and not self.disconnecting:
            sent = self.writeSomeData(data)
            if isinstance(sent, int):
                if sent == len(data):
                    return
                data = data[sent:]
        super().write(data)

    def writeSequence(self, iovec: Any) -> None:
        """Send several pieces as one."""
        self.write(b"".join(iovec))

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """Return how many bytes the kernel took, or why the connection is over."""
        try:
            return self.socket.send(data)
        except OSError as error:
            return 0 if error.errno in _LATER else CONNECTION_LOST

    def startWriting(self) -> None:
        """Something waits to be sent."""
        self._buffered = True
        super().startWriting()

    def stopWriting(self) -> None:
        """Nothing waits any more."""
        self._buffered = False
        super().stopWriting()


class DirectServer(_AtOnce, Server):
    """An accepted TCP connection; give it to a listening port as its `transport`.  No TLS.  Reactor thread."""


@implementer(ITransport)
class DirectSocket(_AtOnce):
    """The transport of `protocol` over `connection`, which is its own from now on.  Reactor thread."""

    def __init__(self, reactor: Any, connection: socket.socket, protocol: Protocol) -> None:
        super().__init__(reactor)
        connection.setblocking(False)
        self.socket = connection
        self._protocol = protocol
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self.connected = True
        self.startReading()
        protocol.makeConnection(self)

    def fileno(self) -> int:
        """Return the descriptor, -1 when closed."""
        return self.socket.fileno()

    def getHost(self) -> IAddress:
        """Return an address that says nothing."""
        return _Nameless()

    getPeer = getHost

    def doRead(self) -> Exception | None:
        """Give the protocol what has come."""
        try:
            data = self.socket.recv(_READ_BYTES)
        except OSError as error:
            return None if error.errno in _LATER else CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self._protocol.dataReceived(data)
        return None

    def wait(self, seconds: float) -> bool:
        """Wait for something to come for at most `seconds`, and take it; False where nothing came.

        An end of the connection is left to the reactor.
        """
        if not self.connected or not self._poll.poll(seconds * 1000):
            return False
        return self.doRead() is None

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and tell the protocol."""
        super().connectionLost(reason)
        self.socket.close()
        self._protocol.connectionLost(reason)
