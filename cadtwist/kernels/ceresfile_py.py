"""Ceres nodes in plain Python: the readable twin and the reference of the native one.

Of a node it keeps the step and the start of its newest slice, as long as the folder has not changed, and opens a slice
for each use.  So slices that tools roll up, rename or remove are never written blindly.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.ceresformat import (
    COUNTERS,
    CREATED,
    DEFAULT_GAP,
    MAX_NODE_BYTES,
    MAX_TIME,
    NODE_FILE,
    POINT_BYTES,
    REPORT_HEALED,
    REPORT_MISMATCH,
    REPORT_QUARANTINED,
    REPORT_RETRY,
    TRIES,
    TRUSTED_S,
    WAITS_FOR_CREATE,
    WRITTEN,
    CorruptNodeError,
    node_text,
    parse_node,
    relative_folder,
    slice_name,
    slices_of_step,
)
from cadtwist.kernels.jobwriter_py import JobWriter, whole_file, write_all
from cadtwist.kernels.regularfile import open_regular

__all__ = [
    "COUNTERS", "REPORT_HEALED", "REPORT_MISMATCH", "REPORT_QUARANTINED", "REPORT_RETRY", "CorruptNodeError", "Writer",
    "relative_folder",
]  # fmt: skip

_NAN = np.array([np.nan], ">f8").tobytes()
Points = npt.NDArray[Any]


class _Kept(NamedTuple):
    """What is known of a node: its folder's device, inode and time; its step; the start of its newest slice, or -1."""

    identity: tuple[int, int, int]
    step: int
    newest: int


class _Schema(NamedTuple):
    text: bytes
    archives: tuple[tuple[int, int], ...]


