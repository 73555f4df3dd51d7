"""Numbers in memory that several processes share: one counts, the others look."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from typing import IO

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
        self._file = _memory()  # open as long as this object lives
        numbers = shared_numbers(self._file.fileno())
        self.names, self.points = numbers[:1], numbers[1:]

    def fileno(self) -> int:
        """Return the descriptor by which another process finds the numbers."""
        return self._file.fileno()


def _memory() -> IO[bytes]:
    """Return a file of zeros: memory that nobody can make smaller, or where there is no such thing, a nameless file.

    A page that cannot be had when it is first written to is a signal that ends the process: so it is written here,
    where a full disk is an OSError.  The same signal would come of a page that somebody cuts off.
    """
    sealed = hasattr(os, "memfd_create")
    if sealed:
        file: IO[bytes] = os.fdopen(os.memfd_create("counts", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b", 0)
    else:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
    file.write(bytes(_BYTES))
    if sealed:
        fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return file


def shared_numbers(descriptor: int) -> npt.NDArray[np.uint64]:
    """Return the numbers of a SharedCount, names first; the descriptor may be closed then."""
    size = os.fstat(descriptor).st_size
    if size < _BYTES:
        raise ValueError("the shared memory is too small")
    return np.frombuffer(mmap.mmap(descriptor, _BYTES), np.uint64)
