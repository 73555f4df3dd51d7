"""Summaries as lines of a file, one file for each resolution, as Cadent's file writer makes them.

A line is `name sum mean min max count resolution nano_timestamp ttl`, separated by TAB; the file of a resolution of 10
seconds is `<path>_10s`.  A file that has grown beyond its bound is renamed to `<file>.YYYYMMDDhhmmss` (local time) and
begun anew.  Nothing is read back.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, BinaryIO

from cadtwist.model.summary import SummaryBatch

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["SummaryFile"]

DEFAULT_MAX_BYTES = 104_857_600
DEFAULT_ROTATE_S = 10.0
_NANO = 1_000_000_000


class SummaryFile:
    """The file of one resolution (`step_s`, `ttl_s` in seconds).

    `lines` belongs to the reactor thread; `append` and `close` may block on the disk, one thread at a time.
    `max_bytes` and `rotate_s` may be changed.
    """

    def __init__(
        self,
        path: str,
        table: tables.MetricTable,
        step_s: float,
        ttl_s: float,
        max_bytes: int = DEFAULT_MAX_BYTES,
        rotate_s: float = DEFAULT_ROTATE_S,
    ) -> None:
        self.path = f"{path}_{step_s:g}s"
        self.max_bytes = max_bytes
        self.rotate_s = rotate_s
        self._table = table
        self._tail = f"{step_s:.2f}".encode(), b"%d" % int(ttl_s)
        self._checked = 0.0
        self._torn = False
        self._file: BinaryIO | None = None

    def lines(self, batch: SummaryBatch) -> bytes:
        """Return the lines of a SummaryBatch."""
        resolution, ttl = self._tail
        rows = zip(
            self._table.names(batch.ids), batch.sums.tolist(), batch.means().tolist(), batch.minima.tolist(),
            batch.maxima.tolist(), batch.counts.tolist(), batch.timestamps.tolist(), strict=True,
        )  # fmt: skip
        return b"".join(
            b"%b\t%.6f\t%.6f\t%.6f\t%.6f\t%d\t%b\t%d\t%b\n"
            % (name, total, mean, low, high, count, resolution, int(when * _NANO), ttl)
            for name, total, mean, low, high, count, when in rows
        )

    def append(self, data: bytes, now: float) -> tuple[bytes, str]:
        """Append lines, at `now` (epoch seconds); return what the disk would not take, and its error.

        What is left is to be appended next, so that no line is torn.
        """
        left = memoryview(data)
        try:
            if now - self._checked >= self.rotate_s and not self._torn:
                self._checked = now
                self._rotate(now)
            if self._file is None:
                self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (it stays open)
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._torn = len(left) < len(data) or self._torn
            self.close()
            return bytes(left), str(error)
        self._torn = False
        return b"", ""

    def close(self) -> None:
        """Close the file; the next lines open it again."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _rotate(self, now: float) -> None:
        try:
            size = os.stat(self.path).st_size
        except FileNotFoundError:
            self.close()
            return
        if size > self.max_bytes:
            self.close()
            stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(now))
            os.rename(self.path, f"{self.path}.{stamp}")
