"""Tells a tag database (graphite-web's `/tags/tagMultiSeries`) which tagged series exist.

New series come before updates, in batches; a batch that the database refuses is kept and tried again with
exponential back-off, so that a restart of graphite-web loses no series.  Both queues are bounded; what does not fit is
counted.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import treq
from twisted.application.internet import backoffPolicy
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from cadtwist.net.httpask import status_of
from cadtwist.telemetry import Account

__all__ = ["TagPoster", "multipart", "post_with_treq"]

OK = 200
POLL_S = 0.2
Post = Callable[[str, list[str]], "Deferred[int]"]
"""(url, paths) -> HTTP status; fails when the database cannot be reached in time."""


def multipart(paths: list[str], boundary: str) -> bytes:
    """Return a multipart/form-data body with one field `path` per name, as carbon sends it."""
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="path"\r\n\r\n'
    return ("".join(f"{part}{path}\r\n" for path in paths) + f"--{boundary}--\r\n").encode("utf-8", "replace")


def post_with_treq(reactor: Any, timeout_s: float) -> Post:
    """Return a `Post` over HTTP that gives up after `timeout_s`."""

    def post(url: str, paths: list[str]) -> Deferred[int]:
        boundary = secrets.token_hex(16)
        headers: dict[bytes | str, bytes | str] = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        body = multipart(paths, boundary)
        asked: Deferred[Any] = treq.post(url, body, headers=headers, timeout=timeout_s, unbuffered=True)
        return asked.addCallback(status_of, timeout_s, reactor)

    return post


class TagPoster(Service):
    """Posts names in batches of `batch_size` to `<url>/tags/tagMultiSeries`.

    `add` and `update` take series names (str); reactor thread.  At most `queue_size` names wait in each queue.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        post: Post,
        url: str,
        account: Account,
        batch_size: int = 100,
        queue_size: int = 10000,
    ) -> None:
        self._reactor = reactor
        self._post = post
        self._url = url.rstrip("/") + "/tags/tagMultiSeries"
        self._account = account
        self._batch_size = batch_size
        self._queue_size = queue_size
        self._new: OrderedDict[str, None] = OrderedDict()
        self._updated: OrderedDict[str, None] = OrderedDict()
        self._failures = 0
        self._delay = backoffPolicy(1.0, 60.0, 2.0)
        self._call: IDelayedCall | None = None
        account.gauge("queued_new", lambda: len(self._new))
        account.gauge("queued_updates", lambda: len(self._updated))

    def add(self, name: str) -> None:
        """Queue a series that has just been created."""
        self._queue(self._new, name)

    def update(self, name: str) -> None:
        """Queue a series that is still alive."""
        self._queue(self._updated, name)

    def _queue(self, queue: OrderedDict[str, None], name: str) -> None:
        if len(queue) >= self._queue_size and name not in queue:
            self._account.count("queue_full")
            return
        queue[name] = None

    def startService(self) -> None:
        """Begin to post."""
        super().startService()
        self._schedule(POLL_S)

    def stopService(self) -> None:
        """Stop posting; a request under way ends by its own time limit."""
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _schedule(self, delay_s: float) -> None:
        if self.running:
            self._call = self._reactor.callLater(delay_s, self._turn)

    def _turn(self) -> None:
        names = list(self._new)[: self._batch_size]
        names += list(self._updated)[: self._batch_size - len(names)]
        if not names:
            self._schedule(POLL_S)
            return
        posted = self._post(self._url, names)
        posted.addCallbacks(self._answered, self._failed, callbackArgs=(names,))
        posted.addErrback(lambda failure: self._log.failure("tag database: internal error", failure))

    def _answered(self, status: int, names: list[str]) -> None:
        if status != OK:
            self._retry(f"answers {status}")
            return
        for name in names:
            (self._new if name in self._new else self._updated).pop(name, None)
        self._account.count("series_posted", len(names))
        if self._failures:
            self._log.info("tag database at {url} takes series again", url=self._url)
        self._failures = 0
        self._schedule(0 if self._new or self._updated else POLL_S)

    def _failed(self, failure: Any) -> None:
        self._retry(failure.getErrorMessage())

    def _retry(self, why: str) -> None:
        self._account.count("failed_posts")
        if not self._failures:
            self._log.warn("tag database at {url}: {why}; series wait", url=self._url, why=why)
        self._failures += 1
        self._schedule(self._delay(self._failures))
