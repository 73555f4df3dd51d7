"""Listeners of a Config as services: each with its own intake, all with one limit and one gate."""

from __future__ import annotations

import fcntl
import socket
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.haproxy import proxyEndpoint
from zope.interface import implementer

from cadtwist.cache.cache import Cache
from cadtwist.codec.carbonpickle import PickleCodec
from cadtwist.codec.line import LineCodec
from cadtwist.codec.protobuf import ProtobufCodec
from cadtwist.config.model import Config, Listener
from cadtwist.errors import CadtwistError
from cadtwist.flow import Gate
from cadtwist.interfaces import ISink
from cadtwist.kernels import active
from cadtwist.model.batch import Batch, Columns, Floats, Ids
from cadtwist.net import listeners
from cadtwist.net.handover import Inheritance, Passed, detached
from cadtwist.net.keepalive import KeepAlive
from cadtwist.net.listeners import EndpointListener, TCPListener, UDPListener, UnixListener
from cadtwist.net.tls import server_context, wrapped
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.cachequery import CacheQueryFactory
from cadtwist.protocols.carbonpickle import PickleConnection
from cadtwist.protocols.factory import ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Codec, Intake
from cadtwist.protocols.line import LineConnection
from cadtwist.protocols.protobuf import ProtobufConnection
from cadtwist.protocols.udp import DatagramIntake, DatagramReader
from cadtwist.services.turn import Turn
from cadtwist.telemetry import Telemetry

__all__ = ["CacheAnswers", "Doors"]

