"""Reaching a destination: endpoints, retries with back-off, and the services that keep connections up.

A host name is looked up again at each attempt.  Retries follow carbon's figures or statsrelay's, as configured.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.application.internet import ClientService, backoffPolicy
from twisted.internet.abstract import FileDescriptor, isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

__all__ = ["DatagramEndpoint", "Link", "Retry", "retry_delays", "stream_endpoint"]

Delays = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Retry:
    """When to try again: after `initial_s`, then `factor` times longer each time, at most `max_s`.

    `jitter` spreads a delay: it is the standard deviation, as a share of the delay.  `timeout_s` bounds one attempt.
    """

    initial_s: float = 1.0
    factor: float = 2.718281828459045
    max_s: float = 5.0
    jitter: float = 0.119626565582
    timeout_s: float = 5.0


def retry_delays(retry: Retry, normal: Callable[[float, float], float] = random.normalvariate) -> Delays:
    """Return the seconds to wait before attempt n (from 1) that follows n failures."""
    plain = backoffPolicy(retry.initial_s, retry.max_s, retry.factor, lambda: 0.0)

    def delay(attempt: int) -> float:
        seconds = plain(attempt - 1)
        return max(0.0, normal(seconds, seconds * retry.jitter)) if retry.jitter else seconds

    return delay


def stream_endpoint(
    reactor: Any, transport: str, host: str, port: int, path: str, timeout_s: float, tls: Any = None
) -> IStreamClientEndpoint:
    """Return the endpoint of a destination: `transport` is tcp, unix or udp; `tls` what `client_context` gave."""
    if transport == "unix":
        return UNIXClientEndpoint(reactor, path, timeout_s)
    if transport == "udp":
        return DatagramEndpoint(reactor, host, port)
    endpoint: IStreamClientEndpoint
    if isIPAddress(host):
        endpoint = TCP4ClientEndpoint(reactor, host, port, timeout_s)
    elif isIPv6Address(host):
        endpoint = TCP6ClientEndpoint(reactor, host, port, timeout_s)
    else:
        endpoint = HostnameEndpoint(reactor, host, port, timeout_s)
    return wrapClientTLS(tls, endpoint) if tls is not None else endpoint


class Link:
    """Keeps one connection of a destination up, from `start` to `stop`.

    `failed(why)` hears of each attempt that failed.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamClientEndpoint,
        build: Callable[[], IProtocol],
        delays: Delays,
        failed: Callable[[Failure], object],
    ) -> None:
        factory: Factory[Any] = Factory.forProtocol(build)
        factory.noisy = False
        self._service = _Quiet(_Told(endpoint, failed), factory, delays, reactor)

    def start(self) -> None:
        """Connect, now and whenever the connection is lost."""
        self._service.startService()

    def stop(self) -> Deferred[None]:
        """Disconnect in order; fires when that is done."""
        stopped: Deferred[None] = self._service.stopService()
        return stopped

    def again(self) -> None:
        """Disconnect in order and connect again at once."""
        self._service.stopService()
        self._service.startService()


class _Quiet(ClientService):
    """One that does not tell of each attempt: a destination that is away is told of once."""

    _log = Logger(observer=LogPublisher())


@implementer(IStreamClientEndpoint)
class _Told:
    """An endpoint that tells of failed attempts."""

    def __init__(self, endpoint: IStreamClientEndpoint, failed: Callable[[Failure], object]) -> None:
        self._endpoint = endpoint
        self._failed = failed

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect as the endpoint does."""
        connecting: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connecting.addErrback(self._tell)

    def _tell(self, failure: Failure) -> Failure:
        if not failure.check(CancelledError, ConnectingCancelledError):
            self._failed(failure)
        return failure


@implementer(IStreamClientEndpoint)
class DatagramEndpoint:
    """"Connects" a UDP socket, so that the rest of a destination need not care."""

    def __init__(self, reactor: Any, host: str, port: int) -> None:
        self._reactor = reactor
        self._host = host
        self._port = port

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Look the name up and connect to the first address; fails with what the system says."""
        literal: IAddress | None = None
        if isIPAddress(self._host):
            literal = IPv4Address("UDP", self._host, self._port)
        elif isIPv6Address(self._host):
            literal = IPv6Address("UDP", self._host, self._port)
        if literal is not None:
            return maybeDeferred(self._connected, [literal], protocolFactory)
        resolving: Deferred[list[IAddress]] = Deferred()
        self._reactor.nameResolver.resolveHostName(_Addresses(resolving), self._host, self._port)
        return resolving.addCallback(self._connected, protocolFactory)

    def _connected(self, addresses: list[IAddress], factory: IProtocolFactory) -> IProtocol:
        if not addresses:
            raise DNSLookupError(f"no address for {self._host}")
        address: Any = addresses[0]
        family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.connect((address.host, self._port))
        except OSError:
            sock.close()
            raise
        protocol = factory.buildProtocol(address)
        if protocol is None:
            sock.close()
            raise ConnectingCancelledError(address)
        protocol.makeConnection(DatagramTransport(sock, protocol, self._reactor))
        return protocol


@implementer(IResolutionReceiver)
class _Addresses:
    """Collects what a resolver finds."""

    def __init__(self, found: Deferred[list[IAddress]]) -> None:
        self._found = found
        self._addresses: list[IAddress] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Take note of nothing."""

    def addressResolved(self, address: IAddress) -> None:
        """Take note of an address."""
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        """Give what was found."""
        self._found.callback(self._addresses)


class DatagramTransport(FileDescriptor):
    """The transport of a connected UDP socket: waits for it; who writes does so to the socket itself."""

    connected = 1

    def __init__(self, sock: socket.socket, protocol: IProtocol, reactor: Any) -> None:
        super().__init__(reactor)
        self._call_later = reactor.callLater
        self._socket = sock
        self._protocol: IProtocol | None = protocol
        self.startReading()

    def fileno(self) -> int:
        """Return the descriptor, -1 when it is closed."""
        return self._socket.fileno()

    def getHandle(self) -> socket.socket:
        """Return the socket."""
        return self._socket

    def doRead(self) -> None:
        """Throw away what comes back: answers and errors of the network."""
        try:
            for _ in range(16):
                self._socket.recv(65536)
        except OSError:
            return

    def doWrite(self) -> None:
        """Tell the producer that the socket takes datagrams."""
        self.stopWriting()
        producer: Any = self.producer
        if producer is not None:
            producer.resumeProducing()

    def loseConnection(self, _connDone: Any = None) -> None:
        """Close the socket, soon."""
        if not self.disconnected:
            self.disconnected = True
            self.stopReading()
            self.stopWriting()
            self._call_later(0, self.connectionLost, Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """Close the socket, soon."""
        self.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket and tell the protocol."""
        super().connectionLost(reason)
        self._socket.close()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connectionLost(reason)
