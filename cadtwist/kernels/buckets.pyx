# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Many datapoints made few: open cells by output row and aligned interval: the native twin of `buckets_py.py`.

A cell is begun by its first datapoint and lives until `free`.  Kernels on shared state: callers hold the GIL.
How cells lie in memory is told in `bucketcore.pxd`.
"""

from libc.math cimport INFINITY, floor
from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, realloc
from libc.string cimport memcpy, memset

from cadtwist.kernels.bucketcells cimport bk_bytes, bk_close, bk_free_cell, bk_merge, bk_take_all
from cadtwist.kernels.bucketcore cimport BK_KEPT, BK_NIL, BK_STAYS, bk_cell, bk_core, bk_items, bk_row
from cadtwist.kernels.bucketsets cimport bk_members
from cadtwist.kernels.bucketvalues cimport bk_bins, bk_quantile, bk_sort_items, bk_spread

import numpy as np

from cadtwist.kernels.bucketkinds import SPREAD_OWN

__all__ = ["Buckets"]

cdef Py_ssize_t OWN = SPREAD_OWN


cdef class Buckets:
    """Cells of rows.

    `kept` values of a KEPT cell are exact, more make a sketch (0: all are exact); sets of more than EXACT_MEMBERS use
    2**`precision` registers (0: exact); `max_bytes` bounds `bytes` (0: unbounded).
    """

    cdef bk_core* t

    def __cinit__(self, uint32_t kept=0, uint32_t precision=0, uint64_t max_bytes=0):
        if (kept and (kept < 8 or kept % 2)) or (precision and not 4 <= precision <= 18):
            raise ValueError("kept is 0 or an even number from 8 on, precision 0 or from 4 to 18")
        self.t = <bk_core*>calloc(1, sizeof(bk_core))
        if self.t is NULL:
            raise MemoryError
        self.t.kept = kept
        self.t.precision = precision
        self.t.max_bytes = max_bytes
        self.t.free_cell = BK_NIL

    def __dealloc__(self):
        bk_close(self.t)

    @property
    def cells(self):
        """Open cells."""
        return self.t.open

    @property
    def bytes(self):
        """The memory of cells, values and members."""
        return bk_bytes(self.t)

    def define(self, uint32_t row, double step, int kind):
        """Say what `row` keeps and the length of its intervals (seconds, 0: each timestamp has its own); cells stay.

        ValueError where open cells hold something else.
        """
        cdef bk_core* t = self.t
        cdef bk_row* rows
        cdef uint64_t room, i
        if row >= t.n_rows:
            room = max(<uint64_t>row + 1, <uint64_t>t.n_rows + t.n_rows // 8 + 256)
            rows = <bk_row*>realloc(t.rows, room * sizeof(bk_row))
            if rows is NULL:
                raise MemoryError
            memset(rows + t.n_rows, 0, (room - t.n_rows) * sizeof(bk_row))
            for i in range(t.n_rows, room):
                rows[i].head = BK_NIL
                rows[i].closed = -INFINITY
            t.rows = rows
            t.n_rows = <uint32_t>room
        if t.rows[row].head != BK_NIL and t.rows[row].kind != kind:
            raise ValueError("the row has cells of another kind")
        t.rows[row].step = step
        t.rows[row].kind = kind
        t.rows[row].whole = step == floor(step) and 1 <= step < 4503599627370496.0

    def add(self, const uint32_t[::1] rows, times, const double[::1] values, weights=None):
        """Take datapoints in order; return how many came (late, refused).

        `times` are timestamps, or one for all: each datapoint goes into the interval that it lies in, or, in a row
        without a step, into the one that starts then.  Late is what belongs before `close`.  Refused: undefined
        rows, values or times that are no number, and what would exceed `max_bytes`.
        """
        cdef int64_t[3] told
        cdef const double[::1] stamps = None if isinstance(times, (float, int)) else times
        cdef const double[::1] factors = weights
        cdef Py_ssize_t n = rows.shape[0]
        cdef double stamp = 0 if stamps is not None else times
        if values.shape[0] != n or (stamps is not None and stamps.shape[0] != n) or (
            factors is not None and factors.shape[0] != n
        ):
            raise ValueError("columns of different lengths")
        memset(told, 0, sizeof(told))
        if n:
            bk_take_all(self.t, &rows[0], NULL if stamps is None else &stamps[0], stamp, &values[0],
                        NULL if factors is None else &factors[0], n, told)
        return told[1], told[2]

    def merge(self, const uint32_t[::1] rows, const double[::1] times, const double[::1] counts,
              const double[::1] sums, const double[::1] sumsqs, const double[::1] minima, const double[::1] maxima,
              firsts=None, lasts=None, samples=None):
        """Take summaries in order, as `add` takes datapoints; without firsts and lasts their means stand for them.

        `samples` says how many datapoints each is of (None: it counts as one).
        """
        cdef int64_t[3] told
        cdef double[7] s
        cdef const double[::1] first = firsts
        cdef const double[::1] last = lasts
        cdef const uint64_t[::1] numbers = samples
        cdef double mean
        cdef Py_ssize_t i, n = rows.shape[0]
        if {times.shape[0], counts.shape[0], sums.shape[0], sumsqs.shape[0], minima.shape[0], maxima.shape[0],
                n if first is None else first.shape[0], n if last is None else last.shape[0],
                n if numbers is None else numbers.shape[0]} != {n}:
            raise ValueError("columns of different lengths")
        memset(told, 0, sizeof(told))
        for i in range(n):
            mean = sums[i] / (counts[i] if counts[i] > 0 else 1.0)
            s[0], s[1], s[2], s[3], s[4] = counts[i], sums[i], sumsqs[i], minima[i], maxima[i]
            s[5] = mean if first is None else first[i]
            s[6] = mean if last is None else last[i]
            told[bk_merge(self.t, rows[i], times[i], s, 1 if numbers is None else numbers[i])] += 1
        return told[1], told[2]

    def rows_before(self, double before):
        """Return the rows, ascending, that have a cell which starts before `before`."""
        cdef bk_core* t = self.t
        cdef uint32_t row, i
        cdef Py_ssize_t n = 0
        found = np.empty(min(t.n_rows, t.open), np.uint32)
        cdef uint32_t[::1] out = found
        for row in range(t.n_rows):
            i = t.rows[row].head
            while i != BK_NIL and t.cells[i].start >= before:
                i = t.cells[i].next
            if i != BK_NIL:
                out[n] = row
                n += 1
        return found[:n].copy()

    def cells_of(self, const uint32_t[::1] rows):
        """Return the cells of `rows`, row by row, by ascending start."""
        cdef bk_core* t = self.t
        cdef Py_ssize_t k, n = 0, many, total = 0
        cdef uint32_t i
        for k in range(rows.shape[0]):
            i = t.rows[rows[k]].head if rows[k] < t.n_rows else BK_NIL
            while i != BK_NIL:
                total += 1
                i = t.cells[i].next
        found = np.empty(total, np.uint32)
        cdef uint32_t[::1] out = found
        for k in range(rows.shape[0]):
            i = t.rows[rows[k]].head if rows[k] < t.n_rows else BK_NIL
            many = 0
            while i != BK_NIL:
                out[n + many] = i
                many += 1
                i = t.cells[i].next
            for i in range(<uint32_t>(many // 2)):
                out[n + i], out[n + many - 1 - i] = out[n + many - 1 - i], out[n + i]
            n += many
        return found

    cdef bk_cell* cell(self, uint32_t place) except NULL:
        if place >= self.t.n_cells or not self.t.cells[place].open:
            raise KeyError(place)
        return &self.t.cells[place]

    def read(self, const uint32_t[::1] cells):
        """Return (rows, starts, counts, sums, sumsqs, minima, maxima, firsts, lasts, samples) of `cells`.

        `samples` are datapoints, `counts` the sum of their weights.  KeyError for a cell that is not open.
        """
        cdef Py_ssize_t i, n = cells.shape[0]
        rows_, columns, samples_ = np.empty(n, np.uint32), np.empty((8, n)), np.empty(n, np.uint64)
        cdef uint32_t[::1] rows = rows_
        cdef double[:, ::1] out = columns
        cdef uint64_t[::1] samples = samples_
        cdef bk_cell* c
        for i in range(n):
            c = self.cell(cells[i])
            rows[i] = c.row
            samples[i] = c.n
            out[0, i], out[1, i], out[2, i], out[3, i] = c.start, c.count, c.sum, c.sumsq
            out[4, i], out[5, i], out[6, i], out[7, i] = c.min, c.max, c.first, c.last
        return (rows_, *columns, samples_)

    def marks(self, const uint32_t[::1] cells):
        """Return (datapoints since `settle`, its mark) of each cell.

        In a STAYS row the mark is the start of the interval before the one of the last change.
        """
        cdef Py_ssize_t i, n = cells.shape[0]
        fresh_, marks_ = np.empty(n, np.uint32), np.empty(n)
        cdef uint32_t[::1] fresh = fresh_
        cdef double[::1] marks = marks_
        cdef bk_cell* c
        for i in range(n):
            c = self.cell(cells[i])
            fresh[i] = c.fresh
            marks[i] = c.mark
        return fresh_, marks_

    def settle(self, const uint32_t[::1] cells, const double[::1] marks):
        """Note that cells were told, at `marks`; return how many datapoints were told for the first time."""
        cdef Py_ssize_t i
        cdef uint64_t points = 0
        cdef bk_cell* c
        if marks.shape[0] != cells.shape[0]:
            raise ValueError("columns of different lengths")
        for i in range(cells.shape[0]):
            c = self.cell(cells[i])
            points += c.fresh
            c.fresh = 0
            if not self.t.rows[c.row].kind & BK_STAYS:
                c.mark = marks[i]
        return points

    def free(self, const uint32_t[::1] cells):
        """Let go of `cells`; return how many datapoints of them were never told."""
        cdef Py_ssize_t i
        cdef uint64_t points = 0
        for i in range(cells.shape[0]):
            points += self.cell(cells[i]).fresh
            bk_free_cell(self.t, cells[i])
        return points

    def close(self, const uint32_t[::1] rows, const double[::1] until):
        """Let what belongs into intervals that start before `until` (one per row) be late from now on."""
        cdef Py_ssize_t i
        if until.shape[0] != rows.shape[0]:
            raise ValueError("columns of different lengths")
        for i in range(rows.shape[0]):
            if rows[i] < self.t.n_rows and until[i] > self.t.rows[rows[i]].closed:
                self.t.rows[rows[i]].closed = until[i]

    def drop(self, const uint32_t[::1] rows):
        """Forget rows and their cells; return how many datapoints were never told."""
        cdef Py_ssize_t i
        lost = self.free(self.cells_of(rows))
        for i in range(rows.shape[0]):
            if rows[i] < self.t.n_rows:
                self.t.rows[rows[i]].kind = 0
                self.t.rows[rows[i]].closed = -INFINITY
        return lost

    def holds(self, const uint32_t[::1] rows):
        """Return True where a row has cells."""
        cdef Py_ssize_t i
        found = np.zeros(rows.shape[0], np.bool_)
        cdef uint8_t[::1] out = found.view(np.uint8)
        for i in range(rows.shape[0]):
            out[i] = rows[i] < self.t.n_rows and self.t.rows[rows[i]].head != BK_NIL
        return found

    cdef int sort(self, uint32_t place) except -1:
        cdef bk_cell* c = self.cell(place)
        cdef void* more = c.more
        cdef int good
        if not self.t.rows[c.row].kind & BK_KEPT:
            c.more = NULL
        good = bk_sort_items(self.t, c)
        c.more = more
        if not good:
            raise MemoryError
        return 0

    def quantiles(self, const uint32_t[::1] cells, double q, bint interpolate):
        """Return the value at `q` (0 to 1) of the values kept: between the ranks around q*(n-1), or at ceil(q*n)."""
        cdef Py_ssize_t i, n = cells.shape[0]
        found = np.empty(n)
        cdef double[::1] out = found
        for i in range(n):
            self.sort(cells[i])
            out[i] = bk_quantile(self.t, q, interpolate)
        return found

    def spread(self, const uint32_t[::1] cells, const double[::1] thresholds):
        """Return a row per cell about the values kept.

        For each threshold (percent; below 0: of the greatest) how many values are within, their mean, boundary, sum
        and sum of squares (NaN where none is); then deviation, sum, sum of squares, mean and median of all.
        """
        cdef Py_ssize_t i, n = cells.shape[0], many = thresholds.shape[0]
        found = np.empty((n, 5 * many + OWN))
        cdef double[:, ::1] out = found
        for i in range(n):
            self.sort(cells[i])
            bk_spread(self.t, &thresholds[0] if many else NULL, many, &out[i, 0])
        return found

    def bins(self, const uint32_t[::1] cells, const double[::1] limits):
        """Return a row per cell: how many values are below each of the ascending `limits`, not below the one before."""
        cdef Py_ssize_t i, n = cells.shape[0], many = limits.shape[0]
        found = np.zeros((n, many))
        cdef double[:, ::1] out = found
        for i in range(n if many else 0):
            self.sort(cells[i])
            bk_bins(self.t, &limits[0], many, &out[i, 0])
        return found

    def values(self, const uint32_t[::1] cells):
        """Return (n + 1 offsets, the values that are kept): in order of arrival while they are exact."""
        cdef Py_ssize_t i, n = cells.shape[0]
        cdef uint64_t total = 0
        cdef uint32_t h
        cdef bk_items* items
        offsets_ = np.zeros(n + 1, np.uint64)
        cdef uint64_t[::1] offsets = offsets_
        for i in range(n):
            items = self.items(cells[i])
            if items is not NULL:
                total += items.n
                if items.upper is not NULL:
                    for h in range(items.upper.levels):
                        total += items.upper.filled[h]
            offsets[i + 1] = total
        found = np.empty(total)
        cdef double[::1] out = found
        cdef uint64_t at = 0
        for i in range(n):
            items = self.items(cells[i])
            if items is not NULL and offsets[i + 1] > offsets[i]:
                at = offsets[i]
                if items.n:
                    memcpy(&out[at], items.at, 8 * items.n)
                at += items.n
                if items.upper is not NULL:
                    for h in range(items.upper.levels):
                        if items.upper.filled[h]:
                            memcpy(&out[at], items.upper.up[h], 8 * items.upper.filled[h])
                        at += items.upper.filled[h]
        return offsets_, found

    cdef bk_items* items(self, uint32_t place) except? NULL:
        cdef bk_cell* c = self.cell(place)
        return <bk_items*>c.more if self.t.rows[c.row].kind & BK_KEPT else NULL

    def members(self, const uint32_t[::1] cells):
        """Return how many members each set has: exactly, or an estimate by registers."""
        cdef Py_ssize_t i, n = cells.shape[0]
        cdef bk_cell* c
        found = np.zeros(n)
        cdef double[::1] out = found
        for i in range(n):
            c = self.cell(cells[i])
            if self.t.rows[c.row].kind & 8:
                out[i] = bk_members(self.t, c)
        return found
