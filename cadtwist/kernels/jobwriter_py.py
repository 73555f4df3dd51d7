"""The frame of a job of writing, in plain Python: what the writers of all kinds of files have in common."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from cadtwist.kernels.whisperformat import (
    BAD_NAME,
    CREATED,
    QUARANTINED,
    REPORT_QUARANTINED,
    REPORT_RETRY,
    RETRY,
    TOO_OLD,
    WAITS_FOR_CREATE,
    WRITTEN,
)

__all__ = ["JobWriter", "Reporting", "check_job", "check_offsets", "whole_file", "write_all"]

_MOST_REPORTS = 1024
_UNUSABLE = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class Reporting:
    """Counts what a writer does, and keeps what it has to say of files until it is asked."""

    def __init__(self, counters: Iterable[str]) -> None:
        self._counters = dict.fromkeys(counters, 0)
        self._reports: list[tuple[int, bytes, int]] = []

    @property
    def open_files(self) -> int:
        """Descriptors kept open: none in this twin."""
        return 0

    def counters(self) -> dict[str, int]:
        """Return the counts of `COUNTERS`."""
        return dict(self._counters)

    def reports(self) -> list[tuple[int, bytes, int]]:
        """Return and forget what happened to files: (REPORT_*, name, errno or 0), at most 1,024."""
        reports, self._reports = self._reports, []
        return reports

    def _report(self, counter: str, kind: int, name: bytes, code: int = 0) -> None:
        self._counters[counter] += 1
        if len(self._reports) < _MOST_REPORTS:
            self._reports.append((kind, name, code))

    def _failed(self, name: bytes, error: Exception) -> int:
        """Return the status of a metric whose files cannot be written; any but an OSError says that they are broken."""
        code = (error.errno or 0) if isinstance(error, OSError) else 0
        if code == errno.ENAMETOOLONG:
            self._counters["bad_names"] += 1
            return BAD_NAME
        if code in _UNUSABLE or not isinstance(error, OSError):
            self._report("quarantined", REPORT_QUARANTINED, name, code)
            return QUARANTINED
        self._report("retried", REPORT_RETRY, name, code)
        return RETRY


class JobWriter(Reporting):
    """Writes jobs of points.  Subclasses give `_path`, `_settle`, and `corrupt`, the error of a broken file."""

    corrupt: type[Exception]

    def __init__(self, counters: Iterable[str]) -> None:
        super().__init__(counters)
        self._schemas: list[Any] = []

    @property
    def schemas(self) -> int:
        """How many schemas are known."""
        return len(self._schemas)

    def write(
        self, names: bytes, name_offsets: Any, ids: Any, schemas: Any, offsets: Any, timestamps: Any, values: Any,
        now: int, may_create: int, statuses: Any,
    ) -> int:  # fmt: skip
        """Write the points of each metric, set its status, return how many were created.

        Columns as in a WriteJob; timestamps ascend within a metric.  ValueError if the columns contradict each other.
        """
        check_job(names, name_offsets, ids, schemas, offsets, timestamps, values, statuses, len(self._schemas))
        created = 0
        for row in range(len(ids)):
            name = bytes(names[name_offsets[row] : name_offsets[row + 1]])
            columns = (timestamps[offsets[row] : offsets[row + 1]], values[offsets[row] : offsets[row + 1]])
            schema = self._schemas[schemas[row]]
            statuses[row] = status = self._write_one(name, int(ids[row]), schema, *columns, now, created < may_create)
            created += status == CREATED
        return created

    def _write_one(
        self, name: bytes, number: int, schema: Any, timestamps: Any, values: Any, now: int, may_create: bool
    ) -> int:
        count = self._counters
        try:
            path = self._path(name)
        except ValueError:
            count["bad_names"] += 1
            return BAD_NAME
        try:
            status, late = self._settle(path, name, number, schema, timestamps, values, now, may_create)
        except (self.corrupt, OSError) as error:
            return self._failed(name, error)
        if status == WAITS_FOR_CREATE:
            count["waiting"] += 1
            return status
        count["late"] += late
        count["points"] += len(timestamps) - late
        count["updates"] += late < len(timestamps)
        return TOO_OLD if status == WRITTEN and 0 < late == len(timestamps) else status

    def _path(self, name: bytes) -> bytes:
        """Return where a metric is kept; ValueError for a name that nothing can have."""
        raise NotImplementedError

    def _settle(
        self, path: bytes, name: bytes, number: int, schema: Any, timestamps: Any, values: Any, now: int,
        may_create: bool,
    ) -> tuple[int, int]:  # fmt: skip
        """Write the points of a metric; return its status (WRITTEN, CREATED, WAITS_FOR_CREATE), how many were late."""
        raise NotImplementedError


def check_job(
    names: Any, name_offsets: Any, ids: Any, schemas: Any, offsets: Any, timestamps: Any, values: Any, statuses: Any,
    known_schemas: int,
) -> None:  # fmt: skip
    """Raise ValueError unless the columns of a job fit together and all its schemas are known."""
    n = len(ids)
    whole = (len(name_offsets), len(schemas), len(offsets), len(statuses)) == (n + 1, n, n + 1, n)
    if not whole or len(timestamps) != len(values):
        raise ValueError("the columns of the job differ in length")
    check_offsets((name_offsets, len(names)), (offsets, len(timestamps)))
    numbers = np.asarray(schemas)
    if n and not 0 <= numbers.min() <= numbers.max() < known_schemas:
        raise ValueError("the job has an unknown schema")


def check_offsets(*columns: tuple[Any, int]) -> None:
    """Raise ValueError unless offsets ascend from 0 to the size of what they divide."""
    for bounds, end in columns:
        steps = np.diff(np.asarray(bounds, dtype=np.int64))
        if int(bounds[0]) != 0 or int(bounds[-1]) != end or (steps < 0).any():
            raise ValueError("the offsets of the job are wrong")


def write_all(fd: int, data: bytes, offset: int) -> None:
    """Write bytes at an offset, however often the system has to be asked."""
    while data:
        done = os.pwrite(fd, data, offset)
        data, offset = data[done:], offset + done


@contextlib.contextmanager
def whole_file(path: bytes, temporary: bytes, replace: bool, mode: int = 0o666) -> Iterator[int]:
    """Yield the descriptor of what stands at `path` when the block has ended well: whole, or not at all.

    Until then its name is `temporary`, in the same folder.  FileExistsError where something stands there already,
    unless `replace`.
    """
    hidden = os.path.join(os.path.dirname(path), temporary)
    fd = os.open(hidden, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, mode)
    try:
        yield fd
        if replace:
            os.rename(hidden, path)
        else:
            os.link(hidden, path)
    finally:
        os.close(fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(hidden)
