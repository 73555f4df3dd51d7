from __future__ import annotations

from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cache.strategies import STRATEGIES, descending
from cadtwist.kernels import active


def order(name: str, points: list[tuple[int, float]], now: float = 1000.0, lag_s: float = 0.0) -> Any:
    store = active.points.PointStore()
    ids = np.array([i for i, _ in points], np.uint32)
    store.append(ids, np.array([t for _, t in points], np.float64), np.zeros(len(points)), 0, 1 << 40)
    found = [each for each in STRATEGIES[name](store, now, lag_s, np.random.default_rng(1)) if each is not None]
    assert len(found) == 1
    return found[0].tolist()


POINTS = [(5, 10.0), (1, 30.0), (1, 20.0), (9, 5.0), (2, 8.0), (2, 9.0), (7, 7.0), (7, 6.0), (7, 5.5)]


class StrategyTests(SynchronousTestCase):
    def test_sorted_writes_most_points_first(self) -> None:
        self.assertEqual(order("sorted", POINTS), [7, 2, 1, 9, 5])

    def test_max_and_bucketmax_prefer_the_first_that_came(self) -> None:
        self.assertEqual(order("max", POINTS), [7, 1, 2, 5, 9])
        self.assertEqual(order("bucketmax", POINTS), [7, 1, 2, 5, 9])

    def test_naive_takes_from_the_end(self) -> None:
        self.assertEqual(order("naive", POINTS), [7, 2, 9, 1, 5])

    def test_random_writes_all(self) -> None:
        self.assertEqual(sorted(order("random", POINTS)), [1, 2, 5, 7, 9])

    def test_timesorted_writes_the_oldest_first(self) -> None:
        self.assertEqual(order("timesorted", POINTS), [9, 7, 2, 5, 1])

    def test_timesorted_leaves_what_is_too_young(self) -> None:
        self.assertEqual(order("timesorted", POINTS, now=110.0, lag_s=101.0), [9, 7, 2])
        self.assertEqual(order("timesorted", POINTS, now=10.0, lag_s=100.0), [])

    def test_timesorted_of_many(self) -> None:
        rng = np.random.default_rng(3)
        times = rng.permutation(300_000).astype(np.float64)
        store = active.points.PointStore()
        n = 140_000 if active.NATIVE else 70_000
        store.append(np.arange(n, dtype=np.uint32), times[:n], np.zeros(n), 0, 1 << 40)
        *_, ids = STRATEGIES["timesorted"](store, 1e9, 0.0, rng)
        self.assertTrue((np.diff(times[ids]) > 0).all())

    def test_nothing_pending(self) -> None:
        for name in STRATEGIES:
            self.assertEqual(self._empty(name), [])

    def _empty(self, name: str) -> Any:
        store = active.points.PointStore()
        *_, ids = STRATEGIES[name](store, 0.0, 0.0, np.random.default_rng(1))
        return ids.tolist()

    def test_counts_beyond_sixteen_bits(self) -> None:
        counts = np.array([3, 70000, 65536, 3, 131072, 0], np.uint32)
        self.assertEqual(descending(counts).tolist(), [4, 1, 2, 0, 3, 5])
