"""The composition root: a Config becomes a graph of parts, readable on one screen.

::

    doors -> names (NameMap) -> cache -+-> journal (write-ahead log)
                                       +-> writer threads -> store (files)
    web processes -> owner -> index, cache          timers -> own metrics -> cache

A part knows only its next sink.
"""

from __future__ import annotations

import math
import os
import secrets
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger, globalLogPublisher

from cadtwist import __version__
from cadtwist.cache.cache import Cache, Limits
from cadtwist.cache.drain import Drain, Rates
from cadtwist.config.model import CacheConfig, Config, Listener
from cadtwist.errors import ConfigError
from cadtwist.flow import Gate
from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.wal import Wal
from cadtwist.kernels import active
from cadtwist.model.batch import Batch
from cadtwist.model.rules import PatternList
from cadtwist.model.table import KeySpace
from cadtwist.model.writejob import Statuses, WriteJob
from cadtwist.net.tagdb import TagPoster, post_with_treq
from cadtwist.query.index import MetricIndex
from cadtwist.query.owner import LocalOwner, SchemaInfo
from cadtwist.services.admission import Admission
from cadtwist.services.agent import agent_stats
from cadtwist.services.descriptors import file_limit, files_to_keep
from cadtwist.services.doors import CacheAnswers, Doors
from cadtwist.services.known import KnownNames, ScannedNames
from cadtwist.services.localstats import LocalStats
from cadtwist.services.logs import CarbonLogs
from cadtwist.services.scan import FileScan
from cadtwist.services.selfstats import Emitter, account_metrics, metric_part
from cadtwist.services.sequence import Every, Sequence, Step
from cadtwist.services.syncer import Syncer
from cadtwist.services.turn import Turn
from cadtwist.services.webworker import WebWorkers, listening_socket, query_limits, web_site
from cadtwist.services.writer import WriterService
from cadtwist.services.written import AfterWrite
from cadtwist.stages.names import BlacklistRule, NameMap, NameRule, NormaliseTags, WhitelistRule
from cadtwist.stages.numbers import NameNumbers
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperOptions, WhisperStore
from cadtwist.telemetry import Telemetry

__all__ = ["Daemon", "cache_limits", "name_rules", "writer_rates"]

SWEEP_S = 1.0
_SWEEP_SHARE = 256
_LEAST_SWEEP = 4096
_NAMED = 100


def name_rules(config: Config) -> list[NameRule]:
    """Return the rules between the receivers and the cache, in order."""
    stages = config.stages
    rules: list[NameRule] = []
    if stages.blacklist:
        rules.append(BlacklistRule(PatternList(stages.blacklist)))
    if stages.whitelist:
        rules.append(WhitelistRule(PatternList(stages.whitelist)))
    if stages.normalise_tags:
        rules.append(NormaliseTags())
    return rules


def cache_limits(config: Config) -> Limits:
    """Return the bounds of the cache."""
    cache = config.cache or CacheConfig()
    most = None if math.isinf(cache.max_points) else int(cache.max_points)
    return Limits(most, cache.max_bytes or None, config.limits.flow_control)


def writer_rates(config: Config) -> Rates:
    """Return how fast files are written."""
    writer = config.writer
    return Rates(writer.max_updates_per_second, writer.max_creates_per_minute, writer.min_lag_s)


