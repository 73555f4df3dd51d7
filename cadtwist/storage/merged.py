"""Several stores read as one: files of two formats, or of two folders, with the same names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
from zope.interface import implementer

from cadtwist.errors import StorageError, TooManyPointsError
from cadtwist.interfaces import IBulkReader, IFileStore
from cadtwist.model.filefacts import FileFacts, Retention
from cadtwist.model.series import Series
from cadtwist.model.writejob import Statuses, WriteJob

__all__ = ["MergedStore", "merged"]

_MAX_SLOTS = 1 << 26


def merged(found: Sequence[Series]) -> Series:
    """Return one series of several (at least one) of the same metric, of which the first tells method and xff.

    It has the finest step, begins with the first and ends with the last of them; each slot has the value of the
    finest series that knows it.  ValueError where that would be too many points.
    """
    first = found[0]
    finest, *others = sorted(found, key=lambda one: one.step)  # stable: of equal steps the first store counts
    if not others:
        return first
    step = finest.step
    start = finest.start - max(0, -(-(finest.start - min(one.start for one in found)) // step)) * step
    slots = -(-(max(one.end for one in found) - start) // step)
    if slots > _MAX_SLOTS:
        raise ValueError("the range has too many points")
    values = np.full(slots, np.nan)
    times = start + np.arange(slots, dtype=np.int64) * step
    for one in (finest, *others):
        rows = (times - one.start) // one.step
        open_slots = np.isnan(values) & (rows >= 0) & (rows < len(one))
        values[open_slots] = one.values[rows[open_slots]]
    return Series(first.name, start, start + slots * step, step, values, first.consolidation, first.xff)


@implementer(IBulkReader, IFileStore)
class MergedStore:
    """Reads from all `stores`; writes, and changes what is in none, in the first.  Threads: as its stores."""

    def __init__(self, *stores: Any) -> None:
        self.stores = stores

    def write(self, job: WriteJob) -> Statuses:
        """Write a job into the first store."""
        statuses: Statuses = self.stores[0].write(job)
        return statuses

    def fetch(self, name: str, start: int, end: int, now: int, step: int = 0) -> Series | None:
        """Return what the stores know of a range, merged; None where none knows anything.

        What one store cannot read matters only where no other has anything: StorageError or ValueError then.
        """
        answers = [_alone(store, name, start, end, now, step) for store in self.stores]
        return _told(_together(answers))

    def fetch_many(
        self, names: Sequence[str], start: int, end: int, now: int, most: int
    ) -> list[Series | StorageError | None]:
        """See `IBulkReader`: each store is asked for all names at once, where it can be."""
        if start > end:
            raise ValueError(f"invalid time interval: {start} is after {end}")
        columns = [_many(store, names, start, end, now, most) for store in self.stores]
        found: list[Series | StorageError | None] = []
        points = 0
        for name, answers in zip(names, zip(*columns, strict=True), strict=True):
            one = _together(answers)
            found.append(StorageError(f"{name}: {one}") if isinstance(one, ValueError) else one)
            points += len(one) if isinstance(one, Series) else 0
            if points > most:
                raise TooManyPointsError(f"more than {most} points")
        return found

    def exists(self, name: str) -> bool:
        """True where one of the stores has the metric."""
        return any(store.exists(name) for store in self.stores)

    def facts(self, name: str) -> FileFacts | None:
        """Return the facts of the files in all stores; None where none has any."""
        found = [one for store in self._filed() if (one := store.facts(name)) is not None]
        return reduce(FileFacts.joined, found) if found else None

    def retained(self, name: str) -> Retention | None:
        """Return what the first store says that says it."""
        return next((found for store in self._filed() if (found := store.retained(name)) is not None), None)

    def space(self) -> tuple[int, int]:
        """Return free and all bytes of the first store's disk; zeros where no store has files."""
        store = next(self._filed(), None)
        free, everything = (0, 0) if store is None else store.space()
        return free, everything

    def _filed(self) -> Iterator[Any]:
        return (store for store in self.stores if IFileStore.providedBy(store))

    def delete(self, name: str) -> bool:
        """Remove the metric from all stores; False where none has it."""
        return sum(bool(store.delete(name)) for store in self.stores) > 0

    def walk(self, names: int = 1000) -> Iterator[list[str]]:
        """Yield the names of all stores in lists of `names`; what several have comes several times."""
        for store in self.stores:
            yield from store.walk(names)

    def get_metadata(self, name: str, key: str) -> str:
        """Return a property from the first store that has the metric."""
        value: str = self._store_of(name).get_metadata(name, key)
        return value

    def set_metadata(self, name: str, key: str, value: str) -> str:
        """Change a property in the first store that has the metric; return the old value."""
        old: str = self._store_of(name).set_metadata(name, key, value)
        return old

    def _store_of(self, name: str) -> Any:
        return next((store for store in self.stores if store.exists(name)), self.stores[0])


_Answer = Series | StorageError | ValueError | None


def _alone(store: Any, name: str, start: int, end: int, now: int, step: int = 0) -> _Answer:
    try:
        series: Series | None = store.fetch(name, start, end, now, step)
    except (StorageError, ValueError) as error:
        return error
    return series


def _many(store: Any, names: Sequence[str], start: int, end: int, now: int, most: int) -> Sequence[_Answer]:
    if IBulkReader.providedBy(store):
        found: Sequence[_Answer] = store.fetch_many(names, start, end, now, most)
        return found
    return [_alone(store, name, start, end, now) for name in names]


def _together(answers: Sequence[_Answer]) -> _Answer:
    """Return what several stores answered, merged; an error only where none has a point."""
    found = [one for one in answers if isinstance(one, Series) and len(one)]
    if not found:
        return next((one for one in answers if isinstance(one, Exception)), None)
    try:
        return merged(found)
    except ValueError as error:
        return error


def _told(answer: _Answer) -> Series | None:
    if isinstance(answer, Exception):
        raise answer
    return answer
