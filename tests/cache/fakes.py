"""What the cache stands on, small."""

from __future__ import annotations

from typing import Any

import numpy as np

from cadtwist.cache.cache import Cache, Limits
from cadtwist.flow import Gate
from cadtwist.kernels import active
from cadtwist.model.batch import Batch
from cadtwist.telemetry import Account

__all__ = ["Kit", "batch"]


def batch(*points: tuple[int, float, float]) -> Batch:
    ids, ts, values = zip(*points, strict=True)
    return Batch(np.array(ids, np.uint32), np.array(ts, np.float64), np.array(values, np.float64))


class FakeJournal:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.serial = 1

    def append(self, lent: Batch) -> int:
        self.batches.append(lent.ids.tolist())
        return self.serial

    def forget(self, ids: Any) -> None:
        self.batches.append([-1])


class Kit:
    """A table with `names` names m0, m1 ..., and a cache over it."""

    def __init__(self, limits: Limits | None = None, names: int = 20, journal: Any = None) -> None:
        self.table = active.table.MetricTable(1)
        for number in range(names):
            self.table.intern(b"m%d" % number, 0)
        self.points = active.points.PointStore()
        self.account = Account("cache")
        self.gate = Gate()
        self.new: list[int] = []
        self.cache = Cache(
            self.table,
            self.points,
            lambda ids: (ids % 3).astype(np.int32),
            self.account,
            self.gate,
            limits or Limits(),
            journal,
            lambda ids: self.new.extend(ids.tolist()),
        )
