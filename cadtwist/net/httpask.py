"""A request that is passed on to another server, whole, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

__all__ = ["HttpAnswer", "HttpAsk", "WholeBody", "status_of"]


class HttpAnswer(NamedTuple):
    """A status, headers (names in lower case) and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


@implementer(IBodyProducer)
class WholeBody:
    """The body of a request, sent as one piece."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Give all of it."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is to be given any more."""

    resumeProducing = stopProducing = pauseProducing


class _Body(Protocol):
    """Reads the body of an answer; `over` fires at its end, and closes the connection when it is cancelled."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self.over: Deferred[None] = Deferred(lambda _: self._leave())
        self._take = take

    def dataReceived(self, data: bytes) -> None:
        """Hand it on."""
        self._take(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell how it ended."""
        if self.over.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.over.callback(None)
        else:
            self.over.errback(reason)

    def _leave(self) -> None:
        transport: Any = self.transport
        leave = getattr(transport, "abortConnection", None) or transport.loseConnection
        leave()


class HttpAsk:
    """Asks other servers; every failure is an OSError, a body beyond `most_bytes` as well.

    Connections are kept and used again until `close`.
    """

    def __init__(self, reactor: Any, timeout_s: float, most_bytes: int = 64 << 20) -> None:
        self.timeout_s = timeout_s
        self.most_bytes = most_bytes
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor, persistent=True)
        self._agent = Agent(reactor, connectTimeout=timeout_s, pool=self._pool)

    def __call__(
        self, method: bytes, url: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> Deferred[HttpAnswer]:
        """Return what `url` answers within the time."""
        asked = self._request(method, url, headers, body).addCallback(_read, self.most_bytes)
        answered: Deferred[HttpAnswer] = asked.addTimeout(self.timeout_s, self._reactor).addErrback(_as_os_error)
        return answered

    def stream(
        self, method: bytes, url: bytes, headers: Iterable[tuple[bytes, bytes]], take: Callable[[bytes], object]
    ) -> Deferred[None]:
        """Give `take` the body of an answer of status 200 as it comes, for as long as it comes; fires at its end."""

        def read(response: Any) -> Deferred[None]:
            body = _Body(take if response.code == 200 else lambda _: None)
            response.deliverBody(body)
            if response.code != 200:
                body.over.addErrback(lambda _: None).cancel()
                raise OSError(f"answers {response.code}")
            return body.over

        asked = self._request(method, url, headers, b"").addTimeout(self.timeout_s, self._reactor)
        streamed: Deferred[None] = asked.addCallback(read).addErrback(_as_os_error)
        return streamed

    def close(self) -> Deferred[Any]:
        """Close the connections that wait for another request."""
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed

    def _request(self, method: bytes, url: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Deferred[Any]:
        given = Headers()
        for name, value in headers:
            given.addRawHeader(name, value)
        asked: Deferred[Any] = self._agent.request(method, url, given, WholeBody(body) if body else None)
        return asked


def status_of(response: Any, timeout_s: float, reactor: Any) -> Deferred[int]:
    """Return the status of a response, as soon as its body, which is thrown away, has ended or `timeout_s` is over.

    A peer whose answer never ends keeps nobody: its connection is closed, and what it has said counts.
    """
    body = _Body(lambda _: None)
    response.deliverBody(body)
    code: int = response.code
    told: Deferred[int] = body.over.addTimeout(timeout_s, reactor).addBoth(lambda _: code)
    return told


def _read(response: Any, most: int) -> Deferred[HttpAnswer]:
    headers = {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in response.headers.getAllRawHeaders()
    }
    parts: list[bytes] = []
    size = 0

    def take(part: bytes) -> None:
        nonlocal size
        size += len(part)
        if size <= most:
            parts.append(part)
        elif not body.over.called:
            body.over.cancel()

    def whole(result: Failure | None) -> HttpAnswer | Failure:
        if size > most:
            raise OSError(f"the answer has more than {most} bytes")
        return result if isinstance(result, Failure) else HttpAnswer(response.code, headers, b"".join(parts))

    body = _Body(take)
    response.deliverBody(body)
    found: Deferred[HttpAnswer] = body.over.addBoth(whole)
    return found


def _as_os_error(failure: Failure) -> Failure:
    if failure.check(OSError, CancelledError):
        return failure
    raise OSError(failure.getErrorMessage() or type(failure.value).__name__) from failure.value
