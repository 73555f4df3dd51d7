"""Sends lines as datagrams over a connected, non-blocking UDP socket: the readable twin of `udpsend.pyx`."""

from __future__ import annotations

import errno
import os

__all__ = ["send_lines"]

_FULL = (errno.EAGAIN, errno.ENOBUFS)
_PENDING = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH)


def send_lines(fd: int, data: bytes | memoryview, most: int) -> tuple[int, bool, list[tuple[int, int]]]:
    """Send `data`, whole lines, as datagrams; return (bytes settled, whether the kernel is full, what it refused).

    `most` > 0: lines are joined up to so many bytes, and keep their line feeds; 0: each line is a datagram, without.
    A longer line is a datagram of its own.  Refused: (errno, lines lost with it) each; no line is lost where the error
    only tells of an earlier datagram, as ECONNREFUSED does.
    """
    raw = bytes(data)
    at, size = 0, len(raw)
    refused: list[tuple[int, int]] = []
    told = False
    while at < size:
        end = _end(raw, at, most)
        payload = raw[at:end] if most else raw[at:end].removesuffix(b"\n")
        try:
            if payload:
                os.write(fd, payload)
        except OSError as error:
            number = error.errno or 0
            if number in _FULL:
                return at, True, refused
            if number in _PENDING and not told:
                told = True
                refused.append((number, 0))
                continue
            refused.append((number, payload.count(b"\n") + (not payload.endswith(b"\n"))))
        told = False
        at = end
    return at, False, refused


def _end(raw: bytes, at: int, most: int) -> int:
    """Return where the datagram ends that begins at `at`."""
    if at + most >= len(raw) and most:
        return len(raw)
    found = raw.rfind(b"\n", at, at + most) if most else -1
    if found < 0:
        found = raw.find(b"\n", at)
    return len(raw) if found < 0 else found + 1
