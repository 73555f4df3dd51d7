"""Many datapoints made few: open cells by output row and aligned interval: the readable twin and reference.

A cell is begun by its first datapoint and lives until `free`.  Kernels on shared state: callers hold the GIL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.bucketkinds import CELL_BYTES, KEPT, LEVEL, MEMBERS, SCALED, SPREAD_OWN, STAYS
from cadtwist.kernels.cardinality import Members
from cadtwist.kernels.ranks import Items, Sorted

__all__ = ["Buckets"]

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint64]
Read = tuple[Ids, Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats, Counts]
NAN, INF = math.nan, math.inf


@dataclass(slots=True)
class _Row:
    step: float
    kind: int
    closed: float = -INF
    cells: dict[float, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Cell:
    row: int
    start: float
    count: float = 0.0
    sum: float = 0.0
    sumsq: float = 0.0
    min: float = INF
    max: float = -INF
    first: float = NAN
    last: float = 0.0
    mark: float = -INF
    n: int = 0
    fresh: int = 0
    items: Items | None = None
    members: Members | None = None


def _start(step: float, stamp: float) -> float:
    """Return the start of the interval that `stamp` lies in; NaN where it is no time."""
    if not math.isfinite(stamp):
        return NAN
    return stamp - stamp % step if step else stamp


class Buckets:
    """Cells of rows.

    `kept` values of a KEPT cell are exact, more make a sketch (0: all are exact); sets of more than EXACT_MEMBERS use
    2**`precision` registers (0: exact); `max_bytes` bounds `bytes` (0: unbounded).
    """

    def __init__(self, kept: int = 0, precision: int = 0, max_bytes: int = 0) -> None:
        if (kept and (kept < 8 or kept % 2)) or not (precision == 0 or 4 <= precision <= 18):
            raise ValueError("kept is 0 or an even number from 8 on, precision 0 or from 4 to 18")
        self._kept, self._precision, self._max_bytes = kept, precision, max_bytes
        self._rows: dict[int, _Row] = {}
        self._cells: dict[int, _Cell] = {}
        self._free: list[int] = []
        self._bytes = 0

    @property
    def cells(self) -> int:
        """Open cells."""
        return len(self._cells)

    @property
    def bytes(self) -> int:
        """The memory of cells, values and members (an estimate in this twin)."""
        return self._bytes

    def define(self, row: int, step: float, kind: int) -> None:
        """Say what `row` keeps and the length of its intervals (seconds, 0: each timestamp has its own); cells stay.

        ValueError where open cells hold something else.
        """
        known = self._rows.get(row)
        if known and known.cells and known.kind != kind:
            raise ValueError("the row has cells of another kind")
        self._rows[row] = _Row(step, kind, *((known.closed, known.cells) if known else ()))

    def add(self, rows: Ids, times: Floats | float, values: Floats, weights: Floats | None = None) -> tuple[int, int]:
        """Take datapoints in order; return how many came (late, refused).

        `times` are timestamps, or one for all: each datapoint goes into the interval that it lies in, or, in a row
        without a step, into the one that starts then.  Late is what belongs before `close`.  Refused: undefined
        rows, values or times that are no number, and what would exceed `max_bytes`.
        """
        if not len(rows) == len(values) == (len(rows) if weights is None else len(weights)):
            raise ValueError("columns of different lengths")
        stamps = [float(times)] * len(rows) if isinstance(times, float | int) else times.tolist()
        hashes = values.view(np.uint64).tolist()
        factors = [1.0] * len(rows) if weights is None else weights.tolist()
        late = refused = 0
        for number, stamp, value, bits, weight in zip(
            rows.tolist(), stamps, values.tolist(), hashes, factors, strict=True
        ):
            row = self._rows.get(number)
            if row is None or not row.kind or (value != value and not row.kind & MEMBERS):
                refused += 1
                continue
            start = _start(row.step, stamp)
            if start < row.closed:
                late += 1
                continue
            cell = None if start != start else self._cell(number, row, start)
            if cell is None:
                refused += 1
            elif row.kind & MEMBERS:
                self._add_member(cell, bits, weight)
            else:
                self._add_value(cell, row.kind, start, value, weight)
        return late, refused

    def _cell(self, number: int, row: _Row, start: float) -> _Cell | None:
        found = next(iter(row.cells.values()), None) if row.kind & STAYS else row.cells.get(start)
        full = self._max_bytes and self._bytes + CELL_BYTES > self._max_bytes
        if found is not None:
            return None if full and row.kind & (KEPT | MEMBERS) else self._cells[found]
        if full:
            return None
        cell = _Cell(number, start)
        if row.kind & KEPT:
            cell.items = Items(self._kept)
        row.cells[start] = place = self._free.pop() if self._free else len(self._cells)
        self._cells[place] = cell
        self._bytes += CELL_BYTES
        return cell

    def _add_member(self, cell: _Cell, bits: int, weight: float) -> None:
        if cell.members is None:
            cell.members = Members(self._precision)
        before = cell.members.bytes
        cell.members.add(bits)
        self._bytes += cell.members.bytes - before
        cell.n, cell.fresh, cell.count = cell.n + 1, cell.fresh + 1, cell.count + weight

    def _add_value(self, cell: _Cell, kind: int, start: float, value: float, weight: float) -> None:
        if kind & LEVEL:
            value = cell.last + value if weight == 0.0 else value
            weight = 1.0
            if kind & STAYS and start != cell.start:
                before, mark, n, fresh = cell.last, cell.start, cell.n, cell.fresh
                cell.count, cell.sum, cell.sumsq, cell.min, cell.max = 0.0, 0.0, 0.0, INF, -INF
                cell.first, cell.mark, cell.n, cell.fresh, cell.start = before, mark, n, fresh, start
        if not cell.n and not kind & STAYS:
            cell.first = value
        cell.n += 1
        cell.fresh += 1
        cell.count += weight
        cell.sum += value * weight if kind & SCALED else value
        cell.sumsq += value * value
        cell.min, cell.max, cell.last = min(cell.min, value), max(cell.max, value), value
        if cell.items is not None:
            held = cell.items.bytes
            cell.items.add(value)
            self._bytes += cell.items.bytes - held

    def merge(
        self, rows: Ids, times: Floats, counts: Floats, sums: Floats, sumsqs: Floats, minima: Floats, maxima: Floats,
        firsts: Floats | None = None, lasts: Floats | None = None, samples: Counts | None = None,
    ) -> tuple[int, int]:  # fmt: skip
        """Take summaries in order, as `add` takes datapoints; without firsts and lasts their means stand for them.

        `samples` says how many datapoints each is of (None: it counts as one).
        """
        late = refused = 0
        means = sums / np.where(counts > 0, counts, 1.0)
        columns = (rows, times, counts, sums, sumsqs, minima, maxima,
                   means if firsts is None else firsts, means if lasts is None else lasts,
                   np.ones(len(rows), np.uint64) if samples is None else samples)  # fmt: skip
        if len({len(column) for column in columns}) != 1:
            raise ValueError("columns of different lengths")
        for number, stamp, *summary in zip(*(column.tolist() for column in columns), strict=True):
            row = self._rows.get(number)
            if row is None or not row.kind or any(v != v for v in summary) or row.kind & (MEMBERS | STAYS | KEPT):
                refused += 1
                continue
            start = _start(row.step, stamp)
            if start < row.closed:
                late += 1
                continue
            cell = None if start != start else self._cell(number, row, start)
            if cell is None:
                refused += 1
                continue
            count, total, squares, low, high, first, last, points = summary
            if not cell.n:
                cell.first = first
            cell.n, cell.fresh = cell.n + points, cell.fresh + points
            cell.count, cell.sum, cell.sumsq = cell.count + count, cell.sum + total, cell.sumsq + squares
            cell.min, cell.max, cell.last = min(cell.min, low), max(cell.max, high), last
        return late, refused

    def rows_before(self, before: float) -> Ids:
        """Return the rows, ascending, that have a cell which starts before `before`."""
        found = {cell.row for cell in self._cells.values() if cell.start < before}
        return np.array(sorted(found), np.uint32)

    def cells_of(self, rows: Ids) -> Ids:
        """Return the cells of `rows`, row by row, by ascending start."""
        found = [sorted(self._rows[row].cells.items()) for row in rows.tolist() if row in self._rows]
        return np.array([place for cells in found for _, place in cells], np.uint32)

    def _each(self, cells: Ids) -> list[_Cell]:
        return [self._cells[place] for place in cells.tolist()]

    def read(self, cells: Ids) -> Read:
        """Return (rows, starts, counts, sums, sumsqs, minima, maxima, firsts, lasts, samples) of `cells`.

        `samples` are datapoints, `counts` the sum of their weights.  KeyError for a cell that is not open.
        """
        each = self._each(cells)
        rows = np.array([c.row for c in each], np.uint32)
        floats = [(c.start, c.count, c.sum, c.sumsq, c.min, c.max, c.first, c.last) for c in each]
        columns = np.array(floats, np.float64).reshape(len(each), 8).T.copy()
        start, count, total, squares, low, high, first, last = columns
        return rows, start, count, total, squares, low, high, first, last, np.array([c.n for c in each], np.uint64)

    def marks(self, cells: Ids) -> tuple[Ids, Floats]:
        """Return (datapoints since `settle`, its mark) of each cell.

        In a STAYS row the mark is the start of the interval before the one of the last change.
        """
        each = self._each(cells)
        return np.array([c.fresh for c in each], np.uint32), np.array([c.mark for c in each], np.float64)

    def settle(self, cells: Ids, marks: Floats) -> int:
        """Note that cells were told, at `marks`; return how many datapoints were told for the first time."""
        points = 0
        for cell, mark in zip(self._each(cells), marks.tolist(), strict=True):
            points, cell.fresh = points + cell.fresh, 0
            if not self._rows[cell.row].kind & STAYS:
                cell.mark = mark
        return points

    def free(self, cells: Ids) -> int:
        """Let go of `cells`; return how many datapoints of them were never told."""
        points = 0
        for place in cells.tolist():
            cell = self._cells.pop(place)
            self._rows[cell.row].cells = {s: p for s, p in self._rows[cell.row].cells.items() if p != place}
            self._free.append(place)
            points += cell.fresh
            self._bytes -= CELL_BYTES
            self._bytes -= cell.items.bytes if cell.items else cell.members.bytes if cell.members else 0
        return points

    def close(self, rows: Ids, until: Floats) -> None:
        """Let what belongs into intervals that start before `until` (one per row) be late from now on."""
        for row, end in zip(rows.tolist(), until.tolist(), strict=True):
            if row in self._rows:
                self._rows[row].closed = max(self._rows[row].closed, end)

    def drop(self, rows: Ids) -> int:
        """Forget rows and their cells; return how many datapoints were never told."""
        lost = self.free(self.cells_of(rows))
        for row in rows.tolist():
            self._rows.pop(row, None)
        return lost

    def holds(self, rows: Ids) -> npt.NDArray[np.bool_]:
        """Return True where a row has cells."""
        return np.array([bool(row in self._rows and self._rows[row].cells) for row in rows.tolist()], np.bool_)

    def _sorted(self, cells: Ids) -> list[Sorted | None]:
        return [None if c.items is None or not c.n else Sorted(c.items) for c in self._each(cells)]

    def quantiles(self, cells: Ids, q: float, interpolate: bool) -> Floats:
        """Return the value at `q` (0 to 1) of the values kept: between the ranks around q*(n-1), or at ceil(q*n)."""
        found = (None if s is None else s.between(q) if interpolate else s.nearest(q) for s in self._sorted(cells))
        return np.array([NAN if value is None else value for value in found], np.float64)

    def spread(self, cells: Ids, thresholds: Floats) -> Matrix:
        """Return a row per cell about the values kept.

        For each threshold (percent; below 0: of the greatest) how many values are within, their mean, boundary, sum
        and sum of squares (NaN where none is); then deviation, sum, sum of squares, mean and median of all.
        """
        out = np.full((len(cells), 5 * len(thresholds) + SPREAD_OWN), NAN)
        for i, values in enumerate(self._sorted(cells)):
            if values is not None:
                out[i] = values.spread(thresholds.tolist())
        return out

    def bins(self, cells: Ids, limits: Floats) -> Matrix:
        """Return a row per cell: how many values are below each of the ascending `limits`, not below the one before."""
        out = np.zeros((len(cells), len(limits)))
        for i, values in enumerate(self._sorted(cells)):
            if values is not None:
                out[i] = np.diff(list(accumulate((values.below(limit) for limit in limits.tolist()), max)), prepend=0)
        return out

    def values(self, cells: Ids) -> tuple[Counts, Floats]:
        """Return (n + 1 offsets, the values that are kept): in order of arrival while they are exact."""
        kept = [[] if cell.items is None else cell.items.all() for cell in self._each(cells)]
        offsets = np.zeros(len(kept) + 1, np.uint64)
        np.cumsum([len(each) for each in kept], out=offsets[1:])
        return offsets, np.array([value for each in kept for value in each], np.float64)

    def members(self, cells: Ids) -> Floats:
        """Return how many members each set has: exactly, or an estimate by registers."""
        return np.array([c.members.count() if c.members else 0.0 for c in self._each(cells)], np.float64)
