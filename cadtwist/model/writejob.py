"""What a writer thread gets to write, and what it answers: one status per metric."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Floats, Ids

__all__ = [
    "BAD_NAME",
    "CREATED",
    "QUARANTINED",
    "RETRY",
    "STATUS_NAMES",
    "TOO_OLD",
    "WAITS_FOR_CREATE",
    "WRITTEN",
    "Statuses",
    "WriteJob",
]

Statuses = npt.NDArray[np.uint8]

WRITTEN = 0
"""The points are in the file."""

CREATED = 1
"""The file was made, and the points are in it."""

WAITS_FOR_CREATE = 2
"""The file is missing and the job's allowance of creations is used up: offer it again later."""

TOO_OLD = 3
"""No point is within the file's retention; they are gone."""

RETRY = 4
"""A passing fault (full disk, input/output error, too many open files): offer it again later."""

QUARANTINED = 5
"""The file is damaged or unreadable; the points are gone, the file is left for people."""

BAD_NAME = 6
"""No path can be made of the name (a component over 255 bytes, a NUL byte ...)."""

STATUS_NAMES = ("written", "created", "waits_for_create", "too_old", "retry", "quarantined", "bad_name")
"""The statuses in words; the position is the status byte."""


@dataclass(frozen=True, slots=True)
class WriteJob:
    """The points of some metrics, each metric's ascending in time with distinct timestamps.

    Metric i has the name `names[name_offsets[i]:name_offsets[i + 1]]`, the schema number `schemas[i]` and the points
    `offsets[i]` up to `offsets[i + 1]` of `timestamps` and `values`.  The arrays are not to be changed: the cache
    answers queries from the same memory while the job is in flight.  Passed from the reactor thread to one writer.
    """

    ids: Ids
    names: bytes
    name_offsets: npt.NDArray[np.uint32]
    schemas: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.uint32]
    timestamps: Floats
    values: Floats
    may_create: int
    now: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def points(self) -> int:
        """The number of datapoints."""
        return len(self.timestamps)

    def name(self, row: int) -> bytes:
        """Return the name of metric `row`."""
        return self.names[self.name_offsets[row] : self.name_offsets[row + 1]]
