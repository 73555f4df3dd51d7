"""StatFiles in plain Python: the readable twin and the reference of the native one.

A job is planned first: every counter's samples are replayed, in their order, onto the cells of its files, and what
changed becomes a redo record of absolute bytes.  Then the record is applied.  Logged in between, it makes a crash
between any two writes harmless.  This twin opens a file for each use.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.jobwriter_py import Reporting, check_offsets, whole_file, write_all
from cadtwist.kernels.regularfile import open_regular
from cadtwist.kernels.statformat import (
    BAD_NAME,
    CELL,
    COLLATED,
    COUNTER_AGGREGATE,
    COUNTERS,
    CREATED,
    HEADER_BYTES,
    MAX_FILES,
    QUARANTINED,
    REPORT_HEALED,
    REPORT_QUARANTINED,
    REPORT_RETRY,
    RETRY,
    SHIFT_OUT,
    TRAILING,
    WAITS_FOR_CREATE,
    WRITTEN,
    CorruptFileError,
    Header,
    counter_path,
    new_header,
    parse_header,
)
from cadtwist.kernels.statring import BLOCK_BYTES, Cell, Counter, Ring, State, float32, int32

__all__ = ["Reader", "Writer", "apply_redo", "create_file", "read_header", "update_file"]

_ENTRY = struct.Struct("<IHHI")
_STATE_ENTRY = 0xFFFF
_BEYOND = 1 << 53
Retention = tuple[bytes, int, int, float]
Columns = tuple[Any, Any, Any, Any, Any, Any]


class _Job(NamedTuple):
    """One counter's part of a job."""

    row: int
    number: int
    name: bytes
    event: bool
    columns: Columns
    now: int
    shift: int
    may_create: bool


class _File:
    """A file opened for one use."""

    def __init__(self, path: bytes, flags: int = os.O_RDONLY) -> None:
        self.fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            if not stat.S_ISREG(os.fstat(self.fd).st_mode):
                raise CorruptFileError("not a regular file")
            self.head = parse_header(os.pread(self.fd, HEADER_BYTES, 0))
        except BaseException:
            os.close(self.fd)
            raise

    def read(self, offset: int) -> bytes:
        """Return a block, short at the end of the file."""
        return os.pread(self.fd, BLOCK_BYTES, offset)

    def __enter__(self) -> _File:  # noqa: PYI034
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self.fd)


