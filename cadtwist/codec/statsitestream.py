"""What statsite writes to its stream command: text lines or binary records, from the values of a flush.

Text: `NAME|VALUE|TIMESTAMP`, six decimals unless the value is a count.  Binary, little endian: timestamp u64, type u8,
kind of value u8, length of the key with its NUL u16, value f64, the key; a histogram's records end in a count u32.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator

from cadtwist.model.told import Told

__all__ = ["binary_records", "text_lines"]

_COUNTS = frozenset(("count",))
_TYPES = {"kv": 1, "c": 2, "ms": 3, "s": 4, "g": 5}
_VALUE_KINDS = {
    "": 0, "sum": 1, "sum_sq": 2, "mean": 3, "count": 4, "stdev": 5, "lower": 6, "upper": 7, "rate": 0x0B,
    "sample_rate": 0x0C,
}  # fmt: skip
_PERCENTILE = 0x80
_FLOOR, _BIN, _CEILING = 8, 9, 0x0A
_SET_SIZE = 1
_QUANTILE = re.compile(r"p([0-9]+)$")
_BIN_NAME = re.compile(r"histogram\.bin_([<>]?)(-?[0-9.]+)$")


def text_lines(told: Told, keys: list[bytes], prefix: str, timestamp: float, count_is_sum: bool = False) -> bytes:
    """Return the lines of some series; `keys` are their names without type.

    `count_is_sum`: a counter's field `count` is the sum of its values, and so written with decimals.
    """
    stamp, head = b"|%d\n" % timestamp, prefix.encode()
    whole = [_is_count(told.kind, field, count_is_sum) for field in told.fields]
    ends = [f".{field}|".encode() if field else b"|" for field in told.fields]
    lines = []
    for key, row in zip(keys, told.values.tolist(), strict=True):
        for end, value, is_count in zip(ends, row, whole, strict=True):
            if math.isfinite(value):
                text = b"%d" % value if is_count else b"%.6f" % value
                lines.append(head + key + end + text + stamp)
    return b"".join(lines)


def _is_count(kind: str, field: str, count_is_sum: bool) -> bool:
    if kind == "c":
        return field == "count" and not count_is_sum
    return kind == "s" or field in _COUNTS or field.startswith("histogram.")


def binary_records(told: Told, keys: list[bytes], prefix: str, timestamp: float) -> bytes:
    """Return the records of some series; `keys` are their names without type."""
    columns = list(_columns(told))
    head, kind, stamp = prefix.encode(), _TYPES[told.kind], int(timestamp)
    records = []
    for key, row in zip(keys, told.values.tolist(), strict=True):
        name = head + key + b"\0"
        for column, value_kind, edge in columns:
            value = row[column]
            if not math.isfinite(value):
                continue
            shown = value if edge is None else edge
            records.append(struct.pack("<QBBHd", stamp, kind, value_kind, len(name), shown) + name)
            if edge is not None:
                records.append(struct.pack("<I", int(value)))
    return b"".join(records)


def _columns(told: Told) -> Iterator[tuple[int, int, float | None]]:
    """Yield (column, kind of value, edge of a bin) of what has a record, quantiles behind the rest."""
    quantiles, bins = [], []
    for column, field in enumerate(told.fields):
        quantile, edge = _QUANTILE.match(field), _BIN_NAME.match(field)
        if edge:
            bins.append((column, {"<": _FLOOR, ">": _CEILING}.get(edge[1], _BIN), float(edge[2])))
        elif quantile:
            quantiles.append((column, _PERCENTILE | (int(quantile[1]) & 0x7F), None))
        elif told.kind == "s":
            yield column, _SET_SIZE, None
        elif field in _VALUE_KINDS:
            yield column, _VALUE_KINDS[field], None
    yield from quantiles
    yield from bins
