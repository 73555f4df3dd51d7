"""Merging points in memory into what the disk has, and thinning out."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from cadtwist.errors import StorageError
from cadtwist.interfaces import IStore
from cadtwist.model.series import Series
from cadtwist.query.consolidate import reduce_groups
from cadtwist.query.fetch import fetch_metric, merge_hot, window
from cadtwist.query.resolution import HotMetric, SchemaInfo

NAN = float("nan")
NOW = 100_000 * 60
SCHEMA = SchemaInfo(((60, 10), (300, 100)), "sum", 0.5)


def series(values, start=600, step=60, method="average"):
    return Series("m", start, start + step * len(values), step, np.array(values, np.float64), method, 0.0)


def hot(times, values):
    return HotMetric("m", 0, np.array(times, np.float64).tobytes(), np.array(values, np.float64).tobytes())


@implementer(IStore)
class OneSeries:
    def __init__(self, answer):
        self.answer = answer

    def write(self, job):
        raise NotImplementedError

    def fetch(self, name, start, end, now):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class WindowTests(SynchronousTestCase):
    def test_alignment(self):
        archives = ((60, 10), (300, 100))
        self.assertEqual(window(archives, NOW - 120, NOW, NOW), (NOW - 60, NOW + 60, 60))
        self.assertEqual(window(archives, NOW - 600, NOW, NOW)[2], 60)
        self.assertEqual(window(archives, NOW - 601, NOW, NOW)[2], 300)
        self.assertEqual(window(archives, 0, NOW, NOW), (NOW - 30000 + 300, NOW + 300, 300))
        self.assertEqual(window(archives, NOW - 30, NOW - 20, NOW), (NOW, NOW + 60, 60))
        self.assertIsNone(window(archives, 0, 60, NOW))
        self.assertIsNone(window(archives, NOW + 1, NOW + 60, NOW))


    def test_alignment_from_the_start(self):
        """As ceres does: in the finest steps, with the one of the start and without that of the end."""
        archives = ((60, 10), (300, 100))
        self.assertEqual(window(archives, NOW - 120, NOW, NOW, True), (NOW - 120, NOW, 60))
        self.assertEqual(window(archives, NOW - 6010, NOW - 10, NOW, True), (NOW - 6060, NOW - 60, 60))
        self.assertIsNone(window(archives, NOW - 30, NOW - 20, NOW, True))
        self.assertIsNone(window(archives, 0, 60, NOW, True))


class MergeTests(SynchronousTestCase):
    def merged(self, base, times, values, raw_step=60, method="sum"):
        found = merge_hot(base, np.array(times, np.float64), np.array(values, np.float64), raw_step, method)
        return found.values.tolist()

    def test_memory_wins(self):
        base = series([1, 2, NAN, 4])
        self.assertEqual(self.merged(base, [660, 720.9], [20, 30]), [1, 20, 30, 4])
        self.assertEqual(base.values[1], 2)

    def test_latest_of_a_slot(self):
        self.assertEqual(self.merged(series([0, 0]), [640, 601, 600], [3, 2, 1]), [3, 0])

    def test_outside_is_left(self):
        self.assertEqual(self.merged(series([1, 2]), [599, 720, 1e12, -5], [9, 9, 9, 9]), [1, 2])
        self.assertEqual(self.merged(series([]), [600], [1]), [])
        self.assertEqual(self.merged(series([1.0]), [], []), [1])

    def test_coarse_slots_combine(self):
        base = series([NAN, 7], 600, 300)
        times, values = [600, 630, 660, 900 - 1], [1, 2, 10, 100]
        self.assertEqual(self.merged(base, times, values, 60, "sum"), [112, 7])
        self.assertEqual(self.merged(base, times, values, 60, "max"), [100, 7])
        self.assertEqual(self.merged(base, times, values, 7, "last"), [100, 7])


class FetchTests(SynchronousTestCase):
    def test_without_a_file(self):
        found, fault = fetch_metric(OneSeries(None), hot([NOW - 60, NOW], [1, 2]), SCHEMA, NOW - 180, NOW, NOW)
        self.assertEqual((found.start, found.end, found.step, fault), (NOW - 120, NOW + 60, 60, ""))
        np.testing.assert_array_equal(found.values, [NAN, 1, 2])

    def test_nothing_known(self):
        self.assertEqual(fetch_metric(OneSeries(None), HotMetric("m", 0), SCHEMA, 0, NOW, NOW), (None, ""))
        self.assertEqual(fetch_metric(OneSeries(None), hot([5], [1]), SCHEMA, 0, 60, NOW), (None, ""))

    def test_damaged_file_costs_its_own_points(self):
        store = OneSeries(StorageError("torn"))
        found, fault = fetch_metric(store, hot([NOW], [2]), SCHEMA, NOW - 60, NOW, NOW)
        self.assertEqual((found.values.tolist(), fault), ([2], "torn"))

    def test_both(self):
        base = series([1, 2])
        self.assertIs(fetch_metric(OneSeries(base), HotMetric("m", 0), SCHEMA, 0, NOW, NOW)[0], base)
        found, _ = fetch_metric(OneSeries(base), hot([660], [5]), SCHEMA, 0, NOW, NOW)
        self.assertEqual(found.values.tolist(), [1, 5])


class ReduceTests(SynchronousTestCase):
    def test_methods(self):
        values, starts = np.array([3.0, NAN, -5.0, NAN, NAN, 2.0]), np.array([0, 3, 5])
        for method, expected in {
            "average": [-1, NAN, 2],
            "sum": [-2, NAN, 2],
            "max": [3, NAN, 2],
            "min": [-5, NAN, 2],
            "last": [-5, NAN, 2],
            "absmax": [-5, NAN, 2],
            "absmin": [3, NAN, 2],
            "avg_zero": [-2 / 3, NAN, 2],
            "first": [3, NAN, 2],
        }.items():
            np.testing.assert_allclose(reduce_groups(values, starts, method), expected, err_msg=method)

