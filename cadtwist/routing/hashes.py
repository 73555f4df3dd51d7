"""The hash functions by which relays place metrics, each over the bytes of a name.  Pure.

Each gives exactly the numbers of the system it stands for, oddities included; `tests/data` has them recorded.
FNV is by Fowler, Noll and Vo, MurmurHash3 by Appleby, the jump hash by Lamping and Veach ("A Fast, Minimal Memory,
Consistent Hash Algorithm", 2014), xorshift* by Vigna.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from hashlib import md5, sha1
from zlib import crc32

import mmh3

from cadtwist.kernels.ringhash import FNV_OFFSET_32, FNV_PRIME_32, carbon_ch, fnv1a_32, fnv1a_ch, fold16

__all__ = [
    "CADENT_HASHES",
    "CARBON_HASHES",
    "STATSRELAY_SEED",
    "Hash",
    "cadent_hash",
    "carbon_ch",
    "crc32",
    "fnv1_32",
    "fnv1a_32",
    "fnv1a_64",
    "fnv1a_ch",
    "fold16",
    "jump",
    "ketama",
    "mmh3_32",
    "mmh3_ch",
    "name_bytes",
    "relay_fnv1a_32",
    "relay_fnv1a_64",
    "relay_fnv1a_ch",
    "sha1_16",
    "statsrelay_murmur3",
    "xorshift_star",
]

Hash = Callable[[bytes], int]

STATSRELAY_SEED = 0xACCD3D34
"""The seed of statsrelay's MurmurHash3."""

_MASK_32 = 0xFFFFFFFF
_OFFSET_64, _PRIME_64, _MASK_64 = 0xCBF29CE484222325, 0x100000001B3, 0xFFFFFFFFFFFFFFFF
_XORSHIFT_FACTOR = 2685821657736338717
_SIGN_32, _SIGN_64 = 0xFFFFFF00, 0xFFFFFFFFFFFFFF00


def name_bytes(name: str | bytes) -> bytes:
    """Return the bytes over which a name is hashed; what `surrogateescape` made of foreign bytes becomes them again."""
    return name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")


def sha1_16(key: bytes) -> int:
    """Return the first two bytes of the SHA-1 as a number, 0..65535: Cadent's `sha1`."""
    digest = sha1(key, usedforsecurity=False).digest()
    return digest[0] << 8 | digest[1]


def ketama(key: bytes) -> int:
    """Return the first four bytes of the MD5, little endian: the ring positions of node's `hashring`."""
    return int.from_bytes(md5(key, usedforsecurity=False).digest()[:4], "little")


def fnv1_32(key: bytes) -> int:
    """Return FNV-1 of 32 bits: multiplied first, then mixed."""
    digest = FNV_OFFSET_32
    for byte in key:
        digest = digest * FNV_PRIME_32 & _MASK_32 ^ byte
    return digest


def fnv1a_64(key: bytes) -> int:
    """Return FNV-1a of 64 bits."""
    digest = _OFFSET_64
    for byte in key:
        digest = (digest ^ byte) * _PRIME_64 & _MASK_64
    return digest


def relay_fnv1a_32(key: bytes) -> int:
    """Return FNV-1a of 32 bits as carbon-c-relay has it: its characters are signed, so bytes from 0x80 differ."""
    if key.isascii():
        return fnv1a_32(key)
    digest = FNV_OFFSET_32
    for byte in key:
        digest = (digest ^ (byte | _SIGN_32 if byte > 0x7F else byte)) * FNV_PRIME_32 & _MASK_32
    return digest


def relay_fnv1a_64(key: bytes) -> int:
    """Return FNV-1a of 64 bits as carbon-c-relay has it, with signed characters."""
    if key.isascii():
        return fnv1a_64(key)
    digest = _OFFSET_64
    for byte in key:
        digest = (digest ^ (byte | _SIGN_64 if byte > 0x7F else byte)) * _PRIME_64 & _MASK_64
    return digest


def relay_fnv1a_ch(key: bytes) -> int:
    """Return carbon-c-relay's `fnv1a_ch`, 0..65535."""
    return fold16(relay_fnv1a_32(key))


def mmh3_ch(key: bytes) -> int:
    """Return carbon's `mmh3_ch`: MurmurHash3 x86 of 32 bits with seed 0, signed."""
    return mmh3.hash(key, 0)


def mmh3_32(key: bytes) -> int:
    """Return MurmurHash3 x86 of 32 bits with seed 0, unsigned."""
    return mmh3.hash(key, 0, signed=False)


def statsrelay_murmur3(key: bytes) -> int:
    """Return statsrelay's unsigned MurmurHash3; it reads a key as C text, so a NUL byte ends it."""
    return mmh3.hash(key.partition(b"\0")[0] if b"\0" in key else key, STATSRELAY_SEED, signed=False)


def jump(digest: int, buckets: int) -> int:
    """Return the bucket, 0..buckets-1, of a 64-bit hash.  ValueError without buckets."""
    if buckets < 1:
        raise ValueError("the jump hash needs at least one bucket")
    chosen, candidate = 0, 0
    while candidate < buckets:
        chosen = candidate
        digest = (digest * 2862933555777941757 + 1) & _MASK_64
        candidate = int((chosen + 1) * (float(1 << 31) / float((digest >> 33) + 1)))
    return chosen


def xorshift_star(state: int) -> Iterator[int]:
    """Yield the 64-bit numbers that follow `state`."""
    while True:
        state ^= state >> 12
        state = (state ^ state << 25) & _MASK_64
        state ^= state >> 27
        state = state * _XORSHIFT_FACTOR & _MASK_64
        yield state


CARBON_HASHES: Mapping[str, Hash] = {"carbon_ch": carbon_ch, "fnv1a_ch": fnv1a_ch, "mmh3_ch": mmh3_ch}
"""carbon's ROUTER_HASH_TYPE."""

CADENT_HASHES: Mapping[str, Hash] = {
    "crc32": crc32,
    "crc": crc32,
    "md5": carbon_ch,
    "graphite": carbon_ch,
    "sha1": sha1_16,
    "fnv": fnv1_32,
    "fnv32": fnv1_32,
    "fnva": fnv1a_32,
    "fnv32a": fnv1a_32,
    "nodejs-hashring": ketama,
    "statsd": ketama,
    "mmh3": mmh3_32,
    "mmh": mmh3_32,
    "mmh32": mmh3_32,
}
"""Cadent's `hasher_algo`, every spelling."""


def cadent_hash(algo: str) -> Hash:
    """Return the function of a `hasher_algo`; Cadent takes crc32 for a text that it does not know."""
    return CADENT_HASHES.get(algo, crc32)
