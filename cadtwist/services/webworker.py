"""Web processes: they render, while the owner of the metrics goes on ingesting.

`python -m cadtwist.services.webworker` is such a process.  It finds its listening sockets at the descriptors that its
configuration names (the first at 3), and at descriptor 4 a socket to the owner, who sends the configuration first.  It
keeps no state, and ends when the owner does.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IReactorProcess
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver
from twisted.python.failure import Failure

from cadtwist.config.model import ClusterConfig, StorageConfig, WebConfig
from cadtwist.interfaces import IStore
from cadtwist.kernels import active
from cadtwist.net.directsocket import DirectServer, DirectSocket
from cadtwist.net.listeners import bind_tcp
from cadtwist.query.find import FindLimits
from cadtwist.query.near import NearPoints
from cadtwist.query.owner import IOwner, NoMetrics, QueryLimits
from cadtwist.services.clusterparts import ClusterService, Tally, cluster_of
from cadtwist.services.footprint import give_back_files
from cadtwist.services.httpdoors import HttpDoor
from cadtwist.services.passing import DRAIN_S, within
from cadtwist.services.resolve import OwnerSide, RemoteOwner
from cadtwist.services.sharedcount import SharedCount, shared_numbers
from cadtwist.services.slots import ChildProcess, Slot, child_environment
from cadtwist.services.stores import reading_store
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.telemetry import Telemetry
from cadtwist.web.answers import CrossOrigin
from cadtwist.web.context import WebContext
from cadtwist.web.gatekeeper import Gatekeeper
from cadtwist.web.resultcache import ResultCache
from cadtwist.web.site import ApiSite
from cadtwist.web.visits import COUNTED, HTTP_ACCOUNT, Visits

__all__ = [
    "WebWorkers",
    "WorkerConfig",
    "counted_for_readers",
    "end_in_order",
    "listening_socket",
    "main",
    "query_limits",
    "reporting_site",
    "web_context",
    "web_site",
]

OWNER_FD = 4
_FIRST_LISTENER_FD = 3
_BACKLOG = 1024
_LOOK_AGAIN_S = 0.00005
_SILENT_S = 0.2


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner tells a new web process: `listeners` are (descriptor, address family).

    `changes` is the descriptor behind which the owner counts names that come and go, and points that come; `points`
    that behind which they are.
    """

    listeners: tuple[tuple[int, int], ...]
    changes: int | None = None
    points: int | None = None
    storage: StorageConfig
    web: WebConfig
    cluster: ClusterConfig = ClusterConfig()


def listening_socket(interface: str, port: int) -> socket.socket:
    """Return a listening TCP socket for web processes to accept from; OSError when the address is taken."""
    door = bind_tcp(interface, port)
    door.listen(_BACKLOG)
    return door


def query_limits(web: WebConfig) -> QueryLimits:
    """Return the budgets of a request."""
    return QueryLimits(series=web.max_series, points=web.max_points, seconds=web.max_seconds, find=FindLimits())


def counted_for_readers(telemetry: Telemetry) -> Callable[[str, int], None]:
    """Return what counts for web processes: requests, and what the cluster does."""

    def count(what: str, amount: int) -> None:
        account, what = (HTTP_ACCOUNT, what.removeprefix(COUNTED)) if what.startswith(COUNTED) else ("cluster", what)
        telemetry.account(account).count(what, amount)

    return count


def web_site(
    reactor: Any, owner: IOwner, store: IStore, web: WebConfig, inline: bool, cluster: ClusterService | None = None,
    count: Callable[[str, int], object] | None = None,
) -> ApiSite:  # fmt: skip
    """Return the HTTP interface; `inline` in the owner's process, where a long render must let others run.

    `count(what, amount)` counts requests; None: the owner does.
    """
    context = web_context(reactor, owner, store, web, inline)
    if count is not None:
        context = replace(context, visits=Visits(count, web.log_requests, web.slow_s))
    if cluster is not None:
        context = replace(context, cluster=cluster.cluster)
    return ApiSite(context, web.max_request_bytes, reactor, web.cadent_path, web.url_prefix)


