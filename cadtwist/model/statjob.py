"""What a writer of StatFiles gets to do: the samples of some counters, in the order of their arrival."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Floats, Ids

__all__ = ["SampleColumns", "Shift", "StatJob"]

SampleColumns = tuple[Floats, Floats, Floats, Floats, Floats, Floats]
"""Time, count, sum, sum of squares, smallest, greatest of samples."""


class Shift(IntEnum):
    """How far a job moves the open windows of its counters; numbers as the kernel's."""

    NONE = 0
    """Not at all: the job only makes room."""
    DUE = 1
    """As far as time asks."""
    ALL = 2
    """Events out altogether, as istatd's admin command `flush` does."""
    OUT = 3
    """Everything out: nothing is kept of the counters."""


@dataclass(frozen=True, slots=True)
class StatJob:
    """Counter i is `names[name_offsets[i]:name_offsets[i + 1]]` (munged), a new one is of events where `events[i]`.

    Its samples are rows `offsets[i]` up to `offsets[i + 1]` of `columns`.  A counter without samples only has its
    windows moved.  The arrays are not to be changed.
    """

    ids: Ids
    names: bytes
    name_offsets: npt.NDArray[np.uint32]
    events: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.uint32]
    columns: SampleColumns
    now: int
    shift: Shift = Shift.DUE
    may_create: int = 1 << 30

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self.columns[0])

    def name(self, row: int) -> bytes:
        """Return the name of counter `row`."""
        return self.names[self.name_offsets[row] : self.name_offsets[row + 1]]
