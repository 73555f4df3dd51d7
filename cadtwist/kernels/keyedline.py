"""The reference reading of one line that is relayed as it is: where its key stands, or what is wrong with it.

Shared by both twins of the `relaylines` kernel, which ask it about every line that is not plain.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from cadtwist.kernels.graphiteline import (
    BAD_EMPTY,
    BAD_FIELDS,
    BAD_NAME,
    BAD_NAN,
    BAD_RATE,
    BAD_TAG,
    BAD_TYPE,
    BAD_VALUE,
    MAX_NAME_BYTES,
    read_line,
)

__all__ = [
    "COMMAND",
    "GRAPHITE",
    "NOTHING",
    "RAW_BLANK",
    "RAW_COLON",
    "STATSD",
    "Place",
    "number_before",
    "read_graphite",
    "read_raw_blank",
    "read_raw_colon",
    "read_statsd",
]

RAW_COLON, RAW_BLANK, STATSD, GRAPHITE, NOTHING = range(5)
"""What a plain line looks like: anything with a key before its first colon, or its first blank; a statsd line whose
value and rate are plain decimals; `name number number`, the second not negative; no line is plain."""

COMMAND = -1
"""In place of a number of BAD_KINDS: the line asks something of the relay, and reading stops behind it."""

_NUMBER = re.compile(
    rb"[ \t\n\v\f\r]*[+-]?(?:0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)(?:p[+-]?\d+)?"
    rb"|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan(?:\([0-9a-z_]*\))?)",
    re.IGNORECASE,
)
_TYPES = frozenset(b"cmkgGhs")


class Place(NamedTuple):
    """Where a good line begins, where its key begins and ends, and where the line ends, as offsets; its numbers."""

    start: int
    key: int
    key_end: int
    stop: int
    timestamp: float = 0.0
    value: float = 0.0


def read_raw_colon(line: bytes) -> Place | int:
    """Return the place of the bytes before the first `:`, whatever follows them."""
    return _key(line, line.find(b":"))


def read_raw_blank(line: bytes) -> Place | int:
    """Return the place of the bytes before the first space or tab, whatever follows them."""
    ends = [end for end in (line.find(b" "), line.find(b"\t")) if end >= 0]
    return _key(line, min(ends, default=-1))


def _key(line: bytes, end: int) -> Place | int:
    if end < 0:
        return BAD_FIELDS if line else BAD_EMPTY
    if not 0 < end <= MAX_NAME_BYTES:
        return BAD_NAME
    return Place(0, 0, end, len(line))


def read_statsd(line: bytes, tags: re.Pattern[bytes] | None = None, reserved: tuple[bytes, ...] = ()) -> Place | int:
    """Return the place of a statsd line's key, with the checks of statsrelay 2.x in its order.

    The value stands after the *last* colon and is what C's strtod makes of its beginning; the key ends at the first.
    `tags` finds tags anywhere in the line, group 1 is a tag's name: one that begins a name of `reserved` (lower
    case) is refused.
    """
    colon = line.rfind(b":")
    if colon < 1:
        return BAD_FIELDS if line else BAD_EMPTY
    number = _NUMBER.match(line, colon + 1)
    if number is None:
        return BAD_VALUE
    if not _is_finite(number.group()):
        return BAD_NAN
    bar = line.find(b"|", number.end())
    if bar < 0:
        return BAD_TYPE
    kind, *more = line[bar + 1 :].split(b"|", 1)
    if not (kind == b"ms" or (len(kind) == 1 and kind[0] in _TYPES)):
        return BAD_TYPE
    if more and not (more[0].startswith(b"@") and _NUMBER.match(more[0], 1)):
        return BAD_RATE
    if tags is not None and has_reserved_tag(line, tags, reserved):
        return BAD_TAG
    return _key(line, line.find(b":"))


def number_before(text: bytes, at: int) -> tuple[float, bytes]:
    """Return what strtod makes of `text[at:]`, and what follows it; 0 where it is no number."""
    number = _NUMBER.match(text, at)
    if number is None:
        return 0.0, text[at:]
    return _value(number.group()), text[number.end() :]


def has_reserved_tag(text: bytes, tags: re.Pattern[bytes], reserved: tuple[bytes, ...]) -> bool:
    """Return whether the name of some tag in `text` is the beginning of a reserved name, in whatever case."""
    return any(
        name.startswith(found.group(1).lower()) for found in tags.finditer(text) if found.group(1) for name in reserved
    )


def _is_finite(text: bytes) -> bool:
    """Return whether a number as strtod reads it is neither infinite nor nan."""
    return math.isfinite(_value(text))


def _value(text: bytes) -> float:
    """Return a number as strtod reads it."""
    plain = text.strip().decode("ascii").lower().partition("(")[0]
    try:
        return float.fromhex(plain) if "x" in plain else float(plain)
    except OverflowError:
        return -math.inf if plain.startswith("-") else math.inf


def read_graphite(line: bytes) -> Place | int:
    """Return the place of the name in `metric value timestamp`, as carbon's receivers take it; blanks around it go.

    The timestamp is the line's own, -1 as well.
    """
    read = read_line(line, -1.0, 0)
    if isinstance(read, int):
        return read
    name, timestamp, value, end = read
    start, stop = end - len(name), len(line.decode("utf-8").rstrip().encode("utf-8"))
    return Place(start, start, end, stop, timestamp, value)
