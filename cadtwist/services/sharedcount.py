"""A number in memory that several processes share: one counts, the others look."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np
import numpy.typing as npt

__all__ = ["SharedCount", "shared_number"]

_BYTES = 8


class SharedCount:
    """One uint64 at `number[0]`, in memory behind the descriptor `fileno()`."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as this object lives)
        self._file.truncate(_BYTES)
        self.number = shared_number(self._file.fileno())

    def fileno(self) -> int:
        """Return the descriptor by which another process finds the number."""
        return self._file.fileno()


def shared_number(descriptor: int) -> npt.NDArray[np.uint64]:
    """Return the uint64 that others count in, as an array of one; the descriptor may be closed then."""
    size = os.fstat(descriptor).st_size
    if size < _BYTES:
        raise ValueError("the shared memory is too small")
    return np.frombuffer(mmap.mmap(descriptor, _BYTES), np.uint64)
