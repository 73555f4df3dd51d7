"""A log of rows by id: what window logs, feed logs, counter logs and the write-ahead log have in common.

Payloads of the frames (little-endian, columns; `segments` tells how frames stand in files)::

    NAMES = 1   count u32 | 4 zeros | ids u32[count] | offsets u32[count + 1] | marks u8[count], in logs that have
                them | names, one after the other
    rows        count u32 | flag u32 | columns f64[count] each | ids u32[count]

An id means the name that the last NAMES frame before it in the same segment gave it, so a segment can be read without
any other and by a process with other numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder
from cadtwist.journal.segments import FRAME_BYTES, Frame, SegmentLog
from cadtwist.model.batch import NO_ID, Floats, Ids
from cadtwist.model.idflags import IdFlags
from cadtwist.model.table import Names
from cadtwist.telemetry import Account

__all__ = ["NAMES", "Interned", "Numbers", "RowLog"]

NAMES = 1
_HEAD = struct.Struct("<II")
_ID_LIMIT = 1 << 26


def _raw(column: npt.NDArray[np.generic]) -> memoryview:
    return np.ascontiguousarray(column).data.cast("B") if len(column) else memoryview(b"")


@implementer(IHolder)
class RowLog:
    """Appends frames of rows.  Reactor thread, save `sync`.

    `account` counts `logged` values, and `unlogged` ones, which the disk refused.  Its gauges: `bytes`, `failing`,
    `torn`, `damaged`.
    """

    def __init__(self, log: SegmentLog, names: Names, account: Account) -> None:
        self.log = log
        self.account = account
        self._names = names
        self._named = IdFlags()
        self._named_in = 0
        self._turn_values = 0
        account.gauge("bytes", lambda: float(log.used_bytes))
        account.gauge("failing", lambda: float(log.failing))
        account.gauge("torn", lambda: float(log.torn))
        account.gauge("damaged", lambda: float(log.damaged))

    def turn_ended(self) -> None:
        """Write what the turn logged, with one call of the system."""
        self._settle(self.log.write())

    def sync(self) -> None:
        """Bring to the disk what is written.  Blocks; any one thread; raises OSError."""
        self.log.sync()

    def release(self, before: int) -> None:
        """Let go of the segments before `before`: nothing needs what they tell."""
        self.log.release(before)

    def forget(self, ids: Ids) -> None:
        """The ids may come back with other names."""
        self._named.forget(ids)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim nothing: a name that goes is logged anew when it comes back."""
        return np.zeros(len(ids), np.bool_)

    def close(self, keep: bool = True) -> None:
        """Write what waits and let go of the folder; without `keep` the log goes, because everything is told."""
        self._settle(self.log.write())
        if keep:
            self.log.close()
        else:
            self.log.discard()

    def _rows(
        self, kind: int, columns: tuple[Floats, ...], ids: Ids, flag: int = 0,
        marks: npt.NDArray[np.uint8] | None = None,
    ) -> bool:  # fmt: skip
        """Append a frame of rows, after one with the names that its segment does not have yet.

        `marks` says of each row what is to stand beside the name of its id.  False when the disk refuses.
        """
        names = self._unnamed(ids)
        need = (8 * len(columns) + 4) * len(ids) + 4 * FRAME_BYTES
        if self.log.size + need + (len(names[1]) + 9 * len(names[0]) if names else 0) > self.log.segment_bytes:
            self._roll()
            names = self._unnamed(ids)
        if names is not None and not self._log_names(*names, b"" if marks is None else _of(names[0], ids, marks)):
            return False
        return self.log.append(kind, _HEAD.pack(len(ids), flag), *map(_raw, columns), _raw(ids), roll=False) > 0

    def _unnamed(self, ids: Ids) -> tuple[Ids, bytes, Ids] | None:
        """Return those ids whose names the current segment does not have, with their names."""
        if self._named_in != self.log.serial:
            self._named_in = self.log.serial
            self._named.clear()
        new = self._named.unset(ids)
        return None if new is None else (new, *self._names.blob(new))

    def _log_names(self, ids: Ids, blob: bytes, offsets: Ids, marks: bytes) -> bool:
        written = self.log.append(NAMES, _HEAD.pack(len(ids), 0), _raw(ids), _raw(offsets), marks, blob, roll=False) > 0
        if written:
            self._named.set(ids)
        return written

    def _roll(self) -> None:
        """Go on in a new segment."""
        self._settle(self.log.roll())

    def _settle(self, written: bool) -> bool:
        """Count the values since the last write."""
        self.account.count("logged" if written else "unlogged", self._turn_values)
        self._turn_values = 0
        if not written:
            self._named.clear()
        return written


