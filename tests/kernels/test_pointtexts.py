"""The pairs of a JSON answer: both twins."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.twins import native_twin, python_twin

NATIVE = native_twin("pointtexts")
VALUES = st.one_of(st.none(), st.integers(-(10**6), 10**6), st.floats(allow_nan=False, allow_infinity=False))
SERIES = st.tuples(st.lists(VALUES, max_size=5), st.integers(-(1 << 40), 1 << 40), st.integers(0, 10**6))


class PointTextsContract:
    """What each twin answers."""

    kernel: ModuleType
    assertEqual: Any
    assertRaises: Any

    def test_values_of_several_series(self) -> None:
        found = self.kernel.point_texts(b"[1.5,null,-2,3]", [60, 7], [60, 0], [3, 1])
        self.assertEqual(found, [b"[1.5, 60], [null, 120], [-2, 180]", b"[3, 7]"])

    def test_known_only(self) -> None:
        found = self.kernel.point_texts(b"[null,1,null,null]", [0, 10], [5, 5], [3, 1], True)
        self.assertEqual(found, [b"[1, 5]", b""])

    def test_nothing(self) -> None:
        self.assertEqual(self.kernel.point_texts(b"[]", [], [], []), [])
        self.assertEqual(self.kernel.point_texts(b"[]", [1, 2], [1, 2], [0, 0]), [b"", b""])
        self.assertEqual(self.kernel.point_texts(b"[1]", [1, 2], [1, 1], [0, 1]), [b"", b"[1, 2]"])

    def test_what_does_not_fit(self) -> None:
        for numbers, counts in (
            (b"[1,2]", [1]), (b"[1,2]", [3]), (b"[]", [1]), (b"[1]", []), (b"[1]", [-1, 2]), (b"", [1]),
            (b"[1]", [1 << 62]), (b"[1,2]", [2, 1 << 62, -(1 << 62)]),
        ):  # fmt: skip
            grid = [0] * len(counts)
            self.assertRaises(ValueError, self.kernel.point_texts, numbers, grid, grid, counts)
        self.assertRaises(ValueError, self.kernel.point_texts, b"[1]", [], [1], [1])
        self.assertRaises(ValueError, self.kernel.point_texts, b"[1]", [1], [], [1])

    def test_against_the_library(self) -> None:
        @settings(max_examples=150, deadline=None, database=None)
        @given(st.lists(SERIES, max_size=4), st.booleans())
        def check(series: list[tuple[list[Any], int, int]], known_only: bool) -> None:
            numbers = json.dumps([value for values, _, _ in series for value in values], separators=(",", ":"))
            found = self.kernel.point_texts(
                numbers.encode(), [start for _, start, _ in series], [step for _, _, step in series],
                [len(values) for values, _, _ in series], known_only,
            )  # fmt: skip
            expected = [
                json.dumps(
                    [
                        [value, start + step * k]
                        for k, value in enumerate(values)
                        if not known_only or value is not None
                    ]
                )[1:-1]
                for values, start, step in series
            ]
            self.assertEqual([text.decode() for text in found], expected)

        check()


class PythonPointTextsTests(PointTextsContract, SynchronousTestCase):
    """The readable twin."""

    kernel = python_twin("pointtexts")


class NativePointTextsTests(PointTextsContract, SynchronousTestCase):
    """The compiled twin."""

    if NATIVE is None:
        skip = "the native kernel is not built"
    else:
        kernel = NATIVE
