"""What statsd's graphite backend writes: lines, or its own form of pickle, numbers as JavaScript writes them.

The pickle is protocol 0, in a frame of 4 bytes length: a list of (name, (timestamp, value as text)).
"""

from __future__ import annotations

import struct
from typing import Literal

from cadtwist.kernels import active
from cadtwist.kernels.jstext import js_text
from cadtwist.model.batch import Batch

__all__ = ["StatsdEncoder"]

_LENGTH = struct.Struct(">I")


class StatsdEncoder:
    """Encodes the values of one flush; `table` has the names.  All of a Batch have one timestamp."""

    def __init__(self, table: active.table.MetricTable, protocol: Literal["text", "pickle"]) -> None:
        self.divisible = protocol == "text"
        self._table = table

    def encode(self, batch: Batch) -> bytes:
        """Return the bytes of a Batch of finite values: lines, or one frame."""
        timestamp = int(batch.timestamps[0])
        if self.divisible:
            return active.statsdparse.js_lines(self._table, batch.ids, batch.values, timestamp)
        items = [
            f"(S'{name.decode()}'\n(L{timestamp}L\nS'{js_text(value)}'\ntta"
            for name, value in zip(self._table.names(batch.ids), batch.values.tolist(), strict=True)
        ]
        body = f"(l{''.join(items)}.".encode()
        return _LENGTH.pack(len(body)) + body
