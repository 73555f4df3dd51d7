"""Opens listening sockets, as Services: TCP and UDP over IPv4 and IPv6, unix sockets, Twisted's endpoint texts."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from cadtwist.errors import ConfigError
from cadtwist.net.handover import Passed, detached
from cadtwist.net.keepalive import KeepAlive

__all__ = [
    "BACKLOG", "EndpointListener", "Listener", "TCPListener", "UDPListener", "UnixListener", "bind_tcp", "bind_udp",
    "endpoint_factory", "remove_stale",
]  # fmt: skip

BACKLOG = 1024
"""Connections that the kernel keeps for us until we accept them."""

_SO_RCVBUFFORCE = 33
"""Linux; the socket module does not name it."""

PortHook = Callable[[IListeningPort], object]


class Listener(Service):
    """A door that is open from `startService` to `stopService`; reactor thread.

    `on_open` and `on_close` hear of its port (a `ConnectionLimit` pauses ports).  `address` is what it is bound to,
    None while it is closed.  `inherited` is the listening socket of a former process, used in place of a new one.
    Subclasses give `open_port`.
    """

    log = Logger()
    inherited: socket.socket | None = None

    def __init__(self, name: str, on_open: PortHook | None = None, on_close: PortHook | None = None) -> None:
        self.setName(name)
        self.port: IListeningPort | None = None
        self.opened: Deferred[None] = succeed(None)
        self._on_open = on_open
        self._on_close = on_close
        self._wanted = False

    @property
    def address(self) -> Any:
        """Return the address (an IAddress) that the door is bound to, None while it is closed."""
        return self.port.getHost() if self.port is not None else None

    def open_port(self) -> Deferred[IListeningPort]:
        """Return the open port; fails with an OSError or twisted's CannotListenError."""
        raise NotImplementedError

    def startService(self) -> None:
        """Open the door.  Raises, when it cannot be opened at once; `opened` fires when it is open."""
        super().startService()
        self._wanted = True
        failures: list[Any] = []
        self.opened = self.open_port().addCallback(self._is_open).addErrback(failures.append)
        if failures:
            self._wanted = False
            failures[0].raiseException()

    def stopService(self) -> Deferred[None]:
        """Close the door; the Deferred fires when it is closed.  Open connections are their factory's business."""
        super().stopService()
        self._wanted = False
        port, self.port = self.port, None
        if port is None:
            return succeed(None)
        if self._on_close is not None:
            self._on_close(port)
        return maybeDeferred(port.stopListening).addCallback(lambda _: self.closed())

    def pass_on(self) -> list[Passed]:
        """Close the door here without closing it for the world: its socket is returned, for another process.

        Nothing is returned by a door that is not open, or whose port is none of the reactor's own.
        """
        port, self.port = self.port, None
        if port is None or not hasattr(port, "fileno"):
            self.port = port
            return []
        self._wanted = False
        if self._on_close is not None:
            self._on_close(port)
        return [Passed(kind="listener", key=str(self.name), fd=detached(port))]

    def adopted(self, reactor: Any, factory: Factory[Any]) -> Deferred[IListeningPort] | None:
        """Return the port over the inherited socket, None where nothing was inherited."""
        given, self.inherited = self.inherited, None
        if given is None:
            return None
        with given:
            return succeed(reactor.adoptStreamPort(given.fileno(), given.family, factory))

    def closed(self) -> None:
        """The port is closed."""

    def _is_open(self, port: IListeningPort) -> None:
        if not self._wanted:
            port.stopListening()
            return
        self.port = port
        if self._on_open is not None:
            self._on_open(port)
        self.log.info("{name} listens on {address}", name=self.name, address=port.getHost())


class TCPListener(Listener):
    """A TCP port.  `interface` empty or `0.0.0.0` = all of IPv4, `::` = all of IPv6 and IPv4.

    `port` 0 asks the kernel for a free one and so needs `ephemeral=True`.  `reuse_port`: several processes may listen
    on the same port, the kernel spreads connections.
    """

    def __init__(
        self,
        name: str,
        reactor: Any,
        factory: Factory[Any],
        interface: str,
        port: int,
        *,
        keepalive: KeepAlive | None = None,
        reuse_port: bool = True,
        ephemeral: bool = False,
        backlog: int = BACKLOG,
        on_open: PortHook | None = None,
        on_close: PortHook | None = None,
    ) -> None:
        super().__init__(name, on_open, on_close)
        _check_port(port, ephemeral)
        self._reactor = reactor
        self._factory = factory
        self._address = interface, port
        self._keepalive = keepalive
        self._reuse_port = reuse_port
        self._backlog = backlog

    def open_port(self) -> Deferred[IListeningPort]:
        """Bind and listen."""
        adopted = self.adopted(self._reactor, self._factory)
        if adopted is not None:
            return adopted
        with _bound(self._address, socket.SOCK_STREAM, self._reuse_port) as bound:
            if self._keepalive is not None:
                self._keepalive.apply(bound)
            bound.listen(self._backlog)
            return succeed(self._reactor.adoptStreamPort(bound.fileno(), bound.family, self._factory))


