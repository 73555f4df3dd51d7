"""The stores that a configuration means: the one that is written, and all that are read."""

from __future__ import annotations

from typing import Any

from cadtwist.config.model import StorageConfig
from cadtwist.interfaces import IStore
from cadtwist.query.resolution import SchemaInfo
from cadtwist.services.counterfiles import CounterFiles, is_counter_tree
from cadtwist.services.descriptors import file_limit
from cadtwist.storage.ceres import CeresOptions, CeresStore, is_ceres_tree
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.merged import MergedStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperOptions, WhisperStore

__all__ = ["reading_store", "stored_roots", "with_others", "writing_store"]

_MOST_KEPT_OPEN = 4096  # whisper files of each process that reads


def writing_store(
    storage: StorageConfig, schemas: SchemaTable, lanes: int = 1, max_open_files: int = 1, max_read_files: int = 0
) -> Any:
    """Return the store that `lanes` writer threads write to.

    They keep at most `max_open_files` files open, and readers `max_read_files`.
    """
    if storage.kind == "memory":
        return MemoryStore(schemas)
    if storage.kind == "ceres":
        return CeresStore(storage.root, schemas, _ceres_options(storage), lanes)
    allocation = "reserved" if storage.fallocate_create else "sparse" if storage.sparse_create else "zeros"
    options = WhisperOptions(
        max_open_files=max_open_files,
        allocation=allocation,
        lock=storage.lock_writes,
        flush=storage.autoflush,
        random_access=storage.fadvise_random,
        hash_tagged=storage.hash_tagged_names,
        max_read_files=max_read_files,
    )
    return WhisperStore(storage.root, schemas, options, lanes)


def reading_store(storage: StorageConfig) -> IStore:
    """Return all that is read: see `with_others`.  It keeps at most a quarter of the files open that it may."""
    kept = int(min(_MOST_KEPT_OPEN, file_limit() / 4)) // max(len(stored_roots(storage)), 1)
    return with_others(storage, writing_store(storage, SchemaTable(), max_read_files=kept), kept)


def with_others(storage: StorageConfig, written: Any, max_read_files: int = 0) -> IStore:
    """Return the store that is written with all others of the configuration, to be read as one.

    Of whisper files of others `max_read_files` are kept open for each folder.  Each folder is read as whisper files
    and, where it is the root of a ceres tree, as ceres nodes; where it holds StatFiles, as the figures of counters.
    """
    others: list[Any] = []
    for root in stored_roots(storage):
        own = storage.kind if root == storage.root else ""
        if own != "ceres" and is_ceres_tree(root):
            others.append(CeresStore(root, SchemaTable(), _ceres_options(storage)))
        if own != "whisper":
            options = WhisperOptions(hash_tagged=storage.hash_tagged_names, max_read_files=max_read_files)
            others.append(WhisperStore(root, SchemaTable(), options))
        if is_counter_tree(root):
            others.append(CounterFiles(root))
    store: IStore = MergedStore(written, *others) if others else written
    return store


class KeptAs:
    """Tells how a metric is kept, by the schema of its name; `from_start` as in SchemaInfo."""

    def __init__(self, schemas: SchemaTable, from_start: bool) -> None:
        self._schemas = schemas
        self._from_start = from_start
        self._known: list[SchemaInfo] = []

    def __call__(self, name: str) -> SchemaInfo:
        """Return it."""
        number = self._schemas.decide(name)
        while len(self._known) <= number:
            schema = self._schemas.schema(len(self._known))
            archives = tuple((one.step, one.points) for one in schema.archives)
            self._known.append(SchemaInfo(archives, schema.method, schema.xff, self._from_start))
        return self._known[number]


def stored_roots(storage: StorageConfig) -> tuple[str, ...]:
    """Return the folders that hold series, the one that is written first; none for series in memory."""
    return () if storage.kind == "memory" else (storage.root, *storage.read_also)


def _ceres_options(storage: StorageConfig) -> CeresOptions:
    return CeresOptions(
        max_gap=storage.ceres_max_slice_gap,
        keep_nodes=storage.ceres_node_caching == "all",
        keep_slices=storage.ceres_slice_caching != "none",
        lock=storage.ceres_lock_writes,
        flush=storage.autoflush,
        hash_tagged=storage.hash_tagged_names,
    )
