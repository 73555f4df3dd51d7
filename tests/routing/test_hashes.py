"""Tests of `cadtwist.routing.hashes`."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.routing import hashes
from tests.routing.recordings import recording

CADENT_KEYS = (
    "a",
    "foo.bar.baz",
    "stats.counters.requests",
    "servers.web01.cpu.idle",
    "my.metric.is.good",
    "",
)
CADENT_POSITIONS = {
    "crc32": (3904355907, 121092960, 2548162619, 2211393634, 1655688454, 0),
    "md5": (3265, 63458, 55663, 18282, 40049, 54301),
    "sha1": (34551, 64301, 25990, 36233, 40883, 55865),
    "fnv": (84696446, 3045365595, 2810662377, 1761462862, 2083105704, 2166136261),
    "fnva": (3826002220, 3039951615, 3024028653, 232999204, 1998088646, 2166136261),
    "nodejs-hashring": (3111502092, 3273122551, 1235382233, 2682808903, 1317958044, 3649838548),
    "mmh3": (1009084850, 2636301649, 62277733, 2273043339, 139153349, 0),
}
ALIASES = {
    "crc": "crc32",
    "anything": "crc32",
    "": "crc32",
    "graphite": "md5",
    "fnv32": "fnv",
    "fnv32a": "fnva",
    "statsd": "nodejs-hashring",
    "mmh": "mmh3",
    "mmh32": "mmh3",
}
QUIET = settings(max_examples=200, deadline=None, database=None, print_blob=True)


def murmur3(key: bytes, seed: int) -> int:
    """MurmurHash3 x86 of 32 bits, written from its definition."""
    digest, whole = seed, len(key) // 4 * 4
    words = list(struct.unpack(f"<{whole // 4}I", key[:whole]))
    tail = int.from_bytes(key[whole:], "little")
    for number, word in enumerate([*words, tail]):
        word = word * 0xCC9E2D51 & 0xFFFFFFFF
        word = (word << 15 | word >> 17) & 0xFFFFFFFF
        digest ^= word * 0x1B873593 & 0xFFFFFFFF
        if number < len(words):
            digest = (digest << 13 | digest >> 19) & 0xFFFFFFFF
            digest = (digest * 5 + 0xE6546B64) & 0xFFFFFFFF
    digest ^= len(key)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        digest = (digest ^ digest >> shift) * factor & 0xFFFFFFFF
    return digest ^ digest >> 16


class RecordedTests(unittest.SynchronousTestCase):
    def test_carbon(self) -> None:
        vectors = recording("carbon", "hash_vectors.json")["vectors"]
        self.assertEqual(len(vectors), 200)
        for vector in vectors:
            name = hashes.name_bytes(vector["name"])
            for kind in ("carbon_ch", "fnv1a_ch", "mmh3_ch"):
                self.assertEqual(hashes.CARBON_HASHES[kind](name), vector[kind], (kind, name))
            self.assertEqual(hashes.fnv1a_32(name), vector["fnv1a32"])

    def test_statsrelay(self) -> None:
        recorded = recording("statsrelay", "hash_vectors.json")
        self.assertEqual((recorded["seed"], len(recorded["vectors"])), (hashes.STATSRELAY_SEED, 223))
        for vector in recorded["vectors"]:
            self.assertEqual(hashes.statsrelay_murmur3(vector["key"].encode()), vector["hash"], vector["key"])

    def test_cadent(self) -> None:
        for algo, positions in CADENT_POSITIONS.items():
            found = tuple(hashes.cadent_hash(algo)(key.encode()) for key in CADENT_KEYS)
            self.assertEqual(found, positions, algo)
        for alias, algo in ALIASES.items():
            self.assertIs(hashes.cadent_hash(alias), hashes.cadent_hash(algo), alias)


class PropertyTests(unittest.SynchronousTestCase):
    @QUIET
    @given(st.binary(max_size=40))
    def test_murmur3_is_what_its_definition_says(self, key: bytes) -> None:
        self.assertEqual(hashes.mmh3_32(key), murmur3(key, 0))
        self.assertEqual(hashes.mmh3_ch(key) % (1 << 32), murmur3(key, 0))
        self.assertEqual(hashes.statsrelay_murmur3(key), murmur3(key.split(b"\0")[0], hashes.STATSRELAY_SEED))

    @QUIET
    @given(st.binary(max_size=40))
    def test_signed_characters_matter_only_beyond_ascii(self, key: bytes) -> None:
        plain = bytes(byte & 0x7F for byte in key)
        self.assertEqual(hashes.relay_fnv1a_32(plain), hashes.fnv1a_32(plain))
        self.assertEqual(hashes.relay_fnv1a_64(plain), hashes.fnv1a_64(plain))
        if sum(byte > 0x7F for byte in key) == 1:  # two may cancel each other
            self.assertNotEqual(hashes.relay_fnv1a_32(key), hashes.fnv1a_32(key))

    @QUIET
    @given(st.integers(0, 2**64 - 1), st.integers(1, 200))
    def test_the_jump_hash_moves_only_into_the_new_bucket(self, digest: int, buckets: int) -> None:
        before, after = hashes.jump(digest, buckets), hashes.jump(digest, buckets + 1)
        self.assertTrue(0 <= before < buckets)
        self.assertIn(after, (before, buckets))

    @QUIET
    @given(st.binary(max_size=20))
    def test_foreign_bytes_survive_as_text(self, name: bytes) -> None:
        self.assertEqual(hashes.name_bytes(name), name)
        self.assertEqual(hashes.name_bytes(name.decode("utf-8", "surrogateescape")), name)


class EdgeTests(unittest.SynchronousTestCase):
    def test_no_bucket_is_a_fault(self) -> None:
        self.assertRaises(ValueError, hashes.jump, 1, 0)

    def test_fnv_of_64_bits(self) -> None:
        self.assertEqual(hashes.fnv1a_64(b""), 14695981039346656037)
        self.assertEqual(hashes.fnv1a_64(b"foobar"), 0x85944171F73967E8)

    def test_a_nul_ends_a_key_of_statsrelay(self) -> None:
        self.assertEqual(hashes.statsrelay_murmur3(b"foo\0bar"), 0xC94B1D45)
