"""istatd's protocol: lines to SummaryBatches, lines about the connection, and lines for the next daemon.

No socket, clock, log or configuration.  A name stays as it came (case, carets, the `*` of events): `expanded` tells
which counters it means, `cadtwist.kernels.statformat.munge` how a store calls them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType

from cadtwist.codec.line import DEFAULT_MAX_LINE, BadSink, Lines, Tail
from cadtwist.kernels import active
from cadtwist.model.badinput import BAD_KINDS, EXCERPT_BYTES, BadInput
from cadtwist.model.summary import SummaryBatch, SummaryColumns

__all__ = ["StatCodec", "StatTail", "cell_lines", "expanded", "greeting", "number_text", "read_meta"]

LEAST_DATAGRAM = 5
"""Bytes that a datagram must have, its LF counted."""

_BLANKS = b" \t\v\f\r\n"
_FIELDS = BAD_KINDS.index("fields")


class StatTail(Tail):
    """What is kept of one connection: its incomplete line, what it said of itself, and whether it is refused.

    `info` holds the last value of each key of a `#` line.  Nothing more is read of a refused connection.
    """

    __slots__ = ("info", "refused")

    def __init__(self) -> None:
        super().__init__()
        self.info: dict[str, str] = {}
        self.refused = False


    def unread(self) -> tuple[bytes, bool]:
        """Return what another process has to read to know what we know, and whether a line's rest is to be skipped."""
        said = "".join(f"#{key} {value}\n" for key, value in self.info.items() if key != "blacklisted")
        held, skipping = super().unread()
        return said.encode("utf-8", "replace") + held, skipping


