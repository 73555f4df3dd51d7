"""Moving windows, against plain Python."""

from __future__ import annotations

import math
from functools import reduce
from operator import add

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.evaluate import EvaluationError
from tests.query.functions.calls import START, STEP, Columns, clock_values, evaluated, line, listed
from tests.query.test_reducing import NUMBERS, plain

WAYS = ("average", "sum", "max", "min", "count", "last", "diff", "range", "stddev", "median", "multiply", "avg_zero")


def windows(values, points, way, xff):
    """Return what `way` makes of each window of `points` values, the first of them left out."""
    results = []
    for end in range(points + 1, len(values) + 1):
        known = [value for value in values[end - points : end] if value is not None]
        enough = known and len(known) / points >= xff
        results.append(plain(way, known) if enough else None)
    return results


class MovingTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None, database=None)
    @given(st.lists(NUMBERS, max_size=24), st.integers(1, 9), st.sampled_from(WAYS), st.sampled_from([0, 0.5, 1]))
    def test_windows(self, values, points, way, xff):
        sources = Columns(a=lambda pattern, window: [line(pattern, values, window.start + STEP)])
        (found,) = evaluated(f'movingWindow(a,{points},"{way}",{xff})', sources)
        expected = windows(values, points, way, xff)
        got = listed(found)
        self.assertEqual(len(got), max(len(values) - points, 0))
        for one, other in zip(got, expected, strict=False):
            if one is None or other is None:
                self.assertEqual(one, other)
            else:
                self.assertTrue(math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-5), (way, one, other))
        self.assertEqual((found.start, found.step), (START + STEP, STEP))

    def test_preview(self):
        """A window of points asks for its time before the request; one of seconds is planned and fetched at once."""
        for size, shown, before in (("3", "3", 180), ('"5min"', '"5min"', 300), ('"-1h"', '"-1h"', 3600)):
            sources = Columns(a=clock_values)
            (found,) = evaluated(f"movingAverage(a,{size})", sources)
            self.assertEqual(found.name, f"movingAverage(a,{shown})")
            self.assertEqual(found.tags, {"name": "a", "movingAverage": shown.strip('"')})
            asked = [("a", START, START + 600), ("a", START - before, START + 600)]
            self.assertEqual(sources.asked, asked)
            slots = range(START // STEP + 1, START // STEP + 11)
            self.assertEqual(listed(found), [slot - (before // STEP - 1) / 2 for slot in slots])

    def test_exponential(self):
        values = [1.0, 2.0, None, 4.0, 5.0, 6.0, None, 8.0]
        sources = Columns(a=lambda pattern, window: [line(pattern, values, window.start + STEP)])
        (found,) = evaluated("exponentialMovingAverage(a,3)", sources)
        average, expected = 1.5, [1.5]
        for value in values[3:]:
            if value is not None:
                average = 0.5 * value + 0.5 * average
            expected.append(None if value is None else round(average, 6))
        self.assertEqual(listed(found), expected)
        self.assertEqual((found.name, found.start), ("exponentialMovingAverage(a,3)", START + STEP))

    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=150), st.integers(1, 40))
    def test_exponential_blocks(self, values, points):
        sources = Columns(a=lambda pattern, window: [line(pattern, values, window.start + STEP)])
        (found,) = evaluated(f"exponentialMovingAverage(a,{points})", sources)
        known = [value for value in values[:points] if value is not None]
        average, weight = (sum(known) / len(known) if known else 0.0), 2 / (points + 1)
        for value, got in zip(values[points:], listed(found)[1:], strict=True):
            if value is None:
                self.assertIsNone(got)
            else:
                average = weight * value + (1 - weight) * average
                self.assertTrue(math.isclose(got, average, rel_tol=1e-9, abs_tol=2e-6), (got, average))

    def test_exponential_ties(self):
        """What lies at a tie of the sixth decimal is rounded by its last bits, which are those of a loop."""
        for seed in range(40):
            values = np.random.default_rng(seed).integers(0, 500, 60) / 10.0
            rows = [None, None, None, *values.tolist()]
            sources = Columns(a=lambda pattern, window, rows=rows: [line(pattern, rows, window.start + STEP)])
            average, expected = 0.0, [0.0]
            for value in values.tolist():
                average = 0.5 * value + 0.5 * average
                expected.append(round(average, 6))
            self.assertEqual(listed(evaluated("exponentialMovingAverage(a,3)", sources)[0]), expected)

    def test_infinite_values(self):
        values = [1.0, 1.0, 1.0, math.inf, 4.0]
        sources = Columns(a=lambda pattern, window: [line(pattern, values, window.start + STEP)])
        self.assertEqual(listed(evaluated("exponentialMovingAverage(a,3)", sources)[0]), [1.0, math.inf, math.inf])

    def test_nothing(self):
        self.assertEqual(evaluated("movingAverage(a,5)", Columns()), [])
        self.assertEqual(evaluated('exponentialMovingAverage(a,"5min")', Columns()), [])
        (found,) = evaluated("movingAverage(a,0)", Columns(a={"a": [1, 2]}))
        self.assertEqual(listed(found), [None, None])
        (found,) = evaluated("movingAverage(a,-2)", Columns(a=clock_values))
        self.assertEqual((found.start, listed(found)), (START + STEP, [None] * 10))
        self.assertEqual(evaluated('movingWindow(a,3,"p95")', Columns()), [])

    def test_few_values_are_added_one_after_the_other(self):
        values = np.random.default_rng(4).random(300).round(3).tolist()
        sources = Columns(a=lambda pattern, window: [line(pattern, values, window.start + STEP)])
        for points in (2, 7, 10, 32):
            ends = range(points + 1, len(values) + 1)
            expected = [reduce(add, values[end - points : end]) for end in ends]
            self.assertEqual(listed(evaluated(f"movingSum(a,{points})", sources)[0]), expected)

    def test_fractions_of_points_are_left_aside(self):
        for target in ("movingAverage(a,{})", "exponentialMovingAverage(a,{})"):
            made, whole = (evaluated(target.format(size), Columns(a=clock_values))[0] for size in (2.5, 2))
            self.assertEqual((made.name, made.start), (target.replace("{}", "2.5"), whole.start))
            self.assertEqual(listed(made), listed(whole))

    def test_refusals(self):
        for target in ('movingAverage(a,"5parsecs")', 'movingWindow(a,3,"p95")',
                       "movingAverage(a,b)", "movingAverage(a,inf)", "exponentialMovingAverage(a,-3)"):  # fmt: skip
            with self.assertRaises(EvaluationError):
                evaluated(target, Columns(a={"a": [1, 2]}))
