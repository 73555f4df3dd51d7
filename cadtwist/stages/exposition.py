"""What Prometheus is shown of the samples that come in: every one of gauges for a while, the sums of events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.codec.exposition import LABELS, Metric, line, metrics_of, type_line
from cadtwist.interfaces import IHolder, ISummarySink
from cadtwist.model.batch import Ids
from cadtwist.model.decisions import FIRST_ROW, PASS, Decisions
from cadtwist.model.summary import SummaryBatch
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["Exposition"]

_LARGEST_SUM = 2**32 - 1
_IDLE_S = 86400
_ROUND_S = 5
_LINES = 1000
MOST_SAMPLES = 500_000
DROPPED = b"istatd.agent.dropped.metrics"

Chunk = tuple[Ids, npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Ids, times and values of samples of gauges."""


@implementer(ISummarySink, IHolder)
class Exposition:
    """Keeps what is shown.  Reactor thread.  Names are those of the lines, with carets.

    A sample of a gauge is shown for `keep_s`; the sum of an event counter as long as something comes within a day, and
    begins anew beyond 32 bits.  At most `most` samples and sums are kept (-1: no bound but that of memory); new ones
    beyond are dropped as `max_metrics`.  `host` is the label of the counter that tells of these.
    """

    def __init__(
        self,
        table: tables.MetricTable,
        account: Account,
        now: Callable[[], float],
        *,
        keep_s: float,
        most: int = -1,
        labels: Collection[str] = LABELS,
        translate: bool = True,
        host: str = "",
    ) -> None:
        self._table = table
        self._account = account
        self._now = now
        self._keep_s = keep_s
        self._most = MOST_SAMPLES if most < 0 else min(most, MOST_SAMPLES)
        self._labels = labels
        self._translate = translate
        self._host = host
        self._decisions = Decisions(self._decide)
        self._chunks: deque[Chunk] = deque()
        self._held = 0
        self._sums: npt.NDArray[np.float64] = np.zeros(0)
        self._seen: npt.NDArray[np.float64] = np.zeros(0)
        self._counters = 0
        self._lost = 0
        account.held = lambda: self._held

    def accept(self, batch: SummaryBatch) -> None:
        """Keep samples; those of events go into their sums."""
        self._account.received += len(batch)
        events = self._decisions.lookup(batch.ids) == FIRST_ROW
        if events.any():
            self._add(batch.ids[events], batch.sums[events])
        if not events.all():
            gauges = batch.select(~events)
            self._keep(gauges.ids, gauges.timestamps, gauges.means())

    def _keep(self, ids: Ids, times: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> None:
        room = max(0, self._most - self._held - self._counters)
        if len(ids) > room:
            self._drop(len(ids) - room)
        kept = min(len(ids), room)
        if kept:
            self._chunks.append((ids[:kept], times[:kept], values[:kept]))
            self._held += kept

    def _add(self, ids: Ids, sums: npt.NDArray[np.float64]) -> None:
        """Add to sums; those of a name that is not kept yet may find no room."""
        most = int(ids.max()) + 1
        if most > len(self._sums):
            grown = most + most // 4 + 1024 - len(self._sums)
            self._sums = np.concatenate((self._sums, np.zeros(grown)))
            self._seen = np.concatenate((self._seen, np.zeros(grown)))
        fresh = np.unique(ids[self._seen[ids] == 0])
        room = max(0, self._most - self._held - self._counters)
        refused = fresh[room:]
        if len(refused):
            without = np.isin(ids, refused)
            self._drop(int(np.count_nonzero(without)))
            ids, sums = ids[~without], sums[~without]
        self._counters += len(fresh) - len(refused)
        self._account.merged += len(ids)
        before = self._sums[np.unique(ids)]
        np.add.at(self._sums, ids, sums)
        self._seen[ids] = max(self._now(), 1.0)
        changed = np.unique(ids)
        beyond = self._sums[changed] > _LARGEST_SUM
        self._sums[changed[beyond]] -= before[beyond]

    def _drop(self, samples: int) -> None:
        self._account.drop("max_metrics", samples)
        self._lost += samples

    def clean(self, now: float) -> None:
        """Forget samples that were shown long enough, and sums that nothing came for."""
        kept: deque[Chunk] = deque()
        self._account.out += self._held
        self._held = 0
        for ids, times, values in self._chunks:
            young = times >= now - self._keep_s
            if young.any():
                kept.append((ids[young], times[young], values[young]))
                self._held += int(np.count_nonzero(young))
        self._account.out -= self._held
        self._chunks = kept
        idle = (self._seen > 0) & (self._seen < now - _IDLE_S)
        self._counters -= int(np.count_nonzero(idle))
        self._seen[idle] = self._sums[idle] = 0

    def text(self, now: float, short: bool = False) -> Generator[None, None, str]:
        """Return in slices what is shown now, sorted by name; numbers have six digits if `short`."""
        told: dict[Metric, float] = {}
        for number in np.flatnonzero(self._seen).tolist():
            for metric in metrics_of(self._table.name(number), self._labels, self._translate):
                told[metric] = told.get(metric, 0.0) + float(self._sums[number])
        if self._lost:
            dropped = metrics_of(DROPPED, (), self._translate)[0].name
            told[Metric(dropped, (("host", self._host),))] = self._lost
        yield
        rows = [(metric, value, int(now // _ROUND_S * _ROUND_S * 1000), True) for metric, value in told.items()]
        for ids, times, values in list(self._chunks):
            named = {n: metrics_of(self._table.name(n), self._labels, self._translate) for n in np.unique(ids).tolist()}
            for number, time, value in zip(ids.tolist(), times.tolist(), values.tolist(), strict=True):
                rows += [(metric, value, int(time * 1000), False) for metric in named[number]]
            yield
        rows.sort(key=lambda row: (row[0], row[2]))
        lines, last = [], None
        for at, (metric, value, time_ms, counter) in enumerate(rows):
            if metric.name != last:
                last = metric.name
                lines.append(type_line(last, counter))
            lines.append(line(metric, value, time_ms, counter, short))
            if at % _LINES == _LINES - 1:
                yield
        return "".join(lines)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the ids of what is shown."""
        mask: npt.NDArray[np.bool_] = np.isin(ids, np.concatenate([chunk[0] for chunk in self._chunks] or [ids[:0]]))
        inside = ids < len(self._seen)
        mask[inside] |= self._seen[ids[inside]] > 0
        return mask

    def forget(self, ids: Ids) -> None:
        """Forget what was decided about `ids`."""
        self._decisions.forget(ids)

    def _decide(self, number: int) -> int:
        return FIRST_ROW if self._table.name(number).startswith(b"*") else PASS
