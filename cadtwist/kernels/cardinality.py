"""How many different members a set has: exactly, or estimated by registers (HyperLogLog) with bounded memory.

The estimate is the one of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), which
needs no table of corrections.  Shared by the Python twins; the native kernel computes the same.
"""

from __future__ import annotations

import math

from cadtwist.kernels.bucketkinds import EXACT_MEMBERS

__all__ = ["Members", "estimate", "member_hash"]

_MASK = 0xFFFFFFFFFFFFFFFF
_SECRETS = (0x2D358DCCAA6C78A5, 0x8BB84B93962EACC9, 0x4B33A62ED433D4A3)


def _fold(a: int, b: int) -> int:
    product = a * b
    return (product ^ product >> 64) & _MASK


def member_hash(text: bytes) -> int:
    """Return the 64-bit hash of a set's member."""
    h = _SECRETS[0] ^ len(text)
    for i in range(0, len(text), 16):
        pair = text[i : i + 16].ljust(16, b"\0")
        low, high = int.from_bytes(pair[:8], "little"), int.from_bytes(pair[8:], "little")
        h = _fold(low ^ _SECRETS[1], high ^ h)
    return _fold(h ^ _SECRETS[2], _SECRETS[1] ^ len(text))


class Members:
    """The members of one set, by their hashes; `precision` 0 keeps all of them, else EXACT_MEMBERS at most."""

    __slots__ = ("_hashes", "_precision", "_registers")

    def __init__(self, precision: int) -> None:
        self._precision = precision
        self._hashes: set[int] = set()
        self._registers = bytearray()

    @property
    def bytes(self) -> int:
        """The memory taken, roughly."""
        return 16 * len(self._hashes) + len(self._registers)

    def add(self, hashed: int) -> None:
        """Add a member."""
        if self._registers:
            self._register(hashed)
            return
        self._hashes.add(hashed)
        if self._precision and len(self._hashes) > EXACT_MEMBERS:
            self._registers = bytearray(1 << self._precision)
            for each in self._hashes:
                self._register(each)
            self._hashes = set()

    def _register(self, hashed: int) -> None:
        rest = 64 - self._precision
        rank = rest - (hashed & (1 << rest) - 1).bit_length() + 1
        place = hashed >> rest
        self._registers[place] = max(self._registers[place], rank)

    def count(self) -> float:
        """Return how many members there are."""
        if not self._registers:
            return float(len(self._hashes))
        counts = [0] * (66 - self._precision)
        for rank in self._registers:
            counts[rank] += 1
        return estimate(counts, self._precision)


def estimate(counts: list[int], precision: int) -> float:
    """Return the estimate where `counts[k]` of the 2**precision registers hold k."""
    m = float(1 << precision)
    z = m * _tau(1.0 - counts[-1] / m)
    for k in range(len(counts) - 2, 0, -1):
        z = 0.5 * (z + counts[k])
    z += m * _sigma(counts[0] / m)
    return m * m / (2.0 * math.log(2.0)) / z


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z, before = 1.0, 1.0 - x, -1.0
    while z != before:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1.0 - x) * (1.0 - x) * y
    return z / 3.0
