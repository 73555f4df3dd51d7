"""The log of a counter daemon: samples before they are written, and what a write changes before it changes it.

Payloads of the frames (little-endian; `segments` tells how frames stand in files)::

    NAMES   = 1   count u32 | 4 zeros | ids u32[count] | offsets u32[count + 1] | events u8[count] | names
    SAMPLES = 4   count u32 | 4 zeros | time, count, sum, sumsq, min, max f64[count] each | ids u32[count]
    REDO    = 5   epoch u32 | 4 zeros | sequence u64 | redo record of the StatFiles

An id means the counter that the last NAMES frame before it in its segment gave it.  A REDO frame says: the samples of
its counters that stand in frames up to (epoch, sequence) are in the record, whose bytes are absolute, so that it may
be applied any number of times.  What a replay has to keep are the samples that no REDO frame covers, and the open
windows that the last record of each counter tells.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cadtwist.journal.segments import FRAME_BYTES, Frame, SegmentLog
from cadtwist.model.batch import Ids
from cadtwist.model.idflags import IdFlags
from cadtwist.model.summary import SummaryBatch
from cadtwist.model.table import Names
from cadtwist.telemetry import Account

__all__ = ["CounterLog", "Recovery"]

NAMES, SAMPLES, REDO = 1, 4, 5
_COUNT = struct.Struct("<I4x")
_COVER = struct.Struct("<I4xQ")
_COLUMNS = 6
_ROW_BYTES = 8 * _COLUMNS + 4
_MOST_IDS = 1 << 26

Place = tuple[int, int]
"""Epoch and sequence of a frame."""


class CounterLog:
    """Logs what a CounterCache accepts.  Reactor thread, save `sync`.

    `account` counts `logged` and `unlogged` samples.  Segments go when a whole round of writing is done since they
    were left: `round_begins` and `round_done`.
    """

    def __init__(self, log: SegmentLog, names: Names, account: Account) -> None:
        self.log = log
        self._names = names
        self._account = account
        self._named = IdFlags()
        self._named_in = 0
        self._turn_samples = 0
        self._begun_in = log.serial
        account.gauge("bytes", lambda: float(log.used_bytes))
        account.gauge("failing", lambda: float(log.failing))

    @property
    def place(self) -> Place:
        """Where the last frame stands."""
        return self.log.epoch, self.log.sequence

    def append(self, batch: SummaryBatch, events: npt.NDArray[np.bool_]) -> None:
        """Log samples whose ids are counters'."""
        self._turn_samples += len(batch)
        need = _ROW_BYTES * len(batch) + 4 * FRAME_BYTES + 64 * len(batch)
        if self.log.size + need > self.log.segment_bytes:
            self._settle(self.log.roll())
        if self._named_in != self.log.serial:
            self._named_in = self.log.serial
            self._named.clear()
        new = self._named.unset(batch.ids)
        if new is not None:
            blob, offsets = self._names.blob(new)
            kinds = np.zeros(int(batch.ids.max()) + 1, np.uint8)
            kinds[batch.ids] = events
            head = _COUNT.pack(len(new))
            if not self.log.append(NAMES, head, _raw(new), _raw(offsets), _raw(kinds[new]), blob, roll=False):
                return
            self._named.set(new)
        columns = (batch.timestamps, batch.counts, batch.sums, batch.sumsqs, batch.minima, batch.maxima)
        parts = [_raw(column) for column in columns]
        self.log.append(SAMPLES, _COUNT.pack(len(batch)), *parts, _raw(batch.ids), roll=False)

    def append_redo(self, taken_at: Place, redo: bytes) -> None:
        """Log a redo record of samples that were taken when the log was at `taken_at`, and write it at once."""
        self.log.append(REDO, _COVER.pack(*taken_at), redo)
        self._settle(self.log.write())

    def turn_ended(self) -> None:
        """Write what the turn logged, with one call of the system."""
        self._settle(self.log.write())

    def sync(self) -> None:
        """Bring to the disk what is written.  Blocks; any one thread; raises OSError."""
        self.log.sync()

    def round_begins(self) -> None:
        """Tell that from now on everything that waits is written once."""
        self._begun_in = self.log.serial

    def round_done(self) -> None:
        """Tell that it was: older segments are needed no more."""
        self.log.release(self._begun_in)

    def restart(self) -> None:
        """Forget all that was logged: it is told anew."""
        self._settle(self.log.roll())
        self.log.release(self.log.serial)
        self._begun_in = self.log.serial

    def forget(self, ids: Ids) -> None:
        """The ids may come back with other names."""
        self._named.forget(ids)

    def close(self, keep: bool) -> None:
        """Let go of the folder; without `keep` the log goes, because everything is in files."""
        self._settle(self.log.write())
        if keep:
            self.log.close()
        else:
            self.log.discard()

    def _settle(self, written: bool) -> None:
        self._account.count("logged" if written else "unlogged", self._turn_samples)
        self._turn_samples = 0
        if not written:
            self._named.clear()


