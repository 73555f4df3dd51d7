"""What Cadent and carbon-c-relay make of a Graphite line before they hash and forward it."""

from __future__ import annotations

import math
import re

from cadtwist.kernels import active
from cadtwist.kernels.graphiteline import (
    BAD_EMPTY,
    BAD_FIELDS,
    BAD_NAME,
    BAD_NAN,
    BAD_TIMESTAMP,
    BAD_VALUE,
    MAX_NAME_BYTES,
)
from cadtwist.kernels.keyedline import Place

__all__ = ["clean_c_relay", "clean_cadent", "read_cadent"]

_CADENT = bytes.maketrans(b",*(){}", b"______")
_LETTERS = bytes(range(48, 58)) + bytes(range(65, 91)) + bytes(range(97, 123))
_ALLOWED = _LETTERS + b"-_:#"
_C_RELAY = bytes(byte if byte in _ALLOWED + b"." else 95 for byte in range(256))
_CADENT_CLASSES = bytes(1 if byte in b",*(){}" else 2 if byte == 46 else 3 if byte == 32 else 0 for byte in range(256))
_C_RELAY_CLASSES = bytes(2 if byte in b". \n;" else 0 if byte in _ALLOWED else 1 for byte in range(256))
_DOTS = re.compile(rb"\.\.+")
_BLANKS = re.compile(rb"[ \t]+")
_STRAY_DOTS = re.compile(rb" (?:\.+ )*(?:\.+(?![0-9.]))?")
_LINE_ENDS = re.compile(rb"\r+\n?|\n")


def clean_cadent(text: bytes) -> bytes:
    """Return lines with `..` as `.`, two blanks as one, and `,*(){}` as `_`: each pair once, from left to right."""
    if not active.relaylines.has_dirt(text, 0, len(text), _CADENT_CLASSES):
        return text
    return text.replace(b"..", b".").replace(b"  ", b" ").translate(_CADENT)


def read_cadent(line: bytes) -> Place | int:
    """Return the place of the key of a cleaned line: three fields or more, a number second, a time third."""
    stop = len(line.rstrip(b" \t\r"))
    start = len(line) - len(line.lstrip(b" \t"))
    fields = line[start:stop].split(b" ")
    if len(fields) < 3:
        return BAD_FIELDS if stop > start else BAD_EMPTY
    value, timestamp = _number(fields[1]), _number(fields[2])
    if value is None:
        return BAD_VALUE
    if not math.isfinite(value):
        return BAD_NAN
    if timestamp is None or not math.isfinite(timestamp):
        return BAD_TIMESTAMP
    if not 0 < len(fields[0]) <= MAX_NAME_BYTES:
        return BAD_NAME
    return Place(start, start, start + len(fields[0]), stop, timestamp, value)


def _number(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def clean_c_relay(text: bytes) -> bytes:
    """Return lines as carbon-c-relay cleans them; a line without a blank, which it drops, stays without one.

    In the name, up to the first blank or `;`: no doubled, leading or trailing dots, `_` for what is not a letter, a
    digit or one of `-_:#`.  Tags are kept as they are, tabs are blanks, several blanks are one, NUL is `_`, CR ends a
    line as LF does, and dots behind the first blank go; but `.5` stays what it is, which carbon-c-relay makes a 5.
    """
    if not active.relaylines.has_dirt(text, 0, len(text), _C_RELAY_CLASSES):
        return text
    return b"".join([_clean_line(line) + b"\n" for line in _LINE_ENDS.split(text)[:-1]])


def _clean_line(line: bytes) -> bytes:
    line = _BLANKS.sub(b" ", line.replace(b"\0", b"_")).lstrip(b" .")
    name, blank, rest = line.partition(b" ")
    name, mark, tags = name.partition(b";")
    name = _DOTS.sub(b".", name.translate(_C_RELAY)).strip(b".")
    return name + mark + tags + _STRAY_DOTS.sub(b" ", blank + rest, count=1)
