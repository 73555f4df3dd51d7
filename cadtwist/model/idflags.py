"""One flag for each metric id: what has been seen, named or told already."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.active import columns
from cadtwist.model.batch import Ids

__all__ = ["IdFlags", "distinct"]


def distinct(ids: Ids) -> Ids:
    """Return `ids` in order, each once.

    `numpy.unique` imports modules when it is called first: without a free descriptor it fails, and the Batch is lost.
    """
    ordered = np.sort(ids)
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


class IdFlags:
    """Flags by id, one byte each, none set at first; grows with the ids it is asked about.  Reactor thread."""

    def __init__(self) -> None:
        self._flags: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)

    def unset(self, ids: Ids) -> Ids | None:
        """Return those of `ids` that are not set, in order, each once; None, in one pass, when all are set."""
        if columns.all_set(self._flags, ids):
            return None
        needed = int(ids.max()) + 1
        if len(self._flags) < needed:
            grown = np.zeros(needed + needed // 4, np.uint8)
            grown[: len(self._flags)] = self._flags
            self._flags = grown
        return distinct(ids[self._flags[ids] == 0])

    def set(self, ids: Ids) -> None:
        """Set the flags of ids that `unset` was asked about."""
        self._flags[ids] = 1

    def forget(self, ids: Ids) -> None:
        """Take the flags of `ids` away: each may come back as another metric."""
        self._flags[ids[ids < len(self._flags)]] = 0

    def clear(self) -> None:
        """Take all flags away."""
        self._flags.fill(0)
