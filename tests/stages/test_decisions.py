"""Tests of `cadtwist.stages.decisions`."""

from __future__ import annotations

import numpy as np
from twisted.trial import unittest

from cadtwist.stages.decisions import PASS, UNKNOWN, Decisions, FanTable


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


class FanTests(unittest.SynchronousTestCase):
    def test_spreads_in_order(self) -> None:
        fans = FanTable()
        two, one = fans.add([7, 8]), fans.add([9])
        rows = np.array([-1, two, one, -1, two], np.int32)
        positions, found = fans.spread(ids(1, 2, 3, 4, 5), rows)
        self.assertEqual(positions.tolist(), [0, 1, 1, 2, 3, 4, 4])
        self.assertEqual(found.tolist(), [1, 7, 8, 9, 4, 7, 8])

    def test_claims_targets_while_a_row_needs_them(self) -> None:
        fans = FanTable()
        first, second = fans.add([300, 5]), fans.add([5])
        self.assertEqual(fans.used(ids(5, 300, 6, 9999)).tolist(), [True, True, False, False])
        fans.remove(first)
        self.assertEqual(fans.used(ids(5, 300)).tolist(), [True, False])
        self.assertEqual(fans.add([1, 2]), first)
        self.assertEqual(fans.targets(second).tolist(), [5])

    def test_grows(self) -> None:
        fans = FanTable()
        rows = [fans.add([i, i + 1]) for i in range(1000)]
        self.assertEqual([fans.targets(row).tolist() for row in rows], [[i, i + 1] for i in range(1000)])
