"""Lines that a relay passes on as they came: where their keys stand, in streams and datagrams.

A `Dialect` tells how lines look: `statsd_lines`, `graphite_lines`, `regex_lines`.  Many small reads fill the same
columns; their bytes are joined when the rows are emitted, so that the spans of a Batch point into one text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import numpy as np

from cadtwist.codec import golayout
from cadtwist.codec.line import DEFAULT_MAX_LINE, BadSink, Lines, Tail, lines_of_datagram, report
from cadtwist.codec.linecleaning import clean_c_relay, clean_cadent, read_cadent
from cadtwist.kernels import active, keyedline
from cadtwist.kernels.graphiteline import (
    BAD_FIELDS,
    BAD_LIMIT,
    BAD_NAME,
    BAD_TABLE_FULL,
    BAD_TAG,
    BAD_TIMESTAMP,
    means_now,
)
from cadtwist.kernels.keyedline import COMMAND, GRAPHITE, NOTHING, RAW_BLANK, RAW_COLON, STATSD, Place
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch, Columns, Floats, Ids
from cadtwist.model.decisions import PASS, Decisions

__all__ = [
    "COMMANDS",
    "GATHER_BYTES",
    "POINT_TAGS",
    "RESERVED_TAGS",
    "Dialect",
    "RelayCodec",
    "RelayTail",
    "graphite_lines",
    "regex_lines",
    "statsd_lines",
]

GATHER_BYTES = 1 << 17
"""Rows are emitted, without waiting for the turn's end, when so many bytes belong to them."""

POINT_TAGS = r"\.__([a-zA-Z][a-zA-Z0-9_]+)=[^.]+"
"""statsrelay's own pattern of tags within a key."""

RESERVED_TAGS = tuple(b"asg az backend canary host period region shard source window".split())
"""Tags that statsrelay keeps for itself: no name of a tag may be the beginning of one."""

COMMANDS = frozenset({b"status", b"shards"})
"""Lines to which statsrelay answers on a stream."""

_UNDATED = re.compile(rb"^([!-~]+[ \t]+[-+]?[0-9]+(?:\.[0-9]+)?[ \t]+)-1(?=[ \t\r]*$)", re.MULTILINE)
_TAGGED = -1
_FOREVER = 1 << 62

Read = Callable[[bytes], "Place | int"]
Wrong = list[tuple[int, int, int]]


@dataclass(frozen=True)
class Dialect:
    """How lines look.

    `shape` and `read` are the kernel's; `clean` is applied to the complete lines of a read before that.  A key of which
    `refuses(key)` holds makes its line bad input of kind `tag`.  `strict`: a bad line ends its connection or datagram.
    `splits`: in datagrams every separator of `str.splitlines` ends a line.  `dates`: a COMMAND is a line of which
    `read` has found that it has no time of its own: it gets the present moment, for it may wait before it is sent.
    """

    shape: int
    read: Read
    clean: Callable[[bytes], bytes] | None = None
    refuses: Callable[[bytes], bool] | None = None
    strict: bool = False
    splits: bool = False
    dates: bool = False
    commands: frozenset[bytes] = frozenset()


def statsd_lines(
    validate: bool = True,
    validate_tags: bool = True,
    point_tag_regex: str = POINT_TAGS,
    strict: bool = False,
    commands: frozenset[bytes] = COMMANDS,
) -> Dialect:
    """Return the dialect of statsrelay 2.x; raises re.error for a faulty pattern.

    The check of tags looks at a key once; only a line with several colons is searched whole.
    """
    if not validate:
        return Dialect(RAW_COLON, keyedline.read_raw_colon, strict=strict, commands=commands)
    if not validate_tags or not point_tag_regex:
        return Dialect(STATSD, keyedline.read_statsd, strict=strict, commands=commands)
    tags = re.compile(point_tag_regex.encode())

    def refuses(key: bytes) -> bool:
        return keyedline.has_reserved_tag(key + b":", tags, RESERVED_TAGS)

    read = partial(keyedline.read_statsd, tags=tags, reserved=RESERVED_TAGS)
    return Dialect(STATSD, read, refuses=refuses, strict=strict, commands=commands)


