"""Carbon's protobuf protocol, read and written by hand.

Format: frames as in `cadtwist.codec.frames` around one message of the proto3 package `carbon`::

    Payload { repeated Metric metrics = 1 }
    Metric  { string metric = 1; repeated Point points = 2 }
    Point   { uint32 timestamp = 1; double value = 2 }

Unknown fields are skipped, as every protobuf reader does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from cadtwist.codec.frames import BadSink, FrameCodec
from cadtwist.model.badinput import EXCERPT_BYTES, BadInput

__all__ = ["Points", "ProtobufCodec", "ProtobufError", "decode_payload", "encode_payload"]

_DOUBLE = struct.Struct("<d")
_MAX_GROUPS = 16

Points = list[tuple[float, float]]
"""(timestamp in epoch seconds, value) pairs."""


class ProtobufError(ValueError):
    """The bytes are no Payload."""


class ProtobufCodec(FrameCodec):
    """Reads the frames of all connections of one listener into one set of columns."""

    def payload(self, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:
        """Read one Payload; a broken one costs itself only."""
        try:
            metrics = decode_payload(data[start:end])
        except ProtobufError as error:
            bad(BadInput("frame", str(error).encode()[:EXCERPT_BYTES]), 1)
            return
        for name, points in metrics:
            self.keep(name, points, now, bad)


def decode_payload(data: bytes) -> list[tuple[bytes, Points]]:
    """Return (name, points) for each metric of a Payload, in order; raises ProtobufError."""
    return [_metric(found) for number, found in _fields(data) if number == 1 and isinstance(found, bytes)]


def encode_payload(metrics: Iterable[tuple[bytes, Points]]) -> bytes:
    """Return the Payload of (name, points) pairs, without its frame; timestamps lose their fraction."""
    payload = bytearray()
    for name, points in metrics:
        metric = _chunk(1, name)
        for timestamp, value in points:
            stamp = int(timestamp)
            point = b"\x08" + _varint(stamp) if stamp else b""
            packed = _DOUBLE.pack(value)
            metric += _chunk(2, point + (b"\x11" + packed if packed != bytes(8) else b""))
        payload += _chunk(1, metric)
    return bytes(payload)


def _metric(data: bytes) -> tuple[bytes, Points]:
    name, points = b"", []
    for number, found in _fields(data):
        if isinstance(found, bytes):
            if number == 1:
                name = found
            elif number == 2:
                points.append(_point(found))
    return name, points


def _point(data: bytes) -> tuple[float, float]:
    timestamp, value = 0, 0.0
    for number, found in _fields(data):
        if number == 1 and isinstance(found, int):
            timestamp = found & 0xFFFFFFFF
        elif number == 2 and isinstance(found, float):
            value = found
    return float(timestamp), value


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes | None]]:
    """Yield (field number, value) for each field: int of a varint, float of 8 bytes, bytes of a chunk, else None."""
    pos, size, groups = 0, len(data), 0
    while pos < size:
        tag, pos = _read_varint(data, pos)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise ProtobufError("field number zero")
        found: int | float | bytes | None = None
        if wire == 0:
            found, pos = _read_varint(data, pos)
        elif wire == 1:
            pos += 8
            found = _DOUBLE.unpack_from(data, pos - 8)[0] if pos <= size else None
        elif wire == 2:
            length, pos = _read_varint(data, pos)
            found, pos = data[pos : pos + length], pos + length
        elif wire == 5:
            pos += 4
        else:
            groups += 1 if wire == 3 else -1
            if wire > 4 or not 0 <= groups <= _MAX_GROUPS:
                raise ProtobufError("an impossible wire type")
        if pos > size:
            raise ProtobufError("a field longer than its message")
        if not groups:
            yield number, found
    if groups:
        raise ProtobufError("an open group")


def _read_varint(data: bytes, pos: int) -> tuple[int, int]:
    result = shift = 0
    while shift < 70:
        if pos >= len(data):
            raise ProtobufError("a number that ends too early")
        byte = data[pos]
        pos += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, pos
        shift += 7
    raise ProtobufError("a number of too many bytes")


def _varint(number: int) -> bytes:
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _chunk(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data
