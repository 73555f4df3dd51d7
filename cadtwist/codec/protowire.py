"""The wire format of protocol buffers: fields of messages, for the codecs that read and write some by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["WireError", "chunk", "read_fields", "signed", "text", "varint"]

_DOUBLE = struct.Struct("<d")
_MAX_GROUPS = 16
_SIGN = 1 << 63


class WireError(ValueError):
    """The bytes are no message."""


def read_fields(data: bytes) -> Iterator[tuple[int, int | float | bytes | None]]:
    """Yield (field number, value) for each field: int of a varint, float of 8 bytes, bytes of a chunk, else None."""
    pos, size, groups = 0, len(data), 0
    while pos < size:
        tag, pos = _read_varint(data, pos)
        number, wire = tag >> 3, tag & 7
        if not number:
            raise WireError("field number zero")
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
                raise WireError("an impossible wire type")
        if pos > size:
            raise WireError("a field longer than its message")
        if not groups:
            yield number, found
    if groups:
        raise WireError("an open group")


def _read_varint(data: bytes, pos: int) -> tuple[int, int]:
    result = shift = 0
    while shift < 70:
        if pos >= len(data):
            raise WireError("a number that ends too early")
        byte = data[pos]
        pos += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, pos
        shift += 7
    raise WireError("a number of too many bytes")


def text(value: object) -> str:
    """Return what a field says as text, "" where it is none."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def signed(value: object) -> int:
    """Return what a field says as a whole number of 64 bits, 0 where it is none."""
    if not isinstance(value, int):
        return 0
    return value - 2 * _SIGN if value & _SIGN else value


def varint(number: int) -> bytes:
    """Return a whole number in groups of seven bits, the lowest first; negative ones as 64 bits."""
    number &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def chunk(number: int, data: bytes) -> bytes:
    """Return a field of text, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data
