"""What a destination is sent: a Batch as chunks of bytes, in the protocol of the destination.

For datapoints that have no raw line (generated, or from pickles), and for destinations that do not take lines as they
came.  A chunk of lines may be cut after any line; a chunk of pickle or protobuf is one frame.
"""

from __future__ import annotations

from types import ModuleType
from typing import Literal

import numpy as np
import numpy.typing as npt

from cadtwist.kernels import active
from cadtwist.model.batch import Batch

__all__ = ["Chunks", "Encoder", "Rows"]

Rows = npt.NDArray[np.intp]
Chunks = list[tuple[bytes, int]]
"""(bytes, datapoints) pairs, in order."""


class Encoder:
    """Encodes for all destinations of one protocol.  Pure; `table` has the names of the ids.

    `protocol`: `line` (`crlf`: lines end with CR LF, as carbon's relay writes them), `pickle` or `protobuf` (frames
    of at most `message_points` datapoints).  `kernel` names the twin to encode with (that of `table`).
    """

    def __init__(
        self,
        table: active.table.MetricTable,
        protocol: Literal["line", "pickle", "protobuf"],
        message_points: int = 500,
        crlf: bool = False,
        kernel: ModuleType = active.encode,
    ) -> None:
        self.divisible = protocol == "line"
        self._table = table
        self._protocol = protocol
        self._message_points = max(1, message_points)
        self._crlf = crlf
        self._kernel = kernel

    def encode(self, batch: Batch, rows: Rows | None = None) -> Chunks:
        """Return the chunks of a lent Batch, or of some rows of it, in their order."""
        points = len(batch) if rows is None else len(rows)
        if not points:
            return []
        columns = self._table, batch.ids, batch.timestamps, batch.values, rows
        if self._protocol == "line":
            return [(self._kernel.lines(*columns, self._crlf), points)]
        write = self._kernel.pickle_frames if self._protocol == "pickle" else self._kernel.protobuf_frames
        chunks: Chunks = write(*columns, self._message_points)
        return chunks
