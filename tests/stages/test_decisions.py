"""Tests of `cadtwist.stages.decisions`."""

from __future__ import annotations

import numpy as np
from twisted.trial import unittest

from cadtwist.stages.decisions import FanTable


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint32)


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

    def test_its_own_row_claims_no_target(self) -> None:
        fans = FanTable()
        rows = np.array([fans.add([5, 6]), -1], np.int32)
        self.assertEqual(fans.used_by_others(ids(5, 6), rows).tolist(), [False, True])
        fans.add([7, 5])
        self.assertEqual(fans.used_by_others(ids(5, 7), rows).tolist(), [True, True])

    def test_grows(self) -> None:
        fans = FanTable()
        rows = [fans.add([i, i + 1]) for i in range(1000)]
        self.assertEqual([fans.targets(row).tolist() for row in rows], [[i, i + 1] for i in range(1000)])
