"""Pickles of the shape that carbon's clients send, read into columns: the readable twin of `picklepoints.pyx`.

The shape: one list or tuple of `(name, (timestamp, value))` tuples, name a string, timestamp and value int or float.
A `PointReader` may decline any frame (the caller then decodes it slowly); what it takes, both twins take alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.graphiteline import BAD_ENCODING, BAD_NAME, BAD_NAN, BAD_TABLE_FULL, BAD_TIMESTAMP, NO_ID, settle
from cadtwist.kernels.plainpickle import PlainPickleError, read_plain
from cadtwist.kernels.table_py import MetricTable

__all__ = ["MAX_NAME_BYTES", "PointReader"]

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

MAX_NAME_BYTES = 16384
"""A longer name is refused, as a line of that length is."""

_EXCERPT_BYTES = 80
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1


class PointReader:
    """Holds the points of one frame until they were taken.  One per listener; callers hold the GIL."""

    def __init__(self) -> None:
        self._items: list[tuple[str, tuple[float, float]]] = []
        self._next = 0

    @property
    def left(self) -> int:
        """Items that `take` has not looked at yet."""
        return len(self._items) - self._next

    def load(self, data: bytes, start: int, end: int) -> bool:
        """Read the frame `data[start:end]`; False, with nothing to take, where it is not of the shape."""
        self._items, self._next = [], 0
        try:
            found = read_plain(data, start, end)
        except PlainPickleError:
            return False
        if type(found) not in (list, tuple):
            return False
        items: list[Any] = list(found)  # type: ignore[call-overload]
        for item in items:
            if type(item) is not tuple or len(item) != 2:
                return False
            name, pair = item
            if type(name) is not str or type(pair) is not tuple or len(pair) != 2:
                return False
            for number in pair:
                if type(number) is not float and not (type(number) is int and _LEAST <= number <= _MOST):
                    return False
        self._items = items
        return True

    def take(
        self,
        table: MetricTable,
        ids: Ids,
        timestamps: Floats,
        values: Floats,
        n: int,
        now: float,
        resolution: int,
        bad: list[tuple[int, bytes]],
    ) -> int:
        """Fill the columns from row `n` on, until they are full or nothing is left; return the rows filled.

        `now` (epoch seconds) stands for the timestamp -1, `resolution` (seconds, 0 = none) rounds down.  `bad` gets
        (number of BAD_KINDS, excerpt of the name) for each item refused.
        """
        seconds, room = int(now), len(ids) - n
        rows: list[tuple[int, float, float]] = []
        for place in range(self._next, len(self._items)):
            if len(rows) == room:
                break
            self._next = place + 1
            name, (timestamp, value) = self._items[place]
            raw = _raw(name)
            settled = settle(timestamp, now, resolution)
            kind = _fault(raw, value, settled)
            if kind is None:
                number = table.intern(raw, seconds)
                if number != NO_ID and settled is not None:
                    rows.append((number, settled, value))
                    continue
                kind = BAD_TABLE_FULL
            bad.append((kind, raw[:_EXCERPT_BYTES]))
        if rows:
            stop = n + len(rows)
            ids[n:stop], timestamps[n:stop], values[n:stop] = zip(*rows, strict=True)
            n = stop
        if not self.left:
            self._items, self._next = [], 0
        return n


def _raw(name: str) -> bytes:
    """Return the bytes of a name; they are no valid UTF-8 where the name's were not."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _fault(name: bytes, value: float, settled: float | None) -> int | None:
    """Return the number of what is wrong with an item, None for nothing."""
    if not name or len(name) > MAX_NAME_BYTES:
        return BAD_NAME
    if not name.isascii():
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            return BAD_ENCODING
    if value != value:
        return BAD_NAN
    return BAD_TIMESTAMP if settled is None else None
