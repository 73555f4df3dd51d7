"""Asks other servers over HTTP; connections are kept, and answers bounded in bytes and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from cadtwist.errors import CadtwistError
from cadtwist.net.httpask import WholeBody

__all__ = ["Ask", "HttpAsk", "Question", "Reply", "TooLongError"]

_CONNECTIONS = 16
_IDLE_S = 30  # servers close what is idle longer


class Question(NamedTuple):
    """A request: of a `body` its type is `kind`; without one it is a GET."""

    url: str
    body: bytes | None = None
    kind: str = ""
    headers: Mapping[str, str] = {}


class Reply(NamedTuple):
    """An answer: `kind` is its content type."""

    status: int
    kind: str
    body: bytes


class TooLongError(CadtwistError):
    """An answer is longer than is allowed."""


Ask = Callable[[Question, float], "Deferred[Reply]"]
"""(question, seconds) -> Reply; fails when there is no connection, no whole answer in time, or too long a one."""


class HttpAsk:
    """An `Ask` over connections that are used again; answers have at most `most_bytes`.  Reactor thread."""

    def __init__(self, reactor: Any, most_bytes: int, connect_timeout_s: float) -> None:
        self._reactor = reactor
        self._most_bytes = most_bytes
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = _CONNECTIONS
        self._pool.cachedConnectionTimeout = _IDLE_S
        self._agent = Agent(reactor, connectTimeout=connect_timeout_s, pool=self._pool)

    def __call__(self, question: Question, timeout_s: float) -> Deferred[Reply]:
        """Ask; cancelling leaves the connection."""
        asked = self._request(question).addErrback(self._again, question)
        return _leavable(asked.addCallback(self._read)).addTimeout(timeout_s, self._reactor)

    def _request(self, question: Question) -> Deferred[Any]:
        headers = Headers({name: [value] for name, value in question.headers.items()})
        headers.setRawHeaders("User-Agent", ["cadtwist"])
        body = None
        if question.body is not None:
            headers.setRawHeaders("Content-Type", [question.kind])
            body = WholeBody(question.body)
        method = b"GET" if body is None else b"POST"
        return self._agent.request(method, question.url.encode("ascii"), headers, body)

    def _again(self, failure: Failure, question: Question) -> Any:
        """Ask once more where a connection was lost without an answer: the peer may have closed it while it waited."""
        reasons = getattr(failure.value, "reasons", ()) if failure.check(ResponseNeverReceived) else ()
        if not reasons or any(reason.check(CancelledError) for reason in reasons):
            return failure
        return self._request(question)

    def _read(self, response: Any) -> Deferred[Reply]:
        kind = (response.headers.getRawHeaders("Content-Type") or [""])[0]
        taker = _Taker(response.code, kind, self._most_bytes)
        response.deliverBody(taker)
        return taker.done

    def close(self) -> Deferred[Any]:
        """Close the connections that wait for another question."""
        return cast("Deferred[Any]", self._pool.closeCachedConnections())


def _leavable(asked: Deferred[Reply]) -> Deferred[Reply]:
    """Return a Deferred of the same that fails with CancelledError when it is cancelled, whatever the other one says.

    A request that is cancelled fails as one that was not answered.
    """
    left: list[bool] = []

    def leave(_: Deferred[Reply]) -> None:
        left.append(True)
        asked.cancel()

    def pass_on(result: Any) -> None:
        if not left:
            answer.callback(result)

    answer: Deferred[Reply] = Deferred(leave)
    asked.addBoth(pass_on)
    return answer


class _Taker(Protocol):
    """Takes the body of an answer."""

    def __init__(self, status: int, kind: str, most_bytes: int) -> None:
        self.done: Deferred[Reply] = Deferred(lambda _: self._leave())
        self._status = status
        self._kind = kind
        self._left = most_bytes
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """Take some of it; leave a peer that sends too much."""
        self._left -= len(data)
        if self._left >= 0:
            self._pieces.append(data)
        elif not self.done.called:
            self._pieces.clear()
            self.done.errback(TooLongError("the answer is too long"))
            self._leave()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell what came, if all of it did."""
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(Reply(self._status, self._kind, b"".join(self._pieces)))
        else:
            self.done.errback(reason)

    def _leave(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            getattr(transport, "abortConnection", transport.loseConnection)()
