"""What has been decided about each metric: one number by id, so that Python decides once and NumPy carries it out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.active import columns
from cadtwist.model.batch import Ids
from cadtwist.model.idflags import distinct

__all__ = ["FIRST_ROW", "PASS", "UNKNOWN", "Decisions", "Numbers"]

Numbers = npt.NDArray[np.int32]

UNKNOWN = 0
"""Nobody has asked about that id yet."""

PASS = 1
"""The datapoint goes on untouched."""

FIRST_ROW = 2
"""Decisions from here on are rows of a `FanTable`; those below 0 are drops, -1 - the number of the reason."""

_LARGEST_SMALL = 0x7FFF


class Decisions:
    """Decisions by id.  `decide(id)` is asked the first time that an id is looked up, and after `forget`.

    It may answer UNKNOWN to be asked again.  2 bytes per id while the numbers are small, else 4.
    `all_pass(ids)` is asked first: it may know at once that all of them PASS.  Reactor thread.
    """

    def __init__(
        self,
        decide: Callable[[int], int],
        all_pass: Callable[[Ids], bool] = lambda _: False,
    ) -> None:
        self._decide = decide
        self._all_pass = all_pass
        self._numbers: npt.NDArray[np.int32] | npt.NDArray[np.int16] = np.zeros(0, np.int16)

    @property
    def numbers(self) -> npt.NDArray[np.int32] | npt.NDArray[np.int16]:
        """All decisions by id, for kernels; valid until something is decided."""
        return self._numbers

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
            self._ask(distinct(ids[found == UNKNOWN]))
            found = self._numbers[ids]
        return found.astype(np.int32, copy=False)

    def _ask(self, unknown: Ids) -> None:
        if self._all_pass(unknown):
            self._numbers[unknown] = PASS
            return
        numbers = np.array([self._decide(number) for number in unknown.tolist()], np.int32)
        if self._numbers.dtype == np.int16 and int(numbers.max()) > _LARGEST_SMALL:
            self._numbers = self._numbers.astype(np.int32)
        self._numbers[unknown] = numbers

    def all_are(self, ids: Ids, decision: int) -> bool:
        """Return whether `decision` (0 or more) is known of every id: the usual case, in one pass."""
        if self._numbers.dtype == np.int16:
            return columns.all_are(self._numbers.view(np.uint16), ids, decision)
        return columns.all_are(self._numbers.view(np.uint32), ids, decision)

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
        numbers = np.zeros(capacity + capacity // 4 + 1024, self._numbers.dtype)
        numbers[: len(self._numbers)] = self._numbers
        self._numbers = numbers
