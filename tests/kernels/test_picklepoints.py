"""Both twins read carbon's pickles alike, and never take what they should decline."""

from __future__ import annotations

import math
import pickle
import struct
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cadtwist.model.badinput import BAD_KINDS
from tests.twins import native_twin, python_twin

NOW = 1_700_000_123.5
QUICK = settings(max_examples=150, deadline=None, database=None)

numbers = st.one_of(st.integers(-(1 << 63), (1 << 63) - 1), st.floats(allow_nan=True), st.integers(0, 300), st.just(-1))
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
points = st.lists(st.tuples(names, st.tuples(numbers, numbers)), max_size=40)


class Taken:
    """Loads a frame and takes all of it, a few rows at a time."""

    def __init__(self, kernel: ModuleType, table: ModuleType, resolution: int = 0, rows: int = 7) -> None:
        self.reader = kernel.PointReader()
        self.table = table.MetricTable(1)
        self.resolution = resolution
        self.rows = rows

    def __call__(self, data: bytes, start: int = 0, end: int | None = None) -> tuple[list[Any], list[Any]] | None:
        if not self.reader.load(data, start, len(data) if end is None else end):
            assert self.reader.left == 0
            return None
        found: list[Any] = []
        bad: list[tuple[int, bytes]] = []
        ids, when, what = np.zeros(self.rows, np.uint32), np.zeros(self.rows), np.zeros(self.rows)
        while self.reader.left:
            n = self.reader.take(self.table, ids, when, what, 0, NOW, self.resolution, bad)
            found += [
                (self.table.name(i).decode(), t, v)
                for i, t, v in zip(ids[:n].tolist(), when[:n].tolist(), what[:n].tolist(), strict=True)
            ]
        return found, [(BAD_KINDS[kind], excerpt) for kind, excerpt in bad]


class PickleContract:
    """What holds on each twin."""

    kernel: ModuleType
    table: ModuleType

    def taken(self, value: object, protocol: int = 2) -> Any:
        return Taken(self.kernel, self.table)(pickle.dumps(value, protocol))

    def test_takes_every_protocol(self) -> None:
        value = [("a.b", (1700000000, 1.5)), ("ü.c;t=1", (1700000060.25, 2)), ("a.b", (5, -(10**12)))]
        expected = [("a.b", 1700000000.0, 1.5), ("ü.c;t=1", 1700000060.25, 2.0), ("a.b", 5.0, -1e12)]
        for protocol in range(6):
            if protocol == 0:
                continue  # protocol 0 escapes the accent, which may be declined
            self.assertEqual(self.taken(value, protocol), (expected, []), protocol)
        self.assertEqual(self.taken([("a.b", (17, 1.5))], 0), ([("a.b", 17.0, 1.5)], []))

    def test_takes_tuples_as_container(self) -> None:
        for count in range(6):
            value = tuple((f"m{i}", (i, i)) for i in range(count))
            expected = [(f"m{i}", float(i), float(i)) for i in range(count)]
            self.assertEqual(self.taken(value), (expected, []))

    def test_shared_objects_come_back_from_the_memo(self) -> None:
        pair = (17, 2.5)
        item = ("same", pair)
        self.assertEqual(
            self.taken([item, ("other", pair), item]),
            ([("same", 17.0, 2.5), ("other", 17.0, 2.5), ("same", 17.0, 2.5)], []),
        )

    def test_declines_other_shapes(self) -> None:
        for value in (
            5,
            None,
            "text",
            {},
            {"a": (1, 2)},
            [5],
            [("a", 5)],
            [("a", ("1", 2))],
            [("a", (1, None))],
            [("a", (1, True))],
            [("a", (1, 2), (3, 4))],
            [["a", (1, 2)]],
            [("a", [1, 2])],
            [(b"a", (1, 2))],
            [(5, (1, 2))],
            [[("a", (1, 2))]],
            [("a", (1, 1 << 80))],
            ("a", (1, 2)),
            [("a", (1, 2), 3)],
        ):
            for protocol in range(6):
                self.assertIsNone(self.taken(value, protocol), (value, protocol))

    def test_declines_what_executes(self) -> None:
        for data in (
            b"cos\nsystem\n(S'true'\ntR.",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
            b"\x80\x02]cbuiltins\neval\na.",
            pickle.dumps([("a", (1, math.tau.__class__))]),
            b"\x82\x01.",
            b"Ppersistent\n.",
        ):
            self.assertIsNone(Taken(self.kernel, self.table)(data))

    def test_bad_items_cost_themselves_only(self) -> None:
        good = ("ok", (17, 1))
        value = [("", (1, 1)), good, ("n", (1, math.nan)), good, ("t", (math.inf, 1)), ("x" * 16385, (1, 1)), good]
        found, bad = self.taken(value)
        self.assertEqual(found, [("ok", 17.0, 1.0)] * 3)
        self.assertEqual([kind for kind, _ in bad], ["name", "nan", "timestamp", "name"])
        self.assertEqual(max(len(excerpt) for _, excerpt in bad), 80)

    def test_a_name_that_is_no_utf8_is_refused(self) -> None:
        data = b"\x80\x02]q\x00(U\x02a\xffK\x01K\x02\x86\x86U\x02okK\x01K\x02\x86\x86e."
        self.assertEqual(Taken(self.kernel, self.table)(data), ([("ok", 1.0, 2.0)], [("encoding", b"a\xff")]))

    def test_minus_one_is_now_and_resolution_rounds_down(self) -> None:
        value = [("a", (-1, 1)), ("a", (-1.9, 1)), ("a", (-2, 1)), ("a", (119.9, 1)), ("a", (-61.5, 1))]
        data = pickle.dumps(value, 2)
        found = Taken(self.kernel, self.table)(data)
        assert found is not None
        self.assertEqual([when for _, when, _ in found[0]], [NOW, NOW, -2.0, 119.9, -61.5])
        found = Taken(self.kernel, self.table, resolution=60)(data)
        assert found is not None
        self.assertEqual([when for _, when, _ in found[0]], [1_700_000_100.0, 1_700_000_100.0, -60.0, 60.0, -120.0])

    def test_a_full_table_refuses(self) -> None:
        taken = Taken(self.kernel, self.table)
        taken.table = self.table.MetricTable(1, 64)
        found = taken(pickle.dumps([(f"name{i % 40}", (i, i)) for i in range(80)], 2))
        assert found is not None
        self.assertEqual(len(found[0]) + len(found[1]), 80)
        self.assertEqual({kind for kind, _ in found[1]}, {"table_full"})
        self.assertTrue(all(when == what for _, when, what in found[0]))

    def test_reads_only_its_part(self) -> None:
        data = pickle.dumps([("a", (1, 2))], 2)
        self.assertEqual(
            Taken(self.kernel, self.table)(b"junk" + data + b"more", 4, 4 + len(data)), ([("a", 1.0, 2.0)], [])
        )
        for end in range(len(data)):
            self.assertIsNone(Taken(self.kernel, self.table)(data, 0, end))

    def test_loading_forgets_what_was_left(self) -> None:
        reader = self.kernel.PointReader()
        self.assertTrue(reader.load(*_whole([("a", (1, 2))] * 5)))
        self.assertEqual(reader.left, 5)
        self.assertFalse(reader.load(b"x", 0, 1))
        self.assertEqual(reader.left, 0)

    def test_hostile_indexes_and_lengths(self) -> None:
        for data in (
            b"]r\xff\xff\xff\xff.",
            b"]j\xff\xff\xff\xff.",
            b"]h\x05.",
            b"X\xff\xff\xff\xffabc.",
            b"\x8d" + struct.pack("<Q", 1 << 63) + b"abc.",
            b"\x95" + struct.pack("<Q", 1 << 63) + b"].",
            b"(q\x00t.",
            b"(((((((",
            b"e.",
            b"t.",
            b"a.",
            b"\x86.",
            b"]q\x00h\x00a.",
            b"]]a.",
            b")" * 1025 + b".",
            b"](" + b"X\x01\x00\x00\x00aK\x01K\x02\x86\x86" * 3 + b".",
        ):
            self.assertIn(Taken(self.kernel, self.table)(data), (None, ([], [])), data)

    def test_many_items(self) -> None:
        count = 50_000
        data = pickle.dumps([(f"n{i % 100}", (i, i)) for i in range(count)], 2)
        found = Taken(self.kernel, self.table, rows=8192)(data)
        assert found is not None
        self.assertEqual([what for _, _, what in found[0]], list(map(float, range(count))))


