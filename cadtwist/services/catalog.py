"""Feeds the catalog of tags, in slices: from its file at the start, then from new names; or from files of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Cooperator
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from cadtwist.errors import StorageError
from cadtwist.query.catalog import Catalog
from cadtwist.query.events import Event
from cadtwist.storage.catalogfile import CatalogFile, EventRow
from cadtwist.telemetry import Account

__all__ = ["CatalogKeeper", "CatalogReader"]

LOOK_S = 10.0
_SLICE = 200
_MOST_WAITING = 1 << 20
Kept = tuple[list[list[str]], list[list[EventRow]]]
Reading = Callable[[Callable[[], Kept]], Deferred[Kept]]
"""Reads files elsewhere."""


def _kept(files: Sequence[CatalogFile], with_tags: bool = True) -> Kept:
    """In another thread."""
    return (
        [names for file in files for names in file.names()] if with_tags else [],
        [events for file in files for events in file.events()],
    )


def _restoring(catalog: Catalog, names: list[list[str]], events: list[list[EventRow]]) -> Iterator[None]:
    for rows in events:
        for row in rows:
            catalog.events.restore(Event(*row))
        yield
    for some in names:
        for low in range(0, len(some), _SLICE):
            catalog.restore(some[low : low + _SLICE])
            yield


class _Feeder(Service):
    """Feeds a Catalog; `read(work)` runs the reading of files elsewhere and returns a Deferred."""

    name = "catalog"
    _log = Logger()

    def __init__(self, reactor: Any, catalog: Catalog, account: Account, read: Reading) -> None:
        self._reactor = reactor
        self._catalog = catalog
        self._account = account
        self._read = read
        self._cooperator = Cooperator(scheduler=lambda work: reactor.callLater(0, work))
        account.gauge("tagged_series", lambda: len(catalog.tags))
        account.gauge("events", lambda: len(catalog.events))

    def _restored(self, catalog: Catalog, kept: Kept) -> Deferred[Any]:
        """Give a catalog what was kept, in slices."""
        return self._cooperator.cooperate(_restoring(catalog, *kept)).whenDone()


class CatalogKeeper(_Feeder):
    """Keeps a Catalog in step with the names that are met, and its file with the Catalog.

    Names that wait for their slice are at most about a million; what does not fit is counted: it is met again with
    the next start.  Reactor thread.
    """

    def __init__(
        self,
        reactor: Any,
        catalog: Catalog,
        file: CatalogFile | None,
        account: Account,
        read: Reading = deferToThread,
    ) -> None:
        super().__init__(reactor, catalog, account, read)
        self._file = file
        self._waiting: deque[bytes] = deque()
        self._working = False
        catalog.watch(self._changed)

    def met(self, blob: bytes, offsets: npt.NDArray[np.uint32]) -> None:
        """Take the names `blob[offsets[i]:offsets[i+1]]`, of which those with tags count."""
        if b";" not in blob:
            return
        found = [name for a, b in pairwise(offsets.tolist()) if b";" in (name := blob[a:b])]
        room = max(_MOST_WAITING - len(self._waiting), 0)
        if len(found) > room:
            self._account.count("names_left_out", len(found) - room)
        self._waiting.extend(found[:room])
        self._work()

    def startService(self) -> None:
        """Read the file."""
        super().startService()
        file = self._file
        if file is None or not file.exists():
            self._work()
            return
        reading = self._read(lambda: _kept([file]))
        reading.addErrback(self._unreadable)
        reading.addCallback(self._restore)
        reading.addErrback(lambda failure: self._log.failure("Reading the catalog", failure))

    def _unreadable(self, failure: Failure) -> Kept:
        failure.trap(StorageError)
        self._log.error("The catalog cannot be read: {why}", why=failure.getErrorMessage())
        if self._file is not None:
            self._log.error("It is set aside as {path}", path=self._file.set_aside())
        return [], []

    def _restore(self, kept: Kept) -> Deferred[Any]:
        return self._restored(self._catalog, kept).addCallback(lambda _: self._work())

    def _work(self) -> None:
        if self._waiting and not self._working:
            self._working = True
            self._cooperator.cooperate(self._taking())

    def _taking(self) -> Iterator[None]:
        while self._waiting:
            for _ in range(min(len(self._waiting), _SLICE)):
                self._catalog.met(self._waiting.popleft().decode("utf-8", "replace"))
            yield
        self._working = False

    def _changed(self, kind: str, what: object) -> None:
        if self._file is None:
            return
        if kind == "series":
            self._file.keep(str(what))
        elif kind == "gone":
            self._file.drop(str(what))
        elif isinstance(what, Event):
            self._file.keep_event((what.when, what.number, what.what, what.tags, what.data))


class CatalogReader(_Feeder):
    """Knows the tags and events that catalogs' files hold; a file that has changed is read again.

    With `with_tags` off it knows their events only: tags come from elsewhere.  A file that cannot be read changes
    nothing.
    """

    def __init__(
        self,
        reactor: Any,
        catalog: Catalog,
        files: Sequence[CatalogFile],
        account: Account,
        read: Reading = deferToThread,
        with_tags: bool = True,
    ) -> None:
        super().__init__(reactor, catalog, account, read)
        self._with_tags = with_tags
        self._files = files
        self._state: tuple[object, ...] = ()
        self._call: IDelayedCall | None = None

    def startService(self) -> None:
        """Read the files, and look at them from time to time."""
        super().startService()
        self._look()

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        state = tuple(file.state() for file in self._files)
        if state == self._state:
            self._wait()
            return
        reading = self._read(lambda: _kept(self._files, self._with_tags))
        reading.addCallback(self._take)
        reading.addCallbacks(lambda _: setattr(self, "_state", state), self._unreadable)
        reading.addCallback(lambda _: self._wait())

    def _wait(self) -> None:
        if self.running:
            self._call = self._reactor.callLater(LOOK_S, self._look)

    def _take(self, kept: Kept) -> Deferred[Any]:
        fresh = Catalog(read_only=True)
        return self._restored(fresh, kept).addCallback(lambda _: self._catalog.take(fresh, self._with_tags))

    def _unreadable(self, failure: Failure) -> None:
        if failure.check(StorageError):
            self._log.error("The catalog cannot be read: {why}", why=failure.getErrorMessage())
        else:
            self._log.failure("Reading the catalog", failure)
