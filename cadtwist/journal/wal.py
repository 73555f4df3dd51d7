"""The write-ahead log of the cache: every accepted datapoint is on its way to the disk when the reactor turn ends.

Payloads of the frames (little-endian, columns; `segments` tells how frames stand in files)::

    NAMES  = 1   as in `rowlog`
    POINTS = 2   count u32 | 4 zeros | timestamps f64[count] | values f64[count] | ids u32[count]
    CELLS  = 3   reserved: absolute cells of additive stores up to a sequence

Replay in order is idempotent: of equal timestamps the last value wins.

Segments go oldest first, when no pending datapoint needs them (the pins of the point store).  When the log outgrows
twice what is pending, the oldest segment's metrics are logged again whole, in slices, so that cold metrics and update
limits do not keep the log long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from cadtwist.journal.rowlog import Interned, Numbers, RowLog
from cadtwist.journal.segments import SegmentLog
from cadtwist.model.batch import BATCH_POINTS, Batch, Floats, Ids
from cadtwist.model.table import Names
from cadtwist.telemetry import Account

__all__ = ["CELLS", "POINTS", "LoggedPoints", "Wal", "replay"]

POINTS = 2
CELLS = 3

_POINT_BYTES = 20
_NAME_BYTES = 8
_GUESSED_NAME = 64
_LARGEST_SEGMENT = 512 << 20
_SHARE = 6


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


class Wal(RowLog):
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
        super().__init__(log, names, account)
        self._points = points
        self._min_bytes = min_bytes
        self._slice_points = slice_points
        self._smallest_segment = log.segment_bytes
        self._segment_names = 0
        self._names_seen = 1
        self._names_bytes = _GUESSED_NAME
        self._again: Ids = np.zeros(0, np.uint32)
        self._long: _LongSeries | None = None
        self.replaying = False
        self._spoilt = 0
        self._marks: deque[tuple[int, int]] = deque()

    @property
    def bound_bytes(self) -> int:
        """What the log may take before old segments are logged again."""
        name = self._names_bytes / self._names_seen + _NAME_BYTES
        return max(self._min_bytes, int(2 * (_POINT_BYTES * self._points.points + name * self._points.metrics)))

    @property
    def serial(self) -> int:
        """The current segment."""
        return self.log.serial

    def append(self, batch: Batch) -> int:
        """Log a lent Batch; return the serial of the segment that its datapoints are in (or would be in)."""
        self._turn_values += len(batch)
        if self._long is not None and not self._long.meet(batch.ids, batch.timestamps, batch.values):
            self._long = None
        self._append(batch.ids, batch.timestamps, batch.values)
        return self.log.serial

    def _append(self, ids: Ids, timestamps: Floats, values: Floats) -> bool:
        return self._rows(POINTS, (timestamps, values), ids)

    def _log_names(self, ids: Ids, blob: bytes, offsets: Ids, marks: bytes) -> bool:
        written = super()._log_names(ids, blob, offsets, marks)
        if written:
            self._segment_names += len(blob) + _NAME_BYTES * len(ids)
            self._names_seen += len(ids)
            self._names_bytes += len(blob)
            self._widen()
        return written

    def _roll(self) -> None:
        super()._roll()
        self._segment_names = 0
        self._widen()

    def _widen(self) -> None:
        """Let the current segment grow with the names in it, so that they stay its smaller part."""
        wanted = min(_LARGEST_SEGMENT, _SHARE * self._segment_names)
        self.log.segment_bytes = max(self._smallest_segment, wanted)

    def _settle(self, written: bool) -> bool:
        if not written:
            self._spoilt = self.log.serial
        return super()._settle(written)

    def turn_ended(self) -> None:
        """Write what the turn logged, with one call of the system; go on making room.  Bounded in time."""
        if self._settle(self.log.write()) and not self.replaying:
            self.make_room()

    def make_room(self) -> bool:
        """Let go of segments that nothing needs, log one slice of the oldest again; True when there is more to do.

        After the disk refused a write, all that was pending then is logged again as soon as it can be.
        """
        pins = self._points.pins()
        oldest = pins[0][0] if pins else self.log.serial
        self._release(oldest)
        if not len(self._again) and self._long is None:
            within = oldest > self._spoilt and self.log.bytes_since(oldest) <= self.bound_bytes
            if within or oldest >= self.log.serial:
                return False
            self._again = self._points.pinned(oldest)
        return self._log_again()

    def _release(self, oldest: int) -> None:
        """Let segments before `oldest` go once all that was written until now is synced, where somebody syncs."""
        if not self._marks or self._marks[-1][1] != oldest:
            self._marks.append((self.log.sequence, oldest))
        synced = self.log.synced_sequence
        safe = 0
        while self._marks and (synced < 0 or self._marks[0][0] <= synced):
            safe = self._marks.popleft()[1]
        self.log.release(safe)

    def _log_again(self) -> bool:
        if self._long is not None:
            return self._log_long(self._long)
        window = self._again[: self._slice_points]
        counts = np.cumsum(self._points.counts(window), dtype=np.int64)
        n = max(1, int(np.searchsorted(counts, self._slice_points, "right")))
        ids, self._again = window[:n], self._again[n:]
        offsets, timestamps, values = self._points.peek_many(ids)
        rows = np.repeat(ids, np.diff(offsets))
        begin = self.log.serial
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
        if not self._settle(self.log.write()):
            return False
        self.account.count("relogged", len(ids))
        return True

    def forget(self, ids: Ids) -> None:
        """The ids may come back with other names."""
        super().forget(ids)
        if self._long is not None and (ids == self._long.one).any():
            self._long = None


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
    numbers = Numbers(table, account)
    for frame in numbers.frames(log, now):
        found = numbers.rows(frame.payload, 2) if frame.kind == POINTS else None
        if found is not None:
            ids, (timestamps, values) = found
            account.count("replayed", len(ids))
            deliver(Batch(ids, timestamps, values), frame.after.serial)
        yield 0 if found is None else len(found[0])
