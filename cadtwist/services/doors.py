"""Listeners of a Config as services: each with its own intake, all with one limit and one gate."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from twisted.application.service import IService
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.haproxy import proxyEndpoint
from zope.interface import implementer

from cadtwist.config.model import Config, Listener
from cadtwist.errors import CadtwistError
from cadtwist.flow import Gate
from cadtwist.kernels import active
from cadtwist.model.batch import Floats, Ids
from cadtwist.net import listeners
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.net.keepalive import KeepAlive
from cadtwist.net.listeners import EndpointListener, TCPListener, UDPListener, UnixListener, endpoint_factory
from cadtwist.net.tls import server_context, wrapped
from cadtwist.protocols.cachequery import CacheQueryFactory
from cadtwist.protocols.factory import ConnectionLimit, ReceiverFactory
from cadtwist.protocols.udp import DatagramReader
from cadtwist.services.passing import (
    LAST_READS_S,
    connections_of,
    is_drained,
    is_http,
    read_last,
    take_up,
    within,
)
from cadtwist.services.receivers import Receivers, door_name
from cadtwist.services.sequence import Step
from cadtwist.telemetry import Telemetry

if TYPE_CHECKING:
    from cadtwist.cache.cache import Cache

__all__ = ["SHARED", "CacheAnswers", "Doors", "listener_for"]

SHARED = ("http", "ops", "proxyadmin", "dattss")
"""Protocols of doors at which people and programs ask: the composition root opens them."""


@dataclass(frozen=True)
class CacheAnswers:
    """What carbonlink clients may ask: points by `cache`, properties of files by `store`."""

    table: active.table.MetricTable
    cache: Cache
    store: Any

    def peek(self, metrics: Sequence[str], most: int) -> tuple[Ids, Floats, Floats]:
        """Return (offsets, timestamps, values) of what is not in files yet; CadtwistError for more than `most`."""
        lookup = self.table.lookup
        ids = np.array([lookup(metric.encode("utf-8", "surrogateescape")) for metric in metrics], np.uint32)
        points = int(self.cache.points.counts(ids).sum(dtype=np.int64))
        if points > most:
            raise CadtwistError(f"{points} datapoints are pending, an answer has at most {most}")
        return self.cache.peek(ids)

    def get_metadata(self, metric: str, key: str) -> object:
        """Return a property of a metric's file."""
        return self.store.get_metadata(metric, key)

    def set_metadata(self, metric: str, key: str, value: object) -> tuple[object, object]:
        """Change a property of a metric's file; return its old and new value."""
        return self.store.set_metadata(metric, key, str(value)), value


