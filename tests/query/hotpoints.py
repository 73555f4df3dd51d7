"""Points that wait in memory, as `PointStore.peek_within` tells of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import NO_ID, Ids
from cadtwist.query.owner import HotPoints

__all__ = ["every_has", "held"]

Floats = npt.NDArray[np.float64]
Points = Sequence[tuple[float, float]]


def held(of: Callable[[int], Points]) -> HotPoints:
    """Let `of(id)` tell the points of a metric."""

    def hot(ids: Ids, slacks: Floats, start: float, end: float) -> tuple[Ids, Floats, Floats]:
        rows = [
            [point for point in of(number) if start - slack <= point[0] <= end + slack] if number != NO_ID else []
            for number, slack in zip(ids.tolist(), slacks.tolist(), strict=True)
        ]
        flat = np.array([point for row in rows for point in row], np.float64).reshape(-1, 2)
        offsets = np.cumsum([0, *map(len, rows)]).astype(np.uint32)
        return offsets, np.ascontiguousarray(flat[:, 0]), np.ascontiguousarray(flat[:, 1])

    return hot


def every_has(*points: tuple[float, float]) -> HotPoints:
    """Let every metric have the same points."""
    return held(lambda _: points)
