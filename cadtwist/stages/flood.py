"""statsrelay's flood control: keys that come too often are sampled, and so are, as one, the keys that are too many."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder, ISink
from cadtwist.kernels import active
from cadtwist.kernels.absorbed import COUNTER, GAUGE, TIMER, Absorbed
from cadtwist.model.batch import BATCH_POINTS, Batch, Ids, Spans
from cadtwist.model.decisions import PASS, Decisions
from cadtwist.stages.names import Outcome
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["FloodLimits", "FloodStage"]

_LOOK_EVERY = 16
_REFUSED = -1


@dataclass(frozen=True)
class FloodLimits:
    """For one kind of metric: lines of a key in `window_s` seconds that pass (below 0: all), and keys that are kept."""

    threshold: int = -1
    window_s: int = -1
    most_keys: int = 10_000

    @property
    def active(self) -> bool:
        """Whether there is anything to do."""
        return self.threshold >= 0 and self.window_s > 0


@implementer(ISink, IHolder)
class FloodStage:
    """Absorbs the lines of keys that flood, and makes a few of them at the end of each window.  Reactor thread.

    A counter becomes one line with its mean and the rate that makes up for it, a gauge its mean, a timer a sample (as
    many values as its threshold) with their rate; with `extremes` the highest and the lowest value as well, each at the
    rate it came with.  `old_rates` writes `|c@0.1`, as statsrelay does and no server reads.  Lines of new keys beyond a
    kind's `most_keys` are dropped (`flagged_lines`).

    Lines of names that `refuse` drops (a rule; None: of none) are left to the stage behind, which counts them, and
    are no keys here.

    Ledger: absorbed lines are `merged`, lines of a flush `made`.  Only checked statsd lines may come in.
    """

    def __init__(
        self,
        counters: FloodLimits,
        timers: FloodLimits,
        gauges: FloodLimits,
        table: tables.MetricTable,
        downstream: ISink,
        account: Account,
        *,
        now: float,
        extremes: bool = False,
        purge_interval_s: int = 3600,
        key_ttl_s: int = 21600,
        old_rates: bool = False,
        refuse: Callable[[str], Outcome | None] | None = None,
        seed: int = 1,
    ) -> None:
        self.limits = (counters, timers, gauges)
        self.downstream = downstream
        self._table = table
        self._account = account
        self._key_ttl_s = key_ttl_s
        self._purge_interval_s = purge_interval_s
        self._rate_mark = "@" if old_rates else "|@"
        self._flood = active.flood.Flood(
            [each.threshold if each.active else -1 for each in self.limits],
            [each.most_keys for each in self.limits],
            extremes,
            seed,
        )
        self._refuse = refuse
        self._asked = None if refuse is None else Decisions(self._decide_id)
        self._kept: npt.NDArray[np.uint8] = np.zeros(BATCH_POINTS, np.uint8)
        self._ends = [now + each.window_s if each.active else inf for each in self.limits]
        self._purge_at = now + purge_interval_s
        self._now = now
        self._due: deque[tuple[int, int]] = deque()

    def accept(self, batch: Batch) -> None:
        """Pass on what does not flood; a Batch of which all passes is not copied."""
        points, spans = len(batch), batch.spans
        self._account.received += points
        if spans is None:
            raise TypeError("a Batch without its lines")
        if points > len(self._kept):
            self._kept = np.zeros(points, np.uint8)
        kept = self._kept[:points]
        if self._asked is None or self._asked.all_are(batch.ids, PASS):
            absorbed, flagged = self._flood.take(spans.data, spans.table, batch.ids, kept, int(self._now))
        else:
            absorbed, flagged = self._take_some(self._asked, spans, batch.ids, kept)
        if absorbed or flagged:
            self._account.merged += absorbed
            if flagged:
                self._account.drop("flagged_lines", flagged)
            batch = batch.select(kept.astype(np.bool_))
        if len(batch):
            self._pass_on(batch)

    def _take_some(
        self, asked: Decisions, spans: Spans, ids: Ids, kept: npt.NDArray[np.uint8]
    ) -> tuple[int, int]:
        """Take the lines whose names are not refused; the others are kept."""
        rows = np.flatnonzero(asked.lookup(ids) == PASS)
        some: npt.NDArray[np.uint8] = np.ones(len(rows), np.uint8)
        found = self._flood.take(spans.data, spans.table[rows], ids[rows], some, int(self._now))
        kept.fill(1)
        kept[rows] = some
        return found

    def _decide_id(self, number: int) -> int:
        name = self._table.name(number).decode("utf-8", "surrogateescape")
        outcome = None if self._refuse is None else self._refuse(name)
        return PASS if outcome is None or outcome.names else _REFUSED

    def next_flush(self, now: float) -> float:
        """Return when `flush` has something to do: `now` while it is not through."""
        return now if self._due else min(*self._ends, self._purge_at)

    def flush(self, now: float, clock: Callable[[], float], budget_s: float = 0.01) -> bool:
        """End the windows whose time is over, and send what their keys absorbed; return whether all is sent.

        Takes about `budget_s` seconds of `clock`, then wants to be called again.  `now` is epoch seconds; call it at
        least every second: what it was told is when lines came.
        """
        self._now = now
        for kind, end in enumerate(self._ends):
            if now >= end:
                self._ends[kind] = end + self.limits[kind].window_s * (1 + (now - end) // self.limits[kind].window_s)
                self._due += [(kind, number) for number in self._flood.end_window(kind).tolist()]
        if now >= self._purge_at:
            self._purge_at = now + self._purge_interval_s
            for kind in (COUNTER, TIMER):
                self._account.count("keys_purged", self._flood.purge(kind, int(now) - self._key_ttl_s))
        self._send_due(clock, clock() + budget_s)
        return not self._due

    def finish(self) -> None:
        """End every window now and send all that was absorbed: this stage ends."""
        for kind, limits in enumerate(self.limits):
            if limits.active:
                self._due += [(kind, number) for number in self._flood.end_window(kind).tolist()]
        self._send_due(lambda: 0.0, inf)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the keys that have absorbed something that was not sent yet."""
        return self._flood.holds(ids)

    def forget(self, ids: Ids) -> None:
        """The ids may come back as other keys."""
        self._flood.forget(ids)
        if self._asked is not None:
            self._asked.forget(ids)

    def keys(self) -> tuple[int, int, int]:
        """Return how many counters, timers and gauges are known."""
        return self._flood.keys(COUNTER), self._flood.keys(TIMER), self._flood.keys(GAUGE)

    def _send_due(self, clock: Callable[[], float], until: float) -> None:
        """Make the lines of keys whose window has ended, until that time."""
        text, rows, ids, done = bytearray(), list[tuple[int, int, int]](), list[int](), 0
        while self._due and (done % _LOOK_EVERY or clock() < until):
            kind, number = self._due.popleft()
            done += 1
            name = self._table.name(number)
            for rest in self._written(kind, self._flood.drain(kind, number)):
                start = len(text)
                text += name + rest.encode("ascii")
                rows.append((start, start + len(name), len(text)))
                ids.append(number)
                text += b"\n"
        data = bytes(text)
        for first in range(0, len(ids), BATCH_POINTS):
            some = slice(first, first + BATCH_POINTS)
            columns = np.array(ids[some], np.uint32), np.array(rows[some], np.uint32)
            zeros = np.zeros(len(columns[0]))
            self._account.made += len(columns[0])
            self._pass_on(Batch(columns[0], zeros, zeros, None, Spans(data, columns[1])))

    def _written(self, kind: int, absorbed: Absorbed) -> Iterator[str]:
        """Yield what follows the key in each line that stands for what it has absorbed."""
        mark = self._rate_mark
        if kind != TIMER:
            mean = absorbed.total / absorbed.weight if absorbed.weight else inf
            if isfinite(mean):
                yield f":{mean:g}|g" if kind == GAUGE else f":{mean:g}|c{mark}{1 / absorbed.weight:g}"
        else:
            for extreme in (absorbed.upper, absorbed.lower):
                if extreme is not None:
                    yield f":{extreme[0]:g}|ms{mark}{extreme[1]:g}"
            for value in absorbed.sample:
                yield f":{value:g}|ms{mark}{len(absorbed.sample) / absorbed.weight:g}"

    def _pass_on(self, batch: Batch) -> None:
        self._account.out += len(batch)
        self.downstream.accept(batch)