@dataclass
class Doors:
    """Makes the services of all listeners but HTTP's.  Reactor thread.

    `receivers` make what listens to connections; `answers` are for cache queries, where there is a cache.  `served`:
    another process listens, and gives us connections (`take_up`) and datagram sockets.
    """

    reactor: Any
    config: Config
    telemetry: Telemetry
    receivers: Receivers
    gate: Gate
    answers: CacheAnswers | None
    inherited: Inheritance = field(default_factory=Inheritance)
    served: bool = False
    factories: list[Any] = field(default_factory=list)
    opened: list[listeners.Listener | UDPListener] = field(default_factory=list)
    plain: dict[str, Any] = field(default_factory=dict)
    drained: dict[str, Any] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    accepting: dict[str, Any] = field(default_factory=dict)
    early: list[Passed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit = ConnectionLimit(self.config.limits.max_connections)

    def change(self, config: Config) -> None:
        """Take the limits and log switches of a reloaded configuration."""
        self.config = config
        self.limit.most = config.limits.max_connections
        for factory in self.factories:
            factory.change(config.limits.idle_timeout_s, config.log)

    def services(self) -> list[IService]:
        """Return a service for each listener of the configuration, in its order."""
        doors = [door for door in self.config.listeners if door.protocol not in SHARED]
        return [service for door in doors for service in self._services(door)]

    def disconnect(self) -> None:
        """Close every connection; what was received, be it still in the kernel, is handed over first.

        Reading it may take `LAST_READS_S` altogether.
        """
        until = self.reactor.seconds() + LAST_READS_S
        for factory in self.factories:
            read_last(factory, self.reactor, self.gate, until)
            factory.disconnect()
        self.receivers.flush()

    def _limit_port(self, port: Any) -> None:
        """Let the bound of connections pause a port; not every endpoint's can be paused."""
        if hasattr(port, "stopReading"):
            self.limit.add_port(port)

    def _services(self, door: Listener) -> list[IService]:
        if door.transport == "udp":
            return self._datagrams(door)
        factory = self._factory(door)
        if self.served:
            accepting = self.accepting[door_name(door)] = self._outermost(door, factory)
            return [Step(door_name(door), accepting.doStart, accepting.doStop)]  # no port starts it
        return [self.open(door, factory)]

    def open(self, door: Listener, factory: Any) -> IService:
        """Return the service that listens at `door` for `factory`."""
        name = door_name(door)
        factory = self._known(door, factory)
        hooks = self._hooks(name, factory)
        self.accepting[name] = self._outermost(door, factory)
        service = listener_for(self.reactor, self.config, door, self.accepting[name], hooks)
        service.inherited = self.inherited.socket("listener", name)
        self.opened.append(service)
        return service

    def _known(self, door: Listener, factory: Any) -> Any:
        """Return what knows the connections of a door, where `factory` itself does not: HTTP's do not."""
        if not is_http(door) or hasattr(factory, "passable"):
            return factory
        from cadtwist.services.httpdoors import HttpDoor  # noqa: PLC0415 (only where HTTP is spoken)

        return HttpDoor(factory, self.reactor)

    def _hooks(self, name: str, factory: Any) -> dict[str, Any]:
        if isinstance(factory, ReceiverFactory):
            return {"on_open": partial(self._receive_at, name), "on_close": self.limit.remove_port}
        return {"on_open": lambda _: self._take_up_all(name)} if hasattr(factory, "passable") else {}

    def _outermost(self, door: Listener, factory: Any) -> Any:
        """Return what accepts connections: `factory` behind TLS or a proxy's header, where the door has them."""
        if door.tls is None and not door.proxy_protocol and hasattr(factory, "passable"):
            self.plain[door_name(door)] = factory
        if is_drained(door) and hasattr(factory, "drain"):
            self.drained[door_name(door)] = factory
            self.asked.update([door_name(door)] if door.protocol in SHARED else ())
        if door.tls is not None:
            context = server_context(door.tls.certificate, door.tls.key, door.tls.client_authority)
            factory = wrapped(factory, context)
        if door.proxy_protocol:
            factory = _behind_proxy(factory)
        return endpoint_factory(door.endpoint, factory) if door.transport == "endpoint" else factory

    def _receive_at(self, name: str, port: Any) -> None:
        """Begin to receive at an open port: with the connections that a former process had there."""
        self._limit_port(port)
        self._take_up_all(name)

    def _take_up_all(self, name: str) -> None:
        for passed in self.inherited.take("connection", name):
            self.take_up(passed)

    def take_up(self, passed: Passed) -> None:
        """Go on with a connection that another process accepted, or that a former one had."""
        take_up(self.reactor, self.accepting.get(passed.key), passed, self.telemetry.account(passed.key))

    def drain(self, most_s: float, stays: bool) -> Deferred[None]:
        """Let connections end that cannot be passed on as they are; the Deferred fires after `most_s` at most.

        Those with TLS or a proxy's header are told goodbye and read until the client closes; requests that have begun
        are answered.  Whoever comes meanwhile to such a door waits in the kernel, for the next process (`stays`).
        Without one the doors at which people ask are open to the end.
        """
        drained = {name: factory for name, factory in self.drained.items() if stays or name not in self.asked}
        self.drained = {}
        for listener in self.opened:
            if listener.name in drained:
                self.early += listener.pass_on()
        waits = [factory.drain(stays and name in self.plain) for name, factory in drained.items()]
        for factory in drained.values() if not stays else ():
            factory.close_idle()
        return within(self.reactor, most_s, DeferredList(waits))

    def pass_on(self) -> list[Passed]:
        """Stop reading everywhere and let go of sockets and plain connections without closing them for the world.

        What was received up to then is handed over first; what comes later waits in the kernel for the next process.
        """
        found, self.early = self.early, []
        for listener in self.opened:
            found += listener.pass_on()
        for name, factory in self.plain.items():
            found += connections_of(factory, name)
        self.receivers.flush()
        return found

    def _factory(self, door: Listener) -> Any:
        limits, log = self.config.limits, self.config.log
        if door.protocol == "cachequery" and self.answers is not None:
            account = self.telemetry.account(door_name(door))
            bad_log = self.receivers.bad_log
            factory: Any = CacheQueryFactory(self.answers, account, bad_log, limits.max_query_bytes, log.queries)
        else:
            factory = self._known(door, self.receivers.factory(door, self.limit))
        self.factories.append(factory)
        return factory

    def _datagrams(self, door: Listener) -> list[IService]:
        return self.datagrams(door, self.receivers.datagrams(door))

    def datagrams(self, door: Listener, intake: Any) -> list[IService]:
        """Return a reader for each socket that was passed to us, else one for a socket of our own."""
        limits = self.config.limits

        def reader(bound: Any) -> DatagramReader:
            return DatagramReader(self.reactor, bound, intake, limits.udp_ring_bytes)

        name = door_name(door)
        passed = self.inherited.take("datagrams", name)
        sockets: list[socket.socket | None] = [socket.socket(fileno=each.fd) for each in passed]
        found: list[IService] = []
        for given in sockets or [None]:
            service = UDPListener(name, reader, door.interface, door.port, receive_bytes=limits.udp_receive_bytes)
            service.inherited = given
            if found:
                service.setName(f"{name} ({len(found) + 1})")  # services that run side by side have names of their own
            self.opened.append(service)
            found.append(service)
        return found


def listener_for(
    reactor: Any, config: Config, door: Listener, factory: Any, hooks: dict[str, Any]
) -> listeners.Listener:
    """Return the service that listens at a `door` of streams for `factory`; `hooks` are the Listener's."""
    name = door_name(door)
    if door.transport == "unix":
        return UnixListener(name, reactor, factory, door.path, **hooks)
    if door.transport == "endpoint":
        return EndpointListener(name, reactor, factory, door.endpoint, **hooks)
    tcp = config.tcp
    keepalive = KeepAlive(tcp.keepalive, tcp.keepalive_idle_s, tcp.keepalive_interval_s, tcp.keepalive_count)
    return TCPListener(name, reactor, factory, door.interface, door.port, keepalive=keepalive, **hooks)


@implementer(IStreamServerEndpoint)
class _Given:
    """An endpoint that listens nowhere and gives back the factory that it should listen for."""

    def listen(self, factory: Any) -> Deferred[Any]:
        return succeed(factory)


@implementer(IHalfCloseableProtocol)
class _Both:
    """Part of a wrapper: a client that says no more, but listens, is let be by it as by the protocol behind."""

    wrappedProtocol: Any
    loseConnection: Callable[[], None]

    def readConnectionLost(self) -> None:
        """The client says no more: the protocol may have answers for it."""
        behind = self.wrappedProtocol
        if IHalfCloseableProtocol.providedBy(behind):
            behind.readConnectionLost()
        else:
            self.loseConnection()

    def writeConnectionLost(self) -> None:
        """We write no more."""


def _behind_proxy(factory: Factory) -> Factory:
    """Return a factory whose connections begin with a PROXY header (version 1 or 2)."""
    found: list[Factory] = []
    proxyEndpoint(_Given()).listen(factory).addCallback(found.append)
    wrapper: Any = found[0].protocol
    found[0].protocol = type("Proxied", (_Both, wrapper), {})
    return found[0]
