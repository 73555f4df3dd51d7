"""Keeps the names index in step with what is received, written and found on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Cooperator
from zope.interface import implementer

from cadtwist.cache.cache import Cache
from cadtwist.interfaces import IHolder
from cadtwist.model.batch import NO_ID, Ids
from cadtwist.model.writejob import CREATED, Statuses, WriteJob
from cadtwist.query.index import HAS_FILE, HOT, MetricIndex

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["KnownNames", "ScannedNames", "add_names"]

_SLICE = 8192
Holds = Callable[[Ids], npt.NDArray[np.bool_]]
Told = Callable[[bytes, npt.NDArray[np.uint32]], object]
"""(blob, offsets): the names of metrics that are met for the first time."""


@implementer(IHolder)
class KnownNames:
    """A name is found from its first datapoint on, and as long as it is alive or has a file.  Reactor thread.

    A renewal builds a second index out of a scan of all files and the names with pending points, told of everything
    that happens meanwhile, and puts it in the place of the first at once: `make_index()` gives an empty one.
    """

    def __init__(
        self, make_index: Callable[[], MetricIndex], table: tables.MetricTable, told: Told | None = None
    ) -> None:
        self.index = make_index()
        self._told = told
        self._make_index = make_index
        self._table = table
        self._fresh: MetricIndex | None = None

    def met(self, ids: Ids) -> None:
        """Metrics of which the first datapoints have come."""
        blob, offsets = self._table.blob(ids)
        for index in self._indexes():
            add_names(index, blob, offsets, HOT)
        if self._told is not None:
            self._told(blob, offsets)

    def written(self, job: WriteJob, statuses: Statuses) -> None:
        """Metrics of which files were made."""
        for row in np.flatnonzero(statuses == CREATED).tolist():
            for index in self._indexes():
                index.add(job.name(row), HAS_FILE)

    def on_disk(self, blob: bytes, offsets: npt.NDArray[np.uint32]) -> None:
        """Metrics whose files were found."""
        add_names(self._indexes()[-1], blob, offsets, HAS_FILE)

    def begin_renewal(self) -> None:
        """Begin a second index: what `on_disk` gets from now on goes there only."""
        self._fresh = self._make_index()

    def end_renewal(self, holds: Holds, unmeet: Callable[[Ids], object]) -> Iterator[None]:
        """Add the names that wait in memory, in slices, then let the second index take the place of the first.

        `holds(ids)` tells which have pending points; `unmeet(ids)` is told of the others: their next datapoint is
        to count as their first.
        """
        begin = 0
        while begin < self._table.capacity:
            live = self._table.live()
            ids = live[slice(*np.searchsorted(live, (begin, begin + _SLICE)))]
            begin += _SLICE
            held = holds(ids)
            if self._fresh is not None and held.any():
                blob, offsets = self._table.blob(ids[held])
                add_names(self._fresh, blob, offsets, HOT)
            unmeet(ids[~held])
            yield
        if self._fresh is not None:
            self.index.take_over(self._fresh)
            self._fresh = None

    def give_up_renewal(self) -> None:
        """Keep the first index: the scan did not see everything."""
        self._fresh = None

    def _indexes(self) -> tuple[MetricIndex, ...]:
        return (self.index,) if self._fresh is None else (self.index, self._fresh)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Names keep no ids alive: the index has its own copy."""
        return np.zeros(len(ids), np.bool_)

    def forget(self, ids: Ids) -> None:
        """Metrics that are idle: those without a file are found no longer."""
        for name in self._table.names(ids):
            if self._table.lookup(name) == NO_ID:
                for index in self._indexes():
                    index.remove(name, HOT)


def add_names(index: MetricIndex, blob: bytes, offsets: npt.NDArray[np.uint32], flags: int) -> None:
    """Add the names `blob[offsets[i]:offsets[i+1]]` to an index."""
    if b";" not in blob:
        index.names.add_many(blob, offsets, flags)
        return
    index.add_all((blob[a:b] for a, b in pairwise(offsets.tolist())), flags)


class ScannedNames:
    """What a `FileScan` tells of its finds, given to a `KnownNames` whose names wait in a `Cache`."""

    def __init__(self, reactor: Any, known: KnownNames, cache: Cache) -> None:
        self._known = known
        self._cache = cache
        self._cooperator = Cooperator(scheduler=lambda work: reactor.callLater(0, work))
        self.on_disk = known.on_disk

    def begin_scan(self) -> None:
        """A scan that is not the first one begins."""
        self._known.begin_renewal()

    def end_scan(self, whole: bool) -> Deferred[Any]:
        """It ended; the Deferred fires when its finds count."""
        if not whole:
            self._known.give_up_renewal()
            return succeed(None)
        renewal = self._known.end_renewal(self._cache.holds, self._cache.unmeet)
        return self._cooperator.cooperate(renewal).whenDone()