LAST_READS_S = 0.1
Emit = Callable[[Batch], None]


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

    `sink` is the first stage; `flush` hands over what all intakes hold back (a job of the turn).
    """

    reactor: Any
    config: Config
    telemetry: Telemetry
    table: active.table.MetricTable
    sink: ISink
    gate: Gate
    turn: Turn
    answers: CacheAnswers
    inherited: Inheritance = field(default_factory=Inheritance)
    intakes: list[Intake] = field(default_factory=list)
    factories: list[Any] = field(default_factory=list)
    opened: list[listeners.Listener | UDPListener] = field(default_factory=list)
    receivers: dict[str, ReceiverFactory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._limit = ConnectionLimit(self.config.limits.max_connections)
        self._bad_log = BadInputLog(self.reactor.seconds)

    def flush(self) -> None:
        """Hand over the rows that wait in every intake."""
        for intake in self.intakes:
            intake.flush()

    def replace_sink(self, sink: ISink) -> None:
        """Deliver to another first stage from now on."""
        for intake in self.intakes:
            intake.replace_sink(sink)
        self.sink = sink

    def change(self, config: Config) -> None:
        """Take the limits and log switches of a reloaded configuration."""
        self.config = config
        self._limit.most = config.limits.max_connections
        for factory in self.factories:
            factory.change(config.limits.idle_timeout_s, config.log)

    def services(self) -> list[IService]:
        """Return a service for each listener of the configuration, in its order."""
        return [self._service(door) for door in self.config.listeners if door.protocol != "http"]

    def disconnect(self) -> None:
        """Close every connection; what was received, be it still in the kernel, is handed over first.

        Reading it may take `LAST_READS_S` altogether.
        """
        until = self.reactor.seconds() + LAST_READS_S
        for factory in self.factories:
            for connection in list(getattr(factory, "connections", ())):
                self._read_last(connection.transport, until)
            factory.disconnect()
        self.flush()

    def _read_last(self, transport: Any, until: float) -> None:
        """Read what a connection's socket has; not of one that is paused as the cache is full."""
        while hasattr(transport, "transport"):
            transport = transport.transport
        if not hasattr(transport, "doRead") or not self.gate.open:
            return
        while self.reactor.seconds() < until and _has_bytes(transport):
            if transport.doRead() is not None:
                return

    def _limit_port(self, port: Any) -> None:
        """Let the bound of connections pause a port; not every endpoint's can be paused."""
        if hasattr(port, "stopReading"):
            self._limit.add_port(port)

    def _service(self, door: Listener) -> IService:
        if door.transport == "udp":
            return self._datagrams(door)
        return self.open(door, self._factory(door))

    def open(self, door: Listener, factory: Any) -> IService:
        """Return the service that listens at `door` for `factory`."""
        name = _name(door)
        hooks: dict[str, Any] = {}
        if isinstance(factory, ReceiverFactory):
            hooks = {"on_open": partial(self._receive_at, name), "on_close": self._limit.remove_port}
            if door.tls is None and not door.proxy_protocol:
                self.receivers[name] = factory
        if door.tls is not None:
            context = server_context(door.tls.certificate, door.tls.key, door.tls.client_authority)
            factory = wrapped(factory, context)
        if door.proxy_protocol:
            factory = _behind_proxy(factory)
        service = self._listener(door, factory, hooks)
        service.inherited = self.inherited.socket("listener", name)
        self.opened.append(service)
        return service

    def _listener(self, door: Listener, factory: Any, hooks: dict[str, Any]) -> listeners.Listener:
        name = _name(door)
        if door.transport == "unix":
            return UnixListener(name, self.reactor, factory, door.path, **hooks)
        if door.transport == "endpoint":
            return EndpointListener(name, self.reactor, factory, door.endpoint, **hooks)
        tcp = self.config.tcp
        keepalive = KeepAlive(tcp.keepalive, tcp.keepalive_idle_s, tcp.keepalive_interval_s, tcp.keepalive_count)
        return TCPListener(name, self.reactor, factory, door.interface, door.port, keepalive=keepalive, **hooks)

    def _receive_at(self, name: str, port: Any) -> None:
        """Begin to receive at an open port: with the connections that a former process had there."""
        self._limit_port(port)
        for passed in self.inherited.take("connection", name):
            with socket.socket(fileno=passed.fd) as given:
                transport = self.reactor.adoptStreamConnection(given.fileno(), given.family, self.receivers[name])
            if transport is not None:
                transport.protocol.take_up(passed.data, passed.skipping)

    def pass_on(self) -> list[Passed]:
        """Stop reading everywhere and let go of sockets and plain connections without closing them for the world.

        What was received up to then is handed over first; what comes later waits in the kernel for the next process.
        """
        found: list[Passed] = []
        for listener in self.opened:
            found += listener.pass_on()
        for name, factory in self.receivers.items():
            for connection in list(factory.connections):
                unread, skipping = connection.state.unread()
                fd = detached(connection.transport, connection)
                found.append(Passed(kind="connection", key=name, data=unread, skipping=skipping, fd=fd))
        self.flush()
        return found

    def _factory(self, door: Listener) -> Any:
        limits, log = self.config.limits, self.config.log
        if door.protocol == "cachequery":
            account = self.telemetry.account(f"cachequery {door.address}")
            factory: Any = CacheQueryFactory(self.answers, account, self._bad_log, limits.max_query_bytes, log.queries)
        else:
            make_connection: Any = LineConnection
            if door.protocol == "pickle":
                make_connection = partial(PickleConnection, max_bytes=limits.max_pickle_bytes)
            elif door.protocol == "protobuf":
                make_connection = partial(ProtobufConnection, max_bytes=limits.max_protobuf_bytes)
            factory = ReceiverFactory(
                self._intake(door, Intake),
                make_connection,
                clock=self.reactor,
                limit=self._limit,
                idle_timeout_s=limits.idle_timeout_s,
                log_connections=log.connections,
                log_lost=log.lost_connections,
            )
        self.factories.append(factory)
        return factory

    def _datagrams(self, door: Listener) -> IService:
        limits = self.config.limits
        intake = self._intake(door, DatagramIntake)

        def reader(bound: Any) -> DatagramReader:
            return DatagramReader(self.reactor, bound, intake, limits.udp_ring_bytes)

        name = _name(door)
        service = UDPListener(name, reader, door.interface, door.port, receive_bytes=limits.udp_receive_bytes)
        service.inherited = self.inherited.socket("datagrams", name)
        self.opened.append(service)
        return service

    def _intake(self, door: Listener, kind: type[Intake]) -> Any:
        made = kind(
            door.protocol,
            self._codec(door),
            sink=self.sink,
            gate=self.gate,
            account=self.telemetry.account(_name(door)),
            bad_log=self._bad_log,
            now=self.reactor.seconds,
            begin=self.turn.begin,
            settle=self.telemetry.settle,
        )
        self.intakes.append(made)
        return made

    def _codec(self, door: Listener) -> Callable[[Emit], Codec]:
        resolution = self.config.stages.min_resolution_s
        longest = self.config.limits.max_line_bytes
        table = self.table
        if door.protocol == "pickle":
            return lambda emit: PickleCodec(table, Columns(), emit, resolution)
        if door.protocol == "protobuf":
            return lambda emit: ProtobufCodec(table, Columns(), emit, resolution)
        return lambda emit: LineCodec(table, Columns(), emit, longest, resolution)


def _name(door: Listener) -> str:
    """Return what people, counters and the next process know a listener by."""
    return f"{door.protocol} {door.address}"


def _has_bytes(transport: Any) -> bool:
    """Tell whether bytes wait in the kernel for a socket's transport."""
    told = bytearray(4)
    try:
        fcntl.ioctl(transport.fileno(), termios.FIONREAD, told)
    except (OSError, ValueError):
        return False
    return any(told)


@implementer(IStreamServerEndpoint)
class _Given:
    """An endpoint that listens nowhere and gives back the factory that it should listen for."""

    def listen(self, factory: Any) -> Deferred[Any]:
        return succeed(factory)


def _behind_proxy(factory: Factory) -> Factory:
    """Return a factory whose connections begin with a PROXY header (version 1 or 2)."""
    found: list[Factory] = []
    proxyEndpoint(_Given()).listen(factory).addCallback(found.append)
    return found[0]
