"""What a forwarding daemon sends of its samples: cells of ten seconds, gathered for one interval.

A name's window is five cells around the time at which its first sample since the last flush came: it begins 30 s
before the cell of that time and ends 20 s after that cell's begin.  Samples outside are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder, ISummarySink
from cadtwist.kernels.active import samples as kernel
from cadtwist.model.batch import Floats, Ids
from cadtwist.model.statjob import SampleColumns
from cadtwist.model.summary import SummaryBatch
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["ForwardWindow"]

CELL_S = 10
BEFORE_S, AFTER_S = 30, 20
_ANY_TIME_S = 1 << 53


@implementer(ISummarySink, IHolder)
class ForwardWindow:
    """Keeps samples by name until `flush`, at most `most`; beyond that they are dropped as `forward_full`.

    `now()` is epoch seconds.
    """

    def __init__(self, table: tables.MetricTable, account: Account, now: Callable[[], float], most: int) -> None:
        self._table = table
        self._now = now
        self._middles: Floats = np.zeros(0)
        self._account = account
        self._samples = kernel.SampleStore(most)
        account.held = self._samples.__len__

    def accept(self, batch: SummaryBatch) -> None:
        """Keep samples; a time of 0 means now, else nothing is asked of them."""
        now = np.floor(self._now())
        self._account.received += len(batch)
        self._begin(batch.ids[~self._samples.has(batch.ids)], now)
        times = np.where(batch.timestamps == 0, now, batch.timestamps)
        _future, _implausible, no_room = self._samples.append(
            batch.ids, times, batch.counts, batch.sums, batch.sumsqs, batch.minima, batch.maxima,
            np.ones(len(batch), np.uint8), _ANY_TIME_S, 0,
        )  # fmt: skip
        if no_room:
            self._account.drop("forward_full", no_room)

    def _begin(self, ids: Ids, now: float) -> None:
        """Put the windows of names around now."""
        if len(ids):
            high = int(ids.max())
            if high >= len(self._middles):
                self._middles = np.concatenate((self._middles, np.zeros(high + high // 4 + 1024 - len(self._middles))))
            self._middles[ids] = now // CELL_S * CELL_S

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the names whose samples wait."""
        return self._samples.has(ids)

    def forget(self, ids: Ids) -> None:
        """Nothing is known of a name without samples."""

    def flush(self) -> tuple[list[bytes], SummaryBatch]:
        """Take out everything as (name, cell), each name's in the order of time."""
        ids = self._samples.waiting()
        offsets, columns = self._samples.take(ids)
        cells, gathered = _cells(ids, offsets, columns, self._middles[ids])
        outside = len(columns[0]) - gathered
        if outside:
            self._account.drop("outside_window", outside)
        self._account.merged += gathered - len(cells)
        self._account.out += len(cells)
        return self._table.names(cells.ids), cells


def _cells(
    ids: Ids, offsets: npt.NDArray[np.uint32], columns: SampleColumns, middles: Floats
) -> tuple[SummaryBatch, int]:
    """Merge samples into cells, whose times are those of their first samples; return how many were gathered, too."""
    bounds = offsets.astype(np.int64)
    owners = np.repeat(np.arange(len(ids)), bounds[1:] - bounds[:-1])
    places = np.floor(columns[0] / CELL_S) * CELL_S - middles[owners]
    inside = (places >= -BEFORE_S) & (places < AFTER_S) & (columns[1] > 0)
    keys = owners[inside] * 8 + (places[inside] + BEFORE_S).astype(np.int64) // CELL_S
    found, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    times, counts, sums, sumsqs, minima, maxima = (column[inside] for column in columns)
    totals = [np.zeros(len(found)) for _ in range(3)]
    for total, column in zip(totals, (counts, sums, sumsqs), strict=True):
        np.add.at(total, inverse, column)
    low, high = minima[first], maxima[first]
    np.fmin.at(low, inverse, minima)
    np.fmax.at(high, inverse, maxima)
    return SummaryBatch(ids[found // 8], times[first], totals[0], totals[1], totals[2], low, high), len(inverse)
