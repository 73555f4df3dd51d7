"""Fewer points; the recorded cases are replayed in tests.web.test_golden."""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.consolidate import (
    CONSOLIDATIONS,
    ConsolidationError,
    consolidated,
    consolidated_values,
    looped_sums,
)
from cadtwist.query.timeseries import TimeSeries

NAN = math.nan


def series(values, start=0, step=60, **fields):
    values = np.array(values, np.float64)
    return TimeSeries("m", start, start + step * len(values), step, values, **fields)


def plain(block, method):
    known = [value for value in block if value == value]
    if not known:
        return None
    mean = sum(known) / len(known)
    return {"average": mean, "avg": mean, "avg_zero": sum(known) / len(block), "first": known[0], "last": known[-1],
            "max": max(known), "min": min(known), "sum": sum(known)}[method]  # fmt: skip


class ConsolidateTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(st.one_of(st.just(NAN), st.floats(-1e3, 1e3)), max_size=20), st.integers(1, 7),
           st.sampled_from(CONSOLIDATIONS), st.sampled_from([0.0, 0.4, 1.0]))  # fmt: skip
    def test_blocks(self, values, width, method, xff):
        found = consolidated_values(series(values, consolidation=method, xff=xff), width).tolist()
        if width == 1:
            np.testing.assert_array_equal(found, values)
            return
        blocks = [values[low : low + width] for low in range(0, len(values), width)]
        for block, one in zip(blocks, found, strict=True):
            expected = plain(block, method)
            if sum(value == value for value in block) / width < xff:
                expected = None
            if expected is None:
                self.assertTrue(math.isnan(one))
            else:
                self.assertAlmostEqual(one, expected)

    def test_sums_are_those_of_a_loop(self):
        values = np.random.default_rng(6).random(503).round(3).tolist()
        for width in (2, 5, 9, 60, 503):
            found = consolidated_values(series(values, consolidation="sum"), width, looped_sums).tolist()
            expected = [reduce(add, values[low : low + width]) for low in range(0, len(values), width)]
            self.assertEqual(found, expected)

    def test_shares_and_labels(self):
        (found,) = consolidated([series([1, NAN, NAN, NAN, 2, 4, 6, 8], xff=0.5)], 2)
        self.assertEqual(found.step, 240)
        np.testing.assert_array_equal(consolidated([series([1, NAN, 3], xff=0.9)], 1)[0].values, [NAN])
        self.assertEqual(consolidated([], 5), [])
        self.assertEqual(len(consolidated([series([])], 1)[0]), 0)
        same = series([1, 2])
        self.assertIs(consolidated([same], 9)[0], same)
        (named,) = consolidated([series(range(10), start=60)], 5)
        self.assertEqual((named.start, named.step, named.values.tolist()), (120, 120, [0.5, 2.5, 4.5, 6.5, 8.5]))

    def test_unknown_method(self):
        with self.assertRaises(ConsolidationError) as caught:
            consolidated([series([1, 2, 3], consolidation="bogus")], 1)
        self.assertEqual(str(caught.exception), "Invalid consolidation function: 'bogus'")
        self.assertEqual(len(consolidated([series([1, 2, 3], consolidation="bogus")], 9)[0]), 3)
