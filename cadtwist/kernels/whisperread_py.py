"""Many whisper files read in one call: the readable twin of `whisperread.pyx`."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.whisperfile_py import fetch
from cadtwist.kernels.whisperformat import CORRUPT, NOTHING, TOO_MANY_POINTS, CorruptFileError, relative_path

__all__ = ["Reader"]

Row = tuple[int, int, int, int, "npt.NDArray[np.float64] | None", int, float]


class Reader:
    """Reads the files of metrics below `root`, whose tagged ones are `hashed` (see `relative_path`).

    Of one thread at a time.  The native twin keeps up to `max_open` files open; whatever happens to a file elsewhere
    is seen at the next call.
    """

    def __init__(self, root: bytes, hashed: bool, max_open: int = 0) -> None:
        self._root, self._hashed, self.max_open = root, hashed, max_open

    @property
    def open_files(self) -> int:
        """Descriptors kept open: none in this twin."""
        return 0

    def close(self) -> None:
        """Close what is kept open."""

    def fetch_many(self, names: Sequence[bytes], start: int, end: int, now: int, most: int) -> list[Row]:
        """Return (failed, *what `whisperfile.fetch` returns) for the file of each name.

        `failed` is 0, a number of the system's errors, NOTHING, CORRUPT, or TOO_MANY_POINTS where more than `most`
        values (of all files) would be read; values are None then.  ValueError if start > end.
        """
        if start > end:
            raise ValueError(f"invalid time interval: {start} is after {end}")
        rows: list[Row] = []
        for name in names:
            failed, found = NOTHING, None
            try:
                found = fetch(self._path(name), start, end, now)
            except OSError as error:
                failed = error.errno or errno.EIO
            except (CorruptFileError, ValueError):
                failed = CORRUPT
            if found is not None and len(found[3]) <= most:
                rows.append((0, *found))
                most -= len(found[3])
            else:
                rows.append((failed if found is None else TOO_MANY_POINTS, 0, 0, 0, None, 0, 0.0))
        return rows

    def _path(self, name: bytes) -> bytes:
        try:
            return self._root + b"/" + relative_path(name, self._hashed)
        except ValueError as error:
            raise FileNotFoundError(errno.ENOENT, str(error)) from None
