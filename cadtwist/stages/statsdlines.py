"""LineTeller: what a statsd flush tells becomes bytes for Graphite, and nothing is kept of any name.

The names of a series are put together at each flush from its key and what stands before and after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cadtwist.model.batch import Ids
from cadtwist.model.told import Told
from cadtwist.stages.statsdnames import Naming, clean, own_figures
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables
    from cadtwist.stages.statsd import Matrix

__all__ = ["Encoder", "LineTeller"]


class Encoder(Protocol):
    """Makes bytes of what series tell (see `kernels.statsdparse_py.told_lines`)."""

    def encode(
        self, blob: bytes, offsets: Ids, prefixes: list[bytes], suffixes: list[bytes], values: Matrix, timestamp: int
    ) -> Iterator[tuple[bytes, int]]:
        """Yield bytes, and how many datapoints they are."""


class LineTeller:
    """Names what a flush tells by `naming` and gives `send` its bytes with their datapoints.  Reactor thread.

    `source`, `raw_keys`, `own` and `status` are as for `stages.statsdnames.GraphiteTeller`.
    """

    def __init__(
        self,
        source: tables.MetricTable,
        encoder: Encoder,
        send: Callable[[bytes, int], object],
        account: Account,
        naming: Naming,
        own: Callable[[str], str] | None = None,
        status: Callable[[], dict[str, float]] = dict,
        raw_keys: bool = False,
    ) -> None:
        self._source = source
        self._encoder = encoder
        self._send = send
        self._account = account
        self._naming = naming
        self._own = own
        self._status = status
        self._raw_keys = raw_keys
        self._affixes: dict[tuple[str, int], tuple[list[int], list[bytes], list[bytes]]] = {}

    def begin(self, series: dict[str, int]) -> None:
        """Nothing is to be prepared."""

    def tell(self, told: Told, timestamp: float) -> int:
        """Send values; return how many datapoints that made."""
        if not len(told.ids):
            return 0
        columns, prefixes, suffixes = self._affixes_of(told)
        values = np.ascontiguousarray(told.values[:, columns])
        endless = np.isinf(values)
        if endless.any():
            self._account.count("not_finite", int(np.count_nonzero(endless)))
            values[endless] = np.nan
        blob, offsets = self._source.blob(told.ids)
        if self._raw_keys:
            blob, offsets = clean(blob, offsets)
        return self._pass_on(blob, offsets, prefixes, suffixes, values, timestamp)

    def end(self, timestamp: float, counts: dict[str, float]) -> int:
        """End a flush, with what the window tells of itself, if it does; return how many datapoints that made."""
        if self._own is None or not counts:
            return 0
        figures = own_figures(counts, self._status())
        names = [self._own(field).encode() for field in figures]
        offsets = np.array([0, 1], np.uint32)
        values = np.array([list(figures.values())], np.float64)
        return self._pass_on(b"|", offsets, names, [b""] * len(names), values, timestamp)

    def forget(self, ids: Ids) -> None:
        """Nothing is kept of series."""

    def _affixes_of(self, told: Told) -> tuple[list[int], list[bytes], list[bytes]]:
        key = (told.kind, told.group)
        found = self._affixes.get(key)
        if found is None:
            fields = [
                (column, affixes)
                for column, field in enumerate(told.fields)
                if (field or told.kind != "ms") and (affixes := self._naming.affixes(told.kind, field)) is not None
            ]
            found = self._affixes[key] = (
                [column for column, _ in fields],
                [before.encode() for _, (before, _) in fields],
                [after.encode() for _, (_, after) in fields],
            )
        return found

    def _pass_on(
        self, blob: bytes, offsets: Ids, prefixes: list[bytes], suffixes: list[bytes], values: Matrix, timestamp: float
    ) -> int:
        made = 0
        for data, points in self._encoder.encode(blob, offsets, prefixes, suffixes, values, int(timestamp)):
            self._send(data, points)
            made += points
        return made
