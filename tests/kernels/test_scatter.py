"""Lines to one text per destination: both twins."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from tests.twins import native_twin, python_twin

NATIVE = native_twin("scatter")
ROUTES = ((0,), (1,), (2,), (), (0, 2))


class Text:
    """Some lines with their spans."""

    def __init__(self, lines: list[tuple[bytes, bytes]], breaks: bytes = b"\n") -> None:
        self.data, rows = b"", []
        for key, rest in lines:
            start = len(self.data)
            rows.append((start, start + len(key), start + len(key) + len(rest)))
            self.data += key + rest + breaks
        self.spans = np.array(rows, np.uint32).reshape(-1, 3)


def table_of(routes: tuple[tuple[int, ...], ...]) -> tuple[Any, Any]:
    offsets = np.cumsum([0, *map(len, routes)]).astype(np.uint32)
    return offsets, np.array([cell for route in routes for cell in route], np.uint16)


class ScatterContract:
    """What each twin does."""

    kernel: ModuleType
    tables: ModuleType
    assertEqual: Any
    assertRaises: Any
    assertIs: Any
    assertIsNone: Any

    def scatter(
        self, text: Text, ids: list[int], numbers: list[int], routes: tuple[tuple[int, ...], ...] = ROUTES,
        wide: bool = False, prefix: bytes = b"", suffix: bytes = b"", ending: bytes = b"\n", names: Any = None,
        renamed: tuple[bool, ...] | None = None,
    ) -> Any:  # fmt: skip
        offsets, cells = table_of(routes)
        self.routed, self.dropped = np.zeros(len(routes), np.uint64), np.zeros(4, np.int64)
        return self.kernel.scatter(
            text.data, text.spans, np.array(ids, np.uint32), np.array(numbers, np.int32 if wide else np.int16), offsets,
            cells, 3, self.routed, self.dropped, prefix, suffix, ending,
            self.tables.MetricTable(1) if names is None else names, None if renamed is None else np.array(renamed),
        )  # fmt: skip

    def test_gives_each_destination_its_lines_in_order(self) -> None:
        text = Text([(b"a", b" 1"), (b"b", b" 2"), (b"c", b" 3"), (b"a", b" 4")])
        for wide in (False, True):
            found = self.scatter(text, [0, 1, 2, 0], [2, 2, 4], wide=wide)
            self.assertEqual(found, ([b"a 1\nb 2\na 4\n", None, b"c 3\n"], [3, 0, 1], 0))
            self.assertEqual(self.routed.tolist(), [3, 0, 1, 0, 0])

    def test_counts_drops_and_lines_without_a_destination(self) -> None:
        text = Text([(b"a", b" 1"), (b"b", b" 2"), (b"c", b" 3")])
        self.assertEqual(self.scatter(text, [0, 1, 2], [-1, -3, 5]), ([None] * 3, [0, 0, 0], 1))
        self.assertEqual((self.dropped.tolist(), self.routed.tolist()), ([1, 0, 1, 0], [0, 0, 0, 1, 0]))

    def test_sends_a_line_to_several(self) -> None:
        text = Text([(b"a", b" 1"), (b"b", b" 2")])
        self.assertEqual(self.scatter(text, [0, 1], [6, 2]), ([b"a 1\nb 2\n", None, b"a 1\n"], [2, 0, 1], 0))

    def test_asks_about_what_is_undecided_and_counts_nothing(self) -> None:
        text = Text([(b"a", b" 1"), (b"b", b" 2")])
        for numbers in ([2, 0], [2, 1], [2], [2, 7]):
            self.assertIsNone(self.scatter(text, [0, 1], numbers))
            self.assertEqual((self.dropped.any(), self.routed.any()), (False, False))

    def test_rewrites(self) -> None:
        text = Text([(b"key", b":1|c"), (b"other", b":2|ms")])
        found = self.scatter(text, [0, 1], [2, 2], prefix=b"p.", suffix=b".s", ending=b"\r\n")
        self.assertEqual(found[0][0], b"p.key.s:1|c\r\np.other.s:2|ms\r\n")

    def test_takes_names_from_the_table(self) -> None:
        table = self.tables.MetricTable(3)
        ids = [table.intern(name, 1) for name in (b"new.name", b"n")]
        text = Text([(b"old", b" 1 2"), (b"older", b" 3 4")])
        for renamed, wanted in (
            ((True, True), b"x.new.name 1 2\nx.n 3 4\n"), ((False, True), b"x.old 1 2\nx.n 3 4\n"),
            ((True, False), b"x.new.name 1 2\nx.older 3 4\n"), (None, b"x.old 1 2\nx.older 3 4\n"),
        ):  # fmt: skip
            found = self.scatter(text, ids, [2, 2], names=table, prefix=b"x.", renamed=renamed)
            self.assertEqual(found[0][0], wanted)
        with self.assertRaises(KeyError):
            self.scatter(text, [0, 2], [2, 2, 2], names=table, renamed=(False, True))
        with self.assertRaises(ValueError):
            self.scatter(text, ids, [2, 2], names=table, renamed=(True,))

    def test_puts_an_end_to_lines_without_one(self) -> None:
        text = Text([(b"a", b" 1"), (b"b", b" 2")], b"\r\n")
        self.assertEqual(self.scatter(text, [0, 1], [2, 2])[0][0], b"a 1\nb 2\n")
        text = Text([(b"a", b" 1"), (b"b", b" 2")])
        text.data = text.data[:-1]
        self.assertEqual(self.scatter(text, [0, 1], [2, 2])[0][0], b"a 1\nb 2\n")

    def test_refuses_what_does_not_fit(self) -> None:
        text = Text([(b"a", b" 1")])
        for bad in ([[0, 1, 9]], [[2, 1, 3]], [[0, 4, 3]]):
            text.spans = np.array(bad, np.uint32)
            with self.assertRaises(ValueError):
                self.scatter(text, [0], [2])
        text = Text([(b"a", b" 1")])
        with self.assertRaises(ValueError):
            self.scatter(text, [0], [-9])
        with self.assertRaises(ValueError):
            self.scatter(text, [0], [2], routes=((3,),))
        with self.assertRaises(ValueError):
            self.scatter(text, [0, 1], [2])

    def rows(self, ids: list[int], numbers: list[int]) -> Any:
        offsets, cells = table_of(ROUTES)
        self.routed, self.dropped = np.zeros(len(ROUTES), np.uint64), np.zeros(4, np.int64)
        found = self.kernel.rows(
            np.array(ids, np.uint32), np.array(numbers, np.int16), offsets, cells, 3, self.routed, self.dropped
        )
        return None if found is None else ([None if each is None else each.tolist() for each in found[0]], found[1])

    def test_rows_of_each_destination(self) -> None:
        self.assertEqual(self.rows([0, 1, 2, 0, 3], [2, -2, 6, 5]), ([[0, 2, 3], None, [2]], 1))
        self.assertEqual((self.routed.tolist(), self.dropped.tolist()), ([2, 0, 0, 1, 1], [0, 1, 0, 0]))
        self.assertIsNone(self.rows([0, 9], [2]))
        self.assertIsNone(self.rows([0], [0]))
        self.assertEqual(self.rows([], []), ([None] * 3, 0))
        with self.assertRaises(ValueError):
            self.rows([0], [-9])

    def test_rows_are_those_of_lines(self) -> None:
        @settings(max_examples=100, deadline=None, database=None, print_blob=True)
        @given(
            st.lists(st.integers(0, 3), max_size=30),
            st.lists(st.sampled_from([-1, 2, 3, 4, 5, 6]), min_size=4, max_size=4),
        )
        def check(ids: list[int], numbers: list[int]) -> None:
            text = Text([(b"%d" % place, b"") for place in range(len(ids))])
            texts, _, unrouted = self.scatter(text, ids, numbers)
            expected = [None if each is None else [int(line) for line in each.split()] for each in texts]
            self.assertEqual(self.rows(ids, numbers), (expected, unrouted))

        check()

    def test_nothing(self) -> None:
        self.assertEqual(self.scatter(Text([]), [], []), ([None] * 3, [0, 0, 0], 0))

    def test_against_a_loop(self) -> None:
        words = st.text(alphabet="ab.", max_size=40).map(str.encode)

        @settings(max_examples=200, deadline=None, database=None, print_blob=True)
        @given(
            st.lists(st.tuples(words, words, st.integers(0, 5), st.booleans()), max_size=30),
            st.lists(st.sampled_from([-2, -1, 2, 3, 4, 5, 6]), min_size=6, max_size=6),
            st.sampled_from([(b"", b"", b"\n"), (b"p", b"", b"\n"), (b"", b"s", b"\r\n"), (b"", b"", b"")]),
        )
        def check(rows: list[Any], numbers: list[int], how: tuple[bytes, bytes, bytes]) -> None:
            text = Text([(key, rest) for key, rest, _, _ in rows])
            kept = [i for i, row in enumerate(rows) if row[3]]
            text.spans = text.spans[kept].copy()
            prefix, suffix, ending = how
            expected: list[list[bytes]] = [[], [], []]
            for i in kept:
                key, rest, number, _ = rows[i]
                for cell in ROUTES[numbers[number] - 2] if numbers[number] > 0 else ():
                    expected[cell].append(prefix + key + suffix + rest + ending)
            ids = [rows[i][2] for i in kept]
            texts, lines, _ = self.scatter(text, ids, numbers, prefix=prefix, suffix=suffix, ending=ending)
            self.assertEqual([each or b"" for each in texts], [b"".join(each) for each in expected])
            self.assertEqual(lines, [len(each) for each in expected])

        check()


class PythonScatterTests(ScatterContract, unittest.SynchronousTestCase):
    """The readable twin."""

    kernel = python_twin("scatter")
    tables = python_twin("table")


class NativeScatterTests(ScatterContract, unittest.SynchronousTestCase):
    """The compiled twin."""

    if NATIVE is None:
        skip = "the native kernel is not built"
    else:
        kernel = NATIVE
        tables = native_twin("table")  # type: ignore[assignment]

        def test_passes_a_text_on_whole(self) -> None:
            text = Text([(b"a", b" 1"), (b"b", b" 2")])
            self.assertIs(self.scatter(text, [0, 1], [2, 2])[0][0], text.data)
