"""KeySummaries: one summary of the values of each statsd key and window, as Cadent's writers keep it.

The name is the key alone: without type and without the levels that lines have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder
from cadtwist.kernels import active
from cadtwist.model.batch import NO_ID, Ids
from cadtwist.model.iduses import IdUses
from cadtwist.model.summary import SummaryBatch
from cadtwist.stages.resolutions import Resolutions
from cadtwist.stages.statsd import KINDS, Closing
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["KeySummaries"]

_GAUGE, _SET = KINDS.index("g"), KINDS.index("s")


@implementer(IHolder)
class KeySummaries:
    """Gives `sink` the summaries of counters, timers and gauges, under names of `table`.  Reactor thread.

    A count is one of samples, whatever their rates; a counter's sum is scaled by them.
    `source` is the key space of the series.  An IHolder of `table`: a name is claimed as long as its series lives.
    """

    def __init__(
        self, source: tables.MetricTable, table: tables.MetricTable, sink: Resolutions, account: Account
    ) -> None:
        self._source = source
        self._table = table
        self._sink = sink
        self._account = account
        self._names: Ids = np.zeros(0, np.uint32)
        self._uses = IdUses()

    def tell(self, buckets: active.buckets.Buckets, closing: Closing, timestamp: float) -> None:
        """Pass on the summaries of the series that had data in the window, stamped with the flush."""
        if closing.kind == _SET or not len(closing.cells):
            return
        _, starts, counts, sums, sumsqs, minima, maxima, firsts, lasts, samples = buckets.read(closing.cells)
        if closing.kind != _GAUGE:  # the cell of a gauge outlives windows, its samples are those of all
            counts = samples.astype(np.float64)
        names = self._named(closing.ids[closing.at], timestamp)
        chosen = (starts == closing.window) & (names != NO_ID)
        refused = int(np.count_nonzero(names == NO_ID))
        if refused:
            self._account.count("table_full", refused)
        if chosen.any():
            first = np.where(np.isnan(firsts), lasts, firsts)
            columns = (counts, sums, sumsqs, minima, maxima, first, lasts)
            told = int(np.count_nonzero(chosen))
            stamps = np.full(told, timestamp)
            self._account.made += told
            self._account.out += told
            self._sink.accept_summaries(SummaryBatch(names[chosen], stamps, *(column[chosen] for column in columns)))

    def forget(self, ids: Ids) -> None:
        """Series are gone."""
        ids = ids[ids < len(self._names)]
        names = self._names[ids]
        self._uses.remove(names[names != NO_ID])
        self._names[ids] = NO_ID

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the names of living series (ids of `table`)."""
        return self._uses.used(ids)

    def _named(self, ids: Ids, timestamp: float) -> Ids:
        """Return the ids of the keys' names, interned if they are new."""
        needed = int(ids.max()) + 1
        if needed > len(self._names):
            more = needed + needed // 4 + 256 - len(self._names)
            self._names = np.concatenate((self._names, np.full(more, NO_ID, np.uint32)))
        fresh = ids[self._names[ids] == NO_ID]
        if len(fresh):
            blob, offsets = self._source.blob(fresh)
            found = np.zeros((len(fresh), 1), np.uint32)
            active.statsdparse.intern_outputs(self._table, blob, offsets, [b""], [b""], found, timestamp)
            self._names[fresh] = found[:, 0]
            self._uses.add(found[found != NO_ID])
        return self._names[ids]
