"""The part of the graph that keeps counters: lines become samples, samples go into files and on to another daemon.

::

    doors -> carets -+-> levels above -> counter cache -> writer thread -> StatFiles      HTTP, admin -> writer thread
                     +-> forward window -> agents                                          log <- cache, writer
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from typing import Any

import psutil
from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger, globalLogPublisher
from zope.interface import implementer

from cadtwist import __version__
from cadtwist.cache.counters import CounterCache
from cadtwist.codec.istat import StatCodec, StatTail, cell_lines, greeting
from cadtwist.config.istatchecks import host_and_port
from cadtwist.config.istatmodel import IstatConfig
from cadtwist.config.model import NamesConfig
from cadtwist.errors import StorageError
from cadtwist.flow import Gate
from cadtwist.interfaces import IHolder, ISummarySink
from cadtwist.journal.backlog import Backlog
from cadtwist.journal.counterlog import CounterLog, Recovery
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.journal.segments import SegmentLog
from cadtwist.model.statjob import Shift
from cadtwist.model.statretention import parse_stat_retentions
from cadtwist.model.summary import SummaryBatch, SummaryColumns
from cadtwist.net.agentlink import AgentDestination
from cadtwist.net.destination import DestinationOptions
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.factory import ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Intake
from cadtwist.protocols.istat import Peers, StatConnection, StatDatagrams
from cadtwist.protocols.istatadmin import AdminFactory
from cadtwist.protocols.replica import ReplicaFactory
from cadtwist.protocols.udp import DatagramIntake
from cadtwist.query.catalog import Catalog
from cadtwist.query.countertree import CounterTree
from cadtwist.services.counterwriter import CounterWriter
from cadtwist.services.descriptors import file_limit, files_to_keep
from cadtwist.services.istatapi import CounterApi
from cadtwist.services.istatdoors import IstatDoors, part_name
from cadtwist.services.istatexposition import CounterExposition
from cadtwist.services.istatlog import IstatLog
from cadtwist.services.istatparts import Answers, IstatClock, Orders
from cadtwist.services.istatshards import ShardReceiver, Shards
from cadtwist.services.localcounters import LocalCounters
from cadtwist.services.replica import Replica
from cadtwist.services.replicafeed import ReplicaFeed
from cadtwist.services.replication import Refusing, ReplicaParts, feed_of, replica_of, replica_stats
from cadtwist.services.selfcounters import SelfCounters
from cadtwist.services.sequence import Every, Sequence, Step
from cadtwist.services.settings import SettingsKeeper
from cadtwist.services.space import Space
from cadtwist.services.syncer import Syncer
from cadtwist.services.turn import Turn
from cadtwist.stages.forward import ForwardWindow
from cadtwist.stages.rollup import NameRule, NameSpread, carets, levels_above
from cadtwist.storage.statfile import StatFileOptions, StatStore
from cadtwist.telemetry import Account, Telemetry
from cadtwist.web.istatsite import IstatResource

__all__ = ["IstatDaemon", "agent_of"]

MOST_WAITING = 8_000_000
MOST_FORWARDED = 2_000_000
MOST_FILES = 20_000
SPOOL_BYTES = 1 << 30
MIN_SPACE_BYTES, SPACE_S, FEW_INODES = 100 << 20, 30, 10
PURGE_S, SYNC_S, LOCAL_S, OWN_S, FILES_S, SWEEP_S = 300, 1.0, 5, 0.5, 10, 1.0


@implementer(ISummarySink)
class _Both:
    """Gives each batch to several sinks."""

    def __init__(self, sinks: list[ISummarySink]) -> None:
        self._sinks = sinks

    def accept(self, batch: SummaryBatch) -> None:
        """Hand it on."""
        for sink in self._sinks:
            sink.accept(batch)


class IstatDaemon:
    """All parts of a counter daemon and the service that starts and stops them.  Reactor thread.

    `telemetry`, `reports` and `catalog` are those of the process that it is part of; without `catalog` it keeps one of
    its own beside the store.  `inherited` is what a former process has passed on.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: IstatConfig,
        make_agent: Callable[[IstatDaemon], AgentDestination] | None = None,
        telemetry: Telemetry | None = None,
        reports: dict[str, Callable[[], object]] | None = None,
        catalog: Catalog | None = None,
        inherited: Inheritance | None = None,
    ) -> None:
        self._make_agent = make_agent or agent_of
        self.reactor = reactor
        self.config = config
        self.telemetry = Telemetry() if telemetry is None else telemetry
        self.doors = IstatDoors(reactor, config, inherited or Inheritance(), self.account("lines"))
        self._leaving = False
        self.gate = Gate()
        self.turn = Turn(reactor)
        self.clock = IstatClock(reactor, config.fake_time)
        self.space = Space(part_name("names"), NamesConfig().max_bytes, self.telemetry)
        self.table = self.space.table
        self.peers = Peers(reactor.seconds)
        self.settings_keeper = SettingsKeeper(reactor, config.settings)
        self.settings = self.settings_keeper.settings
        self.answers = Answers(self.clock, self.settings, self.peers.told, config.files_dir, config.compat)
        reports = reports or {"ledger": self.telemetry.ledger, "status": self.status, "waits": list}
        self.api = CounterApi(reactor, config, self.answers, self.clock, reports, catalog, self.account("api"))
        self.agents: list[AgentDestination] = []
        self.shards = Shards(reactor, config, self.table, self.account) if config.shards else None
        self.writer: CounterWriter | Replica | None = None
        self.feed: ReplicaFeed | None = None
        self._journal: CounterLog | None = None
        self._blacklisted_at = 0.0
        self._next_agent = 0
        self._store_sink: ISummarySink | None = None
        self.entry: ISummarySink = self._spread(carets, _Both(list(self._sinks())), "carets")
        self.exposition: CounterExposition | None = None
        if config.prometheus_port:
            self.exposition = CounterExposition(
                reactor, config, self.table, self.account("Prometheus"), self.clock
            )
            self.entry = _Both([self.exposition.sink, self.entry])
            self.space.keys.hold(self.exposition.sink)
            reports["exposition"] = self.exposition.text
        self._build_doors()
        self.turn.add(self._write_log)  # behind the intakes, whose rows it writes
        self.turn.add(self.space.keys.turn_ended)
        if self._foreign is not None:
            self.turn.add(self._foreign.write)
        self.turn.add(self._look)
        self.service = self._sequence()

    def account(self, part: str) -> Account:
        """Return the account of one of our parts."""
        return self.telemetry.account(part_name(part))

    # the graph

    def _sinks(self) -> Iterator[ISummarySink]:
        if self.config.store:
            self._store_sink = self._kept()
        if self.shards is not None:
            yield self.shards.entry(self._own_sink if self.config.store else None, self.space.keys.hold)
        elif self._store_sink is not None:
            yield self._store_sink
        if self.config.agent:
            account = self.account("forward")
            self.window = ForwardWindow(self.table, account, self.clock, MOST_FORWARDED)
            self.space.keys.hold(self.window)
            yield self.window

    def _kept(self) -> ISummarySink:
        """Return what leads into the store."""
        config = self.config
        retentions = parse_stat_retentions(config.retention)
        options = StatFileOptions(
            files_to_keep(config.num_files or MOST_FILES, file_limit(), inf),
            sparse=config.allocation == "sparse",
            parents=config.levels_above,
        )
        self.store = StatStore(config.store, retentions, options)
        self.tree = CounterTree()
        self.cache = CounterCache(
            self.table, self.account("counters"), self.store.is_event, self.clock,
            step_s=retentions[0].interval, most=MOST_WAITING, opened=self._opened,
        )  # fmt: skip
        self._own_sink: ISummarySink = self.cache
        self._segments = SegmentLog(os.path.abspath(config.log_folder))
        self._journal = CounterLog(self._segments, self.table, self.account("log"))
        self.space.keys.hold(self._journal)
        answers = self.answers
        answers.tree, answers.store, answers.cache = self.tree, self.store, self.cache
        parts = ReplicaParts(
            self.table, self.store, self.cache, self.tree, self._journal, self._opened, self._forgotten, self._show_all
        )  # fmt: skip
        self.own = SelfCounters(
            self.telemetry, self.account, self.store, retentions, lambda: self.peers.refused,
            self.cache.samples.__len__, psutil.Process(),
        )  # fmt: skip
        if config.replica_of:
            answers.writer = self.writer = replica_of(self.reactor, config, parts, self.account("replica"))
            for holder in (self.writer, self.cache):
                self.space.keys.hold(holder)
            self._own_sink = Refusing(self.account("replica refuses"), "replica")
            return self._own_sink
        self.feed = feed_of(self.reactor, config, parts, self.account("replicas"))
        answers.writer = self.writer = CounterWriter(
            self.reactor, self.cache, self.store, self.gate, self.account("writer"), config.flush_s,
            self._journal, self.feed, self.space.keys,
        )  # fmt: skip
        self.cache.log = self._journal.append
        if self.feed is not None:
            self.cache.log = self.feed.beside(self._journal.append)
            self.feed.serve(self.writer, self.cache)
            self.space.keys.hold(self.feed)
        return self._spread(levels_above(config.rollup), self.cache, "rollup")

    def _spread(self, rule: NameRule, sink: ISummarySink, name: str) -> NameSpread:
        made = NameSpread(rule, self.table, sink, self.account(name))
        for holder in (made, sink):
            if IHolder.providedBy(holder):
                self.space.keys.hold(holder)
        return made

    def _sequence(self) -> Sequence:
        sequence = Sequence()
        for part in self._parts():
            part.setServiceParent(sequence)
        return sequence

    def _parts(self) -> Iterator[IService]:
        """Yield the parts in the order in which they start; they stop in the reverse order."""
        config, reactor = self.config, self.reactor
        if config.log_file:
            yield IstatLog(config.log_file, self.orders.log_levels, globalLogPublisher)
        yield from self.settings_keeper.services()
        if self.shards is not None:
            yield from self.shards.services()
        yield from self.api.services()
        if self.writer is not None and self._journal is not None:
            yield Step("log", self._recover, self._close_log)
            yield Syncer(reactor, self._journal.sync, SYNC_S, self.account("log"))
            yield self.writer
            if config.prune_interval_s:
                yield Every("empty folders", reactor, config.prune_interval_s, self._prune)
            yield Every("free space", reactor, SPACE_S, self._look_for_space)
            if not config.replica_of:
                yield from self._own_counters()
        if config.agent:
            yield Step("agents", self._connect, self._disconnect)
            yield Every("forwarding", reactor, config.agent_interval_s, lambda _now: self.forward())
        if config.local_stats:
            counters, tail = LocalCounters(config.local_stats, psutil), StatTail()
            psutil.cpu_times_percent(None)
            yield Every(
                "local statistics", reactor, LOCAL_S,
                lambda _now: self.lines.intake.feed(tail, counters.lines(self.clock()), "local statistics"),
            )  # fmt: skip
        yield Every("sweep", reactor, SWEEP_S, lambda _now: self.sweep(self.clock()))
        yield Every("old connections", reactor, PURGE_S, lambda _now: self.peers.purge_idle())
        if config.blacklist_path and config.blacklist_period_s > 0:
            self._read_blacklist(0)
            yield Every("blacklist", reactor, config.blacklist_period_s, self._read_blacklist)
        yield Step("last lines", None, self.turn.end)
        yield from self._doors()

    def _own_counters(self) -> Iterator[IService]:
        own, tail, intake = self.own, StatTail(), self._own_intake
        if intake is not None:
            for every_s, read in ((OWN_S, own.changes), (LOCAL_S, own.state), (FILES_S, own.files)):
                job = partial(self._tell, intake, tail, read)
                yield Every(f"own {read.__name__}", self.reactor, every_s, job)

    def _tell(self, intake: Intake, tail: StatTail, read: Callable[[], bytes], _now: float) -> None:
        """Take in what the daemon says of itself."""
        intake.feed(tail, read(), "own counters")

    def _build_doors(self) -> None:
        """Make what the doors lead to, be they open or not."""
        config = self.config
        self._bad_log = BadInputLog(self.reactor.seconds)
        self.backend = self.answers if self.shards is None else self.shards.answers(self.answers, self.settings)
        self._foreign: ShardReceiver | None = None
        if config.shard_port and config.store:
            self._foreign = ShardReceiver(
                f"{config.store.rstrip('/')}.shards", self.table, self.reactor, self.turn, self.gate,
                self.account("samples of shards"), sink=self._own_sink, bad_log=self._bad_log, now=self.clock,
                settle=self.telemetry.settle,
            )  # fmt: skip
        self.http = IstatResource(
            self.backend, self.account("http"), config.compress, lambda: self.orders.debug["http"]
        )
        count = self.account("admin").count
        self.orders = Orders(
            self.clock, self.answers, self.settings, self.peers.purge, self.flush_all, self.delete, self._stats, count,
            config.log_level,
        )  # fmt: skip
        for name in config.debug:
            self.orders.debug[name] = True
        self.lines = ReceiverFactory(
            self._intake(Intake, "lines", lambda codec: codec),
            partial(StatConnection, peers=self.peers),
            clock=self.reactor,
            limit=ConnectionLimit(),
        )
        self._own_intake: Intake | None = None
        if config.store and config.self_counters and not config.replica_of:
            self._own_intake = self._intake(Intake, "own counters", lambda codec: codec, self._store_sink)
        self.datagrams = self._intake(DatagramIntake, "datagrams", lambda codec: StatDatagrams(codec, self.peers))

    def _intake(
        self, kind: Any, name: str, wrap: Callable[[StatCodec], Any], sink: ISummarySink | None = None
    ) -> Any:
        made = kind(
            name,
            lambda emit: wrap(StatCodec(self.table, SummaryColumns(8192), emit, self._about)),
            sink=sink or self.entry,
            gate=self.gate,
            account=self.account(name),
            bad_log=self._bad_log,
            now=self.clock,
            begin=self.turn.begin,
            settle=self.telemetry.settle,
        )
        self.turn.add(made.flush)
        return made

    def _doors(self) -> Iterator[IService]:
        config = self.config
        if config.http_port:
            yield from self.doors.ask("http", self.api.site(self.http), config.http_port)
        if self.exposition is not None:
            yield from self.exposition.services()
            yield from self.doors.ask("Prometheus", self.exposition.site, config.prometheus_port)
        if self._foreign is not None:
            yield from self._foreign.services()
            yield self.doors.open("shards", self._foreign.factory, config.shard_port)
        if self.feed is not None:
            replicas = ReplicaFactory(self.feed, self.reactor)
            yield Step("connected replicas", None, replicas.disconnect)
            yield self.doors.open("replicas", replicas, config.replica_port)
        if config.admin_port:
            yield self.doors.open("admin", AdminFactory(self.orders), config.admin_port)
        if config.stat_port:
            yield from self.doors.lines(self.lines, self.datagrams, self.gate)

    def drain(self, most_s: float) -> Deferred[None]:
        """Answer what is asked over HTTP; the Deferred fires after `most_s` at most."""
        return self.doors.drain(most_s)

    def pass_on(self) -> list[Passed]:
        """Stop reading and give the sockets away; what was received is logged first."""
        found = self.doors.pass_on(self.lines)
        self.turn.end()
        return found

    def leave(self) -> None:
        """Stop without writing what waits: it stays in the log."""
        self._leaving = True
        if isinstance(self.writer, CounterWriter):
            self.writer.leave()

    # while it runs

    def _opened(self, counter: bytes, event: bool) -> None:
        """List a counter that a sample is for."""
        name = counter.decode("ascii")
        self.tree.add(name, event)
        self.api.series.add(name)

    def _about(self, tail: StatTail, line: bytes) -> None:
        """Take note of what a connection says of itself: it is passed on, and may be reason to refuse it."""
        for agent in self.agents:
            agent.send(line + b"\n", 0)
        self.peers.check(tail)

    def _look(self) -> None:
        if isinstance(self.writer, CounterWriter):
            self.writer.look()

    def _write_log(self) -> None:
        if self._journal is not None:
            self._journal.turn_ended()

    def forward(self) -> None:
        """Send what the window has gathered, names spread over the agents' connections."""
        names, cells = self.window.flush()
        lines = cell_lines(names, cells, self.config.compat)
        if lines:
            agent = self.agents[self._next_agent % len(self.agents)]
            self._next_agent += 1
            agent.send(b"".join(lines), len(lines))

    def flush_all(self) -> Deferred[None]:
        """Write and send everything that waits."""
        self.turn.end()
        if self.agents:
            self.forward()
            for agent in self.agents:
                agent.flush()
        self.settings.flush()
        return self.writer.flush(Shift.ALL) if self.writer is not None else succeed(None)

    def delete(self, name: str) -> Deferred[None]:
        """Write what waits of a counter, then move its files to the backup."""
        if self.writer is None or name not in self.tree:
            return succeed(None)
        if isinstance(self.writer, Replica):
            self._log.warn("{name}: a replica deletes what its master deletes", name=name)
            return succeed(None)
        writer = self.writer
        done = writer.flush(Shift.ALL)
        done.addCallback(lambda _: writer.read(self.store.delete, name.encode("ascii")))
        done.addCallback(lambda _: self._deleted(name))
        return done

    def _deleted(self, name: str) -> None:
        self.account("counters").count("closed")
        self._forgotten(name)
        if self.feed is not None:
            self.feed.gone(name.encode("ascii"))

    def _show_all(self) -> None:
        """Show every counter of the tree as series, too."""
        for counter in self.tree.series(above=bool(self.config.rollup)):
            self.api.series.add(counter)

    def _forgotten(self, name: str) -> None:
        """List a counter no more."""
        self.tree.remove(name)
        self.api.series.remove(name)

    def _stats(self) -> list[tuple[str, str]]:
        """Return what `stats` shows beside the clock."""
        return [*self._http_stats(), *replica_stats(self.config, self.feed, self.writer)]

    def _http_stats(self) -> list[tuple[str, str]]:
        if not self.config.http_port:
            return []
        current = self.account("http").gauges["current"]()
        return [("http.port", str(self.config.http_port)), ("http.current", str(int(current)))]

    def _prune(self, _now: float) -> None:
        if self.writer is not None:
            self.writer.read(self.store.prune).addErrback(self._told, "removing empty folders")

    def _look_for_space(self, _now: float) -> None:
        """Warn when the disk of the store is nearly full; writing goes on."""
        try:
            found = os.statvfs(self.config.store)
        except OSError:
            return
        free = found.f_bavail * found.f_frsize if found.f_favail >= FEW_INODES or not found.f_files else 0
        wanted = MIN_SPACE_BYTES if self.config.min_space_bytes < 0 else self.config.min_space_bytes
        if free < wanted:
            self._log.warn("not enough free space on device: {free} bytes, {wanted} wanted", free=free, wanted=wanted)

    def sweep(self, now: float) -> None:
        """Recycle a share of the names that are idle."""
        self.space.sweep(now, int(NamesConfig().idle_s))
        self.turn.begin()

    def _told(self, failure: Any, what: str) -> None:
        self._log.failure("{what} failed", failure, what=what)

    def _read_blacklist(self, _now: float) -> None:
        """Read the blacklist when its file is newer; without a file the old names stay."""
        try:
            changed = os.stat(self.config.blacklist_path).st_mtime
            if changed > self._blacklisted_at:
                with open(self.config.blacklist_path, encoding="utf-8", errors="replace") as file:
                    self.peers.blacklist = frozenset(line.lower() for line in file.read().split("\n") if line)
                self._blacklisted_at = changed
        except OSError as error:
            self._log.warn("{path}: {why}", path=self.config.blacklist_path, why=error.strerror)

    def change(self, config: IstatConfig) -> None:
        """Take a configuration that differs only in what can be taken."""
        self.config = config
        self.http.compress = config.compress
        self.orders.log_levels[0] = config.log_level
        for name in self.orders.debug:
            self.orders.debug[name] = name in config.debug

    def status(self) -> dict[str, object]:
        """Return the state as plain values."""
        counters = 0 if self.writer is None else len(self.tree)
        return {"counters": counters, "istat_paused_for": sorted(self.gate.reasons)}

    # start and stop

    def _recover(self) -> None:
        """List what the store has, and take over what an earlier life left in the log."""
        loaded = told = 0
        for part in self.store.walk():
            for name, event in part:
                self.tree.add(name.decode("utf-8", "replace"), event)
            loaded += len(part)
            if loaded >= told + told // 5 + 1000:
                told = loaded
                self._log.info("Loaded {n} counters.", n=loaded)
        if loaded > told:
            self._log.info("Loaded {n} counters.", n=loaded)
        self._show_all()
        recovery = Recovery(self._segments, self.table, self.account("log"), int(self.clock()))
        records = recovery.restore(self._apply)
        samples = 0
        log, self.cache.log = self.cache.log, None
        for batch in recovery.samples():
            for number, mark in recovery.events.items():
                self.cache.know(number, bool(mark))
            recovery.events.clear()
            samples += len(batch)
            self.cache.accept_logged(batch)
        self.cache.log = log
        for name, state in recovery.windows.items():
            if state:
                number = self.table.intern(name, int(self.clock()))
                self.store.lane_of(number).restore(number, state)
                self.cache.restore(number, bool(self.store.is_event(name)))
        if records or samples:
            self._log.info("The log had {samples} samples and {records} writes", samples=samples, records=records)

    def _apply(self, redo: bytes) -> dict[bytes, bytes]:
        told: dict[bytes, bytes] = {}
        try:
            self.store.recover(redo, told.__setitem__)
        except StorageError as error:
            self._log.error("a logged write cannot be repeated: {error}", error=error)
        return told

    def _close_log(self) -> None:
        if self._journal is not None:
            waits = bool(len(self.cache.samples)) or bool(self.store.writer(0).unwritten)
            keep = self._leaving or waits or bool(self.config.replica_of)
            self._journal.close(keep)

    def _connect(self) -> None:
        self.agent = self._make_agent(self)
        self.agents = [self.agent]
        self.agent.start()

    def _disconnect(self) -> Any:
        self.forward()
        return self.agents[0].close()


def agent_of(daemon: IstatDaemon) -> AgentDestination:
    """Return the link to the daemon that gets what is forwarded.

    What cannot be sent waits in memory, then in a spool beside the store (or the settings, where there is no store).
    """
    config = daemon.config
    host, port = host_and_port(config.agent)
    hello = greeting(socket.gethostname(), f"cadtwist {__version__}")
    limits = QueueLimits(max_bytes=16 << 20, policy="drop_oldest", spool_bytes=SPOOL_BYTES)
    options = DestinationOptions(host=host, port=port, connections=config.agent_connections, limits=limits)
    account = daemon.account(f"agent {config.agent}")
    backlog = Backlog(os.path.join(config.spool_folder, config.agent.replace(":", "_").replace("/", "_")))
    return AgentDestination(daemon.reactor, config.agent, options, account, lambda: hello, backlog)
