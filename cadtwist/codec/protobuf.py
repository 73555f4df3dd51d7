"""Carbon's protobuf protocol, read and written by hand.

Format: frames as in `cadtwist.codec.frames` around one message of the proto3 package `carbon`::

    Payload { repeated Metric metrics = 1 }
    Metric  { string metric = 1; repeated Point points = 2 }
    Point   { uint32 timestamp = 1; double value = 2 }

Unknown fields are skipped, as every protobuf reader does.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from cadtwist.codec.frames import BadSink, FrameCodec
from cadtwist.codec.protowire import WireError, chunk, read_fields, varint
from cadtwist.model.badinput import EXCERPT_BYTES, BadInput

__all__ = ["Points", "ProtobufCodec", "decode_payload", "encode_payload"]

_DOUBLE = struct.Struct("<d")

Points = list[tuple[float, float]]
"""(timestamp in epoch seconds, value) pairs."""


class ProtobufCodec(FrameCodec):
    """Reads the frames of all connections of one listener into one set of columns."""

    def payload(self, data: bytes, start: int, end: int, now: float, bad: BadSink) -> None:
        """Read one Payload; a broken one costs itself only."""
        try:
            metrics = decode_payload(data[start:end])
        except WireError as error:
            bad(BadInput("frame", str(error).encode()[:EXCERPT_BYTES]), 1)
            return
        for name, points in metrics:
            self.keep(name, points, now, bad)


def decode_payload(data: bytes) -> list[tuple[bytes, Points]]:
    """Return (name, points) for each metric of a Payload, in order; raises WireError."""
    return [_metric(found) for number, found in read_fields(data) if number == 1 and isinstance(found, bytes)]


def encode_payload(metrics: Iterable[tuple[bytes, Points]]) -> bytes:
    """Return the Payload of (name, points) pairs, without its frame; timestamps lose their fraction."""
    payload = bytearray()
    for name, points in metrics:
        metric = chunk(1, name)
        for timestamp, value in points:
            stamp = int(timestamp)
            point = b"\x08" + varint(stamp) if stamp else b""
            packed = _DOUBLE.pack(value)
            metric += chunk(2, point + (b"\x11" + packed if packed != bytes(8) else b""))
        payload += chunk(1, metric)
    return bytes(payload)


def _metric(data: bytes) -> tuple[bytes, Points]:
    name, points = b"", []
    for number, found in read_fields(data):
        if isinstance(found, bytes):
            if number == 1:
                name = found
            elif number == 2:
                points.append(_point(found))
    return name, points


def _point(data: bytes) -> tuple[float, float]:
    timestamp, value = 0, 0.0
    for number, found in read_fields(data):
        if number == 1 and isinstance(found, int):
            timestamp = found & 0xFFFFFFFF
        elif number == 2 and isinstance(found, float):
            value = found
    return float(timestamp), value
