"""The part of the graph that sends datapoints on: destinations with their queues, and who of them is alive.

::

    router -> destination (queue: memory, then spool) -> connections
    health -> which destinations are alive -> the routers' tables
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from cadtwist.config.model import Config
from cadtwist.config.relaymodel import DestinationConfig, DestinationProtocol, GroupConfig, RelayConfig
from cadtwist.flow import Gate
from cadtwist.journal.backlog import Backlog, SpoolBudget
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.net.client import Retry
from cadtwist.net.destination import STOPPED, Destination, DestinationOptions, RatioReset
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.net.tls import client_context
from cadtwist.routing.routers import Router, ShardRouter
from cadtwist.routing.stage import RouterStage, Sent, Taker
from cadtwist.services.chains import group_label
from cadtwist.services.footprint import EBB_S, Ebb
from cadtwist.services.health import RelayHealth
from cadtwist.services.orphans import Orphans, former_folders, spool_folder
from cadtwist.services.relaystatus import StatusAnswers
from cadtwist.services.routers import refusal
from cadtwist.services.sequence import Every
from cadtwist.services.space import Space
from cadtwist.services.syncer import Syncer
from cadtwist.telemetry import Account, Telemetry

__all__ = ["DestinationFigures", "RelayGraph", "destination_options", "limits_of"]

_LOADS_S = 0.25


def limits_of(config: DestinationConfig) -> QueueLimits:
    """Return the bounds of a destination's queue."""
    queue = config.queue
    once = config.transport == "udp"
    return QueueLimits(
        queue.max_points,
        queue.max_bytes,
        queue.policy,
        queue.low_watermark,
        queue.hard_share,
        queue.spool_bytes,
        0.0 if once else queue.resend_window_s,
        0 if once else queue.resend_window_bytes,
        queue.replay_bytes_per_s,
        queue.resend_window_in == "file",
    )


def destination_options(config: DestinationConfig, metric_s: float) -> DestinationOptions:
    """Return how a destination is reached; `metric_s` is the interval of own metrics, in which ratios are looked at."""
    retry, ratio, queue = config.reconnect, config.ratio_reset, config.queue
    return DestinationOptions(
        transport=config.transport,
        host=config.host,
        port=config.port,
        path=config.path,
        divisible=config.protocol == "line",
        connections=config.connections,
        datagram_bytes=config.datagram_bytes,
        cork=config.cork,
        unanswered_s=retry.unanswered_s,
        recycle_s=config.recycle_s,
        reconnect_share=queue.reconnect_share,
        defer_s=queue.defer_s,
        drain_s=queue.drain_s,
        limits=limits_of(config),
        retry=Retry(retry.initial_s, retry.factor, retry.max_s, retry.jitter, retry.timeout_s),
        ratio_reset=RatioReset(ratio.min_points, ratio.ratio, ratio.interval_s, metric_s) if ratio.enabled else None,
    )


