"""Ways to aggregate, against plain Python."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.reducing import (
    AGGREGATIONS,
    UnsupportedError,
    percentiles,
    reduce_each,
    reducer,
    stacked,
    whole_stays,
)

NUMBERS = st.one_of(st.none(), st.integers(-5, 5).map(float), st.floats(-1e6, 1e6))
ROWS = st.integers(1, 6).flatmap(
    lambda width: st.lists(st.lists(NUMBERS, min_size=width, max_size=width), min_size=1, max_size=6)
)


def plain(name, items):
    known = [value for value in items if value is not None]
    if name == "count":
        return float(len(known))
    if name == "avg_zero":
        return sum(known) / len(items)
    if not known or (name == "multiply" and len(known) < len(items)):
        return None
    mean = sum(known) / len(known)
    ordered = sorted(known)
    middle = len(known) // 2
    return {
        "sum": sum(known), "total": sum(known), "average": mean, "avg": mean, "max": max(known), "min": min(known),
        "last": known[-1], "current": known[-1], "diff": known[0] - sum(known[1:]),
        "range": max(known) - min(known), "rangeOf": max(known) - min(known), "multiply": math.prod(known),
        "stddev": math.sqrt(sum((value - mean) ** 2 for value in known) / len(known)),
        "median": ordered[middle] if len(known) % 2 else (ordered[middle - 1] + ordered[middle]) / 2,
    }[name]  # fmt: skip


def percentile(items, n, interpolate):
    known = sorted(value for value in items if value is not None)
    if not known:
        return None
    fractional = n / 100.0 * (len(known) + 1)
    rank = int(fractional)
    part = fractional - rank
    if not interpolate:
        rank += math.ceil(part)
    found = known[0] if rank == 0 else known[-1] if rank - 1 == len(known) else known[rank - 1]
    if interpolate and rank < len(known):
        found += part * (known[rank] - found)
    return found


def column(values):
    return [None if value != value else value for value in values]


def matrix_of(rows):
    return np.array([[math.nan if value is None else value for value in row] for row in rows], np.float64)


class ReducingTests(SynchronousTestCase):
    def same(self, found, expected, what):
        for one, other in zip(column(found.tolist()), expected, strict=True):
            if one is None or other is None:
                self.assertEqual(one, other, what)
            else:
                self.assertTrue(math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6), (what, one, other))

    @settings(max_examples=150, deadline=None, database=None)
    @given(ROWS)
    def test_columns(self, rows):
        matrix = matrix_of(rows)
        for name in AGGREGATIONS:
            expected = [plain(name, [row[i] for row in rows]) for i in range(len(rows[0]))]
            self.same(reducer(name)(matrix, None), expected, name)

    @settings(max_examples=80, deadline=None, database=None)
    @given(st.lists(st.lists(NUMBERS, min_size=1, max_size=5), min_size=1, max_size=5))
    def test_whole_columns(self, columns):
        arrays = [matrix_of([one])[0] for one in columns]
        for name in AGGREGATIONS:
            self.same(reduce_each(reducer(name), arrays), [plain(name, one) for one in columns], name)
        padded = stacked(arrays)
        self.assertEqual(padded.shape, (len(columns), max(map(len, columns))))
        self.assertEqual([len(one) for one in columns], [len(row) for row in arrays])

    @settings(max_examples=150, deadline=None, database=None)
    @given(ROWS, st.sampled_from([0, 1, 10, 50, 75, 99, 100]), st.booleans())
    def test_percentiles(self, rows, n, interpolate):
        expected = [percentile([row[i] for row in rows], n, interpolate) for i in range(len(rows[0]))]
        self.same(percentiles(matrix_of(rows), n, interpolate), expected, (n, interpolate))

    def test_sums_are_those_of_a_loop(self):
        """Names show sums with every digit, so the order of addition counts."""
        values = np.random.default_rng(5).random(1000) * 1e6
        total = 0.0
        for value in values.tolist():
            total += value
        self.assertEqual(reduce_each(reducer("sum"), [values]).tolist(), [total])
        self.assertEqual(reduce_each(reducer("sum"), [values] * 3).tolist(), [total] * 3)
        self.assertEqual(reducer("sum")(np.repeat(values[:, None], 3, axis=1), None).tolist(), [total] * 3)

    def test_names(self):
        self.assertIs(reducer("sum"), reducer("total"))
        for name in ("p95", "", None, "sumSeries"):
            with self.assertRaises(UnsupportedError) as caught:
                reducer(name)
            self.assertEqual(str(caught.exception), f"Unsupported aggregation function: {name}")
        self.assertEqual([whole_stays(*one) for one in (("count", False), ("sum", True), ("sum", False))],
                         [True, True, False])
        self.assertFalse(whole_stays("average", True))

    def test_nothing(self):
        self.assertEqual(reduce_each(reducer("count"), [np.zeros(0)]).tolist(), [0.0])
        self.assertTrue(np.isnan(reduce_each(reducer("sum"), [np.zeros(0)])).all())
        self.assertTrue(np.isnan(percentiles(np.zeros((0, 2)), 50)).all())
        with self.assertRaises(IndexError):
            percentiles(np.array([[1.0]]), 400)
