"""Summaries of many datapoints travelling together, as parallel columns: cells of counters, flushed windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Floats, Ids

__all__ = ["SummaryBatch", "SummaryColumns"]


@dataclass(slots=True)
class SummaryBatch:
    """Columns of equal length, LENT for the call as those of a `Batch` are.

    Row i says of the metric `ids[i]`: since `timestamps[i]` (epoch seconds) there were `counts[i]` values; `sums` and
    `sumsqs` are the sums of them and of their squares, `minima` and `maxima` the smallest and greatest.  `firsts` and
    `lasts` are the earliest and the latest value, only where the maker knows them.  `tops` and `bottoms` are the values
    that a share `shares` (0 to 1) of all exceed, or stay below; only partial aggregates have them.  A count is a whole
    number in a float64, or not whole where values carried weights.
    """

    ids: Ids
    timestamps: Floats
    counts: Floats
    sums: Floats
    sumsqs: Floats
    minima: Floats
    maxima: Floats
    firsts: Floats | None = None
    lasts: Floats | None = None
    tops: Floats | None = None
    bottoms: Floats | None = None
    shares: Floats | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> SummaryBatch:
        """Return a SummaryBatch of the chosen rows (a mask or positions), copied."""
        return SummaryBatch(
            self.ids[rows],
            self.timestamps[rows],
            self.counts[rows],
            self.sums[rows],
            self.sumsqs[rows],
            self.minima[rows],
            self.maxima[rows],
            *(None if ends is None else ends[rows] for ends in self._optional()),
        )

    @classmethod
    def joined(cls, batches: Sequence[SummaryBatch]) -> SummaryBatch:
        """Return the rows of batches, at least one, one behind the other; all have the same columns."""
        columns = zip(*(each._columns() for each in batches), strict=True)
        joined: list[Any] = [None if parts[0] is None else np.concatenate(parts) for parts in columns]
        return cls(*joined)

    def _columns(self) -> tuple[Any, ...]:
        fixed = (self.ids, self.timestamps, self.counts, self.sums, self.sumsqs, self.minima, self.maxima)
        return (*fixed, *self._optional())

    def _optional(self) -> tuple[Floats | None, ...]:
        return self.firsts, self.lasts, self.tops, self.bottoms, self.shares

    def means(self) -> Floats:
        """Return sum / count of each row, 0 where nothing was counted."""
        counted = self.counts > 0
        return np.divide(self.sums, self.counts, out=np.zeros(len(self)), where=counted)


class SummaryColumns:
    """The arrays that a maker fills: allocated once, lent out as SummaryBatches again and again.

    Rows below `n` are filled.  `firsts` and `lasts` exist only if `ends` was asked for.
    """

    __slots__ = ("counts", "firsts", "ids", "lasts", "maxima", "minima", "n", "sums", "sumsqs", "timestamps")

    def __init__(self, capacity: int, ends: bool = False) -> None:
        self.ids: Ids = np.zeros(capacity, np.uint32)
        self.timestamps: Floats = np.zeros(capacity)
        self.counts: Floats = np.zeros(capacity)
        self.sums: Floats = np.zeros(capacity)
        self.sumsqs: Floats = np.zeros(capacity)
        self.minima: Floats = np.zeros(capacity)
        self.maxima: Floats = np.zeros(capacity)
        self.firsts: Floats | None = np.zeros(capacity) if ends else None
        self.lasts: Floats | None = np.zeros(capacity) if ends else None
        self.n = 0

    def batch(self) -> SummaryBatch:
        """Return the filled part; valid until the columns are filled again."""
        n = self.n
        return SummaryBatch(
            self.ids[:n],
            self.timestamps[:n],
            self.counts[:n],
            self.sums[:n],
            self.sumsqs[:n],
            self.minima[:n],
            self.maxima[:n],
            None if self.firsts is None else self.firsts[:n],
            None if self.lasts is None else self.lasts[:n],
        )
