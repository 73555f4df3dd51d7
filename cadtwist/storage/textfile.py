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
    """The file of one resolution (`step_s`, `ttl_s` in seconds).  May block on the disk; one thread at a time.

    An OSError of a write is counted (`failed`), told by `fault`, and tried again with the next lines.
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
        self.lines = 0
        self.failed = 0
        self.fault = ""
        self._table = table
        self._tail = f"{step_s:.2f}".encode(), b"%d" % int(ttl_s)
        self._max_bytes = max_bytes
        self._rotate_s = rotate_s
        self._checked = 0.0
        self._file: BinaryIO | None = None

    def write(self, batch: SummaryBatch, now: float) -> int:
        """Append the lines of a SummaryBatch; return how many, 0 where the disk would not.  `now`: epoch seconds."""
        resolution, ttl = self._tail
        rows = zip(
            self._table.names(batch.ids), batch.sums.tolist(), batch.means().tolist(), batch.minima.tolist(),
            batch.maxima.tolist(), batch.counts.tolist(), batch.timestamps.tolist(), strict=True,
        )  # fmt: skip
        data = b"".join(
            b"%b\t%.6f\t%.6f\t%.6f\t%.6f\t%d\t%b\t%d\t%b\n"
            % (name, total, mean, low, high, count, resolution, int(when * _NANO), ttl)
            for name, total, mean, low, high, count, when in rows
        )
        try:
            self._append(data, now)
        except OSError as error:
            self.failed += len(batch)
            self.fault = str(error)
            self.close()
            return 0
        self.lines += len(batch)
        return len(batch)

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def _append(self, data: bytes, now: float) -> None:
        if now - self._checked >= self._rotate_s:
            self._checked = now
            self._rotate(now)
        if self._file is None:
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (it stays open)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def _rotate(self, now: float) -> None:
        try:
            size = os.stat(self.path).st_size
        except FileNotFoundError:
            self.close()
            return
        if size > self._max_bytes:
            self.close()
            stamp = time.strftime("%Y%m%d%H%M%S", time.localtime(now))
            os.rename(self.path, f"{self.path}.{stamp}")
