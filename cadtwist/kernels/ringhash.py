"""The hashes by which kernels tell where names stand on rings.  Pure.

FNV is by Fowler, Noll and Vo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import md5
from itertools import pairwise

__all__ = [
    "CARBON_CH",
    "FNV1A_32",
    "FNV1A_CH",
    "FNV_OFFSET_32",
    "FNV_PRIME_32",
    "HASHES",
    "NONE",
    "carbon_ch",
    "check_arcs",
    "fnv1a_32",
    "fnv1a_ch",
    "fold16",
]

NONE, CARBON_CH, FNV1A_CH, FNV1A_32 = range(4)
"""The hashes by the numbers that kernels know them by; `NONE`: all names are alike."""

_MAX_ARCS = 1 << 24

FNV_OFFSET_32, FNV_PRIME_32 = 0x811C9DC5, 0x01000193
_MASK_32 = 0xFFFFFFFF


def carbon_ch(key: bytes) -> int:
    """Return the first two bytes of the MD5 as a number, 0..65535: carbon's default, Cadent's `md5`."""
    digest = md5(key, usedforsecurity=False).digest()
    return digest[0] << 8 | digest[1]


def fnv1a_32(key: bytes) -> int:
    """Return FNV-1a of 32 bits: mixed first, then multiplied."""
    digest = FNV_OFFSET_32
    for byte in key:
        digest = (digest ^ byte) * FNV_PRIME_32 & _MASK_32
    return digest


def fold16(digest: int) -> int:
    """Return the exclusive or of the halves of a 32-bit number."""
    return digest >> 16 ^ digest & 0xFFFF


def fnv1a_ch(key: bytes) -> int:
    """Return carbon's `fnv1a_ch`, 0..65535."""
    return fold16(fnv1a_32(key))


def _nothing(key: bytes) -> int:  # noqa: ARG001 - all names are alike
    return 0


HASHES: Mapping[int, Callable[[bytes], int]] = {
    NONE: _nothing,
    CARBON_CH: carbon_ch,
    FNV1A_CH: fnv1a_ch,
    FNV1A_32: fnv1a_32,
}
"""The functions, each over the bytes of a name."""


def check_arcs(hash_number: int, edges: Sequence[int], parts: int) -> None:
    """Raise ValueError where arcs cannot be told so: see `arcs_py.Arcs`."""
    if hash_number not in HASHES or not 0 <= parts <= _MAX_ARCS or len(edges) >= _MAX_ARCS:
        raise ValueError("an unknown hash, or too many arcs")
    if any(not 0 <= edge <= _MASK_32 for edge in edges) or any(one >= next_one for one, next_one in pairwise(edges)):
        raise ValueError("the edges do not ascend, or are no numbers of 32 bits")
