from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.summary import SummaryBatch, SummaryColumns


def filled(ends: bool) -> SummaryBatch:
    columns = SummaryColumns(4, ends)
    columns.ids[:3] = 7, 8, 9
    columns.counts[:3] = 2, 0, 1
    columns.sums[:3] = 5, 0, -1
    if columns.firsts is not None and columns.lasts is not None:
        columns.firsts[:3], columns.lasts[:3] = (1, 2, 3), (4, 5, 6)
    columns.n = 3
    return columns.batch()


class SummaryBatchTests(SynchronousTestCase):
    def test_is_as_long_as_what_was_filled(self) -> None:
        self.assertEqual(len(filled(False)), 3)

    def test_lends_the_columns_themselves(self) -> None:
        columns = SummaryColumns(2)
        columns.n = 1
        batch = columns.batch()
        columns.maxima[0] = 5.0
        self.assertEqual(batch.maxima.tolist(), [5.0])

    def test_knows_first_and_last_only_when_asked(self) -> None:
        plain, full = filled(False), filled(True)
        self.assertIsNone(plain.firsts)
        self.assertIsNone(plain.select(np.array([0])).lasts)
        assert full.firsts is not None
        self.assertEqual(full.firsts.tolist(), [1, 2, 3])

    def test_selects_rows_as_a_copy(self) -> None:
        batch = filled(True)
        chosen = batch.select(batch.counts > 0)
        batch.sums[0] = 100
        self.assertEqual((chosen.ids.tolist(), chosen.sums.tolist()), ([7, 9], [5, -1]))
        assert chosen.lasts is not None
        self.assertEqual(chosen.lasts.tolist(), [4, 6])

    def test_mean_of_nothing_is_zero(self) -> None:
        self.assertEqual(filled(False).means().tolist(), [2.5, 0, -1])


class JoiningTests(SynchronousTestCase):
    def test_rows_one_behind_the_other(self) -> None:
        one = SummaryBatch(np.array([1, 2], np.uint32), *(np.array([n, n + 1.0]) for n in range(11)))
        two = SummaryBatch(np.array([3], np.uint32), *(np.array([n + 10.0]) for n in range(11)))
        found = SummaryBatch.joined([one, two])
        self.assertEqual(found.ids.tolist(), [1, 2, 3])
        self.assertEqual(found.timestamps.tolist(), [0, 1, 10])
        assert found.shares is not None
        self.assertEqual(found.shares.tolist(), [10, 11, 20])
        self.assertEqual(SummaryBatch.joined([two]).counts.tolist(), [11])

    def test_columns_that_are_not_there(self) -> None:
        one = SummaryBatch(np.array([1], np.uint32), *(np.array([1.0]) for _ in range(6)))
        found = SummaryBatch.joined([one, one])
        self.assertEqual((found.firsts, found.tops, found.maxima.tolist()), (None, None, [1, 1]))
