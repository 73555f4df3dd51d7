"""How often each metric id is pointed at, so that none is recycled while somebody needs it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Ids

__all__ = ["IdUses"]


class IdUses:
    """Counts uses by id, four bytes each; grows with the ids that are used.  Reactor thread."""

    def __init__(self) -> None:
        self._counts: npt.NDArray[np.uint32] = np.zeros(0, np.uint32)

    def add(self, ids: Ids | Sequence[int]) -> None:
        """Count one more use of each; an id may come several times."""
        if not len(ids):
            return
        needed = int(np.max(ids)) + 1
        if needed > len(self._counts):
            grown = np.zeros(needed + needed // 4, np.uint32)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        np.add.at(self._counts, ids, 1)

    def remove(self, ids: Ids) -> None:
        """Take one use away from each, all of which have some."""
        np.subtract.at(self._counts, ids, 1)

    def used(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return where an id has uses."""
        mask = np.zeros(len(ids), np.bool_)
        inside = ids < len(self._counts)
        mask[inside] = self._counts[ids[inside]] > 0
        return mask

    def of(self, number: int) -> int:
        """Return how many uses an id has that was used at some time."""
        return int(self._counts[number])

    def each(self) -> Ids:
        """Return each id as often as it is used, in order."""
        return np.repeat(np.arange(len(self._counts), dtype=np.uint32), self._counts)
