"""Tests of `cadtwist.model.decisions`."""

from __future__ import annotations

import numpy as np
from twisted.trial import unittest

from cadtwist.model.decisions import PASS, UNKNOWN, Decisions


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint32)


class DecisionTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.asked: list[int] = []
        self.answer = PASS
        self.decisions = Decisions(self.decide)

    def decide(self, number: int) -> int:
        self.asked.append(number)
        return self.answer + number

    def test_asks_once_for_each_id(self) -> None:
        self.assertEqual(self.decisions.lookup(ids(3, 1, 3, 5000, 1)).tolist(), [4, 2, 4, 5001, 2])
        self.assertEqual(self.decisions.lookup(ids(1, 3)).tolist(), [2, 4])
        self.assertEqual(self.asked, [1, 3, 5000])
        self.assertEqual(self.decisions.lookup(ids()).tolist(), [])

    def test_asks_again_after_forgetting(self) -> None:
        self.decisions.lookup(ids(1, 2))
        self.decisions.forget(ids(1, 99_999))
        self.answer = 10
        self.assertEqual(self.decisions.lookup(ids(1, 2)).tolist(), [11, 3])

    def test_knows_without_asking(self) -> None:
        self.decisions.lookup(ids(1))
        self.assertEqual(self.decisions.known(ids(1, 2, 99_999)).tolist(), [2, UNKNOWN, UNKNOWN])
        self.assertEqual(self.asked, [1])

    def test_asks_again_where_the_answer_is_unknown(self) -> None:
        self.answer = -1
        self.assertEqual(self.decisions.lookup(ids(1)).tolist(), [UNKNOWN])
        self.decisions.lookup(ids(1))
        self.assertEqual(self.asked, [1, 1])

    def test_primes_in_slices(self) -> None:
        wanted = ids(*range(10))
        self.assertEqual([self.decisions.prime(wanted, 4) for _ in range(4)], [6, 2, 0, 0])
        self.assertEqual(self.asked, list(range(10)))
