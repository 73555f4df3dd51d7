"""What statsd's graphite backend writes: lines, or its own form of pickle, numbers as JavaScript writes them.

The pickle is protocol 0, in a frame of 4 bytes length: a list of (name, (timestamp, value as text)), a whole flush
unless that is very large.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from cadtwist.kernels import active
from cadtwist.model.batch import BATCH_POINTS, Ids

__all__ = ["StatsdEncoder"]

Matrix = npt.NDArray[np.float64]
_LENGTH = struct.Struct(">I")


class StatsdEncoder:
    """Encodes what series tell in one flush, which `rest` ends."""

    def __init__(self, protocol: Literal["text", "pickle"]) -> None:
        self.divisible = protocol == "text"
        self._items: list[str] = []

    def encode(
        self, blob: bytes, offsets: Ids, prefixes: list[bytes], suffixes: list[bytes], values: Matrix, timestamp: int
    ) -> Iterator[tuple[bytes, int]]:
        """Yield lines, or frames, and how many datapoints each is; see `told_lines` of `kernels.statsdparse_py`."""
        data = active.statsdparse.told_lines(blob, offsets, prefixes, suffixes, values, timestamp)
        if self.divisible:
            if data:
                yield data, int(np.count_nonzero(~np.isnan(values)))
            return
        parts = (line.rsplit(" ", 2) for line in data.decode().split("\n")[:-1])
        self._items += (f"(S'{_quoted(name)}'\n(L{stamp}L\nS'{value}'\ntta" for name, value, stamp in parts)
        while len(self._items) >= BATCH_POINTS:
            yield self._frame()

    def rest(self) -> Iterator[tuple[bytes, int]]:
        """Yield what is left of the flush."""
        if self._items:
            yield self._frame()

    def _frame(self) -> tuple[bytes, int]:
        items, self._items = self._items[:BATCH_POINTS], self._items[BATCH_POINTS:]
        body = f"(l{''.join(items)}.".encode()
        return _LENGTH.pack(len(body)) + body, len(items)


def _quoted(name: str) -> str:
    """Return a name as it stands in quotes: tags of keys that are not sanitised may have any character."""
    return name.replace("\\", "\\\\").replace("'", "\\'")
