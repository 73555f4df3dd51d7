"""What has been decided about each metric: one int32 by id, so that Python decides once and NumPy carries it out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Ids

__all__ = ["FIRST_ROW", "PASS", "UNKNOWN", "Decisions", "FanTable", "Numbers"]

Numbers = npt.NDArray[np.int32]

UNKNOWN = 0
"""Nobody has asked about that id yet."""

PASS = 1
"""The datapoint goes on untouched."""

FIRST_ROW = 2
"""Decisions from here on are rows of a `FanTable`; those below 0 are drops, -1 - the number of the reason."""


class Decisions:
    """Decisions by id.  `decide(id)` is asked the first time that an id is looked up, and after `forget`.

    It may answer UNKNOWN to be asked again.  4 bytes per id.  Reactor thread.
    """

    def __init__(self, decide: Callable[[int], int]) -> None:
        self._decide = decide
        self._numbers: Numbers = np.zeros(1024, np.int32)

    def lookup(self, ids: Ids) -> Numbers:
        """Return the decision of each id (a new array)."""
        if len(ids) == 0:
            return np.zeros(0, np.int32)
        try:
            found = self._numbers[ids]
        except IndexError:
            self._grow(int(ids.max()) + 1)
            found = self._numbers[ids]
        if not found.all():
            unknown = np.unique(ids[found == UNKNOWN])
            self._numbers[unknown] = [self._decide(number) for number in unknown.tolist()]
            found = self._numbers[ids]
        return found

    def known(self, ids: Ids) -> Numbers:
        """Return the decisions without asking anybody: UNKNOWN where there is none."""
        found = np.zeros(len(ids), np.int32)
        inside = ids < len(self._numbers)
        found[inside] = self._numbers[ids[inside]]
        return found

    def forget(self, ids: Ids) -> None:
        """Make the ids unknown again."""
        self._numbers[ids[ids < len(self._numbers)]] = UNKNOWN

    def prime(self, ids: Ids, budget: int) -> int:
        """Decide up to `budget` unknown ids in advance; return how many of `ids` are unknown after that."""
        unknown = ids[self.known(ids) == UNKNOWN]
        self.lookup(unknown[:budget])
        return max(0, len(unknown) - budget)

    def _grow(self, capacity: int) -> None:
        numbers = np.zeros(capacity + capacity // 4 + 1024, np.int32)
        numbers[: len(self._numbers)] = self._numbers
        self._numbers = numbers


class FanTable:
    """Lists of target ids in one growing array: a row is its length and then its ids, known by its position.

    Counts how many rows point at each target, so that no target is recycled while a row needs it.
    """

    def __init__(self) -> None:
        self._cells: Ids = np.zeros(256, np.uint32)
        self._end = 0
        self._free: dict[int, list[int]] = {}
        self._uses: npt.NDArray[np.uint32] = np.zeros(0, np.uint32)

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
        high = max(targets)
        if high >= len(self._uses):
            missing = np.zeros(high + 1 + high // 4 - len(self._uses), np.uint32)
            self._uses = np.concatenate((self._uses, missing))
        np.add.at(self._uses, targets, 1)
        return row

    def targets(self, row: int) -> Ids:
        """Return the targets of a row."""
        return self._cells[row + 1 : row + 1 + int(self._cells[row])]

    def remove(self, row: int) -> None:
        """Drop a row."""
        targets = self.targets(row)
        np.subtract.at(self._uses, targets, 1)
        self._free.setdefault(len(targets) + 1, []).append(row)

    def used(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return where an id is a target of some row."""
        mask = np.zeros(len(ids), np.bool_)
        inside = ids < len(self._uses)
        mask[inside] = self._uses[ids[inside]] > 0
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
