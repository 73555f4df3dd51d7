"""The reference reading of one Graphite line, shared by both twins of the table kernel.

Format: `metric value timestamp`, UTF-8, fields apart by runs of white space, as carbon's line receivers take it.
"""

from __future__ import annotations

import math

__all__ = [
    "BAD_EMPTY",
    "BAD_ENCODING",
    "BAD_FIELDS",
    "BAD_LIMIT",
    "BAD_NAME",
    "BAD_NAN",
    "BAD_RATE",
    "BAD_TABLE_FULL",
    "BAD_TAG",
    "BAD_TIMESTAMP",
    "BAD_TYPE",
    "BAD_VALUE",
    "MAX_NAME_BYTES",
    "NO_ID",
    "means_now",
    "read_line",
    "settle",
]

NO_ID = 0xFFFFFFFF
"""Stands for "no such metric"."""

MAX_NAME_BYTES = 0xFFFF
"""The longest name that a table takes."""

BAD_LIMIT = 256
"""A parser pauses when it has reported so many bad lines, so that hostile input stays bounded."""

BAD_FIELDS, BAD_VALUE, BAD_TIMESTAMP, BAD_ENCODING, _, BAD_EMPTY, BAD_NAN, BAD_NAME, _, BAD_TABLE_FULL = range(10)
BAD_TYPE, BAD_RATE, BAD_TAG = range(10, 13)
"""Positions in `cadtwist.model.badinput.BAD_KINDS`; a test holds both together."""


def read_line(line: bytes, now: float, resolution: int) -> tuple[bytes, float, float, int] | int:
    """Return (name, timestamp, value, end of the name within `line`), or the number of what is wrong.

    `line` has no LF.  `now` is epoch seconds and stands for the timestamp -1; `resolution` in seconds, 0 = none.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return BAD_ENCODING
    fields = text.split()
    if len(fields) != 3:
        return BAD_FIELDS if fields else BAD_EMPTY
    try:
        value = float(fields[1])
    except ValueError:
        return BAD_VALUE
    try:
        timestamp = float(fields[2])
    except ValueError:
        return BAD_TIMESTAMP
    if value != value:
        return BAD_NAN
    settled = settle(timestamp, now, resolution)
    if settled is None:
        return BAD_TIMESTAMP
    name = fields[0].encode("utf-8")
    if len(name) > MAX_NAME_BYTES:
        return BAD_NAME
    lead = len(text) - len(text.lstrip())
    return name, settled, value, len(text[:lead].encode("utf-8")) + len(name)


def means_now(timestamp: float) -> bool:
    """Tell whether a line's timestamp stands for the present moment: -1, whatever follows its point."""
    return -2.0 < timestamp <= -1.0


def settle(timestamp: float, now: float, resolution: int) -> float | None:
    """Return the timestamp as it is kept: `now` for -1, rounded down to `resolution`; None where it is no time."""
    if not math.isfinite(timestamp):
        return None
    if means_now(timestamp):
        timestamp = now
    if not resolution:
        return timestamp
    try:
        return float(int(timestamp) // resolution * resolution)
    except OverflowError:
        return None
