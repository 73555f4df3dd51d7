from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels.statformat import CELL, COLLATED, TRAILING, Header, new_header
from cadtwist.kernels.statring import Cell
from cadtwist.query.istat import Selection, figures, select

T = 1325394000
NOW = T + 1000


class FakeFiles:
    """Rings in memory: `cells[file][index]`."""

    def __init__(self, *headers: Header | None) -> None:
        self.headers = list(headers)
        self.cells: list[dict[int, tuple[Any, ...]]] = [{} for _ in headers]
        self.asked: list[tuple[int, int, int]] = []

    def put(self, file: int, time: int, value: float, count: int = 1) -> None:
        head = self.headers[file]
        assert head is not None
        index = (time - head.create_time) // head.interval
        self.cells[file][index] = (time, value, value, value, count, value * value)
        self.headers[file] = head._replace(
            last_bucket=max(index, head.last_bucket), last_time=max(time, head.last_time), first_bucket=0
        )

    def read(self, file: int, first: int, count: int) -> Any:
        self.asked.append((file, first, count))
        return np.array([self.cells[file].get(first + n, (0, 0, 0, 0, 0, 0)) for n in range(count)], CELL)

    def select(self, start: int = 0, end: int = 0, most: int = 1000, trailing: bool = False) -> Selection:
        return select(self.headers, self.read, start, end, NOW, most, trailing)


def head(interval: int, flags: int = 0, samples: int = 360, **more: Any) -> Header:
    return new_header(b"x", interval, samples, flags, T, **more)


