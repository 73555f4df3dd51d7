"""Stages between what is received and the groups of a relay: which relay, all groups, a share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder, ISink
from cadtwist.model.batch import Batch, Ids
from cadtwist.model.decisions import FIRST_ROW, Decisions
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["Sample", "Switch", "Tee"]

_REJECTED, _NO_RELAY = -1, -2
_REASONS = ("rejected", "no_relay")
_LOWEST = _NO_RELAY


class _Verdict(Protocol):
    @property
    def rejected(self) -> bool: ...
    @property
    def backend(self) -> str: ...


class _Filters(Protocol):
    """What is asked of Cadent's filters (`model.prereg.PreReg`)."""

    def decide(self, name: str, /) -> _Verdict:
        """Return whether `name` is rejected, and else which relay gets it."""


@implementer(ISink, IHolder)
class Switch:
    """Gives each name to the relay that filters choose, or drops it (`rejected`); unknown relays are `no_relay`.

    The counters `to <relay>` tell how many datapoints each relay was given.  Reactor thread.
    """

    def __init__(
        self, filters: _Filters, sinks: Mapping[str, ISink], table: tables.MetricTable, account: Account
    ) -> None:
        self._filters = filters
        self._numbers = {name: number for number, name in enumerate(sinks)}
        self._sinks = tuple(sinks.values())
        self._counters = tuple(f"to {name}" for name in sinks)
        self._table = table
        self._account = account
        self._decisions = Decisions(self._decide_id)
        self._usual = FIRST_ROW

    def accept(self, batch: Batch) -> None:
        """Pass each datapoint to its relay; a Batch of one relay is not copied."""
        self._account.received += len(batch)
        if self._decisions.all_are(batch.ids, self._usual):
            self._pass_on(self._usual, batch)
            return
        decided = self._decisions.lookup(batch.ids)
        for number in np.flatnonzero(np.bincount(decided - _LOWEST)).tolist():
            number += _LOWEST
            rows = decided == number
            points = int(np.count_nonzero(rows))
            if number < 0:
                self._account.drop(_REASONS[-1 - number], points)
            elif points == len(batch):
                self._usual = number
                self._pass_on(number, batch)
            else:
                self._pass_on(number, batch.select(rows))

    def decide(self, name: str) -> str:
        """Return the name of the relay that gets `name`, "" where none does.  Pure."""
        verdict = self._filters.decide(name)
        return "" if verdict.rejected else verdict.backend

    def explain(self, name: str) -> str:
        """Return `decide(name)` as one line for people."""
        relay = self.decide(name)
        return f"{name}: to relay {relay}" if relay else f"{name}: rejected"

    def prime(self, ids: Ids, budget: int) -> int:
        """Decide up to `budget` unknown ids in advance; return how many of `ids` are unknown after that."""
        return self._decisions.prime(ids, budget)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Nothing here must not be lost."""
        return np.zeros(len(ids), np.bool_)

    def forget(self, ids: Ids) -> None:
        """The ids may come back as other names."""
        self._decisions.forget(ids)

    def _decide_id(self, number: int) -> int:
        relay = self.decide(self._table.name(number).decode("utf-8", "surrogateescape"))
        if not relay:
            return _REJECTED
        found = self._numbers.get(relay)
        return _NO_RELAY if found is None else FIRST_ROW + found

    def _pass_on(self, number: int, batch: Batch) -> None:
        self._account.out += len(batch)
        self._account.count(self._counters[number - FIRST_ROW], len(batch))
        self._sinks[number - FIRST_ROW].accept(batch)


@implementer(ISink)
class Tee:
    """Gives every Batch to all of `sinks`, in order."""

    def __init__(self, sinks: Sequence[ISink], account: Account) -> None:
        self._sinks = tuple(sinks)
        self._account = account

    def accept(self, batch: Batch) -> None:
        """Pass the Batch on; without sinks it is dropped (`no_group`)."""
        points = len(batch)
        self._account.received += points
        if not self._sinks:
            self._account.drop("no_group", points)
            return
        self._account.made += points * (len(self._sinks) - 1)
        for sink in self._sinks:
            self._account.out += points
            sink.accept(batch)


@implementer(ISink)
class Sample:
    """Passes on each datapoint with the probability `share`; the others are dropped (`sampled`)."""

    def __init__(self, share: float, downstream: ISink, account: Account, dice: np.random.Generator) -> None:
        self._share = share
        self._downstream = downstream
        self._account = account
        self._dice = dice

    def accept(self, batch: Batch) -> None:
        """Pass on a share of the Batch."""
        self._account.received += len(batch)
        if self._share < 1.0:
            kept = self._dice.random(len(batch)) < self._share
            dropped = len(batch) - int(np.count_nonzero(kept))
            if dropped:
                self._account.drop("sampled", dropped)
                batch = batch.select(kept)
        if len(batch):
            self._account.out += len(batch)
            self._downstream.accept(batch)
