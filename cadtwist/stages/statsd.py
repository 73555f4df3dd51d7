"""StatsdWindow: counters, timers, gauges and sets, summed up from flush to flush, in the manner of both families.

A flush closes the window: what comes from then on belongs to the next one.  Then kind by kind, in slices, the values
are computed (`Etsy` or `Statsite` say how) and handed to a teller, which knows where they go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder, ISink
from cadtwist.kernels import active
from cadtwist.kernels.bucketkinds import STAYS
from cadtwist.model.batch import NO_ID, Batch, Floats, Ids
from cadtwist.model.idflags import distinct
from cadtwist.model.told import Told
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["KINDS", "Calculation", "Closing", "StatsdWindow", "Summariser", "Teller", "WindowJournal"]

KINDS = ("", "c", "ms", "g", "s", "kv")
"""The types of series; a kind's number is its place, 0 = unknown."""

SLICE = 1024
_UNKNOWN = 255
_WAIT_S = 0.01
"""How long a flush rests before it looks again whether more can be taken."""

_PATIENCE = 0.75

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Teller(Protocol):
    """Takes what a flush tells.  `timestamp` is that of the flush, in whole epoch seconds."""

    def begin(self, series: dict[str, int]) -> None:
        """A flush begins, which tells about so many series of each kind."""

    def tell(self, told: Told, timestamp: float) -> int:
        """Pass values on; return how many datapoints that made."""

    def end(self, timestamp: float, counts: dict[str, float]) -> int:
        """End a flush, with what the window tells of itself, if it does; return how many datapoints that made."""

    def forget(self, ids: Ids) -> None:
        """Series are gone; their ids may come back as others."""


class Closing(NamedTuple):
    """Series of one kind at a flush, in ascending order of ids, with their cells of the closing window.

    `at[i]` is the place in `ids` of the series of `cells[i]`.  Cells that stay are there as well when they have data
    of the next window: `first` is then their value at the end of this one.
    """

    kind: int
    ids: Ids
    cells: Ids
    at: npt.NDArray[np.intp]
    window: float


class Summariser(Protocol):
    """Takes what writers want of a flush: one summary of each series that had data."""

    def tell(self, buckets: active.buckets.Buckets, closing: Closing, timestamp: float) -> None:
        """Take the cells of some series."""

    def forget(self, ids: Ids) -> None:
        """Series are gone; their ids may come back as others."""


class Calculation(Protocol):
    """What a family makes of the cells of a window."""

    @property
    def flags(self) -> dict[int, int]:
        """What the cells of each kind keep (`kernels.bucketkinds`)."""

    def due(self, now: float) -> float:
        """Return when the first flush after `now` is due."""

    def stamp(self, now: float) -> float:
        """Return the timestamp of a flush at `now`, in whole seconds."""

    def group(self, kind: int, key: str) -> int:
        """Return which fields a series has, of those of its kind; less than 255."""

    def tell(self, buckets: active.buckets.Buckets, closing: Closing, groups: npt.NDArray[np.uint8]) -> Iterator[Told]:
        """Yield what is told of some series."""

    def stays(self, buckets: active.buckets.Buckets, closing: Closing, groups: npt.NDArray[np.uint8]) -> Mask:
        """Return which of the series go on being told without new data."""

    def begin(self, timestamp: float, add: Callable[[bytes, float], None]) -> None:
        """Add to series of our own (`KEY|TYPE`, value) before the window closes."""


class WindowJournal(Protocol):
    """Hears what a log of the window must know of a flush."""

    def closed(self, timestamp: float) -> None:
        """The window closed: what comes now belongs to the next one."""

    def levels(self, ids: Ids, levels: Floats, moved: Mask) -> None:
        """Gauges that go on have these levels now; `moved`: since the window closed."""

    def told(self) -> None:
        """All that the flush tells has been passed on."""


