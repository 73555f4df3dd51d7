"""The outputs of a window: a row for each, with its beat, and the open cells behind it.

Two windows may share them while one replaces the other.  A row lives while a decision leads to it or a cell of it is
open; its metric id is claimed as long.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cadtwist.kernels import active
from cadtwist.kernels.bucketkinds import KEPT, PLAIN
from cadtwist.model.batch import Batch, Floats, Ids
from cadtwist.model.idflags import distinct
from cadtwist.model.opencells import OpenCells
from cadtwist.model.summary import SummaryBatch

__all__ = ["METHODS", "Outputs"]

METHODS = ("sum", "avg", "min", "max", "count", "last", "p50", "p75", "p80", "p90", "p95", "p99", "p999")
"""How the values of an interval become one; a method's number is its place."""

_FIRST_PERCENTILE = METHODS.index("p50")
_NONE = -1
_Item = TypeVar("_Item", bound=np.generic)


class Outputs:
    """Rows by number: metric id, frequency (s), method, beat (s) and when the row is due.  Reactor thread."""

    def __init__(self, kept: int = 0, max_bytes: int = 0) -> None:
        self.buckets = active.buckets.Buckets(kept, 0, max_bytes)
        self.generation = 0
        self.ids: Ids = np.zeros(0, np.uint32)
        self.frequencies: Floats = np.zeros(0)
        self.beats: Floats = np.zeros(0)
        self.due: Floats = np.zeros(0)
        self.uses: npt.NDArray[np.uint32] = np.zeros(0, np.uint32)
        self.first_due = math.inf
        self._methods: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._made_by: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._next: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._row_of: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self._free: list[int] = []
        self._high = 0

    def __len__(self) -> int:
        """Return how many rows live."""
        return self._high - len(self._free)

    def row(self, number: int, frequency: float, method: str, beat_s: float) -> int:
        """Return the row of the metric `number`: one of this generation, one of the same settings, or a new one."""
        code = METHODS.index(method)
        same = _NONE
        row = int(self._row_of[number]) if number < len(self._row_of) else _NONE
        while row != _NONE:
            if self._made_by[row] == self.generation:
                return row
            if self.frequencies[row] == frequency and self._methods[row] == code:
                same = row
            row = int(self._next[row])
        if same == _NONE:
            same = self._new(number, frequency, code)
        self._made_by[same] = self.generation
        self.beats[same] = beat_s
        return same

    def claimed(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return where an id has a row."""
        mask = np.zeros(len(ids), np.bool_)
        inside = ids < len(self._row_of)
        mask[inside] = self._row_of[ids[inside]] != _NONE
        return mask

    def alone(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return where an id that has a row has no other."""
        alone: npt.NDArray[np.bool_] = self._next[self._row_of[ids]] == _NONE
        return alone

    def begin(self, rows: Ids, now: float, after_s: float | None) -> None:
        """Set when rows are due that have just got their first cell.

        `after_s` after a multiple of their beat; None: a beat from now.
        """
        waiting = rows[self.due[rows] == math.inf]
        if len(waiting):
            waiting = waiting[self.buckets.holds(waiting)]
            beats = self.beats[waiting]
            due = now + beats if after_s is None else (np.floor((now - after_s) / beats) + 1) * beats + after_s
            self.due[waiting] = due
            self.first_due = min(self.first_due, float(due.min(initial=math.inf)))

    def due_rows(self, now: float) -> Ids:
        """Return the rows that are due at `now`."""
        return np.flatnonzero(self.due[: self._high] <= now).astype(np.uint32)

    def rest(self, rows: Ids, now: float, keep: bool = False) -> None:
        """Set when rows that were told are due again: never while they have no cell, unless used ones are to `keep`."""
        open_ = self.buckets.holds(rows)
        if keep:
            open_ |= self.uses[rows] > 0
        beats = self.beats[rows]
        late = np.floor((now - self.due[rows]) / beats) + 1
        self.due[rows] = np.where(open_, self.due[rows] + late * beats, math.inf)
        for row in rows[~open_ & (self.uses[rows] == 0)].tolist():
            self._let_go(row)

    def settle_due(self) -> None:
        """Find out anew when the first row is due."""
        self.first_due = float(self.due[: self._high].min(initial=math.inf))

    def use(self, rows: list[int]) -> None:
        """Count decisions that lead to rows."""
        np.add.at(self.uses, rows, 1)

    def leave(self, rows: Ids) -> None:
        """Count decisions no longer; a row without any, and without cells, goes."""
        np.subtract.at(self.uses, rows, 1)
        unused = rows[self.uses[rows] == 0]
        for row in dict.fromkeys(unused[~self.buckets.holds(unused)].tolist()):
            self._let_go(row)

    def values(self, cells: Ids) -> tuple[Ids, Floats, Floats]:
        """Return (rows, starts of their intervals, values by the rows' methods) of cells."""
        rows, starts, _, sums, _, minima, maxima, _, lasts, samples = self.buckets.read(cells)
        codes = self._methods[rows]
        plain = (sums, sums / samples, minima, maxima, samples.astype(np.float64), lasts)
        found = np.zeros(len(cells))
        for code in np.flatnonzero(np.bincount(codes)).tolist():
            where = codes == code
            if code < _FIRST_PERCENTILE:
                found[where] = plain[code][where]
            else:
                q = float("0." + METHODS[code][1:])
                found[where] = self.buckets.quantiles(cells[where], q, True)
        return rows, starts, found

    def summaries(self, cells: Ids) -> SummaryBatch:
        """Return what cells hold, by the metric ids of their rows."""
        rows, starts, counts, sums, sumsqs, minima, maxima, firsts, lasts, _ = self.buckets.read(cells)
        return SummaryBatch(self.ids[rows], starts, counts, sums, sumsqs, minima, maxima, firsts, lasts)

    @property
    def rows(self) -> int:
        """Rows have numbers below this one."""
        return self._high

    def open_cells(self, first: int, count: int) -> tuple[OpenCells, Batch]:
        """Return the outputs of the rows `first` to `first + count`, what is open of them, and values of percentiles.

        The Batch has the ids of outputs, the starts of intervals, and values in order of arrival.
        """
        rows = np.arange(first, min(first + count, self._high), dtype=np.uint32)
        rows = rows[(self.uses[rows] > 0) | self.buckets.holds(rows)]
        keeping = self._methods[rows] >= _FIRST_PERCENTILE
        owners, starts, *columns, samples = self.buckets.read(self.buckets.cells_of(rows[~keeping]))
        cells = self.buckets.cells_of(rows[keeping])
        kept_rows, kept_starts = self.buckets.read(cells)[:2]
        offsets, values = self.buckets.values(cells)
        sizes = np.diff(offsets).astype(np.intp)
        rest = rows[~np.isin(rows, owners)]
        counts = np.bincount(kept_rows, sizes, self._high)[rest] if len(rest) else np.zeros(0)
        every, missing = np.concatenate((owners, rest)), np.full(len(rest), math.nan)
        found = OpenCells(
            self.ids[every], self.frequencies[every], self._methods[every].astype(np.float64),
            np.concatenate((starts, missing)), np.concatenate((samples.astype(np.float64), counts)),
            tuple(np.concatenate((column, missing)) for column in columns),
        )  # fmt: skip
        owned = np.repeat(self.ids[kept_rows], sizes)
        return found, Batch(owned, np.repeat(kept_starts, sizes), values)

    def restore(self, found: OpenCells, beats: Callable[[float], float], now: float) -> tuple[int, int]:
        """Let outputs have these cells and no others; `beats` of frequencies are in seconds.

        Returns how many datapoints they lost, and how many they got.  What an output of other settings had is gone.
        """
        has_cell = ~np.isnan(found.starts)
        wanted = has_cell | (found.samples > 0) | self.claimed(found.ids)
        rows = np.zeros(len(found.ids), np.uint32)
        for place in np.flatnonzero(wanted).tolist():
            frequency, method = float(found.frequencies[place]), METHODS[int(found.methods[place])]
            row = rows[place] = self.row(int(found.ids[place]), frequency, method, beats(frequency))
            wanted[place] = self.frequencies[row] == frequency and self._methods[row] == found.methods[place]
        mine = distinct(rows[wanted])
        lost = self.buckets.free(self.buckets.cells_of(mine))
        here = has_cell & wanted
        columns = [column[here] for column in found.summaries]
        counts, sums, sumsqs, minima, maxima, firsts, lasts = columns
        self.buckets.merge(
            rows[here], found.starts[here], counts, sums, sumsqs, minima, maxima, firsts, lasts,
            found.samples[here].astype(np.uint64),
        )  # fmt: skip
        self.begin(mine, now, None)
        return lost, int(self.buckets.marks(self.buckets.cells_of(mine))[0].sum())

    def restore_values(self, found: Batch, now: float) -> int:
        """Put values back into the cells of their outputs, where these are percentiles; return how many."""
        here = self.claimed(found.ids)
        rows = self._row_of[found.ids[here]].astype(np.uint32)
        keeping = self._methods[rows] >= _FIRST_PERCENTILE
        rows = rows[keeping]
        late, refused = self.buckets.add(rows, found.timestamps[here][keeping], found.values[here][keeping])
        self.begin(distinct(rows), now, None)
        return len(rows) - late - refused

    def _new(self, number: int, frequency: float, code: int) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row, self._high = self._high, self._high + 1
            if row >= len(self.ids):
                self._grow(row + 1)
        if number >= len(self._row_of):
            self._row_of = _longer(self._row_of, number + 1, _NONE)
        self.ids[row], self.frequencies[row], self._methods[row] = number, frequency, code
        self.due[row], self.uses[row] = math.inf, 0
        self._next[row], self._row_of[number] = self._row_of[number], row
        self.buckets.define(row, frequency, PLAIN | KEPT if code >= _FIRST_PERCENTILE else PLAIN)
        return row

    def _let_go(self, row: int) -> None:
        number = int(self.ids[row])
        self.buckets.drop(np.array([row], np.uint32))
        at = int(self._row_of[number])
        if at == row:
            self._row_of[number] = self._next[row]
        else:
            while self._next[at] != row:
                at = int(self._next[at])
            self._next[at] = self._next[row]
        self.due[row], self._made_by[row] = math.inf, _NONE
        self._free.append(row)

    def _grow(self, needed: int) -> None:
        self.ids, self.uses = _longer(self.ids, needed, 0), _longer(self.uses, needed, 0)
        self.frequencies, self.beats = _longer(self.frequencies, needed, 1), _longer(self.beats, needed, 1)
        self.due, self._methods = _longer(self.due, needed, math.inf), _longer(self._methods, needed, 0)
        self._made_by, self._next = _longer(self._made_by, needed, _NONE), _longer(self._next, needed, _NONE)


def _longer(array: npt.NDArray[_Item], needed: int, fill: float) -> npt.NDArray[_Item]:
    longer = np.full(needed + needed // 4 + 64, fill, array.dtype)
    longer[: len(array)] = array
    return longer
