"""Frames of a 4-byte big-endian length and as many bytes, and what is common to the codecs that read points of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

from cadtwist.kernels import active
from cadtwist.kernels.graphiteline import settle
from cadtwist.model.badinput import EXCERPT_BYTES, BadInput
from cadtwist.model.batch import NO_ID, Batch, Columns

__all__ = ["HEADER_BYTES", "MAX_FRAME_BYTES", "BadSink", "FrameCodec", "Frames", "frame"]

HEADER_BYTES = 4

MAX_FRAME_BYTES = 1 << 20
"""The longest frame that carbon takes."""

BadSink = Callable[[BadInput, int], None]
"""Hears of bad input: an example and how many items of its kind were met together."""


def frame(payload: bytes) -> bytes:
    """Return `payload` preceded by its length."""
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class Frames:
    """The unfinished frame of one connection.

    Invariants: at most `max_bytes` + 4 bytes and one read are held; each byte is copied at most twice however small
    the pieces are.  `lost` becomes True for good at a header that announces more than `max_bytes`: where the next
    frame begins is then unknown, and nothing more is read.
    """

    __slots__ = ("_have", "_need", "lost", "max_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.lost = False
        self._have = bytearray()
        self._need = HEADER_BYTES

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._have)

    def unread(self) -> tuple[bytes, bool]:
        """Return the bytes of the frame that is not complete, and whether the framing is lost."""
        return bytes(self._have), self.lost

    def skip(self) -> None:
        """Take the framing for lost."""
        self.lost = True

    def feed(self, data: bytes) -> tuple[bytes, list[tuple[int, int]]]:
        """Return (bytes, spans): each span (start, end) is one complete payload within the bytes."""
        have = self._have
        if self.lost or len(have) + len(data) < self._need:
            if not self.lost:
                have += data
            return b"", []
        if have:
            have += data
            data = bytes(have)
            self._have = bytearray()
        spans: list[tuple[int, int]] = []
        pos, size = 0, len(data)
        self._need = HEADER_BYTES
        while size - pos >= HEADER_BYTES:
            length = int.from_bytes(data[pos : pos + HEADER_BYTES], "big")
            if length > self.max_bytes:
                self.lost = True
                return data, spans
            end = pos + HEADER_BYTES + length
            if end > size:
                self._need = HEADER_BYTES + length
                break
            spans.append((pos + HEADER_BYTES, end))
            pos = end
        if pos < size:
            self._have += memoryview(data)[pos:]
        return data, spans


class FrameCodec:
    """Fills `columns` from the frames of all connections of one listener; `payload` is what subclasses give.

    Points wait in the columns until they are full or `flush` is called; each goes to `emit` exactly once, in the
    order of arrival.  `resolution`: timestamps are rounded down to so many seconds (0: not).  `kernels` names the
    twins to read with (those of `table`).  Reactor thread; never raises for data.
    """

    def __init__(
        self,
        table: active.table.MetricTable,
        columns: Columns,
        emit: Callable[[Batch], None],
        resolution: int = 0,
        kernel: ModuleType = active.picklepoints,
    ) -> None:
        self.table = table
        self.columns = columns
        self.resolution = resolution
        self.max_name_bytes: int = kernel.MAX_NAME_BYTES
        self._emit = emit

    @property
    def pending(self) -> int:
        """Rows that wait for `flush`."""
        return self.columns.n

    def feed(self, frames: Frames, data: bytes, now: float, bad: BadSink) -> None:
        """Read what `data` completes of a connection's `frames`; `now` (epoch seconds) stands for the timestamp -1.

        When framing is lost (`frames.lost`) the connection is of no more use.
        """
        was_lost = frames.lost
        whole, spans = frames.feed(data)
        for start, end in spans:
            self.payload(whole, start, end, now, bad)
        if frames.lost and not was_lost:
            bad(BadInput("frame", b"a frame longer than allowed"), 1)

    def payload(self, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:
        """Read the one payload `data[start:end]`."""
        raise NotImplementedError

    def flush(self) -> None:
        """Emit the rows that are there; the columns are free again when it returns."""
        columns = self.columns
        if columns.n:
            try:
                self._emit(columns.batch())
            finally:
                columns.n = 0

    def keep(self, name: bytes, points: list[tuple[float, float]], now: float, bad: BadSink) -> None:
        """Take the (timestamp, value) points of one metric, or tell `bad` what is wrong with them."""
        fault = self._fault(name)
        number = NO_ID if fault else self.table.intern(name, int(now))
        if number == NO_ID:
            bad(BadInput(fault or "table_full", name[:EXCERPT_BYTES]), max(1, len(points)))
            return
        columns = self.columns
        for timestamp, value in points:
            settled = settle(timestamp, now, self.resolution)
            if settled is None or math.isnan(value):
                bad(BadInput("nan" if math.isnan(value) else "timestamp", name[:EXCERPT_BYTES]), 1)
                continue
            if columns.n == len(columns.ids):
                self.flush()
            row = columns.n
            columns.ids[row], columns.timestamps[row], columns.values[row] = number, settled, value
            columns.n = row + 1

    def _fault(self, name: bytes) -> str | None:
        """Return the kind of bad input that a name is, None for a good one."""
        if not name or len(name) > self.max_name_bytes:
            return "name"
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            return "encoding"
        return None
