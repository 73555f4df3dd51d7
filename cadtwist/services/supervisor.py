"""`workers = N`: N processes receive side by side, this one listens for them, restarts them and adds up their books.

A connection goes to the worker that has the fewest; each worker has a datagram socket of its own at every UDP door
(SO_REUSEPORT), which outlives it here: what came while it was away is read by the one that takes its place.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger, globalLogPublisher

from cadtwist.config.model import Config
from cadtwist.errors import CadtwistError
from cadtwist.net.handover import FdChannel, Inheritance, Passed, detached, receive_one
from cadtwist.net.listeners import Listener, bind_udp
from cadtwist.net.spread import spread_by_name, spread_by_source
from cadtwist.protocols.factory import ConnectionLimit
from cadtwist.services.balance import Balance
from cadtwist.services.doors import SHARED, listener_for
from cadtwist.services.handover import Watch
from cadtwist.services.logs import CarbonLogs
from cadtwist.services.orphans import orphaned, spool_folder
from cadtwist.services.passing import is_drained, within
from cadtwist.services.processfacts import process_facts
from cadtwist.services.receivers import door_name
from cadtwist.services.sequence import Every
from cadtwist.services.sequence import Sequence as Parts
from cadtwist.services.slots import ChildProcess, Slot, child_environment, one_protocol
from cadtwist.services.tlsneed import command_without_tls
from cadtwist.services.worker import CHANNEL_FD, LINK_FD, TELL, worker_config
from cadtwist.services.workerlink import WorkerLink
from cadtwist.telemetry import Telemetry

__all__ = ["Supervisor", "added_ledgers"]

_NODES_S = 1.0
_STOP_S = 60.0
_AGAIN_S = 0.01
_LOADING_S = 60.0
_MOST_WAITING = 256
"""Connections that wait here for a worker; others wait in the kernel."""


def added_ledgers(ledgers: Iterable[Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the accounts of several processes added up by name, in the order of their first appearance."""
    found: dict[str, dict[str, Any]] = {}
    for ledger in ledgers:
        for account in ledger:
            known = found.get(account["name"])
            found[account["name"]] = dict(account) if known is None else _added(known, account)
    return list(found.values())


def _added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for key in dict.fromkeys((*one, *other)):
        here, there = one.get(key), other.get(key)
        if isinstance(here, dict) and isinstance(there, dict):
            total[key] = _added(here, there)
        elif isinstance(here, (int, float)) and isinstance(there, (int, float)) and not isinstance(here, bool):
            total[key] = here + there
        else:
            total[key] = there if here is None else here
    return total


class _Handing(ServerFactory):
    """Accepts a connection only to give its descriptor to `give(key, fd)`."""

    noisy = False

    def __init__(self, key: str, give: Callable[[Passed], object]) -> None:
        self._key = key
        self._give = give

    def buildProtocol(self, addr: object) -> Protocol:  # noqa: ARG002
        """Return the protocol of a new connection."""
        return _Accepted(self._key, self._give)


class _Accepted(Protocol):
    def __init__(self, key: str, give: Callable[[Passed], object]) -> None:
        self._key = key
        self._give = give

    def connectionMade(self) -> None:
        """Pass it on."""
        self._give(Passed(kind="connection", key=self._key, fd=detached(self.transport)))