@implementer(ISink, IHolder)
class StatsdWindow:
    """Takes Batches of the key space `table` (names `KEY|TYPE`); tells `teller` at each flush.  Reactor thread.

    `clock` gives monotonic seconds, by which `flush` keeps to its budget.  Values beyond `max_bytes` of memory are
    dropped as `window_full`; of a timer, `kept` values are exact.  `summaries` hears of each series as well, `journal`
    (None: nobody) of flushes.  Ledger: values of the open window are held, told ones merged, what was told of them
    made, as are values that come back from a log: `restore`, `restore_levels` and `retell`, before anything is taken.

    While `crowded()`, a flush waits, since what it tells would only queue: for three quarters of the time until the
    next flush, then the queue has to take it.

    A gauge whose life ends in a flush and that is moved (`+1`) while that flush is under way moves from its old value.
    """

    def __init__(
        self,
        table: tables.MetricTable,
        calculation: Calculation,
        teller: Teller,
        account: Account,
        clock: Callable[[], float],
        start: float,
        kept: int = 0,
        precision: int = 0,
        max_bytes: int = 0,
        summaries: Summariser | None = None,
    ) -> None:
        self.account = account
        self.buckets = active.buckets.Buckets(kept, precision, max_bytes)
        self.calculation = calculation
        self.journal: WindowJournal | None = None
        self.crowded: Callable[[], bool] = bool
        self._table = table
        self._teller = teller
        self._summaries = summaries
        self._clock = clock
        self._window = 1.0
        self._due = calculation.due(start)
        self._running: Iterator[None] | None = None
        self._told_at = calculation.stamp(start)
        self._waits_until = -math.inf
        self._kinds: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._groups: npt.NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._live: Mask = np.zeros(0, np.bool_)
        self._held = 0
        account.held = lambda: self._held

    def accept(self, batch: Batch) -> None:
        """Put values into the cells of the open window."""
        self.account.received += len(batch)
        self._add(batch.ids, batch.values, batch.weights)

    def add(self, name: bytes, value: float) -> None:
        """Add one value of our own to the series `KEY|TYPE`."""
        number = self._table.intern(name, 0)
        if number != NO_ID:
            self.account.made += 1
            self._add(np.array([number], np.uint32), np.array([value], np.float64), None)

    def restore(self, ids: Ids, values: Floats, weights: Floats | None) -> None:
        """Put logged values into the open window."""
        self.account.made += len(ids)
        self._add(ids, values, weights)

    def restore_levels(self, ids: Ids, levels: Floats, moved: Mask) -> None:
        """Let gauges have logged levels: of the window before, or those that `moved` of the open one."""
        for mask, window in ((~moved, self._window - 1), (moved, self._window)):
            if mask.any():
                self.account.made += int(np.count_nonzero(mask))
                self._add(ids[mask], levels[mask], None, window)

    def retell(self, timestamp: float) -> None:
        """Close the window and tell it: a flush with that timestamp was told by a former process, maybe to nobody."""
        for _ in self._steps(timestamp, own=False):
            pass

    def next_flush(self, now: float) -> float | None:
        """Return when (epoch seconds) the next flush is due: at once, or soon, while one is under way."""
        if self._running is None:
            return self._due
        return now + _WAIT_S if self._must_wait(now) else now

    def flush(self, now: float, budget_s: float = math.inf) -> bool:
        """Flush if that is due at `now`, in slices; False when it had to give way before all was told."""
        if self._running is None:
            if now < self._due:
                return True
            self._running = self._steps(now)
            self._waits_until = now + _PATIENCE * (self.calculation.due(now) - now)
        elif self._must_wait(now):
            return False
        until = self._clock() + budget_s
        for _ in self._running:
            if self._clock() >= until or self._must_wait(now):
                return False
        self._running = None
        return True

    def _must_wait(self, now: float) -> bool:
        return now < self._waits_until and self.crowded()

    def _end_flush(self, now: float) -> None:
        """Tell what is left of a flush that is under way."""
        self._waits_until = -math.inf
        while self._running is not None:
            self.flush(now)

    def finish(self, now: float) -> None:
        """Flush whatever the window holds: the service stops.

        Within the second of the last flush, or of the start, it is told as of the next one: stores have one value for
        each second, and a former process may have told this one.
        """
        self._end_flush(now)
        self._running = self._steps(now, is_last=True)
        self.flush(now)

    def holds(self, ids: Ids) -> Mask:
        """Claim the series that are told, or have values."""
        mask = self.buckets.holds(ids)
        inside = ids < len(self._live)
        mask[inside] |= self._live[ids[inside]]
        return mask

    def forget(self, ids: Ids) -> None:
        """Forget all about `ids`."""
        lost = self.buckets.drop(ids)
        if lost:
            self._held -= lost
            self.account.drop("expired", lost)
        inside = ids[ids < len(self._live)]
        self._live[inside], self._kinds[inside] = False, 0
        self._teller.forget(ids)
        if self._summaries is not None:
            self._summaries.forget(ids)

    def change(self, calculation: Calculation, teller: Teller, now: float) -> None:
        """Go on with other settings: the values of the open window stay, a flush that runs ends first."""
        self._end_flush(now)
        self.calculation, self._teller = calculation, teller
        self._due = min(self._due, calculation.due(now))
        self._groups.fill(_UNKNOWN)

    def series(self, kind: str) -> Ids:
        """Return the ids of the series of a kind that are told now, in order."""
        return self._of_kind(KINDS.index(kind))

    def open_values(self, kind: str) -> dict[str, float | list[float]]:
        """Return what the open window holds of the series of a kind by key: sums, values of timers, levels of gauges.

        Set sizes for sets.
        """
        ids = self.series(kind)
        keys = [name.rpartition(b"|")[0].decode("utf-8") for name in self._table.names(ids)]
        found: list[float | list[float]] = [[] if kind in ("ms", "kv") else 0.0 for _ in keys]
        cells = self.buckets.cells_of(ids)
        rows, starts, _, sums, *_, lasts, _ = self.buckets.read(cells)
        current = (starts == self._window) | (kind == "g")
        cells, at = cells[current], np.searchsorted(ids, rows[current]).tolist()
        if kind in ("ms", "kv"):
            offsets, values = self.buckets.values(cells)
            ends = offsets.tolist()
            for place, begin, end in zip(at, ends, ends[1:], strict=False):
                found[place] = values[begin:end].tolist()
        else:
            plain = {"c": sums[current], "g": lasts[current]}
            numbers = plain[kind] if kind in plain else self.buckets.members(cells)
            for place, value in zip(at, numbers.tolist(), strict=True):
                found[place] = value
        return dict(zip(keys, found, strict=True))

    def delete(self, ids: Ids) -> None:
        """Tell the series no more, and drop what they hold."""
        cells = self.buckets.cells_of(ids)
        self._end(cells, "deleted")
        self.buckets.free(cells)
        self._live[ids] = False

    def _add(self, ids: Ids, values: Floats, weights: Floats | None, window: float | None = None) -> None:
        if not active.columns.all_set(self._kinds, ids):
            self._meet(ids)
        late, refused = self.buckets.add(ids, self._window if window is None else window, values, weights)
        self._held += len(ids) - late - refused
        if late or refused:
            self.account.drop("window_full", late + refused)
        if not active.columns.all_set(self._live.view(np.uint8), ids):
            self._live[ids] = True

    def _meet(self, ids: Ids) -> None:
        if not len(ids):
            return
        needed = int(ids.max()) + 1
        if needed > len(self._kinds):
            more = needed + needed // 8 + 1024 - len(self._kinds)
            self._kinds = np.concatenate((self._kinds, np.zeros(more, np.uint8)))
            self._groups = np.concatenate((self._groups, np.zeros(more, np.uint8)))
            self._live = np.concatenate((self._live, np.zeros(more, np.bool_)))
        for number in distinct(ids[self._kinds[ids] == 0]).tolist():
            self._learn(number)

    def _learn(self, number: int) -> None:
        key, _, name = self._table.name(number).decode("utf-8").rpartition("|")
        kind = KINDS.index(name)
        self._kinds[number] = kind
        self._groups[number] = self.calculation.group(kind, key)
        self.buckets.define(number, 0.0, self.calculation.flags[kind])

    def _groups_of(self, ids: Ids) -> npt.NDArray[np.uint8]:
        """Return the groups of series; after a change they are asked for again."""
        for number in ids[self._groups[ids] == _UNKNOWN].tolist():
            key = self._table.name(number).decode("utf-8").rpartition("|")[0]
            self._groups[number] = self.calculation.group(int(self._kinds[number]), key)
        return self._groups[ids]

    def _of_kind(self, kind: int) -> Ids:
        return np.flatnonzero(self._live & (self._kinds == kind)).astype(np.uint32)

    def _steps(self, now: float, own: bool = True, is_last: bool = False) -> Iterator[None]:
        """Flush; pauses after each slice.  Without `own` it is one of a former process: nothing of ours is told."""
        begun, timestamp = self._clock(), self.calculation.stamp(now)
        if is_last and timestamp == self._told_at:
            timestamp += 1.0
        self._told_at = timestamp
        journal = self.journal if own else None
        if own:
            self.calculation.begin(timestamp, self.add)
            self._due = self.calculation.due(now)
        window, self._window = self._window, self._window + 1
        if journal is not None:
            journal.closed(timestamp)
        kinds = [(kind, self._of_kind(kind)) for kind in (5, 1, 2, 3, 4)]
        self._teller.begin({KINDS[kind]: len(ids) for kind, ids in kinds})
        told = {KINDS[kind]: 0.0 for kind, _ in kinds}
        for kind, ids in kinds:
            for at in range(0, len(ids), SLICE):
                told[KINDS[kind]] += self._slice(kind, ids[at : at + SLICE], window, timestamp, journal)
                yield
        counts = {**told, "calculation_ms": (self._clock() - begun) * 1000.0} if own else {}
        made = self._teller.end(timestamp, counts)
        self.account.made += made
        self.account.out += made
        self.account.count("flushes" if own else "flushes_again")
        if journal is not None:
            journal.told()

    def _slice(self, kind: int, ids: Ids, window: float, timestamp: float, journal: WindowJournal | None) -> int:
        """Tell some series of one kind; return how many of them were told."""
        buckets = self.buckets
        ids = ids[self._live[ids] & (self._kinds[ids] == kind)]
        cells = buckets.cells_of(ids)
        rows, starts = buckets.read(cells)[:2]
        newer, old = np.zeros(len(ids), np.bool_), starts <= window
        at = np.searchsorted(ids, rows)
        newer[at[~old]] = True
        lasting = self.calculation.flags[kind] & STAYS
        ours = np.ones(len(cells), np.bool_) if lasting else old
        closing = Closing(kind, ids, cells[ours], at[ours], window)
        series = 0
        groups = self._groups_of(ids)
        for told in self.calculation.tell(buckets, closing, groups):
            made = self._teller.tell(told, timestamp)
            self.account.made += made
            self.account.out += made
            series += len(told.ids)
        if self._summaries is not None:
            self._summaries.tell(buckets, closing, timestamp)
        stays = self.calculation.stays(buckets, closing, groups)
        self._live[ids] = stays | newer
        if lasting and journal is not None:
            goes_on = self._live[closing.ids[closing.at]]
            columns = buckets.read(closing.cells[goes_on])
            journal.levels(columns[0], columns[8], columns[1] > window)
        self._end(closing.cells, "")
        buckets.free(closing.cells[~self._live[ids][closing.at]] if lasting else closing.cells)
        return series

    def _end(self, cells: Ids, reason: str) -> None:
        """Count what cells hold as told, or as dropped for a reason."""
        points = self.buckets.settle(cells, np.zeros(len(cells)))
        self._held -= points
        if reason:
            self.account.drop(reason, points)
        else:
            self.account.merged += points
