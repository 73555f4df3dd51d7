"""The store of open cells: both twins keep one contract, and hypothesis compares them with each other and a model."""

from __future__ import annotations

import json
import math
import os
import random
from bisect import bisect_left, bisect_right
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cadtwist.kernels.bucketkinds import CELL_BYTES, KEPT, LEVEL, MEMBERS, PLAIN, SCALED, STAYS
from cadtwist.kernels.cardinality import member_hash
from tests.twins import native_twin, python_twin

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "carbon")
NAMES = ("rows", "starts", "counts", "sums", "sumsqs", "minima", "maxima", "firsts", "lasts", "samples")


def ids_of(*ids: int) -> Any:
    return np.array(ids, np.uint32)


def floats_of(*values: float) -> Any:
    return np.array(values, np.float64)


def hashes_of(*members: str) -> Any:
    return np.array([member_hash(member.encode()) for member in members], np.uint64).view(np.float64)


class BucketsContract:
    twin: ModuleType

    def setUp(self) -> None:
        self.store = self.twin.Buckets()

    def add(self, row: int, *points: tuple[float, float], weight: float | None = None) -> Any:
        times, values = zip(*points, strict=True)
        weights = None if weight is None else np.full(len(points), weight)
        return self.store.add(ids_of(*[row] * len(points)), floats_of(*times), floats_of(*values), weights)

    def cells(self, row: int) -> list[dict[str, float]]:
        columns = self.store.read(self.store.cells_of(ids_of(row)))
        return [dict(zip(NAMES, cell, strict=True)) for cell in zip(*(c.tolist() for c in columns), strict=True)]

    def test_a_cell_for_each_interval(self) -> None:
        self.store.define(3, 60.0, PLAIN)
        self.assertEqual(self.add(3, (125.0, 4.0), (59.5, 1.0), (179.9, -2.0), (60.0, 7.0), (121.0, 9.0)), (0, 0))
        found = self.cells(3)
        self.assertEqual([cell["starts"] for cell in found], [0.0, 60.0, 120.0])
        self.assertEqual(
            found[2],
            {"rows": 3, "starts": 120.0, "counts": 3.0, "sums": 11.0, "sumsqs": 101.0, "minima": -2.0, "maxima": 9.0,
             "firsts": 4.0, "lasts": 9.0, "samples": 3},
        )  # fmt: skip
        self.assertEqual(self.store.cells, 3)

    def test_before_the_epoch_and_fractions(self) -> None:
        self.store.define(0, 60.0, PLAIN)
        self.store.define(1, 0.1, PLAIN)
        self.add(0, (-1.0, 1.0))
        self.add(1, (0.35, 1.0))
        self.assertEqual([self.cells(0)[0]["starts"], self.cells(1)[0]["starts"]], [-60.0, 0.35 - 0.35 % 0.1])

    def test_one_time_for_all(self) -> None:
        self.store.define(0, 10.0, PLAIN)
        self.store.define(1, 0.0, PLAIN)
        self.assertEqual(self.store.add(ids_of(0, 1, 0), 7.0, floats_of(1.0, 2.0, 3.0)), (0, 0))
        self.assertEqual([self.cells(0)[0]["starts"], self.cells(0)[0]["sums"]], [0.0, 4.0])
        self.assertEqual(self.cells(1)[0]["starts"], 7.0)
        self.assertEqual(self.store.rows_before(8.0).tolist(), [0, 1])
        self.assertEqual(self.store.rows_before(7.0).tolist(), [0])

    def test_weights_scale_only_where_told(self) -> None:
        self.store.define(0, 10.0, PLAIN | SCALED)
        self.store.define(1, 10.0, PLAIN | KEPT)
        for row in (0, 1):
            self.add(row, (1.0, 3.0), weight=10.0)
        self.assertEqual([self.cells(0)[0]["counts"], self.cells(0)[0]["sums"]], [10.0, 30.0])
        self.assertEqual([self.cells(1)[0]["counts"], self.cells(1)[0]["sums"]], [10.0, 3.0])

    def test_refuses_what_cannot_be(self) -> None:
        self.store.define(0, 60.0, PLAIN)
        nan, inf = math.nan, math.inf
        self.assertEqual(self.add(0, (nan, 1.0), (inf, 1.0), (1.0, nan), (-inf, 1.0)), (0, 4))
        self.assertEqual(self.add(9, (1.0, 1.0)), (0, 1))
        self.assertEqual(self.store.add(ids_of(0xFFFFFFFF), 1.0, floats_of(1.0)), (0, 1))
        self.assertEqual(self.store.cells, 0)
        self.assertRaises(ValueError, self.store.add, ids_of(0), floats_of(1.0, 2.0), floats_of(1.0))
        self.assertRaises(ValueError, self.twin.Buckets, 7)
        self.assertRaises(ValueError, self.twin.Buckets, 0, 3)

    def test_late_after_close(self) -> None:
        self.store.define(0, 60.0, PLAIN)
        self.store.close(ids_of(0, 77), floats_of(120.0, 0.0))
        self.store.close(ids_of(0), floats_of(60.0))
        self.assertEqual(self.add(0, (119.0, 1.0), (120.0, 1.0)), (1, 0))
        self.store.define(0, 30.0, PLAIN)
        self.assertEqual(self.add(0, (95.0, 1.0)), (1, 0))

    def test_cells_do_not_change_their_kind(self) -> None:
        self.store.define(0, 60.0, PLAIN | KEPT)
        self.add(0, (1.0, 1.0))
        self.assertRaises(ValueError, self.store.define, 0, 60.0, PLAIN | MEMBERS)
        self.assertEqual(self.store.drop(ids_of(0, 55)), 1)
        self.store.define(0, 60.0, PLAIN | MEMBERS)

    def test_free_settle_and_holds(self) -> None:
        self.store.define(0, 60.0, PLAIN)
        self.add(0, (1.0, 1.0), (61.0, 1.0), (2.0, 1.0))
        first, second = self.store.cells_of(ids_of(0, 3)).tolist()
        self.assertEqual(self.store.settle(ids_of(first), floats_of(60.0)), 2)
        self.add(0, (3.0, 1.0))
        fresh, marks = self.store.marks(ids_of(first, second))
        self.assertEqual((fresh.tolist(), marks.tolist()), ([1, 1], [60.0, -math.inf]))
        self.assertEqual(self.store.free(ids_of(first)), 1)
        self.assertEqual(self.store.holds(ids_of(0, 1)).tolist(), [True, False])
        self.assertEqual(self.store.free(ids_of(second)), 1)
        self.assertEqual((self.store.cells, self.store.bytes), (0, 0))
        self.assertRaises(KeyError, self.store.read, ids_of(first))
        self.assertRaises(KeyError, self.store.free, ids_of(second))

    def test_gauge_of_an_interval(self) -> None:
        self.store.define(0, 0.0, PLAIN | LEVEL)
        self.store.add(ids_of(0, 0, 0), 1.0, floats_of(5.0, -2.0, 4.0), floats_of(0.0, 0.0, 0.0))
        self.assertEqual(self.cells(0)[0]["lasts"], 7.0)
        self.store.add(ids_of(0), 2.0, floats_of(-1.0), floats_of(0.0))
        self.assertEqual([cell["lasts"] for cell in self.cells(0)], [7.0, -1.0])

    def test_gauge_that_stays(self) -> None:
        self.store.define(0, 0.0, PLAIN | LEVEL | STAYS)
        self.store.add(ids_of(0, 0), 1.0, floats_of(5.0, 3.0), floats_of(1.0, 0.0))
        self.assertTrue(math.isnan(self.cells(0)[0]["firsts"]))
        self.store.settle(self.store.cells_of(ids_of(0)), floats_of(1.0))
        self.store.add(ids_of(0, 0), 3.0, floats_of(-1.0, -1.0), floats_of(0.0, 0.0))
        (cell,) = self.cells(0)
        self.assertEqual([cell["starts"], cell["firsts"], cell["lasts"], cell["counts"]], [3.0, 8.0, 6.0, 2.0])
        fresh, marks = self.store.marks(self.store.cells_of(ids_of(0)))
        self.assertEqual((fresh.tolist(), marks.tolist()), ([2], [1.0]))

    def test_recorded_percentiles(self) -> None:
        with open(os.path.join(DATA, "aggregation_methods.json"), encoding="utf-8") as file:
            recorded = json.load(file)
        for row, case in enumerate(recorded):
            self.store.define(row, 60.0, PLAIN | KEPT)
            self.add(row, *[(1.0, value) for value in case["values"]])
            cell = self.store.cells_of(ids_of(row))
            for method, expected in case["results"].items():
                if method[0] == "p":
                    q = float(f"0.{method[1:]}")
                    self.assertEqual(self.store.quantiles(cell, q, True).tolist(), [expected], (method, case["values"]))
            ((found),) = self.cells(row)
            self.assertEqual([found["sums"], found["minima"], found["maxima"], found["counts"]],
                             [case["results"][m] for m in ("sum", "min", "max", "count")])  # fmt: skip

    def test_nearest_rank(self) -> None:
        self.store.define(0, 60.0, PLAIN | KEPT)
        self.add(0, *[(1.0, v) for v in (40.0, 10.0, 30.0, 20.0)])
        cell = self.store.cells_of(ids_of(0))
        found = [self.store.quantiles(cell, q, False).tolist()[0] for q in (0.0, 0.25, 0.5, 0.51, 0.99, 1.0)]
        self.assertEqual(found, [10.0, 10.0, 20.0, 30.0, 40.0, 40.0])
        self.store.define(1, 60.0, PLAIN)
        self.add(1, (1.0, 1.0))
        self.assertTrue(math.isnan(self.store.quantiles(self.store.cells_of(ids_of(1)), 0.5, False)[0]))

    def test_spread_of_thresholds(self) -> None:
        self.store.define(0, 60.0, PLAIN | KEPT)
        self.add(0, *[(1.0, v) for v in (450, 120, 553, 994, 334, 844, 675, 496, 101, 998)])
        (row,) = self.store.spread(self.store.cells_of(ids_of(0)), floats_of(90.0, -10.0, -100.0, 0.1)).tolist()
        self.assertEqual(row[:5], [9.0, 507.44444444444446, 994.0, 4567.0, 3046479.0])
        self.assertEqual(row[5:10], [1.0, 998.0, 998.0, 998.0, 996004.0])
        self.assertEqual(row[10:15], [10.0, 556.5, 101.0, 5565.0, 4042483.0])
        self.assertTrue(all(math.isnan(number) for number in row[15:20]))
        self.assertEqual(row[20:], [307.499674796576, 5565.0, 4042483.0, 556.5, 524.5])

    def test_spread_of_one_value(self) -> None:
        self.store.define(0, 60.0, PLAIN | KEPT)
        self.add(0, (1.0, 42.0))
        (row,) = self.store.spread(self.store.cells_of(ids_of(0)), floats_of(0.1, -5.0)).tolist()
        self.assertEqual(row, [1.0, 42.0, 42.0, 42.0, 1764.0] * 2 + [0.0, 42.0, 1764.0, 42.0, 42.0])

    def test_bins(self) -> None:
        self.store.define(0, 60.0, PLAIN | KEPT)
        self.add(0, *[(1.0, v) for v in (49, 50, 199, 200, 999)])
        cell = self.store.cells_of(ids_of(0))
        self.assertEqual(self.store.bins(cell, floats_of(50, 100, 150, 200)).tolist(), [[1.0, 1.0, 0.0, 1.0]])
        self.assertEqual(self.store.bins(cell, floats_of(100, math.inf)).tolist(), [[2.0, 3.0]])
        self.assertEqual(self.store.bins(cell, floats_of()).shape, (1, 0))

    def test_values_in_order_of_arrival(self) -> None:
        self.store.define(0, 0.0, PLAIN | KEPT)
        self.store.define(1, 0.0, PLAIN)
        self.store.add(ids_of(0, 1, 0, 0), 1.0, floats_of(3.0, 8.0, 1.0, 2.0))
        cells = self.store.cells_of(ids_of(0, 1))
        self.store.quantiles(cells, 0.5, True)
        offsets, values = self.store.values(cells)
        self.assertEqual((offsets.tolist(), values.tolist()), ([0, 3, 3], [3.0, 1.0, 2.0]))

    def test_members_exact_without_a_precision(self) -> None:
        self.store.define(0, 0.0, PLAIN | MEMBERS)
        members = hashes_of(*[str(i % 3000) for i in range(9000)])
        self.store.add(np.zeros(9000, np.uint32), 1.0, members)
        self.store.add(ids_of(0, 0), 1.0, np.zeros(2))
        self.assertEqual(self.store.members(self.store.cells_of(ids_of(0))).tolist(), [3001.0])
        self.assertEqual(self.cells(0)[0]["samples"], 9002)

    def test_members_by_registers(self) -> None:
        store = self.twin.Buckets(0, 12)
        for row, n in enumerate((63, 64, 65, 100, 1000, 20000)):
            store.define(row, 0.0, PLAIN | MEMBERS)
            members = hashes_of(*[f"user-{i}" for i in range(n)])
            store.add(np.full(n, row, np.uint32), 1.0, members)
            store.add(np.full(n, row, np.uint32), 1.0, members)
            (found,) = store.members(store.cells_of(ids_of(row))).tolist()
            if n <= 64:
                self.assertEqual(found, n)
            self.assertLess(abs(found / n - 1), 0.04, (n, found))

    def test_a_sketch_beyond_its_bound(self) -> None:
        store = self.twin.Buckets(256)
        store.define(0, 0.0, PLAIN | KEPT)
        n = 20000
        values = [float(i) for i in range(n)]
        random.Random(5).shuffle(values)
        store.add(np.zeros(n, np.uint32), 1.0, floats_of(*values))
        cell = store.cells_of(ids_of(0))
        self.assertLess(store.bytes, 30000)
        for q in (0.01, 0.25, 0.5, 0.9, 0.99):
            self.assertLess(abs(store.quantiles(cell, q, False)[0] - q * n), 0.03 * n, q)
        (row,) = store.spread(cell, floats_of(90.0)).tolist()
        self.assertEqual(row[0], 18000.0)
        self.assertLess(abs(row[2] - 18000), 0.03 * n)
        self.assertLess(abs(row[9] - n / 2), 0.03 * n)

    def test_sketches_are_as_near_as_they_say(self) -> None:
        """A rank is off by less than n / kept for each level, whatever the values and their order."""

        @settings(max_examples=60, deadline=None)
        @given(
            st.sampled_from([8, 64, 256]), st.integers(1, 4000), st.integers(1, 5000), st.integers(0, 10**6),
            st.floats(0.001, 0.999),
        )  # fmt: skip
        def near(kept: int, n: int, different: int, seed: int, q: float) -> None:
            rng = random.Random(seed)
            values = [float(rng.randrange(different)) for _ in range(n - n // 3)]
            values += values[: n - len(values)]
            arrange = (rng.shuffle, list.sort, lambda them: them.sort(reverse=True))[seed % 3]
            arrange(values)
            store = self.twin.Buckets(kept)
            store.define(0, 0.0, PLAIN | KEPT)
            for at in range(0, n, 500):
                store.add(np.zeros(len(values[at : at + 500]), np.uint32), 1.0, floats_of(*values[at : at + 500]))
            cell, ordered = store.cells_of(ids_of(0)), sorted(values)
            levels = math.ceil(math.log2(n / kept)) if n > kept else 0
            (found,), rank = store.quantiles(cell, q, False).tolist(), math.ceil(q * n)
            least, most = bisect_left(ordered, found) + 1, bisect_right(ordered, found)
            self.assertGreaterEqual(most, least, "a value that never came")
            off = max(least - rank, rank - most, 0)
            self.assertLessEqual(off, levels * n / kept, (kept, n, q))
            self.assertEqual(store.read(cell)[2].tolist(), [float(n)])
            below = store.bins(cell, floats_of(found, math.inf)).tolist()[0]
            self.assertLessEqual(abs(below[0] - (least - 1)), levels * n / kept)
            self.assertEqual(sum(below), n)

        near()

    def test_registers_are_as_near_as_they_say(self) -> None:
        """The error of 2**precision registers is 1.04 / sqrt(2**precision): as a mean, and never four times as much."""
        for precision in (6, 8, 12):
            stated, errors = 1.04 / math.sqrt(1 << precision), []
            for n in (65, 100, 200, 500, 1000, 3000):
                for seed in range(12):
                    members = hashes_of(*[f"{precision} {n} {seed} {i}" for i in range(n)])
                    (found,) = self.members_of(precision, members)
                    errors.append(found / n - 1)
            self.assertLess(math.sqrt(sum(error * error for error in errors) / len(errors)), 1.1 * stated)
            self.assertLess(max(map(abs, errors)), 4 * stated)

    def test_sets_know_no_order_and_no_repetition(self) -> None:
        @settings(max_examples=40, deadline=None)
        @given(st.sampled_from([0, 4, 10]), st.integers(1, 400), st.integers(0, 10**6))
        def same(precision: int, n: int, seed: int) -> None:
            rng = random.Random(seed)
            members = [str(rng.randrange(n)) for _ in range(n)]
            again = members + members[: n // 2]
            rng.shuffle(again)
            (found,), (twice,) = (self.members_of(precision, hashes_of(*each)) for each in (members, again))
            self.assertEqual(found, twice)
            if not precision or len(set(members)) <= 64:
                self.assertEqual(found, len(set(members)))

        same()

    def members_of(self, precision: int, members: Any) -> list[float]:
        """Return how many members a set of these is told to have."""
        store = self.twin.Buckets(0, precision)
        store.define(0, 0.0, PLAIN | MEMBERS)
        store.add(np.zeros(len(members), np.uint32), 1.0, members)
        found: list[float] = store.members(store.cells_of(ids_of(0))).tolist()
        return found

    def test_a_budget_in_bytes(self) -> None:
        store = self.twin.Buckets(0, 0, 10 * CELL_BYTES)
        for row in range(20):
            store.define(row, 60.0, PLAIN)
        ids = np.arange(20, dtype=np.uint32)
        self.assertEqual(store.add(ids, np.ones(20), np.ones(20)), (0, 10))
        self.assertEqual(store.add(ids, np.ones(20), np.ones(20)), (0, 10))
        self.assertLessEqual(store.bytes, 10 * CELL_BYTES)
        store.free(store.cells_of(ids[:5]))
        self.assertEqual(store.add(ids, np.ones(20), np.ones(20)), (0, 10))

    def test_a_budget_of_values(self) -> None:
        store = self.twin.Buckets(0, 0, 100000)
        store.define(0, 60.0, PLAIN | KEPT)
        store.define(1, 60.0, PLAIN | MEMBERS)
        refused = store.add(np.zeros(50000, np.uint32), np.ones(50000), np.ones(50000))[1]
        self.assertGreater(refused, 30000)
        self.assertLessEqual(store.bytes, 100000 + 8)
        members = np.arange(50000, dtype=np.uint64).view(np.float64)
        self.assertGreater(store.add(np.ones(50000, np.uint32), np.ones(50000), members)[1], 49000)

    def test_summaries_merge(self) -> None:
        self.store.define(0, 60.0, PLAIN)
        told = self.store.merge(
            ids_of(0, 0, 5), floats_of(10, 50, 1), floats_of(2, 3, 1), floats_of(4, 9, 1), floats_of(10, 30, 1),
            floats_of(1, 2, 1), floats_of(3, 5, 1),
        )  # fmt: skip
        self.assertEqual(told, (0, 1))
        self.add(0, (59.0, 100.0))
        (cell,) = self.cells(0)
        self.assertEqual(
            [cell[n] for n in NAMES[2:9]], [6.0, 113.0, 10040.0, 1.0, 100.0, 2.0, 100.0]
        )
        one = floats_of(1.0)
        more = np.array([3], np.uint64)
        self.assertEqual(self.store.merge(ids_of(0), one * 20, one, one, one, one, one, one, one, more), (0, 0))
        (cell,) = self.cells(0)
        self.assertEqual((cell[NAMES[-1]], self.store.marks(self.store.cells_of(ids_of(0)))[0].tolist()), (6, [6]))
        self.store.close(ids_of(0), floats_of(60.0))
        self.assertEqual(self.store.merge(ids_of(0), one, one, one, one, one, one, one, one), (1, 0))
        self.assertEqual(self.store.merge(ids_of(0), one * 99, one, one, one, one, one, one, one * math.nan), (0, 1))
        self.assertRaises(ValueError, self.store.merge, ids_of(0), one, one, one, one, one, floats_of())
        columns = (one,) * 8
        self.assertRaises(ValueError, self.store.merge, ids_of(0), *columns, np.zeros(2, np.uint64))


class PythonBuckets(BucketsContract, SynchronousTestCase):
    twin = python_twin("buckets")


class NativeBuckets(BucketsContract, SynchronousTestCase):
    def setUp(self) -> None:
        twin = native_twin("buckets")
        if twin is None:
            raise SkipTest("the native twin of buckets is not built")
        self.twin = twin
        super().setUp()

    def test_memory_per_row_and_cell(self) -> None:
        ids = np.arange(100000, dtype=np.uint32)
        for row in ids.tolist():
            self.store.define(row, 0.0, PLAIN | KEPT)
        self.store.add(ids, 1.0, np.ones(len(ids)))
        self.assertLess(self.store.bytes / len(ids), 200)
        self.store.free(self.store.cells_of(ids))
        self.assertEqual(self.store.bytes, 0)


KINDS = (PLAIN, PLAIN | SCALED, PLAIN | KEPT, PLAIN | LEVEL, PLAIN | LEVEL | STAYS, PLAIN | MEMBERS, PLAIN | KEPT, 0)
STEPS = (60.0, 10.0, 1.0, 0.25, 7.0, 60.0, 0.1, 1.0)
VALUES = st.one_of(st.integers(-50, 50).map(float), st.floats(-1e6, 1e6), st.sampled_from([math.inf, math.nan, -0.0]))
POINT = st.tuples(
    st.integers(0, 9), st.one_of(st.integers(-100, 400).map(float), st.floats(-10, 200)), VALUES,
    st.sampled_from([1.0, 0.0, 2.0, 10.0 / 3]),
)  # fmt: skip
STEP = st.one_of(
    st.tuples(st.just("merge"), st.lists(POINT, max_size=10)),
    st.tuples(st.just("add"), st.lists(POINT, max_size=40)),
    st.tuples(st.just("start"), st.lists(POINT, max_size=10), st.integers(0, 3)),
    st.tuples(st.sampled_from(["free", "settle", "drop", "close", "look"]), st.lists(st.integers(0, 9), max_size=3)),
)


class Pair:
    """Drives both twins through the same calls and compares all they say."""

    def __init__(self, case: SynchronousTestCase, native: ModuleType, kept: int, precision: int) -> None:
        self.case = case
        self.twins = [python_twin("buckets").Buckets(kept, precision), native.Buckets(kept, precision)]
        for row in range(len(KINDS)):
            self.define(row)

    def define(self, row: int) -> None:
        for twin in self.twins:
            twin.define(row, STEPS[row], KINDS[row])

    def each(self, method: str, *args: Any) -> Any:
        one, two = (getattr(twin, method)(*args) for twin in self.twins)
        np.testing.assert_equal(one, two, err_msg=method)
        return one

    def run(self, step: Any) -> None:
        what, items = step[0], step[1]
        if what in ("add", "start"):
            rows, times, values, weights = [list(c) for c in zip(*items, strict=True)] if items else [[]] * 4
            when = float(step[2]) if what == "start" else floats_of(*times)
            self.each("add", ids_of(*rows), when, floats_of(*values), floats_of(*weights))
            return
        if what == "merge":
            rows, times, values, weights = [list(c) for c in zip(*items, strict=True)] if items else [[]] * 4
            summary = [floats_of(*each) for each in (weights, values, values, values, values, values, weights)]
            samples = np.arange(1, len(rows) + 1, dtype=np.uint64)
            self.each("merge", ids_of(*rows), floats_of(*times), *summary, samples)
            return
        rows = ids_of(*dict.fromkeys(items))
        if what == "close":
            self.each("close", rows, np.full(len(rows), 30.0))
        elif what == "drop":
            self.each("drop", rows)
            for row in rows.tolist():
                if row < len(KINDS):
                    self.define(row)
        else:
            cells = [twin.cells_of(rows) for twin in self.twins]
            self.look(cells)
            if what != "look":
                args = (np.full(len(cells[0]), 9.0),) if what == "settle" else ()
                one, two = (getattr(twin, what)(c, *args) for twin, c in zip(self.twins, cells, strict=True))
                self.case.assertEqual(one, two)

    def look(self, cells: list[Any]) -> None:
        def each(method: str, *args: Any) -> None:
            one, two = (getattr(twin, method)(c, *args) for twin, c in zip(self.twins, cells, strict=True))
            for a, b in zip(one, two, strict=True) if isinstance(one, tuple) else ((one, two),):
                np.testing.assert_equal(a, b, err_msg=method)

        with np.errstate(all="ignore"):
            for method in ("read", "marks", "values", "members"):
                each(method)
            each("quantiles", 0.5, True)
            each("quantiles", 0.9, False)
            each("spread", floats_of(90.0, -10.0, 1.0))
            each("bins", floats_of(-5.0, 0.0, 10.0, math.inf))
        self.each("rows_before", 60.0)
        self.each("holds", np.arange(12, dtype=np.uint32))
        self.case.assertEqual(*(twin.cells for twin in self.twins))


class Twins(SynchronousTestCase):
    def setUp(self) -> None:
        native = native_twin("buckets")
        if native is None:
            raise SkipTest("the native twin of buckets is not built")
        self.native = native

    def test_both_say_the_same(self) -> None:
        @settings(max_examples=150, deadline=None)
        @given(st.sampled_from([0, 8]), st.sampled_from([0, 4]), st.lists(STEP, min_size=1, max_size=12))
        def same(kept: int, precision: int, steps: list[Any]) -> None:
            pair = Pair(self, self.native, kept, precision)
            for step in steps:
                pair.run(step)
            pair.run(("look", list(range(10))))

        same()

    def test_large_sets_and_sketches(self) -> None:
        pair = Pair(self, self.native, 64, 5)
        seeded = random.Random(11)
        for _ in range(12):
            n = 700
            rows = [seeded.choice((2, 5, 6)) for _ in range(n)]
            values = hashes_of(*[str(seeded.randrange(5000)) for _ in range(n)])
            plain = np.array([seeded.gauss(0, 1) for _ in range(n)])
            values[np.array(rows) != 5] = plain[np.array(rows) != 5]
            pair.each("add", ids_of(*rows), 5.0, values)
        pair.run(("look", list(range(10))))


class MemberHash(SynchronousTestCase):
    def test_spreads(self) -> None:
        found = {member_hash(str(i).encode()) for i in range(20000)}
        self.assertEqual(len(found), 20000)
        tops = np.bincount([h >> 60 for h in found], minlength=16)
        self.assertLess(tops.max() - tops.min(), 400)
