"""Graphite lines over streams and datagrams: bytes in, Batches and counted bad input out.

One `LineCodec` serves a listener: many small reads of many connections fill the same columns, `flush` (once per
reactor turn) or full columns emit them.  Each connection keeps only a `Tail`.  Bytes are looked at a bounded number
of times however they are cut, and nothing longer than `max_line` is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Generic, TypeVar

from cadtwist.kernels import active
from cadtwist.model.badinput import BAD_KINDS, EXCERPT_BYTES, BadInput
from cadtwist.model.batch import Batch, Columns

__all__ = ["DEFAULT_MAX_LINE", "BadSink", "LineCodec", "Lines", "Tail", "lines_of_datagram", "report"]

DEFAULT_MAX_LINE = 16384
"""Bytes of the longest line, its LF not counted: carbon's limit."""

BadSink = Callable[[BadInput, int], None]
"""Hears of bad input: an example and how many lines of its kind were met together."""

_OTHER_BREAKS = bytes.maketrans(b"\r\x0b\x0c\x1c\x1d\x1e", b"\n" * 6)
_WIDE_BREAKS = ("\x85".encode(), "\u2028".encode(), "\u2029".encode())


class Tail:
    """What one connection has sent of a line that is not complete yet."""

    __slots__ = ("held", "skipping")

    def __init__(self) -> None:
        self.held: bytearray | None = None
        self.skipping = False

    def __len__(self) -> int:
        """Return the bytes kept."""
        return 0 if self.held is None else len(self.held)

    def unread(self) -> tuple[bytes, bool]:
        """Return the bytes of the line that is not complete, and whether its rest is to be skipped."""
        return bytes(self.held or b""), self.skipping

    def skip(self) -> None:
        """Skip up to the next line."""
        self.skipping = True


AnyTail = TypeVar("AnyTail", bound=Tail)


class Lines(Generic[AnyTail]):
    """Cuts what connections send into lines: a subclass reads the complete ones in `_parse`.

    A line longer than `max_line` bytes is skipped up to its LF and counted `too_long`.  Reactor thread; never raises
    for data.
    """

    def __init__(self, max_line: int) -> None:
        self.max_line = max_line

    def feed(self, tail: AnyTail, data: bytes, now: float, bad: BadSink) -> None:
        """Read what a connection sent; `tail` keeps its incomplete line.  `now` is epoch seconds."""
        start = 0
        if tail.skipping or tail.held is not None:
            start = self._finish(tail, data, now, bad)
        if start < len(data):
            self._read(tail, data, start, now, bad)

    def _finish(self, tail: AnyTail, data: bytes, now: float, bad: BadSink) -> int:
        """Complete the line that `tail` began; return where in `data` the next one starts."""
        stop = data.find(b"\n")
        size = len(tail) + (len(data) if stop < 0 else stop)
        if size > self.max_line and not tail.skipping:
            head = bytes((tail.held or bytearray())[:EXCERPT_BYTES]) + data[:EXCERPT_BYTES]
            bad(BadInput("too_long", head[:EXCERPT_BYTES]), 1)
            tail.held, tail.skipping = None, True
        if stop < 0:
            if tail.held is not None:
                tail.held += data
            return len(data)
        if tail.held is not None:
            line = bytes(tail.held) + data[: stop + 1]
            tail.held = None
            self._parse(tail, line, 0, len(line), now, bad)
        tail.skipping = False
        return stop + 1

    def _read(self, tail: AnyTail, data: bytes, start: int, now: float, bad: BadSink) -> None:
        """Read lines from `start`, where one begins; leave the incomplete one in `tail`."""
        pos, window, end = start, self.max_line + 1, len(data)
        while pos < end:
            last = data.rfind(b"\n", pos, pos + window)
            if last >= 0:
                pos = last + 1
                continue
            if end - pos < window:
                break
            self._parse(tail, data, start, pos, now, bad)
            bad(BadInput("too_long", data[pos : pos + EXCERPT_BYTES]), 1)
            stop = data.find(b"\n", pos)
            tail.skipping = stop < 0
            start = pos = end if stop < 0 else stop + 1
        self._parse(tail, data, start, pos, now, bad)
        if pos < end:
            tail.held = bytearray(data[pos:])

    def _parse(self, tail: AnyTail, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:
        """Read the complete lines of `data[start:end]`, which ends with a LF."""
        raise NotImplementedError


class LineCodec(Lines[Tail]):
    """Fills `columns` from lines and hands them to `emit` as lent Batches.  Reactor thread; never raises for data.

    `resolution` is carbon's MIN_TIMESTAMP_RESOLUTION in seconds, 0 = none.  Columns with spans are emitted at the end
    of each feed, because spans point into that feed's bytes.  `kernel` is the twin that `table` comes from.
    """

    def __init__(
        self,
        table: active.table.MetricTable,
        columns: Columns,
        emit: Callable[[Batch], None],
        max_line: int = DEFAULT_MAX_LINE,
        resolution: int = 0,
        kernel: ModuleType = active.table,
    ) -> None:
        super().__init__(max_line)
        self.resolution = resolution
        self._table = table
        self._kernel = kernel
        self._columns = columns
        self._emit = emit

    @property
    def pending(self) -> int:
        """Rows that wait for `flush`."""
        return self._columns.n

    def datagram(
        self,
        data: bytes,
        now: float,
        bad: BadSink,
        after: Callable[[int], int] | None = None,  # noqa: ARG002 (a bad line ends no datagram here)
    ) -> None:
        """Read whole datagrams, joined by LF: every separator of `str.splitlines` ends a line, the last needs none."""
        tail = Tail()
        self._read(tail, lines_of_datagram(data), 0, now, bad)

    def flush(self, data: bytes = b"") -> None:
        """Emit the rows that are there; the columns are free again when it returns."""
        columns = self._columns
        if columns.n:
            try:
                self._emit(columns.batch(data))
            finally:
                columns.n = 0

    def _parse(self, tail: Tail, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:  # noqa: ARG002
        """Read the complete lines of `data[start:end]`, which ends with a LF."""
        columns, table, wrong = self._columns, self._table, list[tuple[int, int, int]]()
        while start < end:
            start, columns.n = self._kernel.parse_graphite(
                table, data, start, end, columns.ids, columns.timestamps, columns.values, columns.spans,
                columns.n, now, self.resolution, wrong,
            )  # fmt: skip
            if wrong:
                report(data, wrong, bad)
                wrong.clear()
            if columns.n == len(columns.ids):
                self.flush(data)
        if columns.spans is not None:
            self.flush(data)


def report(data: bytes, wrong: list[tuple[int, int, int]], bad: BadSink) -> None:
    """Tell `bad` of each kind once, with the first example and the number of lines."""
    counts: dict[int, int] = {}
    first: dict[int, tuple[int, int]] = {}
    for kind, start, end in wrong:
        counts[kind] = counts.get(kind, 0) + 1
        first.setdefault(kind, (start, end))
    for kind, lines in counts.items():
        start, end = first[kind]
        bad(BadInput(BAD_KINDS[kind], data[start : min(end, start + EXCERPT_BYTES)]), lines)


def lines_of_datagram(data: bytes) -> bytes:
    """Return a datagram (or several, joined by LF) with LF as its only line separator, and one at its end."""
    if active.table.odd_breaks(data):
        data = data.replace(b"\r\n", b"\n")
    if active.table.odd_breaks(data):
        data = data.translate(_OTHER_BREAKS)
        for separator in _WIDE_BREAKS:
            data = data.replace(separator, b"\n")
    return data if data.endswith(b"\n") or not data else data + b"\n"
