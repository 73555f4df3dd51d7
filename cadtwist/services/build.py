"""The composition root: a Config becomes a graph of parts, readable on one screen.

::

    doors -> receivers -> chains (stages) -+-> cache   (services/cachegraph)
                                           +-> relays  (services/relaygraph)
    counters of istatd: doors, stages, cache and files of their own  (services/istat)
    timers -> own metrics -> the cache, else the first relay        HTTP -> owner or web processes

A part knows only its next sink.  What only some configurations need (the cache, HTTP) is imported where it is built:
a relay has neither, and would hold tens of MiB for nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from collections.abc import Sequence as TextSequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from twisted.application.service import IService
from twisted.internet.defer import DeferredList
from twisted.internet.task import CooperativeTask, Cooperator, TaskStopped
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure

from cadtwist.config.accumulatormodel import AccumulatorConfig
from cadtwist.config.model import Config, IstatConfig, Listener
from cadtwist.errors import CadtwistError, ConfigError
from cadtwist.flow import Gate
from cadtwist.interfaces import ISink
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.services.admission import Admission
from cadtwist.services.agent import agent_stats, received_points
from cadtwist.services.aggregatorstats import AggregatorStats
from cadtwist.services.chains import GRAPHITE, Chains, space_of, spaces_of, told_to
from cadtwist.services.doors import CacheAnswers, Doors
from cadtwist.services.feedkeeper import FeedKeeper
from cadtwist.services.flushing import Flusher, TimedStage
from cadtwist.services.localstats import LocalStats
from cadtwist.services.logs import CarbonLogs
from cadtwist.services.processfacts import process_facts
from cadtwist.services.receivers import Receivers, door_name
from cadtwist.services.relaygraph import RelayGraph
from cadtwist.services.relaystats import RelayStats
from cadtwist.services.relaytellers import relay_tellers
from cadtwist.services.selfstats import Emitter, Metrics, account_metrics, metric_part
from cadtwist.services.sequence import Every, Sequence, Step
from cadtwist.services.space import Space
from cadtwist.services.stopwatch import Stopwatch
from cadtwist.services.summing import Summing
from cadtwist.services.turn import Turn
from cadtwist.stages.switch import Tee
from cadtwist.telemetry import Telemetry

if TYPE_CHECKING:
    from cadtwist.services.accumulatorapi import AccumulatorApis
    from cadtwist.services.accumulatorwriters import SummaryWriter, Writers
    from cadtwist.services.cachegraph import CacheGraph
    from cadtwist.services.dattss import DattssGraph
    from cadtwist.services.istat import IstatDaemon
    from cadtwist.services.ops import RelayOps
    from cadtwist.services.readgraph import ReadGraph
    from cadtwist.services.statsdpart import StatsdPart
    from cadtwist.services.webworker import WebWorkers

__all__ = ["Daemon"]

SWEEP_S = 1.0
FLOOD_S = 0.1
_OPS = ("ops", "proxyadmin")


class Daemon:
    """All parts of a running process and the service that starts and stops them.  Reactor thread.

    `kept` is the part with the cache, `relayed` the one with destinations, `istat` the one with istatd's counters; each
    may be None.  `ready_waits` names
    what is still waited for: nothing when the daemon is ready.  `inherited` is what a former process has passed on;
    `served`: another process listens for us; `orphans` are folders of spools to take over.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        inherited: Inheritance | None = None,
        served: bool = False,
        orphans: TextSequence[str] = (),
    ) -> None:
        if not (config.cache or config.relays or config.istat or config.dattss or config.storage.read_only):
            text = "there is neither a cache nor a relay nor a counter daemon in this configuration"
            raise ConfigError([f"{config.program}: {text}"])
        self.reactor = reactor
        self.config = config
        self.inherited = inherited or Inheritance()
        self.telemetry = Telemetry()
        self.gate = Gate()
        self.turn = Turn(reactor)
        self.watch = Stopwatch()
        self.on_fault: Callable[[str], object] = self._stop_for
        self.reports: dict[str, Callable[[], object]] = {
            "status": self.status,
            "ledger": self.telemetry.ledger,
            "waits": self.ready_waits,
        }
        self._web_sockets: dict[str, socket.socket] = {}
        self._web_workers: WebWorkers | None = None
        self._priming: CooperativeTask[Any] | None = None
        self.ops: RelayOps | None = None
        self._leaving = False
        self.dattss: DattssGraph | None = None
        self._build_graph(orphans, served)
        self._build_doors(served)
        self.service = self._sequence()

    # the graph

    def _build_graph(self, orphans: TextSequence[str], served: bool) -> None:
        config, telemetry = self.config, self.telemetry
        self.spaces = {kind: Space(kind, config.names.max_bytes, telemetry) for kind in spaces_of(config)}
        self.space = self.spaces[GRAPHITE]
        self.kept: CacheGraph | None = None
        self.read: ReadGraph | None = None
        self.relayed: RelayGraph | None = None
        self.istat: IstatDaemon | None = None
        if config.cache is not None:
            from cadtwist.services.cachegraph import CacheGraph  # noqa: PLC0415 (only where there is a cache)

            self.kept = CacheGraph(self.reactor, config, telemetry, self.gate, self.turn, self.space, self.reports)
        elif config.storage.read_only:
            from cadtwist.services.readgraph import ReadGraph  # noqa: PLC0415 (only where nothing is written)

            self.read = ReadGraph(self.reactor, config, telemetry, self.reports)
        if config.istat is not None:
            self._count(config.istat)
        if config.relays:
            self.relayed = RelayGraph(self.reactor, config, telemetry, self.gate, self.inherited, orphans)
            if served or config.ops.log_stats_s or any(door.protocol in _OPS for door in config.listeners):
                from cadtwist.services.ops import RelayOps  # noqa: PLC0415 (only where somebody may ask)

                self.ops = RelayOps(self, self.relayed)
        self.writing = Sequence()
        self.writing.setName("accumulators' writers")
        self.writers: Writers | None = None
        self._prepare_writers(config)
        self.apis: AccumulatorApis | None = None
        self.api_service = Sequence()
        if config.dattss is not None:
            from cadtwist.services.dattss import DattssGraph  # noqa: PLC0415 (only where it is wanted)

            self.dattss = DattssGraph(self.reactor, config.dattss, telemetry)
        self.statsd: StatsdPart | None = None
        if config.statsd is not None:
            from cadtwist.services.statsdpart import StatsdPart  # noqa: PLC0415 (only where it is wanted)

            self.statsd = StatsdPart(
                self.reactor, config, config.statsd, telemetry, self.space, self.gate, self.turn
            )
        self.chains = self._made_chains(config)
        self.chains.hold()
        self._settle_statsd()
        self.feeds = FeedKeeper(self.reactor, config.wal, self.space, telemetry)
        self.sums = Summing(self.reactor, telemetry, config, lambda: self.chains.accumulators)

    def _count(self, config: IstatConfig) -> None:
        """Make the part that keeps counters; where there are metrics, both are found in one tree."""
        from cadtwist.services.istat import IstatDaemon  # noqa: PLC0415 (only where counters are kept)

        catalog = None if self.kept is None else self.kept.catalog
        self.istat = IstatDaemon(
            self.reactor, config, telemetry=self.telemetry, reports=self.reports, catalog=catalog,
            inherited=self.inherited,
        )  # fmt: skip
        if self.kept is not None:
            self.kept.join(self.istat.api.owner)

    def _made_chains(self, config: Config, before: Chains | None = None) -> Chains:
        cache = None if self.kept is None else self.kept.cache
        make_router = None if self.relayed is None else self.relayed.make_router
        now = self.reactor.seconds
        return Chains(config, self.spaces, cache, make_router, self.telemetry, now, self._writer_of, before)

    def _writer_of(self, accumulator: AccumulatorConfig) -> SummaryWriter | None:
        return None if self.writers is None else self.writers.of(accumulator)

    def _prepare_writers(self, config: Config) -> list[CacheGraph]:
        """Make the writers that accumulators want; return the caches that are new."""
        if not any(each.writer is not None for each in config.accumulators):
            return []
        from cadtwist.services.accumulatorwriters import KINDS, Writers  # noqa: PLC0415 (only where somebody writes)

        def make(driver: str, config: Config, accumulator: AccumulatorConfig) -> SummaryWriter:
            return KINDS[driver](self.reactor, config, accumulator, self.telemetry, self.turn, self.space)

        self.writers = self.writers or Writers(self.writing, make)
        return [writer.graph for writer in self.writers.prepare(config) if writer.graph is not None]

    @property
    def graphs(self) -> list[CacheGraph]:
        """Every cache: the one of the configuration, and those of accumulators' writers."""
        written = [] if self.writers is None else self.writers.graphs
        return [*([] if self.kept is None else [self.kept]), *written]

    def _build_doors(self, served: bool) -> None:
        kept = self.kept
        answers = None if kept is None else CacheAnswers(kept.table, kept.cache, kept.read_store)
        statsrelay = None if self.relayed is None else self.relayed.answer
        self.receivers = Receivers(
            self.reactor, self.config, self.telemetry, self.chains, self.gate, self.turn, statsrelay, self.statsd
        )
        self.doors = Doors(
            self.reactor, self.config, self.telemetry, self.receivers, self.gate, answers, self.inherited, served
        )
        self.emitter = Emitter(self.telemetry.account("own metrics"), self._own_sink(), self.space.table.intern)
        timed = bool(self.config.statsd_emission.server)
        self.turn.add(self.watch.timed(self.receivers.flush) if timed else self.receivers.flush)
        if kept is not None and kept.wal is not None:
            self.turn.add(kept.wal.turn_ended)
        self.turn.add(self.feeds.turn_ended)
        self.turn.add(self.sums.turn_ended)
        spaces = [*self.spaces.values(), *([] if self.statsd is None else [self.statsd.space])]
        for space in spaces:
            self.turn.add(space.keys.turn_ended)
        self._open_apis(self.config)

    def _open_apis(self, config: Config) -> None:
        """Open the doors of accumulators that are wanted, close all others; ConfigError where one cannot be made."""
        if self.apis is None:
            if self.writers is None or not any(each.api is not None for each in config.accumulators):
                return
            from cadtwist.services.accumulatorapi import AccumulatorApis  # noqa: PLC0415 (only where it is wanted)

            self.apis = AccumulatorApis(self.reactor, config.web, self.doors.open, self.writers.graph_of)
            self.apis.service.setServiceParent(self.api_service)
        self.apis.change(config.accumulators)

    def _own_sink(self) -> ISink:
        """Return where own metrics go: the cache, else the first relay of Graphite lines, else nowhere.

        Rules about names and windows are for what comes in.
        """
        if self.kept is not None:
            return self.kept.cache
        for relay in self.config.relays:
            if space_of(relay.lines) == GRAPHITE:
                return self.chains.entry(relay.name)
        return Tee((), self.telemetry.account("nowhere"))

    def _sequence(self) -> Sequence:
        """Return the parts in the order in which they start; they stop in the reverse order."""
        self.tellers = Sequence()
        self._fill_tellers()
        self.flusher = Flusher(self.reactor, self._timed)
        self.turn.add(self.flusher.wake)
        parts: list[IService] = [
            *self._logs(),
            *([] if self.statsd is None else [Step("end of the window log", None, self.statsd.close)]),
            *([] if self.kept is None else self.kept.before_doors()),
            *self._reading_services(),
            *([] if self.kept is None else self.kept.working()),
            *([] if self.read is None else self.read.services()),
            self.writing,
            self.api_service,
            *([] if self.relayed is None else self.relayed.services()),
            *([] if self.istat is None else [self.istat.service]),
            *self._dattss_services(),
            Every("sweep", self.reactor, SWEEP_S, self._sweep),
            *self._feed_services(),
            self.sums,
            *([] if self.statsd is None else self.statsd.services()),
            Step("floods", None, self._finish_floods),
            self.flusher,
            Every("flood windows", self.reactor, FLOOD_S, self._end_flood_windows),
            self.tellers,
            *relay_tellers(self),
            Admission(self),
        ]
        sequence = Sequence()
        for part in parts:
            part.setServiceParent(sequence)
        return sequence

    def _logs(self) -> list[IService]:
        log = self.config.log
        return [CarbonLogs(log.directory, log.rotate, globalLogPublisher)] if log.directory else []

    def _timed(self) -> list[TimedStage]:
        """Return what tells by time, in the order of the data's walk."""
        return [*([] if self.statsd is None or self._leaving else [self.statsd.window]), *self.chains.timed]

    def _settle_statsd(self) -> None:
        """Let statsd's values go where the configuration says."""
        section = self.config.statsd
        if self.statsd is not None and section is not None:
            self.statsd.deliver_to(self.chains.chain(told_to(self.config, section.to)).first)

    def _feed_services(self) -> list[IService]:
        """Return what logs the windows of an aggregator."""
        return [] if self.config.aggregator is None else self.feeds.services(lambda: self.chains.windows)

    def _fill_tellers(self) -> None:
        """Make what tells others of us: own metrics, host statistics, the tag database."""
        poster = None if self.kept is None else self.kept.tag_poster()
        for teller in (poster, *self._timers()):
            if teller is not None:
                teller.setServiceParent(self.tellers)

    def _restart_tellers(self) -> None:
        """Make them anew after a reload; they hold nothing that must be kept."""
        for teller in list(self.tellers):
            teller.disownServiceParent()
        self._fill_tellers()

    def _reading_services(self) -> list[IService]:
        """Return what answers HTTP: web processes behind TCP listeners, this process behind all others."""
        config, kept = self.config, self.kept or self.read
        doors = config.listeners_of("http")
        if not doors:
            return self._ops_services()
        from cadtwist.services import webworker  # noqa: PLC0415 (only where HTTP is spoken)
        from cadtwist.services.clusterparts import cluster_of, others_only  # noqa: PLC0415

        shared = [door for door in doors if kept is not None and config.web.workers and _is_plain(door)]
        services: list[IService] = []
        if kept is not None and shared:
            self._web_sockets = {
                name: self.inherited.socket("listener", name) or webworker.listening_socket(door.interface, door.port)
                for name, door in ((door_name(door), door) for door in shared)
            }
            sockets, others = list(self._web_sockets.values()), others_only(config.cluster, doors)
            self._web_workers = webworker.WebWorkers(
                self.reactor, sockets, kept.owner, config.web, config.storage, others, changes=kept.changed
            )
            services.append(self._web_workers)
        inline = [door for door in doors if door not in shared]
        if inline:
            if kept is None:
                site = webworker.reporting_site(self.reactor, self.reports, config.web)
            else:
                count, others = self.telemetry.account("cluster").count, others_only(config.cluster, doors)
                cluster = cluster_of(self.reactor, others, time.time, count)
                site = webworker.web_site(self.reactor, kept.owner, kept.read_store, config.web, True, cluster)
                services += [] if cluster is None else [cluster]
            services += [self.doors.open(door, site) for door in inline]
        return services + self._ops_services()

    def _ops_services(self) -> list[IService]:
        """Return the pages for operators of a relay, and the management port of statsd's proxy."""
        config, ops, relayed = self.config, self.ops, self.relayed
        if ops is None or relayed is None:
            return []
        from cadtwist.services.ops import ops_site  # noqa: PLC0415 (only where somebody may ask)
        from cadtwist.services.proxyadmin import proxy_admin  # noqa: PLC0415

        site = ops_site(self.reactor, ops, self.reports, config.ops.page_directory)
        admin = proxy_admin(self.reactor, lambda: self.config, self.telemetry, lambda: relayed.ring)
        factories = {"ops": site, "proxyadmin": admin}
        return ops.services() + [
            self.doors.open(door, factories[door.protocol]) for door in config.listeners if door.protocol in factories
        ]

    def _dattss_services(self) -> list[IService]:
        """Return the parts of a DaTtSs server, its doors behind them."""
        if self.dattss is None:
            return []
        parts = self.dattss.services()
        for door in self.config.listeners_of("dattss"):
            if door.transport == "udp":
                parts += self.doors.datagrams(door, self.dattss.datagrams(door_name(door)))
            else:
                parts.append(self.doors.open(door, self.dattss.site))
        return parts

    def _timers(self) -> list[IService]:
        own, local = self.config.self_metrics, self.config.local_stats
        timers: list[IService] = []
        host = own.host or socket.gethostname()
        if own.interval_s:
            collect = self._own_figures(f"{metric_part(host)}-{metric_part(self.config.instance)}")
            timers.append(
                Every("own metrics", self.reactor, own.interval_s, lambda now: self.emitter.emit(collect(now), now))
            )
        if local.interval_s:
            figures = LocalStats(f"{local.prefix}.{metric_part(host)}")
            timers.append(
                Every(
                    "host statistics",
                    self.reactor,
                    local.interval_s,
                    lambda now: self.emitter.emit(figures.collect(now), now),
                )
            )
        return timers

    def _own_figures(self, who: str) -> Callable[[float], Metrics]:
        """Return what collects our own metrics, under the names that carbon gives to its own."""
        prefix, telemetry = self.config.self_metrics.prefix, self.telemetry
        if self.kept is not None:
            stem = f"{prefix}.agents.{who}"
            stats = agent_stats(telemetry, self.kept.points, stem)
            return lambda now: stats.collect(now) + account_metrics(stem, telemetry)
        destinations = dict if self.relayed is None else self.relayed.figures
        if self.config.aggregator is None:
            return RelayStats(f"{prefix}.relays.{who}", telemetry, destinations).collect
        stem = f"{prefix}.aggregator.{who}"
        relay_stats, aggregates = RelayStats(stem, telemetry, destinations), AggregatorStats(stem, telemetry)
        return lambda now: relay_stats.collect(now) + aggregates.collect()

    def _stop_for(self, text: str) -> None:
        self._log.critical("{text}", text=text)
        self.reactor.stop()

    # while it runs

    def change(self, new: Config) -> None:
        """Take a configuration that differs only in what can be taken."""
        new = self._with_writers(new)
        try:
            self._open_apis(new)
        except (CadtwistError, OSError) as error:
            self._log.error("the doors of accumulators stay as they are: {error}", error=str(error))
        old, self.config = self.config, new
        if self.kept is not None:
            self.kept.change(new)
        if self.read is not None:
            self.read.change(old, new)
        if self.relayed is not None:
            self.relayed.change(new)
        if self.istat is not None and new.istat is not None:
            self.istat.change(new.istat)
        if self.statsd is not None and new.statsd is not None:
            self.statsd.change(new.statsd)
        self.doors.change(new)
        if (new.self_metrics, new.local_stats, new.tags) != (old.self_metrics, old.local_stats, old.tags):
            self._restart_tellers()
        if _stages(new) != _stages(old):
            self._make_spaces(new)
            self._replace_chains(new)

    def _with_writers(self, new: Config) -> Config:
        """Make the writers that a configuration adds; return it, with the accumulators of now where that fails."""
        try:
            fresh = self._prepare_writers(new)
        except (CadtwistError, OSError) as error:
            self._log.error("the accumulators stay as they are: {error}", error=str(error))
            return replace(new, accumulators=self.config.accumulators)
        for graph in fresh:
            for _ in graph.replayed():
                pass
            graph.ready()
        return new

    def _make_spaces(self, new: Config) -> None:
        """Make the key spaces that nothing needed until now."""
        for kind in spaces_of(new):
            if kind not in self.spaces:
                self.spaces[kind] = Space(kind, new.names.max_bytes, self.telemetry)
                self.turn.add(self.spaces[kind].keys.turn_ended)

    def _replace_chains(self, new: Config) -> None:
        """Let another set of stages decide about every living name, in slices, then let the doors deliver into it."""
        self.stop_changing()
        if not self.receivers.suits(new):
            self._log.error("the old rules for names stay: how a listener reads its lines needs a restart")
            return
        fresh = self._made_chains(new, self.chains)
        fresh.hold()
        cooperator = Cooperator(scheduler=lambda work: self.reactor.callLater(0, work))
        self._priming = cooperator.cooperate(fresh.priming())

        def swap(_: object) -> None:
            self._priming = None
            old, self.chains = self.chains, fresh
            self.receivers.replace_chains(fresh)
            fresh.adopt(old)
            self.feeds.join(fresh.windows)
            self._settle_statsd()
            self.emitter.sink = self._own_sink()
            old.finish()
            fresh.begin()
            self.sums.join(new, fresh.accumulators)
            old.release()
            if self.relayed is not None:
                self.relayed.chains_replaced(fresh.stages)
            self._log.info("the new rules for names are in force")

        def failed(failure: Failure) -> None:
            fresh.release()
            if failure.check(TaskStopped) is None:
                self._priming = None
                self._log.failure("the old rules for names stay: the new ones cannot be prepared", failure)

        self._priming.whenDone().addCallbacks(swap, failed)

    def stop_changing(self) -> None:
        """Let rules that are being prepared come to nothing."""
        if self._priming is not None:
            self._priming.stop()
            self._priming = None

    def _sweep(self, now: float) -> None:
        """Recycle idle names; let the log make room even when nothing comes."""
        for space in self.spaces.values():
            space.sweep(now, int(self.config.names.idle_s))
        if self.statsd is not None:
            self.statsd.sweep(now, int(self.config.names.idle_s))
        self.turn.begin()

    def _finish_floods(self) -> None:
        """Keep nothing back at the end."""
        self.chains.finish()

    def _end_flood_windows(self, now: float) -> None:
        """Send what flood control has absorbed in windows that are over."""
        for stage in self.chains.floods:
            stage.flush(now, time.monotonic)

    def passable_at(self, latest: float) -> float:
        """Return when all may be passed on: where the last interval ends that no log has, or at `latest`."""
        logged = self.sums.logged
        loose = [each.flushes for name, each in self.chains.accumulators.items() if name not in logged]
        return self.flusher.hold([*loose, *([] if self.statsd is None else self.statsd.loose)], latest)

    def drain(self, most_s: float) -> Any:
        """Let connections end that the next process cannot have (a Deferred); all others are read on."""
        asked = [each.drain(most_s) for each in (self.istat, self._web_workers) if each is not None]
        return DeferredList([self.doors.drain(most_s, stays=True), *asked])

    def pass_on(self) -> list[Passed]:
        """Stop reading and give the sockets away; what was received is handed over first."""
        web = [Passed(kind="listener", key=name, fd=os.dup(door.fileno())) for name, door in self._web_sockets.items()]
        passed = web + self.doors.pass_on() + ([] if self.istat is None else self.istat.pass_on())
        self.turn.end()
        return passed

    def remains(self) -> list[Passed]:
        """Return what still waits in memory when the service has stopped."""
        return [] if self.relayed is None else self.relayed.remains()

    def leave(self) -> None:
        """Stop without waiting for what is slow: what is pending stays in logs and spools."""
        for graph in self.graphs:
            graph.leave()
        self.feeds.leave(self.chains.windows)
        self.sums.leave()
        self._leaving = self.statsd is not None and self.statsd.leave()
        if self.relayed is not None:
            self.relayed.leave()
        if self.istat is not None:
            self.istat.leave()

    def fail(self, text: str) -> None:
        """Give up, telling people why: what was read from the log stays there."""
        for graph in self.graphs:
            graph.writer.leave()
        self.on_fault(text)

    def ready_waits(self) -> list[str]:
        """Return what is still waited for."""
        waits = [] if self.read is None else self.read.ready_waits()
        return waits + [wait for graph in self.graphs for wait in graph.ready_waits()]

    def status(self) -> dict[str, object]:
        """Return the state of the process as plain values."""
        return {
            "program": self.config.program,
            "instance": self.config.instance,
            **process_facts(),
            "ready": not self.ready_waits(),
            "waits": self.ready_waits(),
            "paused_for": sorted(self.gate.reasons),
            "names": sum(len(space.table) for space in self.spaces.values()),
            "received": int(received_points(self.telemetry)),
            **({} if self.kept is None else self.kept.status()),
            **({} if self.read is None else self.read.status()),
            **({} if self.relayed is None else self.relayed.status()),
            **({} if self.istat is None else self.istat.status()),
            "unbalanced": self.telemetry.unbalanced(),
        }


def _stages(config: Config) -> tuple[object, ...]:
    """Return what the stages are made of."""
    own = config.aggregate_rules, config.aggregator, config.health_metrics, config.accumulators
    return config.stages, config.relays, config.destinations, *own


def _is_plain(door: Listener) -> bool:
    return door.transport == "tcp" and door.tls is None and not door.proxy_protocol
