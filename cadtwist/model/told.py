"""What a flush of statsd says of some series."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Ids

__all__ = ["Told"]


class Told(NamedTuple):
    """Values told together, lent for the call: `values[i, j]` is field `fields[j]` of the series `ids[i]`.

    NaN is not told.  Of a timer, a field without a name is not told either; of other kinds it is the value itself.
    Series of one kind and group have the same fields.
    """

    kind: str
    group: int
    fields: tuple[str, ...]
    ids: Ids
    values: npt.NDArray[np.float64]
