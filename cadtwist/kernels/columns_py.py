"""Questions about columns by id: the readable twin of `columns.pyx`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["all_are", "all_set"]

Ids = npt.NDArray[np.uint32]


def all_are(numbers: Ids | npt.NDArray[np.uint16], ids: Ids, wanted: int) -> bool:
    """Return whether `numbers[id] == wanted` (u16 or u32) for every id; an id beyond the end is not."""
    try:
        return bool((numbers[ids] == wanted).all())
    except IndexError:
        return False


def all_set(flags: npt.NDArray[np.uint8], ids: Ids) -> bool:
    """Return whether `flags[id]` is not zero for every id; an id beyond the end is not."""
    try:
        return bool(flags[ids].all())
    except IndexError:
        return False