def web_context(
    reactor: Any, owner: IOwner, store: IStore, web: WebConfig, inline: bool, clock: Callable[[], float] = time.time
) -> WebContext:
    """Return what its doors need."""
    return WebContext(
        owner=owner,
        store=store,
        clock=clock,
        limits=query_limits(web),
        cross_origin=CrossOrigin(tuple(web.cors_origins)),
        pause=(lambda: _next_turn(reactor)) if inline else (lambda: None),
        cached_s=web.cache_s,
        finds=ResultCache(web.find_cache_bytes),
        renders=ResultCache(web.render_cache_bytes),
        visits=Visits(lambda what, amount: owner.tell({what: amount}), web.log_requests, web.slow_s),
        gatekeeper=Gatekeeper(web.users, web.tokens),
        host=socket.gethostname(),
    )


def reporting_site(reactor: Any, reports: dict[str, Callable[[], object]], web: WebConfig) -> ApiSite:
    """Return the HTTP interface of a process without metrics of its own: it answers what `reports` tell."""
    return web_site(reactor, NoMetrics(reports), MemoryStore(SchemaTable()), web, inline=True)


def _next_turn(reactor: Any) -> Deferred[None]:
    turn: Deferred[None] = Deferred()
    reactor.callLater(0, turn.callback, None)
    return turn


