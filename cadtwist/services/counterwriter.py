"""The thread that writes counters, round after round, and reads them for whoever asks.

All files of a daemon's counters belong to this one thread, so a reader meets a file either before a job or after it,
never within, and what still waits in memory can be added to what it read without counting twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from cadtwist.cache.counters import CounterCache
from cadtwist.flow import Gate
from cadtwist.journal.counterlog import CounterLog, Place
from cadtwist.model.batch import Ids
from cadtwist.model.statjob import Shift, StatJob
from cadtwist.model.table import KeySpace
from cadtwist.model.writejob import RETRY, WAITS_FOR_CREATE, Statuses
from cadtwist.storage.statfile import StatStore
from cadtwist.telemetry import Account

__all__ = ["CounterWriter", "WriterWatcher"]

T = TypeVar("T")
TICK_S = 0.25
JOB_COUNTERS = 512
LEAST_JOB = 32
LEAST_WAITING, WAITING_EACH = 100_000, 48
FULL_SHARE, EMPTY_SHARE = 0.8, 0.6
REASON = "counters_full"


class WriterWatcher(Protocol):
    """Who is told, in order, what becomes of the samples.  Reactor thread.

    `active`: somebody wants to know which files are made.
    """

    active: bool

    def round(self, begun: bool) -> None:
        """From now on every counter is written once; or all of them were."""

    def taken(self, job: StatJob) -> None:
        """The samples of a job are no longer waiting."""

    def headers(self, job: StatJob) -> list[tuple[bytes, bytes]]:
        """Return (path, header) of the files that a job may have made; in the thread of the files."""

    def planned(self, made: Sequence[tuple[bytes, bytes]], redo: bytes) -> None:
        """What a job made (path, header) and is going to write, before it is written."""

    def written(self, job: StatJob, again: Ids) -> None:
        """A job is over; counters of which the samples wait again."""


class CounterWriter(Service):
    """Writes every counter once in `flush_s`, spread over that time; all at once when asked or when memory is short.

    `log`, if there is one, gets each job's redo record before a file is changed; `keys` hears of jobs.  The gate is
    shut while more than 80 % of the samples that should wait do wait.  Stopping writes everything, windows included.
    """

    name = "counter writer"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        cache: CounterCache,
        store: StatStore,
        gate: Gate,
        account: Account,
        flush_s: float,
        log: CounterLog | None = None,
        watcher: WriterWatcher | None = None,
        keys: KeySpace | None = None,
    ) -> None:
        self._reactor = reactor
        self._cache = cache
        self._store = store
        self._gate = gate
        self._account = account
        self._flush_s = flush_s
        self._journal = log
        self._watcher = watcher
        self._keys = keys
        self._job = 0
        self._pool = ThreadPool(1, 1, name="counters")
        self._tick: IDelayedCall | None = None
        self._round_at = 0.0
        self._round_size = 0
        self._round_open = False
        self._round_failed = False
        self._busy = False
        self._hurry = False
        self._waiting: list[Deferred[None]] = []
        self._readers: list[Callable[[], object]] = []
        self._ended = False
        self._leaving = False

    def startService(self) -> None:
        """Start the thread and the first round."""
        super().startService()
        self._pool.start()
        self._round_at = self._reactor.seconds() + self._flush_s
        self._schedule()

    def stopService(self) -> Deferred[None]:
        """Write everything, then end the thread."""
        super().stopService()
        if self._tick is not None and self._tick.active():
            self._tick.cancel()
        done: Deferred[None] = Deferred()
        if self._leaving:
            self._waiting.append(done)
            self._give_up()
        else:
            done = self.flush(Shift.OUT)
        done.addBoth(self._end)
        return done

    def leave(self) -> None:
        """Write no more than the job that is under way: the log has the rest."""
        self._leaving = True
        self._give_up()

    def _give_up(self) -> None:
        """End the round where it is, once no job is under way."""
        if not self._busy:
            self._round_open = self._hurry = False
            self._all_told()

    def flush(self, shift: Shift = Shift.ALL) -> Deferred[None]:
        """Write everything that waits now; the Deferred fires when it is in the files."""
        done: Deferred[None] = Deferred()
        if self._busy:
            self._after_round(lambda: self.flush(shift).chainDeferred(done))
            return done
        self._waiting.append(done)
        self._begin(shift)
        self._hurry = True
        self._pump()
        return done

    def read(self, work: Callable[..., T], *arguments: Any) -> Deferred[T]:
        """Run `work(*arguments)` between two jobs, in the thread that has the files; before any job that begins later.

        While a job is planned and written, reading waits: its samples are neither in the files nor in memory then.
        """
        if self._ended:
            return succeed(work(*arguments))
        if not self._busy:
            return deferToThreadPool(self._reactor, self._pool, work, *arguments)
        done: Deferred[T] = Deferred()
        self._readers.append(
            lambda: deferToThreadPool(self._reactor, self._pool, work, *arguments).chainDeferred(done)
        )
        return done

    def _let_readers_in(self) -> None:
        readers, self._readers = self._readers, []
        for read in readers:
            read()

    def between(self, work: Callable[[], T]) -> Deferred[T]:
        """Run `work()` in the reactor thread while no job is under way."""
        if not self._busy:
            return maybeDeferred(work)
        done: Deferred[T] = Deferred()
        self._readers.append(lambda: maybeDeferred(work).chainDeferred(done))
        return done

    def _after_round(self, then: Callable[[], object]) -> None:
        waits: Deferred[None] = Deferred()
        waits.addCallback(lambda _: then())
        self._waiting.append(waits)
        self._hurry = True

    def _schedule(self) -> None:
        if self.running:
            self._tick = self._reactor.callLater(TICK_S, self._turn)

    def _turn(self) -> None:
        """Look what is due, four times a second."""
        self.look()
        if not self._round_open and self._reactor.seconds() >= self._round_at:
            self._begin(Shift.DUE)
        if not self._busy and not self._leaving:
            self._pump()
        self._schedule()

    def look(self) -> None:
        """Let clients wait, and write in a hurry, from when too many samples wait until few enough do."""
        share = len(self._cache.samples) / self._bound()
        if share > FULL_SHARE:
            self._gate.pause(REASON)
        elif share < EMPTY_SHARE:
            self._gate.resume(REASON)
        if REASON in self._gate.reasons:
            if not self._round_open:
                self._begin(Shift.DUE)
            self._hurry = True
        if not self._busy and self.running and (self._hurry or self._cache.urgent):
            self._pump()

    def _bound(self) -> int:
        """Return how many samples should wait at most: what a round gathers of so many counters, and some more."""
        return max(1, min(self._cache.samples.most, LEAST_WAITING + WAITING_EACH * self._cache.counters))

    def _begin(self, shift: Shift) -> None:
        self._round_size = self._cache.begin(shift)
        self._round_open, self._round_failed = True, False
        self._round_at = self._reactor.seconds() + self._flush_s
        if self._journal is not None:
            self._journal.round_begins()
        if self._watcher is not None:
            self._watcher.round(True)

    def _pump(self) -> None:
        """Begin the next job; of a round that is not in a hurry, as much as its time asks for."""
        pace = max(LEAST_JOB, int(self._round_size * TICK_S / max(TICK_S, self._flush_s)) + 1)
        leisurely = self._round_open and not self._hurry and not self._cache.urgent
        job = self._cache.take(min(JOB_COUNTERS, pace) if leisurely else JOB_COUNTERS)
        if job is None:
            if not self._busy and (self._round_open or self._waiting):
                self._round_ends()
            return
        self._busy = True
        self._job = self._keys.job_started() if self._keys is not None else 0
        taken_at = self._journal.place if self._journal is not None else (0, 0)
        if self._watcher is not None:
            self._watcher.taken(job)
        planned: Deferred[Any] = deferToThreadPool(self._reactor, self._pool, self._plan, job)
        planned.addCallback(self._planned, taken_at)
        planned.addCallbacks(lambda statuses: self._kept(job, statuses), lambda failure: self._failed(job, failure))
        planned.addCallback(self._written, job)
        planned.addErrback(lambda failure: self._log.failure("writing counters: internal error", failure))

    def _plan(self, job: StatJob) -> tuple[Statuses, bytes, list[tuple[bytes, bytes]]]:
        """Plan a job, in the thread of the files; return the headers of files that it made, too, if that is asked."""
        lane = self._store.writer(0)
        watcher = self._watcher if self._watcher is not None and self._watcher.active else None
        before = lane.counters()["files_created"] if watcher is not None else 0
        statuses, redo = lane.plan(job)
        made = watcher is not None and lane.counters()["files_created"] > before
        return statuses, redo, watcher.headers(job) if watcher is not None and made else []

    def _planned(self, plan: tuple[Statuses, bytes, list[tuple[bytes, bytes]]], taken_at: Place) -> Deferred[Statuses]:
        """Log what is going to change, then let it change."""
        statuses, redo, made = plan
        if self._journal is not None and redo:
            self._journal.append_redo(taken_at, redo)
        if self._watcher is not None:
            self._watcher.planned(made, redo)
        committed = deferToThreadPool(self._reactor, self._pool, self._store.writer(0).commit)
        return committed.addCallback(lambda _: statuses)

    def _kept(self, job: StatJob, statuses: Statuses) -> tuple[Statuses, Any]:
        return statuses, self._store.holds(job.ids)

    def _failed(self, job: StatJob, failure: Failure) -> tuple[Statuses, Any]:
        """Treat a store that raises as one that could write nothing."""
        self._log.failure("a job of counters failed and will be tried again", failure)
        self._account.count("failed_jobs")
        return np.full(len(job), RETRY, np.uint8), np.zeros(len(job), np.bool_)

    def _written(self, outcome: tuple[Statuses, Any], job: StatJob) -> None:
        statuses, kept = outcome
        self._busy = False
        self._account.count("jobs")
        self._account.count("counters_written", len(job))
        self._round_failed = self._round_failed or bool((statuses == RETRY).any())
        self._cache.confirm(job, statuses, kept)
        if len(self._cache.samples) < EMPTY_SHARE * self._bound():
            self._gate.resume(REASON)
        if self._watcher is not None:
            self._watcher.written(job, job.ids[(statuses == RETRY) | (statuses == WAITS_FOR_CREATE)])
        if self._keys is not None:
            self._keys.jobs_done(self._job)
        self._let_readers_in()
        for report in self._store.reports():
            self._log.warn("{name}: {kind} {error}", name=report.name, kind=report.kind, error=report.error)
        if self._leaving:
            self._give_up()
        elif self._hurry or self._cache.urgent:
            self._pump()

    def _round_ends(self) -> None:
        self._round_open = self._hurry = False
        if self._journal is not None and not self._round_failed and not self._store.writer(0).unwritten:
            self._journal.round_done()
            if self._watcher is not None:
                self._watcher.round(False)
        self._all_told()

    def _all_told(self) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(None)

    def _end(self, result: object) -> object:
        self._ended = True
        self._pool.stop()
        self._store.close()
        return result
