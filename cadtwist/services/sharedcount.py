"""Numbers in memory that several processes share: one counts, the others look."""

from __future__ import annotations

import fcntl
import mmap
import os
import tempfile
from typing import IO

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder
from cadtwist.model.batch import Ids

__all__ = ["SharedCount", "shared_numbers"]

_NUMBERS = 3
_BYTES = 8 * _NUMBERS


@implementer(IHolder)
class SharedCount:
    """Three uint64, in memory behind the descriptor `fileno()`.

    `names` that came or went, `points` that came, `ids` that got or lost a metric with points.  Each is an array of
    one.  `points_fd` is the descriptor behind which the points themselves are, None where they are not shared.
    """

    def __init__(self) -> None:
        self._file = _memory()  # open as long as this object lives
        numbers = shared_numbers(self._file.fileno())
        self.names, self.points, self.ids = numbers[:1], numbers[1:2], numbers[2:]
        self.points_fd: int | None = None

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """See IHolder: nothing is held."""
        return np.zeros(len(ids), np.bool_)

    def forget(self, ids: Ids) -> None:  # noqa: ARG002
        """See IHolder: who remembers these ids shall not look for them any more."""
        self.ids[0] += np.uint64(1)

    def met(self, ids: Ids) -> None:  # noqa: ARG002
        """The first datapoints of these ids have come."""
        self.ids[0] += np.uint64(1)

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
    """Return the numbers of a SharedCount, names, points and ids; the descriptor may be closed then."""
    size = os.fstat(descriptor).st_size
    if size < _BYTES:
        raise ValueError("the shared memory is too small")
    return np.frombuffer(mmap.mmap(descriptor, _BYTES), np.uint64)
