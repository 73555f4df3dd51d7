"""Numbers decided by name."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.stages.numbers import NameNumbers


class NameNumbersTests(SynchronousTestCase):
    """Asked once, forgotten, asked again."""

    def test_each_name_is_asked_once_until_it_is_forgotten(self) -> None:
        names = {3: b"a", 5: b"bbb"}
        asked: list[str] = []

        def decide(name: str) -> int:
            asked.append(name)
            return len(name)

        numbers = NameNumbers(names.__getitem__, decide)
        ids = np.array([3, 5, 3], np.uint32)
        self.assertEqual(numbers(ids).tolist(), [1, 3, 1])
        self.assertEqual(numbers(ids).tolist(), [1, 3, 1])
        self.assertEqual(asked, ["a", "bbb"])
        self.assertFalse(numbers.holds(ids).any())
        names[3] = b"cc"
        numbers.forget(np.array([3], np.uint32))
        self.assertEqual(numbers(ids).tolist(), [2, 3, 2])
        numbers.ask_again()
        numbers(ids)
        self.assertEqual(asked, ["a", "bbb", "cc", "cc", "bbb"])

    def test_large_numbers_are_kept_as_well(self) -> None:
        numbers = NameNumbers(lambda number: b"%d" % number, lambda name: int(name) * 10_000)
        first = np.array([0, 1, 2], np.uint32)
        self.assertEqual(numbers(first).tolist(), [0, 10_000, 20_000])
        self.assertEqual(numbers(np.array([7, 1], np.uint32)).tolist(), [70_000, 10_000])
        self.assertEqual(numbers(first).tolist(), [0, 10_000, 20_000])
