"""Columns to what carbon's relay writes, lines, pickles or protobuf: the readable twin of `encode.pyx`.

Formats, as recorded of carbon-relay:

* a line is `name value timestamp`; a value has at most 10 decimals, without zeros at its end (1e-11 is 0, -0.0 is -0),
  a timestamp loses its fraction;
* a pickle frame is its length (4 bytes, big-endian) and the pickle, protocol 2, of a list of
  `(name, (timestamp, value))`, all numbers floats, as the pickler of the standard library writes it;
* a protobuf frame is its length and a Payload, the points of one metric put together (see `cadtwist.codec.protobuf`).

`rows` (intp array, None = all) chooses rows of the columns, and their order.  A frame has at most `most` datapoints.
"""

from __future__ import annotations

import math
import pickle
import struct

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.table_py import MetricTable

__all__ = ["lines", "pickle_frames", "protobuf_frames"]

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Point = tuple[bytes, float, float]

_LENGTH = struct.Struct(">I")
_DOUBLE = struct.Struct("<d")
_MASK = (1 << 64) - 1


def lines(table: MetricTable, ids: Ids, timestamps: Floats, values: Floats, rows: Rows | None, crlf: bool) -> bytes:
    """Return the lines of all rows; KeyError for an id without a name, IndexError for a row that is none."""
    end = b"\r\n" if crlf else b"\n"
    return b"".join(
        b"%b %b %d%b" % (name, _value(value), int(timestamp) if math.isfinite(timestamp) else 0, end)
        for name, timestamp, value in _points(table, ids, timestamps, values, rows)
    )


def pickle_frames(
    table: MetricTable, ids: Ids, timestamps: Floats, values: Floats, rows: Rows | None, most: int
) -> list[tuple[bytes, int]]:
    """Return (frame, datapoints) pairs; errors as `lines`, and UnicodeDecodeError for a name that is no UTF-8."""
    found = []
    for part in _parts(_points(table, ids, timestamps, values, rows), most):
        data = pickle.dumps([(str(name, "utf-8"), (timestamp, value)) for name, timestamp, value in part], 2)
        found.append((_LENGTH.pack(len(data)) + data, len(part)))
    return found


def protobuf_frames(
    table: MetricTable, ids: Ids, timestamps: Floats, values: Floats, rows: Rows | None, most: int
) -> list[tuple[bytes, int]]:
    """Return (frame, datapoints) pairs; errors as `lines`."""
    found = []
    for part in _parts(_points(table, ids, timestamps, values, rows), most):
        metrics: dict[bytes, bytes] = {}
        for name, timestamp, value in part:
            metrics[name] = metrics.get(name, _field(1, name)) + _field(2, _point(timestamp, value))
        data = b"".join(_field(1, metric) for metric in metrics.values())
        found.append((_LENGTH.pack(len(data)) + data, len(part)))
    return found


def _points(
    table: MetricTable, ids: Ids, timestamps: Floats, values: Floats, rows: Rows | None
) -> list[tuple[bytes, float, float]]:
    if not len(ids) == len(timestamps) == len(values):
        raise ValueError("the columns differ in length")
    if rows is not None:
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(ids):
            raise IndexError("no such row")
        ids, timestamps, values = ids[rows], timestamps[rows], values[rows]
    return list(zip(table.names(ids), timestamps.tolist(), values.tolist(), strict=True))


def _parts(points: list[Point], most: int) -> list[list[Point]]:
    if most < 1:
        raise ValueError("a frame has at least one datapoint")
    return [points[at : at + most] for at in range(0, len(points), most)]


def _value(value: float) -> bytes:
    text = b"%.10f" % value
    return text.rstrip(b"0").rstrip(b".") if b"." in text else text


def _point(timestamp: float, value: float) -> bytes:
    """Return a Point; what is zero is left out, as protobuf does it."""
    stamp = int(timestamp) & _MASK if math.isfinite(timestamp) else 0
    packed = _DOUBLE.pack(value)
    return (b"\x08" + _varint(stamp) if stamp else b"") + (b"\x11" + packed if packed != bytes(8) else b"")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, data: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(data)) + data
