"""The reference reading of statsd lines, of both families, shared by both twins of the parser.

A line is `KEY:VALUE|TYPE[|@RATE]`, with more values and tags in Etsy's family; statsite's is one value and strict.
What is read comes out under the name `KEY|TYPE`, where TYPE is one of c, ms, g, s, kv.  Numbers are JavaScript's in
Etsy's family, the leading number of the text in statsite's.
"""

from __future__ import annotations

import math
import re
import struct
from typing import NamedTuple

from cadtwist.kernels.cardinality import member_hash

__all__ = [
    "BAD_EVENT",
    "BAD_FIELDS",
    "BAD_LIMIT",
    "BAD_NAME",
    "BAD_NAN",
    "BAD_RATE",
    "BAD_TABLE_FULL",
    "BAD_TYPE",
    "BAD_VALUE",
    "BINARY_MAGIC",
    "CADENT",
    "DOG",
    "MAX_NAME_BYTES",
    "NO_ID",
    "SANITISE",
    "STATSITE",
    "TAGS_DROPPED",
    "TAGS_IN_NAMES",
    "Element",
    "js_number",
    "leading_number",
    "read_line",
    "read_record",
    "sanitised",
]

NO_ID = 0xFFFFFFFF
MAX_NAME_BYTES = 0xFFFF
BAD_LIMIT = 256
"""A parser pauses when it has reported so many bad elements, so that hostile input stays bounded."""

BAD_FIELDS, BAD_VALUE, _, _, _, _, BAD_NAN, BAD_NAME, _, BAD_TABLE_FULL, BAD_TYPE, BAD_RATE, _, _, BAD_EVENT = range(15)
"""Positions in `cadtwist.model.badinput.BAD_KINDS`; a test holds both together."""

SANITISE = 1
"""White space of a key becomes `_`, a slash `-`, and what is not of `a-zA-Z_-0-9.;=` goes."""

STATSITE = 2
"""The other family: strict lines, one value, no tags."""

DOG = 4
"""`h` and `d` are timers, fields after the tags are ignored, events and service checks are counted and dropped."""

TAGS_IN_NAMES = 8
"""Tags become `.TAG.VALUE` at the end of the key, in place of `;TAG=VALUE`."""

TAGS_DROPPED = 16
"""Tags are ignored."""

CADENT = 32
"""One value per line, the type may be missing (a counter), `h` is a timer, keys and signs are taken as they are."""

BINARY_MAGIC = 0xAA
"""The byte that begins a binary record; no line begins with it."""

_SUFFIXES = {1: b"|kv", 2: b"|c", 3: b"|ms", 4: b"|s", 5: b"|g", 6: b"|g"}
_BLANK = "\t\n\x0b\x0c\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_BLANKS = re.compile(f"[{_BLANK}]+")
_AROUND = re.compile(f"^[{_BLANK}]+|[{_BLANK}]+$")
_OUTSIDE = re.compile(r"[^a-zA-Z_\-0-9.;=]")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NO_DIGITS = re.compile(r"(?:[+-]\.?|\.)(?![.0-9]*[eE])")
_RADIX = {"0x": 16, "0o": 8, "0b": 2}
_DIGITS = {16: re.compile("[0-9a-fA-F]+"), 8: re.compile("[0-7]+"), 2: re.compile("[01]+")}
_RATE = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+")
_STATSITE = re.compile(rb"([^:]+):([^|]+)\|(?:(kv|g|s)|(ms|h|c)(?:\|@(.+))?)", re.DOTALL)


class Element(NamedTuple):
    """One value of a line: its name `KEY|TYPE`, the value (a hash in a set) and weight.

    The weight is 1 / rate for counters and timers; of a gauge 0 says that the value is to be added, else it is 1.
    """

    name: bytes
    value: float | int
    weight: float


def js_number(text: str) -> float | None:
    """Return what JavaScript's Number() makes of a text that is not empty; None where that is NaN."""
    plain = _AROUND.sub("", text)
    if _DECIMAL.fullmatch(plain):
        return float(plain)
    if plain in ("Infinity", "+Infinity", "-Infinity"):
        return math.inf if plain[0] != "-" else -math.inf
    radix = _RADIX.get(plain[:2].lower())
    if radix and _DIGITS[radix].fullmatch(plain[2:]) and len(plain) <= 258:
        return float(int(plain[2:], radix))
    return 0.0 if text and not plain else None


def leading_number(text: bytes) -> float | None:
    """Return the number with which a text begins, whatever follows it; None where there is none.

    A sign or a point without digits is a 0, but none with an exponent: so statsite reads.
    """
    plain = text.decode("latin-1")
    found = _DECIMAL.match(plain)
    if found:
        return float(found[0])
    begun = _NO_DIGITS.match(plain)
    return None if begun is None else -0.0 if plain[0] == "-" else 0.0


def sanitised(key: str) -> str:
    """Return the key as statsd writes it."""
    return _OUTSIDE.sub("", _BLANKS.sub("_", key).replace("/", "-"))


def read_line(line: bytes, flags: int) -> list[Element | int]:
    """Return what a line (not empty, without its LF) holds: elements, or the numbers of what is wrong with them."""
    if flags & STATSITE:
        return [_statsite(line)]
    if flags & CADENT:
        return [_cadent(line)]
    text = line.decode("utf-8", "replace")
    if flags & DOG and text.startswith(("_e{", "_sc|")):
        return [BAD_EVENT]
    body, *after = text.split("|#")
    key, *values = body.split(":")
    if after and after[0]:
        key = _tagged(key, after[0], flags)
    if flags & SANITISE:
        key = sanitised(key)
    name = key.encode("utf-8", "replace")
    return [_element(name, value, flags) for value in values or ["1"]]


