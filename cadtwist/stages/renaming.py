"""Renaming: what stages have in common that decide once which names a name becomes, of datapoints or of summaries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import BATCH_POINTS, NO_ID, Batch, Ids
from cadtwist.model.summary import SummaryBatch
from cadtwist.stages.decisions import FIRST_ROW, PASS, UNKNOWN, Decisions, FanTable, Numbers
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["Renaming"]

Some = TypeVar("Some", Batch, SummaryBatch)


class Renaming(Generic[Some]):
    """Passes on each row under the names that its own becomes.  Subclasses give `_decide_id`.  Reactor thread.

    A name that finds no room in the table is dropped as `table_full`.  Invariant: a target's id is claimed (`holds`)
    as long as a metric maps to it.
    """

    def __init__(
        self,
        table: tables.MetricTable,
        downstream: Any,
        account: Account,
        all_pass: Callable[[Ids], bool] = lambda _: False,
    ) -> None:
        self.downstream = downstream
        self._table = table
        self._account = account
        self._reasons: list[str] = []
        self._fans = FanTable()
        self._decisions = Decisions(self._decide_id, all_pass)

    def accept(self, batch: Some) -> None:
        """Pass on what is not dropped, under its new names; a batch of which all passes is not copied."""
        self._account.received += len(batch)
        if self._decisions.all_are(batch.ids, PASS):
            self._pass_on(batch)
            return
        decided = self._decisions.lookup(batch.ids)
        kept = decided > UNKNOWN
        if not kept.all():
            self._count_drops(decided[~kept])
            batch, decided = batch.select(kept), decided[kept]
        if (decided >= FIRST_ROW).any():
            self._fan_out(batch, decided)
        elif len(batch):
            self._pass_on(batch)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Claim the ids to which some other metric is mapped."""
        return self._fans.used_by_others(ids, self._decisions.known(ids) - FIRST_ROW)

    def forget(self, ids: Ids) -> None:
        """Forget the decisions about `ids`."""
        decided = self._decisions.known(ids)
        for row in decided[decided >= FIRST_ROW].tolist():
            self._fans.remove(row - FIRST_ROW)
        self._decisions.forget(ids)

    def _decide_id(self, number: int) -> int:
        """Return what becomes of a metric: PASS, `_dropped` or `_becomes`."""
        raise NotImplementedError

    def _dropped(self, reason: str) -> int:
        """Return the decision to drop."""
        if reason not in self._reasons:
            self._reasons.append(reason)
        return -1 - self._reasons.index(reason)

    def _becomes(self, number: int, names: Iterable[bytes]) -> int:
        """Return the decision to pass on under other names."""
        seen = self._table.seen(number)
        targets = [self._table.intern(each, seen) for each in names]
        return UNKNOWN if NO_ID in targets else FIRST_ROW + self._fans.add(targets)

    def _count_drops(self, decided: Numbers) -> None:
        for number, points in enumerate(np.bincount(-decided).tolist()):
            if points:
                self._account.drop(self._reasons[number - 1] if number else "table_full", points)

    def _fan_out(self, batch: Some, decided: Numbers) -> None:
        positions, ids = self._fans.spread(batch.ids, decided - FIRST_ROW)
        moved = decided >= FIRST_ROW
        self._account.made += len(ids) - len(batch)
        for start in range(0, len(ids), BATCH_POINTS):
            rows = positions[start : start + BATCH_POINTS]
            part = batch.select(rows)
            part.ids = ids[start : start + BATCH_POINTS]
            if isinstance(part, Batch) and part.spans is not None:
                before = part.spans.renamed
                part.spans.renamed = moved[rows] if before is None else before | moved[rows]
            self._pass_on(part)

    def _pass_on(self, batch: Some) -> None:
        self._account.out += len(batch)
        self.downstream.accept(batch)
