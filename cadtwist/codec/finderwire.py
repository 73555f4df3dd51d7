"""What is asked in carbonapi's protocol 3, and what cadtwist (in it) and Cadent (in JSON) answer to a finder.

Nothing but the standard library: neither NumPy nor msgspec may be there.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from cadtwist.codec.protowire import WireError, chunk, read_fields, signed, text, varint

__all__ = [
    "MOST_POINTS", "Found", "TimeInfo", "fetch_request", "find_request", "groups", "read_cadent_series",
    "read_globs", "read_series",
]  # fmt: skip

MOST_POINTS = 4096
"""The most points that Cadent is asked for."""

TimeInfo = tuple[int, int, int]
"""(start, end, step) in seconds."""


class Found(NamedTuple):
    """A series: values at start, start + step ... (epoch seconds), None where nothing is known."""

    pattern: str
    name: str
    time_info: TimeInfo
    values: list[Any]


def find_request(patterns: Sequence[str]) -> bytes:
    """Return a MultiGlobRequest."""
    return b"".join(chunk(1, pattern.encode("utf-8", "replace")) for pattern in patterns)


def fetch_request(patterns: Sequence[str], start: int, end: int) -> bytes:
    """Return a MultiFetchRequest of patterns in a range of epoch seconds."""
    times = b"\x10" + varint(start) + b"\x18" + varint(end)
    names = [pattern.encode("utf-8", "replace") for pattern in patterns]
    return b"".join(chunk(1, chunk(1, name) + times + chunk(5, name)) for name in names)


def groups(paths: Sequence[str], most: int) -> Iterator[list[str]]:
    """Yield groups of paths that fit into a URL together: each takes eight characters more than it has."""
    group: list[str] = []
    length = 0
    for path in paths:
        size = len(quote(path)) + 8
        if group and length + size > most:
            yield group
            group, length = [], 0
        group.append(path)
        length += size
    if group:
        yield group


def read_globs(data: bytes) -> Iterator[tuple[str, list[tuple[str, bool]]]]:
    """Yield (query, its matches: path, is it a leaf) of a MultiGlobResponse; WireError."""
    for number, answer in read_fields(data):
        if number == 1 and isinstance(answer, bytes):
            parts = list(read_fields(answer))
            query = next((text(value) for field, value in parts if field == 1), "")
            yield query, [_match(value) for field, value in parts if field == 2 and isinstance(value, bytes)]


def _match(data: bytes) -> tuple[str, bool]:
    told = dict(read_fields(data))
    return text(told.get(1)), bool(told.get(2))


def read_series(data: bytes) -> Iterator[Found]:
    """Yield the series of a MultiFetchResponse; WireError."""
    for number, message in read_fields(data):
        if number == 1 and isinstance(message, bytes):
            told = dict(read_fields(message))
            doubles = told.get(9)
            numbers = _doubles(doubles if isinstance(doubles, bytes) else b"")
            values = [None if value != value else value for value in numbers]
            name, pattern = text(told.get(1)), text(told.get(2))
            start, end, step = (signed(told.get(field)) for field in (4, 5, 6))
            yield Found(pattern or name, name, (start, end, max(step, 1)), values)


def _doubles(data: bytes) -> array[float]:
    if len(data) % 8:
        raise WireError("values that are no doubles")
    numbers = array("d", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def read_cadent_series(told: Any, start: int, end: int) -> Iterator[tuple[str, tuple[TimeInfo, list[Any]], bool]]:
    """Yield (name, (time info, values), whether the latest points may be elsewhere) of Cadent's `/metrics`.

    The first versions give each series as a list of [value, time]; later ones as an object with such a list under
    `data`, the series under `series` or beside what concerns all of them.
    """
    if not isinstance(told, dict):
        return
    known = told.get("series")
    if not isinstance(known, dict):
        known = {name: one for name, one in told.items() if isinstance(one, dict) and "data" in one}
    first, last = (int(told.get(new) or told.get(old) or 0) for new, old in (("start", "from"), ("end", "to")))
    for name, one in known.items():
        points = one.get("data") if isinstance(one, dict) else one
        cold = isinstance(one, dict) and bool(one.get("using_cache")) and not one.get("in_cache")
        pairs = [pair for pair in map(_pair, points or ()) if pair is not None]
        step = int(told.get("step") or 0) or _gap(pairs) or max(end - start, 1)
        yield str(name), _placed(pairs, first or start, last or end, step), cold


def _pair(point: Any) -> tuple[Any, float] | None:
    """Return (value, time) of a point in either form, None for what is none."""
    if isinstance(point, dict):
        point = point.get("value"), point.get("time")
    if not isinstance(point, (list, tuple)) or len(point) != 2 or not isinstance(point[1], (int, float)):
        return None
    value = point[0] if isinstance(point[0], (int, float)) and point[0] == point[0] else None
    return value, point[1]


def _gap(pairs: Sequence[tuple[Any, float]]) -> int:
    return int(pairs[1][1] - pairs[0][1]) if len(pairs) > 1 else 0


def _placed(pairs: Sequence[tuple[Any, float]], start: int, end: int, step: int) -> tuple[TimeInfo, list[Any]]:
    """Return the values in slots of `step` seconds: a point may lie anywhere within its own."""
    step = max(step, 1)
    slots = [(int(moment - start) // step, value) for value, moment in pairs]
    count = max((end - start) // step, 1, *(slot + 1 for slot, _ in slots))
    values: list[Any] = [None] * min(count, len(pairs) + MOST_POINTS)
    for slot, value in slots:
        if value is not None and 0 <= slot < len(values):
            values[slot] = value
    count = len(values)
    return (start, start + count * step, step), values