def _whole(value: object) -> tuple[bytes, int, int]:
    data = pickle.dumps(value, 2)
    return data, 0, len(data)


class PythonPickleTests(PickleContract, SynchronousTestCase):
    kernel = python_twin("picklepoints")
    table = python_twin("table")


class NativePickleTests(PickleContract, SynchronousTestCase):
    def setUp(self) -> None:
        kernel, table = native_twin("picklepoints"), native_twin("table")
        if kernel is None or table is None:
            raise SkipTest("the native twin is not built")
        self.kernel, self.table = kernel, table


class TwinsAgreeTests(SynchronousTestCase):
    def setUp(self) -> None:
        kernel, table = native_twin("picklepoints"), native_twin("table")
        if kernel is None or table is None:
            raise SkipTest("the native twin is not built")
        self.native = Taken(kernel, table)
        self.python = Taken(python_twin("picklepoints"), python_twin("table"))

    def agree(self, data: bytes) -> bool:
        """Whether the native twin took the frame; then the Python twin must have taken the same."""
        found = self.native(data)
        if found is None:
            return False
        expected = self.python(data)
        assert expected is not None, data
        self.assertEqual(repr(found[0]), repr(expected[0]))
        self.assertEqual([kind for kind, _ in found[1]], [kind for kind, _ in expected[1]])
        return True

    def test_on_points(self) -> None:
        @QUICK
        @given(points, st.integers(2, 5), st.booleans())
        def check(value: list[Any], protocol: int, as_tuple: bool) -> None:
            self.assertTrue(self.agree(pickle.dumps(tuple(value) if as_tuple else value, protocol)))

        check()

    def test_on_text_protocols(self) -> None:
        @QUICK
        @given(points, st.integers(0, 1))
        def check(value: list[Any], protocol: int) -> None:
            self.agree(pickle.dumps(value, protocol))

        check()

    def test_on_damaged_frames(self) -> None:
        @settings(QUICK, max_examples=400)
        @given(points, st.integers(0, 5), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4))
        def check(value: list[Any], protocol: int, damage: list[tuple[int, int]]) -> None:
            data = bytearray(pickle.dumps(value, protocol))
            for place, byte in damage:
                data[place % len(data)] = byte
            self.agree(bytes(data))

        check()

    def test_on_random_opcodes(self) -> None:
        opcodes = st.sampled_from([b"(", b")", b"]", b"K\x05", b"U\x01a", b"\x86", b"\x85", b"\x87", b"t", b"l", b"a",
                                   b"e", b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"\x94", b"I5\n", b"F1.5\n", b"Vab\n",
                                   b"\x8a\x02\xff\xff", b"p0\n", b"g0\n", b"\x80\x02", b"M\x01\x02"])  # fmt: skip

        @settings(QUICK, max_examples=800)
        @given(st.lists(opcodes, max_size=14))
        def check(parts: list[bytes]) -> None:
            self.agree(b"".join(parts) + b".")

        check()
