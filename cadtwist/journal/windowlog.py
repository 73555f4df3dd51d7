"""The log of an open window of statsd: what came in since the last flush, and flushes that nobody has got yet.

Payloads of the frames (little-endian, columns; `segments` tells how frames stand in files)::

    NAMES  = 1   as in `wal`: ids and their names, `KEY|TYPE`
    VALUES = 6   count u32 | has weights u32 | values f64[count] | weights f64[count], if it has | ids u32[count]
    CLOSED = 7   timestamp f64: the window closed, and its flush has this timestamp; what follows is of the next one
    LEVELS = 8   count u32 | 4 zeros | levels f64[count] | moved f64[count] | ids u32[count]

An id means the name that the last NAMES frame before it in the same segment gave it.  LEVELS are what gauges had when
the frame was written, so that segments before the open window may go; `moved` is 1 where the open window has changed
one.  A closed window stays in the log until all that its flush told is out of our hands; a replay tells it again, with
the same timestamp: what is stored by name and timestamp is the same then.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from cadtwist.journal.segments import FRAME_BYTES, SegmentLog
from cadtwist.journal.wal import NAMES, Numbers, raw
from cadtwist.model.batch import NO_ID, Floats, Ids
from cadtwist.model.idflags import IdFlags
from cadtwist.model.table import Names
from cadtwist.telemetry import Account

__all__ = ["Closed", "Levels", "Values", "WindowLog", "replay_window"]

VALUES, CLOSED, LEVELS = 6, 7, 8
_HEAD = struct.Struct("<II")
_TIME = struct.Struct("<d")
_ROW_BYTES = 20


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


class Interned(Protocol):
    """What a replay asks of the table of names."""

    def intern_many(self, blob: bytes, offsets: Ids, ids: Ids, now: int, /) -> int:
        """Give each name its id; return how many were refused."""


class WindowLog:
    """Logs what a window takes.  Reactor thread, save `sync`.

    `account` counts `logged` values, and `unlogged` ones: those that the disk refused, or that came when one window
    had more than `most_bytes` in the log.  Its gauges: `bytes`, `failing`.
    """

    def __init__(self, log: SegmentLog, names: Names, account: Account, most_bytes: int = 1 << 30) -> None:
        self.log = log
        self._names = names
        self._account = account
        self._most_bytes = most_bytes
        self._named = IdFlags()
        self._named_in = 0
        self._turn_values = 0
        self._opened_in = log.serial
        account.gauge("bytes", lambda: float(log.used_bytes))
        account.gauge("failing", lambda: float(log.failing))

    def append(self, ids: Ids, values: Floats, weights: Floats | None) -> None:
        """Log lent values of the open window."""
        if self.log.bytes_since(self._opened_in) > self._most_bytes:
            self._account.count("unlogged", len(ids))
            return
        self._turn_values += len(ids)
        if weights is not None and bool((weights == 1.0).all()):
            weights = None
        columns = (values,) if weights is None else (values, weights)
        self._rows(VALUES, _HEAD.pack(len(ids), weights is not None), columns, ids)

    def levels(self, ids: Ids, levels: Floats, moved: npt.NDArray[np.bool_]) -> None:
        """Log what gauges have now."""
        if len(ids):
            self._rows(LEVELS, _HEAD.pack(len(ids), 0), (levels, moved.astype(np.float64)), ids)

    def closed(self, timestamp: float) -> int:
        """Log that the window closed; return the segment in which the next one begins."""
        self.log.append(CLOSED, _TIME.pack(timestamp), roll=False)
        self._settle(self.log.roll())
        self._opened_in = self.log.serial
        return self._opened_in

    def release(self, before: int) -> None:
        """Let go of the segments before `before`: what they tell of is out of our hands."""
        self.log.release(before)

    def turn_ended(self) -> None:
        """Write what the turn logged, with one call of the system."""
        self._settle(self.log.write())

    def sync(self) -> None:
        """Bring to the disk what is written.  Blocks; any one thread; raises OSError."""
        self.log.sync()

    def forget(self, ids: Ids) -> None:
        """The ids may come back with other names."""
        self._named.forget(ids)

    def close(self, keep: bool) -> None:
        """Let go of the folder; without `keep` the log goes as well, because everything is told."""
        self._settle(self.log.write())
        if keep:
            self.log.close()
        else:
            self.log.discard()

    def _rows(self, kind: int, head: bytes, columns: tuple[Floats, ...], ids: Ids) -> None:
        """Append a frame, after one with the names that its segment does not have yet."""
        names = self._unnamed(ids)
        need = _ROW_BYTES * len(ids) + 4 * FRAME_BYTES + (len(names[1]) + 8 * len(names[0]) if names else 0)
        if self.log.size + need > self.log.segment_bytes:
            self._settle(self.log.roll())
            names = self._unnamed(ids)
        if names is not None:
            new, blob, offsets = names
            count = _HEAD.pack(len(new), 0)
            if not self.log.append(NAMES, count, raw(new), raw(offsets), blob, roll=False):
                return
            self._named.set(new)
        self.log.append(kind, head, *map(raw, columns), raw(ids), roll=False)

    def _unnamed(self, ids: Ids) -> tuple[Ids, bytes, Ids] | None:
        if self._named_in != self.log.serial:
            self._named_in = self.log.serial
            self._named.clear()
        new = self._named.unset(ids)
        return None if new is None else (new, *self._names.blob(new))

    def _settle(self, written: bool) -> None:
        self._account.count("logged" if written else "unlogged", self._turn_values)
        self._turn_values = 0
        if not written:
            self._named.clear()


def replay_window(log: SegmentLog, table: Interned, account: Account, now: int) -> Iterator[Values | Closed | Levels]:
    """Yield what was logged before `log` was opened, in order, in the ids of `table`.

    `account` counts `replayed` values, `unreadable` ones (their name is lost, or the table refuses it) and
    `unreadable_frames`.
    """
    numbers, serial = Numbers(), 0
    for frame in log.read(before=log.first_serial):
        if frame.after.serial != serial:
            serial = frame.after.serial
            numbers.clear()
        found: Values | Closed | Levels | None = None
        if frame.kind == NAMES:
            if numbers.learn(frame.payload, table, now):
                continue
        elif frame.kind == CLOSED and len(frame.payload) == _TIME.size:
            found = Closed(*_TIME.unpack(frame.payload))
        elif frame.kind in (VALUES, LEVELS):
            found = _rows_of(frame.kind, frame.payload, numbers)
        if found is None:
            account.count("unreadable_frames")
            continue
        if not isinstance(found, Closed):
            known = found.ids != NO_ID
            if not known.all():
                account.count("unreadable", int(np.count_nonzero(~known)))
                found = type(found)(*(None if column is None else column[known] for column in found))  # type: ignore[arg-type]
        if isinstance(found, Values):
            account.count("replayed", len(found.ids))
        yield found


def _rows_of(kind: int, payload: memoryview, numbers: Numbers) -> Values | Levels | None:
    """Read a frame of rows; None for one that contradicts itself."""
    if len(payload) < _HEAD.size:
        return None
    count, weighted = _HEAD.unpack_from(payload)
    columns = 2 if kind == LEVELS or weighted else 1
    if len(payload) != _HEAD.size + (8 * columns + 4) * count:
        return None
    found = [
        np.frombuffer(payload, "<f8", count, _HEAD.size + 8 * count * column).astype(np.float64)
        for column in range(columns)
    ]
    ids = numbers.ids(np.frombuffer(payload, "<u4", count, _HEAD.size + 8 * count * columns))
    if kind == LEVELS:
        return Levels(ids, found[0], found[1] != 0.0)
    return Values(ids, found[0], found[1] if weighted else None)
