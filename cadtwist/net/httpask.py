"""A request that is passed on to another server, whole, and its answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import treq
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

__all__ = ["HttpAnswer", "HttpAsk"]

MAX_ANSWER_BYTES = 64 << 20


class HttpAnswer(NamedTuple):
    """A status, headers (names in lower case) and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


class HttpAsk:
    """Asks other servers; every failure is an OSError, a body beyond `MAX_ANSWER_BYTES` as well.

    Connections are kept and used again until `close`.
    """

    def __init__(self, reactor: Any, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._client = HTTPClient(Agent(reactor, connectTimeout=timeout_s, pool=self._pool))

    def __call__(
        self, method: bytes, url: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> Deferred[HttpAnswer]:
        """Return what `url` answers."""
        given = Headers()
        for name, value in headers:
            given.addRawHeader(name, value)
        asked: Deferred[Any] = self._client.request(
            method.decode("ascii"), url.decode("ascii"), headers=given, data=body,
            timeout=self._timeout_s, allow_redirects=False, unbuffered=True,
        )  # fmt: skip
        answered: Deferred[HttpAnswer] = asked.addCallback(_read).addErrback(_as_os_error)
        return answered

    def close(self) -> Deferred[Any]:
        """Close the connections that wait for another request."""
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed


def _read(response: Any) -> Deferred[HttpAnswer]:
    headers = {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }
    parts: list[bytes] = []
    size = 0

    def take(part: bytes) -> None:
        nonlocal size
        size += len(part)
        if size <= MAX_ANSWER_BYTES:
            parts.append(part)

    def whole(_: object) -> HttpAnswer:
        if size > MAX_ANSWER_BYTES:
            raise OSError(f"the answer has {size} bytes")
        return HttpAnswer(response.code, headers, b"".join(parts))

    read: Deferred[Any] = treq.collect(response, take)
    return read.addCallback(whole)


def _as_os_error(failure: Failure) -> Failure:
    if failure.check(OSError):
        return failure
    raise OSError(failure.getErrorMessage()) from failure.value