class DestinationFigures:
    """What carbon tells of a destination, read off it; the maxima are those since the last reading."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def figures(self) -> dict[str, float]:
        """Return counters since the start and maxima since the last call."""
        account = self._destination.account
        counters = account.counters
        most_queued, most_until_ready = self._destination.take_peaks()
        resets = self._destination.options.ratio_reset is not None
        return {
            **({"slow_connection_resets": counters.get("slow_resets", 0)} if resets else {}),
            "attempted": account.received,
            "sent": counters.get("sent", 0),
            "batches": counters.get("batches", 0),
            "full_queue_drops": sum(n for why, n in account.dropped.items() if why.startswith("queue_full")),
            "queued_until_connected": counters.get("queued_until_connected", 0),
            "most_queued": most_queued,
            "most_queued_until_ready": most_until_ready,
        }


class _Former(NamedTuple):
    """A destination that another one of its name replaces, and the form of what it has."""

    name: str
    destination: Destination
    protocol: DestinationProtocol


class RelayGraph:
    """Destinations by name, made of a Config.  Reactor thread.

    A reload keeps a destination with its queue as long as its address stays.  One whose address changes gets a
    successor, which the next routers know; `chains_replaced` closes it then, and what it had goes to the successor,
    unless that has another protocol.  Those that are wanted no more send what they have; a stop waits for them.
    `inherited` has what waited in the memory of a former process; `orphans` are folders of spools that nobody uses any
    more.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        telemetry: Telemetry,
        gate: Gate,
        inherited: Inheritance,
        orphans: Sequence[str] = (),
    ) -> None:
        self.reactor = reactor
        self.config = config
        self.telemetry = telemetry
        self._gate = gate
        self._inherited = inherited
        self._orphans = orphans
        self._budget = SpoolBudget(config.spool.max_bytes)
        self._configs = {each.name: each for each in config.destinations}
        self._backlogs: dict[str, Backlog] = {}
        self._stages: list[tuple[GroupConfig, RouterStage, Account]] = []
        self._replaced: list[_Former] = []
        self._ending: list[Destination] = []
        self._moving: list[Orphans] = []
        self._down: set[str] = set()
        self._former: dict[str, Sent] = {}
        self._former_shards: dict[str, Counter[int]] = {}
        self._ring = [each.name for each in config.destinations]
        self._answers = StatusAnswers(config, telemetry)
        self.health = RelayHealth(reactor, config, telemetry, self.health_changed)
        self._left: list[Passed] = []
        self._running = False
        self._leaving = False
        self.destinations: dict[str, Destination] = {}
        self._former_folders = [
            (each.name, folder)
            for each in config.destinations
            for folder in former_folders(config.spool.directory, spool_folder(each.name, each.protocol))
        ]
        self._generation = max((int(folder.rpartition("~")[2]) for _, folder in self._former_folders), default=0)
        for each in config.destinations:
            self.destinations[each.name] = self._made(each)

    # destinations

    def _made(self, config: DestinationConfig) -> Destination:
        backlog = self._backlog(config)
        tls = None
        if config.tls is not None:
            given = config.tls
            tls = client_context(config.host, given.authority, given.certificate, given.key, given.verify)
        account = self.telemetry.account(self._label(config))
        options = destination_options(config, self.config.self_metrics.interval_s or 60.0)
        made = Destination(self.reactor, config.name, options, account, self._gate, backlog, self._budget, tls)
        made.listen(self._changed)
        return made

    def _label(self, config: DestinationConfig) -> str:
        """Return the name of a destination's account: not that of a former one, which still has what it will send."""
        going = {old.account.name for old in self._going()}
        label, at = f"destination {config.name}", f"destination {config.name} at {config.address}"
        labels = (label, at, *(f"{at} ({number})" for number in range(2, len(going) + 2)))
        return next(each for each in labels if each not in going)

    def _going(self) -> list[Destination]:
        """Return the destinations that are on their way out, or will be once nobody sends to them."""
        return [*self._ending, *(former.destination for former in self._replaced)]

    def _backlog(self, config: DestinationConfig) -> Backlog | None:
        if not config.queue.spool_bytes:
            return None
        spool = self.config.spool
        own = spool_folder(config.name, config.protocol)
        self._look_for_other_forms(config)
        leaving = [old.spool.backlog for old in self._going()]
        if own in {os.path.basename(each.folder) for each in leaving if each is not None}:
            self._generation += 1
            own = f"{own}~{self._generation}"
        found = self._backlogs[config.name] = Backlog(os.path.join(spool.directory, own), spool.segment_bytes)
        return found

    def _look_for_other_forms(self, config: DestinationConfig) -> None:
        """Tell of spools that hold what a destination took when it had another protocol: it would not understand it."""
        for protocol in get_args(DestinationProtocol):
            folder = os.path.join(self.config.spool.directory, spool_folder(config.name, protocol))
            if protocol != config.protocol and os.path.isdir(folder):
                text = "{folder} may hold {protocol} for {name}, which stays there until it takes such again"
                self._log.warn(text, folder=folder, protocol=protocol, name=config.name)

    def services(self) -> list[IService]:
        """Return what runs before the doors open: destinations, the sync of their spools, who is alive."""
        found: list[IService] = [_Running(self), self.health]
        if self._backlogs:
            account = self.telemetry.account("spool sync")
            found.append(Syncer(self.reactor, self._sync, self.config.spool.sync_s, account))
        if self._orphans:
            folders = {name: spool_folder(name, self._configs[name].protocol) for name in self.destinations}
            account = self.telemetry.account("orphaned spools")
            found.append(Orphans(self.reactor, self._orphans, folders, self.destinations, account, all_former=True))
        for name, folder in self._former_folders:
            account, directory = self.telemetry.account("orphaned spools"), self.config.spool.directory
            found.append(Orphans(self.reactor, [directory], {name: folder}, self.destinations, account))
        found.append(Every("loads", self.reactor, _LOADS_S, lambda _: self._settle_loads()))
        ebb = Ebb(self.memory_bytes)
        found.append(Every("ebb", self.reactor, EBB_S, lambda _: ebb.look()))
        return found

    def start(self) -> None:
        """Connect to everybody; what a former process had in memory goes first."""
        self._running = True
        for name, destination in self.destinations.items():
            self._begin(name, destination)

    def _begin(self, name: str, destination: Destination) -> None:
        key = spool_folder(name, self._configs[name].protocol)
        left = [(chunk.data, chunk.points) for chunk in self._inherited.take("chunk", key)]
        if left:
            destination.adopt(left)
        destination.start()

    def stop(self) -> Deferred[Any]:
        """Send what waits for as long as each destination's patience, then leave it in the spools."""
        self._running = False
        for mover in self._moving:
            mover.stopService()
        ended: list[Deferred[Any]] = [old.close() for old in list(self._ending)]
        for name, old, protocol in self._replaced:
            leaves = self._leaving and self._heir(name, protocol) is not None
            ended.append(old.leave().addCallback(partial(self._inherit, name, protocol)) if leaves else old.close(0.0))
        patience_s = self.config.processes.handover_drain_s
        for name, destination in self.destinations.items():
            if self._leaving:
                leaving = destination.leave(patience_s if destination.connected else 0.0)
                protocol = self._configs[name].protocol
                ended.append(leaving.addCallback(partial(self._inherit, name, protocol)))
            else:
                ended.append(destination.close())
        return DeferredList(ended)

    def _inherit(self, name: str, protocol: DestinationProtocol, left: list[tuple[bytes, int]]) -> None:
        key = spool_folder(name, protocol)
        self._left += [Passed(kind="chunk", key=key, data=chunk, points=points) for chunk, points in left]

    def leave(self) -> None:
        """Do not wait for destinations when stopping: what waits stays in the spools, or is passed on."""
        self._leaving = True

    def remains(self) -> list[Passed]:
        """Return what waited in memory for destinations without a spool, after the stop."""
        return self._left

    def _sync(self) -> None:
        """Bring all spools to the disk; in a thread of its own."""
        for backlog in list(self._backlogs.values()):
            backlog.sync()

    # routing

    def make_router(self, group: GroupConfig, router: Router, space: Space, account: Account) -> RouterStage:
        """Return the last stage of a group, over the destinations of its members."""
        stage = RouterStage(
            router,
            {name: self._taker(name) for name in dict.fromkeys(group.members)},
            space.table,
            account,
            refuse=refusal(group, self._configs, space.name),
            label=router.shard if isinstance(router, ShardRouter) and router.targets else None,
            prefix=group.prefix.encode(),
            suffix=group.suffix.encode(),
            hold=group.down_policy == "keep",
        )
        self._stages.append((group, stage, account))
        self._settle(group, stage)
        return stage

    def _taker(self, name: str) -> Taker:
        config = self._configs[name]
        return Taker(self.destinations[name], config.protocol, config.crlf, config.queue.message_points)

    def settle(self) -> None:
        """Tell every router who is alive now."""
        for group, stage, _account in self._stages:
            self._settle(group, stage)

    def _settle(self, group: GroupConfig, stage: RouterStage) -> None:
        stage.settle(self._live(group), self._loads(group))

    def _live(self, group: GroupConfig) -> Collection[str] | None:
        """Return who of a group gets lines; None: all do, as their queues wait for those who are away."""
        members = dict.fromkeys(group.members)
        if group.dynamic:
            most = group.dynamic_max_retries
            return [name for name in members if self._tries(name) < max(1, most)]
        if group.method in ("failover", "any_of"):
            return [name for name in members if name not in self._down and not self._away(name)]
        if group.down_policy == "remove_node":
            return [name for name in members if name not in self._down]
        return None

    def _tries(self, name: str) -> int:
        """Return how often a destination was tried in vain; as in carbon the loss of a connection is the first time."""
        destination = self.destinations[name]
        lost = not destination.connected and destination.account.counters.get("connects", 0) > 0
        return destination.failed_attempts + lost

    def _away(self, name: str) -> bool:
        """Tell whether somebody else should take over: several attempts to connect have failed."""
        destination = self.destinations[name]
        return not destination.connected and destination.failed_attempts > 0

    def _loads(self, group: GroupConfig) -> Mapping[str, int] | None:
        if not group.pool_replicas:
            return None
        return {name: self.destinations[name].queued_points for name in dict.fromkeys(group.members)}

    def _settle_loads(self) -> None:
        """Let the shortest queues take what comes next, where queues are compared."""
        for group, stage, _account in self._stages:
            if group.pool_replicas:
                self._settle(group, stage)

    def _changed(self, _: Destination) -> None:
        """A destination came, went, or could not be reached."""
        for group, stage, _account in self._stages:
            if group.dynamic or group.method in ("failover", "any_of"):
                self._settle(group, stage)

    def health_changed(self, name: str, alive: bool) -> None:
        """Take note of what health checks found."""
        (self._down.discard if alive else self._down.add)(name)
        if name in self._ring:
            self._ring.remove(name)
        if alive:
            self._ring.append(name)
        self.telemetry.account("relay").count("added_servers" if alive else "removed_servers")
        self.settle()

    # reload

    def change(self, new: Config) -> None:
        """Take the destinations of a reloaded configuration; those that it lacks go when nobody sends to them."""
        self.config = new
        self._budget.max_bytes = new.spool.max_bytes
        for config in new.destinations:
            old, self._configs[config.name] = self._configs.get(config.name), config
            present = self.destinations.get(config.name)
            options = destination_options(config, new.self_metrics.interval_s or 60.0)
            if present is not None and old is not None:
                if (old.protocol, old.tls) == (config.protocol, config.tls) and present.update(options):
                    continue
                self._backlogs.pop(config.name, None)
                self._replaced.append(_Former(config.name, present, old.protocol))
            made = self.destinations[config.name] = self._made(config)
            if self._running:
                self._begin(config.name, made)
        names = [each.name for each in new.destinations]
        self._ring = [name for name in self._ring if name in names]
        self._ring += [name for name in names if name not in self._ring and name not in self._down]
        self._answers.config = new
        self.health.change(new)

    def chains_replaced(self, stages: Collection[Any]) -> None:
        """Keep only the routers in `stages`, and the destinations of the configuration."""
        for group, stage, account in [held for held in self._stages if held[1] not in stages]:
            self._keep_counts(group, stage, account)
        self._stages = [held for held in self._stages if held[1] in stages]
        replaced, self._replaced = self._replaced, []
        patience_s = self.config.processes.handover_drain_s
        for former in replaced:
            old = former.destination
            if self._heir(former.name, former.protocol) is None:
                self._wait_for(old, old.close())
                continue
            leaving = old.leave(patience_s if old.connected else 0.0)
            leaving.addCallback(partial(self._succeed, former))
            self._wait_for(old, leaving)
        wanted = {config.name for config in self.config.destinations}
        self._down &= wanted
        for name in [name for name in self.destinations if name not in wanted]:
            self._retire(name)
            del self._configs[name]
            self._former.pop(name, None)

    def _keep_counts(self, group: GroupConfig, stage: RouterStage, account: Account) -> None:
        """Keep what a stage that goes has counted."""
        for name, sent in stage.sent.items():
            kept = self._former.setdefault(name, Sent())
            kept.lines += sent.lines
            kept.bytes += sent.bytes
        if group.method == "shards":
            shards = self._former_shards.setdefault(account.name, Counter())
            shards.update(stage.lines_by_label())

    def _heir(self, name: str, protocol: DestinationProtocol) -> Destination | None:
        """Return who goes on with what a former destination had: nobody that takes another form."""
        config = self._configs.get(name)
        return self.destinations.get(name) if config is not None and config.protocol == protocol else None

    def _succeed(self, former: _Former, left: list[tuple[bytes, int]]) -> None:
        """Give what a destination of a former address had to the present one of that name, or to the next process.

        What is on the disk stays there if nobody is to have it now: the next start finds it.
        """
        name, old, protocol = former
        present, backlog = self._heir(name, protocol), old.spool.backlog
        if self._leaving:
            self._inherit(name, protocol, left)
        elif present is not None:
            present.adopt(left)
        else:
            lost = self.telemetry.account(f"destination {name}")
            lost.received += sum(points for _, points in left)
            lost.drop(STOPPED, sum(points for _, points in left))
        if backlog is not None and present is not None and self._running:
            folder, own = os.path.split(backlog.folder)
            account = self.telemetry.account("orphaned spools")
            mover = Orphans(self.reactor, [folder], {name: own}, self.destinations, account)
            self._moving.append(mover)
            mover.startService()

    def _retire(self, name: str) -> None:
        """Let a destination send what it has, without anybody waiting for it."""
        old = self.destinations.pop(name)
        self._backlogs.pop(name, None)
        self._log.info("destination {name} is no longer wanted", name=name)
        self._wait_for(old, old.close())

    def _wait_for(self, old: Destination, closed: Deferred[Any]) -> None:
        """Keep in mind that a destination is on its way out, until it has gone."""
        self._ending.append(old)
        closed.addBoth(lambda _: self._ending.remove(old))

    # what others ask

    def figures(self) -> dict[str, DestinationFigures]:
        """Return carbon's figures by the part of a metric's name that stands for a destination."""
        return {
            f"{config.host}:{config.port}:{config.instance}".replace(".", "_"): DestinationFigures(
                self.destinations[name]
            )
            for name, config in self._configs.items()
            if name in self.destinations
        }

    def memory_bytes(self) -> int:
        """Return the bytes that wait in memory, or are kept there to be sent again."""
        return sum(each.spool.memory_bytes for each in self.destinations.values())

    def answer(self, command: bytes) -> bytes:
        """Answer a command of statsrelay: for the first relay, which in its dialect is the only one."""
        return self._answers.answer(command, self)

    def health_lines(self) -> list[bytes]:
        """Return statsrelay's own metrics; some counters begin anew."""
        return self._answers.health_lines(self)

    def stages_of(self, relay: RelayConfig) -> list[tuple[GroupConfig, RouterStage, Account]]:
        """Return the last stages of a relay's groups, in order."""
        names = [f"router {group_label(relay, number)}" for number in range(len(relay.groups))]
        found = [next((held for held in self._stages if held[2].name == name), None) for name in names]
        return [held for held in found if held is not None]

    def sent(self, name: str) -> Sent:
        """Return what a destination was given since the start, whatever reloads there were."""
        found = [stage.sent[name] for _, stage, _ in self._stages if name in stage.sent]
        found += [self._former[name]] if name in self._former else []
        return Sent(sum(each.lines for each in found), sum(each.bytes for each in found))

    def lines_by_shard(self, group: GroupConfig, stage: RouterStage, account: Account) -> list[int]:
        """Return the lines of each virtual shard of a group since the start, or since its map has another size."""
        counts, former = stage.lines_by_label(), self._former_shards.get(account.name, Counter())
        return [counts.get(shard, 0) + former[shard] for shard in range(len(group.members))]

    def live(self, group: GroupConfig) -> list[str]:
        """Return the members of a group that may get lines."""
        live = self._live(group)
        return [name for name in dict.fromkeys(group.members) if live is None or name in live]

    @property
    def ring(self) -> list[str]:
        """Destinations that are not down, in the order in which they came, or came back."""
        return list(self._ring)

    @property
    def down(self) -> frozenset[str]:
        """Destinations that health checks have found dead."""
        return frozenset(self._down)

    def status(self) -> dict[str, object]:
        """Return the state as plain values."""
        return {
            "destinations": {
                name: {
                    "connected": destination.connected,
                    "failing": destination.failing,
                    "down": name in self._down,
                    "queued_points": destination.queued_points,
                }
                for name, destination in self.destinations.items()
            }
        }


class _Running(Service):
    """Destinations as a service."""

    name = "destinations"

    def __init__(self, graph: RelayGraph) -> None:
        self._graph = graph

    def startService(self) -> None:
        """Connect."""
        super().startService()
        self._graph.start()

    def stopService(self) -> Deferred[Any]:
        """Drain and close."""
        super().stopService()
        return self._graph.stop()
