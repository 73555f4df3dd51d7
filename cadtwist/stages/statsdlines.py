"""LineTeller: what a statsd flush tells becomes bytes for Graphite, and nothing is kept of any name.

The names of a series are put together at each flush from its key and what stands before and after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cadtwist.model.batch import Ids
from cadtwist.model.told import Told
from cadtwist.stages.statsdnames import Fields, Telling
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.stages.statsd import Matrix

__all__ = ["Encoder", "LineTeller"]


class Encoder(Protocol):
    """Makes bytes of what series tell (see `kernels.statsdparse_py.told_lines`)."""

    def encode(
        self, blob: bytes, offsets: Ids, prefixes: list[bytes], suffixes: list[bytes], values: Matrix, timestamp: int
    ) -> Iterator[tuple[bytes, int]]:
        """Yield bytes, and how many datapoints they are; what is not yielded waits for more, or for the end."""

    def rest(self) -> Iterator[tuple[bytes, int]]:
        """Yield what waits: a flush has ended."""


class LineTeller:
    """Names what a flush tells and gives `send` its bytes with their datapoints.  Reactor thread."""

    def __init__(
        self, telling: Telling, encoder: Encoder, send: Callable[[bytes, int], object], account: Account
    ) -> None:
        self._telling = telling
        self._encoder = encoder
        self._send = send
        self._account = account
        self._fields: dict[tuple[str, int], Fields] = {}

    def begin(self, series: dict[str, int]) -> None:
        """Nothing is to be prepared."""

    def tell(self, told: Told, timestamp: float) -> int:
        """Send values; return how many datapoints that made."""
        if not len(told.ids):
            return 0
        key = (told.kind, told.group)
        fields = self._fields.get(key)
        if fields is None:
            fields = self._fields[key] = self._telling.fields(told)
        columns, prefixes, suffixes = fields
        values = np.ascontiguousarray(told.values[:, columns])
        endless = np.isinf(values)
        if endless.any():
            self._account.count("not_finite", int(np.count_nonzero(endless)))
            values[endless] = np.nan
        blob, offsets = self._telling.keys(told.ids)
        return self._pass_on(blob, offsets, prefixes, suffixes, values, timestamp)

    def end(self, timestamp: float, counts: dict[str, float]) -> int:
        """End a flush, with what the window tells of itself, if it does; return how many datapoints that made."""
        figures, made = self._telling.figures(counts), 0
        if figures:
            offsets = np.array([0, 1], np.uint32)
            values = np.array([list(figures.values())], np.float64)
            made = self._pass_on(b"|", offsets, list(figures), [b""] * len(figures), values, timestamp)
        return made + self._send_all(self._encoder.rest())

    def forget(self, ids: Ids) -> None:
        """Nothing is kept of series."""

    def _pass_on(
        self, blob: bytes, offsets: Ids, prefixes: list[bytes], suffixes: list[bytes], values: Matrix, timestamp: float
    ) -> int:
        return self._send_all(self._encoder.encode(blob, offsets, prefixes, suffixes, values, int(timestamp)))

    def _send_all(self, chunks: Iterator[tuple[bytes, int]]) -> int:
        made = 0
        for data, points in chunks:
            self._send(data, points)
            made += points
        return made
