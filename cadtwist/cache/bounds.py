"""What Cadent's writers keep out of a cache: metrics beyond a number, and datapoints beyond a number of each metric."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from zope.interface import implementer

from cadtwist.interfaces import ISink
from cadtwist.model.batch import Batch, Ids
from cadtwist.model.idflags import distinct
from cadtwist.telemetry import Account

__all__ = ["CacheBounds"]


class Counted(Protocol):
    """What is asked of the store of pending points."""

    @property
    def metrics(self) -> int:
        """The metrics that have points."""

    def counts(self, ids: Ids, /) -> Ids:
        """Return the points of each metric."""


@implementer(ISink)
class CacheBounds:
    """Lets datapoints through to `downstream`, which puts them into `points`.  Reactor thread.

    Dropped are those of a metric that has `most_points` already (`points_full`; the datapoints of one Batch count
    together), and those of a metric more than `most_metrics` (`metrics_full`).
    """

    def __init__(
        self, points: Counted, downstream: ISink, account: Account, most_metrics: int, most_points: int
    ) -> None:
        self.most_metrics = most_metrics
        self.most_points = most_points
        self._points = points
        self._downstream = downstream
        self._account = account

    def accept(self, batch: Batch) -> None:
        """Pass on what finds room."""
        account, ids = self._account, batch.ids
        account.received += len(batch)
        counts = self._points.counts(ids)
        kept = counts < self.most_points
        full = len(ids) - int(np.count_nonzero(kept))
        if full:
            account.drop("points_full", full)
        room = max(0, self.most_metrics - self._points.metrics)
        fresh = counts == 0
        if int(np.count_nonzero(fresh)) > room:
            refused = distinct(ids[fresh])[room:]
            if len(refused):
                places = np.minimum(np.searchsorted(refused, ids), len(refused) - 1)
                outside = refused[places] == ids
                account.drop("metrics_full", int(np.count_nonzero(outside)))
                kept &= ~outside
        passed = int(np.count_nonzero(kept))
        if passed:
            account.out += passed
            self._downstream.accept(batch if passed == len(batch) else batch.select(kept))
