"""Tests of `cadtwist.cache.bounds`."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cache.bounds import CacheBounds
from cadtwist.kernels import active
from cadtwist.model.batch import Batch
from cadtwist.telemetry import Account


class CacheBoundsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.points = active.points.PointStore()
        self.account = Account("bounds")
        self.bounds = CacheBounds(self.points, self, self.account, 3, 2)
        self.got: list[int] = []

    def accept(self, batch: Batch) -> None:
        self.got += batch.ids.tolist()
        self.points.append(batch.ids, batch.timestamps, batch.values, 0, 1 << 30)

    def give(self, *ids: int, at: float = 0.0) -> list[int]:
        self.got = []
        numbers = np.array(ids, np.uint32)
        self.bounds.accept(Batch(numbers, np.full(len(ids), at), np.ones(len(ids))))
        self.assertEqual(self.account.balance(), 0)
        return self.got

    def test_metrics_beyond_the_number_are_kept_out(self) -> None:
        self.assertEqual(self.give(7, 5), [7, 5])
        self.assertEqual(self.give(9, 5, 3, 8, at=1.0), [5, 3])
        self.assertEqual(self.account.dropped, {"metrics_full": 2})
        self.assertEqual(self.give(1), [])
        self.points.take(np.array([7], np.uint32))
        self.points.confirm(np.array([7], np.uint32))
        self.assertEqual(self.give(1), [1])

    def test_datapoints_beyond_the_number_are_kept_out(self) -> None:
        self.give(1, 2)
        self.give(1, at=1.0)
        self.assertEqual(self.give(1, 2, at=2.0), [2])
        self.assertEqual(self.account.dropped, {"points_full": 1})
