"""Numbers in memory that several processes share: one counts, the others look."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np
import numpy.typing as npt

__all__ = ["SharedCount", "shared_numbers"]

_NUMBERS = 2
_BYTES = 8 * _NUMBERS


class SharedCount:
    """Two uint64, in memory behind the descriptor `fileno()`: `names` that came or went, `points` that came.

    Each is an array of one.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as this object lives)
        self._file.truncate(_BYTES)
        numbers = shared_numbers(self._file.fileno())
        self.names, self.points = numbers[:1], numbers[1:]

    def fileno(self) -> int:
        """Return the descriptor by which another process finds the numbers."""
        return self._file.fileno()


def shared_numbers(descriptor: int) -> npt.NDArray[np.uint64]:
    """Return the numbers of a SharedCount, names first; the descriptor may be closed then."""
    size = os.fstat(descriptor).st_size
    if size < _BYTES:
        raise ValueError("the shared memory is too small")
    return np.frombuffer(mmap.mmap(descriptor, _BYTES), np.uint64)