class SelectTests(SynchronousTestCase):
    def gauges(self) -> FakeFiles:
        files = FakeFiles(head(10), head(300))
        for n in range(0, 1000, 10):
            files.put(0, T + n, float(n))
        for n in range(0, 1000, 300):
            files.put(1, T + n, float(n), 30)
        return files

    def test_default_ranges(self) -> None:
        files = self.gauges()
        self.assertEqual(files.select()[:3], (NOW - 900, NOW, 10))
        self.assertEqual(files.select(start=T)[:2], (T, T + 900))
        self.assertEqual(files.select(end=NOW)[:2], (NOW - 900, NOW))
        self.assertEqual(len(files.select(start=NOW, end=T).cells), 0)

    def test_one_cell_of_one_time(self) -> None:
        for most in (0, 1, 1000):
            found = self.gauges().select(T + 15, T + 15, most)
            self.assertEqual(found.cells["sum"].tolist(), [10.0], most)

    def test_reads_what_is_left_of_a_range_that_the_ring_has_passed(self) -> None:
        files = FakeFiles(head(10))
        for n in range(0, 6000, 10):
            files.put(0, T + n, float(n))
        found = files.select(T + 885, T + 1000)
        self.assertEqual(found.cells["time"].tolist(), list(range(T + 880, T + 1000, 10)))
        files.select(T + 880, T + 1000)
        self.assertGreaterEqual(files.asked[-1][1], files.headers[0].last_bucket - 512 + 1)  # type: ignore[union-attr]

    def test_cells_of_other_times_are_no_data(self) -> None:
        files = self.gauges()
        files.cells[0][3] = (T - 5120 + 30, 99.0, 0, 0, 1, 0)
        self.assertNotIn(99.0, files.select(T, T + 100).cells["sum"].tolist())

    def test_no_file_reaches_back(self) -> None:
        found = self.gauges().select(1000, 2000)
        self.assertEqual(found[:3], (900, 2100, 300))
        self.assertEqual(FakeFiles(None).select(T, T + 100)[:3], (T, T + 100, 10))

    def test_season_files(self) -> None:
        season = head(60, TRAILING, factor=0.9, season=3600)
        files = FakeFiles(head(10), season)
        files.put(1, T, 5.0)
        self.assertEqual(files.select(T, T + 120, trailing=True).cells["sum"].tolist(), [5.0])
        self.assertEqual(files.select(NOW - 3601, T + 120, trailing=True)[2], 60)
        self.assertEqual(len(files.select(NOW - 3601, T + 120, trailing=True).cells), 0)

    def test_coarser_where_there_would_be_too_many(self) -> None:
        files = self.gauges()
        for most, interval in ((100, 10), (50, 20), (10, 120), (2, 600), (0, 10)):
            self.assertEqual(files.select(T, T + 1000, most).interval, interval, most)
        self.assertEqual(files.select(T, T + 1000, 1)[:3], (T, T + 1000, 1000))
        odd = FakeFiles(head(7))
        odd.put(0, T - T % 7 + 7, 1.0)
        self.assertEqual(odd.select(T + 10, T + 1010, 10).interval, 100)
        self.assertEqual(odd.select(T + 10, T + 1010, 100).interval, 7)
        huge = FakeFiles(head(86400))
        huge.put(0, T + 86400 * 10, 1.0)
        self.assertEqual(huge.select(T + 86400, T + 86400 * 9, 2).interval, 86400 * 9 // 2)

    def test_events_have_every_cell(self) -> None:
        files = FakeFiles(head(10, COLLATED))
        files.put(0, T + 20, 3.0)
        files.put(0, T + 40, 0.0, 0)
        found = files.select(T - 20, T + 60).cells
        self.assertEqual(found["time"].tolist(), list(range(T - 20, T + 60, 10)))
        self.assertEqual(found["count"].tolist(), [1, 1, 1, 1, 1, 1, 0, 1])
        self.assertEqual(found["sum"].tolist(), [0, 0, 0, 0, 3, 0, 0, 0])

    def test_reduced_events_count_all_cells(self) -> None:
        files = FakeFiles(head(10, COLLATED))
        for n in range(0, 100, 10):
            files.put(0, T + n, 5.0)
        files.put(0, T + 30, 0.0, 0)
        found = files.select(T, T + 100, 5).cells
        self.assertEqual(found["count"].tolist(), [2] * 5)
        self.assertEqual(found["min"].tolist(), [5, 0, 5, 5, 5])


cell_values = st.sampled_from([0.0, 1.5, -2.0, 0.1, 1e6, float("nan"), 3e38])
some_cells = st.lists(st.tuples(st.integers(0, 3), st.booleans(), cell_values), min_size=1, max_size=30)


class ReductionTests(SynchronousTestCase):
    @given(some_cells)
    def test_merges_as_cells_merge(self, rows: list[tuple[int, bool, float]]) -> None:
        """Against the cells' own rule, one after the other."""
        files, expected, time = FakeFiles(head(10)), dict[int, Cell](), 0
        with np.errstate(over="ignore"):
            for gap, counted, value in rows:
                time += 10 + gap * 10
                square = float(np.float32(value * value))
                low = float(np.float32(value))
                files.put(0, T + time, value, int(counted))
                files.cells[0][time // 10] = (T + time, value, low, low, int(counted), square)
                group = time // 60
                old = expected.get(group, Cell(0))
                expected[group] = old.merged(Cell(T + time, value, low, low, int(counted), square))
        found = files.select(T, T + 60 * (time // 60 + 1), time // 60 + 1).cells
        if files.asked and len(found) == len(expected):
            for row, (group, cell) in zip(found.tolist(), sorted(expected.items()), strict=True):
                got = Cell(*row)
                self.assertEqual(repr(got[1:]), repr(cell[1:]), (got, cell))
                self.assertEqual(got.time, T + group * 60)
        else:
            self.assertLessEqual(time // 10, time // 60 + 1)


class FigureTests(SynchronousTestCase):
    def test_figures(self) -> None:
        cells = np.array([(T, 10.0, 1.0, 4.0, 4, 30.0), (T, 5.0, 5.0, 5.0, 1, 25.0), (T, 0.0, 0.0, 0.0, 0, 0.0)], CELL)
        told = figures(cells)
        self.assertEqual((told["avg"], told["count"]), ([2.5, 5.0, 0.0], [4, 1, 0]))
        self.assertAlmostEqual(told["sdev"][0], math.sqrt(5 / 3))
        self.assertEqual(told["sdev"][1:], [0.0, 0.0])

    def test_single_precision(self) -> None:
        cells = np.array([(T, 1234567.891, 0, 0, 3, 0)], CELL)
        self.assertEqual(figures(cells, single=True)["sum"], [1234567.875])
        self.assertEqual(figures(cells)["sum"], [1234567.891])

    def test_infinity_is_the_largest_number(self) -> None:
        most = 3.4028234663852886e38
        cells = np.array([(T, math.inf, -math.inf, math.inf, 2, math.inf), (T, math.nan, 0, 0, 1, 0)], CELL)
        for single in (False, True):
            told = figures(cells, single)
            self.assertEqual((told["sum"][0], told["min"][0], told["max"][0]), (most, -most, most))
            self.assertTrue(math.isnan(told["sum"][1]))
        beyond = np.array([(T, 1e300, 0, 0, 1, 0)], CELL)
        self.assertEqual((figures(beyond)["sum"], figures(beyond, single=True)["sum"]), ([1e300], [most]))