class Writer(JobWriter):
    """Writes jobs below `root`.  Of one thread, which has the ids of one of `lanes` (`id % lanes`).

    At most `max_nodes` nodes are kept in mind; none with `keep_nodes` false, none of their slices with `keep_slices`
    false.  `lock` takes an flock of each slice; `flush` syncs what was written.
    """

    corrupt = CorruptNodeError

    def __init__(
        self, root: bytes, max_nodes: int = 1 << 20, hashed: bool = True, lock: bool = False, flush: bool = False,
        max_gap: int = DEFAULT_GAP, keep_nodes: bool = True, keep_slices: bool = True, lanes: int = 1,
    ) -> None:  # fmt: skip
        if b"\0" in root or lanes < 1:
            raise ValueError("no folder has a NUL in its name, and there is at least one lane")
        super().__init__(COUNTERS)
        self._root, self._hashed, self._lock, self._flush = root, hashed, lock, flush
        self._lanes = lanes
        self._max_gap, self._keep_slices = max_gap, keep_slices
        self._max_nodes = max_nodes if keep_nodes else 0
        self._kept: dict[int, tuple[int, _Kept]] = {}

    def add_schema(self, archives: Sequence[tuple[int, int]], xff: float, method: str) -> int:
        """Make the next schema number known; ValueError for one that no node can have."""
        pairs = tuple((int(step), int(points)) for step, points in archives)
        self._schemas.append(_Schema(node_text(pairs, xff, method), pairs))
        return len(self._schemas) - 1

    def close(self) -> None:
        """Forget all nodes; the Writer may be used again."""
        self._kept.clear()

    def _path(self, name: bytes) -> bytes:
        return os.path.join(self._root, relative_folder(name, self._hashed))

    def _settle(
        self, path: bytes, name: bytes, number: int, schema: _Schema, timestamps: Any, values: Any, now: int,
        may_create: bool,
    ) -> tuple[int, int]:  # fmt: skip
        """Begin again when a file vanishes or appears meanwhile."""
        folder, status = path, WRITTEN
        for left in reversed(range(TRIES)):
            try:
                kept = self._current(folder, number) or self._opened(folder, name, number, schema, now)
            except FileNotFoundError:
                if self._renamed(name, folder):
                    continue
                if not may_create and status != CREATED:
                    return WAITS_FOR_CREATE, 0
                if self._made(folder, schema):
                    status = CREATED
                continue
            if kept is None:
                self._heal(folder, name, schema)
                continue
            try:
                return status, self._store(folder, kept, timestamps, values)
            except (FileNotFoundError, FileExistsError):
                self._counters["vanished"] += 1
                self._kept.pop(self._place(number), None)
                if not left:
                    raise
        raise FileNotFoundError(errno.ENOENT, "it vanishes again and again")

    # Nodes

    def _place(self, number: int) -> int:
        return number // self._lanes % max(self._max_nodes, 1)

    def _current(self, folder: bytes, number: int) -> _Kept | None:
        """Return what is known of the node, if its folder has not changed."""
        known, kept = self._kept.get(self._place(number), (-1, None))
        if known != number or kept is None:
            return None
        if kept.identity == _identity(folder):
            self._counters["reused"] += 1
            return kept
        self._counters["reopened"] += 1
        del self._kept[self._place(number)]
        return None

    def _opened(self, folder: bytes, name: bytes, number: int, schema: _Schema, now: int) -> _Kept | None:
        """Read a node and keep it in mind; None where its file is empty: whoever made it did not come to an end."""
        identity = _identity(folder)
        with os.fdopen(open_regular(os.path.join(folder, NODE_FILE)), "rb") as file:
            data = file.read(MAX_NODE_BYTES)
        if not data:
            return None
        self._counters["opened"] += 1
        step = schema.archives[0][0]
        if data != schema.text:
            node = parse_node(data)
            step = node.step
            if step != schema.archives[0][0] or (node.archives and node.archives != schema.archives):
                self._report("mismatched", REPORT_MISMATCH, name)
        starts = slices_of_step(os.listdir(folder), step)
        kept = _Kept(identity, step, starts[0] if starts else -1)
        if self._max_nodes and now - identity[2] // 1_000_000_000 >= TRUSTED_S:
            self._kept[self._place(number)] = number, kept
        return kept

    def _made(self, folder: bytes, schema: _Schema) -> bool:
        """Make a node, whole or not at all; False where somebody else did meanwhile."""
        os.makedirs(folder, 0o755, exist_ok=True)
        try:
            self._write_node(folder, schema, replace=False)
        except FileExistsError:
            return False
        self._counters["created"] += 1
        return True

    def _heal(self, folder: bytes, name: bytes, schema: _Schema) -> None:
        self._write_node(folder, schema, replace=True)
        self._report("healed", REPORT_HEALED, name)

    def _write_node(self, folder: bytes, schema: _Schema, replace: bool) -> None:
        temporary = b".new-%d-%d-py" % (os.getpid(), threading.get_ident())
        with whole_file(os.path.join(folder, NODE_FILE), temporary, replace) as fd:
            write_all(fd, schema.text, 0)
            if self._flush:
                os.fsync(fd)

    def _renamed(self, name: bytes, folder: bytes) -> bool:
        """Give a tagged node that lies under its plain name the hashed one."""
        if b";" not in name or not self._hashed or os.path.lexists(folder):
            return False
        with contextlib.suppress(OSError, ValueError):
            os.rename(os.path.join(self._root, relative_folder(name, False)), folder)
            self._counters["renamed"] += 1
            return True
        return False

    # Points

    def _store(self, folder: bytes, kept: _Kept, timestamps: Any, values: Any) -> int:
        """Write points into the slices of a node, the newest run first; return how many had no place."""
        step = kept.step
        times, kept_values, late = _aligned(np.asarray(timestamps), np.asarray(values), step)
        if not len(times):
            return late
        starts = [kept.newest] if kept.newest >= 0 else []
        if starts and (times[0] < kept.newest or not self._keep_slices):
            starts = slices_of_step(os.listdir(folder), step)
        first = np.flatnonzero(np.append(True, np.diff(times) != step))
        earlier = []
        for begin, end in zip(first[::-1].tolist(), [len(times), *first[:0:-1].tolist()], strict=True):
            left = self._store_run(folder, step, starts, int(times[begin]), kept_values[begin:end])
            if len(left):
                earlier.append((int(times[begin]), left))
        for begin, left in reversed(earlier):
            self._new_slice(folder, begin, step, left)
        return late

    def _store_run(self, folder: bytes, step: int, starts: list[int], begin: int, values: Points) -> Points:
        """Write contiguous values from `begin` on; return those that precede all slices."""
        for at, start in enumerate(starts):
            if begin >= start:
                if not self._write_slice(folder, start, step, begin, values):
                    self._new_slice(folder, begin, step, values)
                    starts.insert(at, begin)
                return values[:0]
            inside = -((begin - start) // step)
            if inside < len(values):
                if not self._write_slice(folder, start, step, begin + inside * step, values[inside:]):
                    self._new_slice(folder, begin + inside * step, step, values[inside:])
                values = values[:inside]
        return values

    def _write_slice(self, folder: bytes, start: int, step: int, begin: int, values: Points) -> bool:
        """Write values at their place; False if that lies too far behind the slice's end."""
        path = os.path.join(folder, slice_name(start, step))
        fd = open_regular(path, os.O_WRONLY)
        try:
            found = os.fstat(fd)
            if self._lock:
                fcntl.flock(fd, fcntl.LOCK_EX)
                found = os.stat(path)
                if found.st_ino != os.fstat(fd).st_ino:
                    raise FileNotFoundError(errno.ENOENT, "it was replaced")
            at = (begin - start) // step
            gap = at - found.st_size // POINT_BYTES
            if gap > self._max_gap:
                return False
            data = values.tobytes() if gap <= 0 else gap * _NAN + values.tobytes()
            write_all(fd, data, (at - max(gap, 0)) * POINT_BYTES)
            if self._flush:
                os.fsync(fd)
            if not os.fstat(fd).st_nlink:
                raise FileNotFoundError(errno.ENOENT, "it was removed")
        finally:
            os.close(fd)
        return True

    def _new_slice(self, folder: bytes, begin: int, step: int, values: Points) -> None:
        """Make a slice; what cannot be written whole is not left behind empty."""
        path = os.path.join(folder, slice_name(begin, step))
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(fd, 0o644)
            write_all(fd, values.tobytes(), 0)
            if self._flush:
                os.fsync(fd)
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(fd)
        self._counters["slices"] += 1


def _identity(folder: bytes) -> tuple[int, int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _aligned(timestamps: Points, values: Points, step: int) -> tuple[Points, Points, int]:
    """Return times (int64, whole steps, ascending, each once) with big-endian values, and how many have no place.

    Of several points within a step the one with the latest second counts, of equal ones the last.
    """
    usable = (timestamps > -1) & (timestamps < MAX_TIME + 1.0)
    times = timestamps[usable].astype(np.int64)
    order = np.argsort(times, kind="stable")
    times = times[order]
    times -= times % step
    last = np.append(times[1:] != times[:-1], True) if len(times) else np.zeros(0, np.bool_)
    return times[last], values[usable][order][last].astype(">f8"), len(timestamps) - len(order)
