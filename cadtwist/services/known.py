"""Keeps the names index in step with what is received, written and found on disk."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder
from cadtwist.model.batch import NO_ID, Ids
from cadtwist.model.writejob import CREATED, Statuses, WriteJob
from cadtwist.query.index import HAS_FILE, HOT, MetricIndex

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["KnownNames"]


@implementer(IHolder)
class KnownNames:
    """A name is found from its first datapoint on, and as long as it is alive or has a file.  Reactor thread."""

    def __init__(self, index: MetricIndex, table: tables.MetricTable) -> None:
        self.index = index
        self._table = table

    def met(self, ids: Ids) -> None:
        """Metrics of which the first datapoints have come."""
        blob, offsets = self._table.blob(ids)
        self._add(blob, offsets, HOT)

    def written(self, job: WriteJob, statuses: Statuses) -> None:
        """Metrics of which files were made."""
        for row in np.flatnonzero(statuses == CREATED).tolist():
            self.index.add(job.name(row), HAS_FILE)

    def on_disk(self, blob: bytes, offsets: npt.NDArray[np.uint32]) -> None:
        """Metrics whose files were found."""
        self._add(blob, offsets, HAS_FILE)

    def _add(self, blob: bytes, offsets: npt.NDArray[np.uint32], flags: int) -> None:
        if b";" not in blob:
            self.index.names.add_many(blob, offsets, flags)
            return
        bounds = offsets.tolist()
        self.index.add_all((blob[a:b] for a, b in pairwise(bounds)), flags)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Names keep no ids alive: the index has its own copy."""
        return np.zeros(len(ids), np.bool_)

    def forget(self, ids: Ids) -> None:
        """Metrics that are idle: those without a file are found no longer."""
        for name in self._table.names(ids):
            if self._table.lookup(name) == NO_ID:
                self.index.remove(name, HOT)
