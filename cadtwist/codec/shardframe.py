"""Samples on their way to the shard that keeps them: frames of whole columns, each of which stands for itself.

A frame is a length (u32, big-endian) and as many bytes, of which all numbers are little-endian::

    version u8 = 1 | 3 zeros | crc32 u32 of all that follows
    rows u32 | names u32 | bytes of names u32 | origin 16s | number u64
    offsets u32[names + 1] | names | index u32[rows] | time, count, sum, sumsq, min, max f64[rows] each

`origin` is one life of a sender, `number` the frame's: what comes a second time, because a connection broke before it
was sure that the first had arrived, is known by them, and left out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from cadtwist.codec.frames import BadSink, Frames, frame
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import BATCH_POINTS, NO_ID, Ids
from cadtwist.model.summary import SummaryBatch

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["MOST_FRAME_BYTES", "ShardCodec", "ShardEncoder"]

MOST_FRAME_BYTES = 4 << 20
VERSION = 1
_START = struct.Struct("<B3xI")
_HEAD = struct.Struct("<III16sQ")
_FIXED = _START.size + _HEAD.size
_COLUMNS = 6


class ShardEncoder:
    """Makes frames of batches.  `origin` (16 bytes) is another one in each life of a sender."""

    def __init__(self, table: tables.MetricTable, origin: bytes) -> None:
        self._table = table
        self._origin = origin
        self._number = 0

    def encode(self, batch: SummaryBatch) -> list[tuple[bytes, int]]:
        """Return (frame, samples) of a batch; several where names are so long that one frame would not do."""
        names, index = np.unique(batch.ids, return_inverse=True)
        blob, offsets = self._table.blob(names.astype(np.uint32))
        if len(blob) > MOST_FRAME_BYTES // 2 and len(batch) > 1:
            half = np.arange(len(batch) // 2)
            rest = np.arange(len(batch) // 2, len(batch))
            return [*self.encode(batch.select(half)), *self.encode(batch.select(rest))]
        self._number += 1
        columns = (batch.timestamps, batch.counts, batch.sums, batch.sumsqs, batch.minima, batch.maxima)
        parts = [
            _HEAD.pack(len(batch), len(names), len(blob), self._origin, self._number),
            offsets.astype("<u4").tobytes(), blob, index.astype("<u4").tobytes(),
            *(np.ascontiguousarray(column, "<f8").tobytes() for column in columns),
        ]  # fmt: skip
        body = b"".join(parts)
        return [(frame(_START.pack(VERSION, zlib.crc32(body)) + body), len(batch))]


class ShardCodec:
    """Reads frames of all connections; each goes to `emit` as SummaryBatches.  Reactor thread; never raises for data.

    `seen(origin, number)` tells whether a frame came before; `again(samples)` hears of those of one that did.
    """

    pending = 0
    """Nothing waits: each frame is emitted as it comes."""

    def __init__(
        self,
        table: tables.MetricTable,
        emit: Callable[[SummaryBatch], None],
        seen: Callable[[bytes, int], bool],
        again: Callable[[int], object],
    ) -> None:
        self._table = table
        self._emit = emit
        self._again = again
        self._seen = seen

    def feed(self, frames: Frames, data: bytes, now: float, bad: BadSink) -> None:
        """Read what `data` completes."""
        was_lost = frames.lost
        whole, spans = frames.feed(data)
        for start, end in spans:
            self._frame(memoryview(whole)[start:end], now, bad)
        if frames.lost and not was_lost:
            bad(BadInput("frame", b"a frame longer than allowed"), 1)

    def flush(self) -> None:
        """Nothing waits."""

    def _frame(self, data: memoryview, now: float, bad: BadSink) -> None:
        if len(data) < _FIXED:
            bad(BadInput("frame", b"a frame ends early"), 1)
            return
        version, crc = _START.unpack_from(data)
        rows, names, size, origin, number = _HEAD.unpack_from(data, _START.size)
        at = _FIXED + 4 * (names + 1) + size
        fits = len(data) == at + rows * (4 + 8 * _COLUMNS) and names <= rows
        if version != VERSION or not fits or zlib.crc32(data[_START.size :]) != crc:
            bad(BadInput("frame", b"a frame that contradicts itself"), max(1, min(rows, len(data))))
            return
        offsets = np.frombuffer(data, "<u4", names + 1, _FIXED)
        index = np.frombuffer(data, "<u4", rows, at)
        steps = np.diff(offsets.astype(np.int64))
        if offsets[0] or offsets[-1] != size or (steps <= 0).any() or (rows and int(index.max()) >= names):
            bad(BadInput("frame", b"a frame that contradicts itself"), max(1, rows))
            return
        if self._seen(origin, number):
            self._again(rows)
            return
        ids: Ids = np.zeros(names, np.uint32)
        blob = bytes(data[_FIXED + 4 * (names + 1) : at])
        self._table.intern_many(blob, offsets.astype(np.uint32), ids, int(now))
        at += 4 * rows
        columns = [np.frombuffer(data, "<f8", rows, at + 8 * rows * n).astype(np.float64) for n in range(_COLUMNS)]
        batch = SummaryBatch(ids[index], *columns)
        if (ids == NO_ID).any():
            kept = batch.ids != NO_ID
            bad(BadInput("table_full", b""), int(np.count_nonzero(~kept)))
            batch = batch.select(kept)
        for start in range(0, len(batch), BATCH_POINTS):
            self._emit(batch.select(np.arange(start, min(start + BATCH_POINTS, len(batch)))))