class _Place:
    """One worker's place: its process, the link and channel to it, and the sockets that are its own."""

    def __init__(self, number: int, supervisor: Supervisor) -> None:
        self.number = number
        self.open = 0
        self.given = 0
        self.ready = False
        self.chunks: list[Passed] = []
        self.link: WorkerLink | None = None
        self.channel: FdChannel | None = None
        self.sockets: list[tuple[str, socket.socket]] = []
        self._collected: list[Passed] = []
        self._collecting: Watch | None = None
        self._supervisor = supervisor
        self.slot = Slot(supervisor.reactor, self._spawn, f"worker {number}", _STOP_S)

    def _spawn(self, child: ChildProcess) -> Any:
        reactor = self._supervisor.reactor
        ours, theirs = socket.socketpair()
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.open = 0
        self.given = 0
        self.ready = False
        if self.channel is not None:
            self.channel.close()
        self.link = WorkerLink({"open": self._opened})
        self.channel = FdChannel(near)
        self.channel.blocking = False
        command = [*command_without_tls("cadtwist.services.worker"), *(() if self._supervisor.running else (TELL,))]
        children: dict[int, Any] = {0: "w", 1: "r", 2: "r", CHANNEL_FD: far.fileno(), LINK_FD: theirs.fileno()}
        process = reactor.spawnProcess(child, command[0], command, env=child_environment(), childFDs=children)
        child.link = self.link
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, one_protocol(self.link))
        for each in (ours, theirs, far):
            each.close()
        if self._supervisor.running:
            self.begin()
        self._supervisor.count_connections()
        return process

    def begin(self) -> None:
        """Let the worker that is here do its work."""
        for key, bound in self.sockets:
            self._send(Passed(kind="datagrams", key=key, fd=os.dup(bound.fileno())))
        self._supervisor.begun(self)

    def wait_loaded(self, seconds: float) -> None:
        """Wait until a worker that was started to wait has loaded its code, or is gone."""
        channel = self.channel
        if channel is not None and select.select([channel], [], [], seconds)[0]:
            channel.receive()

    def give(self, passed: Passed) -> bool:
        """Give a connection to the worker; False when it takes none now."""
        return self.ready and self._send(passed)

    def collect(self, into: list[Passed]) -> None:
        """Take what the worker gives back from now on."""
        if self.channel is None:
            return
        self._collected = into
        self._collecting = Watch(self.channel, self._collect)
        self._supervisor.reactor.addReader(self._collecting)

    def let_go(self, numbers: list[int]) -> Deferred[list[tuple[int, Passed]]]:
        """Take connections back from the worker, by the numbers that it told; those that have ended are missing."""
        found: list[Passed] = []
        if self.link is None or not self.ready:
            return succeed([])
        self.collect(found)

        def told(gone: Any) -> list[tuple[int, Passed]]:
            self.finish_collecting()
            known = gone if isinstance(gone, list) else []
            return [(known[place] if place < len(known) else -1, passed) for place, passed in enumerate(found)]

        return self.link.call("let_go", numbers).addBoth(told)

    def finish_collecting(self) -> None:
        """Take the rest, after the worker has said that all of it is there."""
        while self._collecting is not None and self._collect():
            pass
        self._end_collecting()

    def _collect(self) -> bool:
        """Take one thing; False when there is none now."""
        if self.channel is None:
            return False
        try:
            thing = receive_one(self.channel)
        except BlockingIOError:
            return False
        except OSError:
            thing = None
        if thing is None:
            self._end_collecting()
            return False
        self._collected.append(thing)
        return True

    def _end_collecting(self) -> None:
        if self._collecting is not None:
            self._supervisor.reactor.removeReader(self._collecting)
            self._collecting = None

    def _opened(self, told: Any) -> None:
        """Take note of how many connections are open there, and of how many of those given it knew when it said so."""
        connections, known = told
        self.open = int(connections) + self.given - int(known)
        self._supervisor.count_connections()

    def _send(self, passed: Passed) -> bool:
        if self.channel is None:
            return False
        try:
            self.channel.send(msgspec.msgpack.encode(passed), [passed.fd])
        except OSError:
            return False
        os.close(passed.fd)
        if passed.kind == "connection":
            self.open += 1
            self.given += 1
        return True


