"""Questions about columns by id: the readable twin of `columns.pyx`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["all_are", "all_set", "lay_over"]

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]


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


def lay_over(values: Floats, start: int, step: int, timestamps: Floats, points: Floats) -> bool:
    """Put points into the slots of their times, `values[i]` being that of [start + i * step, start + (i + 1) * step).

    Of several in one slot the last one counts; points beside all slots are left out.  False, and nothing is done,
    where the timestamps do not ascend.
    """
    if len(points) != len(timestamps) or step < 1:
        raise ValueError("as many points as timestamps, and a step, are needed")
    if not (timestamps[1:] >= timestamps[:-1]).all():
        return False
    inside = (timestamps >= start) & (timestamps < start + len(values) * step)
    rows = (np.floor(timestamps[inside]).astype(np.int64) - start) // step
    for row, point in zip(rows.tolist(), points[inside].tolist(), strict=True):
        if 0 <= row < len(values):  # of times that float64 cannot tell apart it may be one beside the ends
            values[row] = point
    return True