class UnixListener(Listener):
    """A unix stream socket at `path`; one that a dead process left is removed, a living one is an error."""

    def __init__(
        self,
        name: str,
        reactor: Any,
        factory: Factory[Any],
        path: str,
        *,
        mode: int = 0o666,
        backlog: int = BACKLOG,
        on_open: PortHook | None = None,
        on_close: PortHook | None = None,
    ) -> None:
        super().__init__(name, on_open, on_close)
        self._reactor = reactor
        self._factory = factory
        self._path = path
        self._mode = mode
        self._backlog = backlog

    def open_port(self) -> Deferred[IListeningPort]:
        """Bind and listen."""
        adopted = self.adopted(self._reactor, self._factory)
        if adopted is not None:
            return adopted
        remove_stale(self._path)
        return succeed(self._reactor.listenUNIX(self._path, self._factory, backlog=self._backlog, mode=self._mode))


class _Asked:
    """A reactor as an endpoint sees it: whatever kind of port that wants, `listen(factory, how)` is asked for it."""

    def __init__(self, reactor: Any, listen: Callable[[Any, Callable[[Any], Any]], Any]) -> None:
        self._reactor = reactor
        self._listen = listen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, port: int, factory: Any, **more: Any) -> Any:
        """Ask for a port of connections as they are."""
        return self._listen(factory, lambda plain: self._reactor.listenTCP(port, plain, **more))

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **more: Any) -> Any:
        """Ask for a port of connections that speak TLS."""
        from cadtwist.net.tls import wrapped  # noqa: PLC0415 (only where TLS is spoken)

        return self.listenTCP(port, wrapped(factory, contextFactory), **more)

    def listenUNIX(self, address: str, factory: Any, **more: Any) -> Any:
        """Ask for a unix socket."""
        return self._listen(factory, lambda plain: self._reactor.listenUNIX(address, plain, **more))

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: int, factory: Any) -> Any:
        """Ask for a port over a socket of the service manager."""
        return self._listen(
            factory, lambda plain: self._reactor.adoptStreamPort(fileDescriptor, addressFamily, plain)
        )


def endpoint_factory(endpoint: str, factory: Factory[Any]) -> Any:
    """Return what accepts the connections of an endpoint text for `factory`: with the TLS, say, that it asks for."""
    if _is_managed(endpoint):
        return factory
    found: list[Any] = []
    _parsed(_Asked(None, lambda outermost, _: outermost), endpoint).listen(factory).addCallback(found.append)
    return found[0]


class EndpointListener(Listener):
    """Whatever a Twisted server endpoint text names, for instance `systemd:domain=INET:index=0`.

    `factory` gets the connections as they are: see `endpoint_factory`.  An inherited socket takes the place of the one
    that the endpoint would bind, or that the service manager gave to the first process alone.
    """

    def __init__(
        self,
        name: str,
        reactor: Any,
        factory: Factory[Any],
        endpoint: str,
        *,
        on_open: PortHook | None = None,
        on_close: PortHook | None = None,
    ) -> None:
        super().__init__(name, on_open, on_close)
        self._factory = factory
        self._reactor = reactor
        self._text = endpoint
        if not _is_managed(endpoint):
            _parsed(reactor, endpoint)  # a fault of it is told at once

    def open_port(self) -> Deferred[IListeningPort]:
        """Listen."""
        adopted = self.adopted(self._reactor, self._factory)
        if adopted is not None:
            return adopted
        asked = _Asked(self._reactor, lambda _, listen: listen(self._factory))
        found: Deferred[IListeningPort] = serverFromString(asked, self._text).listen(self._factory)
        return found


def _parsed(reactor: Any, endpoint: str) -> Any:
    """Return the endpoint that a text names; ConfigError where it names none."""
    try:
        return serverFromString(reactor, endpoint)
    except (ValueError, TypeError, LookupError) as error:
        raise ConfigError([f"{endpoint!r} is no endpoint: {error}"]) from error


def _is_managed(endpoint: str) -> bool:
    return endpoint.startswith("systemd:")


