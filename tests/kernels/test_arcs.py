"""One id for all names on an arc: both twins, against each other and against `hashlib`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from hashlib import md5
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.kernels.graphiteline import MAX_NAME_BYTES, NO_ID
from cadtwist.kernels.keyedline import RAW_BLANK, read_raw_blank
from cadtwist.kernels.ringhash import CARBON_CH, FNV1A_32, FNV1A_CH, HASHES, NONE
from tests.twins import native_twin, python_twin

NATIVE = native_twin("arcs")
MANY = settings(max_examples=200, deadline=None, database=None, print_blob=True)
EDGES = tuple(range(0, 65536, 977))
PLAIN = bytes(each for each in range(0x21, 0x7E) if each not in b";{")
PLAIN_NAMES = st.lists(st.sampled_from(PLAIN), max_size=200).map(bytes)
NAMES = PLAIN_NAMES | st.binary(max_size=200) | st.sampled_from([b"a;b=c", b"a{b=c}", b"~a", b"\x7f", b"\x80", b""])


class ArcsContract:
    """What each twin does."""

    kernel: ModuleType
    tables: ModuleType
    relaylines: ModuleType
    assertEqual: Any
    assertNotEqual: Any
    assertRaises: Any
    assertTrue: Any
    assertIsInstance: Any

    def setUp(self) -> None:
        self.table = self.tables.MetricTable(5)

    def arcs(self, hash_number: int = CARBON_CH, *given: Any, **values: Any) -> Any:
        return self.kernel.Arcs(self.table, hash_number, *given, **values)

    def test_where_names_stand(self) -> None:
        limits = st.lists(st.integers(0, 65536) | st.integers(0, 2**32 - 1), max_size=40, unique=True).map(sorted)

        @MANY
        @given(st.sampled_from([*HASHES]), limits, st.booleans(), st.integers(0, 50), st.lists(NAMES, max_size=20))
        def check(number: int, edges: list[int], after: bool, parts: int, names: list[bytes]) -> None:
            arcs = self.arcs(number, edges, after, parts)
            self.assertEqual(len(arcs), parts or len(edges) + 1)
            for name in names:
                digest, search = HASHES[number](name), bisect_right if after else bisect_left
                place = digest % parts if parts else search(edges, digest)
                self.assertEqual(arcs.arc(name), place if all(each in PLAIN for each in name) else -1)

        check()

    def test_edges_at_the_very_hash(self) -> None:
        digest = HASHES[FNV1A_32](b"name")
        edges = (digest - 1, digest, digest + 1, 2**32 - 1)
        self.assertEqual(self.arcs(FNV1A_32, edges).arc(b"name"), 1)
        self.assertEqual(self.arcs(FNV1A_32, edges, True).arc(b"name"), 2)

    def test_md5_of_every_length(self) -> None:
        text = PLAIN * 4
        for bits in (0, 256, 512):
            arcs = self.arcs(CARBON_CH, range(65536), vector_bits=bits)
            for length in (*range(200), 255, 256):
                name = text[:length]
                self.assertEqual(arcs.arc(name), int(md5(name).hexdigest()[:4], 16))
            self.assertEqual(arcs.arc(b"a" * MAX_NAME_BYTES), int(md5(b"a" * MAX_NAME_BYTES).hexdigest()[:4], 16))
            self.assertEqual(arcs.arc(b"a" * (MAX_NAME_BYTES + 1)), -1)

    def test_the_first_names_have_ids_of_their_own(self) -> None:
        arcs = self.arcs(NONE, names=2)
        found = [arcs.intern(name, 7) for name in (b"a", b"b", b"c", b"d", b"a", b"b", b"c;t=1", b"c;t=1")]
        self.assertEqual(found, [0, 1, 2, 2, 0, 1, 3, 3])
        self.assertEqual(self.table.names(np.arange(4, dtype=np.uint32)), [b"a", b"b", b"c", b"c;t=1"])

    def test_an_id_is_seen_whenever_one_of_its_names_is(self) -> None:
        arcs = self.arcs(NONE)
        arcs.intern(b"a", 7)
        arcs.intern(b"b", 9)
        self.assertEqual((len(self.table), self.table.seen(0)), (1, 9))

    def test_a_forgotten_id_serves_no_longer(self) -> None:
        arcs = self.arcs(CARBON_CH, EDGES)
        first = arcs.intern(b"a", 1)
        gone = np.array([first, 77], np.uint32)
        self.table.retire(gone[:1])
        arcs.forget(gone)
        again = arcs.intern(b"a", 2)
        self.assertNotEqual(again, first)
        self.table.recycle(gone[:1])
        self.assertEqual([arcs.intern(b"a", 3), self.table.name(again)], [again, b"a"])

    def test_a_full_table_refuses(self) -> None:
        self.table = self.tables.MetricTable(5, 64)
        arcs = self.arcs(CARBON_CH, EDGES)
        names = [b"%d" % n for n in range(200)]
        ids = [arcs.intern(name, 1) for name in names]
        self.assertEqual({each for each in ids if each != NO_ID}, {0})
        self.assertEqual(len({arcs.arc(name) for name, each in zip(names, ids, strict=True) if each == 0}), 1)
        self.assertEqual(arcs.intern(b"a" * (MAX_NAME_BYTES + 1), 1), NO_ID)

    def test_what_does_not_fit(self) -> None:
        for given_values in ((9,), (-1,), (FNV1A_CH, [3, 3]), (FNV1A_CH, [4, 3]), (FNV1A_CH, [-1]), (NONE, [2**32]),
                             (NONE, (), False, -1), (NONE, (), False, 2**31)):  # fmt: skip
            with self.assertRaises(ValueError):
                self.kernel.Arcs(self.table, *given_values)
        with self.assertRaises(ValueError):
            self.read(b"a 1 1\n", self.kernel.Arcs(self.tables.MetricTable(5), NONE))

    def read(self, data: bytes, arcs: Any) -> list[int]:
        ids, spans, bad = np.zeros(4096, np.uint32), np.zeros((4096, 3), np.uint32), list[tuple[int, int, int]]()
        _, rows = self.relaylines.parse_keyed(
            self.table, data, 0, len(data), ids, spans, 0, 1.0, 0, RAW_BLANK, read_raw_blank, 100, bad, arcs=arcs
        )
        self.assertEqual(bad, [])
        found: list[int] = ids[:rows].tolist()
        return found

    def test_lines_get_ids_whose_names_are_on_the_same_arc(self) -> None:
        @MANY
        @given(
            st.sampled_from([NONE, CARBON_CH, FNV1A_CH, FNV1A_32]),
            st.integers(0, 20),
            st.lists(PLAIN_NAMES | st.sampled_from([b"a;b=c", b"{", b"\xc3\xa4"]), max_size=100),
            st.sampled_from([0, 256, 512]),
        )
        def check(number: int, remembered: int, names: list[bytes], bits: int) -> None:
            names = [b"n" + name for name in names]
            self.table = self.tables.MetricTable(5)
            arcs = self.arcs(number, EDGES, names=remembered, vector_bits=bits)
            for _ in range(2):
                ids = self.read(b"".join(name + b" 1 1\n" for name in names), arcs)
                for name, known_as in zip(names, self.table.names(ids), strict=True):
                    self.assertTrue(name == known_as or 0 <= arcs.arc(name) == arcs.arc(known_as))
            self.assertEqual(ids, [arcs.intern(name, 1) for name in names])
            own = {name for name in names if arcs.arc(name) < 0}
            self.assertTrue(len(self.table) <= remembered + len(arcs) + len(own))

        check()


class PythonArcsTests(ArcsContract, unittest.SynchronousTestCase):
    """The readable twin."""

    kernel, tables, relaylines = python_twin("arcs"), python_twin("table"), python_twin("relaylines")


class NativeArcsTests(ArcsContract, unittest.SynchronousTestCase):
    """The compiled twin."""

    if NATIVE is None:
        skip = "the native kernel is not built"
    else:
        kernel = NATIVE
        tables = native_twin("table")  # type: ignore[assignment]
        relaylines = native_twin("relaylines")  # type: ignore[assignment]

        def test_gives_the_same_ids_as_the_readable_twin(self) -> None:
            @MANY
            @given(st.sampled_from([*HASHES]), st.integers(0, 9), st.lists(NAMES, max_size=60))
            def check(number: int, remembered: int, names: list[bytes]) -> None:
                given_ids = []
                for arcs, tables in ((self.kernel, self.tables), (python_twin("arcs"), python_twin("table"))):
                    made = arcs.Arcs(tables.MetricTable(5), number, EDGES, names=remembered)
                    given_ids.append([made.intern(name, 1) for name in names])
                self.assertEqual(*given_ids)

            check()
