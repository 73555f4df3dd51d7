"""One series of several replicas; random ones against a model that looks at each point."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.find import TooBroad
from cadtwist.query.replicas import clipped, fullest, merged
from cadtwist.query.timeseries import TimeSeries, Window

NAN = math.nan


def series(start, step, *values):
    return TimeSeries("a", start, start + step * len(values), step, np.array(values, np.float64), expression="a*")


def shown(one):
    return [(one.start + one.step * i, None if math.isnan(v) else v) for i, v in enumerate(one.values.tolist())]


REPLICAS = st.builds(
    lambda step, place, values: series(step * place, step, *values),
    st.sampled_from([10, 20, 60]),
    st.integers(0, 12),
    st.lists(st.sampled_from([NAN, 1.0, 2.0, 3.0]), max_size=8),
)


def value_at(replicas, time):
    """Return what the finest, then earliest, replica knows of a time."""
    for one in sorted(replicas, key=lambda one: one.step):
        row = (time - one.start) // one.step
        if 0 <= row < len(one) and not math.isnan(one.values[row]):
            return one.values[row]
    return None


class MergedTests(SynchronousTestCase):
    def test_gaps_are_filled_by_those_behind(self):
        one = merged([series(60, 60, 1, NAN, NAN, 4), series(60, 60, 9, 2, NAN, 9), series(60, 60, 8, 8, 3, 8)], 99)
        self.assertEqual(shown(one), [(60, 1), (120, 2), (180, 3), (240, 4)])
        self.assertEqual((one.name, one.expression, one.end), ("a", "a*", 300))

    def test_one_alone_stays_as_it_is(self):
        one = series(60, 60, 1, NAN)
        self.assertIs(merged([one], 1), one)
        self.assertIs(merged([one, series(60, 60)], 1), one)
        self.assertIs(merged([series(0, 60), one], 1), one)
        full = series(60, 60, 1, 2)
        self.assertIs(merged([full, one], 9), full)

    def test_nobody_is_changed(self):
        first, second = series(60, 60, NAN, 2), series(60, 60, 1, NAN)
        merged([first, second], 99)
        self.assertEqual((shown(first), shown(second)), ([(60, None), (120, 2)], [(60, 1), (120, None)]))

    def test_ranges_that_differ(self):
        one = merged([series(180, 60, 3, NAN), series(60, 60, 1, 2, 9), series(240, 60, 4, 5)], 99)
        self.assertEqual(shown(one), [(60, 1), (120, 2), (180, 3), (240, 4), (300, 5)])

    def test_a_finer_replica_wins(self):
        one = merged([series(0, 60, 7, 8), series(0, 20, 1, NAN, 3, NAN)], 99)
        self.assertEqual(shown(one), [(0, 1), (20, 7), (40, 3), (60, 8)])

    def test_the_last_slot_of_a_coarse_replica_lengthens_nothing(self):
        one = merged([series(300, 60, 1, 2, NAN), series(300, 300, 9)], 99)
        self.assertEqual(shown(one), [(300, 1), (360, 2), (420, 9)])

    def test_a_range_that_is_too_long(self):
        self.assertRaises(TooBroad, merged, [series(0, 1, 1), series(1 << 32, 60, 1)], 1000)

    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(REPLICAS, min_size=1, max_size=4))
    def test_each_point_is_what_the_best_replica_knows(self, replicas):
        one = merged(replicas, 10_000)
        for time, value in shown(one):
            self.assertEqual(value, value_at(replicas, time))
        step = min((each.step for each in replicas if len(each)), default=one.step)
        self.assertEqual((one.step, (one.end - one.start) % one.step), (step, 0))
        times = {time for time, _ in shown(one)}
        for each in replicas:
            if each.step == step:
                for row, value in enumerate(each.values.tolist()):
                    if not math.isnan(value):
                        self.assertIn(each.start + row * step, times, "no point is lost")


class OtherTests(SynchronousTestCase):
    def test_fullest(self):
        few, many, same = series(0, 60, 1, NAN, NAN), series(0, 60, NAN, 2, 2), series(0, 60, 3, 3, NAN)
        self.assertIs(fullest([few, many, same]), many)
        self.assertIs(fullest([few]), few)

    def test_clipped(self):
        one = series(60, 60, *range(1, 11))
        self.assertIs(clipped(one, Window(0, 700)), one)
        part = clipped(one, Window(200, 380))
        self.assertEqual((shown(part), part.end), ([(180, 3), (240, 4), (300, 5), (360, 6), (420, 7)], 480))
        for window in (Window(2000, 3000), Window(0, 0)):
            self.assertIsNone(clipped(series(600, 60, 1, 2), window))
        self.assertIsNone(clipped(series(60, 60), Window(0, 100)))