class UDPListener(Service):
    """A bound UDP socket with its reader, which `make_reader` builds: an object with `start()` and `stop()`.

    `inherited` is the socket of a former process, used in place of a new one; `key` is what the next process knows ours
    by.
    """

    log = Logger()
    inherited: socket.socket | None = None

    def __init__(
        self,
        name: str,
        make_reader: Callable[[socket.socket], Any],
        interface: str,
        port: int,
        *,
        receive_bytes: int = 0,
        reuse_port: bool = True,
        ephemeral: bool = False,
    ) -> None:
        self.setName(name)
        self.key = name
        _check_port(port, ephemeral)
        self._make_reader = make_reader
        self._where = interface, port
        self._receive_bytes = receive_bytes
        self._reuse_port = reuse_port
        self._bound: socket.socket | None = None
        self._reader: Any = None

    @property
    def address(self) -> tuple[str, int] | None:
        """Return (host, port) that the socket is bound to, None while it is closed."""
        if self._bound is None:
            return None
        host, port = self._bound.getsockname()[:2]
        return str(host), int(port)

    def startService(self) -> None:
        """Bind and read; raises OSError."""
        super().startService()
        interface, port = self._where
        given, self.inherited = self.inherited, None
        self._bound = given or bind_udp(interface, port, self._receive_bytes, self._reuse_port)
        try:
            self._reader = self._make_reader(self._bound)
            self._reader.start()
        except BaseException:
            self._bound.close()
            self._bound = None
            raise
        self.log.info("{name} listens on {address}", name=self.name, address=self.address)

    def pass_on(self) -> list[Passed]:
        """Take what the socket has and stop reading; the socket itself is returned, for another process."""
        if self._bound is None:
            return []
        fd = os.dup(self._bound.fileno())
        self.stopService()
        return [Passed(kind="datagrams", key=self.key, fd=fd)]

    def stopService(self) -> None:
        """Take what the socket still has, then close it."""
        super().stopService()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()
        bound, self._bound = self._bound, None
        if bound is not None:
            bound.close()


def bind_tcp(interface: str, port: int) -> socket.socket:
    """Return a TCP socket that alone is bound to the address, and does not listen yet."""
    return _bound((interface, port), socket.SOCK_STREAM, False)


def bind_udp(interface: str, port: int, receive_bytes: int = 0, reuse_port: bool = True) -> socket.socket:
    """Return a UDP socket bound to the address, `receive_bytes` its wanted buffer (0: the kernel's default)."""
    bound = _bound((interface, port), socket.SOCK_DGRAM, reuse_port)
    if receive_bytes:
        _set_receive_buffer(bound, receive_bytes)
    bound.setblocking(False)
    return bound


def _set_receive_buffer(bound: socket.socket, size: int) -> None:
    """Ask for a receive buffer: beyond the system's bound where we may (as root), else up to it."""
    try:
        bound.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _check_port(port: int, ephemeral: bool) -> None:
    if not 0 <= port <= 65535 or (port == 0 and not ephemeral):
        raise ValueError(f"{port} is no port to listen on")


def _bound(address: tuple[str, int], kind: socket.SocketKind, reuse_port: bool) -> socket.socket:
    """Return a non-blocking socket bound to (interface, port); the caller closes it.

    A name is looked up: its first IPv4 address counts, where it has none its first one.
    """
    interface, port = address
    try:
        found = socket.getaddrinfo(interface or None, port, type=kind, flags=socket.AI_PASSIVE)
        family, place = min(((each[0], each[4]) for each in found), key=lambda each: each[0] != socket.AF_INET)
        bound = socket.socket(family, kind)
    except UnicodeError:  # no name can be so
        raise _not_bound(OSError(errno.EINVAL, "no such name"), address) from None
    except OSError as error:
        raise _not_bound(error, address) from None
    try:
        bound.setblocking(False)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port and hasattr(socket, "SO_REUSEPORT"):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(interface != "::"))
        bound.bind(place)
    except OSError as error:
        bound.close()
        raise _not_bound(error, address) from None
    return bound


def _not_bound(error: OSError, address: tuple[str, int]) -> OSError:
    """Return `error` with the address that it is about."""
    if error.errno is None:
        return error
    return OSError(error.errno, f"cannot listen on {address[0] or '*'}:{address[1]}: {error.strerror}")


def remove_stale(path: str) -> None:
    """Remove a unix socket on which nobody listens; raises OSError when somebody does, or when it is no socket."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "cannot listen there: it is no socket", path)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
    raise OSError(errno.EADDRINUSE, "somebody listens there already", path)