class StatCodec(Lines[StatTail]):
    """Fills `columns` from lines, hands them to `emit` as lent SummaryBatches.  Reactor thread; never raises for data.

    `meta(tail, line)` hears of each line about the connection (without LF) after the lines before it were emitted; it
    may refuse the connection, whose rest is then not read.  A line of more than `max_line` bytes is skipped and counted
    `too_long`, a datagram without an end `frame`.  `kernel` is the twin that `table` comes from.
    """

    def __init__(
        self,
        table: active.table.MetricTable,
        columns: SummaryColumns,
        emit: Callable[[SummaryBatch], None],
        meta: Callable[[StatTail, bytes], None],
        max_line: int = DEFAULT_MAX_LINE,
        kernel: ModuleType = active.statlines,
    ) -> None:
        super().__init__(max_line)
        self._table = table
        self._columns = columns
        self._emit = emit
        self._meta = meta
        self._kernel = kernel

    @property
    def pending(self) -> int:
        """Rows that wait for `flush`."""
        return self._columns.n

    def feed(self, tail: StatTail, data: bytes, now: float, bad: BadSink) -> None:
        """Read what a connection sent, unless it is refused; `tail` keeps its incomplete line."""
        if not tail.refused:
            super().feed(tail, data, now, bad)

    def datagram(self, tail: StatTail, data: bytes, now: float, bad: BadSink) -> None:
        """Read one datagram of lines, whose last byte must be LF; `tail` says only what all senders said."""
        if len(data) < LEAST_DATAGRAM or not data.endswith(b"\n"):
            bad(BadInput("frame", data[:EXCERPT_BYTES]), 1)
        elif not tail.refused:
            self._read(tail, data, 0, now, bad)

    def flush(self) -> None:
        """Emit the rows that are there; the columns are free again when it returns."""
        columns = self._columns
        if columns.n:
            try:
                self._emit(columns.batch())
            finally:
                columns.n = 0

    def _read(self, tail: StatTail, data: bytes, start: int, now: float, bad: BadSink) -> None:
        """Read on unless the line before refused the connection, of which nothing is kept then."""
        if not tail.refused:
            super()._read(tail, data, start, now, bad)
        if tail.refused:
            tail.held = None

    def _parse(self, tail: StatTail, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:
        """Read the complete lines of `data[start:end]`, which ends with a LF."""
        c, wrong = self._columns, list[tuple[int, int, int]]()
        while start < end and not tail.refused:
            start, c.n, meta = self._kernel.parse_stats(
                self._table, data, start, end, c.ids, c.timestamps, c.counts, c.sums, c.sumsqs, c.minima, c.maxima,
                c.n, now, wrong,
            )  # fmt: skip
            if wrong:
                _report(data, wrong, bad)
                wrong.clear()
            if meta >= 0:
                self._about(tail, data[meta : start - 1], bad)
            if c.n == len(c.ids):
                self.flush()

    def _about(self, tail: StatTail, line: bytes, bad: BadSink) -> None:
        """Keep what a connection says of itself."""
        self.flush()
        said = read_meta(line)
        if said is None:
            bad(BadInput("fields", line[:EXCERPT_BYTES]), 1)
        elif len(tail.info) < MOST_KEYS or said[0] in tail.info:
            tail.info[said[0]] = said[1]
        self._meta(tail, line)


MOST_KEYS = 64
"""Different keys that a connection may say of itself; more are not kept."""


def read_meta(line: bytes) -> tuple[str, str] | None:
    """Return key and value of a `#key value` line, None for one without a space."""
    left, space, right = line.strip(_BLANKS).partition(b" ")
    if not space:
        return None
    key = left.strip(_BLANKS).removeprefix(b"#")
    return key.decode("utf-8", "replace"), right.strip(_BLANKS).decode("utf-8", "replace")


def expanded(name: bytes) -> tuple[bytes, ...]:
    """Return the counters that a name with carets means, each with the `*` of events where the name has it.

    Empty parts say nothing, except that a caret at the end adds the base itself.
    """
    base, caret, rest = name.partition(b"^")
    if not caret:
        return (name,)
    prefix = base + b"." if base else b""
    names = [prefix + part for part in rest.split(b"^") if part]
    if base and name.endswith(b"^"):
        names.append(base)
    return tuple(names)


def number_text(value: float, short: bool = False) -> str:
    """Return a number as istatd's peers write it: six significant digits if `short`, else as many as it takes."""
    if short:
        return f"{value:.6g}"
    text = repr(float(value))
    return text.removesuffix(".0")


def cell_lines(names: Iterable[bytes], cells: SummaryBatch, short: bool = False) -> list[bytes]:
    """Return a line, ended by CR LF, for each cell: its sum if it is of events, else all seven fields."""
    lines = []
    columns = (cells.timestamps, cells.sums, cells.sumsqs, cells.minima, cells.maxima, cells.counts)
    for name, time, *numbers in zip(names, *(column.tolist() for column in columns), strict=True):
        if name.startswith(b"*"):
            text = f" {int(time)} {number_text(numbers[0], short)}\r\n"
        else:
            texts = [number_text(number, short) for number in numbers[:-1]]
            text = f" {int(time)} {' '.join(texts)} {int(numbers[-1])}\r\n"
        lines.append(name + text.encode("ascii"))
    return lines


def greeting(hostname: str, version: str) -> bytes:
    """Return what a forwarding daemon says first on each connection."""
    return f"#proto x 1 1\r\n#version {version}\r\n#hostname {hostname}\r\n".encode("utf-8", "replace")


def _report(data: bytes, wrong: list[tuple[int, int, int]], bad: BadSink) -> None:
    """Tell `bad` of each kind once, with the first example; a wrong number of fields counts for every counter meant."""
    counts: dict[int, int] = {}
    first: dict[int, tuple[int, int]] = {}
    for kind, start, end in wrong:
        meant = 1
        if kind == _FIELDS:
            fields = data[start:end].split(None, 1)
            meant = max(1, len(expanded(fields[0]))) if len(fields) > 1 else 1
        counts[kind] = counts.get(kind, 0) + meant
        first.setdefault(kind, (start, end))
    for kind, lines in counts.items():
        start, end = first[kind]
        bad(BadInput(BAD_KINDS[kind], data[start : min(end, start + EXCERPT_BYTES)]), lines)
