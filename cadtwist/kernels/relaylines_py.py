"""Finds the keys of lines that are relayed as they are: the readable twin of `relaylines.pyx`."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.arcs_py import Arcs
from cadtwist.kernels.graphiteline import BAD_TABLE_FULL, MAX_NAME_BYTES, NO_ID
from cadtwist.kernels.keyedline import COMMAND, GRAPHITE, STATSD, Place
from cadtwist.kernels.table_py import MetricTable

__all__ = ["has_dirt", "parse_keyed"]

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

_DECIMAL = rb"[-+]?[0-9]+(?:\.[0-9]+)?"
_PLAIN = (
    re.compile(rb"([^:\n]+):.*", re.DOTALL),
    re.compile(rb"([^ \t\n]+)[ \t].*", re.DOTALL),
    re.compile(rb"([^:\n]+):" + _DECIMAL + rb"\|(?:ms|[mcghskG])(?:\|@" + _DECIMAL + rb")?"),
    re.compile(rb"([!-\x7f]+)[ \t]+(" + _DECIMAL + rb")[ \t]+(?!-)(" + _DECIMAL + rb")"),
    re.compile(rb"(?!)"),
)
_MOST_PLAIN = 300
"""Longer numbers may be infinite: `read` tells."""


def parse_keyed(
    table: MetricTable,
    data: bytes,
    start: int,
    end: int,
    ids: Ids,
    spans: Ids,
    n: int,
    now: float,
    shift: int,
    shape: int,
    read: Callable[[bytes], Place | int],
    limit: int,
    bad: list[tuple[int, int, int]],
    timestamps: Floats | None = None,
    values: Floats | None = None,
    arcs: Arcs | None = None,
) -> tuple[int, int]:
    """Find the keys of the LF-terminated lines of `data[start:end]`; fill the columns from row `n` on.

    `shape` tells which lines are plain (RAW_COLON ... NOTHING); `read(line)` is asked about each other one and
    returns its Place, a number of BAD_KINDS or COMMAND.  `spans` rows are (line start, key end, line end) plus
    `shift`; where the key does not begin the line, (line start, line start, line end).  `timestamps` and `values`
    (both or none; as the line has them) are for GRAPHITE and NOTHING.  `arcs` (of the same table) give the ids, if
    there are any.  Returns (first unread byte, rows filled).  Stops when the columns are full, when `bad` holds `limit`
    entries (number, line start, line end), and behind a COMMAND, which is an entry as well.
    """
    seconds, capacity = max(0, int(now)), len(ids)
    if len(spans) != capacity or not 0 <= n <= capacity or not 0 <= start <= end <= len(data) or shift < 0:
        raise ValueError("the columns differ in length, or start, end or shift is out of range")
    if timestamps is not None and shape < GRAPHITE:
        raise ValueError("lines of that shape have no numbers")
    if arcs is not None and arcs.table is not table:
        raise ValueError("the arcs are of another table")
    ids_of = table if arcs is None else arcs
    metrics, places, numbers = list[int](), list[tuple[int, int, int]](), list[tuple[float, float]]()
    last = data.rfind(b"\n", start, end) + 1
    while start < last and n + len(metrics) < capacity and len(bad) < limit:
        stop = data.index(b"\n", start)
        line = data[start:stop]
        found = _plain(line, shape, timestamps is not None) or read(line)
        metric = NO_ID
        if not isinstance(found, int):
            metric = ids_of.intern(line[found.key : found.key_end], seconds)
        if isinstance(found, int) or metric == NO_ID:
            bad.append((found if isinstance(found, int) else BAD_TABLE_FULL, start, stop))
        else:
            metrics.append(metric)
            key_end = found.key_end if found.start == found.key else found.start
            places.append((start + shift + found.start, start + shift + key_end, start + shift + found.stop))
            numbers.append((found.timestamp, found.value))
        start = stop + 1
        if found == COMMAND:
            break
    after = n + len(metrics)
    if metrics:
        ids[n:after], spans[n:after] = metrics, places
        if timestamps is not None and values is not None:
            timestamps[n:after], values[n:after] = zip(*numbers, strict=True)
    return start, after


def _plain(line: bytes, shape: int, with_numbers: bool) -> Place | None:
    """Return the place of a line that looks as nearly all of its shape do, else None."""
    if shape >= STATSD and len(line) > _MOST_PLAIN:
        return None
    match = _PLAIN[shape].fullmatch(line)
    if match is None or match.end(1) > MAX_NAME_BYTES:
        return None
    if with_numbers:
        return Place(0, 0, match.end(1), len(line), float(match.group(3)), float(match.group(2)))
    return Place(0, 0, match.end(1), len(line))


def has_dirt(data: bytes, start: int, end: int, classes: bytes) -> bool:
    """Return whether `data[start:end]`, which begins a line, has a byte of class 1, or neighbours of one higher class.

    `classes` has the class of each of the 256 bytes; those of class 0 are harmless.
    """
    if not 0 <= start <= end <= len(data) or len(classes) != 256:
        raise ValueError("start, end or classes do not fit")
    found = (b"\n" + data[start:end]).translate(classes)
    return 1 in found[1:] or any(bytes((kind, kind)) in found for kind in set(classes) if kind > 1)
