"""Window: many datapoints of one metric or of many become one for each interval, by rules.

What carbon's aggregator does, and two policies that say what becomes of late data:

| Policy | An interval is told | and again | Later data |
|---|---|---|---|
| `carbon` | at each beat, from the first datapoint on | at each beat after new data | begin it anew |
| `revise` | when it and the allowance are over | at each beat after new data | are dropped as `late` |
| `final-once` | when it and the allowance are over | never | are dropped as `late` |
| `each-beat` | at the next beat | never | begin it anew, and are told at the next beat |

"Later" is after it was let go of: `max_intervals` intervals later, or for `final-once` when it was told.  A beat is
`write_back_s` or the rule's frequency, whichever is less; it counts from an output's first datapoint, as carbon's, or
is aligned to the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import ISink, IStage
from cadtwist.model.batch import BATCH_POINTS, NO_ID, Batch, Floats, Ids
from cadtwist.model.opencells import OpenCells
from cadtwist.model.summary import SummaryBatch
from cadtwist.stages.decisions import FIRST_ROW, PASS, UNKNOWN, Decisions, FanTable, Numbers
from cadtwist.stages.outputs import Outputs
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["LATENESS", "Aggregates", "FeedJournal", "FeedRule", "Window", "WindowPolicy"]

LATENESS = ("carbon", "carbon-1.1", "revise", "final-once", "each-beat")
"""`carbon` lets go of an interval some intervals after it was told last, `carbon-1.1` some after it began."""

_SLICE = 4096
_ABOVE_MOST = 2
_UNMATCHED, _UNREADABLE = -1, -2


@dataclass(frozen=True, slots=True)
class WindowPolicy:
    """When intervals are told and let go of.  Seconds; `allowance_s` is for `revise` and `final-once`.

    `aligned` beats are `allowance_s` after multiples of their length.
    `keep_idle` (`each-beat` only): an output that had no data since the last beat is told as 0.
    """

    lateness: str = "carbon"
    max_intervals: int = 5
    write_back_s: float | None = None
    allowance_s: float = 0.0
    aligned: bool = False
    forward_all: bool = True
    keep_idle: bool = False

    def beat_s(self, frequency: float) -> float:
        """Return the seconds between two looks at an output."""
        return float(frequency if self.write_back_s is None else min(frequency, self.write_back_s))


class FeedRule(Protocol):
    """A pure rule: which output a name feeds, if any, and how it is computed."""

    @property
    def method(self) -> str:
        """One of `stages.outputs.METHODS`."""

    @property
    def frequency(self) -> float:
        """The length of intervals in seconds."""

    def output_of(self, name: str) -> str | None:
        """Return the output that `name` feeds; None when the rule is not about it."""


class Aggregates(NamedTuple):
    """What becomes of a name: the (rule, output) pairs it feeds, and whether it goes on itself."""

    feeds: tuple[tuple[FeedRule, str], ...]
    forwarded: bool


class FeedJournal(Protocol):
    """Logs what feeds outputs."""

    def append(self, batch: Batch) -> None:
        """Log a lent Batch."""


@implementer(IStage)
class Window:
    """Feeds the outputs of `rules`; tells them downstream when they are due.  Reactor thread.

    What feeds outputs goes to the `journal` as well, if there is one; `restore` and `restore_cells` take what it had.

    `now` gives epoch seconds; `clock` monotonic seconds, by which `flush` keeps to its budget.  `missed` hears of the
    ids of datapoints that no rule is about, `summaries` of the cells that are told.  No rule is about a name that is no
    UTF-8: it is passed on, or dropped (`name`).  Ledger: what cells hold that was never told is held; told datapoints
    are merged, the values told are made.

    A reload: `fresh = old.replaced(rules)`, `prime` it, let the upstream sink deliver into it, then `fresh.adopt(old)`.
    Outputs whose settings are unchanged go on; those without a rule are told to their end.
    """

    def __init__(
        self,
        rules: Sequence[FeedRule],
        table: tables.MetricTable,
        downstream: ISink,
        account: Account,
        now: Callable[[], float],
        clock: Callable[[], float],
        policy: WindowPolicy = WindowPolicy(),
        outputs: Outputs | None = None,
        missed: Callable[[Ids], None] | None = None,
        summaries: Callable[[SummaryBatch], None] | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.policy = policy
        self.downstream = downstream
        self.outputs = outputs if outputs is not None else Outputs()
        self.journal: FeedJournal | None = None
        self._table = table
        self._account = account
        self._now = now
        self._clock = clock
        self._fans = FanTable()
        self._decisions = Decisions(self._decide_id)
        self._held = 0
        self._missed = missed
        self._summaries = summaries
        account.held = lambda: self._held

    def decide(self, name: str) -> Aggregates:
        """Return what becomes of `name`.  Pure."""
        found = ((rule, rule.output_of(name)) for rule in self.rules)
        feeds = tuple((rule, output) for rule, output in found if output is not None)
        return Aggregates(feeds, self.policy.forward_all and name not in [output for _, output in feeds])

    def explain(self, name: str) -> str:
        """Return `decide(name)` as one line for people."""
        feeds, forwarded = self.decide(name)
        into = ", ".join(f"{rule.method} of {output} every {rule.frequency} s" for rule, output in feeds)
        goes_on = "passed on" if forwarded else "not passed on"
        return f"{name}: feeds {into}; {goes_on}" if feeds else f"{name}: feeds nothing; {goes_on}"

    def accept(self, batch: Batch) -> None:
        """Put datapoints into the cells of their outputs, and pass on what is to go on."""
        account = self._account
        account.received += len(batch)
        decided = self._decisions.lookup(batch.ids)
        feeds = decided >= FIRST_ROW
        if feeds.all():
            copies = self._log_and_feed(batch, decided)
        else:
            copies = self._log_and_feed(batch.select(feeds), decided[feeds]) if feeds.any() else 0
            self._count_drops(decided)
        goes_on = (decided == PASS) | (feeds & (decided - FIRST_ROW & 1 == 1))
        forwarded = int(np.count_nonzero(goes_on))
        if self._missed is not None and not feeds.all():
            self._missed(batch.ids[(decided == PASS) | (decided == _UNMATCHED)])
        account.made += copies + int(np.count_nonzero(goes_on & feeds)) - int(np.count_nonzero(feeds))
        if forwarded:
            account.out += forwarded
            self.downstream.accept(batch if forwarded == len(batch) else batch.select(goes_on))

    def restore(self, batch: Batch) -> None:
        """Put logged datapoints into the cells of their outputs again; they are not passed on."""
        decided = self._decisions.lookup(batch.ids)
        feeds = decided >= FIRST_ROW
        if feeds.any():
            self._account.made += self._feed(batch.select(feeds), decided[feeds])

    def restore_cells(self, found: OpenCells) -> None:
        """Let outputs have what was open of them when that was logged, and nothing else."""
        lost, got = self.outputs.restore(found, self.policy.beat_s, self._now())
        self._held += got - lost
        self._account.made += got
        self._account.merged += lost

    def restore_values(self, found: Batch) -> None:
        """Put logged values back behind the percentiles of their outputs: ids of outputs, starts of intervals."""
        got = self.outputs.restore_values(found, self._now())
        self._held += got
        self._account.made += got

    def next_flush(self, now: float) -> float | None:  # noqa: ARG002 (other windows need it)
        """Return when (epoch seconds) something is to be told; None while nothing is open."""
        due = self.outputs.first_due
        return due if due != np.inf else None

    def flush(self, now: float, budget_s: float = np.inf) -> bool:
        """Tell what is due at `now`, in slices; False when `budget_s` was over before all was told."""
        outputs, until = self.outputs, self._clock() + budget_s
        rows = outputs.due_rows(now)
        for start in range(0, len(rows), _SLICE):
            if start and self._clock() >= until:
                return False
            part = rows[start : start + _SLICE]
            self._tell(part, now)
            outputs.rest(part, now, self.policy.keep_idle)
        outputs.settle_due()
        return True

    def finish(self, now: float) -> None:
        """Tell whatever has not been told, also what is not over: the service stops."""
        outputs = self.outputs
        rows = outputs.buckets.rows_before(np.inf)
        for start in range(0, len(rows), _SLICE):
            cells = outputs.buckets.cells_of(rows[start : start + _SLICE])
            untold = cells[outputs.buckets.marks(cells)[0] > 0]
            self._emit(untold, np.full(len(untold), now))
            self._free(cells)
            outputs.rest(rows[start : start + _SLICE], now)
        outputs.settle_due()

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the ids of outputs, but one that is fed by itself alone only while it has cells, or is told idle."""
        claimed = self.outputs.claimed(ids)
        if claimed.any() and not self.policy.keep_idle:
            claimed[claimed] = ~self._rests(ids[claimed])
        return claimed

    def forget(self, ids: Ids) -> None:
        """Forget the decisions about `ids`."""
        decided = self._decisions.known(ids)
        for number in (decided[decided >= FIRST_ROW] - FIRST_ROW).tolist():
            self.outputs.leave(self._fans.targets(number >> 1).copy())
            self._fans.remove(number >> 1)
        self._decisions.forget(ids)

    def prime(self, ids: Ids, budget: int) -> int:
        """Decide up to `budget` unknown ids in advance; return how many of `ids` are unknown after that."""
        return self._decisions.prime(ids, budget)

    def replaced(
        self, rules: Sequence[FeedRule], policy: WindowPolicy | None = None, downstream: ISink | None = None
    ) -> Window:
        """Return a window with other rules in this one's place, with the same outputs; nothing is decided yet."""
        self.outputs.generation += 1
        held = self._account.held
        fresh = Window(
            rules, self._table, downstream or self.downstream, self._account, self._now, self._clock,
            policy or self.policy, self.outputs, self._missed, self._summaries,
        )  # fmt: skip
        self._account.held = held
        return fresh

    def adopt(self, old: Window) -> None:
        """Take over from `old`, into which nothing more is delivered."""
        self.journal = old.journal
        self._held += old._held
        old._held = 0
        self._account.held = lambda: self._held
        self.outputs.leave(old._fans.all_targets())

    def discard(self) -> None:
        """Let go of the outputs: nothing was or will be delivered here, or `finish` has told everything."""
        self.outputs.leave(self._fans.all_targets())
        self._fans = FanTable()
        self._decisions = Decisions(self._decide_id)

    def _rests(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return where an output has no cell, and nothing leads to it but what was decided about its own name."""
        outputs, decided = self.outputs, self._decisions.known(ids)
        rests = decided >= FIRST_ROW
        rows = self._fans.first_targets((decided[rests] - FIRST_ROW) >> 1)
        rests[rests] = (outputs.ids[rows] == ids[rests]) & (outputs.uses[rows] == 1) & ~outputs.buckets.holds(rows)
        return rests & outputs.alone(ids)

    def _decide_id(self, number: int) -> int:
        try:
            name = self._table.name(number).decode("utf-8")
        except UnicodeDecodeError:
            return PASS if self.policy.forward_all else _UNREADABLE
        feeds, forwarded = self.decide(name)
        if not feeds:
            return PASS if forwarded else _UNMATCHED
        seen, rows = self._table.seen(number), list[int]()
        for rule, output in feeds:
            target = self._table.intern(output.encode("utf-8", "replace"), seen)
            if target == NO_ID:
                self.outputs.use(rows)
                self.outputs.leave(np.array(rows, np.uint32))
                return UNKNOWN
            rows.append(self.outputs.row(target, rule.frequency, rule.method, self.policy.beat_s(rule.frequency)))
        self.outputs.use(rows)
        return FIRST_ROW + (self._fans.add(rows) << 1) + forwarded

    def _log_and_feed(self, batch: Batch, decided: Numbers) -> int:
        if self.journal is not None:
            self.journal.append(batch)
        return self._feed(batch, decided)

    def _feed(self, batch: Batch, decided: Numbers) -> int:
        """Add the datapoints to their rows; return how many copies that were."""
        fans = (decided - FIRST_ROW) >> 1
        rows = self._fans.only_targets(fans)
        timestamps, values = batch.timestamps, batch.values
        if rows is None:
            positions, rows = self._fans.spread(batch.ids, fans)
            timestamps, values = timestamps[positions], values[positions]
        late, refused = self.outputs.buckets.add(rows, timestamps, values)
        self._held += len(rows) - late - refused
        if late:
            self._account.drop("late", late)
        if refused:
            self._account.drop("window_full", refused)
        self.outputs.begin(rows, self._now(), self.policy.allowance_s if self.policy.aligned else None)
        return len(rows)

    def _count_drops(self, decided: Numbers) -> None:
        for number, reason in ((_UNMATCHED, "unmatched"), (_UNREADABLE, "name"), (UNKNOWN, "table_full")):
            points = int(np.count_nonzero(decided == number))
            if points:
                self._account.drop(reason, points)

    def _tell(self, rows: Ids, now: float) -> None:
        """Tell the cells of some rows that are due, and let go of those that are old."""
        buckets, policy = self.outputs.buckets, self.policy
        cells = buckets.cells_of(rows)
        owners, starts = buckets.read(cells)[:2]
        frequencies = self.outputs.frequencies[owners]
        fresh, marks = buckets.marks(cells)
        current = int(now) - int(now) % frequencies
        aged = current - policy.max_intervals * frequencies
        if policy.lateness in ("carbon", "carbon-1.1"):
            told = fresh > 0
            by = starts if policy.lateness == "carbon-1.1" else np.where(told, np.inf, marks)
            self._emit(cells[told], current[told])
            self._free(cells[(by < aged) | self._beyond_most(owners)])
            return
        if policy.lateness == "each-beat":
            told = fresh > 0
            self._emit(cells[told], current[told])
            self._free(cells)
            if policy.keep_idle:
                idle = np.ones(len(rows), np.bool_)
                idle[np.searchsorted(rows, owners)] = False
                self._tell_idle(rows[idle], now)
            return
        over = starts + frequencies + policy.allowance_s <= now
        told = over & (fresh > 0)
        self._account.count("revised", int(np.count_nonzero(told & (marks > -np.inf))))
        self._emit(cells[told], current[told])
        gone = over if policy.lateness == "final-once" else over & (starts + frequencies + policy.allowance_s <= aged)
        buckets.close(owners[gone], (starts + frequencies)[gone])
        self._free(cells[gone])

    def _tell_idle(self, rows: Ids, now: float) -> None:
        """Tell 0 of outputs that had no data since the last beat, at the start of the interval that is over."""
        frequencies = self.outputs.frequencies[rows]
        starts = int(now) - int(now) % frequencies - frequencies
        self._account.made += len(rows)
        self._account.out += len(rows)
        if len(rows):
            self.downstream.accept(Batch(self.outputs.ids[rows], starts, np.zeros(len(rows))))

    def _beyond_most(self, owners: Ids) -> npt.NDArray[np.bool_]:
        """Return which cells, sorted by owner and start, are the oldest beyond what a row may have."""
        if self.policy.lateness != "carbon":
            return np.zeros(len(owners), np.bool_)
        ends = np.searchsorted(owners, owners, side="right")
        after: npt.NDArray[np.bool_] = ends - np.arange(len(owners)) > self.policy.max_intervals + _ABOVE_MOST
        return after

    def _emit(self, cells: Ids, marks: Floats) -> None:
        """Tell the values of cells downstream; `marks` say when, in aligned time."""
        outputs, account = self.outputs, self._account
        for start in range(0, len(cells), BATCH_POINTS):
            part = cells[start : start + BATCH_POINTS]
            rows, starts, values = outputs.values(part)
            account.made += len(part)
            account.out += len(part)
            account.count("aggregates", len(part))
            self.downstream.accept(Batch(outputs.ids[rows], starts, values))
            if self._summaries is not None:
                account.made += len(part)
                account.out += len(part)
                self._summaries(outputs.summaries(part))
        points = outputs.buckets.settle(cells, marks)
        self._held -= points
        account.merged += points

    def _free(self, cells: Ids) -> None:
        lost = self.outputs.buckets.free(cells)
        if lost:
            self._held -= lost
            self._account.drop("expired", lost)
