"""Readers of trees that others write: names from a scan of the files, tags and events from the catalog beside them.

Nothing is written, and nothing is held in memory but names.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from twisted.application.service import IService

from cadtwist.config.model import Config
from cadtwist.config.redisurl import parse_redis_url
from cadtwist.model.batch import NO_ID, Floats, Ids
from cadtwist.query.catalog import Catalog
from cadtwist.query.index import HAS_FILE, MetricIndex
from cadtwist.query.owner import LocalOwner
from cadtwist.services.catalog import CatalogReader
from cadtwist.services.known import add_names
from cadtwist.services.redistags import TagsKeeper, all_of
from cadtwist.services.scan import FileScan
from cadtwist.services.settings import redis_link
from cadtwist.services.sharedcount import SharedCount
from cadtwist.services.slices import OneByOne
from cadtwist.services.stores import KeptAs, reading_store, stored_roots
from cadtwist.services.webworker import counted_for_readers, query_limits
from cadtwist.storage.catalogfile import CATALOG_FILE, CatalogFile
from cadtwist.storage.redistags import RedisTags
from cadtwist.storage.schemas import SchemaTable
from cadtwist.telemetry import Telemetry

__all__ = ["ReadGraph", "TreeNames"]


class ReadGraph:
    """What answers readers of trees that others write.  Reactor thread."""

    def __init__(
        self, reactor: Any, config: Config, telemetry: Telemetry, reports: dict[str, Callable[[], object]]
    ) -> None:
        storage = config.storage
        self._schemas = SchemaTable(config.schemas, config.aggregation)
        self._hash_tagged, self._max_bytes = storage.hash_tagged_names, config.names.max_bytes
        self.index = self._empty_index()
        self.changed = SharedCount()
        self.index.names.changes = self.changed.names
        self.read_store = reading_store(storage)
        self.catalog = Catalog(read_only=True)
        files = [CatalogFile(path, read_only=True) for root in stored_roots(storage) for path in _catalogs(root)]
        account, database = telemetry.account("catalog"), config.tags.database
        self._reader = CatalogReader(reactor, self.catalog, files, account, with_tags=not database)
        self._tags: TagsKeeper | None = None
        if database:
            link = redis_link(reactor, parse_redis_url(database))
            self._tags = TagsKeeper(reactor, link, _TagsOfOthers(link, all_of), self.catalog, account)
        names = TreeNames(self.index, self._empty_index)
        self.scan = FileScan(reactor, stored_roots(storage), names, storage.rescan_s)
        reports["rescan"] = self.scan.ask
        telemetry.account("files").gauge("index_names", lambda: len(self.index))
        self.owner = LocalOwner(
            self.index, _no_id, _no_points, KeptAs(self._schemas, storage.kind == "ceres"), reports,
            query_limits(config.web), OneByOne(reactor), self.catalog, counted_for_readers(telemetry), lambda: 0,
        )  # fmt: skip

    def _empty_index(self) -> MetricIndex:
        return MetricIndex(secrets.randbits(64), self._hash_tagged, self._max_bytes)

    def services(self) -> list[IService]:
        """Return what looks at the files."""
        return [self._reader, *([] if self._tags is None else [self._tags]), self.scan]

    def change(self, old: Config, new: Config) -> None:
        """Take what a reloaded configuration says."""
        self.scan.rescan_s = new.storage.rescan_s
        if (new.schemas, new.aggregation) != (old.schemas, old.aggregation):
            self._schemas.reload(new.schemas, new.aggregation)
            self.changed.names[0] += 1  # readers remember how metrics are kept

    def ready_waits(self) -> list[str]:
        """Return what is still waited for."""
        return [] if self.scan.done else ["existing files are being listed"]

    def status(self) -> dict[str, object]:
        """Return the state as plain values."""
        return {"index_names": len(self.index)}


def _catalogs(root: str) -> tuple[str, str]:
    """Return where the catalog of a folder may be: in it, or beside it, where a counter daemon has it."""
    return os.path.join(root, CATALOG_FILE), f"{os.path.abspath(root)}.catalog"


def _no_id(_: bytes) -> int:
    return NO_ID


def _no_points(ids: Ids, _slacks: Floats, _start: float, _end: float) -> tuple[Ids, Floats, Floats]:
    return np.zeros(len(ids) + 1, np.uint32), np.zeros(0), np.zeros(0)


class _TagsOfOthers(RedisTags):
    """Tags in a Redis that others tell of their series."""

    def keep(self, name: str) -> None:
        """Tell nothing."""

    def drop(self, name: str) -> None:
        """Tell nothing."""


class TreeNames:
    """What a `FileScan` tells of its finds: the names of the first scan at once, those of a later one together."""

    def __init__(self, index: MetricIndex, make_index: Callable[[], MetricIndex]) -> None:
        self._index = index
        self._make_index = make_index
        self._fresh: MetricIndex | None = None

    def on_disk(self, blob: bytes, offsets: npt.NDArray[np.uint32]) -> None:
        """Take names of metrics that have files."""
        add_names(self._index if self._fresh is None else self._fresh, blob, offsets, HAS_FILE)

    def begin_scan(self) -> None:
        """A scan that is not the first one begins."""
        self._fresh = self._make_index()

    def end_scan(self, whole: bool) -> None:
        """It ended: what it found counts if it saw everything."""
        fresh, self._fresh = self._fresh, None
        if whole and fresh is not None:
            self._index.take_over(fresh)
