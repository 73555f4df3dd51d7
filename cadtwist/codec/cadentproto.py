"""Messages of Cadent's read API in protocol buffers (proto3), as its versions since 0.4 answer `format=protobuf`.

A body is one message behind its length, four bytes, the highest first.  Unknown values are NaN.  Times are whole
seconds.  Fields that are zero, empty or false are left out, but for those of points, which all have one size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cadtwist.codec.protowire import chunk, varint

__all__ = [
    "Columns", "cached_points", "framed", "graphite_items", "names_message", "nodes_message", "raw_items",
    "tags_message", "whisper_item",
]  # fmt: skip

Columns = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Times in epoch seconds, and the value of each."""

_TIME_BYTES = 5  # a number of 35 bits
_NANO = 1_000_000_000


def framed(message: bytes) -> bytes:
    """Return the body that carries a message."""
    return struct.pack(">I", len(message)) + message


def _integer(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value) if value else b""


def _text(field: int, value: str) -> bytes:
    return chunk(field, value.encode("utf-8", "replace")) if value else b""


def _points(field: int, columns: Columns, values: Sequence[int], count: int = 0) -> bytes:
    """Return repeated points with the time in field 1, the value in each of `values`, 1 in field `count`."""
    times, known = columns
    size = 1 + _TIME_BYTES + 9 * len(values) + (2 if count else 0)
    rows = np.zeros((len(times), size + 2), np.uint8)
    rows[:, :3] = field << 3 | 2, size, 1 << 3
    for at in range(_TIME_BYTES):
        rows[:, 3 + at] = (times >> 7 * at & 0x7F) | (0x80 if at < _TIME_BYTES - 1 else 0)
    at = 3 + _TIME_BYTES
    doubles = np.ascontiguousarray(known, "<f8").view(np.uint8).reshape(len(times), 8)
    for number in values:
        rows[:, at] = number << 3 | 1
        rows[:, at + 1 : at + 9] = doubles
        at += 9
    if count:
        rows[:, at:] = count << 3, 1
    return rows.tobytes()


def nodes_message(nodes: Iterable[Mapping[str, Any]]) -> bytes:
    """Return a MetricFindItemList of nodes as `find` tells them."""
    return b"".join(chunk(1, _node(node)) for node in nodes)


def _node(node: Mapping[str, Any]) -> bytes:
    flags = _integer(2, node["expandable"]) + _integer(3, node["leaf"])
    rest = _integer(5, node["allowChildren"]) + _text(6, node["id"]) + _text(7, node.get("uniqueid", ""))
    return _text(1, node["text"]) + flags + _text(4, node["path"]) + rest


def names_message(names: Iterable[str]) -> bytes:
    """Return a MetricExpandItem."""
    return b"".join(chunk(2, name.encode("utf-8", "replace")) for name in names)


def tags_message(pairs: Iterable[tuple[str, str]]) -> bytes:
    """Return a MetricTagItemList of tags and values."""
    return b"".join(chunk(1, _text(3, tag) + _text(4, value)) for tag, value in pairs)


def graphite_items(series: Iterable[tuple[str, bool, Columns]]) -> bytes:
    """Return a GraphiteApiItemList of (name, whether points wait in memory, points)."""
    return b"".join(
        chunk(1, _text(1, name) + _integer(2, cached) + _integer(3, cached) + _points(4, columns, (2,)))
        for name, cached, columns in series
    )


def whisper_item(envelope: Mapping[str, int], series: Iterable[tuple[str, bool, Columns]]) -> bytes:
    """Return a WhisperRenderItem: what concerns all series, then (name, whether points wait in memory, points)."""
    keys = ("real_start", "real_end", "start", "end", "from", "to", "step")
    parts = [_integer(number, envelope[key]) for number, key in enumerate(keys, 1)]
    for name, cached, columns in series:
        head = _text(1, name) + _integer(2, cached) + _integer(3, cached) + _text(4, name)
        parts.append(chunk(8, _text(1, name) + chunk(2, head + _points(5, columns, (2,)))))
    return b"".join(parts)


def raw_items(items: Iterable[tuple[Mapping[str, Any], Columns]]) -> bytes:
    """Return a RawRenderItemList of (what is told of a metric, its points): each a summary of one value."""
    return b"".join(
        chunk(1, _raw(told) + _points(11, columns, (3, 4, 5, 6), 7) + _flags(told)) for told, columns in items
    )


def _raw(told: Mapping[str, Any]) -> bytes:
    keys = ("real_start", "real_end", "start", "end", "step")
    numbers = b"".join(_integer(number, told[key]) for number, key in enumerate(keys, 3))
    return _text(1, told["metric"]) + _text(2, told["id"]) + numbers


def _flags(told: Mapping[str, Any]) -> bytes:
    return _integer(12, told["in_cache"]) + _integer(13, told["using_cache"])


def cached_points(columns: Columns) -> bytes:
    """Return a ProtStats of points with one value each, times in nanoseconds."""
    times, values = columns
    points = zip((times * _NANO).tolist(), values.tolist(), strict=True)
    return _integer(1, 1) + b"".join(
        chunk(2, chunk(4, _integer(1, time) + varint(2 << 3 | 1) + struct.pack("<d", value))) for time, value in points
    )
