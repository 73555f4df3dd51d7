"""Sends lines as bodies of HTTP requests: a success answers for its lines, any other leaves them in the queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool

from cadtwist.journal.flight import Flight
from cadtwist.net.client import Delays
from cadtwist.net.httpask import status_of
from cadtwist.net.outlets import Owner

__all__ = ["HttpOutlet", "HttpOwner", "HttpPost", "Post"]

BODY_BYTES = 256 << 10
REFUSED = "http_refused"
Post = Callable[[str, bytes], "Deferred[int]"]
"""(url, body) -> HTTP status; fails when there is no answer in time."""


class HttpPost:
    """A `Post` that gives up after `timeout_s`; connections are kept and used again until `close`."""

    def __init__(self, reactor: Any, timeout_s: float) -> None:
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._client = HTTPClient(Agent(reactor, connectTimeout=timeout_s, pool=self._pool))

    def __call__(self, url: str, body: bytes) -> Deferred[int]:
        """Post `body`; return the status of the answer."""
        headers: dict[bytes | str, bytes | str] = {"Content-Type": "text/plain; charset=utf-8"}
        asked: Deferred[Any] = self._client.post(
            url, data=body, headers=headers, timeout=self._timeout_s, unbuffered=True
        )
        return asked.addCallback(status_of, self._timeout_s, self._reactor).addErrback(_in_words)

    def close(self) -> Deferred[Any]:
        """Close the connections that wait for another request."""
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed


def _in_words(failure: Failure) -> Failure:
    """Say why there was no answer, where twisted gives a list of failures."""
    reasons = getattr(failure.value, "reasons", ())
    if not reasons:
        return failure
    timed_out = reasons[0].check(CancelledError) is not None
    raise OSError("no answer in time" if timed_out else reasons[0].getErrorMessage()) from failure.value


class HttpOwner(Owner, Protocol):
    """What is asked of the destination."""

    def answered(self, why: Failure | None) -> None:
        """Take note of how a request went: None = well."""


class HttpOutlet:
    """One request at a time.  `up` while the last one was answered well, and before the first.

    A request that the peer will never take (4xx, save 408 and 429) is dropped and counted; any other failure is tried
    again after a while, with whatever comes first then.  Reactor thread.
    """

    holding = False

    def __init__(self, reactor: Any, owner: HttpOwner, post: Post, url: str, delays: Delays) -> None:
        self.up = True
        self.failures = 0
        self._reactor = reactor
        self._owner = owner
        self._post = post
        self._url = url
        self._delays = delays
        self._waiting: IDelayedCall | None = None
        self._asked: Deferred[None] | None = None
        self._asking = False
        self._stopped = False

    @property
    def blocked(self) -> bool:
        """True while a request is under way, or the next one has to wait."""
        return self._stopped or self._asking or self._waiting is not None

    @property
    def settled(self) -> bool:
        """True when no request is under way."""
        return not self._asking

    def pump(self, now: float) -> None:
        """Send the next request, if there is something to send."""
        if self.blocked:
            return
        flight = self._owner.open_flight()
        pieces = flight.fill(BODY_BYTES, now)
        if not pieces:
            flight.lost(now)
            return
        body = b"".join(pieces)
        self._asking = True
        self._asked = self._post(self._url, body).addCallback(self._answered, flight, len(body))
        self._asked.addErrback(self._failed, flight).addBoth(self._done)

    def poll(self, now: float) -> None:
        """Nothing: the answer tells."""

    def _answered(self, status: int, flight: Flight, size: int) -> None:
        if status >= 500 or status in (408, 429) or status < 200:
            raise OSError(f"answers {status}")
        if status >= 300:
            self._owner.count_refused(REFUSED, flight.points)
        flight.wrote(size)
        flight.finished()
        flight.lost(self._owner.seconds())
        self._owner.count_batch(size)
        self.failures = 0
        self._set(True, None)

    def _failed(self, failure: Failure, flight: Flight) -> None:
        flight.lost(self._owner.seconds())
        self.failures += 1
        if not self._stopped:
            self._waiting = self._reactor.callLater(self._delays(self.failures), self._go_on)
        self._set(False, failure)

    def _done(self, _: object) -> None:
        self._asking = False
        if not self.blocked:
            self.pump(self._owner.seconds())

    def _go_on(self) -> None:
        self._waiting = None
        self.pump(self._owner.seconds())

    def _set(self, up: bool, why: Failure | None) -> None:
        self.up = up
        self._owner.answered(why)

    def end(self) -> None:
        """Give up a request that is under way."""
        if self._asking and self._asked is not None:
            self._asked.cancel()

    def stop(self) -> Deferred[None]:
        """Send nothing more."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        self.end()
        return succeed(None)
