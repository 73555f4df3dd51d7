"""Syncs a log to the disk every few seconds in a thread of its own, never two syncs at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from cadtwist.telemetry import Account

__all__ = ["Syncer"]


class Syncer(Service):
    """Calls `sync()` (which blocks in fdatasync) every `interval_s` while there is something to sync.

    `after()` is called in the reactor thread after each, be it good or bad.  `what` names it in messages.  A disk that
    fails is logged once until it works again; the failure is counted, and what is to be synced goes on being written.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        sync: Callable[[], object],
        interval_s: float,
        account: Account,
        what: str = "the log",
        after: Callable[[], object] | None = None,
    ) -> None:
        self.name = f"sync of {what}"
        self._what = what
        self._reactor = reactor
        self._sync = sync
        self.interval_s = interval_s
        self._account = account
        self._after = after
        self._pool = ThreadPool(1, 1, name="sync")
        self._call: IDelayedCall | None = None
        self._under_way: Deferred[None] | None = None
        self._failing = False

    def startService(self) -> None:
        """Start the thread and the timer."""
        super().startService()
        self._pool.start()
        self._schedule()

    def stopService(self) -> Deferred[None]:
        """Wait for a sync under way, sync a last time, end the thread."""
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        waiting: Deferred[None] = self._under_way if self._under_way is not None else succeed(None)
        ended: Deferred[None] = Deferred()
        waiting.addCallback(lambda _: self._sync_once().addCallback(self._end, ended))
        return ended

    def _end(self, _: object, ended: Deferred[None]) -> None:
        self._pool.stop()
        ended.callback(None)

    def _schedule(self) -> None:
        if self.running:
            self._call = self._reactor.callLater(max(0.01, self.interval_s), self._turn)

    def _turn(self) -> None:
        self._under_way = self._sync_once()
        self._under_way.addCallback(lambda _: self._done())

    def _done(self) -> None:
        self._under_way = None
        self._schedule()

    def _sync_once(self) -> Deferred[None]:
        synced = deferToThreadPool(self._reactor, self._pool, self._sync).addCallbacks(self._worked, self._failed)
        return synced if self._after is None else synced.addCallback(lambda _: self._told())

    def _told(self) -> None:
        if self._after is not None:
            self._after()

    def _worked(self, _: object) -> None:
        self._account.count("syncs")
        if self._failing:
            self._log.info("{what} can be synced again", what=self._what)
        self._failing = False

    def _failed(self, failure: Any) -> None:
        self._account.count("failed_syncs")
        if not self._failing:
            self._log.error("{what} cannot be synced: {why}", what=self._what, why=failure.getErrorMessage())
        self._failing = True
