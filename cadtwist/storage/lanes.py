"""The writing half of a store whose kernel writes whole jobs: lanes, each one writer for one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from cadtwist.model.writejob import Statuses, WriteJob
from cadtwist.storage.reports import FileReport, FileReports, summed
from cadtwist.storage.schemas import SchemaTable

__all__ = ["Lane", "LanedStore"]


class Lane:
    """One writer of a kernel, for one thread; the lock only guards against a wrong caller.

    `add_schema(number)` makes a schema of `schemas` known to the writer; `prepare()` is called before each job.
    """

    def __init__(
        self,
        writer: Any,
        reports: FileReports,
        schemas: SchemaTable,
        add_schema: Callable[[int], object],
        prepare: Callable[[], object] = lambda: None,
    ) -> None:
        self._writer = writer
        self._reports = reports
        self._schemas = schemas
        self._add_schema = add_schema
        self._prepare = prepare
        self._lock = threading.Lock()

    def write(self, job: WriteJob) -> Statuses:
        """As `LanedStore.write`."""
        statuses: Statuses = np.zeros(len(job), np.uint8)
        with self._lock:
            self._prepare()
            for number in range(self._writer.schemas, len(self._schemas)):
                self._add_schema(number)
            self._writer.write(
                job.names, job.name_offsets, job.ids, job.schemas, job.offsets, job.timestamps, job.values,
                job.now, job.may_create, statuses,
            )  # fmt: skip
            for kind, name, code in self._writer.reports():
                self._reports.take(kind, name, code)
        return statuses

    def counters(self) -> dict[str, int]:
        """Return what the writer counted, and the descriptors that it keeps open now."""
        return {**self._writer.counters(), "open_files": self._writer.open_files}

    def close(self) -> None:
        """Let go of what the writer keeps open."""
        with self._lock:
            self._writer.close()


class LanedStore:
    """A store that writes by `lanes`, which share nothing but `reports`; `counted` are the kernel's counters."""

    def __init__(self, lanes: Sequence[Lane], reports: FileReports, counted: Iterable[str]) -> None:
        self._lanes = lanes
        self._reports = reports
        self._counted = (*counted, "open_files")

    def write(self, job: WriteJob) -> Statuses:
        """Write a job, whose ids are of one lane; return one status byte per metric.  Blocks, without the GIL.

        Creates at most `job.may_create` metrics.  Faults of single metrics are statuses; ValueError is for a job whose
        columns contradict each other.
        """
        return self.writer(int(job.ids[0]) % len(self._lanes) if len(job) else 0).write(job)

    def writer(self, lane: int) -> Lane:
        """Return the IStore-like writer of one lane, for its thread."""
        return self._lanes[lane]

    def close(self) -> None:
        """Let go of what is kept open or in mind; the store may be used again.  Not while a thread writes."""
        for lane in self._lanes:
            lane.close()

    def counters(self) -> dict[str, int]:
        """Return what the writers counted, and the descriptors kept open now."""
        return summed(self._lanes, self._counted)

    def reports(self) -> list[FileReport]:
        """Return and forget what happened since the last call: `FileReports`, with the kinds of whisper files."""
        return self._reports.read()

    def mismatched(self) -> list[str]:
        """Return the names (at most 10,000) that were found with other archives than their schema has."""
        return self._reports.names("retention_mismatch")

    def tell_again(self) -> None:
        """Forget which metrics were reported, so that faults which persist are reported once more."""
        self._reports.tell_again("retention_mismatch")
