"""The doors of a counter daemon: opened anew, or taken over from a former process, and passed on to the next one."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred, DeferredList

from cadtwist.config.istatmodel import IstatConfig
from cadtwist.flow import Gate
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.net.listeners import Listener, TCPListener, UDPListener
from cadtwist.protocols.factory import ReceiverFactory
from cadtwist.protocols.udp import DatagramIntake, DatagramReader
from cadtwist.services.httpdoors import HttpDoor
from cadtwist.services.passing import DRAIN_S, LAST_READS_S, connections_of, read_last, take_up, within
from cadtwist.services.sequence import Step
from cadtwist.telemetry import Account

__all__ = ["IstatDoors", "part_name"]

ANYWHERE = "0.0.0.0"  # noqa: S104 (istatd listens everywhere unless told otherwise)


def part_name(part: str) -> str:
    """Return what a part of the counter daemon is called within the process."""
    return f"istat {part}"


class IstatDoors:
    """Makes the services of all listeners; `inherited` is what a former process had.  Reactor thread."""

    def __init__(self, reactor: Any, config: IstatConfig, inherited: Inheritance, account: Account) -> None:
        self._reactor = reactor
        self._config = config
        self._inherited = inherited
        self._account = account
        self._opened: list[Listener | UDPListener] = []
        self._asked: dict[str, HttpDoor] = {}
        self._early: list[Passed] = []
        self._drained = False

    def open(
        self, part: str, factory: Any, port: int, on_open: Callable[[Any], object] | None = None
    ) -> Listener:
        """Return the service that listens for `factory`."""
        config, name = self._config, part_name(part)
        where = config.listen_address or ANYWHERE
        door = TCPListener(
            name, self._reactor, factory, where, port, backlog=config.listen_backlog, on_open=on_open
        )
        door.inherited = self._inherited.socket("listener", name)
        self._opened.append(door)
        return door

    def ask(self, part: str, site: Any, port: int) -> Iterator[IService]:
        """Yield what answers HTTP, also on connections of a former process; at a stop, what is asked is answered."""
        name, door = part_name(part), HttpDoor(site, self._reactor)
        self._asked[name] = door

        def end() -> Deferred[None] | None:
            if self._drained:
                door.disconnect()
                return None
            answered = door.drain(stays=False)
            door.close_idle()
            return within(self._reactor, DRAIN_S, answered).addCallback(lambda _: door.disconnect())

        yield Step(f"questions at {part}", None, end)
        yield self.open(part, door, port, partial(self._take_up, name, door))

    def drain(self, most_s: float) -> Deferred[None]:
        """Answer what is asked over HTTP, and let nobody else ask; the Deferred fires after `most_s` at most."""
        self._drained = True
        for listener in self._opened:
            if listener.name in self._asked:
                self._early += listener.pass_on()
        answered = DeferredList([door.drain(stays=True) for door in self._asked.values()])
        return within(self._reactor, most_s, answered)

    def lines(self, factory: ReceiverFactory, datagrams: DatagramIntake, gate: Gate) -> Iterator[IService]:
        """Yield what receives lines: of connections, those of a former process too, and of datagrams.

        At the end connections are closed, and what the kernel still has of them counts.
        """

        def disconnect() -> Any:
            read_last(factory, self._reactor, gate, self._reactor.seconds() + LAST_READS_S)
            return factory.disconnect()

        yield Step("clients", None, disconnect)
        yield self.open("lines", factory, self._config.stat_port, partial(self._take_up, part_name("lines"), factory))
        yield from self._datagrams(datagrams)

    def _take_up(self, name: str, factory: Any, _port: object) -> None:
        """Go on with the connections that a former process had at an open port."""
        for passed in self._inherited.take("connection", name):
            take_up(self._reactor, factory, passed, self._account)

    def _datagrams(self, intake: DatagramIntake) -> Iterator[IService]:
        """Yield a reader for each socket that was passed to us, else one for a socket of our own."""
        config, key = self._config, part_name("datagrams")
        passed = [socket.socket(fileno=each.fd) for each in self._inherited.take("datagrams", key)]
        for number, given in enumerate(passed or [None], 1):
            door = UDPListener(
                key, lambda bound: DatagramReader(self._reactor, bound, intake),
                config.listen_address or ANYWHERE, config.stat_port, receive_bytes=config.udp_buffer_bytes,
            )  # fmt: skip
            door.inherited = given
            if number > 1:
                door.setName(f"{key} ({number})")
            self._opened.append(door)
            yield door

    def pass_on(self, factory: ReceiverFactory) -> list[Passed]:
        """Close all doors and connections here without closing them for the world."""
        found, self._early = self._early, []
        found += [each for door in self._opened for each in door.pass_on()]
        for name, asked in self._asked.items():
            found += connections_of(asked, name)
        return found + connections_of(factory, part_name("lines"))
