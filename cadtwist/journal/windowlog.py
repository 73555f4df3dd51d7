"""The log of an open window of statsd: what came in since the last flush, and flushes that nobody has got yet.

Payloads of the frames (little-endian, columns; `segments` tells how frames stand in files)::

    NAMES  = 1   as in `rowlog`: ids and their names, `KEY|TYPE`
    VALUES = 6   count u32 | has weights u32 | values f64[count] | weights f64[count], if it has | ids u32[count]
    CLOSED = 7   timestamp f64: the window closed, and its flush has this timestamp; what follows is of the next one
    LEVELS = 8   count u32 | 4 zeros | levels f64[count] | moved f64[count] | ids u32[count]

LEVELS are what gauges had when the frame was written, so that segments before the open window may go; `moved` is 1
where the open window has changed one.  A closed window stays in the log until all that its flush told is out of our
hands; a replay tells it again, with the same timestamp: what is stored by name and timestamp is the same then.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.journal.rowlog import NAMES, Interned, Numbers, RowLog
from cadtwist.journal.segments import SegmentLog
from cadtwist.model.batch import Floats, Ids
from cadtwist.model.table import Names
from cadtwist.telemetry import Account

__all__ = ["Closed", "Levels", "Values", "WindowLog", "replay_window"]

VALUES, CLOSED, LEVELS = 6, 7, 8
_TIME = struct.Struct("<d")


class Values(NamedTuple):
    """Values that came in; `weights` None: all 1."""

    ids: Ids
    values: Floats
    weights: Floats | None


class Closed(NamedTuple):
    """The window of everything before closed; its flush has this timestamp."""

    timestamp: float


class Levels(NamedTuple):
    """What gauges have; `moved`: since the window opened."""

    ids: Ids
    levels: Floats
    moved: npt.NDArray[np.bool_]


class WindowLog(RowLog):
    """Logs what a window takes; values that come when one has more than `most_bytes` in the log are unlogged."""

    def __init__(self, log: SegmentLog, names: Names, account: Account, most_bytes: int = 1 << 30) -> None:
        super().__init__(log, names, account)
        self._most_bytes = most_bytes
        self._opened_in = log.serial

    def append(self, ids: Ids, values: Floats, weights: Floats | None) -> None:
        """Log lent values of the open window."""
        if self.log.bytes_since(self._opened_in) > self._most_bytes:
            self.account.count("unlogged", len(ids))
            return
        self._turn_values += len(ids)
        if weights is not None and bool((weights == 1.0).all()):
            weights = None
        columns = (values,) if weights is None else (values, weights)
        self._rows(VALUES, columns, ids, flag=len(columns) - 1)

    def levels(self, ids: Ids, levels: Floats, moved: npt.NDArray[np.bool_]) -> None:
        """Log what gauges have now."""
        if len(ids):
            self._rows(LEVELS, (levels, moved.astype(np.float64)), ids)

    def closed(self, timestamp: float) -> int:
        """Log that the window closed; return the segment in which the next one begins."""
        self.log.append(CLOSED, _TIME.pack(timestamp), roll=False)
        self._settle(self.log.roll())
        self._opened_in = self.log.serial
        return self._opened_in


def replay_window(log: SegmentLog, table: Interned, account: Account, now: int) -> Iterator[Values | Closed | Levels]:
    """Yield what was logged before `log` was opened, in order, in the ids of `table`.

    `account` counts `replayed` values, and what `Numbers` cannot read.
    """
    numbers = Numbers(table, account)
    for frame in numbers.frames(log, now):
        if frame.kind == CLOSED and len(frame.payload) == _TIME.size:
            yield Closed(*_TIME.unpack(frame.payload))
        elif frame.kind in (VALUES, LEVELS):
            found = _rows_of(frame.kind, frame.payload, numbers)
            if isinstance(found, Values):
                account.count("replayed", len(found.ids))
            if found is not None:
                yield found
        elif frame.kind != NAMES:
            numbers.unreadable()


def _rows_of(kind: int, payload: memoryview, numbers: Numbers) -> Values | Levels | None:
    weighted = any(payload[4:8])
    found = numbers.rows(payload, 2 if kind == LEVELS or weighted else 1)
    if found is None:
        return None
    ids, columns = found
    if kind == LEVELS:
        return Levels(ids, columns[0], columns[1] != 0.0)
    return Values(ids, columns[0], columns[1] if weighted else None)
