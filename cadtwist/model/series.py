"""What a store answers: equally spaced values of one metric."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from msgspec import Struct

__all__ = ["Series"]


class Series(Struct, frozen=True, eq=False, gc=False):
    """Values of metric `name` at `start`, `start + step` ... before `end` (epoch seconds).

    `values` is float64, NaN where nothing is known.  `consolidation` is the method (a name of
    `cadtwist.model.consolidation.METHODS`) by which the store combines in time, `xff` the share of known points that
    it asks for.
    """

    name: str
    start: int
    end: int
    step: int
    values: npt.NDArray[np.float64]
    consolidation: str = "average"
    xff: float = 0.5

    def __len__(self) -> int:
        return len(self.values)
