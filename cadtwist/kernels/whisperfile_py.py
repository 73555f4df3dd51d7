"""Whisper files in plain Python: the readable twin and the reference of the native one.

It opens a file for each use, so that a file renamed, resized or deleted elsewhere is never written blindly.
"""

from __future__ import annotations

import contextlib
import fcntl
import operator
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.jobwriter_py import JobWriter, whole_file, write_all
from cadtwist.kernels.whisperformat import (
    ALLOCATE_RESERVED,
    ALLOCATE_SPARSE,
    ALLOCATE_ZEROS,
    COUNTERS,
    CREATED,
    REPORT_HEALED,
    REPORT_MISMATCH,
    REPORT_QUARANTINED,
    REPORT_RETRY,
    WAITS_FOR_CREATE,
    WRITTEN,
    CorruptFileError,
    Header,
    NotCoveredError,
    header_bytes,
    parse_header,
    relative_path,
)

__all__ = [
    "ALLOCATE_RESERVED", "ALLOCATE_SPARSE", "ALLOCATE_ZEROS", "COUNTERS", "REPORT_HEALED", "REPORT_MISMATCH",
    "REPORT_QUARANTINED", "REPORT_RETRY", "CorruptFileError", "Header", "NotCoveredError", "Writer", "create", "fetch",
    "header_bytes", "info", "parse_header", "relative_path", "set_metadata", "update", "update_many",
]  # fmt: skip

_POINT = struct.Struct("!Ld")
_SIZE = _POINT.size
_MAX_SLOTS = 1 << 26
_HEAD_BYTES = 16 + 12 * 64
Archive = tuple[int, int, int]
Fetched = tuple[int, int, int, npt.NDArray[np.float64], int, float]
_CONSOLIDATE: dict[int, Callable[[list[float], int], float]] = {
    1: lambda known, _slots: reduce(operator.add, known) / len(known),
    2: lambda known, _slots: reduce(operator.add, known, 0.0),
    3: lambda known, _slots: known[-1],
    4: lambda known, _slots: max(known),
    5: lambda known, _slots: min(known),
    6: lambda known, slots: reduce(operator.add, known) / slots,
    7: lambda known, _slots: max(known, key=abs),
    8: lambda known, _slots: min(known, key=abs),
}


class _File:
    """An open whisper file; closed on leaving the `with` block."""

    def __init__(self, path: bytes, write: bool, lock: bool = False, flush: bool = False, random: bool = False) -> None:
        self.fd = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK)
        self.flush = flush
        try:
            found = os.fstat(self.fd)
            if not stat.S_ISREG(found.st_mode):
                raise CorruptFileError("not a regular file")
            if random:
                os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_RANDOM)
            if lock:
                fcntl.flock(self.fd, fcntl.LOCK_EX)
            self.head = parse_header(os.pread(self.fd, _HEAD_BYTES, 0), found.st_size)
        except BaseException:
            os.close(self.fd)
            raise

    def __enter__(self) -> _File:  # noqa: PYI034
        return self

    def __exit__(self, *_exc: object) -> None:
        try:
            if self.flush:
                os.fsync(self.fd)
        finally:
            os.close(self.fd)

    def base(self, archive: Archive) -> int:
        return int(_POINT.unpack(self.read(archive[0], _SIZE))[0])

    def read(self, offset: int, size: int) -> bytes:
        data = os.pread(self.fd, size, offset)
        if len(data) != size:
            raise CorruptFileError("the file ends early")
        return data

    def write(self, data: bytes, offset: int) -> None:
        write_all(self.fd, data, offset)

    def spans(self, archive: Archive, base: int, interval: int, slots: int) -> Iterator[tuple[int, int]]:
        """Yield (file offset, slots) of the one or two stretches that hold `slots` from `interval` on."""
        offset, step, points = archive
        first = (interval - base) // step % points
        ahead = min(slots, points - first)
        yield offset + first * _SIZE, ahead
        if slots > ahead:
            yield offset, slots - ahead

    def read_slots(self, archive: Archive, interval: int, slots: int) -> bytes:
        base = self.base(archive) or interval
        return b"".join(self.read(at, n * _SIZE) for at, n in self.spans(archive, base, interval, slots))

    def write_run(self, archive: Archive, run: list[tuple[int, float]]) -> None:
        """Write contiguous (interval, value) pairs; the first one of an empty archive becomes its base."""
        base = self.base(archive) or run[0][0]
        run = run[-archive[2] :]
        data = b"".join(_POINT.pack(interval, value) for interval, value in run)
        for at, n in self.spans(archive, base, run[0][0], len(run)):
            self.write(data[: n * _SIZE], at)
            data = data[n * _SIZE :]