def _of(some: Ids, ids: Ids, marks: npt.NDArray[np.uint8]) -> bytes:
    """Return the marks of `some` of the ids; where an id has several rows, the last one counts."""
    by_id = np.zeros(int(ids.max()) + 1, np.uint8)
    by_id[ids] = marks
    return by_id[some].tobytes()


class Interned(Protocol):
    """What a replay asks of the table of names."""

    def intern_many(self, blob: bytes, offsets: Ids, ids: Ids, now: int, /) -> int:
        """Give each name its id; return how many were refused."""


class Numbers:
    """Reads what was logged before `log` was opened, in the ids of `table`; `account` counts what cannot be read.

    That is `unreadable_frames`, and `unreadable` rows: their name is lost, or the table refuses it.  `marks`, if given,
    gets by id what stands beside the names.
    """

    def __init__(self, table: Interned, account: Account, marks: dict[int, int] | None = None) -> None:
        self._table = table
        self._account = account
        self._marks = marks
        self._ids: Ids = np.full(1024, NO_ID, np.uint32)  # the last place stands for all that are unknown

    def frames(self, log: SegmentLog, now: int) -> Iterator[Frame]:
        """Yield the frames in order; what NAMES frames tell is known by then."""
        serial = 0
        for frame in log.read(before=log.first_serial):
            if frame.after.serial != serial:
                serial = frame.after.serial
                self._ids.fill(NO_ID)
            if frame.kind == NAMES and not self._learn(frame.payload, now):
                self.unreadable()
            yield frame

    def unreadable(self) -> None:
        """Count a frame that makes no sense."""
        self._account.count("unreadable_frames")

    def _learn(self, payload: memoryview, now: int) -> bool:
        """Read a NAMES frame; False when it makes no sense."""
        count = _HEAD.unpack_from(payload)[0] if len(payload) >= _HEAD.size else 0
        marked = _HEAD.size + 8 * count + 4
        begin = marked if self._marks is None else marked + count
        if not count or begin > len(payload):
            return False
        ids = np.frombuffer(payload, "<u4", count, _HEAD.size)
        offsets = np.frombuffer(payload, "<u4", count + 1, _HEAD.size + 4 * count).astype(np.uint32)
        top = int(ids.max())
        if top >= _ID_LIMIT or offsets[0] or offsets[-1] != len(payload) - begin or (offsets[1:] < offsets[:-1]).any():
            return False
        if top + 1 >= len(self._ids):
            grown = np.full(top + top // 4 + 2, NO_ID, np.uint32)
            grown[: len(self._ids)] = self._ids
            self._ids = grown
        own = np.empty(count, np.uint32)
        self._table.intern_many(bytes(payload[begin:]), offsets, own, now)
        self._ids[ids] = own
        if self._marks is not None:
            self._marks.update(zip(own.tolist(), payload[marked:begin], strict=True))
            self._marks.pop(NO_ID, None)
        return True

    def rows(self, payload: memoryview, columns: int) -> tuple[Ids, list[Floats]] | None:
        """Read the rows of a frame with so many columns, those whose names are known; None when it makes no sense."""
        count = _HEAD.unpack_from(payload)[0] if len(payload) >= _HEAD.size else 0
        if len(payload) != _HEAD.size + (8 * columns + 4) * count:
            self.unreadable()
            return None
        found = [
            np.frombuffer(payload, "<f8", count, _HEAD.size + 8 * count * column).astype(np.float64)
            for column in range(columns)
        ]
        logged = np.frombuffer(payload, "<u4", count, _HEAD.size + 8 * count * columns)
        ids = self._ids.take(np.minimum(logged, len(self._ids) - 1))
        known = ids != NO_ID
        if known.all():
            return ids, found
        self._account.count("unreadable", int(np.count_nonzero(~known)))
        return ids[known], [column[known] for column in found]
