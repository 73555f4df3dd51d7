"""Tests of `cadtwist.stages.stored`."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels import active
from cadtwist.model.batch import BATCH_POINTS, Batch
from cadtwist.model.summary import SummaryBatch
from cadtwist.stages.resolutions import Resolution
from cadtwist.stages.stored import StoredValues
from cadtwist.telemetry import Account


class StoredValuesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table, self.account = active.table.MetricTable(1), Account("values")
        self.values = StoredValues(self.table, self, self.account)
        self.batches: list[tuple[list[int], list[float], list[float]]] = []

    def accept(self, batch: Batch) -> None:
        self.batches.append((batch.ids.tolist(), batch.timestamps.tolist(), batch.values.tolist()))

    def give(self, *names: bytes) -> None:
        ids = np.array([self.table.intern(name, 0) for name in names], np.uint32)
        one = np.ones(len(ids))
        summaries = SummaryBatch(ids, one * 60.0, one * 2, one * 8, one * 40, one * 2, one * 6)
        self.values.accept_summaries(summaries, Resolution(10.0, 60.0))

    def test_the_value_that_a_name_asks_for(self) -> None:
        self.give(b"x", b"x.count", b"x.upper_90", b"x.lower")
        self.assertEqual([values for _, _, values in self.batches], [[4.0, 8.0, 6.0, 2.0]])
        self.assertEqual((self.batches[0][1], self.account.balance()), ([60.0] * 4, 0))

    def test_no_batch_is_too_long(self) -> None:
        self.give(*[b"m.%d" % number for number in range(BATCH_POINTS + 1)])
        self.assertEqual([len(ids) for ids, _, _ in self.batches], [BATCH_POINTS, 1])

    def test_forgotten_ids_are_asked_about_again(self) -> None:
        self.give(b"a.max")
        ids = np.array([0], np.uint32)
        self.assertFalse(self.values.holds(ids)[0])
        self.table.retire(ids)
        self.values.forget(ids)
        self.table.recycle(ids)
        self.give(b"a.min")
        self.assertEqual([(ids, values) for ids, _, values in self.batches], [([0], [6.0]), ([0], [2.0])])