class Writer(Reporting):
    """Writes jobs to the counters below `root`, for one thread.

    `retentions` are (file name, interval in s, samples, lambda), finest first.  `shown_root` is what the headers of
    files say in place of `root`.  With `sparse` new files are holes, else their room is reserved.  With `parents`
    every level above a new counter gets empty files too.  `max_open` is of use to the native twin only.
    """

    def __init__(
        self, root: bytes, retentions: Sequence[Retention], max_open: int = 1024, sparse: bool = False,
        parents: bool = True, shown_root: bytes | None = None,
    ) -> None:  # fmt: skip
        if not 1 <= len(retentions) <= MAX_FILES:
            raise ValueError(f"1 to {MAX_FILES} files per counter are possible")
        for name, interval, samples, factor in retentions:
            new_file_header(name, interval, samples, factor, 0, 0, 0)
        super().__init__(COUNTERS)
        self._root, self._shown = root, root if shown_root is None else shown_root
        self._retentions = list(retentions)
        self._sparse, self._parents = sparse, parents
        self.max_open = max_open
        self._states: dict[int, State] = {}
        self._planned: dict[int, State | None] = {}
        self._redo: dict[int, list[bytes]] = {}
        self._unwritten: dict[int, bytes] = {}

    @property
    def unwritten(self) -> int:
        """Counters whose last changes could not be written yet; they are written before anything else is planned."""
        return len(self._unwritten)

    def counters(self) -> dict[str, int]:
        """Return the counts of `COUNTERS`."""
        return {**self._counters, "unwritten": len(self._unwritten)}

    def close(self) -> None:
        """Close all descriptors; the Writer may be used again."""

    def holds(self, ids: Iterable[int]) -> npt.NDArray[np.bool_]:
        """Return of which counters something is kept: open windows, or changes that could not be written."""
        return np.array([number in self._states or number in self._unwritten for number in map(int, ids)], np.bool_)

    def state(self, number: int) -> bytes:
        """Return the open windows of a counter as bytes; empty where there are none."""
        state = self._states.get(number)
        return state.pack() if state else b""

    def restore(self, number: int, data: bytes) -> None:
        """Set the open windows of a counter; ValueError for bytes that are no state."""
        self._states[number] = State.unpack(data)

    def plan(
        self, names: bytes, name_offsets: Any, ids: Any, events: Any, offsets: Any, times: Any, counts: Any, sums: Any,
        sumsqs: Any, minima: Any, maxima: Any, now: int, shift: int, may_create: int, statuses: Any,
    ) -> bytes:  # fmt: skip
        """Replay the samples of each counter, set its status, return the redo record of all of them.

        Counter i is named `names[name_offsets[i]:name_offsets[i + 1]]` (munged), a new one is of events where
        `events[i]`, and its samples are rows `offsets[i]` up to `offsets[i + 1]`.  At most `may_create` new counters.
        An id stands once in a job.  ValueError if the columns contradict each other, or a plan waits for `commit`.
        """
        columns = times, counts, sums, sumsqs, minima, maxima
        check_job(names, name_offsets, ids, events, offsets, columns, statuses)
        if self._redo or self._planned:
            raise ValueError("the plan before was not committed")
        made = 0
        for row, number in enumerate(int(number) for number in ids):
            name = bytes(names[name_offsets[row] : name_offsets[row + 1]])
            part = tuple(column[offsets[row] : offsets[row + 1]] for column in columns)
            job = _Job(row, number, name, bool(events[row]), part, now, shift, made < may_create)
            status = self._plan_safely(job)
            made += status == CREATED
            statuses[row] = status
        return b"".join(part for parts in self._redo.values() for part in parts)

    def commit(self) -> None:
        """Write what was planned.  What cannot be written is kept and tried again before the counter's next plan."""
        for number, parts in self._redo.items():
            self._write(number, b"".join(parts))
        for number, state in self._planned.items():
            if state is None:
                self._states.pop(number, None)
            else:
                self._states[number] = state
        self._redo, self._planned = {}, {}

    def write(self, *job: Any) -> None:
        """Plan and commit a job; arguments as of `plan`."""
        self.plan(*job)
        self.commit()

    def _write(self, number: int, redo: bytes) -> bool:
        try:
            apply_redo(self._root, redo)
        except OSError as error:
            self._unwritten[number] = redo
            self._report("retried", REPORT_RETRY, b"", error.errno or 0)
            return False
        self._unwritten.pop(number, None)
        return True

    def _plan_safely(self, job: _Job) -> int:
        try:
            if job.number in self._unwritten and not self._write(job.number, self._unwritten[job.number]):
                return RETRY
            return self._plan_one(job)
        except ValueError:
            self._counters["bad_names"] += 1
            return BAD_NAME
        except OSError as error:
            return self._failed(job.name, error)

    def _plan_one(self, job: _Job) -> int:
        folder = counter_path(job.name)
        fresh = not any(self._present(folder, retention) for retention in self._retentions)
        known = self._states.get(job.number)
        if not len(job.columns[0]) and (fresh or known is None):
            return WRITTEN
        if fresh and not job.may_create:
            self._counters["waiting"] += 1
            return WAITS_FOR_CREATE
        zero_time = _whole(job.columns[0][0]) if len(job.columns[0]) else 0
        event, step = self._shape(folder, job.event)
        self._make(folder, job.name, event, step, zero_time or job.now)
        if fresh:
            self._counters["created"] += 1
            self._make_parents(job.name, event, zero_time or job.now)
        with contextlib.ExitStack() as files:
            rings = [self._open(files, folder, retention, job.name) for retention in self._retentions]
            if not any(rings):
                return QUARANTINED
            counter = Counter(rings, known.copy() if known else State())
            self._replay(counter, job)
            self._redo[job.number] = self._record(counter, folder, job.row)
        out = job.shift == SHIFT_OUT or not counter.state.pack()
        self._planned[job.number] = None if out else counter.state
        self._redo[job.number].append(_entry(job.row, _STATE_ENTRY, job.name, b"" if out else counter.state.pack()))
        return CREATED if fresh else WRITTEN

    def _replay(self, counter: Counter, job: _Job) -> None:
        taken = replay(counter, job.columns)
        counter.flush(job.now, job.shift)
        samples = len(job.columns[0])
        self._counters["samples"] += taken
        self._counters["from_past" if counter.event else "too_old"] += samples - taken
        self._counters["updates"] += taken > 0

    def _record(self, counter: Counter, folder: bytes, row: int) -> list[bytes]:
        """Return what changed as redo entries, one for each file."""
        out = []
        for number, ring in enumerate(counter.rings):
            if ring is not None and ring.changed:
                path = folder + b"/" + self._retentions[number][0]
                head = ring.head._replace(name=(self._shown + b"/" + path)[:255])
                out.append(_entry(row, number, path, head.pack() + ring.runs()))
        return out

    def _present(self, folder: bytes, retention: Retention) -> bool:
        try:
            found = os.stat(os.path.join(self._root, folder, retention[0]))
        except FileNotFoundError:
            return False
        return found.st_size > 0 or not stat.S_ISREG(found.st_mode)

    def _shape(self, folder: bytes, event: bool) -> tuple[bool, int]:
        """Return whether a counter is of events and its finest interval, as its finest file says if there is one."""
        name, interval, _samples, _factor = self._retentions[0]
        try:
            with _File(os.path.join(self._root, folder, name)) as file:
                return bool(file.head.flags & COLLATED), file.head.interval
        except (OSError, CorruptFileError):
            return event, interval

    def _make(self, folder: bytes, counter: bytes, event: bool, step: int, zero_time: int) -> None:
        """Make the missing files of a counter, the finest one last."""
        for number in reversed(range(len(self._retentions))):
            name, interval, samples, factor = self._retentions[number]
            if self._present(folder, self._retentions[number]):
                continue
            flags = (COUNTER_AGGREGATE if number else COLLATED) if event else 0
            path = folder + b"/" + name
            fixed = interval // step if number and event else 0
            head = new_file_header(self._shown + b"/" + path, interval, samples, factor, flags, zero_time, fixed)
            full = os.path.join(self._root, path)
            empty = os.path.lexists(full)
            with contextlib.suppress(FileExistsError):
                create_file(full, head, self._sparse, replace=empty)
                self._counters["files_created"] += 1
                if empty:
                    self._report("healed", REPORT_HEALED, counter)

    def _make_parents(self, name: bytes, event: bool, zero_time: int) -> None:
        """Make the files of every level above, up to one that has them."""
        while self._parents and b"." in name:
            name = name.rpartition(b".")[0]
            folder = counter_path(name)
            if self._present(folder, self._retentions[0]):
                return
            try:
                self._make(folder, name, event, self._retentions[0][1], zero_time)
            except OSError as error:
                self._report("retried", REPORT_RETRY, name, error.errno or 0)
                return

    def _open(self, files: contextlib.ExitStack, folder: bytes, retention: Retention, counter: bytes) -> Ring | None:
        try:
            file = files.enter_context(_File(os.path.join(self._root, folder, retention[0])))
        except CorruptFileError:
            self._report("quarantined", REPORT_QUARANTINED, counter)
            return None
        self._counters["opened"] += 1
        return Ring(file.head, file.read)


