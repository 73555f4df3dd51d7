"""Decisions of a stage: those of the model, and the table of targets to which some of them point."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Ids
from cadtwist.model.decisions import FIRST_ROW, PASS, UNKNOWN, Decisions, Numbers
from cadtwist.model.iduses import IdUses

__all__ = ["FIRST_ROW", "PASS", "UNKNOWN", "Decisions", "FanTable", "Numbers"]


class FanTable:
    """Lists of target ids in one growing array: a row is its length and then its ids, known by its position.

    Counts how many rows point at each target, so that no target is recycled while a row needs it.
    """

    def __init__(self) -> None:
        self._cells: Ids = np.zeros(256, np.uint32)
        self._end = 0
        self._free: dict[int, list[int]] = {}
        self._uses = IdUses()

    def add(self, targets: list[int]) -> int:
        """Keep a row of targets; return its position."""
        size = len(targets) + 1
        free = self._free.get(size)
        if free:
            row = free.pop()
        else:
            row, self._end = self._end, self._end + size
            if self._end > len(self._cells):
                self._cells = np.concatenate((self._cells, np.zeros(self._end // 2, np.uint32)))
        self._cells[row] = len(targets)
        self._cells[row + 1 : row + size] = targets
        self._uses.add(targets)
        return row

    def targets(self, row: int) -> Ids:
        """Return the targets of a row."""
        return self._cells[row + 1 : row + 1 + int(self._cells[row])]

    def remove(self, row: int) -> None:
        """Drop a row."""
        targets = self.targets(row)
        self._uses.remove(targets)
        self._free.setdefault(len(targets) + 1, []).append(row)

    def only_targets(self, rows: Numbers) -> Ids | None:
        """Return the target of each row where all have just one, else None."""
        return self._cells[rows + 1] if (self._cells[rows] == 1).all() else None

    def first_targets(self, rows: Numbers) -> Ids:
        """Return the first target of each row."""
        return self._cells[rows + 1]

    def all_targets(self) -> Ids:
        """Return each target as often as a row has it."""
        return self._uses.each()

    def used(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return where an id is a target of some row."""
        return self._uses.used(ids)

    def used_by_others(self, ids: Ids, rows: Numbers) -> npt.NDArray[np.bool_]:
        """Return where an id is a target of some row that is not its own; `rows[i]` is that one, negative for none."""
        mask = self.used(ids)
        for at in np.flatnonzero(mask & (rows >= 0)).tolist():
            own = int(np.count_nonzero(self.targets(rows[at]) == ids[at]))
            mask[at] = self._uses.of(ids[at]) > own
        return mask

    def spread(self, ids: Ids, rows: Numbers) -> tuple[npt.NDArray[np.intp], Ids]:
        """Return (positions, ids) of what `ids` become; `rows[i]` is a row, or negative where ids[i] stays as it is.

        Order is kept: all targets of a position stand together, in the row's order.
        """
        fanned = rows >= 0
        counts = np.ones(len(ids), np.intp)
        counts[fanned] = self._cells[rows[fanned]]
        positions = np.repeat(np.arange(len(ids)), counts)
        becomes = ids[positions]
        within = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
        moved = fanned[positions]
        becomes[moved] = self._cells[rows[positions[moved]] + 1 + within[moved]]
        return positions, becomes
