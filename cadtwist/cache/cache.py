"""The datapoints between the receivers and the files: bounded, logged, visible until they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.flow import Gate
from cadtwist.interfaces import IHolder, ISink
from cadtwist.model.batch import Batch, Floats, Ids
from cadtwist.model.idflags import IdFlags
from cadtwist.model.table import Names
from cadtwist.model.writejob import (
    BAD_NAME,
    CREATED,
    QUARANTINED,
    RETRY,
    STATUS_NAMES,
    TOO_OLD,
    WAITS_FOR_CREATE,
    WRITTEN,
    Statuses,
    WriteJob,
)
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import points as pointstores

__all__ = ["Cache", "Journal", "Limits"]

FULL = "cache_full"
"""The reason of the gate and of the drops."""

_UNBOUNDED = 1 << 60
_LOW = 0.95
_HARD = 1.05
_POINT_BYTES = 20


class Journal(Protocol):
    """What is asked of the write-ahead log."""

    def append(self, batch: Batch, /) -> int:
        """Log a Batch; return the number of the segment."""

    def forget(self, ids: Ids, /) -> None:
        """The ids may come back with other names."""


@dataclass(frozen=True)
class Limits:
    """How much the cache may hold: datapoints and their bytes, None for no limit; whichever is reached first counts.

    `max_bytes` is measured by the memory that datapoints take (16 to 21 bytes each), not by the records of metrics,
    which stay as long as their names.

    With `flow_control` the gate shuts at the limit and 5% more are still taken; without, the limit is hard.  The gate
    opens again below 95%.
    """

    max_points: int | None = None
    max_bytes: int | None = None
    flow_control: bool = True


@implementer(ISink, IHolder)
class Cache:
    """Holds datapoints by metric id from `accept` until a WriteJob with them is confirmed.  Reactor thread.

    Invariant: received + made = out + points held (pending and in flight) + merged + dropped.
    `schema_of(ids)` gives an int32 schema number per id; `on_new(ids)` hears of each id once, until it is forgotten.
    """

    def __init__(
        self,
        names: Names,
        points: pointstores.PointStore,
        schema_of: Callable[[Ids], npt.NDArray[np.int32]],
        account: Account,
        gate: Gate,
        limits: Limits = Limits(),
        journal: Journal | None = None,
        on_new: Callable[[Ids], object] | None = None,
    ) -> None:
        self.points = points
        self.account = account
        self.limits = limits
        self._names = names
        self._schema_of = schema_of
        self._gate = gate
        self._journal = journal
        self._on_new = on_new
        self._known = IdFlags()
        account.held = lambda: points.points
        account.gauge("size", lambda: float(points.points))
        account.gauge("queues", lambda: float(points.metrics))
        account.gauge("in_flight", lambda: float(points.in_flight))
        account.gauge("bytes", lambda: float(points.bytes))

    # in

    def accept(self, batch: Batch) -> None:
        """Log and keep a lent Batch; what finds no room is counted as dropped `cache_full`, overwrites always fit."""
        self.account.received += len(batch)
        self._take_in(batch)

    def adopt(self, batch: Batch) -> None:
        """Like `accept`, for datapoints out of another log: they count as made here."""
        self.account.made += len(batch)
        self._take_in(batch)

    def restore(self, batch: Batch, segment: int) -> None:
        """Keep datapoints that the own log has in `segment`; always fits, counts as made."""
        self.account.made += len(batch)
        self._append(batch, segment, _UNBOUNDED)
        self._press()

    def _take_in(self, batch: Batch) -> None:
        room = self._room()
        if room >= len(batch):
            segment = self._journal.append(batch) if self._journal is not None else 0
            self._append(batch, segment, room)
        else:
            self._squeeze_in(batch, room)
        self._press()

    def _squeeze_in(self, batch: Batch, room: int) -> None:
        """Take what fits, then log what was taken; the pin is at most one segment too old."""
        refused = np.zeros(len(batch), np.uint8)
        serial = getattr(self._journal, "serial", 0)
        self._append(batch, serial, room, refused)
        if self._journal is not None and not refused.all():
            self._journal.append(batch.select(refused == 0))

    def _append(self, batch: Batch, segment: int, room: int, refused_rows: npt.NDArray[np.uint8] | None = None) -> None:
        merged, refused, _ = self.points.append(batch.ids, batch.timestamps, batch.values, segment, room, refused_rows)
        self.account.merged += merged
        if refused:
            self.account.drop(FULL, refused)
        if self._on_new is not None:
            self._meet(batch.ids if refused_rows is None else batch.ids[refused_rows == 0])

    def _meet(self, ids: Ids) -> None:
        """Tell of ids that come for the first time."""
        new = self._known.unset(ids)
        if new is None:
            return
        self._known.set(new)
        if self._on_new is not None:
            self._on_new(new)

    # limits

    def _room(self) -> int:
        """Return how many points may still be added."""
        factor = _HARD if self.limits.flow_control else 1.0
        room = _UNBOUNDED
        if self.limits.max_points is not None:
            room = int(self.limits.max_points * factor) - self.points.points
        if self.limits.max_bytes is not None:
            room = min(room, (int(self.limits.max_bytes * factor) - self.points.point_bytes) // _POINT_BYTES)
        return max(0, room)

    def _filled(self) -> float:
        """Return which share of the limits is used: 1.0 is full."""
        share = 0.0
        if self.limits.max_points is not None:
            share = self.points.points / max(1, self.limits.max_points)
        if self.limits.max_bytes is not None:
            share = max(share, self.points.point_bytes / max(1, self.limits.max_bytes))
        return share

    def _press(self) -> None:
        """Shut or open the gate."""
        share = self._filled()
        if share >= 1.0:
            if self.limits.flow_control and FULL not in self._gate.reasons:
                self.account.count("nearly_full")
                self._gate.pause(FULL)
        elif share < _LOW:
            self._gate.resume(FULL)

    # out

    def take(self, ids: Ids, may_create: int, now: int) -> WriteJob | None:
        """Put the pending points of `ids` in flight as a job; None when nothing of them is pending."""
        taken, offsets, timestamps, values = self.points.take(ids)
        if not len(taken):
            return None
        names, name_offsets = self._names.blob(taken)
        schemas = self._schema_of(taken)
        return WriteJob(taken, names, name_offsets, schemas, offsets, timestamps, values, may_create, now)

    def confirm(self, job: WriteJob, statuses: Statuses, late: int = 0) -> None:
        """Settle each metric of `job`: written points go, those that could not be written are pending again.

        `late` points of the job found no place in their files, those of the metrics that are TOO_OLD as a whole
        included.
        """
        sizes = np.diff(job.offsets)
        totals = np.bincount(statuses, sizes, len(STATUS_NAMES)).astype(np.int64).tolist()
        metrics = np.bincount(statuses, minlength=len(STATUS_NAMES)).tolist()
        waits = (statuses == WAITS_FOR_CREATE) | (statuses == RETRY)
        account = self.account
        self.points.confirm(job.ids[~waits])
        if waits.any():
            account.merged += self.points.requeue(job.ids[waits])
        written = totals[WRITTEN] + totals[CREATED]
        late = min(written, max(0, late - totals[TOO_OLD]))
        written -= late
        totals[TOO_OLD] += late
        account.out += written
        account.count("committed_points", written)
        account.count("updates", metrics[WRITTEN] + metrics[CREATED])
        account.count("creates", metrics[CREATED])
        account.count("delayed_creates", metrics[WAITS_FOR_CREATE])
        account.count("errors", metrics[RETRY] + metrics[QUARANTINED] + metrics[BAD_NAME])
        for status in (TOO_OLD, QUARANTINED, BAD_NAME):
            if totals[status]:
                account.drop(STATUS_NAMES[status], totals[status])
        self._press()

    # questions

    def peek(self, ids: Ids) -> tuple[Ids, Floats, Floats]:
        """Return (offsets, timestamps, values) of what is held of `ids`, in flight or not."""
        return self.points.peek_many(ids)

    def unmeet(self, ids: Ids) -> None:
        """Let `on_new` hear of `ids` again when their next datapoints come."""
        self._known.forget(ids)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return True where datapoints are held."""
        return self.points.holds(ids)

    def forget(self, ids: Ids) -> None:
        """Drop whatever is known of `ids`; datapoints, if `holds` was not asked, count as dropped `forgotten`."""
        lost = self.points.forget(ids)
        if lost:
            self.account.drop("forgotten", lost)
        self._known.forget(ids)
        if self._journal is not None:
            self._journal.forget(ids)