class Daemon:
    """All parts of a running cache and the service that starts and stops them.  Reactor thread.

    `ready_waits` names what is still waited for: nothing when the daemon is ready.
    """

    _log = Logger()

    def __init__(self, reactor: Any, config: Config) -> None:
        if config.cache is None:
            raise ConfigError([f"{config.program}: there is no cache in this configuration, so nothing to do"])
        self.reactor = reactor
        self.config = config
        self.telemetry = Telemetry()
        self.gate = Gate()
        self.turn = Turn(reactor)
        self.replaying = config.wal.enabled
        self._hurried = False
        self.on_fault: Callable[[str], object] = self._stop_for
        self._build_names()
        self._build_store()
        self._build_cache()
        self._build_doors()
        self._build_reading()
        self.service = self._sequence()

    # the graph

    def _build_names(self) -> None:
        self.table = active.table.MetricTable(secrets.randbits(64), self.config.names.max_bytes)
        self.keys = KeySpace(self.table)
        self.known = KnownNames(self._empty_index, self.table)
        self.index = self.known.index
        account = self.telemetry.account("metric names")
        account.gauge("live", lambda: len(self.table))
        account.gauge("bytes", lambda: self.table.used_bytes)
        account.gauge("retired", lambda: self.keys.retired)
        account.gauge("index_names", lambda: len(self.index))

    def _empty_index(self) -> MetricIndex:
        config = self.config
        return MetricIndex(secrets.randbits(64), config.storage.hash_tagged_names, config.names.max_bytes)

    def _build_store(self) -> None:
        storage = self.config.storage
        files = self.telemetry.account("files")
        self.schemas = SchemaTable(self.config.schemas, self.config.aggregation)
        if storage.kind == "memory":
            self.store: Any = MemoryStore(self.schemas)
            return
        allocation = "reserved" if storage.fallocate_create else "sparse" if storage.sparse_create else "zeros"
        options = WhisperOptions(
            max_open_files=max(self.config.writer.threads, self._files_to_keep()),
            allocation=allocation,
            lock=storage.lock_writes,
            flush=storage.autoflush,
            random_access=storage.fadvise_random,
            hash_tagged=storage.hash_tagged_names,
        )
        self.store = WhisperStore(storage.root, self.schemas, options, self.config.writer.threads)
        for what in self.store.counters():
            files.gauge(what, partial(_counted, self.store, what))

    def _files_to_keep(self) -> int:
        wanted, limit = self.config.storage.max_open_files, file_limit()
        allowed = files_to_keep(wanted, limit, self.config.limits.max_connections)
        if allowed < wanted:
            self._log.warn(
                "storage.max_open_files: {wanted} is lowered to {allowed}, as this process may open {limit:.0f} files",
                wanted=wanted, allowed=allowed, limit=limit,
            )  # fmt: skip
        return allowed

    def _build_cache(self) -> None:
        config = self.config
        self.points = active.points.PointStore()
        self.schema_numbers = NameNumbers(self.table.name, self.schemas.decide)
        self.wal: Wal | None = None
        self.log: SegmentLog | None = None
        if config.wal.enabled:
            self.log = SegmentLog(config.wal.directory, config.wal.segment_bytes)
            account = self.telemetry.account("write-ahead log")
            self.wal = Wal(self.log, self.table, self.points, account, config.wal.max_bytes)
            self.wal.replaying = True
        self.cache = Cache(
            self.table,
            self.points,
            self.schema_numbers,
            self.telemetry.account("cache"),
            self.gate,
            cache_limits(config),
            None if self.wal is None else _TurnJournal(self.wal, self.turn),
            self.known.met,
        )
        now = self.reactor.seconds()
        self.drain = Drain(
            self.cache, config.writer.strategy, writer_rates(config), now, config.writer.threads,
            on_sorted=self._queue_sorted,
        )  # fmt: skip
        self.names = NameMap(name_rules(config), self.table, self.cache, self.telemetry.account("names"))
        for holder in (self.names, self.cache, self.schema_numbers, self.known, self.drain):
            self.keys.hold(holder)

    def _build_doors(self) -> None:
        answers = CacheAnswers(self.table, self.cache, self.store)
        self.doors = Doors(
            self.reactor, self.config, self.telemetry, self.table, self.names, self.gate, self.turn, answers
        )
        own = self.telemetry.account("own metrics")
        self.emitter = Emitter(own, self.cache, self.table.intern)
        self.turn.add(self.doors.flush)
        if self.wal is not None:
            self.turn.add(self.wal.turn_ended)
        self.turn.add(self.keys.turn_ended)

    def _build_reading(self) -> None:
        self.owner = LocalOwner(
            self.index,
            self.table.lookup,
            self.points.peek_many,
            self._schema_info,
            {"status": self.status, "ledger": self.telemetry.ledger, "waits": self.ready_waits},
            query_limits(self.config.web),
        )

    def _sequence(self) -> Sequence:
        """Return the parts in the order in which they start; they stop in the reverse order."""
        config, reactor = self.config, self.reactor
        after = AfterWrite(
            lambda: self.config, self.known, self.store, self.telemetry.account("files"), lambda: self.tags
        )
        self.writer = WriterService(
            reactor, _Jobs(self.drain, self.keys), self.store, self.telemetry.account("writer"), config.writer.threads,
            after, self._late_points,
        )  # fmt: skip
        self.scan = self._file_scan()
        self.syncer: Syncer | None = None
        if self.wal is not None:
            self.syncer = Syncer(reactor, self.wal.sync, config.wal.sync_s, self.telemetry.account("log sync"))
        self.tags: TagPoster | None = None
        self.tellers = Sequence()
        self._fill_tellers()
        parts: list[IService | None] = [
            CarbonLogs(config.log.directory, config.log.rotate, globalLogPublisher) if config.log.directory else None,
            Step("store", None, getattr(self.store, "close", None)),
            Step("log", None, self._close_log) if self.wal is not None else None,
            self.syncer,
            *self._reading_services(),
            self.scan,
            self.writer,
            Step("shutdown rates", None, self._hurry),
            Every("sweep", self.reactor, SWEEP_S, self._sweep),
            self.tellers,
            Admission(self),
        ]
        sequence = Sequence()
        for part in parts:
            if part is not None:
                part.setServiceParent(sequence)
        return sequence

    def _fill_tellers(self) -> None:
        """Make what tells others of us: own metrics, host statistics, the tag database."""
        self.tags = self._tag_poster()
        for teller in (self.tags, *self._timers()):
            if teller is not None:
                teller.setServiceParent(self.tellers)

    def restart_tellers(self) -> None:
        """Make them anew after a reload; they hold nothing that must be kept."""
        for teller in list(self.tellers):
            teller.disownServiceParent()
        self._fill_tellers()

    def _tag_poster(self) -> TagPoster | None:
        tags = self.config.tags
        if not tags.enabled:
            return None
        post = post_with_treq(tags.timeout_s)
        account = self.telemetry.account("tag database")
        return TagPoster(self.reactor, post, tags.url, account, tags.batch_series, tags.max_queue_series)

    def _file_scan(self) -> FileScan | None:
        storage = self.config.storage
        if storage.kind != "whisper":
            return None
        return FileScan(
            self.reactor, storage.root, ScannedNames(self.reactor, self.known, self.cache), storage.rescan_s
        )

    def _reading_services(self) -> list[IService]:
        """Return what answers HTTP: web processes behind TCP listeners, this process behind all others."""
        config = self.config
        doors = config.listeners_of("http")
        shared = [door for door in doors if config.web.workers and _is_plain(door)]
        services: list[IService] = []
        if shared:
            sockets = [listening_socket(door.interface, door.port) for door in shared]
            services.append(WebWorkers(self.reactor, sockets, self.owner, config.web, config.storage))
        inline = [door for door in doors if door not in shared]
        if inline:
            site = web_site(self.reactor, self.owner, self.store, config.web, inline=True)
            services += [self.doors.open(door, site) for door in inline]
        return services

    def _timers(self) -> list[IService]:
        own, local = self.config.self_metrics, self.config.local_stats
        timers: list[IService] = []
        host = own.host or socket.gethostname()
        if own.interval_s:
            prefix = f"{own.prefix}.agents.{metric_part(host)}-{metric_part(self.config.instance)}"
            stats = agent_stats(self, prefix)
            timers.append(
                Every(
                    "own metrics",
                    self.reactor,
                    own.interval_s,
                    lambda now: self.emitter.emit(stats.collect(now) + account_metrics(prefix, self.telemetry), now),
                )
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

    def _stop_for(self, text: str) -> None:
        self._log.critical("{text}", text=text)
        self.reactor.stop()

    # while it runs

    def _sweep(self, now: float) -> None:
        """Recycle idle names; let the log make room even when nothing comes."""
        budget = max(_LEAST_SWEEP, self.table.capacity // _SWEEP_SHARE)
        self.keys.sweep(now, int(self.config.names.idle_s), budget)
        self.turn.begin()

    def _hurry(self) -> None:
        self.drain.shutdown(self.config.writer.on_shutdown_updates_per_second)

    def _close_log(self) -> None:
        """Keep the log for the next start; with all of it in files there is nothing to keep."""
        if self.wal is not None and self.log is not None:
            everything_written = not self.points.points and not self.replaying
            self.wal.close()
            if everything_written:
                self.log.discard()

    def leave(self) -> None:
        """Stop without waiting for files: the log has what is pending.  Without one, hurry; leave when asked again."""
        points = self.points.points
        if self.wal is not None or self._hurried:
            self.writer.leave()
            where = "stay in the log" if self.wal is not None else "are lost"
            self._log.warn("{points} datapoints {where}", points=points, where=where)
        else:
            self._hurried = True
            self.drain.shutdown(math.inf)
            self.writer.wake_all()
            self._log.warn("{points} datapoints are not in files; ask again to lose them", points=points)

    def fail(self, text: str) -> None:
        """Give up, telling people why: what was read from the log stays there."""
        self.writer.leave()
        self.on_fault(text)

    def _queue_sorted(self, metrics: int) -> None:
        if self.config.log.queue_sorts:
            self._log.info("sorted {metrics} cache queues", metrics=metrics, log_file="cache")

    def _late_points(self, lane: int) -> int:
        """Return how many points the store found too old in a lane; in that lane's thread."""
        return int(self.store.writer(lane).counters()["late"]) if self.config.storage.kind == "whisper" else 0

    def _schema_info(self, name: str) -> SchemaInfo:
        schema = self.schemas.schema(self.schemas.decide(name))
        return SchemaInfo(tuple((one.step, one.points) for one in schema.archives), schema.method, schema.xff)

    def ready_waits(self) -> list[str]:
        """Return what is still waited for."""
        waits = ["the write-ahead log is being read"] if self.replaying else []
        if self.scan is not None and not self.scan.done:
            waits.append("existing files are being listed")
        return waits

    def status(self) -> dict[str, object]:
        """Return the state of the process as plain values."""
        return {
            "program": self.config.program,
            "instance": self.config.instance,
            "version": __version__,
            "kernels": "native" if active.NATIVE else "python",
            "pid": os.getpid(),
            "time": int(time.time()),
            "ready": not self.ready_waits(),
            "waits": self.ready_waits(),
            "paused_for": sorted(self.gate.reasons),
            "names": len(self.table),
            "index_names": len(self.index),
            "pending_points": self.points.points,
            "pending_metrics": self.points.metrics,
            "files_of_other_schema": self.store.mismatched()[:_NAMED] if self.config.storage.kind == "whisper" else [],
            "unbalanced": {
                account.name: account.balance() for account in self.telemetry.accounts.values() if account.balance()
            },
        }


def _counted(store: WhisperStore, what: str) -> float:
    return store.counters()[what]


def _is_plain(door: Listener) -> bool:
    return door.transport == "tcp" and door.tls is None and not door.proxy_protocol


class _TurnJournal:
    """The log as the cache sees it: a Batch in it makes the turn write."""

    def __init__(self, wal: Wal, turn: Turn) -> None:
        self._wal = wal
        self._turn = turn
        self.forget = wal.forget

    @property
    def serial(self) -> int:
        return self._wal.serial

    def append(self, batch: Batch) -> int:
        self._turn.begin()
        return self._wal.append(batch)


class _Jobs:
    """The drain as the writers see it, with each job known to the key space while it runs."""

    def __init__(self, drain: Drain, keys: KeySpace) -> None:
        self._drain = drain
        self._keys = keys
        self._numbers: dict[int, int] = {}
        self.wait_s = drain.wait_s

    @property
    def is_empty(self) -> bool:
        return self._drain.is_empty

    def next_job(self, now: float, lane: int) -> WriteJob | None:
        job = self._drain.next_job(now, lane)
        if job is not None:
            self._numbers[id(job)] = self._keys.job_started()
        return job

    def confirm(self, job: WriteJob, statuses: Statuses, now: float, late: int) -> None:
        self._drain.confirm(job, statuses, now, late)
        self._keys.jobs_done(self._numbers.pop(id(job)))
