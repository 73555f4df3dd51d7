"""statsd lines read into columns of (name and type, value, weight): the readable twin of `statsdparse.pyx`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.jstext import js_text
from cadtwist.kernels.statsdline import BAD_LIMIT, BAD_TABLE_FULL, BINARY_MAGIC, NO_ID, read_line, read_record
from cadtwist.kernels.table_py import MetricTable

__all__ = ["fixed_lines", "intern_outputs", "parse_binary", "parse_statsd", "told_lines"]

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


def parse_statsd(
    table: MetricTable,
    data: bytes,
    start: int,
    end: int,
    skip: int,
    ids: Ids,
    values: Floats,
    weights: Floats,
    n: int,
    now: float,
    flags: int,
    bad: list[tuple[int, int, int]],
) -> tuple[int, int, int, int]:
    """Read the LF-terminated lines of `data[start:end]` into the columns from row `n` on.

    Returns (start of the first line that is not done, how many of its elements are, rows filled, lines begun);
    `skip` is the second of these from the call before.  Stops when the columns are full or `bad` holds BAD_LIMIT
    entries (number of BAD_KINDS, line start, line end).  A set's value is the hash of its member, in the memory of a
    float64.  Empty lines are no lines.  `flags` are those of `statsdline`.
    """
    capacity, lines, seconds = len(ids), 0, int(now)
    last = data.rfind(b"\n", start, end) + 1
    hashes = values.view(np.uint64)
    while start < last and n < capacity and len(bad) < BAD_LIMIT:
        stop = data.index(b"\n", start)
        elements = read_line(data[start:stop], flags) if stop > start else []
        lines += stop > start and not skip
        for element in elements[skip:]:
            if n == capacity or len(bad) >= BAD_LIMIT:
                return start, skip, n, lines
            skip += 1
            number = element if isinstance(element, int) else table.intern(element.name, seconds)
            if isinstance(element, int) or number == NO_ID:
                bad.append((number if isinstance(element, int) else BAD_TABLE_FULL, start, stop))
                continue
            if isinstance(element.value, int):
                hashes[n] = element.value
            else:
                values[n] = element.value
            ids[n], weights[n], n = number, element.weight, n + 1
        start, skip = stop + 1, 0
    return start, skip, n, lines


def parse_binary(
    table: MetricTable,
    data: bytes,
    start: int,
    end: int,
    ids: Ids,
    values: Floats,
    weights: Floats,
    n: int,
    now: float,
    bad: list[tuple[int, int, int]],
) -> tuple[int, int, int]:
    """Read statsite's binary records of `data[start:end]` into the columns from row `n` on.

    Returns (start of the first record that is not done, rows filled, records begun); stops at a byte that begins no
    record, at a record that is not complete, and when the columns or `bad` are full.  Raises ValueError where the
    first record is of an unknown type or a text of it has no end: nothing can be read after it.

    Layout, little endian: magic 0xaa, type u8, length of the key with its NUL u16, then a float64, or of a set the
    length of its member with NUL u16; then the texts.
    """
    hashes, begun, seconds = values.view(np.uint64), 0, int(now)
    while start < end and data[start] == BINARY_MAGIC and n < len(ids) and len(bad) < BAD_LIMIT:
        try:
            found = read_record(data, start, end)
        except ValueError:
            if begun:
                break
            raise
        if found is None:
            break
        element, stop = found
        begun += 1
        number = element if isinstance(element, int) else table.intern(element.name, seconds)
        if isinstance(element, int) or number == NO_ID:
            bad.append((number if isinstance(element, int) else BAD_TABLE_FULL, start, stop))
        else:
            if isinstance(element.value, int):
                hashes[n] = element.value
            else:
                values[n] = element.value
            ids[n], weights[n], n = number, element.weight, n + 1
        start = stop
    return start, n, begun


def intern_outputs(
    table: MetricTable,
    blob: bytes,
    offsets: Ids,
    prefixes: list[bytes],
    suffixes: list[bytes],
    out: Ids,
    now: float,
) -> None:
    """Intern what the series `blob[offsets[i]:offsets[i+1]]` (`KEY|TYPE`) are called when they are told.

    `out[i, j]` becomes the id of `prefixes[j] + KEY + suffixes[j]` in `table`, NO_ID where it is refused; a suffix
    stands before the tags of a key, which its first `;` begins.
    """
    if out.shape != (len(offsets) - 1, len(prefixes)) or len(suffixes) != len(prefixes) or offsets[-1] > len(blob):
        raise ValueError("the arrays do not fit each other")
    ends = offsets.tolist()
    for i, (start, end) in enumerate(pairwise(ends)):
        head, mark, tags = blob[start:end].rpartition(b"|")[0].partition(b";")
        for j, (prefix, suffix) in enumerate(zip(prefixes, suffixes, strict=True)):
            out[i, j] = table.intern(prefix + head + suffix + mark + tags, int(now))


def told_lines(
    blob: bytes, offsets: Ids, prefixes: list[bytes], suffixes: list[bytes], values: Matrix, timestamp: int
) -> bytes:
    """Return the lines `name value timestamp` of what series tell, numbers as JavaScript writes them.

    The series are `blob[offsets[i]:offsets[i+1]]` (`KEY|TYPE`), `values[i, j]` is called `prefixes[j] + KEY +
    suffixes[j]`, a suffix standing before the tags of a key, which its first `;` begins.  NaN is not told.
    """
    if values.shape != (len(offsets) - 1, len(prefixes)) or len(suffixes) != len(prefixes) or offsets[-1] > len(blob):
        raise ValueError("the arrays do not fit each other")
    lines = []
    for (start, end), row in zip(pairwise(offsets.tolist()), values.tolist(), strict=True):
        head, mark, tags = blob[start:end].rpartition(b"|")[0].partition(b";")
        for prefix, suffix, value in zip(prefixes, suffixes, row, strict=True):
            if value == value:
                name = prefix + head + suffix + mark + tags
                lines.append(b"%b %b %d\n" % (name, js_text(value).encode(), timestamp))
    return b"".join(lines)


def fixed_lines(table: MetricTable, ids: Ids, timestamps: Floats, values: Floats, as_statsd: bool) -> bytes:
    """Return lines with six decimals: `name value timestamp`, or of names `NAME|TYPE` `NAME:value|TYPE`.

    Before a gauge (`|g`) below zero stands one that sets it to 0, since a sign moves it.  KeyError for an id without a
    name.
    """
    rows = zip(table.names(ids), timestamps.tolist(), values.tolist(), strict=True)
    if not as_statsd:
        return b"".join(b"%b %.6f %d\n" % (name, value, int(stamp)) for name, stamp, value in rows)
    parts = ((*name.rpartition(b"|"), b"%.6f" % value) for name, _, value in rows)
    return b"".join(
        (b"%b:0|g\n" % key if mark and kind == b"g" and text[:1] == b"-" else b"") + b"%b:%b|%b\n" % (key, text, kind)
        for key, mark, kind, text in parts
    )
