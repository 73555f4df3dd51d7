"""Lets the kernel choose among several datagram sockets of one address by the name that a datagram begins with.

By itself Linux chooses by the sender's address and port: one client that sends everything keeps one process busy while
the others rest.  A classic BPF program of the SO_REUSEPORT group chooses by FNV-1a of the first name instead, so that
the load is even, and datagrams of one line reach the process that has their metric, in order, whoever sends them.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterator

__all__ = ["name_program", "spread_by_name", "spread_by_source"]

_SO_ATTACH_REUSEPORT_CBPF, _SO_DETACH_REUSEPORT_BPF = 51, 68
"""Linux, the same on all machines but a few old ones; the socket module does not name them."""

_NAME_BYTES = 128
_NAME_ENDS = b" :\t"
_OFFSET, _PRIME = 0x811C9DC5, 0x01000193

_LDX_IMM, _LD_BYTE, _JEQ, _JA = 0x01, 0x30, 0x15, 0x05
_XOR_X, _MUL, _RSH, _MOD, _TAX, _TXA, _RET_A = 0xAC, 0x24, 0x74, 0x94, 0x07, 0x87, 0x16

Instruction = tuple[int, int, int, int]
"""Its code, how many it passes over where its condition is true and where it is false, and its number."""


def name_program(sockets: int) -> list[Instruction]:
    """Return the program that gives the number of a socket, from 0.

    A name ends at a space, a tab or a colon; of a longer one its first 128 bytes count.  A datagram without any of them
    reads beyond its end, which makes it the first socket's.
    """
    found: list[Instruction] = [(_LDX_IMM, 0, 0, _OFFSET)]
    length = len(list(_step(0, 0)))
    for place in range(_NAME_BYTES):
        found += _step(place, (_NAME_BYTES - place - 1) * length)
    found += [(_TXA, 0, 0, 0), (_RSH, 0, 0, 16), (_XOR_X, 0, 0, 0), (_MOD, 0, 0, sockets), (_RET_A, 0, 0, 0)]
    return found


def _step(place: int, behind: int) -> Iterator[Instruction]:
    """Yield what mixes the byte at `place` in, or leaves over the `behind` instructions of further bytes at the end."""
    mixing = [(_XOR_X, 0, 0, 0), (_MUL, 0, 0, _PRIME), (_TAX, 0, 0, 0)]
    yield (_LD_BYTE, 0, 0, place)
    for number, end in enumerate(_NAME_ENDS):
        left = len(_NAME_ENDS) - number - 1
        yield (_JEQ, left, 0 if left else 1, end)
    yield (_JA, 0, 0, len(mixing) + behind)
    yield from mixing


def spread_by_name(bound: socket.socket, sockets: int) -> bool:
    """Spread what comes to the group of `bound`, of so many sockets, by name; False where the kernel cannot."""
    program = name_program(sockets)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    told = struct.pack("HP", len(program), ctypes.addressof(code))
    try:
        bound.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, told)
    except OSError:
        return False
    return True


def spread_by_source(bound: socket.socket) -> None:
    """Let the kernel choose by the sender again, whatever a former process of the group of `bound` has asked for."""
    with contextlib.suppress(OSError):  # nothing was
        bound.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 1)
