"""Answers carbonlink requests: what is not in files yet, and one property of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IAddress, IPushProducer
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.codec import cachequery
from cadtwist.codec.frames import Frames
from cadtwist.errors import CadtwistError
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Floats, Ids
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.factory import address_text
from cadtwist.protocols.lastanswers import LastAnswers
from cadtwist.telemetry import Account

__all__ = ["CacheAnswers", "CacheQueryConnection", "CacheQueryFactory"]


class CacheAnswers(Protocol):
    """Who knows the answers.  Inline, in the reactor thread."""

    def peek(self, metrics: Sequence[str], most: int) -> tuple[Ids, Floats, Floats]:
        """Return (offsets, timestamps, values) of what is not in the metrics' files yet, in order of arrival.

        Nothing for a metric that is unknown; raises CadtwistError when there are more than `most` datapoints.
        """

    def get_metadata(self, metric: str, key: str) -> object:
        """Return a property of a metric's file; raises CadtwistError or OSError where it cannot."""

    def set_metadata(self, metric: str, key: str, value: object) -> tuple[object, object]:
        """Change a property of a metric's file; return its old and new value; raises CadtwistError or OSError."""


@implementer(IPushProducer)
class CacheQueryConnection(LastAnswers, StreamProtocol):
    """One client: requests are answered in their order; garbage closes the connection without an answer.

    While the client does not read its answers, its requests are not read either.
    """

    listener: CacheQueryFactory

    def __init__(self, max_bytes: int) -> None:
        self._frames = Frames(max_bytes)
        self._waiting: list[bytes] = []
        self._blocked = False
        self._closed = False

    def connectionMade(self) -> None:
        """Begin."""
        self._wire().registerProducer(self, True)
        self.listener.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Answer the requests that `data` completes."""
        if self._closed:
            return
        whole, spans = self._frames.feed(data)
        self._waiting += [whole[start:end] for start, end in spans]
        self._answer_waiting()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """End."""
        self._closed = True
        self._waiting.clear()
        self.listener.closed(self)

    def pauseProducing(self) -> None:
        """The client reads too slowly: stop answering, and so stop reading."""
        self._blocked = True
        self._wire().pauseProducing()

    def resumeProducing(self) -> None:
        """The client has read: go on."""
        self._blocked = False
        self._answer_waiting()
        if not self._blocked and not self._closed:
            self._wire().resumeProducing()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self._closed = True

    def _answer_waiting(self) -> None:
        waiting, done = self._waiting, 0
        while done < len(waiting) and not self._blocked and not self._closed:
            request = waiting[done]
            done += 1
            try:
                reply = self.listener.answer(request)
            except cachequery.RequestError as error:
                self._refuse(str(error))
                return
            self._wire().write(reply)
        del waiting[:done]
        if self._frames.lost and not waiting and not self._closed:
            self._refuse("a frame longer than allowed")

    def _refuse(self, why: str) -> None:
        self._closed = True
        self._waiting.clear()
        self.listener.refused(address_text(self._wire().getPeer()), why)
        self._wire().unregisterProducer()
        self._wire().loseConnection()

    def _wire(self) -> Any:
        return self.transport


class CacheQueryFactory(ServerFactory):
    """Builds connections that ask `answers`.

    Counters of the account: `queries`, `bulk_queries`, `bulk_metrics`, `metadata_queries`, `refused`, `connections`;
    `too_broad` queries ask for more than an answer may have and are told so.
    """

    noisy = False
    log = Logger()

    def __init__(
        self,
        answers: CacheAnswers,
        account: Account,
        bad_log: BadInputLog,
        max_request_bytes: int = cachequery.MAX_REQUEST_BYTES,
        log_queries: bool = False,
    ) -> None:
        self.connections: set[CacheQueryConnection] = set()
        self._answers = answers
        self._account = account
        self._bad_log = bad_log
        self._max_request_bytes = max_request_bytes
        self._log_queries = log_queries
        account.gauge("connections_open", lambda: len(self.connections))

    def buildProtocol(self, addr: IAddress | None) -> CacheQueryConnection:  # noqa: ARG002
        """Return the protocol of a new connection."""
        connection = CacheQueryConnection(self._max_request_bytes)
        connection.listener = self
        return connection

    def change(self, idle_timeout_s: float, log: Any) -> None:
        """Take the reloaded switch `log.queries`; queries have no idle timeout."""
        del idle_timeout_s
        self._log_queries = log.queries

    def opened(self, connection: CacheQueryConnection) -> None:
        """Count a connection."""
        self.connections.add(connection)
        self._account.count("connections")

    def closed(self, connection: CacheQueryConnection) -> None:
        """Count a connection's end."""
        self.connections.discard(connection)

    def refused(self, peer: str, why: str) -> None:
        """Count a client that talks garbage."""
        self._account.count("refused")
        self._bad_log("cache query", peer, BadInput("frame", why.encode("utf-8", "replace")[:80]), 1)

    def disconnect(self) -> None:
        """Close all connections."""
        for connection in list(self.connections):
            transport: Any = connection.transport
            transport.abortConnection()

    def answer(self, request: bytes) -> bytes:
        """Return the framed answer to one pickled request; raises RequestError where there is none."""
        asked = cachequery.decode_request(request, 0, len(request))
        if isinstance(asked, cachequery.Query):
            self._account.count("queries")
            return self._points([asked.metric], bulk=False)
        if isinstance(asked, cachequery.BulkQuery):
            self._account.count("bulk_queries")
            self._account.count("bulk_metrics", len(asked.metrics))
            return self._points(asked.metrics, bulk=True)
        if isinstance(asked, cachequery.UnknownRequest):
            return cachequery.unknown_reply(asked)
        return self._metadata(asked)

    def _points(self, metrics: Sequence[str], bulk: bool) -> bytes:
        """Return the points of `metrics`, or the error of a query that asks for too much at once."""
        try:
            if len(metrics) > cachequery.MAX_ANSWER_METRICS:
                raise CadtwistError(f"{len(metrics)} metrics in one query, at most {cachequery.MAX_ANSWER_METRICS}")
            found = self._answers.peek(metrics, cachequery.MAX_ANSWER_POINTS)
        except CadtwistError as error:
            self._account.count("too_broad")
            return cachequery.error_reply(str(error))
        self._told(metrics, len(found[2]))
        return cachequery.bulk_reply(metrics, *found) if bulk else cachequery.points_reply(*found[1:])

    def _metadata(self, asked: cachequery.GetMetadata | cachequery.SetMetadata) -> bytes:
        self._account.count("metadata_queries")
        try:
            if isinstance(asked, cachequery.GetMetadata):
                return cachequery.metadata_reply(self._answers.get_metadata(asked.metric, asked.key))
            return cachequery.metadata_set_reply(*self._answers.set_metadata(asked.metric, asked.key, asked.value))
        except (CadtwistError, OSError, ValueError) as error:
            return cachequery.error_reply(f"{type(error).__name__}: {error}")

    def _told(self, metrics: Sequence[str], points: int) -> None:
        if self._log_queries:
            self.log.info("cache query for {count} metrics ({first}): {points} datapoints", count=len(metrics),
                          first=metrics[0] if metrics else "", points=points)  # fmt: skip
