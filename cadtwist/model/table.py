"""A key space: one table of metric names, those who keep state by id, and the recycling of ids.

An id goes through: live -> (idle, claimed by nobody) -> forgotten by all holders, resting -> given again.  It rests
until the reactor turn has ended and every writer job that was begun before is done, so that nobody meets a number
that has changed its meaning.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from cadtwist.interfaces import IHolder
from cadtwist.model.batch import Ids

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["TIGHT_IDLE_S", "KeySpace", "Names"]

TIGHT_IDLE_S = 60
"""When the table is nearly full, names unseen for so many seconds go, if nobody claims them."""

_TIGHT = 0.875


class Names(Protocol):
    """What is asked of the table of metric names."""

    def blob(self, ids: Ids, /) -> tuple[bytes, Ids]:
        """Return the names of `ids`, one after the other, and their n + 1 offsets."""


class _Rest(NamedTuple):
    turn: int
    job: int
    ids: Ids


class KeySpace:
    """Owns `table`; `holders` are asked before a name goes.  Reactor thread; call `sweep` between turns only.

    Invariant: an id is recycled only when it rested through a turn and its jobs and no holder claims it.
    """

    def __init__(self, table: tables.MetricTable, holders: Iterable[IHolder] = ()) -> None:
        self.table = table
        self.retired = 0
        self._holders = list(holders)
        self._resting: deque[_Rest] = deque()
        self._turn = 0
        self._last_job = 0
        self._running: set[int] = set()

    @property
    def resting(self) -> int:
        """Ids that are neither live nor given again."""
        return sum(len(rest.ids) for rest in self._resting)

    def hold(self, holder: IHolder) -> None:
        """Ask `holder` from now on."""
        if holder not in self._holders:
            self._holders.append(holder)

    def release(self, holder: IHolder) -> None:
        """Ask `holder` no longer (a stage that a reload replaced)."""
        if holder in self._holders:
            self._holders.remove(holder)

    def sweep(self, now: float, idle_s: int, budget: int) -> int:
        """Look at the next `budget` ids; retire those unseen for `idle_s` that nobody claims.  Return how many.

        When the names take more than 7/8 of the table's budget, a minute unseen is enough.
        """
        table = self.table
        tight = table.max_bytes and table.used_bytes > _TIGHT * table.max_bytes
        idle_s = max(1, min(idle_s, TIGHT_IDLE_S) if tight else idle_s)
        ids = table.idle(int(now), idle_s, budget)
        ids = ids[~self._claimed(ids)] if len(ids) else ids
        if len(ids):
            table.retire(ids)
            for holder in self._holders:
                holder.forget(ids)
            self._resting.append(_Rest(self._turn, self._last_job, ids))
            self.retired += len(ids)
        return len(ids)

    def turn_ended(self) -> None:
        """Tell that a reactor turn is over: no lent Batch is under way."""
        self._turn += 1
        self._recycle()

    def job_started(self) -> int:
        """Tell that a writer job begins; return its number."""
        self._last_job += 1
        self._running.add(self._last_job)
        return self._last_job

    def jobs_done(self, number: int) -> None:
        """Tell that the job of that number has ended, in whatever order."""
        self._running.discard(number)
        self._recycle()

    def _claimed(self, ids: Ids) -> npt.NDArray[np.bool_]:
        mask = np.zeros(len(ids), np.bool_)
        for holder in self._holders:
            mask |= holder.holds(ids)
        return mask

    def _recycle(self) -> None:
        oldest = min(self._running, default=self._last_job + 1)
        late: list[_Rest] = []
        while self._resting and self._resting[0].turn < self._turn and self._resting[0].job < oldest:
            ids = self._resting.popleft().ids
            claimed = self._claimed(ids)
            if claimed.any():
                late.append(_Rest(self._turn, self._last_job, ids[claimed]))
                ids = ids[~claimed]
            for holder in self._holders:
                holder.forget(ids)
            self.table.recycle(ids)
        self._resting.extend(late)