class Reader:
    """One counter's files as they are, or as they will be when samples that wait are written.

    `path` is the counter's folder, `names` its files, finest first.  Closed on leaving the `with` block.
    """

    def __init__(self, path: bytes, names: Sequence[bytes]) -> None:
        self._files = contextlib.ExitStack()
        self._rings: list[Ring | None] = []
        try:
            for name in names:
                try:
                    file = self._files.enter_context(_File(os.path.join(path, name)))
                    self._rings.append(Ring(file.head, file.read))
                except (FileNotFoundError, NotADirectoryError, CorruptFileError):
                    self._rings.append(None)
        except BaseException:
            self._files.close()
            raise

    def __enter__(self) -> Reader:  # noqa: PYI034
        return self

    def __exit__(self, *_exc: object) -> None:
        self._files.close()

    def headers(self) -> list[Header | None]:
        """Return the header of each file as it is now; None for one that is missing or unusable."""
        return [ring.head if ring else None for ring in self._rings]

    def replay(
        self, times: Any, counts: Any, sums: Any, sumsqs: Any, minima: Any, maxima: Any, state: bytes = b""
    ) -> None:
        """Let samples happen to what is read, without writing; `state` as a Writer tells it."""
        if any(self._rings):
            replay(Counter(self._rings, State.unpack(state)), (times, counts, sums, sumsqs, minima, maxima))

    def cells(self, number: int, first: int, count: int) -> npt.NDArray[Any]:
        """Return `count` cells of a file from an index on (dtype CELL): what lies in their slots, whatever its time."""
        ring = self._rings[number]
        if ring is None:
            raise ValueError("no such file")
        found = np.zeros(count, CELL)
        for row in range(count):
            found[row] = ring.cell(first + row)
        return found


