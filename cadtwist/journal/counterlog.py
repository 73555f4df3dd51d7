"""The log of a counter daemon: samples before they are written, and what a write changes before it changes it.

Payloads of the frames (little-endian; `segments` tells how frames stand in files)::

    NAMES   = 1   as in `rowlog`; the marks tell which counters are events
    SAMPLES = 4   count u32 | 4 zeros | time, count, sum, sumsq, min, max f64[count] each | ids u32[count]
    REDO    = 5   epoch u32 | 4 zeros | sequence u64 | redo record of the StatFiles

A REDO frame says: the samples of its counters that stand in frames up to (epoch, sequence) are in the record, whose
bytes are absolute, so that it may be applied any number of times.  What a replay has to keep are the samples that no
REDO frame covers, and the open windows that the last record of each counter tells.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cadtwist.journal.rowlog import Interned, Numbers, RowLog
from cadtwist.journal.segments import SegmentLog
from cadtwist.model.summary import SummaryBatch
from cadtwist.model.table import Names
from cadtwist.telemetry import Account

__all__ = ["CounterLog", "Recovery"]

SAMPLES, REDO = 4, 5
_COVER = struct.Struct("<I4xQ")
_COLUMNS = 6

Place = tuple[int, int]
"""Epoch and sequence of a frame."""


class CounterLog(RowLog):
    """Logs what a CounterCache accepts.  Reactor thread, save `sync`.

    Segments go when a whole round of writing is done since they were left: `round_begins` and `round_done`.
    """

    def __init__(self, log: SegmentLog, names: Names, account: Account) -> None:
        super().__init__(log, names, account)
        self._begun_in = log.serial

    @property
    def place(self) -> Place:
        """Where the last frame stands."""
        return self.log.epoch, self.log.sequence

    def append(self, batch: SummaryBatch, events: npt.NDArray[np.bool_]) -> None:
        """Log samples whose ids are counters'."""
        self._turn_values += len(batch)
        columns = (batch.timestamps, batch.counts, batch.sums, batch.sumsqs, batch.minima, batch.maxima)
        self._rows(SAMPLES, columns, batch.ids, marks=events.view(np.uint8))

    def append_redo(self, taken_at: Place, redo: bytes) -> None:
        """Log a redo record of samples that were taken when the log was at `taken_at`, and write it at once."""
        self.log.append(REDO, _COVER.pack(*taken_at), redo)
        self._settle(self.log.write())

    def round_begins(self) -> None:
        """Tell that from now on everything that waits is written once."""
        self._begun_in = self.log.serial

    def round_done(self) -> None:
        """Tell that it was: older segments are needed no more."""
        self.log.release(self._begun_in)

    def restart(self) -> None:
        """Forget all that was logged: it is told anew."""
        self._roll()
        self.log.release(self.log.serial)
        self._begun_in = self.log.serial


class CounterTable(Interned, Protocol):
    """What a recovery asks of the table of names."""

    def intern(self, name: bytes, now: int, /) -> int:
        """Return the id of a name."""


class Recovery:
    """Reads what an earlier life left in a log, in two passes over its frames.

    `restore(redo)` writes a record and returns the open windows (name, bytes) that it tells.  `account` counts what
    cannot be read; `events` says of the counters met in `samples` whether they are events.
    """

    def __init__(self, log: SegmentLog, table: CounterTable, account: Account, now: int) -> None:
        self._log = log
        self._table = table
        self._account = account
        self._now = now
        self.windows: dict[bytes, bytes] = {}
        self.events: dict[int, int] = {}
        self._covered: dict[int, Place] = {}

    def restore(self, apply: Callable[[bytes], dict[bytes, bytes]]) -> int:
        """Apply every redo record in order; return how many there were.  Blocks on files."""
        records = 0
        for frame in self._log.read(before=self._log.first_serial):
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
        numbers = Numbers(self._table, self._account, self.events)
        for frame in numbers.frames(self._log, self._now):
            found = numbers.rows(frame.payload, _COLUMNS) if frame.kind == SAMPLES else None
            if found is None:
                continue
            ids, columns = found
            place, covered = (frame.epoch, frame.sequence), self._covered
            fresh = np.array([covered.get(number, (-1, 0)) < place for number in ids.tolist()], np.bool_)
            if fresh.any():
                yield SummaryBatch(ids, *columns).select(fresh)