def create(
    path: bytes, archives: Sequence[tuple[int, int]], xff: float, method: int, allocate: int = 0, replace: bool = False
) -> None:
    """Make an empty file of (step, points) archives; all of it or nothing.

    FileExistsError if there is one (unless `replace`), FileNotFoundError without its folder, ValueError for
    archives that no file may have.
    """
    head = header_bytes(archives, xff, method)
    size = len(head) + sum(points for _step, points in archives) * _SIZE
    temporary = b".new-%d-%d-py" % (os.getpid(), threading.get_ident())
    with whole_file(path, temporary, replace) as fd:
        write_all(fd, head, 0)
        if allocate == ALLOCATE_RESERVED:
            os.posix_fallocate(fd, 0, size)
        elif allocate == ALLOCATE_SPARSE:
            os.truncate(fd, size)
        for at in range(len(head), size if allocate == ALLOCATE_ZEROS else 0, 65536):
            write_all(fd, bytes(min(65536, size - at)), at)


def info(path: bytes) -> Header:
    """Return the Header of a file; OSError or CorruptFileError where there is none."""
    with _File(path, write=False) as file:
        return file.head


def set_metadata(path: bytes, method: int = 0, xff: float = -1.0, lock: bool = False) -> tuple[int, float]:
    """Change the aggregation type (0: keep) and xFilesFactor (negative: keep) in place; return the old ones."""
    with _File(path, write=True, lock=lock) as file:
        old = file.head
        archives = [(step, points) for _offset, step, points in old.archives]
        fresh = header_bytes(archives, old.xff if xff < 0 else xff, method or old.method)
        file.write(fresh[:4] + old.max_retention.to_bytes(4, "big") + fresh[8:16], 0)
        return old.method, old.xff


def update(path: bytes, timestamp: float, value: float, now: int) -> None:
    """Write one datapoint; NotCoveredError if it is in the future or older than the file reaches back."""
    with _File(path, write=True) as file:
        if not 0 <= now - int(timestamp) < file.head.max_retention:
            raise NotCoveredError("timestamp not covered by any archive")
        if _store(file, [timestamp], [value], now):
            raise NotCoveredError("timestamp not covered by any archive")


def update_many(path: bytes, timestamps: Sequence[float], values: Sequence[float], now: int) -> int:
    """Write datapoints in any order; return how many were older than the file reaches back (or no u32 time).

    Future ones go to the first archive.  Of several in one interval the newest counts, of several of one whole
    second the first given.
    """
    with _File(path, write=True) as file:
        return _store(file, timestamps, values, now)


def _store(file: _File, timestamps: Sequence[float], values: Sequence[float], now: int) -> int:
    points = sorted(
        ((int(ts) if -1 < ts < 9e15 else -1, float(value)) for ts, value in zip(timestamps, values, strict=True)),
        key=operator.itemgetter(0),
        reverse=True,
    )
    groups: list[dict[int, float]] = [{} for _archive in file.head.archives]
    late = at = 0
    for ts, value in points:
        while at < len(groups) and file.head.archives[at][1] * file.head.archives[at][2] <= now - ts:
            at += 1
        if at == len(groups) or not 0 < ts <= 0xFFFFFFFF:
            late += 1
        else:
            groups[at].setdefault(ts - ts % file.head.archives[at][1], value)
    for number, group in enumerate(groups):
        if group:
            _store_group(file, number, sorted(group.items()))
    return late


def _store_group(file: _File, number: int, points: list[tuple[int, float]]) -> None:
    archives = file.head.archives
    _write_runs(file, archives[number], points)
    intervals = [interval for interval, _value in points]
    for higher, lower in zip(archives[number:], archives[number + 1 :], strict=False):
        intervals = sorted({interval - interval % lower[1] for interval in intervals})
        found = [(interval, _consolidated(file, higher, lower, interval)) for interval in intervals]
        known = [(interval, value) for interval, value in found if value is not None]
        if not known:
            break
        _write_runs(file, lower, known)


def _write_runs(file: _File, archive: Archive, points: list[tuple[int, float]]) -> None:
    run: list[tuple[int, float]] = []
    for point in points:
        if run and point[0] != run[-1][0] + archive[1]:
            file.write_run(archive, run)
            run = []
        run.append(point)
    file.write_run(archive, run)