class WebWorkers(Service):
    """Keeps `web.workers` processes that share the listening sockets `doors`; reactor thread.

    One that dies is started again, after a delay that grows while they die young.  `stopService` ends them all: they
    leave when their socket to us closes, and are killed if they do not.
    """

    name = "web workers"

    def __init__(
        self,
        reactor: IReactorProcess,
        doors: Sequence[socket.socket],
        owner: Any,
        web: WebConfig,
        storage: StorageConfig,
        cluster: ClusterConfig | None = None,
        command: Sequence[str] = (sys.executable, "-m", "cadtwist.services.webworker"),
        changes: SharedCount | None = None,
    ) -> None:
        self._reactor: Any = reactor
        self._doors = list(doors)
        self._owner = owner
        self._web = web
        self._storage = storage
        self._cluster = cluster or ClusterConfig()
        self._command = list(command)
        self._changes = changes
        self._slots: list[Slot] = []
        self._sides: dict[int, OwnerSide] = {}
        self._drained: Deferred[Any] | None = None

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers that run."""
        return [slot.pid for slot in self._slots if slot.pid]

    def startService(self) -> None:
        """Start every worker."""
        super().startService()
        places = range(max(self._web.workers, 1))
        self._slots = [Slot(self._reactor, partial(self._spawn, place), "web process") for place in places]
        for slot in self._slots:
            slot.start()

    def drain(self, most_s: float) -> Deferred[Any]:
        """Let no worker take requests any more; fires when all are answered, after `most_s` at most."""
        if self._drained is None:
            asked = DeferredList([side.end() for side in self._sides.values()])
            self._drained = within(self._reactor, most_s, asked)
        drained: Deferred[Any] = Deferred()
        self._drained.addBoth(lambda _: drained.callback(None))
        return drained

    def stopService(self) -> Deferred[Any]:
        """End every worker, when it has answered; fires when all are gone and the doors are closed."""
        super().stopService()

        def end(_: object) -> Deferred[Any]:
            ended = DeferredList([slot.stop() for slot in self._slots])
            for door in self._doors:
                door.close()
            return ended

        return self.drain(DRAIN_S).addCallback(end)

    def _spawn(self, number: int, worker: ChildProcess) -> Any:
        ours, theirs = socket.socketpair()
        descriptors = [_FIRST_LISTENER_FD, *range(OWNER_FD + 1, OWNER_FD + len(self._doors))]
        listeners = tuple((fd, int(door.family)) for fd, door in zip(descriptors, self._doors, strict=False))
        behind = OWNER_FD + max(len(self._doors), 1)
        shared = dict[str, int]()
        if self._changes is not None:
            shared["changes"] = self._changes.fileno()
            if self._changes.points_fd is not None:
                shared["points"] = self._changes.points_fd
        places = {what: behind + place for place, what in enumerate(shared)}
        config = WorkerConfig(
            listeners=listeners, **places, storage=self._storage, web=self._web, cluster=self._cluster
        )
        children: dict[int, Any] = {0: "w", 1: "r", 2: "r", OWNER_FD: theirs.fileno()}
        children.update({fd: door.fileno() for (fd, _), door in zip(listeners, self._doors, strict=True)})
        children.update({places[what]: descriptor for what, descriptor in shared.items()})
        side = OwnerSide(self._owner, msgspec.msgpack.encode(config))
        DirectSocket(self._reactor, ours, side)
        worker.link = self._sides[number] = side
        process = self._reactor.spawnProcess(
            worker, self._command[0], self._command, env=child_environment(), childFDs=children
        )
        theirs.close()
        return process


def _serve(reactor: Any, owner: RemoteOwner, greeting: bytes) -> None:
    config = msgspec.msgpack.decode(greeting, type=WorkerConfig)
    owner.patience_s = config.web.find_timeout_s
    if config.changes is not None:
        owner.changes = shared_numbers(config.changes)
        os.close(config.changes)
    if config.points is not None:
        owner.near = _near_points(config.points, config.web)
        os.close(config.points)
    tally = Tally(reactor, partial(_tell, owner))
    cluster = cluster_of(reactor, config.cluster, time.time, tally.count)
    if cluster is not None:
        cluster.startService()
    store = reading_store(config.storage)
    site = web_site(reactor, owner, store, config.web, inline=False, cluster=cluster, count=tally.count)
    door = HttpDoor(site, reactor, direct=True)
    ports = []
    gc.collect()
    gc.freeze()  # what is there now stays, and need not be looked at again
    give_back_files()
    for fd, family in config.listeners:
        port = reactor.adoptStreamPort(fd, family, door)
        port.transport = DirectServer
        ports.append(port)
        os.close(fd)
    owner.end = partial(end_in_order, reactor, door, ports)


def end_in_order(reactor: Any, door: HttpDoor, ports: Sequence[Any]) -> Deferred[None]:
    """Accept nobody else, and answer what is asked; who asks nothing for a moment is closed in order.

    The Deferred fires when no connection is left.
    """
    for port in ports:
        port.stopListening()
    answered = door.drain(stays=False)
    reactor.callLater(_SILENT_S, door.close_idle)
    return answered


def _near_points(descriptor: int, web: WebConfig) -> NearPoints | None:
    try:
        points = active.hotpoints.SharedPoints(descriptor, lambda: time.sleep(_LOOK_AGAIN_S))
    except (OSError, ValueError) as error:
        Logger().warn("The owner is asked for each point in memory: {error}", error=error)
        return None
    return NearPoints(points.peek_within, lambda: points.points, query_limits(web))


def _tell(owner: RemoteOwner, counts: dict[str, int]) -> None:
    maybeDeferred(owner.tell, counts).addErrback(lambda _: None)  # an owner that is gone counts no more


def main(reactor: Any) -> None:
    """Be a web process until the owner goes."""
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    owner = RemoteOwner(reactor)
    reactor.callWhenRunning(lambda: DirectSocket(reactor, socket.socket(fileno=OWNER_FD), owner))
    owner.greeted.addCallback(lambda greeting: _serve(reactor, owner, greeting))
    owner.greeted.addErrback(lambda failure: _fail(reactor, failure))
    owner.gone.addCallback(lambda _: reactor.callLater(0, reactor.stop))
    reactor.run(installSignalHandlers=False)


def _fail(reactor: Any, failure: Failure) -> None:
    Logger().failure("Starting to serve", failure)
    reactor.callLater(0, reactor.stop)


if __name__ == "__main__":
    from twisted.internet import reactor as default_reactor

    main(default_reactor)