def graphite_lines(validate: bool = True, cleaning: str = "none", strict: bool = False) -> Dialect:
    """Return the dialect of Graphite lines.

    `cleaning`: `none` (with `validate` carbon's rules, else anything behind a name), `cadent` (three fields or more, a
    number and a time) or `c_relay` (anything behind a name).  The cleaned line is what is passed on.
    """
    if cleaning == "cadent":
        read = read_cadent if validate else keyedline.read_raw_blank
        return Dialect(GRAPHITE if validate else RAW_BLANK, read, clean_cadent, strict=strict)
    if cleaning == "c_relay":
        return Dialect(RAW_BLANK, keyedline.read_raw_blank, clean_c_relay, strict=strict)
    if not validate:
        return Dialect(RAW_BLANK, keyedline.read_raw_blank, strict=strict, splits=True)
    if strict:
        return Dialect(GRAPHITE, keyedline.read_graphite, strict=True, splits=True)
    return Dialect(GRAPHITE, _read_dated, splits=True, dates=True)


def _read_dated(line: bytes) -> Place | int:
    """Return as `read_graphite`, but COMMAND for a line whose time -1 stands for the present moment."""
    found = keyedline.read_graphite(line)
    return found if isinstance(found, int) or not means_now(found.timestamp) else COMMAND


def _dated(line: bytes, now: str) -> bytes:
    """Return a line, with the present moment where its time is -1."""
    if b"-" not in line or _read_dated(line) != COMMAND:
        return line
    name, value, _ = line.decode().split()
    return f"{name} {value} {now}".encode()


def regex_lines(pattern: str, time_layout: str = "", strict: bool = False) -> Dialect:
    """Return the dialect of lines in which `pattern` is found: its group `Key` is the name.

    A group `Timestamp` must be a time in `time_layout` (Go's), or without one a number of seconds.  Each line costs a
    search by Python, which a line's length bounds, not the pattern's own cost.  Raises ValueError or re.error.
    """
    compiled = re.compile(pattern)
    if "Key" not in compiled.groupindex:
        raise ValueError("the pattern has no group Key")
    read_time = golayout.reader(time_layout) if time_layout else _seconds
    timed = "Timestamp" in compiled.groupindex
    return Dialect(NOTHING, partial(_read_regex, compiled, read_time if timed else None), strict=strict)


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_regex(pattern: re.Pattern[str], read_time: Callable[[str], float | None] | None, line: bytes) -> Place | int:
    """Return the place of the group Key; the line is searched as Latin-1, so that offsets are those of its bytes."""
    text = line.decode("latin-1")
    found = pattern.search(text.rstrip("\r"))
    if found is None or not found.group("Key"):
        return BAD_FIELDS
    when: float | None = 0.0
    if read_time is not None:
        when = read_time(found.group("Timestamp") or "")
    if when is None or not abs(when) < _FOREVER:
        return BAD_TIMESTAMP
    key, key_end = found.span("Key")
    if key_end - key > active.table.MAX_NAME_BYTES:
        return BAD_NAME
    return Place(0, key, key_end, len(line) - line.endswith(b"\r"), when)


class RelayTail(Tail):
    """What one connection has sent of a line; `answer` hears of its commands; `broken`: nothing more is read."""

    __slots__ = ("answer", "broken")

    def __init__(self, answer: Callable[[bytes], None] | None = None) -> None:
        super().__init__()
        self.answer = answer
        self.broken = False


