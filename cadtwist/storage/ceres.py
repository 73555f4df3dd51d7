"""A store of ceres nodes: one folder per metric below a root folder, laid out as carbon and graphite-web expect.

Layout and format are those of the kernel (`cadtwist.kernels.ceresformat`); nothing here rolls up or deletes old
points, which ceres leaves to tools of its own.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.errors import StorageError
from cadtwist.interfaces import IFileStore
from cadtwist.kernels.active import ceresfile
from cadtwist.kernels.ceresformat import (
    DEFAULT_GAP,
    NODE_FILE,
    TREE_FOLDER,
    CorruptNodeError,
    Node,
    parse_node,
    properties_text,
    slice_of,
)
from cadtwist.model.consolidation import CERES_METHODS, DEFAULT_METHOD, DEFAULT_XFF, METHODS
from cadtwist.model.filefacts import FileFacts, Retention
from cadtwist.model.series import Series
from cadtwist.storage.ceresread import MAX_SLOTS, read_node, read_points, slices_in
from cadtwist.storage.facts import disk_space, facts_of
from cadtwist.storage.lanes import Lane, LanedStore
from cadtwist.storage.reports import FileReports
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.tree import likely_paths, walk_tree

__all__ = ["CeresOptions", "CeresStore", "fetch_node", "is_ceres_tree"]

_TRIES = 3
_MAX_NODES = 1 << 22  # kept in mind by all lanes together: memory is taken for those that are there
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
Floats = npt.NDArray[np.float64]
_KINDS = {
    ceresfile.REPORT_MISMATCH: "retention_mismatch",
    ceresfile.REPORT_HEALED: "healed",
    ceresfile.REPORT_QUARANTINED: "quarantined",
    ceresfile.REPORT_RETRY: "retry",
}


@dataclass(frozen=True)
class CeresOptions:
    """How nodes are written: points of a gap that are filled up; what is kept in mind of nodes and of their slices.

    `lock` takes an flock of each slice that is written, `flush` syncs it; `hash_tagged` names the folders of tagged
    metrics by their SHA-256.
    """

    max_gap: int = DEFAULT_GAP
    keep_nodes: bool = True
    keep_slices: bool = True
    lock: bool = False
    flush: bool = False
    hash_tagged: bool = True


def is_ceres_tree(root: str) -> bool:
    """True where a folder is the root of a ceres tree."""
    return os.path.isdir(os.path.join(root, TREE_FOLDER))


@implementer(IFileStore)
class CeresStore(LanedStore):
    """Ceres nodes below `root`, which becomes the root of a tree with the first write.

    `write` may be called by `lanes` threads at a time, each with the ids of its lane (`id % lanes`); everything else
    by any thread.  No point is too old for a node.
    """

    def __init__(self, root: str, schemas: SchemaTable, options: CeresOptions | None = None, lanes: int = 1) -> None:
        options = options or CeresOptions()
        self.root = os.path.abspath(root)
        self._folder = os.fsencode(os.path.join(self.root, ""))
        self._hashed = options.hash_tagged
        self._schemas = schemas
        self._is_tree = False
        reports = FileReports(_KINDS)
        super().__init__([self._lane(options, lanes, reports) for _lane in range(lanes)], reports, ceresfile.COUNTERS)

    def _lane(self, options: CeresOptions, lanes: int, reports: FileReports) -> Lane:
        writer = ceresfile.Writer(
            os.fsencode(self.root),
            max_nodes=_MAX_NODES // lanes,
            lanes=lanes,
            hashed=options.hash_tagged,
            lock=options.lock,
            flush=options.flush,
            max_gap=options.max_gap,
            keep_nodes=options.keep_nodes,
            keep_slices=options.keep_slices,
        )

        def add_schema(number: int) -> None:
            writer.add_schema(*self._schemas.schema(number))

        return Lane(writer, reports, self._schemas, add_schema, self._become_tree)

    def _become_tree(self) -> None:
        """Make the root the root of a tree, once; a fault of it is told by each metric."""
        if not self._is_tree:
            with contextlib.suppress(OSError):
                os.makedirs(os.path.join(self.root, TREE_FOLDER), 0o755, exist_ok=True)
                self._is_tree = True

    # Reading

    def fetch(self, name: str, start: int, end: int, now: int, step: int = 0) -> Series | None:
        """Return the whole steps in [start, end) of the node's slices (or of those of `step` seconds alone).

        The answer begins no earlier than the oldest slice or, if that is earlier, what the node's retentions reach
        back to, and ends no later than the newest point or `now`.  None where there is no node, or nothing of that
        time.  StorageError for a node that cannot be read, ValueError if start > end or nothing has that step.
        """
        if start > end:
            raise ValueError(f"invalid time interval: {start} is after {end}")
        for folder in self._folders(name):
            try:
                return fetch_node(name, folder, int(start), int(end), int(now), step)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise StorageError(f"{os.fsdecode(folder)}: {error.strerror}") from error
            except CorruptNodeError as error:
                raise StorageError(f"{os.fsdecode(folder)}: {error}") from error
        return None

    def exists(self, name: str) -> bool:
        """True where the metric has a node."""
        return self._found(name) is not None

    def node(self, name: str) -> Node:
        """Return what a metric's node says of itself; StorageError where there is none that can be read."""
        folder = self._found(name)
        if folder is None:
            raise StorageError(f"{name}: no such metric")
        try:
            return read_node(folder)
        except (OSError, CorruptNodeError) as error:
            raise StorageError(f"{os.fsdecode(folder)}: {error}") from error

    def facts(self, name: str) -> FileFacts | None:
        """See `IFileStore`: of the slices, and of what the node says of itself."""
        folder = self._found(name)
        if folder is None:
            return None
        try:
            files = [entry for entry in os.listdir(folder) if entry == NODE_FILE or slice_of(entry) is not None]
        except OSError:
            return None
        return facts_of(os.path.join(folder, file) for file in files)

    def retained(self, name: str) -> Retention | None:  # noqa: ARG002
        """See `IFileStore`: nodes do not say for how long they keep."""
        return None

    def space(self) -> tuple[int, int]:
        """See `IFileStore`."""
        return disk_space(self.root)

    def get_metadata(self, name: str, key: str) -> str:
        """Return a property of the metric's node, as text: JSON where it is none; ValueError where it has none such."""
        properties = self.node(name).properties
        if key not in properties:
            raise ValueError(f"unknown metadata key {key!r}")
        value = properties[key]
        return value if isinstance(value, str) else json.dumps(value)

    def set_metadata(self, name: str, key: str, value: str) -> str:
        """Change a property of the metric's node, return the old value (empty where there was none).

        What is JSON is kept as such, other text as text.  ValueError for what no node may say: a method that ceres
        does not know, or a step that is none.
        """
        properties = dict(self.node(name).properties)
        old = properties.get(key, "")
        if key == "aggregationMethod" and value not in CERES_METHODS:
            raise ValueError(f"unknown aggregation method {value!r}; known are {', '.join(CERES_METHODS)}")
        properties[key] = _plain(value)
        folder = self._found(name)
        if folder is None:
            raise StorageError(f"{name}: no such metric")
        _replace_node(folder, properties)
        return old if isinstance(old, str) else json.dumps(old)

    def delete(self, name: str) -> bool:
        """Remove a metric's node and slices; False where there is none.  Metrics below its name stay."""
        folder = self._found(name)
        if folder is None:
            return False
        try:
            os.unlink(os.path.join(folder, NODE_FILE))
            for file in os.listdir(folder):
                if slice_of(file) is not None:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(folder, file))
            with contextlib.suppress(OSError):  # other metrics lie below
                os.rmdir(folder)
        except OSError as error:
            raise StorageError(f"{os.fsdecode(folder)}: {error.strerror}") from error
        return True

    def walk(self, names: int = 1000) -> Iterator[list[str]]:
        """Yield the names of all metrics with nodes, in lists of `names`; blocks on folders.

        Tagged metrics whose folders are named by a hash are called by their path, `_tagged.<3>.<3>.<hash>`.
        """
        return walk_tree(self.root, names, files=False)

    # Names and paths

    def path_of(self, name: str) -> str:
        """Return the absolute path that a metric's folder has or would have; ValueError for an impossible name."""
        relative = ceresfile.relative_folder(name.encode("utf-8", "surrogateescape"), self._hashed)
        return os.path.join(self.root, os.fsdecode(relative))

    def _folders(self, name: str) -> list[bytes]:
        """Return the folders that the metric's node may have, the likelier first."""
        return likely_paths(self._folder, name, ceresfile.relative_folder, self._hashed)

    def _found(self, name: str) -> bytes | None:
        folders = (folder for folder in self._folders(name) if os.path.isfile(os.path.join(folder, NODE_FILE)))
        return next(folders, None)


