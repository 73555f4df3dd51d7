"""The part of the graph that keeps datapoints, readable on one screen.

::

    cache -+-> journal (write-ahead log)
           +-> writer threads -> store (files)
    web processes -> owner -> index, cache
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger

from cadtwist.cache.cache import Cache, Limits
from cadtwist.cache.drain import Drain, Rates
from cadtwist.config.model import CacheConfig, Config
from cadtwist.config.redisurl import parse_redis_url
from cadtwist.flow import Gate
from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.wal import Wal, replay
from cadtwist.kernels import active
from cadtwist.model.batch import Batch, Ids
from cadtwist.model.table import KeySpace
from cadtwist.model.writejob import Statuses, WriteJob
from cadtwist.net.tagdb import TagPoster, post_with_treq
from cadtwist.query.catalog import Catalog
from cadtwist.query.index import MetricIndex
from cadtwist.query.owner import LocalOwner
from cadtwist.services.catalog import CatalogKeeper
from cadtwist.services.counterseries import JoinedOwner
from cadtwist.services.descriptors import file_limit, files_to_keep
from cadtwist.services.known import KnownNames, ScannedNames
from cadtwist.services.redistags import CatalogInRedis, TagsKeeper, all_of
from cadtwist.services.scan import FileScan
from cadtwist.services.sequence import Step
from cadtwist.services.settings import redis_link
from cadtwist.services.sharedcount import SharedCount
from cadtwist.services.slices import OneByOne
from cadtwist.services.space import Space
from cadtwist.services.stores import KeptAs, stored_roots, with_others, writing_store
from cadtwist.services.syncer import Syncer
from cadtwist.services.turn import Turn
from cadtwist.services.webworker import counted_for_readers, query_limits
from cadtwist.services.writer import WriterService
from cadtwist.services.written import AfterWrite
from cadtwist.stages.numbers import NameNumbers
from cadtwist.storage.catalogfile import CATALOG_FILE, CatalogFile
from cadtwist.storage.redistags import RedisTags
from cadtwist.storage.schemas import SchemaTable
from cadtwist.telemetry import Telemetry

__all__ = ["CacheGraph", "cache_limits", "writer_rates"]

_NAMED = 100
CATALOG_SYNC_S = 1.0


def cache_limits(config: Config) -> Limits:
    """Return the bounds of the cache."""
    cache = config.cache or CacheConfig()
    most = None if math.isinf(cache.max_points) else int(cache.max_points)
    return Limits(most, cache.max_bytes or None, config.limits.flow_control)


def writer_rates(config: Config) -> Rates:
    """Return how fast files are written."""
    writer = config.writer
    creates, lag_s = writer.max_creates_per_minute, writer.min_lag_s
    return Rates(writer.max_updates_per_second, creates, lag_s, writer.low_fruit_rate)


class CacheGraph:
    """Cache, log, writers and files, and what answers readers.  Reactor thread.

    `cache` is the sink.  `reports` answer an owner's topics.  `before_doors` and `readers` are services; the former
    run before the first listener opens and after the last one closed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        telemetry: Telemetry,
        gate: Gate,
        turn: Turn,
        space: Space,
        reports: dict[str, Callable[[], object]],
    ) -> None:
        self.reactor = reactor
        self.config = config
        self.telemetry = telemetry
        self.table, self.keys = space.table, space.keys
        self.replaying = config.wal.enabled
        self._hurried = False
        self._build_catalog()
        self.known = KnownNames(self._empty_index, self.table, self.catalog_keeper.met)
        self.index = self.known.index
        self.changed = SharedCount()
        self.index.names.changes = self.changed.names
        telemetry.account(space.name).gauge("index_names", lambda: len(self.index))
        self._build_store()
        self._build_cache(gate, turn)
        self.owner: Any = LocalOwner(
            self.index, self.table.lookup, self.points.peek_within,
            KeptAs(self.schemas, config.storage.kind == "ceres"), reports, query_limits(config.web),
            OneByOne(self.reactor), self.catalog, counted_for_readers(telemetry), lambda: self.points.points,
            numbers_version=lambda: (len(self.table), self.keys.retired),
        )  # fmt: skip
        self._build_services()
        if self.scan is not None:
            reports["rescan"] = self.scan.ask

    def _empty_index(self) -> MetricIndex:
        config = self.config
        return MetricIndex(secrets.randbits(64), config.storage.hash_tagged_names, config.names.max_bytes)

    def _build_catalog(self) -> None:
        """Make what knows of tags and events; kept beside the files, where there are any."""
        storage, account = self.config.storage, self.telemetry.account("catalog")
        self.catalog = Catalog()
        path = os.path.join(storage.root, CATALOG_FILE)
        self.tags_keeper: TagsKeeper | None = None
        file = None if storage.kind == "memory" else CatalogFile(path)
        if self.config.tags.database:
            link = redis_link(self.reactor, parse_redis_url(self.config.tags.database))
            tags = RedisTags(link, all_of)
            self.tags_keeper = TagsKeeper(self.reactor, link, tags, self.catalog, account)
            file = CatalogInRedis(path if file is not None else "", tags)
        self.catalog_keeper = CatalogKeeper(self.reactor, self.catalog, file, account)
        self.catalog_syncer: Syncer | None = None
        if file is not None:
            self.catalog_syncer = Syncer(self.reactor, file.flush, CATALOG_SYNC_S, account, "the catalog of tags")

    def _build_store(self) -> None:
        storage = self.config.storage
        files = self.telemetry.account("files")
        self.schemas = SchemaTable(self.config.schemas, self.config.aggregation)
        lanes = self.config.writer.threads
        most = max(lanes, self._files_to_keep()) if storage.kind == "whisper" else 1
        self.store = writing_store(storage, self.schemas, lanes, most)
        self.read_store = with_others(storage, self.store)
        if storage.kind != "memory":
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

    def _build_cache(self, gate: Gate, turn: Turn) -> None:
        config = self.config
        self.points = active.points.PointStore()
        self.points.appended = self.changed.points
        if config.web.workers and config.listeners_of("http"):
            self.changed.points_fd = self.points.share()
        self.schema_numbers = NameNumbers(self.table.name, self.schemas.decide)
        self.wal: Wal | None = None
        self.log: SegmentLog | None = None
        if config.wal.enabled:
            self.log_account = self.telemetry.account("write-ahead log")
            self.log = SegmentLog(config.wal.directory, config.wal.segment_bytes)
            self.wal = Wal(self.log, self.table, self.points, self.log_account, config.wal.max_bytes)
            self.wal.replaying = True
        self.cache = Cache(
            self.table,
            self.points,
            self.schema_numbers,
            self.telemetry.account("cache"),
            gate,
            cache_limits(config),
            None if self.wal is None else _TurnJournal(self.wal, turn),
            self._met,
        )
        now = self.reactor.seconds()
        self.drain = Drain(
            self.cache, config.writer.strategy, writer_rates(config), now, config.writer.threads,
            on_sorted=self._queue_sorted,
        )  # fmt: skip
        self.telemetry.account("cache").gauge("awaiting_create", lambda: self.drain.awaiting_create)
        for holder in (self.cache, self.schema_numbers, self.known, self.drain, self.changed):
            self.keys.hold(holder)

    def _met(self, ids: Ids) -> None:
        """Metrics of which the first datapoints have come."""
        self.changed.met(ids)
        self.known.met(ids)

    def _build_services(self) -> None:
        config, reactor = self.config, self.reactor
        after = AfterWrite(
            lambda: self.config, self.known, self.store, self.telemetry.account("files"), lambda: self.tags
        )
        self.writer = WriterService(
            reactor, _Jobs(self.drain, self.keys), self.store, self.telemetry.account("writer"), config.writer.threads,
            after, self._late_points,
        )  # fmt: skip
        self.scan = self._file_scan()
        self.tags: TagPoster | None = None
        self.syncer: Syncer | None = None
        if self.wal is not None:
            self.syncer = Syncer(reactor, self.wal.sync, config.wal.sync_s, self.telemetry.account("log sync"))

    def join(self, others: Any) -> None:
        """Let readers find the metrics of another owner beside ours."""
        others.count_changes_in(self.changed.names)
        self.owner = JoinedOwner(self.owner, others)

    def before_doors(self) -> list[IService]:
        """Return what runs before anything is read, in order of starting."""
        parts: list[IService | None] = [
            Step("store", None, getattr(self.store, "close", None)),
            Step("log", None, self._close_log) if self.wal is not None else None,
            self.syncer,
            self.catalog_syncer,
            self.catalog_keeper,
            self.tags_keeper,
        ]
        return [part for part in parts if part is not None]

    def working(self) -> list[IService]:
        """Return what runs between the readers and the doors, in order of starting."""
        parts: list[IService | None] = [self.scan, self.writer, Step("shutdown rates", None, self._hurry)]
        return [part for part in parts if part is not None]

    def replayed(self) -> Iterator[None]:
        """Give what the log has to the cache, in slices."""
        if self.log is None:
            return
        points = 0
        for more in replay(self.log, self.table, self.cache.restore, self.log_account, int(self.reactor.seconds())):
            points += more
            yield None
        if points:
            self._log.info("{points} datapoints are back from the write-ahead log", points=points)

    def ready(self) -> None:
        """The log has been read: from now on its segments go when nothing needs them."""
        self.replaying = False
        if self.wal is not None:
            self.wal.replaying = False

    def tag_poster(self) -> TagPoster | None:
        """Return the service that tells a tag database of new series, made anew, None where there is none."""
        tags = self.config.tags
        self.tags = None
        if tags.enabled:
            post = post_with_treq(self.reactor, tags.timeout_s)
            account = self.telemetry.account("tag database")
            self.tags = TagPoster(self.reactor, post, tags.url, account, tags.batch_series, tags.max_queue_series)
        return self.tags

    def _file_scan(self) -> FileScan | None:
        storage = self.config.storage
        roots = stored_roots(storage)
        if not roots:
            return None
        return FileScan(self.reactor, roots, ScannedNames(self.reactor, self.known, self.cache), storage.rescan_s)

    # while it runs

    def change(self, new: Config) -> None:
        """Take what a reloaded configuration says of the cache."""
        old, self.config = self.config, new
        if self.scan is not None:
            self.scan.rescan_s = new.storage.rescan_s
        if (new.schemas, new.aggregation) != (old.schemas, old.aggregation):
            self.schemas.reload(new.schemas, new.aggregation)
            self.schema_numbers.ask_again()
            self.changed.names[0] += 1  # readers remember how metrics are kept
        self.cache.limits = cache_limits(new)
        self.drain.change(new.writer.strategy, writer_rates(new))
        if self.syncer is not None:
            self.syncer.interval_s = new.wal.sync_s

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

    def _queue_sorted(self, metrics: int) -> None:
        if self.config.log.queue_sorts:
            self._log.info("sorted {metrics} cache queues", metrics=metrics, log_file="cache")

    def _late_points(self, lane: int) -> int:
        """Return how many points the store found too old in a lane; in that lane's thread."""
        return 0 if self.config.storage.kind == "memory" else int(self.store.writer(lane).counters()["late"])

    def ready_waits(self) -> list[str]:
        """Return what is still waited for."""
        waits = ["the write-ahead log is being read"] if self.replaying else []
        if self.scan is not None and not self.scan.done:
            waits.append("existing files are being listed")
        return waits

    def status(self) -> dict[str, object]:
        """Return the state as plain values."""
        return {
            "index_names": len(self.index),
            "pending_points": self.points.points,
            "pending_metrics": self.points.metrics,
            "files_of_other_schema": [] if self.config.storage.kind == "memory" else self.store.mismatched()[:_NAMED],
        }


def _counted(store: Any, what: str) -> float:
    return float(store.counters()[what])


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