def _consolidated(file: _File, higher: Archive, lower: Archive, start: int) -> float | None:
    slots = lower[1] // higher[1]
    stored = list(_POINT.iter_unpack(file.read_slots(higher, start, slots)))
    known = [value for i, (ts, value) in enumerate(stored) if ts == start + i * higher[1]]
    if not known or len(known) / slots < file.head.xff:
        return None
    return _CONSOLIDATE[file.head.method](known, slots)


def fetch(path: bytes, start: int, end: int, now: int, step: int = 0) -> Fetched | None:
    """Return (first, past the last, step, values, method, xff) of whole steps in (start, end], or None.

    None: the range is in the future or older than the file reaches back.  The finest archive that reaches back to
    `start` answers, or that of `step` (ValueError if there is none).  values is float64, NaN where nothing is known.
    ValueError if start > end.
    """
    if start > end:
        raise ValueError(f"invalid time interval: {start} is after {end}")
    with _File(path, write=False) as file:
        head = file.head
        oldest = now - head.max_retention
        if start > now or end < oldest:
            return None
        start, end = max(start, oldest), min(end, now)
        for archive in head.archives:
            if archive[1] == step if step else archive[1] * archive[2] >= now - start:
                break
        else:
            raise ValueError(f"invalid granularity: {step}" if step else "no archive reaches back")
        return (*_fetch_archive(file, archive, start, end), head.method, head.xff)


def _fetch_archive(file: _File, archive: Archive, start: int, end: int) -> tuple[int, int, int, Any]:
    step, points = archive[1:]
    first, last = start - start % step + step, end - end % step + step
    last += step if first == last else 0
    slots = (last - first) // step
    if slots > _MAX_SLOTS:
        raise ValueError("the range has too many points")
    if file.base(archive) == 0:
        return first, last, step, np.full(slots, np.nan)
    slots = (slots - 1) % points + 1
    stored = np.frombuffer(file.read_slots(archive, first, slots), dtype=[("ts", ">u4"), ("value", ">f8")])
    expected = first + np.arange(slots, dtype=np.int64) * step
    return first, last, step, np.where(stored["ts"] == expected, stored["value"], np.nan)


class Writer(JobWriter):
    """Writes jobs below `root`.  Of one thread; `max_open` is of use to the native twin only."""

    corrupt = CorruptFileError

    def __init__(
        self, root: bytes, max_open: int = 1024, hashed: bool = True, allocate: int = ALLOCATE_ZEROS,
        lock: bool = False, flush: bool = False, random: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(COUNTERS)
        self._root, self._hashed, self._allocate = root, hashed, allocate
        self.max_open = max_open
        self._options = (lock, flush, random)

    def add_schema(self, archives: Sequence[tuple[int, int]], xff: float, method: int) -> int:
        """Make the next schema number known; ValueError for one that no file can have."""
        header_bytes(archives, xff, method)
        self._schemas.append((tuple(map(tuple, archives)), xff, method))
        return len(self._schemas) - 1

    def close(self) -> None:
        """Close all descriptors; the Writer may be used again."""

    def _path(self, name: bytes) -> bytes:
        return os.path.join(self._root, relative_path(name, self._hashed))

    def _settle(
        self, path: bytes, name: bytes, number: int, schema: Any, timestamps: Any, values: Any, now: int,  # noqa: ARG002
        may_create: bool,
    ) -> tuple[int, int]:  # fmt: skip
        status = WRITTEN
        if self._missing(path, name):
            if not may_create:
                return WAITS_FOR_CREATE, 0
            self._create(path, name, schema)
            status = CREATED
        with _File(path, True, *self._options) as file:
            self._counters["opened"] += 1
            if tuple(archive[1:] for archive in file.head.archives) != schema[0]:
                self._report("mismatched", REPORT_MISMATCH, name)
            return status, _store(file, timestamps, values, now)

    def _missing(self, path: bytes, name: bytes) -> bool:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            if b";" in name and self._hashed:
                with contextlib.suppress(OSError, ValueError):
                    os.rename(os.path.join(self._root, relative_path(name, False)), path)
                    self._counters["renamed"] += 1
                    return False
            return True
        return stat.S_ISREG(found.st_mode) and found.st_size == 0

    def _create(self, path: bytes, name: bytes, schema: Any) -> None:
        empty = os.path.lexists(path)
        with contextlib.suppress(FileExistsError):
            os.makedirs(os.path.dirname(path))
        archives, xff, method = schema
        create(path, archives, xff, method, self._allocate, replace=empty)
        self._counters["created"] += 1
        if empty:
            self._report("healed", REPORT_HEALED, name)
