"""A user of a DaTtSs server in memory, and the minute of all users on its way to the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from cadtwist.flow import Listeners
from cadtwist.model.gathering import Gathering
from cadtwist.model.minutes import summaries_of
from cadtwist.model.partial import Partial
from cadtwist.model.summary import SummaryBatch
from cadtwist.model.summaryjob import Kept, Place, StatisticKey, SummaryJob
from cadtwist.stages.dattss import Environment, MinuteRow
from cadtwist.stages.dattssalerts import AlertWatch
from cadtwist.stages.dattssprocesses import Processes

__all__ = ["LIVE_S", "MINUTE_S", "Commit", "User"]

MINUTE_S = 60
LIVE_S = 5.0
"""Between two live updates of one user."""

SLICE_ROWS = 200


@dataclass
class User:
    """All that is known of a user.  `gathering` has single values of the last seconds, where such came."""

    name: str
    environment: Environment
    processes: Processes
    watch: AlertWatch
    gathering: Gathering | None = None
    gathered_at: float = 0.0
    changed: bool = False
    told_at: float = float("-inf")
    listeners: Listeners[[]] = field(default_factory=Listeners)

    def news(self, now: float) -> None:
        """Tell the listeners that something changed: now, or as soon as they were told nothing for a while."""
        if not self.listeners:
            return
        self.changed = True
        self.tell(now)

    def tell(self, now: float) -> None:
        """Tell them, if there is something to tell and it is time."""
        if self.changed and now - self.told_at >= LIVE_S:
            self.changed, self.told_at = False, now
            self.listeners.tell()


class Commit:
    """The minute of all users on its way to the store: gathered in pieces, `place` is how far it covers the log."""

    def __init__(self, now: float, place: Place, rows: list[tuple[User, Iterator[MinuteRow]]]) -> None:
        self.now = now
        self.place = place
        self.users = [user for user, _ in rows]
        self.keys: list[StatisticKey] = []
        self.told: dict[str, list[Partial]] = {}
        self._start = int(now // MINUTE_S) * MINUTE_S
        self._rows = rows
        self._reset = [StatisticKey(user.name, *key) for user in self.users for key in user.environment.reset]
        self._kept: list[Kept] = []
        self._batches: list[SummaryBatch] = []

    def gather(self) -> Iterator[None]:
        """Gather all minutes; others may have their turn at each step."""
        for user, rows in self._rows:
            while some := list(islice(rows, SLICE_ROWS)):
                self.keys += [StatisticKey(user.name, row.minute.typ, row.minute.pth) for row in some]
                self._kept += [row.kept for row in some]
                minutes = [row.minute for row in some]
                self._batches.append(summaries_of(minutes, self._start))
                watched = user.watch.watched
                self.told.setdefault(user.name, []).extend(each for each in minutes if (each.typ, each.pth) in watched)
                yield

    def __bool__(self) -> bool:
        """Tell whether there is something to store."""
        return bool(self.keys or self._reset)

    def job(self) -> SummaryJob:
        """Return what is to be stored."""
        batch = SummaryBatch.joined(self._batches or [summaries_of([], self._start)])
        batch.ids = np.arange(len(batch), dtype=np.uint32)
        return SummaryJob(self.keys, batch, self._kept, self.place, self._reset)
