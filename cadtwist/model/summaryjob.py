"""What a store of summaries gets to keep: one minute of many statistics, and how far the log is covered by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cadtwist.model.summary import SummaryBatch

__all__ = ["NOWHERE", "Kept", "Place", "StatisticKey", "SummaryJob"]


class StatisticKey(NamedTuple):
    """Whose statistic it is, its type and its path."""

    user: str
    kind: str
    path: str


class Place(NamedTuple):
    """A frame of a log: everything up to it is covered."""

    epoch: int
    sequence: int


NOWHERE = Place(0, 0)


class Kept(NamedTuple):
    """What is known of a statistic beside its minutes: sum of all times, last value, emphasis, last seen (epoch s)."""

    total: float
    last: float | None
    emphasis: bool
    seen: int


@dataclass(frozen=True, slots=True)
class SummaryJob:
    """Row i of `batch`, whose id is i, is the minute of the statistic `keys[i]` that begins at the row's timestamp.

    `kept[i]` replaces what is known of the statistic beside; of those in `reset` the totals begin anew before.  All is
    stored at once, with `place`, or nothing.
    """

    keys: list[StatisticKey]
    batch: SummaryBatch
    kept: list[Kept]
    place: Place = NOWHERE
    reset: list[StatisticKey] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)
