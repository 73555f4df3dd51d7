"""Keeps the catalog of tags in step with a Redis, which other servers may share."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from cadtwist.errors import StorageError
from cadtwist.net.redislink import RedisLink
from cadtwist.query.catalog import Catalog
from cadtwist.storage.catalogfile import CatalogFile, EventRow
from cadtwist.storage.redistags import RedisTags
from cadtwist.telemetry import Account

__all__ = ["CatalogInRedis", "TagsKeeper", "all_of"]

TELL_S = 1.0
LOOK_S = 60.0
_SLICE = 200


def all_of(asked: list[Awaitable[Any]]) -> Deferred[Any]:
    """Wait for all; fail with the first that fails, when all have ended."""
    waiting: Any = gatherResults([_deferred(one) for one in asked], consumeErrors=True)
    return waiting.addErrback(lambda failure: failure.value.subFailure)  # type: ignore[no-any-return]


def _deferred(one: Any) -> Deferred[Any]:
    return one if isinstance(one, Deferred) else ensureDeferred(one)


class CatalogInRedis(CatalogFile):
    """Tagged series in Redis, events in the file at `path` (empty: nowhere); stands where a CatalogFile stands."""

    def __init__(self, path: str, tags: RedisTags) -> None:
        super().__init__(path)
        self._tags = tags

    def exists(self) -> bool:
        """Tell whether there is a file of events to read."""
        return bool(self._path) and super().exists()

    def names(self) -> Iterator[list[str]]:
        """Yield nothing: what Redis knows comes by itself, and what the file knew is not asked for any more."""
        return iter(())

    def keep(self, name: str) -> None:
        """Remember a series."""
        self._tags.keep(name)

    def drop(self, name: str) -> None:
        """Remember that a series is to go."""
        self._tags.drop(name)

    def keep_event(self, event: EventRow) -> None:
        """Remember an event."""
        if self._path:
            super().keep_event(event)


class TagsKeeper(Service):
    """Tells `tags` of changes, and takes those of others into the catalog: each minute, if their number differs.

    What Redis has not is forgotten, except what it has still to be told; a Redis that has lost all is told all again.
    Reactor thread.
    """

    name = "tags in Redis"
    _log = Logger()

    def __init__(self, reactor: Any, link: RedisLink, tags: RedisTags, catalog: Catalog, account: Account) -> None:
        self._reactor = reactor
        self._link = link
        self._tags = tags
        self._catalog = catalog
        self._account = account
        self._call: IDelayedCall | None = None
        self._working: Deferred[Any] = succeed(None)
        self._look_at = 0.0
        self._failing = False
        account.gauge("tags_to_tell", lambda: float(tags.waiting))
        account.gauge("tags_lost", lambda: float(tags.lost))

    def startService(self) -> None:
        """Read what Redis knows, now or as soon as it answers."""
        super().startService()
        self._turn()

    def stopService(self) -> Deferred[Any]:
        """Tell what is to be told, if Redis answers, and disconnect."""
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._working.addCallback(lambda _: ensureDeferred(self._tags.flush()))
        self._working.addErrback(self._away)
        return self._working.addBoth(lambda _: self._link.close())

    def _turn(self) -> None:
        self._working = ensureDeferred(self._work())
        self._working.addCallbacks(self._well, self._away)
        self._working.addErrback(lambda failure: self._log.failure("tags in Redis: internal error", failure))
        self._working.addCallback(self._again)

    def _again(self, _result: object) -> None:
        if self.running:
            self._call = self._reactor.callLater(TELL_S, self._turn)

    async def _work(self) -> None:
        await self._tags.flush()
        if self._reactor.seconds() >= self._look_at:
            await self._look()
            self._look_at = self._reactor.seconds() + LOOK_S

    async def _look(self) -> None:
        """Take over what others changed."""
        known = await self._tags.count()
        if known == len(self._catalog.tags) and self._look_at:
            return
        if not known:
            for name in self._catalog.tags.names():
                self._tags.keep(name)
            return
        found: set[str] = set()
        async for names in self._tags.names():
            found.update(names)
            for start in range(0, len(names), _SLICE):
                self._catalog.restore([name for name in names[start : start + _SLICE] if self._is_new(name)])
                await deferLater(self._reactor, 0, lambda: None)
        gone = [name for name in self._catalog.tags.names() if name not in found and not self._tags.is_pending(name)]
        if self._look_at:
            self._catalog.forget(gone)
        self._account.count("tags_looked_at")

    def _is_new(self, name: str) -> bool:
        """Tell whether a series is to be taken: not one that is about to be dropped."""
        return name not in self._catalog.tags and not self._tags.is_pending(name)

    def _well(self, _result: object) -> None:
        if self._failing:
            self._log.info("tags: {where} answers again", where=self._link.where)
        self._failing = False

    def _away(self, failure: Failure) -> None:
        failure.trap(StorageError)
        self._account.count("failures")
        if not self._failing:
            self._log.warn("tags: {why}; they wait", why=failure.getErrorMessage())
        self._failing = True
