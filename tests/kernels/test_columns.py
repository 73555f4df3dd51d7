"""Questions about columns: both twins."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.twins import native_twin, python_twin

NATIVE = native_twin("columns")


class ColumnsContract:
    """What each twin answers."""

    kernel: ModuleType
    assertTrue: Any
    assertFalse: Any
    assertEqual: Any
    assertRaises: Any

    def test_all_are(self) -> None:
        numbers = np.array([7, 1, 7], np.uint32)
        ids = np.array([0, 2, 0], np.uint32)
        self.assertTrue(self.kernel.all_are(numbers, ids, 7))
        self.assertFalse(self.kernel.all_are(numbers, np.array([0, 1], np.uint32), 7))
        self.assertFalse(self.kernel.all_are(numbers, np.array([3], np.uint32), 7))
        self.assertTrue(self.kernel.all_are(numbers, np.zeros(0, np.uint32), 9))
        self.assertTrue(self.kernel.all_are(numbers.astype(np.uint16), ids, 7))
        self.assertFalse(self.kernel.all_are(numbers.astype(np.uint16), ids, 1))

    def test_all_set(self) -> None:
        flags = np.array([1, 0, 2], np.uint8)
        self.assertTrue(self.kernel.all_set(flags, np.array([0, 2], np.uint32)))
        self.assertFalse(self.kernel.all_set(flags, np.array([0, 1], np.uint32)))
        self.assertFalse(self.kernel.all_set(flags, np.array([0, 0xFFFFFFFF], np.uint32)))

    def test_lay_over(self) -> None:
        def laid(times: list[float], points: list[float], start: int = 120) -> tuple[bool, list[float]]:
            values = np.zeros(3)
            done = self.kernel.lay_over(values, start, 60, np.array(times, np.float64), np.array(points, np.float64))
            return done, values.tolist()

        self.assertEqual(laid([], []), (True, [0, 0, 0]))
        self.assertEqual(laid([119.9, 120, 179.9, 180, 299, 300], [1, 2, 3, 4, 5, 6]), (True, [3, 4, 5]))
        self.assertEqual(laid([200, 200], [1, 2]), (True, [0, 2, 0]))
        self.assertEqual(laid([200, 199], [1, 2]), (False, [0, 0, 0]))
        self.assertEqual(laid([float("nan"), 200], [1, 2])[0], False)
        self.assertEqual(laid([130], [1], start=121), (True, [1, 0, 0]))
        self.assertRaises(ValueError, laid, [1], [])
        values, late = np.zeros(4), np.array([2.3732323105468365e17])  # before the end, but not by a float64's division
        self.assertTrue(self.kernel.lay_over(values[:3], 2743108192381461, 78193374287434071, late, late))
        self.assertEqual(values[3], 0)
        self.assertRaises(ValueError, self.kernel.lay_over, np.zeros(1), 0, 0, np.zeros(1), np.zeros(1))

    def test_lay_over_against_a_loop(self) -> None:
        @settings(max_examples=100, deadline=None, database=None)
        @given(st.lists(st.floats(-100, 400), max_size=9), st.integers(0, 70), st.integers(1, 70), st.integers(0, 5))
        def check(times: list[float], start: int, step: int, length: int) -> None:
            times = sorted(times)
            expected = [-1.0] * length
            for number, time in enumerate(times):
                for row in range(length):
                    if start + row * step <= time < start + (row + 1) * step:
                        expected[row] = float(number)
            values = np.full(length, -1.0)
            points = np.arange(len(times), dtype=np.float64)
            self.assertTrue(self.kernel.lay_over(values, start, step, np.array(times, np.float64), points))
            self.assertEqual(values.tolist(), expected)

        check()

    def test_against_a_loop(self) -> None:
        @settings(max_examples=100, deadline=None, database=None)
        @given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 9), max_size=8), st.integers(0, 3))
        def check(numbers: list[int], ids: list[int], wanted: int) -> None:
            inside = [i < len(numbers) for i in ids]
            same = all(inside) and all(numbers[i] == wanted for i in ids)
            found = self.kernel.all_are(np.array(numbers, np.uint32), np.array(ids, np.uint32), wanted)
            self.assertEqual(found, same)
            full = all(inside) and all(numbers[i] for i in ids)
            self.assertEqual(self.kernel.all_set(np.array(numbers, np.uint8), np.array(ids, np.uint32)), full)

        check()


class PythonColumnsTests(ColumnsContract, SynchronousTestCase):
    """The readable twin."""

    kernel = python_twin("columns")


class NativeColumnsTests(ColumnsContract, SynchronousTestCase):
    """The compiled twin."""

    if NATIVE is None:
        skip = "the native kernel is not built"
    else:
        kernel = NATIVE