def _tagged(key: str, text: str, flags: int) -> str:
    if flags & TAGS_DROPPED:
        return key
    if flags & DOG:
        text = text.partition("|")[0]
    tags = [tag.replace(";", "_", 1).replace(":", "=", 1) for tag in text.split(",")]
    if flags & TAGS_IN_NAMES:
        return ".".join([key, *(tag.replace("=", ".", 1) for tag in tags)])
    return ";".join([key, *tags])


def _element(key: bytes, text: str, flags: int) -> Element | int:
    fields = text.split("|")
    if flags & DOG and len(fields) > 2 and fields[2][:1] != "@":
        del fields[2:]
    if len(fields) < 2:
        return BAD_FIELDS
    rate = _rate(fields[2]) if len(fields) > 2 else 1.0
    if rate is None:
        return BAD_RATE
    value, kind = fields[0], _AROUND.sub("", fields[1])
    number = js_number(value) if value else None
    if fields[1] == "s":
        return _checked(key + b"|s", member_hash((value or "0").encode("utf-8", "replace")), 1.0)
    if number is None or (fields[1] == "ms" and number < 0):
        return BAD_VALUE
    if kind == "s":
        return _checked(key + b"|s", member_hash(value.encode("utf-8", "replace")), 1.0)
    if kind == "g":
        return _checked(key + b"|g", number, 0.0 if value[0] in "+-" else 1.0)
    is_timer = kind == "ms" or (flags & DOG and kind in ("h", "d"))
    return _checked(key + (b"|ms" if is_timer else b"|c"), number, 1.0 / rate)


def _rate(text: str) -> float | None:
    """Return the rate of a field, which is to be `@` and a plain number above zero; None where it is not."""
    plain = _AROUND.sub("", text[1:]) if text[1:2].isdigit() or text[1:2] == "." else ""
    if text[:1] != "@" or not _RATE.fullmatch(plain):
        return None
    rate = float(plain)
    return rate if rate > 0 and math.isfinite(1.0 / rate) and math.isfinite(rate) else None


def _checked(name: bytes, value: float, weight: float) -> Element | int:
    return Element(name, value, weight) if len(name) <= MAX_NAME_BYTES else BAD_NAME


def _cadent(line: bytes) -> Element | int:
    key, *after = line.split(b":")
    if not after:
        return BAD_FIELDS
    text, kind, *more = [*after[0].split(b"|"), b"c"][: max(2, after[0].count(b"|") + 1)]
    rate: float | None = 1.0
    if len(more) == 1:
        rate = _rate(more[0].decode("latin-1"))
    if rate is None:
        return BAD_RATE
    if not key:
        return BAD_NAME
    kind = b"ms" if kind == b"h" else kind
    if kind not in (b"c", b"g", b"ms", b"s"):
        return BAD_TYPE
    name = key.decode("utf-8", "replace").encode() + b"|" + kind
    if kind == b"s":
        return _checked(name, member_hash(text), 1.0)
    plain = text.decode("latin-1")
    if not _DECIMAL.fullmatch(plain) or not math.isfinite(float(plain)):
        return BAD_VALUE
    if kind == b"g":
        return _checked(name, float(plain), 0.0 if plain[0] in "+-" else 1.0)
    return _checked(name, float(plain), 1.0 / rate)


def _statsite(line: bytes) -> Element | int:
    found = _STATSITE.fullmatch(line)
    if found is None:
        return BAD_FIELDS if line.count(b":") == 0 or b"|" not in line else BAD_TYPE
    key, text, plain, rated, rate = found.groups()
    kind = plain or (b"ms" if rated == b"h" else rated)
    name = key.decode("utf-8", "replace").encode() + b"|" + kind
    if kind == b"s":
        return _checked(name, member_hash(text), 1.0)
    value = leading_number(text)
    if value is None:
        return BAD_VALUE
    if kind == b"g":
        return _checked(name, value, 0.0 if text[:1] in (b"+", b"-") else 1.0)
    share = leading_number(rate) if rate and len(rate) > 1 else None
    return _checked(name, value, 1.0 / share if share and 0 < share <= 1 else 1.0)


def read_record(data: bytes, start: int, end: int) -> tuple[Element | int, int] | None:
    """Return what the binary record at `start` holds (or the number of what is wrong) and its end.

    None where it is not complete; ValueError where no record can follow any more.
    """
    if start + 2 > end:
        return None
    suffix = _SUFFIXES.get(data[start + 1])
    if suffix is None:
        raise ValueError("a record of an unknown type")
    is_set = suffix == b"|s"
    body = start + (6 if is_set else 12)
    if body > end:
        return None
    size = int.from_bytes(data[start + 2 : start + 4], "little")
    more = int.from_bytes(data[start + 4 : start + 6], "little") if is_set else 0
    stop = body + size + more
    if stop > end:
        return None
    if not size or data[body + size - 1] or (is_set and (not more or data[stop - 1])):
        raise ValueError("a text without its end")
    key = data[body : body + size].partition(b"\0")[0]
    name = key.decode("utf-8", "replace").encode() + suffix
    if is_set:
        return _checked(name, member_hash(data[body + size : stop].partition(b"\0")[0]), 1.0), stop
    value = struct.unpack_from("<d", data, start + 4)[0]
    if value != value:
        return BAD_NAN, stop
    return _checked(name, value, 0.0 if data[start + 1] == 6 else 1.0), stop
