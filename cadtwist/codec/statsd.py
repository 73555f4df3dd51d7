"""statsd over streams and datagrams, in both families: bytes in, Batches and counted bad input out.

The lines of Etsy's family and of statsite's are read by one kernel; statsite's also come between binary records, told
by their first byte.  A Batch has the id of `KEY|TYPE`, the value, the weight (see `kernels.statsdline`) and the time
of arrival.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np

from cadtwist.codec.line import DEFAULT_MAX_LINE, BadSink, LineCodec, Tail, report
from cadtwist.kernels import active
from cadtwist.kernels.statsdline import BINARY_MAGIC, STATSITE
from cadtwist.model.badinput import EXCERPT_BYTES, BadInput
from cadtwist.model.batch import BATCH_POINTS, Batch, Columns, Floats

__all__ = ["MAX_RECORD_BYTES", "RecordTail", "StatsdCodec", "StatsdColumns", "StatsiteCodec"]

MAX_RECORD_BYTES = 6 + 2 * 0xFFFF
"""No binary record is longer."""

_RECORD_AFTER_LINE = b"\n" + bytes((BINARY_MAGIC,))


class StatsdColumns(Columns):
    """Columns with weights."""

    __slots__ = ("weights",)

    def __init__(self, capacity: int = BATCH_POINTS) -> None:
        super().__init__(capacity)
        self.weights: Floats = np.zeros(capacity, np.float64)

    def batch(self, data: bytes = b"") -> Batch:  # noqa: ARG002 (there are no spans that would point into it)
        """Return the filled part as a Batch; valid until the columns are filled again."""
        n = self.n
        return Batch(self.ids[:n], self.timestamps[:n], self.values[:n], self.weights[:n])


class StatsdCodec(LineCodec):
    """Reads the lines of all connections of one listener; `flags` are those of `kernels.statsdline`.

    `packets` counts reads of a stream that complete a line, and single datagrams; `lines` those that are not empty;
    `wrong` elements that are none.  These three are what statsd tells of itself.
    """

    _columns: StatsdColumns

    def __init__(
        self,
        table: active.table.MetricTable,
        columns: StatsdColumns,
        emit: Callable[[Batch], None],
        flags: int,
        max_line: int = DEFAULT_MAX_LINE,
        kernel: ModuleType = active.statsdparse,
    ) -> None:
        super().__init__(table, columns, emit, max_line, kernel=kernel)
        self.packets = 0
        self.lines = 0
        self.wrong = 0
        self._flags = flags

    def feed(self, tail: Tail, data: bytes, now: float, bad: BadSink) -> None:
        """Read what a connection sent; `tail` keeps its incomplete line.  `now` is epoch seconds."""
        self.packets += b"\n" in data
        super().feed(tail, data, now, bad)

    def datagram(self, data: bytes, now: float, bad: BadSink, after: Callable[[int], int] | None = None) -> None:
        """Read whole datagrams, joined by LF; the last line needs none.  Without `after` it is one, and counted."""
        self.packets += after is None
        self._read(Tail(), data if data.endswith(b"\n") else data + b"\n", 0, now, bad)

    def _parse(self, tail: Tail, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:  # noqa: ARG002
        columns, wrong, skip = self._columns, list[tuple[int, int, int]](), 0
        while start < end:
            before = columns.n
            start, skip, columns.n, lines = self._kernel.parse_statsd(
                self._table, data, start, end, skip, columns.ids, columns.values, columns.weights, columns.n, now,
                self._flags, wrong,
            )  # fmt: skip
            self._took(data, before, lines, now, wrong, bad)

    def _took(
        self, data: bytes, before: int, lines: int, now: float, wrong: list[tuple[int, int, int]], bad: BadSink
    ) -> None:
        """Note what the kernel did to the rows from `before` on."""
        columns = self._columns
        columns.timestamps[before : columns.n] = now
        self.lines += lines
        if wrong:
            self.wrong += len(wrong)
            report(data, wrong, bad)
            wrong.clear()
        if columns.n == len(columns.ids):
            self.flush()


class RecordTail(Tail):
    """What one connection has sent of a line or record that is not complete yet; `lost`: nothing more can be read."""

    __slots__ = ("lost",)

    def __init__(self) -> None:
        super().__init__()
        self.lost = False


class StatsiteCodec(StatsdCodec):
    """Reads statsite's lines and, between them, its binary records."""

    def __init__(
        self,
        table: active.table.MetricTable,
        columns: StatsdColumns,
        emit: Callable[[Batch], None],
        max_line: int = DEFAULT_MAX_LINE,
        kernel: ModuleType = active.statsdparse,
    ) -> None:
        super().__init__(table, columns, emit, STATSITE, max_line, kernel)

    def feed(self, tail: Tail, data: bytes, now: float, bad: BadSink) -> None:
        """Read what a connection sent; `tail` keeps what is incomplete: a RecordTail.  `now` is epoch seconds."""
        if not isinstance(tail, RecordTail) or tail.lost:
            return
        in_record = tail.held is not None and tail.held[0] == BINARY_MAGIC
        if not in_record and BINARY_MAGIC not in data:
            super().feed(tail, data, now, bad)
            return
        if in_record and tail.held is not None:
            data, tail.held = bytes(tail.held) + data, None
        self._mixed(tail, data, now, bad)

    def datagram(self, data: bytes, now: float, bad: BadSink, after: Callable[[int], int] | None = None) -> None:
        """Read whole datagrams, joined by LF; `after` tells where the one behind a position begins.

        A faulty record, or one that is not complete, costs the rest of its datagram.
        """
        if BINARY_MAGIC not in data:
            super().datagram(data, now, bad, after)
            return
        packets, start = self.packets + (after is None), 0
        while start < len(data):
            stop = len(data) if after is None else max(after(start), start + 1)
            one, tail = data[start:stop], RecordTail()
            self._mixed(tail, one if one.endswith(b"\n") else one + b"\n", now, bad)
            if tail.held is not None:
                self._lost(tail, bytes(tail.held[:EXCERPT_BYTES]), bad)
            start = stop
        self.packets = packets

    def _mixed(self, tail: RecordTail, data: bytes, now: float, bad: BadSink) -> None:
        """Read lines and records in turn."""
        start, end = 0, len(data)
        while start < end and not tail.lost:
            if tail.held is None and not tail.skipping and data[start] == BINARY_MAGIC:
                start = self._records(tail, data, start, now, bad)
                continue
            stop = data.find(_RECORD_AFTER_LINE, start)
            stop = end if stop < 0 else stop + 1
            super().feed(tail, data[start:stop], now, bad)
            start = stop

    def _records(self, tail: RecordTail, data: bytes, start: int, now: float, bad: BadSink) -> int:
        columns, wrong, begun = self._columns, list[tuple[int, int, int]](), 1
        while begun and start < len(data) and data[start] == BINARY_MAGIC:
            before = columns.n
            try:
                start, columns.n, begun = self._kernel.parse_binary(
                    self._table, data, start, len(data), columns.ids, columns.values, columns.weights, columns.n, now,
                    wrong,
                )  # fmt: skip
            except ValueError:
                self._lost(tail, data[start : start + EXCERPT_BYTES], bad)
                return len(data)
            self._took(data, before, begun, now, wrong, bad)
        if not begun:
            tail.held = bytearray(data[start:])
            return len(data)
        return start

    def _lost(self, tail: RecordTail, excerpt: bytes, bad: BadSink) -> None:
        tail.held, tail.lost = None, True
        self.wrong += 1
        bad(BadInput("frame", excerpt), 1)
