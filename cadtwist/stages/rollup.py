"""Which counters a sample is for: carets in its name, and the levels above it that are to add it up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.codec.istat import expanded
from cadtwist.interfaces import IHolder, ISummarySink
from cadtwist.model.batch import BATCH_POINTS, NO_ID, Ids
from cadtwist.model.summary import SummaryBatch
from cadtwist.stages.decisions import FIRST_ROW, PASS, UNKNOWN, Decisions, FanTable
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["NameRule", "NameSpread", "carets", "levels_above"]

NameRule = Callable[[bytes], tuple[bytes, ...]]
"""A pure function of a name: the names it stands for."""


def carets(name: bytes) -> tuple[bytes, ...]:
    """Return the counters that a name with carets means."""
    return expanded(name)


def levels_above(levels: int) -> NameRule:
    """Return the rule of `--rollup`: a name and up to `levels` of those above it, each with the `*` of events."""

    def rule(name: bytes) -> tuple[bytes, ...]:
        names = [name]
        for _ in range(levels):
            name = name.rpartition(b".")[0]
            if not name.strip(b"*."):
                break
            names.append(name)
        return tuple(names)

    return rule


@implementer(ISummarySink, IHolder)
class NameSpread:
    """Gives each sample to all names that `rule` makes of its own.  Reactor thread.

    A name that means nothing is dropped as `name`; one that finds no room in the table as `table_full`.  Invariant:
    a target's id is claimed (`holds`) as long as a name maps to it.
    """

    def __init__(self, rule: NameRule, table: tables.MetricTable, downstream: ISummarySink, account: Account) -> None:
        self.downstream = downstream
        self._rule = rule
        self._table = table
        self._account = account
        self._fans = FanTable()
        self._decisions = Decisions(self._decide_id)

    def accept(self, batch: SummaryBatch) -> None:
        """Pass on the samples under their names; a batch whose names all stand for themselves is not copied."""
        self._account.received += len(batch)
        if self._decisions.all_are(batch.ids, PASS):
            self._pass_on(batch)
            return
        decided = self._decisions.lookup(batch.ids)
        kept = decided > UNKNOWN
        if not kept.all():
            self._account.drop("name", int(np.count_nonzero(decided < UNKNOWN)))
            self._account.drop("table_full", int(np.count_nonzero(decided == UNKNOWN)))
            batch, decided = batch.select(kept), decided[kept]
        positions, ids = self._fans.spread(batch.ids, decided - FIRST_ROW)
        self._account.made += len(ids) - len(batch)
        for start in range(0, len(ids), BATCH_POINTS):
            part = batch.select(positions[start : start + BATCH_POINTS])
            part.ids = ids[start : start + BATCH_POINTS]
            self._pass_on(part)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the ids to which some other name is mapped."""
        return self._fans.used_by_others(ids, self._decisions.known(ids) - FIRST_ROW)

    def forget(self, ids: Ids) -> None:
        """Forget the decisions about `ids`."""
        decided = self._decisions.known(ids)
        for row in decided[decided >= FIRST_ROW].tolist():
            self._fans.remove(row - FIRST_ROW)
        self._decisions.forget(ids)

    def decide(self, name: bytes) -> tuple[bytes, ...]:
        """Return the names that `name` stands for.  Pure."""
        return self._rule(name)

    def _decide_id(self, number: int) -> int:
        name = self._table.name(number)
        names = tuple(dict.fromkeys(self._rule(name)))
        if names == (name,):
            return PASS
        if not names:
            return -1
        seen = self._table.seen(number)
        targets = [self._table.intern(each, seen) for each in names]
        return UNKNOWN if NO_ID in targets else FIRST_ROW + self._fans.add(targets)

    def _pass_on(self, batch: SummaryBatch) -> None:
        self._account.out += len(batch)
        self.downstream.accept(batch)