def check_job(
    names: Any, name_offsets: Any, ids: Any, events: Any, offsets: Any, columns: Sequence[Any], statuses: Any
) -> None:
    """Raise ValueError where the columns of a job contradict each other."""
    n, samples = len(ids), len(columns[0])
    fits = len(name_offsets) == len(offsets) == n + 1 and len(events) == len(statuses) == n
    if not fits or any(len(column) != samples for column in columns):
        raise ValueError("the columns of the job differ in length")
    check_offsets((name_offsets, len(names)), (offsets, samples))
    if len(np.unique(np.asarray(ids))) != n:
        raise ValueError("an id stands twice in a job")


def replay(counter: Counter, columns: Columns) -> int:
    """Let samples happen to a counter, in order; return how many it took."""
    taken = 0
    for time, count, total, sumsq, low, high in zip(*(np.asarray(c).tolist() for c in columns), strict=True):
        if counter.event:
            taken += counter.happened(_whole(time), total)
        else:
            cell = Cell(_whole(time), total, float32(low), float32(high), int32(_whole(count)), float32(sumsq))
            taken += counter.gauge(cell)
    return taken


def apply_redo(root: bytes, redo: bytes, state: Callable[[bytes, bytes], None] | None = None) -> None:
    """Write a redo record to the files below `root`; any number of times.

    `state`, if given, is told the name and open windows of each counter.  ValueError for a damaged record, OSError
    where a file cannot be written; files that are gone are left out.
    """
    at = 0
    while at < len(redo):
        if at + _ENTRY.size > len(redo):
            raise ValueError("the redo record ends early")
        size, number, path_bytes, _ = _ENTRY.unpack_from(redo, at)
        if size < _ENTRY.size + path_bytes or at + size > len(redo):
            raise ValueError("the redo record ends early")
        path = redo[at + _ENTRY.size : at + _ENTRY.size + path_bytes]
        data = redo[at + _ENTRY.size + path_bytes : at + size]
        at += size
        if number != _STATE_ENTRY:
            _apply_entry(os.path.join(root, path), data)
        elif state is not None:
            state(path, data)


def _apply_entry(path: bytes, data: bytes) -> None:
    """Write the changed cells of one file, then its header."""
    try:
        fd = open_regular(path, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        at = HEADER_BYTES
        while at < len(data):
            offset, size = struct.unpack_from("<QI", data, at)
            at += 12
            write_all(fd, data[at : at + size], offset)
            at += size
        write_all(fd, data[:HEADER_BYTES], 0)
    finally:
        os.close(fd)


def create_file(path: bytes, head: Header, sparse: bool = False, replace: bool = False) -> None:
    """Make a file with that header at `path`, whole or not at all; over what is there if `replace`."""
    with contextlib.suppress(FileExistsError):
        os.makedirs(os.path.dirname(path))
    with whole_file(path, b".%d-%d.new" % (os.getpid(), threading.get_ident()), replace, 0o664) as fd:
        if sparse:
            os.ftruncate(fd, head.file_bytes)
        else:
            os.posix_fallocate(fd, 0, head.file_bytes)
        write_all(fd, head.pack(), 0)


def read_header(path: bytes) -> Header:
    """Return the header of a file; OSError or CorruptFileError where it has none."""
    with _File(path) as file:
        return file.head


def update_file(path: bytes, cells: npt.NDArray[Any], mode: int | None) -> int:
    """Put cells (dtype CELL) of any order into a file; return how many its ring had room for.

    `mode` says how they meet what is there (OVERWRITE ...); None = as samples of a daemon do.
    """
    with _File(path, os.O_RDWR) as file:
        ring = Ring(file.head, file.read)
        taken = sum(ring.record(Cell(*cell), None, mode) for cell in _stored(cells))
        _apply_entry(path, ring.head.pack() + ring.runs())
    return taken


def _stored(cells: npt.NDArray[Any]) -> Iterable[tuple[int, float, float, float, int, float]]:
    return cells.tolist()  # type: ignore[no-any-return]


def new_file_header(
    path: bytes, interval: int, samples: int, factor: float, flags: int, zero_time: int, fixed: int
) -> Header:
    """Return the header of a new file: of a season where `factor` is above 0."""
    if factor:
        return new_header(path, interval, samples, flags | TRAILING, zero_time, factor, interval * samples, fixed)
    return new_header(path, interval, samples, flags, zero_time, fixed_count=fixed)


def _entry(row: int, number: int, path: bytes, data: bytes) -> bytes:
    return _ENTRY.pack(_ENTRY.size + len(path) + len(data), number, len(path), row) + path + data


def _whole(value: float) -> int:
    """Return the whole number of a float64, held within 2^53."""
    return int(max(-_BEYOND, min(_BEYOND, value))) if value == value else 0
