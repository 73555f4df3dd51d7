"""A store that keeps its series in memory: for tests, trials and as the smallest example of the contract."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from zope.interface import implementer

from cadtwist.errors import StorageError
from cadtwist.interfaces import IStore
from cadtwist.kernels.active import whisperfile
from cadtwist.model.consolidation import method_number
from cadtwist.model.retention import Archive
from cadtwist.model.series import Series
from cadtwist.model.writejob import BAD_NAME, CREATED, TOO_OLD, WAITS_FOR_CREATE, WRITTEN, Statuses, WriteJob
from cadtwist.storage.schemas import Schema, SchemaTable

__all__ = ["MemoryStore"]


class _Kept:
    """One metric: its schema and the newest value per step of the finest archive."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.values: dict[int, float] = {}

    @property
    def retention(self) -> int:
        return max(archive.retention for archive in self.schema.archives)

    def store(self, timestamp: int, value: float) -> None:
        step = self.schema.archives[0].step
        self.values[timestamp - timestamp % step] = value

    def at(self, start: int, archive: Archive) -> float:
        """Return the value of one step of an archive, consolidated from the finest steps; NaN if unknown."""
        finest = self.schema.archives[0].step
        slots = archive.step // finest
        known = [self.values[t] for t in range(start, start + archive.step, finest) if t in self.values]
        if not known or len(known) / slots < float(np.float32(self.schema.xff)):
            return float("nan")
        return _consolidate(self.schema.method, known, slots)


def _consolidate(method: str, known: list[float], slots: int) -> float:
    if method in ("average", "sum", "avg_zero"):
        total = float(np.cumsum(known)[-1])
        return total / {"average": len(known), "sum": 1, "avg_zero": slots}[method]
    if method == "last":
        return known[-1]
    choose = max if method in ("max", "absmax") else min
    return choose(known, key=abs) if method.startswith("abs") else choose(known)


@implementer(IStore)
class MemoryStore:
    """Keeps what a `WhisperStore` would, without files; one thread at a time.

    Points older than the finest archive but not than the coarsest are kept as well.
    """

    def __init__(self, schemas: SchemaTable) -> None:
        self._schemas = schemas
        self._kept: dict[str, _Kept] = {}

    def write(self, job: WriteJob) -> Statuses:
        """As `WhisperStore.write`."""
        statuses: Statuses = np.zeros(len(job), np.uint8)
        left = job.may_create
        for row in range(len(job)):
            statuses[row] = status = self._write_one(job, row, left > 0)
            left -= status == CREATED
        return statuses

    def _write_one(self, job: WriteJob, row: int, may_create: bool) -> int:
        try:
            whisperfile.relative_path(job.name(row))
        except ValueError:
            return BAD_NAME
        name = job.name(row).decode()
        status = WRITTEN
        if name not in self._kept:
            if not may_create:
                return WAITS_FOR_CREATE
            self._kept[name] = _Kept(self._schemas.schema(int(job.schemas[row])))
            status = CREATED
        kept = self._kept[name]
        columns = slice(int(job.offsets[row]), int(job.offsets[row + 1]))
        points = zip(job.timestamps[columns].tolist(), job.values[columns].tolist(), strict=True)
        fresh = [(int(ts), value) for ts, value in points if job.now - int(ts) < kept.retention and ts > 0]
        for ts, value in fresh:
            kept.store(ts, value)
        return status if fresh or status == CREATED else TOO_OLD

    def fetch(self, name: str, start: int, end: int, now: int, step: int = 0) -> Series | None:
        """As `WhisperStore.fetch`."""
        if start > end:
            raise ValueError(f"invalid time interval: {start} is after {end}")
        kept = self._kept.get(name)
        if kept is None or start > now or end < now - kept.retention:
            return None
        start, end = max(int(start), now - kept.retention), min(int(end), now)
        for archive in kept.schema.archives:
            if archive.step == step if step else archive.retention >= now - start:
                break
        else:
            raise ValueError(f"invalid granularity: {step}")
        first, last = (t - t % archive.step + archive.step for t in (start, end))
        last = max(last, first + archive.step)
        values = np.array([kept.at(t, archive) for t in range(first, last, archive.step)])
        return Series(name, first, last, archive.step, values, kept.schema.method, kept.schema.xff)

    def exists(self, name: str) -> bool:
        """True where the metric is kept."""
        return name in self._kept

    def delete(self, name: str) -> bool:
        """Forget a metric; False where there is none."""
        return self._kept.pop(name, None) is not None

    def walk(self, names: int = 1000) -> Iterator[list[str]]:
        """Yield all names in lists of `names`."""
        kept = list(self._kept)
        for at in range(0, len(kept), names):
            yield kept[at : at + names]

    def get_metadata(self, name: str, key: str) -> str:
        """As `WhisperStore.get_metadata`."""
        return self._of(name, key).schema.method

    def set_metadata(self, name: str, key: str, value: str) -> str:
        """As `WhisperStore.set_metadata`."""
        method_number(value)
        kept = self._of(name, key)
        old = kept.schema.method
        kept.schema = kept.schema._replace(method=value)
        return old

    def _of(self, name: str, key: str) -> _Kept:
        if key != "aggregationMethod":
            raise ValueError(f"unsupported metadata key {key!r}")
        if name not in self._kept:
            raise StorageError(f"{name}: no such metric")
        return self._kept[name]
