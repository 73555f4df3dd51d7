"""The reference reading of one line of istatd's protocol, shared by both twins of the statlines kernel.

`name value`, `name time value` or `name time sum sumsq min max count`, fields apart by runs of white space.
"""

from __future__ import annotations

import math
import re

__all__ = [
    "BAD_FIELDS",
    "BAD_LIMIT",
    "BAD_NAME",
    "BAD_RESERVED",
    "BAD_TABLE_FULL",
    "BAD_TIMESTAMP",
    "BAD_VALUE",
    "MAX_NAME_BYTES",
    "META",
    "NO_ID",
    "RESERVED",
    "Reading",
    "read_stat_line",
]

NO_ID, MAX_NAME_BYTES, BAD_LIMIT = 0xFFFFFFFF, 0xFFFF, 256
BAD_FIELDS, BAD_VALUE, BAD_TIMESTAMP, BAD_NAME, BAD_TABLE_FULL, BAD_RESERVED = 0, 1, 2, 7, 9, 13
"""Positions in `cadtwist.model.badinput.BAD_KINDS`; a test holds both together."""

RESERVED = b"@$%&;:"
"""First bytes of lines that mean nothing yet."""

META = ord("#")
"""First byte of a line about the connection."""

Reading = tuple[bytes, float, float, float, float, float, float]
"""Name, time, count, sum, sum of squares, smallest, greatest: the columns of a SummaryBatch in order."""

_BLANKS = b" \t\v\f\r\n"
_NUMBER = re.compile(rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf|infinity|nan))")
_WHOLE = re.compile(rb"[+-]?0*[0-9]{1,20}")
_NO_NUMBERS = (b"nan", b"NaN", b"-nan", b"-NaN")


def read_stat_line(line: bytes, now: float) -> Reading | int | None:
    """Return what a line without LF says, the number of what is wrong, or None for one without a field.

    `now` (epoch seconds) stands for a missing time.  A name keeps its mark of events.
    """
    fields = line.strip(_BLANKS).split()
    if not fields:
        return None
    name = fields[0]
    if name[0] in RESERVED:
        return BAD_RESERVED
    if len(fields) not in (2, 3) and len(fields) < 7:
        return BAD_FIELDS
    if len(name) > MAX_NAME_BYTES or name == b"*":
        return BAD_NAME
    time = float(int(now)) if len(fields) == 2 else _whole(fields[1], -(1 << 63), (1 << 63) - 1)
    if time is None:
        return BAD_TIMESTAMP
    if len(fields) < 7:
        value = _number(fields[-1])
        if value is None:
            return BAD_VALUE
        return name, time, 1.0, value, value * value, value, value
    numbers = [_number(field) for field in fields[2:6]]
    count = _whole(fields[6], -(1 << 64) + 1, (1 << 64) - 1)
    if count is None or None in numbers:
        return BAD_VALUE
    total, sumsq, low, high = (0.0 if number is None else number for number in numbers)
    return name, time, count if count >= 0 else count + 2.0**64, total, sumsq, low, high


def _number(text: bytes) -> float | None:
    if text in _NO_NUMBERS:
        return 0.0
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return None if math.isinf(value) and text.strip(b"+-")[:1] not in (b"i", b"I") else value


def _whole(text: bytes, least: int, most: int) -> float | None:
    if not _WHOLE.fullmatch(text):
        return None
    value = int(text)
    return float(value) if least <= value <= most else None