class RelayCodec(Lines[Tail]):
    """Fills `columns` (with spans) from lines and hands them to `emit` as lent Batches.

    Their timestamps and values are zeros, unless `numbers` asks for those of Graphite lines (-1 means now,
    `resolution` in seconds rounds down); a regex line has its timestamp alone.  With `arcs`, names that are routed
    alike may share an id.  It is an IHolder of `table`'s ids.
    Each text of a Batch is at most one read longer than GATHER_BYTES.  Reactor thread; never raises for data.
    """

    def __init__(
        self,
        table: active.table.MetricTable,
        columns: Columns,
        emit: Callable[[Batch], None],
        dialect: Dialect,
        max_line: int = DEFAULT_MAX_LINE,
        numbers: bool = False,
        resolution: int = 0,
        kernel: ModuleType = active.relaylines,
        arcs: active.arcs.Arcs | None = None,
    ) -> None:
        super().__init__(max_line)
        if columns.spans is None:
            raise ValueError("a relay needs the spans of lines")
        self.dialect = dialect
        self._table = table
        self._columns = columns
        self._spans = columns.spans
        self._emit = emit
        self._kernel = kernel
        self._resolution = resolution
        self.serve(numbers, arcs)
        self._limit = 1 if dialect.strict else BAD_LIMIT
        self._tagged = None if dialect.refuses is None else Decisions(self._decide_tags)
        self._parts: list[bytes] = []
        self._gathered = 0
        self._now = 0.0
        self._tail = RelayTail()
        self._skip_to = self._read_to = 0
        self._after: Callable[[int], int] = _never

    @property
    def pending(self) -> int:
        """Rows that wait for `flush`."""
        return self._columns.n

    def serve(self, numbers: bool, arcs: active.arcs.Arcs | None) -> None:
        """Read what other stages want from now on: `numbers` and `arcs` as at first.  Nothing may be pending."""
        if arcs is not None and self.dialect.refuses is not None:
            raise ValueError("a dialect that refuses keys has to know each of them")
        columns = self._columns
        self.arcs = arcs
        self._numbers = (columns.timestamps, columns.values) if numbers and self.dialect.shape >= GRAPHITE else ()
        for column in () if self._numbers else (columns.timestamps, columns.values):
            column.fill(0.0)

    def feed(self, tail: Tail, data: bytes, now: float, bad: BadSink) -> None:
        """Read what a connection sent; `tail` is its RelayTail.  `now` is epoch seconds."""
        if not isinstance(tail, RelayTail) or tail.broken:
            return
        self._tail, self._after, self._skip_to = tail, _never, 0
        super().feed(tail, data, now, self._strictly(bad))
        if self._skip_to:
            tail.held = None
        if self._gathered >= GATHER_BYTES:
            self.flush()

    def datagram(self, data: bytes, now: float, bad: BadSink, after: Callable[[int], int] = lambda _: _FOREVER) -> None:
        """Read whole datagrams, joined by LF; the last line needs none.

        `after(position)` tells where the datagram behind that of a position begins, for a strict dialect.
        """
        dialect = self.dialect
        self._after, self._skip_to = after, 0
        if not data:
            return
        if dialect.strict and dialect.clean is not None:
            self._one_by_one(data, now, bad, after)
            return
        if dialect.splits and not dialect.strict:
            data = lines_of_datagram(data)
        self._whole(data, now, self._strictly(bad))

    def flush(self) -> None:
        """Emit the rows that are there; the columns are free again when it returns."""
        columns, parts = self._columns, self._parts
        self._parts, self._gathered = [], 0
        if columns.n:
            try:
                if self._numbers:
                    self._settle(columns.timestamps[: columns.n])
                self._emit(columns.batch(b"".join(parts)))
            finally:
                columns.n = 0

    def holds(self, ids: Ids) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Nothing here must not be lost."""
        return np.zeros(len(ids), np.bool_)

    def forget(self, ids: Ids) -> None:
        """The ids may come back as other keys."""
        if self._tagged is not None:
            self._tagged.forget(ids)
        if self.arcs is not None:
            self.arcs.forget(ids)

    def _whole(self, data: bytes, now: float, bad: BadSink) -> None:
        self._tail = RelayTail()
        self._read(self._tail, data if data.endswith(b"\n") else data + b"\n", 0, now, bad)
        if self._gathered >= GATHER_BYTES:
            self.flush()

    def _one_by_one(self, data: bytes, now: float, bad: BadSink, after: Callable[[int], int]) -> None:
        """Read datagrams whose lines change their length before they are read: places would not tell their ends."""
        start = 0
        while start < len(data):
            stop = min(after(start), len(data))
            self._after, self._skip_to = _never, 0
            self._whole(data[start:stop], now, self._strictly(bad))
            start = stop

    def _strictly(self, bad: BadSink) -> BadSink:
        """Return `bad`, which also ends the connection or datagram of a line that is too long where it shall."""
        if not self.dialect.strict:
            return bad

        def told(found: BadInput, lines: int) -> None:
            if found.kind == "too_long":
                self._stop(self._read_to)
            bad(found, lines)

        return told

    def _stop(self, position: int) -> None:
        """Read nothing more of the connection or datagram to which `position` belongs."""
        self._tail.broken = True
        self._skip_to = self._after(position)

    def _parse(self, tail: Tail, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:  # noqa: ARG002
        columns, dialect, wrong = self._columns, self.dialect, Wrong()
        self._now, self._read_to = now, end
        read = dialect.read if self._tail.answer is None else self._read_or_command
        start = max(start, self._skip_to)
        if dialect.clean is not None and start < end:
            cleaned = dialect.clean(data[start:end])
            data, start, end = cleaned, 0, len(cleaned)
        while start < end:
            shift, first = self._keep(data), columns.n
            start, columns.n = self._kernel.parse_keyed(
                self._table, data, start, end, columns.ids, self._spans, first, now, shift, dialect.shape, read,
                self._limit, wrong, *self._numbers, arcs=self.arcs,
            )  # fmt: skip
            if self._tagged is not None and not self._tagged.all_are(columns.ids[first : columns.n], PASS):
                self._take_tagged_out(self._tagged, first, shift, wrong)
            undated = bool(wrong) and dialect.dates and wrong[-1][0] == COMMAND
            if undated:
                start = wrong.pop()[1]
            if wrong:
                start = self._refuse(data, wrong, bad, start)
                wrong.clear()
            if undated:
                data = self._with_dates(data[start:end], now)
                start, end = 0, len(data)
            if columns.n == len(columns.ids):
                self.flush()

    def _with_dates(self, data: bytes, now: float) -> bytes:
        """Return complete lines, each with a time: that of carbon's lines, unless it is wanted as a number as well."""
        when = repr(now) if self._numbers and now != int(now) else str(int(now))
        found, plain = _UNDATED.subn(rb"\g<1>" + when.encode(), data)
        if plain:  # others, if there are any, are met next
            return found
        return b"".join([_dated(line, when) + b"\n" for line in data.split(b"\n")[:-1]])

    def _keep(self, data: bytes) -> int:
        """Keep `data` until its rows are emitted; return where it begins in the joined text."""
        if self._parts and self._parts[-1] is data:
            return self._gathered - len(data)
        if self._gathered and self._gathered + len(data) > GATHER_BYTES:
            self.flush()
        self._parts.append(data)
        self._gathered += len(data)
        return self._gathered - len(data)

    def _refuse(self, data: bytes, wrong: Wrong, bad: BadSink, start: int) -> int:
        """Report what is wrong, answer a command; return from where on to read, which would be `start`."""
        command = wrong.pop() if wrong[-1][0] == COMMAND else None
        if wrong:
            report(data, wrong, bad)
        if command is not None and self._tail.answer is not None:
            self.flush()
            self._tail.answer(data[command[1] : command[2]])
            if self._tail.broken:
                return _FOREVER
        if self.dialect.strict:
            for kind, position, _ in wrong:
                if kind != BAD_TABLE_FULL:
                    self._stop(position)
                    return self._skip_to
        return start

    def _read_or_command(self, line: bytes) -> Place | int:
        return COMMAND if line in self.dialect.commands else self.dialect.read(line)

    def _decide_tags(self, number: int) -> int:
        refuses = self.dialect.refuses
        return _TAGGED if refuses is not None and refuses(self._table.name(number)) else PASS

    def _take_tagged_out(self, tagged: Decisions, first: int, shift: int, wrong: Wrong) -> None:
        """Take the rows from `first` on whose keys are refused out of the columns, and into `wrong`.

        A strict dialect ends at the first of them.
        """
        columns, spans, n = self._columns, self._spans, self._columns.n
        kept = tagged.lookup(columns.ids[first:n]) == PASS
        places = (spans[first:n][~kept] - np.uint32(shift)).tolist()
        if not places:
            return
        if self.dialect.strict:
            columns.n = first + int(np.argmin(kept))
            wrong[:] = [(BAD_TAG, places[0][0], places[0][2])]
            return
        rows = first + np.flatnonzero(kept)
        columns.n = first + len(rows)
        for column in (columns.ids, spans, columns.timestamps, columns.values):
            column[first : columns.n] = column[rows]
        wrong[:0] = [(BAD_TAG, start, stop) for start, _, stop in places]

    def _settle(self, timestamps: Floats) -> None:
        """Put the present moment in place of -1, and round down."""
        timestamps[(timestamps > -2.0) & (timestamps <= -1.0)] = self._now
        if self._resolution:
            np.floor(np.trunc(timestamps) / self._resolution, out=timestamps)
            timestamps *= self._resolution


def _never(_position: int) -> int:
    return _FOREVER