def fetch_node(name: str, folder: bytes, start: int, end: int, now: int, step: int = 0) -> Series | None:
    """Return what `CeresStore.fetch` does, of a node's folder; OSError or CorruptNodeError where there is none."""
    node = read_node(folder)
    for _try in range(_TRIES):
        try:
            found = _read(folder, node, start, end, now, step)
        except FileNotFoundError:  # a tool cut or removed a slice under our eyes
            continue
        if found is None:
            return None
        first, own, values = found
        method = node.method if node.method in METHODS else DEFAULT_METHOD
        xff = DEFAULT_XFF if node.xff is None else node.xff
        return Series(name, first, first + len(values) * own, own, values, method, xff)
    raise StorageError(f"{os.fsdecode(folder)}: its slices change again and again")


def _read(folder: bytes, node: Node, start: int, end: int, now: int, step: int) -> tuple[int, int, Floats] | None:
    """Return (first time, seconds per value, values) as `CeresStore.fetch` promises; None for nothing."""
    slices = slices_in(folder)
    if step:
        slices = [one for one in slices if one.step == step]
        if not slices and step not in (node.step, *(own for own, _points in node.archives)):
            raise ValueError(f"invalid granularity: {step}")
    if not slices:
        return None
    oldest, newest = min(one.start for one in slices), max(one.end for one in slices)
    if start >= newest or end <= oldest:
        return None
    kept = max((own * points for own, points in node.archives), default=0)
    start, end = max(start, min(oldest, now - kept)), min(end, max(newest, now))
    finest = step or node.step
    start, end = start - start % finest, end - end % finest
    if (end - start) // min(finest, *(one.step for one in slices)) > MAX_SLOTS:
        raise ValueError("the range has too many points")
    return start, *read_points(folder, slices, start, end, finest, node.method)


def _plain(value: str) -> object:
    try:
        return json.loads(value, parse_constant=str)
    except (ValueError, RecursionError):
        return value


def _replace_node(folder: bytes, properties: dict[str, object]) -> None:
    """Write a node's file anew, whole or not at all; ValueError for what no node may say."""
    text = properties_text(properties)
    try:
        parse_node(text)
    except CorruptNodeError as error:
        raise ValueError(str(error)) from None
    temporary = os.path.join(folder, b".new-%d-%d" % (os.getpid(), threading.get_ident()))
    try:
        with open(temporary, "wb") as file:
            file.write(text)
        os.rename(temporary, os.path.join(folder, NODE_FILE))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise StorageError(f"{os.fsdecode(folder)}: {error.strerror}") from error
