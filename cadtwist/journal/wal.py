"""The write-ahead log of the cache: every accepted datapoint is on its way to the disk when the reactor turn ends.

Payloads of the frames (little-endian, columns; `segments` tells how frames stand in files)::

    NAMES  = 1   count u32 | 4 zeros | ids u32[count] | offsets u32[count + 1] | names, one after the other
    POINTS = 2   count u32 | 4 zeros | timestamps f64[count] | values f64[count] | ids u32[count]
    CELLS  = 3   reserved: absolute cells of additive stores up to a sequence

An id means the name that the last NAMES frame before it in the same segment gave it, so a segment can be read without
any other and by a process with other numbers.  Replay in order is idempotent: of equal timestamps the last value wins.

Segments go oldest first, when no pending datapoint needs them (the pins of the point store).  When the log outgrows
twice what is pending, the oldest segment's metrics are logged again whole, in slices, so that cold metrics and update
limits do not keep the log long.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cadtwist.journal.segments import FRAME_BYTES, SegmentLog
from cadtwist.model.batch import BATCH_POINTS, NO_ID, Batch, Floats, Ids
from cadtwist.model.idflags import IdFlags
from cadtwist.model.table import Names
from cadtwist.telemetry import Account

__all__ = ["CELLS", "NAMES", "POINTS", "Interned", "LoggedPoints", "Numbers", "Wal", "raw", "replay"]

NAMES = 1
POINTS = 2
CELLS = 3

_COUNT = struct.Struct("<I4x")
_POINT_BYTES = 20
_NAME_BYTES = 8
_ID_LIMIT = 1 << 26
_GUESSED_NAME = 64
_LARGEST_SEGMENT = 512 << 20
_SHARE = 6


class Interned(Protocol):
    """What replay asks of the table of metric names."""

    def intern_many(self, blob: bytes, offsets: Ids, ids: Ids, now: int, /) -> int:
        """Give each name its id; return how many were refused."""


class LoggedPoints(Protocol):
    """What is asked of the store of pending points."""

    @property
    def points(self) -> int:
        """All datapoints held."""

    @property
    def metrics(self) -> int:
        """The metrics that have points."""

    def pins(self) -> list[tuple[int, int]]:
        """Return (segment, pins), oldest first."""

    def pinned(self, segment: int, /) -> Ids:
        """Return the ids that need `segment`."""

    def counts(self, ids: Ids, /) -> Ids:
        """Return the points of each metric."""

    def peek_many(self, ids: Ids, /) -> tuple[Ids, Floats, Floats]:
        """Return offsets, timestamps and values of the points of `ids`."""

    def repin(self, ids: Ids, segment: int, /) -> None:
        """Note that all points of `ids` are in `segment`."""


class _LongSeries:
    """A metric with more points than one turn may log, on its way into the log again, slice by slice.

    What comes for it meanwhile is logged as it comes; `meet` keeps it, so that a later slice has the newest values.
    """

    def __init__(self, one: int, segment: int, timestamps: Floats, values: Floats) -> None:
        self.one = one
        self.segment = segment
        self.at = 0
        self._timestamps = timestamps
        self._values = values
        self._newer: list[tuple[Floats, Floats]] = []
        self._newer_points = 0

    def __len__(self) -> int:
        return len(self._timestamps)

    def meet(self, ids: Ids, timestamps: Floats, values: Floats) -> bool:
        """Keep the rows of this metric; False when they have become too many: begin again."""
        mine = ids == self.one
        if mine.any():
            self._newer.append((timestamps[mine], values[mine]))
            self._newer_points += len(self._newer[-1][0])
        return self._newer_points <= len(self)

    def take(self, most: int) -> tuple[Floats, Floats]:
        """Return the next slice."""
        part = slice(self.at, self.at + most)
        self.at += most
        timestamps, values = self._timestamps[part], self._values[part]
        if self._newer:
            newer = np.concatenate([times for times, _ in self._newer])
            order = np.argsort(newer, kind="stable")
            newer = newer[order]
            place = np.searchsorted(newer, timestamps, "right") - 1
            met = (place >= 0) & (newer[place] == timestamps)
            values[met] = np.concatenate([what for _, what in self._newer])[order[place[met]]]
        return timestamps, values


def raw(column: npt.NDArray[np.generic]) -> memoryview:
    """Return the bytes of a column."""
    return np.ascontiguousarray(column).data.cast("B") if len(column) else memoryview(b"")


class Wal:
    """Logs what the cache accepts.  Reactor thread, save `sync`.

    `account` counts `logged` (written to the file), `unlogged` (accepted although the log could not be written) and
    `relogged` datapoints; its gauge `failing` is 1 while the disk refuses.  `min_bytes` is what the log may always
    take; beyond, it is bounded by twice what is pending and one segment.  While `replaying` no segment goes: nobody
    pins those that are not read yet.
    """

    def __init__(
        self,
        log: SegmentLog,
        names: Names,
        points: LoggedPoints,
        account: Account,
        min_bytes: int = 128 << 20,
        slice_points: int = 16384,
    ) -> None:
        self._log = log
        self._names = names
        self._points = points
        self._account = account
        self._min_bytes = min_bytes
        self._slice_points = slice_points
        self._smallest_segment = log.segment_bytes
        self._named = IdFlags()
        self._named_in = 0
        self._segment_names = 0
        self._names_seen = 1
        self._names_bytes = _GUESSED_NAME
        self._turn_points = 0
        self._again: Ids = np.zeros(0, np.uint32)
        self._long: _LongSeries | None = None
        self._failed = False
        self.replaying = False
        self._spoilt = 0
        self._marks: deque[tuple[int, int]] = deque()
        account.gauge("failing", lambda: float(self._failed))
        account.gauge("bytes", lambda: float(log.used_bytes))
        account.gauge("torn", lambda: float(log.torn))
        account.gauge("damaged", lambda: float(log.damaged))

    @property
    def bound_bytes(self) -> int:
        """What the log may take before old segments are logged again."""
        name = self._names_bytes / self._names_seen + _NAME_BYTES
        return max(self._min_bytes, int(2 * (_POINT_BYTES * self._points.points + name * self._points.metrics)))

    @property
    def serial(self) -> int:
        """The current segment."""
        return self._log.serial

    def append(self, batch: Batch) -> int:
        """Log a lent Batch; return the serial of the segment that its datapoints are in (or would be in)."""
        self._turn_points += len(batch)
        if self._long is not None and not self._long.meet(batch.ids, batch.timestamps, batch.values):
            self._long = None
        self._append(batch.ids, batch.timestamps, batch.values)
        return self._log.serial

    def _append(self, ids: Ids, timestamps: Floats, values: Floats) -> bool:
        names = self._unnamed(ids)
        need = _POINT_BYTES * len(ids) + 4 * FRAME_BYTES + (len(names[1]) + 8 * len(names[0]) if names else 0)
        if self._log.size + need > self._log.segment_bytes:
            self._roll()
            names = self._unnamed(ids)
        count = _COUNT.pack(len(ids))
        if names is not None:
            new, blob, offsets = names
            if not self._log.append(NAMES, _COUNT.pack(len(new)), raw(new), raw(offsets), blob, roll=False):
                return False
            self._named.set(new)
            self._segment_names += len(blob) + _NAME_BYTES * len(new)
            self._names_seen += len(new)
            self._names_bytes += len(blob)
            self._widen()
        return self._log.append(POINTS, count, raw(timestamps), raw(values), raw(ids), roll=False) > 0

    def _unnamed(self, ids: Ids) -> tuple[Ids, bytes, Ids] | None:
        """Return those ids whose names the current segment does not have, with their names."""
        if self._named_in != self._log.serial:
            self._named_in = self._log.serial
            self._named.clear()
        missing = self._named.unset(ids)
        return None if missing is None else (missing, *self._names.blob(missing))

    def _roll(self) -> None:
        """Go on in a new segment."""
        self._settle(self._log.roll())
        self._segment_names = 0
        self._widen()

    def _widen(self) -> None:
        """Let the current segment grow with the names in it, so that they stay its smaller part."""
        wanted = min(_LARGEST_SEGMENT, _SHARE * self._segment_names)
        self._log.segment_bytes = max(self._smallest_segment, wanted)

    def _settle(self, written: bool) -> bool:
        """Count the datapoints since the last write."""
        self._account.count("logged" if written else "unlogged", self._turn_points)
        self._turn_points = 0
        if not written:
            self._named.clear()
            self._spoilt = self._log.serial
        self._failed = not written
        return written

    def turn_ended(self) -> None:
        """Write what the turn logged, with one call of the system; go on making room.  Bounded in time."""
        if self._settle(self._log.write()) and not self.replaying:
            self.make_room()

    def sync(self) -> None:
        """Bring to the disk what is written.  Blocks; any one thread; raises OSError."""
        self._log.sync()

    def make_room(self) -> bool:
        """Let go of segments that nothing needs, log one slice of the oldest again; True when there is more to do.

        After the disk refused a write, all that was pending then is logged again as soon as it can be.
        """
        pins = self._points.pins()
        oldest = pins[0][0] if pins else self._log.serial
        self._release(oldest)
        if not len(self._again) and self._long is None:
            within = oldest > self._spoilt and self._log.bytes_since(oldest) <= self.bound_bytes
            if within or oldest >= self._log.serial:
                return False
            self._again = self._points.pinned(oldest)
        return self._log_again()

    def _release(self, oldest: int) -> None:
        """Let segments before `oldest` go once all that was written until now is synced, where somebody syncs."""
        if not self._marks or self._marks[-1][1] != oldest:
            self._marks.append((self._log.sequence, oldest))
        synced = self._log.synced_sequence
        safe = 0
        while self._marks and (synced < 0 or self._marks[0][0] <= synced):
            safe = self._marks.popleft()[1]
        self._log.release(safe)

    def _log_again(self) -> bool:
        if self._long is not None:
            return self._log_long(self._long)
        window = self._again[: self._slice_points]
        counts = np.cumsum(self._points.counts(window), dtype=np.int64)
        n = max(1, int(np.searchsorted(counts, self._slice_points, "right")))
        ids, self._again = window[:n], self._again[n:]
        offsets, timestamps, values = self._points.peek_many(ids)
        rows = np.repeat(ids, np.diff(offsets))
        begin = self._log.serial
        if len(rows) > self._slice_points and len(ids) == 1:
            self._long = _LongSeries(int(ids[0]), begin, timestamps, values)
            return self._log_long(self._long)
        if not self._log_rows(rows, timestamps, values):
            return False
        self._points.repin(ids, begin)
        return True

    def _log_long(self, series: _LongSeries) -> bool:
        """Log one slice of a long series again; with the last one it needs no older segment."""
        timestamps, values = series.take(self._slice_points)
        ids = np.full(len(timestamps), series.one, np.uint32)
        logged = self._log_rows(ids, timestamps, values)
        if not logged or series.at >= len(series):
            self._long = None
        if logged and self._long is None:
            self._points.repin(ids[:1], series.segment)
        return logged

    def _log_rows(self, ids: Ids, timestamps: Floats, values: Floats) -> bool:
        """Log rows that are in an old segment in the current one, too; False when the disk refuses."""
        for at in range(0, len(ids), BATCH_POINTS):
            part = slice(at, at + BATCH_POINTS)
            if not self._append(ids[part], timestamps[part], values[part]):
                return False
        if not self._settle(self._log.write()):
            return False
        self._account.count("relogged", len(ids))
        return True

    def forget(self, ids: Ids) -> None:
        """The ids may come back with other names."""
        self._named.forget(ids)
        if self._long is not None and (ids == self._long.one).any():
            self._long = None

    def close(self) -> None:
        """Write what waits and let go of the folder; the log stays for the next start."""
        self._settle(self._log.write())
        self._log.close()


class Numbers:
    """The ids of one segment in terms of a table; the last place of the array stands for all that are unknown."""

    def __init__(self) -> None:
        self._ids: Ids = np.full(1024, NO_ID, np.uint32)

    def clear(self) -> None:
        """Know none any more."""
        self._ids.fill(NO_ID)

    def learn(self, payload: memoryview, table: Interned, now: int) -> bool:
        """Read a NAMES frame; False when it makes no sense."""
        n = _COUNT.unpack_from(payload)[0] if len(payload) >= _COUNT.size else 0
        begin = _COUNT.size + 8 * n + 4
        if not n or begin > len(payload):
            return False
        ids = np.frombuffer(payload, "<u4", n, _COUNT.size)
        offsets = np.frombuffer(payload, "<u4", n + 1, _COUNT.size + 4 * n).astype(np.uint32)
        top = int(ids.max())
        if top >= _ID_LIMIT or offsets[0] or offsets[-1] != len(payload) - begin or (offsets[1:] < offsets[:-1]).any():
            return False
        if top + 1 >= len(self._ids):
            grown = np.full(top + top // 4 + 2, NO_ID, np.uint32)
            grown[: len(self._ids)] = self._ids
            self._ids = grown
        own = np.empty(n, np.uint32)
        table.intern_many(bytes(payload[begin:]), offsets, own, now)
        self._ids[ids] = own
        return True

    def points(self, payload: memoryview) -> Batch | None:
        """Read a POINTS frame; rows without a name have NO_ID."""
        n = _COUNT.unpack_from(payload)[0] if len(payload) >= _COUNT.size else 0
        if len(payload) != _COUNT.size + _POINT_BYTES * n:
            return None
        timestamps = np.frombuffer(payload, "<f8", n, _COUNT.size).astype(np.float64)
        values = np.frombuffer(payload, "<f8", n, _COUNT.size + 8 * n).astype(np.float64)
        ids = np.frombuffer(payload, "<u4", n, _COUNT.size + 16 * n)
        return Batch(self.ids(ids), timestamps, values)

    def ids(self, logged: npt.NDArray[np.uint32]) -> Ids:
        """Return what the ids of the segment are in the table; NO_ID where that is not known."""
        return self._ids.take(np.minimum(logged, len(self._ids) - 1))


def replay(
    log: SegmentLog,
    table: Interned,
    deliver: Callable[[Batch, int], object],
    account: Account,
    now: int,
) -> Iterator[int]:
    """Hand over all datapoints that were logged before `log` was opened; yield after each frame how many it had.

    `deliver(batch, serial)` gets them in order; the caller may pause between frames.  Counts `replayed`, and
    `unreadable` where a datapoint's name is lost or the table refuses it.
    """
    numbers = Numbers()
    serial = 0
    for frame in log.read(before=log.first_serial):
        if frame.after.serial != serial:
            serial = frame.after.serial
            numbers.clear()
        if frame.kind == NAMES:
            if not numbers.learn(frame.payload, table, now):
                account.count("unreadable_frames")
            yield 0
        elif frame.kind == POINTS:
            batch = numbers.points(frame.payload)
            if batch is None:
                account.count("unreadable_frames")
                continue
            logged = len(batch)
            known = batch.ids != NO_ID
            if not known.all():
                batch = batch.select(known)
                account.count("unreadable", logged - len(batch))
            account.count("replayed", len(batch))
            deliver(batch, serial)
            yield logged
