"""Samples to the stores that keep them: decided once per name, carried out per batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder, ISummarySink
from cadtwist.model.batch import Ids
from cadtwist.model.decisions import FIRST_ROW, Decisions
from cadtwist.model.summary import SummaryBatch
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["ShardStage"]


@implementer(ISummarySink, IHolder)
class ShardStage:
    """Gives each sample to the sinks of the shards that keep its name; `keepers(name)` is pure.

    A name that no sink is there for is dropped as `no_shard`.  Reactor thread.
    """

    def __init__(
        self,
        keepers: Callable[[bytes], tuple[str, ...]],
        sinks: Mapping[str, ISummarySink],
        table: tables.MetricTable,
        account: Account,
    ) -> None:
        self._keepers = keepers
        self._names = tuple(sinks)
        self._sinks = tuple(sinks.values())
        self._table = table
        self._account = account
        self._rows: dict[tuple[int, ...], int] = {}
        self._members: npt.NDArray[np.bool_] = np.zeros((len(sinks), 0), np.bool_)
        self._decisions = Decisions(self._decide_id)

    def accept(self, batch: SummaryBatch) -> None:
        """Pass samples on; a batch that is all for one shard is not copied."""
        account = self._account
        account.received += len(batch)
        rows = self._decisions.lookup(batch.ids)
        homeless = rows < FIRST_ROW
        if homeless.any():
            account.drop("no_shard", int(np.count_nonzero(homeless)))
            batch, rows = batch.select(~homeless), rows[~homeless]
        given = self._members[:, rows - FIRST_ROW]
        amounts = given.sum(axis=1)
        account.made += int(amounts.sum()) - len(batch)
        for sink, mask, amount in zip(self._sinks, given, amounts.tolist(), strict=True):
            account.out += amount
            if amount == len(batch) and amount:
                sink.accept(batch)
            elif amount:
                sink.accept(batch.select(mask))

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Nothing is lost with a decision."""
        return np.zeros(len(ids), np.bool_)

    def forget(self, ids: Ids) -> None:
        """Forget the decisions about `ids`."""
        self._decisions.forget(ids)

    def decide(self, name: bytes) -> tuple[str, ...]:
        """Return the shards that get `name`.  Pure."""
        return self._keepers(name)

    def _decide_id(self, number: int) -> int:
        known = tuple(self._names.index(each) for each in self.decide(self._table.name(number)) if each in self._names)
        if not known:
            return -1
        row = self._rows.get(known)
        if row is None:
            row = self._rows[known] = len(self._rows)
            column = np.zeros((len(self._sinks), 1), np.bool_)
            column[list(known)] = True
            self._members = np.concatenate((self._members, column), axis=1)
        return FIRST_ROW + row
