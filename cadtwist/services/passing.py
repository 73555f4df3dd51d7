"""Connections on their way from one process to the next, and the last reads of those that end here."""

from __future__ import annotations

import errno
import fcntl
import socket
import termios
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from cadtwist.config.model import Listener as Door
from cadtwist.flow import Gate
from cadtwist.net.handover import Inheritance, Kind, Passed, detached
from cadtwist.net.listeners import Listener, UDPListener
from cadtwist.protocols.factory import ReceiverFactory
from cadtwist.telemetry import Account, Telemetry

__all__ = [
    "DRAIN_S", "LAST_READS_S", "PassedDoors", "connections_of", "is_drained", "is_http", "read_last", "take_up",
    "within",
]  # fmt: skip

LAST_READS_S = 0.1
DRAIN_S = 2.0
"""How long clients may take to end what they have begun, where their connections cannot be passed on."""


class PassedDoors:
    """The doors of a daemon of one family: they open with what a former process passed, and are passed on in turn.

    Reactor thread.
    """

    def __init__(self, reactor: Any, telemetry: Telemetry, inherited: Inheritance) -> None:
        self._reactor = reactor
        self._telemetry = telemetry
        self._inherited = inherited
        self._doors: list[Listener | UDPListener] = []
        self._factories: dict[str, ReceiverFactory] = {}

    def opened(self, name: str, factory: ReceiverFactory) -> Callable[[object], None]:
        """Return what the listener `name` calls when it is open: its former connections go on at `factory`."""
        self._factories[name] = factory
        return partial(self._take_up, name, factory)

    def joined(self, door: Listener | UDPListener) -> Listener | UDPListener:
        """Let a door that is not open yet be one of us; return it."""
        kind: Kind = "datagrams" if isinstance(door, UDPListener) else "listener"
        door.inherited = self._inherited.socket(kind, str(door.name))
        self._doors.append(door)
        return door

    def disconnect(self, gate: Gate) -> None:
        """Close every connection; what its client had sent is read first, for at most `LAST_READS_S` altogether."""
        until = self._reactor.seconds() + LAST_READS_S
        for factory in self._factories.values():
            read_last(factory, self._reactor, gate, until)
            factory.disconnect()

    def pass_on(self) -> list[Passed]:
        """Stop reading everywhere, and let go of sockets and connections without closing them for the world."""
        found = [thing for door in self._doors for thing in door.pass_on()]
        for name, factory in self._factories.items():
            found += connections_of(factory, name)
        return found

    def _take_up(self, name: str, factory: ReceiverFactory, _: object) -> None:
        for passed in self._inherited.take("connection", name):
            take_up(self._reactor, factory, passed, self._telemetry.account(name))


def is_drained(door: Door) -> bool:
    """Tell whether connections of a door may be more than their sockets: a cipher's state, or a request's."""
    return is_http(door) or door.transport == "endpoint" or door.tls is not None or door.proxy_protocol


def is_http(door: Door) -> bool:
    """Tell whether HTTP is spoken at a door."""
    return door.transport == "http" or door.protocol in ("http", "ops", "dattss")


def within(clock: Any, seconds: float, wanted: Deferred[Any]) -> Deferred[None]:
    """Return what fires when `wanted` does, and in any case after some time."""
    done: Deferred[None] = Deferred()

    def tell(_: object = None) -> None:
        if late.active():
            late.cancel()
        if not done.called:
            done.callback(None)

    late = clock.callLater(seconds, tell)
    wanted.addBoth(tell)
    return done


def read_last(factory: Any, reactor: Any, gate: Gate, until: float) -> None:
    """Read what the connections of a door have in the kernel; not of those that are paused as the cache is full."""
    for connection in list(getattr(factory, "connections", ())):
        transport = connection.transport
        while hasattr(transport, "transport"):
            transport = transport.transport
        while gate.open and hasattr(transport, "doRead") and reactor.seconds() < until and _has_bytes(transport):
            if transport.doRead() is not None:
                break


def take_up(reactor: Any, factory: Any, passed: Passed, account: Account) -> None:
    """Go on at `factory` (None: there is no such door) with a connection that another process had.

    One that cannot be taken up is closed and counted: its client has reset it meanwhile (`gone_before_taken`), its
    descriptor did not come through as we have too many, or its door reads another way now (`connections_refused`).
    """
    if passed.fd < 0:
        account.count("connections_refused")
        return
    with socket.socket(fileno=passed.fd) as given:
        if factory is None:
            return
        try:
            transport = reactor.adoptStreamConnection(given.fileno(), given.family, factory)
        except OSError as error:
            account.count("gone_before_taken" if error.errno == errno.ENOTCONN else "connections_refused")
            return
    if transport is None or not (passed.data or passed.skipping):
        return
    go_on = getattr(transport.protocol, "take_up", None)  # with the item that it was within
    if go_on is None:
        account.count("connections_refused")
        transport.abortConnection()
        return
    go_on(passed.data, passed.skipping)


def connections_of(factory: Any, name: str) -> list[Passed]:
    """Let go of the connections of a door without closing them for the world."""
    found = []
    for connection in factory.passable():
        unread, skipping = connection.unread()
        fd = detached(connection.transport, connection)
        found.append(Passed(kind="connection", key=name, data=unread, skipping=skipping, fd=fd))
    return found


def _has_bytes(transport: Any) -> bool:
    """Tell whether bytes wait in the kernel for a socket's transport."""
    told = bytearray(4)
    try:
        fcntl.ioctl(transport.fileno(), termios.FIONREAD, told)
    except (OSError, ValueError):
        return False
    return any(told)
