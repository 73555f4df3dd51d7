"""Writer threads: jobs from the cache to the store, each thread with its own metrics.

This module and `syncer` are the only ones that name a thread.  A lane is one thread and one job under way; metrics
are pinned to lanes by id, so two threads never write the same file.  The store's kernels release the GIL for a whole
job; all bookkeeping happens in the reactor thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from cadtwist.model.writejob import RETRY, WriteJob
from cadtwist.telemetry import Account

__all__ = ["JobSource", "JobStore", "WriterService"]

IDLE_WAIT_S = 1.0
Statuses = npt.NDArray[np.uint8]


class _Outcome(NamedTuple):
    """What came of a job."""

    statuses: Statuses
    late: int
    seconds: float


class JobSource(Protocol):
    """Where jobs come from: the cache with its strategy and rates.  Reactor thread."""

    def next_job(self, now: float, lane: int) -> WriteJob | None:
        """Return the next job of `lane`, or None when nothing may be written now."""

    def wait_s(self, now: float) -> float:
        """Return after how many seconds it is worth asking again."""

    def confirm(self, job: WriteJob, statuses: Statuses, now: float, late: int) -> None:
        """Settle each metric of `job` by its status; `late` points of it were too old for their files."""

    @property
    def is_empty(self) -> bool:
        """True when no datapoint is pending or in flight."""


class JobStore(Protocol):
    """Where jobs go; called in writer threads."""

    def write(self, job: WriteJob) -> Statuses:
        """Write `job`; return a status for each of its metrics."""


class WriterService(Service):
    """Keeps `lanes` threads busy with jobs until it is stopped; stopping drains the source first.

    After `leave` it does not drain.
    `on_written(job, statuses)` is told of each finished job (creates log, tags).  `account` gets `update_seconds`
    as microseconds of thread time, `jobs` and `failed_jobs`.  `late_points(lane)`, asked in the lane's thread, is how
    many points the store has found too old in that lane so far.
    """

    name = "writer"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        source: JobSource,
        store: JobStore,
        account: Account,
        lanes: int = 1,
        on_written: Any = None,
        late_points: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._reactor = reactor
        self._source = source
        self._store = store
        self.account = account
        self._lanes = lanes
        self._on_written = on_written
        self._late_points = late_points
        self._pools: list[ThreadPool] = []
        self._busy: list[bool] = [False] * lanes
        self._wakes: list[IDelayedCall | None] = [None] * lanes
        self._drained: Deferred[None] | None = None
        self._leaving = False

    def startService(self) -> None:
        """Start the threads and ask for jobs."""
        super().startService()
        self._pools = [ThreadPool(1, 1, name=f"writer-{lane}") for lane in range(self._lanes)]
        for lane, pool in enumerate(self._pools):
            pool.start()
            self._pump(lane)

    def stopService(self) -> Deferred[None]:
        """Write everything that is pending at the source's rate, then end the threads."""
        super().stopService()
        self._drained = Deferred()
        self._drained.addCallback(self._end_threads)
        drained = self._drained
        for lane in range(self._lanes):
            self.wake(lane)
        return drained

    def leave(self) -> None:
        """Begin no more jobs: what is pending stays where it is.  Jobs under way are waited for by `stopService`."""
        self._leaving = True
        if self._drained is not None:
            self.wake_all()

    def wake_all(self) -> None:
        """Look for jobs now rather than at the next look."""
        for lane in range(self._lanes):
            self.wake(lane)

    def wake(self, lane: int) -> None:
        """Look for a job of `lane` now, unless one is under way."""
        call = self._wakes[lane]
        if call is not None and call.active():
            call.cancel()
        self._wakes[lane] = None
        if not self._busy[lane]:
            self._pump(lane)

    def _pump(self, lane: int) -> None:
        now = self._reactor.seconds()
        if self._drained is not None and self._finished():
            return
        if self._leaving or (self._drained is None and not self.running):
            return
        job = self._source.next_job(now, lane)
        if job is None:
            wait_s = min(IDLE_WAIT_S, max(0.0005, self._source.wait_s(now)))
            self._wakes[lane] = self._reactor.callLater(wait_s, self.wake, lane)
            return
        self._busy[lane] = True
        written = deferToThreadPool(self._reactor, self._pools[lane], self._write, lane, job)
        written.addErrback(self._failed, job)
        written.addCallback(self._written, lane, job)
        written.addErrback(lambda failure: self._log.failure("writing: internal error", failure))

    def _write(self, lane: int, job: WriteJob) -> _Outcome:
        """Run in the lane's thread."""
        began = time.perf_counter()
        late = self._late_points(lane)
        statuses = self._store.write(job)
        return _Outcome(statuses, self._late_points(lane) - late, time.perf_counter() - began)

    def _failed(self, failure: Failure, job: WriteJob) -> _Outcome:
        """Treat a store that raises as one that could write nothing: the points stay and are tried again."""
        self._log.failure("a write job failed and will be tried again", failure)
        self.account.count("failed_jobs")
        return _Outcome(np.full(len(job.ids), RETRY, np.uint8), 0, 0.0)

    def _written(self, result: _Outcome, lane: int, job: WriteJob) -> None:
        statuses, late, seconds = result
        self._busy[lane] = False
        self.account.count("jobs")
        self.account.count("update_microseconds", int(seconds * 1e6))
        self._source.confirm(job, statuses, self._reactor.seconds(), late)
        try:
            if self._on_written is not None:
                self._on_written(job, statuses)
        finally:
            self._pump(lane)

    def _finished(self) -> bool:
        if any(self._busy) or not (self._leaving or self._source.is_empty):
            return False
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)
        return True

    def _end_threads(self, _: object) -> None:
        for call in self._wakes:
            if call is not None and call.active():
                call.cancel()
        for pool in self._pools:
            pool.stop()
        self._pools = []