class Interned(Protocol):
    """What a replay asks of the table of names."""

    def intern(self, name: bytes, now: int, /) -> int:
        """Return the id of a name."""


class Recovery:
    """Reads what an earlier life left in a log, in two passes over its frames.

    `restore(redo)` writes a record and returns the open windows (name, bytes) that it tells.
    """

    def __init__(self, log: SegmentLog, table: Interned, now: int) -> None:
        self._log = log
        self._table = table
        self._now = now
        self.windows: dict[bytes, bytes] = {}
        self.events: dict[int, bool] = {}
        self.damaged = 0
        self._covered: dict[int, Place] = {}

    def restore(self, apply: Callable[[bytes], dict[bytes, bytes]]) -> int:
        """Apply every redo record in order; return how many there were.  Blocks on files."""
        records = 0
        for frame in self._frames():
            if frame.kind == REDO and len(frame.payload) >= _COVER.size:
                epoch, sequence = _COVER.unpack_from(frame.payload)
                told = apply(bytes(frame.payload[_COVER.size :]))
                records += 1
                for name, state in told.items():
                    self.windows[name] = state
                    self._covered[self._table.intern(name, self._now)] = (epoch, sequence)
        return records

    def samples(self) -> Iterator[SummaryBatch]:
        """Yield the samples that no record covers, in order; ids are those of the table."""
        known = _Numbers()
        serial = -1
        for frame in self._frames():
            if frame.after.serial != serial:
                serial = frame.after.serial
                known.clear()
            if frame.kind == NAMES:
                self.damaged += not known.learn(frame.payload, self._table, self._now, self.events)
            elif frame.kind == SAMPLES:
                batch = known.samples(frame.payload)
                if batch is None:
                    self.damaged += 1
                    continue
                place = (frame.epoch, frame.sequence)
                covered = self._covered
                fresh = np.array([covered.get(number, (-1, 0)) < place for number in batch.ids.tolist()], np.bool_)
                if fresh.any():
                    yield batch.select(fresh)

    def _frames(self) -> Iterator[Frame]:
        return self._log.read(before=self._log.first_serial)


class _Numbers:
    """The ids of one segment in terms of a table."""

    def __init__(self) -> None:
        self._ids: dict[int, int] = {}

    def clear(self) -> None:
        self._ids.clear()

    def learn(self, payload: memoryview, table: Interned, now: int, events: dict[int, bool]) -> bool:
        """Read a NAMES frame; False for one that contradicts itself."""
        if len(payload) < _COUNT.size:
            return False
        (count,) = _COUNT.unpack_from(payload)
        fixed = _COUNT.size + 4 * count + 4 * (count + 1) + count
        if count > _MOST_IDS or len(payload) < fixed:
            return False
        ids = np.frombuffer(payload, np.uint32, count, _COUNT.size).tolist()
        offsets = np.frombuffer(payload, np.uint32, count + 1, _COUNT.size + 4 * count).tolist()
        kinds = bytes(payload[fixed - count : fixed])
        names = bytes(payload[fixed:])
        if offsets[-1] > len(names) or sorted(offsets) != offsets:
            return False
        for row, number in enumerate(ids):
            target = table.intern(names[offsets[row] : offsets[row + 1]], now)
            self._ids[number] = target
            events[target] = bool(kinds[row])
        return True

    def samples(self, payload: memoryview) -> SummaryBatch | None:
        """Read a SAMPLES frame; None for one that contradicts itself."""
        if len(payload) < _COUNT.size:
            return None
        (count,) = _COUNT.unpack_from(payload)
        if len(payload) != _COUNT.size + _ROW_BYTES * count:
            return None
        at = _COUNT.size
        columns = [np.frombuffer(payload, np.float64, count, at + 8 * count * n) for n in range(_COLUMNS)]
        numbers = np.frombuffer(payload, np.uint32, count, at + 8 * count * _COLUMNS).tolist()
        if any(number not in self._ids for number in numbers):
            return None
        ids = np.array([self._ids[number] for number in numbers], np.uint32)
        return SummaryBatch(ids, *columns)


def _raw(column: npt.NDArray[np.generic]) -> memoryview:
    return np.ascontiguousarray(column).data.cast("B") if len(column) else memoryview(b"")
