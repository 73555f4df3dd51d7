"""Where a counter daemon keeps its settings: a folder, or a Redis."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger
from twisted.python.failure import Failure

from cadtwist.config.redisurl import REDIS, RedisAddress, parse_redis_url
from cadtwist.errors import StorageError
from cadtwist.net.redislink import RedisLink, dial_redis
from cadtwist.services.sequence import Every, Step
from cadtwist.storage.settings import FileSettings, RedisSettings

__all__ = ["SettingsKeeper", "redis_link"]

SAVE_S = 10


def redis_link(reactor: Any, address: RedisAddress) -> RedisLink:
    """Return a link to a Redis; it connects when it is first used."""
    return RedisLink(reactor, address.shown, dial_redis(*address))


class SettingsKeeper:
    """The settings of `where`, a folder or a `redis://` URL, and the services that keep them.  Reactor thread."""

    _log = Logger()

    def __init__(self, reactor: Any, where: str) -> None:
        self._reactor = reactor
        self._link: RedisLink | None = None
        self.settings: FileSettings | RedisSettings
        if where.startswith(REDIS):
            self._link = redis_link(reactor, parse_redis_url(where))
            self.settings = RedisSettings(self._link)
        else:
            self.settings = FileSettings(where)

    def services(self) -> Iterator[IService]:
        """Yield the parts that load settings at the start, save them in between and at the end."""
        if self._link is not None:
            yield Step("settings", partial(self._greet, self._link), self._link.close)
            return
        yield Step("settings", partial(self._try, self.settings.load_all), partial(self._try, self._save))
        yield Every("settings to save", self._reactor, SAVE_S, lambda _now: self._try(self._save))

    def _save(self) -> None:
        if self.settings.dirty:
            self.settings.save()

    def _try(self, work: Any) -> None:
        try:
            work()
        except StorageError as error:
            self._log.error("settings: {error}", error=error)

    def _greet(self, link: RedisLink) -> None:
        """Connect now, so that the first who asks need not wait, and so that a wrong address is told at the start."""
        link.ask(b"PING").addErrback(self._away)

    def _away(self, failure: Failure) -> None:
        failure.trap(StorageError)
        self._log.error("settings: {why}; trying on", why=failure.getErrorMessage())