class _Nodes:
    """Who the workers have on their ring, as was told last."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._known = [each.name for each in supervisor.config.destinations]

    def known(self) -> list[str]:
        """Return the names of destinations."""
        return self._known

    def ask(self, _: float) -> None:
        """Ask for them: whatever the first worker that answers says."""
        self._supervisor.ask_all("nodes").addCallback(self._told)

    def _told(self, found: list[Any]) -> None:
        self._known = next((each for each in found if each is not None), self._known)


class Supervisor(Service):
    """Has the faces of a Daemon that the composition root needs, for several of them.  Reactor thread.

    One that takes the place of a former process loads its workers before that one stops, then gets what it left.
    """

    _log = Logger()

    def __init__(self, reactor: Any, config: Config) -> None:
        self.reactor = reactor
        self.config = config
        self.inherited = Inheritance()
        self.telemetry = Telemetry()
        self.on_fault: Callable[[str], object] = lambda _: reactor.stop()
        self._account = self.telemetry.account("workers")
        self._places = [_Place(number, self) for number in range(config.processes.workers)]
        self._waiting: deque[Passed] = deque()
        self._again: IDelayedCall | None = None
        self._limit = ConnectionLimit(config.limits.max_connections)
        self._listeners: list[Listener] = []
        self._loaded = False
        self._crowded = False
        self._passing = False
        self._left: list[Passed] = []
        self._early: list[Passed] = []
        self._sites: dict[str, Any] = {}
        self._balance = Balance(reactor, lambda: self._collected("loads", None), self._move)
        self.reports: dict[str, Callable[[], object]] = {
            "status": self.status,
            "ledger": self.ledger,
            "waits": self.waits,
        }
        self.service = self._sequence()

    def _sequence(self) -> Parts:
        log = self.config.log
        parts: list[IService] = []
        if log.directory:
            parts.append(CarbonLogs(log.directory, log.rotate, globalLogPublisher))
        parts.append(self)
        nodes = _Nodes(self)
        own = self._own_factories(nodes)
        if self.config.listeners_of("proxyadmin"):
            parts.append(Every("nodes", self.reactor, _NODES_S, nodes.ask))
        for door in self.config.listeners:
            if door.protocol in own:
                self._listeners.append(self._listener(door, own[door.protocol], {}))
            elif door.transport != "udp" and door.protocol not in SHARED:
                hooks = {"on_open": self._open_port, "on_close": self._limit.remove_port}
                self._listeners.append(self._listener(door, _Handing(door_name(door), self._give), hooks))
        parts += self._listeners
        if self.config.processes.move_connections:
            parts.append(self._balance)
        sequence = Parts()
        for part in parts:
            part.setServiceParent(sequence)
        return sequence

    def _own_factories(self, nodes: _Nodes) -> dict[str, Any]:
        """Return what answers at the doors that are the supervisor's own, by protocol."""
        if not any(door.protocol in SHARED for door in self.config.listeners):
            return {}
        from cadtwist.services.httpdoors import HttpDoor  # noqa: PLC0415 (only where somebody may ask)
        from cadtwist.services.ops import JoinedOps, ops_site  # noqa: PLC0415
        from cadtwist.services.proxyadmin import proxy_admin  # noqa: PLC0415
        from cadtwist.services.webworker import reporting_site  # noqa: PLC0415

        sites = {
            "http": reporting_site(self.reactor, self.reports, self.config.web),
            "ops": ops_site(self.reactor, JoinedOps(self), self.reports, self.config.ops.page_directory),
        }
        self._sites = {protocol: HttpDoor(site, self.reactor) for protocol, site in sites.items()}
        admin = proxy_admin(self.reactor, lambda: self.config, self.telemetry, nodes.known)
        return {**self._sites, "proxyadmin": admin}

    def _listener(self, door: Any, factory: Any, hooks: dict[str, Any]) -> Listener:
        return listener_for(self.reactor, self.config, door, factory, hooks)

    def _open_port(self, port: Any) -> None:
        if hasattr(port, "stopReading"):
            self._limit.add_port(port)

    def _datagram_sockets(self) -> None:
        """Give each worker a socket at every UDP door; those of a former process first, whoever they belonged to."""
        size = self.config.limits.udp_receive_bytes
        for door in self.config.listeners:
            if door.transport == "udp":
                name = door_name(door)
                passed = [socket.socket(fileno=thing.fd) for thing in self.inherited.take("datagrams", name)]
                while len(passed) < len(self._places):
                    passed.append(bind_udp(door.interface, door.port, size))
                self._spread(name, passed)
                for number, bound in enumerate(passed):
                    self._places[number % len(self._places)].sockets.append((name, bound))

    def _spread(self, name: str, sockets: list[socket.socket]) -> None:
        """Let a door's datagrams be spread over its sockets as configured."""
        if self.config.processes.udp_spread == "source":
            spread_by_source(sockets[0])
        elif not spread_by_name(sockets[0], len(sockets)):
            self._log.warn("{name}: the kernel spreads datagrams by their senders, not by names", name=name)

    # start and stop

    def load(self) -> None:
        """Start every worker and wait until it has loaded its code; it does nothing before we start."""
        for place in self._places:
            place.slot.start()
        self._loaded = True
        end = self.reactor.seconds() + _LOADING_S
        for place in self._places:
            place.wait_loaded(max(0.0, end - self.reactor.seconds()))

    def take_over(self, inherited: Inheritance) -> None:
        """Go on with what a former process left; before the start."""
        self.inherited = inherited
        for listener in self._listeners:
            listener.inherited = inherited.socket("listener", str(listener.name))

    def startService(self) -> None:
        """Bind the datagram sockets and start every worker; raises OSError."""
        super().startService()
        self._datagram_sockets()
        for each in self.config.destinations:
            self._places[0].chunks += self.inherited.take("chunk", spool_folder(each.name, each.protocol))
        for place in self._places:
            if self._loaded:
                place.begin()
            else:
                place.slot.start()
        self._waiting.extend(thing for door in self.config.listeners for thing in self._left_connections(door))
        for thing in self.inherited.close():
            self._log.warn("{kind} {key} of the former process is closed", kind=thing.kind, key=thing.key)
        self._give_waiting()

    def _left_connections(self, door: Any) -> list[Passed]:
        return self.inherited.take("connection", door_name(door))

    def begun(self, place: _Place) -> None:
        """A worker's process is there: tell it what to do."""
        if place.link is not None:
            config = msgspec.to_builtins(worker_config(self.config, place.number))
            workers, directory = len(self._places), self.config.spool.directory
            orphans = orphaned(directory, workers) if place.number == 0 else []
            chunks, place.chunks = [msgspec.to_builtins(chunk) for chunk in place.chunks], []
            begun = place.link.call("begin", {"config": config, "orphans": orphans, "chunks": chunks})
            begun.addCallbacks(lambda _: self._is_ready(place), lambda failure: self._not_begun(place, chunks, failure))
        self._account.count("workers_started")

    def _not_begun(self, place: _Place, chunks: list[Any], failure: Any) -> None:
        """Let the next worker at this place try again, after the delay of those that die young."""
        self._log.error("worker {number} does not begin: {why}", number=place.number, why=failure.getErrorMessage())
        place.chunks += [msgspec.convert(chunk, Passed) for chunk in chunks]
        if place.link is not None:
            place.link.leave()

    def _is_ready(self, place: _Place) -> None:
        place.ready = True
        self._give_waiting()

    def stopService(self) -> Deferred[Any]:
        """Stop every worker in order; fires when all are gone."""
        super().stopService()
        if self._again is not None and self._again.active():
            self._again.cancel()
        stopped = DeferredList([self._stopped(place) for place in self._places])

        def close(_: object) -> None:
            for place in self._places:
                for _name, bound in place.sockets:
                    bound.close()

        return stopped.addCallback(close)

    def _stopped(self, place: _Place) -> Deferred[Any]:
        if place.link is None:
            return place.slot.stop()
        if not self._passing:
            return place.link.call("stop").addBoth(lambda _: place.slot.stop())

        def passed(_: object) -> None:
            """It has written everything: nobody waits until its process has ended."""
            place.finish_collecting()
            place.slot.stop()

        return place.link.call("pass_on").addBoth(passed)

    def passable_at(self, latest: float) -> float:  # noqa: ARG002 (no part of several processes has intervals)
        """Return when all may be passed on: now."""
        return float(self.reactor.seconds())

    def drain(self, most_s: float) -> Deferred[Any]:
        """Let connections end that cannot be passed on, while nobody is let in where they come from."""
        return self._balance.stopService().addCallback(lambda _: self._drained(most_s))

    def _drained(self, most_s: float) -> Deferred[Any]:
        drained = {door_name(door) for door in self.config.listeners if is_drained(door)}
        for listener in self._listeners:
            if listener.name in drained:
                self._early += listener.pass_on()
        asked = DeferredList([door.drain(stays=False) for door in self._sites.values()])
        return DeferredList([self._collected("drain", most_s), within(self.reactor, most_s, asked)])

    def pass_on(self) -> list[Passed]:
        """Give the sockets away; the workers give their connections back when the service stops."""
        self._passing = True
        found, self._early = self._early, []
        found += [thing for listener in self._listeners for thing in listener.pass_on()]
        for place in self._places:
            place.collect(self._left)
            found += [Passed(kind="datagrams", key=key, fd=os.dup(bound.fileno())) for key, bound in place.sockets]
        return found

    def remains(self) -> list[Passed]:
        """Return what the workers gave back."""
        chunks = [chunk for place in self._places for chunk in place.chunks]
        return [*self._waiting, *self._left, *chunks]

    # connections

    def _give(self, passed: Passed) -> None:
        self._waiting.append(passed)
        self._give_waiting()

    def _move(self, source: int, targets: dict[int, int]) -> Deferred[Any]:
        """Let connections go from one worker to others, by their numbers there."""

        def give(found: list[tuple[int, Passed]]) -> None:
            for number, passed in found:
                self._account.count("connections_moved")
                target = targets.get(number)
                if target is None or not self._places[target].give(passed):
                    self._give(passed)

        return self._places[source].let_go(list(targets)).addCallback(give)

    def _give_waiting(self) -> None:
        while self._waiting and self.running:
            order = sorted(self._places, key=lambda place: place.open)
            if not any(place.give(self._waiting[0]) for place in order):
                self._try_again()
                break
            self._waiting.popleft()
            self._account.count("connections_given")
        self._settle_limit()

    def _settle_limit(self) -> None:
        """Accept nothing from when too many connections wait for a worker until none does."""
        if not self._waiting or len(self._waiting) >= _MOST_WAITING:
            self._crowded = bool(self._waiting)
        most = 0 if self._crowded else self.config.limits.max_connections
        if most != self._limit.most:
            self._limit.most = most

    def _try_again(self) -> None:
        if self._again is None and any(place.ready for place in self._places):
            self._again = self.reactor.callLater(_AGAIN_S, self._give_again)

    def _give_again(self) -> None:
        self._again = None
        self._give_waiting()

    def count_connections(self) -> None:
        """Let the bound of connections see what all workers have."""
        total = sum(place.open for place in self._places)
        while self._limit.open < total:
            self._limit.opened()
        while self._limit.open > total:
            self._limit.closed()

    # what the composition root asks of a daemon

    def change(self, new: Config) -> None:
        """Tell every worker to run on with `new`."""
        self.config = new
        self._settle_limit()
        for place in self._places:
            if place.link is not None:
                place.link.tell("reload", msgspec.to_builtins(worker_config(new, place.number)))

    def stop_changing(self) -> None:
        """Nothing is prepared here."""

    def leave(self) -> None:
        """Let no worker wait for what is slow."""
        for place in self._places:
            if place.link is not None:
                place.link.tell("leave")

    def fail(self, text: str) -> None:
        """Give up, telling people why."""
        self.on_fault(text)

    def ledger(self) -> Deferred[list[dict[str, Any]]]:
        """Return the added books of all workers."""
        return self._asked("ledger").addCallback(
            lambda ledgers: added_ledgers([*(found for found in ledgers if found), self.telemetry.ledger()])
        )

    def status(self) -> Deferred[dict[str, Any]]:
        """Return the state of all processes as plain values."""

        def told(found: list[Any]) -> dict[str, Any]:
            return {
                "program": self.config.program,
                "instance": self.config.instance,
                **process_facts(),
                "ready": all(one is not None and one["ready"] for one in found),
                "waits": [wait for one in found if one for wait in one["waits"]],
                "workers": found,
            }

        return self._asked("status").addCallback(told)

    def waits(self) -> Deferred[list[str]]:
        """Return what is still waited for."""
        return self._asked("waits").addCallback(
            lambda found: [wait for one in found for wait in (["a worker is starting"] if one is None else one)]
        )

    def ask(self, worker: int, method: str, *arguments: object) -> Deferred[Any]:
        """Ask one worker for what its pages for operators would answer; fails with CadtwistError."""
        place = self._places[worker] if 0 <= worker < len(self._places) else None
        if place is None or place.link is None:
            return fail(CadtwistError(f"there is no worker {worker}"))
        return place.link.call("ops", [method, arguments])

    def ask_all(self, method: str, *arguments: object) -> Deferred[list[Any]]:
        """Ask every worker the same; None for one that does not answer."""
        return self._collected("ops", [method, arguments])

    def _asked(self, topic: str) -> Deferred[list[Any]]:
        """Ask every worker; None for one that does not answer."""
        return self._collected("report", topic)

    def _collected(self, method: str, value: object) -> Deferred[list[Any]]:
        asked = [
            place.link.call(method, value).addErrback(lambda _: None) if place.link is not None else succeed(None)
            for place in self._places
        ]
        return DeferredList(asked).addCallback(lambda found: [value for _, value in found])
