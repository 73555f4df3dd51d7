"""Resolutions: summaries put together into coarser ones, each told at the end of its bin.

What Cadent's aggregator loop does for `times`: every summary goes into one bin of each resolution, and a bin is told
once, when a multiple of its length has passed since the epoch.  A summary of a bin that was told is told with the next
one under its own time: later data never disappears.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder
from cadtwist.kernels import active
from cadtwist.kernels.bucketkinds import PLAIN
from cadtwist.model.batch import Ids
from cadtwist.model.idflags import IdFlags
from cadtwist.model.opencells import OpenCells
from cadtwist.model.summary import SummaryBatch
from cadtwist.telemetry import Account

__all__ = ["Bins", "Resolution", "Resolutions", "SummarySink"]

_SLICE = 4096


@dataclass(frozen=True, slots=True)
class Resolution:
    """The length of bins, and how long what is made of them is kept, in seconds."""

    step_s: float
    ttl_s: float


class SummarySink(Protocol):
    """Takes the bins of one resolution."""

    def accept_summaries(self, batch: SummaryBatch, resolution: Resolution) -> None:
        """Take a lent SummaryBatch."""


class Bins:
    """The open bins of one resolution."""

    def __init__(self, resolution: Resolution, now: float, max_bytes: int) -> None:
        self.resolution = resolution
        self.buckets = active.buckets.Buckets(0, 0, max_bytes)
        self.due = self.next_due(now)
        self.left: Ids | None = None
        self._known = IdFlags()

    def next_due(self, now: float) -> float:
        """Return the next multiple of the length."""
        return (math.floor(now / self.resolution.step_s) + 1) * self.resolution.step_s

    def define(self, ids: Ids) -> None:
        """Let ids have rows of bins."""
        fresh = self._known.unset(ids)
        if fresh is not None:
            for number in fresh.tolist():
                self.buckets.define(number, self.resolution.step_s, PLAIN)
            self._known.set(fresh)

    def add(self, batch: SummaryBatch) -> tuple[int, int]:
        """Put summaries into their bins; return how many were late and refused."""
        self.define(batch.ids)
        return self.buckets.merge(
            batch.ids, batch.timestamps, batch.counts, batch.sums, batch.sumsqs, batch.minima, batch.maxima,
            batch.firsts, batch.lasts,
        )  # fmt: skip

    def forget(self, ids: Ids) -> int:
        """Drop what is kept of ids; return how many summaries were never told."""
        self._known.forget(ids)
        return self.buckets.drop(ids)


@implementer(IHolder)
class Resolutions:
    """Takes summaries; tells each resolution's bins to its sink.  Reactor thread.

    `clock` gives monotonic seconds, by which `flush` keeps to its budget.  Ledger: a summary is made once for each
    resolution; open ones are held, told ones merged, bins that are told are made and out.  The counters `loops <step>s`
    tell how often bins of that length were due.
    """

    def __init__(
        self,
        sinks: Sequence[tuple[Resolution, SummarySink]],
        account: Account,
        now: float,
        clock: Callable[[], float],
        max_bytes: int = 0,
    ) -> None:
        self._bins = [Bins(resolution, now, max_bytes) for resolution, _ in sinks]
        self._sinks = [sink for _, sink in sinks]
        self._account = account
        self._clock = clock
        self._held = 0
        account.held = lambda: self._held

    def accept_summaries(self, batch: SummaryBatch) -> None:
        """Put a lent SummaryBatch into the bins of every resolution."""
        account = self._account
        account.received += len(batch)
        account.made += len(batch) * (len(self._bins) - 1)
        for bins in self._bins:
            late, refused = bins.add(batch)
            self._held += len(batch) - late - refused
            if late or refused:
                account.drop("window_full", late + refused)

    def next_flush(self, now: float) -> float | None:
        """Return when bins are to be told: at once while a flush is under way."""
        if any(bins.left is not None for bins in self._bins):
            return now
        return min((bins.due for bins in self._bins), default=None)

    def flush(self, now: float, budget_s: float = math.inf) -> bool:
        """Tell the bins that are due at `now`, in slices; False when `budget_s` was over before all were told."""
        until = self._clock() + budget_s
        for bins, sink in zip(self._bins, self._sinks, strict=True):
            if bins.left is None and now >= bins.due:
                bins.left = bins.buckets.rows_before(bins.next_due(now) - bins.resolution.step_s)
                bins.due = bins.next_due(now)
                self._account.count(f"loops {bins.resolution.step_s:g}s")
            while bins.left is not None and len(bins.left):
                if not self._tell(bins, sink, bins.due - bins.resolution.step_s) or self._clock() >= until:
                    return False
            bins.left = None
        return True

    def finish(self, now: float) -> None:  # noqa: ARG002 (every bin is told)
        """Tell every open bin: the service stops."""
        for bins, sink in zip(self._bins, self._sinks, strict=True):
            bins.left = bins.buckets.rows_before(math.inf)
            while len(bins.left):
                self._tell(bins, sink, math.inf)
            bins.left = None

    def open_cells(self) -> list[OpenCells]:
        """Return all open bins, those of each resolution together: their length is the frequency."""
        found = []
        for bins in self._bins:
            buckets = bins.buckets
            ids, starts, *summaries, samples = buckets.read(buckets.cells_of(buckets.rows_before(math.inf)))
            steps = np.full(len(ids), bins.resolution.step_s)
            found.append(
                OpenCells(ids, steps, np.zeros(len(ids)), starts, samples.astype(np.float64), tuple(summaries))
            )
        return found

    def restore(self, cells: OpenCells) -> None:
        """Take open bins of a former process; those of lengths that are no more wanted are dropped as `expired`."""
        account, lost = self._account, len(cells.ids)
        account.made += lost
        for bins in self._bins:
            ours = cells.frequencies == bins.resolution.step_s
            bins.define(cells.ids[ours])
            columns = (cells.starts[ours], *(column[ours] for column in cells.summaries))
            late, refused = bins.buckets.merge(cells.ids[ours], *columns)
            taken = int(np.count_nonzero(ours)) - late - refused
            self._held += taken
            lost -= taken
        if lost:
            account.drop("expired", lost)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the ids that have open bins."""
        mask = np.zeros(len(ids), np.bool_)
        for bins in self._bins:
            mask |= bins.buckets.holds(ids)
        return mask

    def forget(self, ids: Ids) -> None:
        """Drop what is kept of ids."""
        lost = sum(bins.forget(ids) for bins in self._bins)
        if lost:
            self._held -= lost
            self._account.drop("expired", lost)

    def _tell(self, bins: Bins, sink: SummarySink, before: float) -> bool:
        """Tell the bins of some rows that started before `before`; True."""
        buckets, rows = bins.buckets, bins.left
        if rows is None:
            return True
        part, bins.left = rows[:_SLICE], rows[_SLICE:]
        cells = buckets.cells_of(part)
        starts = buckets.read(cells)[1]
        cells = cells[starts < before]
        ids, starts, counts, sums, sumsqs, minima, maxima, firsts, lasts, _ = buckets.read(cells)
        if len(cells):
            sink.accept_summaries(
                SummaryBatch(ids, starts, counts, sums, sumsqs, minima, maxima, firsts, lasts), bins.resolution
            )
        points = buckets.settle(cells, starts)
        buckets.free(cells)
        self._held -= points
        self._account.merged += points
        self._account.made += len(cells)
        self._account.out += len(cells)
        return True
