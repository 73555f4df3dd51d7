"""What waits to be written into counters: samples by counter, which of them a flush has still to take.

Samples of a line's name go to the counter that the store knows it as.  Whether a counter is of gauges or of events
is what its file says, else what the first line said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder, ISummarySink
from cadtwist.kernels.active import samples as kernel
from cadtwist.kernels.statformat import counter_path, munge
from cadtwist.model.batch import BATCH_POINTS, NO_ID, Ids
from cadtwist.model.decisions import FIRST_ROW, UNKNOWN, Decisions
from cadtwist.model.iduses import IdUses
from cadtwist.model.statjob import SampleColumns, Shift, StatJob
from cadtwist.model.summary import SummaryBatch
from cadtwist.model.writejob import RETRY, WAITS_FOR_CREATE, Statuses
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["CounterCache"]

_UNKNOWN, _GAUGE, _EVENT = range(3)
FUTURE_S = 60


@implementer(ISummarySink, IHolder)
class CounterCache:
    """Takes samples, gives jobs.  Reactor thread.

    `is_event(counter)` tells of a counter that has files, None where it has none.  `now()` is epoch seconds, `step_s`
    the finest interval.
    At most `most` samples wait; a counter with `full_at` of them is offered before the next flush.  A flush is a round
    of `begin` and then `take` until nothing is left.  Every job comes back by `confirm`.  `opened(counter, event)`
    hears of each counter the first time that a sample is for it.  `log(samples, events)`, once set, is told of what
    is accepted: the ids are counters'.
    """

    def __init__(
        self,
        table: tables.MetricTable,
        account: Account,
        is_event: Callable[[bytes], bool | None],
        now: Callable[[], float],
        *,
        step_s: int,
        most: int,
        full_at: int = 128,
        opened: Callable[[bytes, bool], None] = lambda _counter, _event: None,
    ) -> None:
        self.samples = kernel.SampleStore(most, full_at)
        self.log: Callable[[SummaryBatch, npt.NDArray[np.bool_]], object] | None = None
        self._table = table
        self._account = account
        self._is_event = is_event
        self._now = now
        self._opened = opened
        self._step_s = step_s
        self._decisions = Decisions(self._decide_id)
        self._kinds: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._uses = IdUses()
        self._open: set[int] = set()
        self._new: list[int] = []
        self._round: Ids = np.zeros(0, np.uint32)
        self._urgent: Ids = np.zeros(0, np.uint32)
        self._shift = Shift.DUE
        self._flying: set[int] = set()
        self._in_flight = 0
        account.held = lambda: len(self.samples) + self._in_flight

    # Samples in

    def accept(self, batch: SummaryBatch) -> None:
        """Keep samples; what cannot be is counted and dropped."""
        account = self._account
        account.received += len(batch)
        decided = self._decisions.lookup(batch.ids)
        if (decided < FIRST_ROW).any():
            account.drop("name", int(np.count_nonzero(decided < UNKNOWN)))
            account.drop("table_full", int(np.count_nonzero(decided == UNKNOWN)))
            batch, decided = batch.select(decided >= FIRST_ROW), decided[decided >= FIRST_ROW]
        ids = (decided - FIRST_ROW).astype(np.uint32)
        batch = replace(batch, ids=ids)
        events, now = self._kinds[ids] == _EVENT, self._now()
        early = batch.timestamps > now + np.where(events, self._step_s, FUTURE_S)
        if early.any():
            account.drop("from_future", int(np.count_nonzero(early)))
            batch, events = batch.select(~early), events[~early]
        if self.log is not None and len(batch):
            self.log(batch, events)
        self._keep(batch, events, now)

    def accept_logged(self, batch: SummaryBatch) -> None:
        """Keep samples that a log had: their ids are counters', and their times were right when they came."""
        self._account.made += len(batch)
        self._room_for(int(batch.ids.max(initial=0)))
        self._keep(batch, self._kinds[batch.ids] == _EVENT, float(batch.timestamps.max(initial=0)))

    def _keep(self, batch: SummaryBatch, events: npt.NDArray[np.bool_], now: float) -> None:
        refused = self.samples.append(
            batch.ids, batch.timestamps, batch.counts, batch.sums, batch.sumsqs, batch.minima, batch.maxima,
            events.astype(np.uint8), now, self._step_s,
        )  # fmt: skip
        for reason, amount in zip(("from_future", "rejected", "cache_full"), refused, strict=True):
            if amount:
                self._account.drop(reason, amount)

    def counter_of(self, name: bytes) -> int:
        """Return the id of the counter that a name means, NO_ID where none is known."""
        return self._table.lookup(munge(name))

    def peek(self, number: int) -> SampleColumns:
        """Return the samples of a counter that no job has taken yet, as the columns of a StatJob."""
        return self.samples.peek(np.array([number], np.uint32))[1]

    def waiting(self, ids: Ids) -> Iterator[SummaryBatch]:
        """Yield the samples of counters that no job has taken yet, each counter's in order, and leave them there."""
        offsets, columns = self.samples.peek(ids)
        bounds = offsets.astype(np.int64)
        owners = np.repeat(ids, bounds[1:] - bounds[:-1])
        for start in range(0, len(owners), BATCH_POINTS):
            part = slice(start, start + BATCH_POINTS)
            yield SummaryBatch(owners[part], *(column[part] for column in columns))

    def are_events(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return which counters are of events."""
        found: npt.NDArray[np.bool_] = self._kinds[ids] == _EVENT
        return found

    def open_windows(self) -> list[int]:
        """Return the counters that have open windows."""
        return sorted(self._open)

    def reset(self) -> list[int]:
        """Drop all samples and windows, and jobs that are under way; return the counters that had windows.

        For a replica that is told everything again.
        """
        _offsets, columns = self.samples.take(self.samples.waiting())
        self._account.drop("told_again", len(columns[0]) + self._in_flight)
        opened = self.open_windows()
        self._open.clear()
        self._flying.clear()
        self._in_flight = 0
        return opened

    def take_these(self, ids: Ids) -> StatJob:
        """Take a job of given counters, as the master of a replica has done."""
        return self._job(ids, self._shift)

    def know(self, number: int, event: bool) -> None:
        """Tell what a counter is, as found in a log."""
        self._room_for(number)
        self._kinds[number] = _EVENT if event else _GAUGE

    def restore(self, number: int, event: bool) -> None:
        """Tell that a counter has open windows, as found in a log."""
        self.know(number, event)
        self._open.add(number)

    # Jobs out

    @property
    def left(self) -> int:
        """Counters that the round has still to take."""
        return len(self._round)

    def begin(self, shift: Shift = Shift.DUE) -> int:
        """Begin a round: all counters with samples or open windows; return how many.  A round under way is widened."""
        waiting = np.union1d(self.samples.waiting(), np.fromiter(self._open, np.uint32, len(self._open)))
        self._round = waiting.astype(np.uint32)
        self._shift = shift
        return len(self._round)

    @property
    def counters(self) -> int:
        """About how many counters there are: the names that are known."""
        return len(self._table)

    @property
    def urgent(self) -> int:
        """Counters that do not wait for a round: those that became full, and new ones, to get files."""
        new, self._new = self._new, []
        full = self.samples.full()
        if new or len(full):
            soon = np.unique(np.concatenate((full, np.array(new, np.uint32))))
            self._urgent = np.concatenate((self._urgent, soon[~np.isin(soon, self._urgent)]))
        return len(self._urgent)

    def take(self, most: int) -> StatJob | None:
        """Take a job of up to `most` urgent counters, else of the round; None if nothing is due.

        Counters of which a job is under way are left for later.
        """
        if self.urgent:
            chosen, self._urgent = self._free(self._urgent, most)
            if len(chosen):
                return self._job(chosen, Shift.NONE)
        chosen, self._round = self._free(self._round, most)
        return self._job(chosen, self._shift) if len(chosen) else None

    def _free(self, ids: Ids, most: int) -> tuple[Ids, Ids]:
        """Return the first `most` of `ids` but for those of which a job is under way, and the rest."""
        chosen, rest = ids[:most], ids[most:]
        busy = np.array([number in self._flying for number in chosen.tolist()], np.bool_)
        return (chosen[~busy], np.concatenate((rest, chosen[busy]))) if busy.any() else (chosen, rest)

    def confirm(self, job: StatJob, statuses: Statuses, kept: npt.NDArray[np.bool_]) -> None:
        """Tell what became of a job; `kept` is where the store still has open windows.  What can be is tried again."""
        for number, is_kept in zip(job.ids.tolist(), kept.tolist(), strict=True):
            self._flying.discard(number)
            (self._open.add if is_kept else self._open.discard)(number)
        self._in_flight -= job.samples
        again = (statuses == RETRY) | (statuses == WAITS_FOR_CREATE)
        amounts = _amounts(job)
        if again.any():
            self.samples.put_back(job.ids, *_only(job, again))
        self._account.out += int(amounts[~again].sum())

    def _job(self, ids: Ids, shift: Shift) -> StatJob:
        names, name_offsets = self._table.blob(ids)
        offsets, columns = self.samples.take(ids)
        self._in_flight += len(columns[0])
        self._flying.update(ids.tolist())
        events = (self._kinds[ids] == _EVENT).astype(np.uint8)
        return StatJob(ids, names, name_offsets, events, offsets, columns, int(self._now()), shift)

    # Ids

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim counters that have samples, jobs or open windows, or to which a name is mapped."""
        mask: npt.NDArray[np.bool_] = self.samples.has(ids) | self._uses.used(ids)
        mask |= np.array([number in self._open or number in self._flying for number in ids.tolist()], np.bool_)
        return mask

    def forget(self, ids: Ids) -> None:
        """Forget what is known of `ids`."""
        targets = self._decisions.known(ids) - FIRST_ROW
        self._uses.remove(targets[(targets >= 0) & (targets != ids)])
        self._decisions.forget(ids)
        self._kinds[ids[ids < len(self._kinds)]] = _UNKNOWN

    def _decide_id(self, number: int) -> int:
        name = self._table.name(number)
        counter = munge(name)
        try:
            counter_path(counter)
        except ValueError:
            return -1
        target = self._table.intern(counter, self._table.seen(number))
        if target == NO_ID:
            return UNKNOWN
        self._room_for(target)
        if target != number:
            self._uses.add([target])
        if self._kinds[target] == _UNKNOWN:
            known = self._is_event(counter)
            event = name.startswith(b"*") if known is None else known
            self._kinds[target] = _EVENT if event else _GAUGE
            if known is None:
                self._new.append(target)
            self._opened(counter, event)
        return FIRST_ROW + target

    def _room_for(self, number: int) -> None:
        if number >= len(self._kinds):
            more = number + number // 4 + 1024 - len(self._kinds)
            self._kinds = np.concatenate((self._kinds, np.zeros(more, np.uint8)))


def _amounts(job: StatJob) -> npt.NDArray[np.int64]:
    """Return how many samples each counter of a job has."""
    bounds = job.offsets.astype(np.int64)
    return bounds[1:] - bounds[:-1]


def _only(job: StatJob, rows: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.uint32], SampleColumns]:
    """Return the offsets and columns of a job with the samples of some counters only."""
    amounts = _amounts(job)
    wanted = np.repeat(rows, amounts)
    offsets = np.concatenate(([0], np.cumsum(np.where(rows, amounts, 0)))).astype(np.uint32)
    times, counts, sums, sumsqs, minima, maxima = (column[wanted] for column in job.columns)
    return offsets, (times, counts, sums, sumsqs, minima, maxima)
