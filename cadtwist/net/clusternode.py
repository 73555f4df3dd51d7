"""One server of a cluster: what it is asked, in the form that it speaks, and whether it is left alone.

A server that does not answer, answers with a fault of its own or with what cannot be read is *dead* from then on:
nobody waits for it again until it has answered a look, which is made by itself after a delay that grows.  A refusal of
one request (a status from 400 to 499) says nothing about the server.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.defer import TimeoutError as TooLateError
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionClosed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed

from cadtwist.codec.carbonapi import SeriesMessage
from cadtwist.codec.clusterwire import (
    MSGPACK,
    PICKLE,
    VERSION_3,
    AnswerError,
    Match,
    read_matches,
    read_names,
    read_plain_json,
    read_protocols,
    read_series,
)
from cadtwist.codec.finderwire import fetch_request, find_request
from cadtwist.errors import CadtwistError
from cadtwist.model.clusterserver import Server
from cadtwist.net.clusterhttp import Ask, Question, Reply, TooLongError

__all__ = ["ClusterNode", "NodeError", "NodeOptions"]

OURS = "cadtwist"
_OK, _NOT_FOUND = 200, 404
_STRANGERS = (401, 403)
_NOTHING = b"(Not Found)"
_LONGEST_QUERY = 2000
_MOST_QUERIES, _AT_ONCE = 100, 8
_LOOK = "cadtwist-looks-whether-you-live"
_FORM, _MESSAGE = "application/x-www-form-urlencoded", "application/x-carbonapi-v3-pb"
_SHOWN = 200

Result = TypeVar("Result")
Fields = Sequence[tuple[str, str]]
Headers = Mapping[str, str]


class NodeError(CadtwistError):
    """A server has not answered a request."""


class _RefusedError(CadtwistError):
    """A server does not answer this request; it is well."""


class _FaultError(CadtwistError):
    """A server answers with a fault of its own."""


_FAULTS = (
    AnswerError, ConnectError, ConnectingCancelledError, ConnectionClosed, OSError, RequestGenerationFailed,
    RequestTransmissionFailed, ResponseFailed, TooLateError, _FaultError,
)  # fmt: skip
"""What is expected to go wrong."""


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How servers are asked: seconds of patience, and `delays(n)`, those after n failures in a row."""

    find_timeout_s: float = 3.0
    fetch_timeout_s: float = 6.0
    use_post: bool = False
    delays: Callable[[int], float] = lambda failures: min(2.0 ** (failures - 1), 60.0)


class ClusterNode:
    """Asks one server.  Every question fails with NodeError where there is no answer.  Reactor thread.

    `count(what)` is told of `answers`, `failures`, `timeouts`, `refused` and `skipped` (nobody was asked, as the
    server is dead).
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, server: Server, ask: Ask, options: NodeOptions, count: Callable[[str], object]
    ) -> None:
        self.server = server
        self.alive = True
        self._clock = clock
        self._ask = ask
        self._options = options
        self._count = count
        self._form = server.form
        self._program = ""
        self._own_headers = {"Authorization": server.authorization} if server.authorization else {}
        self._failures = 0
        self._call: IDelayedCall | None = None
        self._waiting: list[Deferred[None]] = []
        self._looking: Deferred[None] | None = None

    @property
    def name(self) -> str:
        """What people know it by: host, port and prefix."""
        return self.server.name

    @property
    def tags(self) -> bool:
        """Tell whether it answers questions for tags: all do, but for stores of files that speak version 3."""
        if self.server.tags is not None:
            return self.server.tags
        return self._form != VERSION_3 or self._program == OURS

    def start(self) -> None:
        """Ask what it can, unless that was told."""
        if not self._form:
            self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._looking is not None:
            self._looking.cancel()

    # questions

    def find(self, queries: Sequence[str], headers: Headers) -> Deferred[list[list[Match]]]:
        """Return for each query its matches: (path, is it a leaf)."""
        return self._guarded(self._find(queries, headers))

    def fetch(
        self, patterns: Sequence[str], start: int, end: int, now: int, headers: Headers
    ) -> Deferred[list[SeriesMessage]]:
        """Return the series of all patterns in a range of epoch seconds; each names its pattern."""
        return self._guarded(self._fetch(patterns, start, end, now, headers))

    def names(self, headers: Headers) -> Deferred[list[str]]:
        """Return the names of all metrics."""
        return self._guarded(self._names(headers))

    def about_tags(self, path: str, fields: Fields, headers: Headers) -> Deferred[Any]:
        """Return the JSON of a door below `/tags`; None where it is not asked for tags."""
        return self._guarded(self._about_tags(path, fields, headers))

    async def _find(self, queries: Sequence[str], headers: Headers) -> list[list[Match]]:
        await self._settled()
        patience = self._options.find_timeout_s
        if self._form == VERSION_3:
            url, headers = self._url("/metrics/find/", self._own()), {**self._own_headers, **headers}
            asked = Question(url, find_request(queries), _MESSAGE, headers)
            body = _body(await self._ask(asked, patience))
            return [read_matches(self._form, body, query) for query in queries]
        if len(queries) > _MOST_QUERIES:
            raise _RefusedError(f"more than {_MOST_QUERIES} queries of a server that takes one at a time")
        found = []
        for low in range(0, len(queries), _AT_ONCE):
            some = queries[low : low + _AT_ONCE]
            asking = [self._asking("/metrics/find/", [*self._own(), ("query", query)], headers) for query in some]
            bodies = await _all([self._ask(one, patience) for one in asking])
            pairs = zip(bodies, some, strict=True)
            found += [read_matches(self._form, body, query) if body else [] for body, query in pairs]
        return found

    async def _fetch(
        self, patterns: Sequence[str], start: int, end: int, now: int, headers: Headers
    ) -> list[SeriesMessage]:
        await self._settled()
        if not self.tags:
            patterns = [pattern for pattern in patterns if not pattern.startswith("seriesByTag")]
        if not patterns:
            return []
        if self._form == VERSION_3:
            url = self._url("/render/", [*self._own(), ("now", str(now)), ("noCache", "1")])
            told = {**self._own_headers, **headers}
            question = Question(url, fetch_request(patterns, start, end), _MESSAGE, told)
        else:
            times = [("from", str(start)), ("until", str(end)), ("now", str(now)), ("noCache", "1")]
            targets = [("target", pattern) for pattern in patterns]
            question = self._asking("/render/", [*self._own(), *times, *targets], headers)
        reply = await self._ask(question, self._options.fetch_timeout_s)
        return read_series(self._form, body) if (body := _body(reply)) else []

    async def _names(self, headers: Headers) -> list[str]:
        await self._settled()
        local = [("local", self.server.local)]
        if self._form == VERSION_3 and self._program != OURS:
            question = self._asking("/metrics/list/", [*local, ("format", "json")], headers)
            told = read_plain_json(_body(await self._ask(question, self._options.find_timeout_s)) or b"{}")
            names = told.get("Metrics") if isinstance(told, dict) else None
            if not isinstance(names, list):
                raise AnswerError("no list of metrics")
            return [str(name) for name in names]
        question = self._asking("/metrics/index.json", local, headers)
        return read_names(_body(await self._ask(question, self._options.find_timeout_s)) or b"[]")

    async def _about_tags(self, path: str, fields: Fields, headers: Headers) -> Any:
        await self._settled()
        if not self.tags:
            return None
        question = self._asking(path, [*fields, ("local", self.server.local)], headers, post=path in _POSTED)
        reply = await self._ask(question, self._options.find_timeout_s)
        return read_plain_json(_body(reply) or b"null")

    def _own(self) -> list[tuple[str, str]]:
        return [("local", self.server.local), ("format", self._form)]

    def _url(self, path: str, fields: Fields) -> str:
        return f"{self.server.url}{path}?{urlencode(fields)}"

    def _asking(self, path: str, fields: Fields, headers: Headers, post: bool = True) -> Question:
        headers = {**self._own_headers, **headers}
        text = urlencode(fields, errors="replace")
        if post and (self._options.use_post or len(text) > _LONGEST_QUERY):
            return Question(f"{self.server.url}{path}", text.encode("ascii"), _FORM, headers)
        return Question(f"{self.server.url}{path}?{text}", headers=headers)

    # health

    def _guarded(self, asking: Coroutine[Any, Any, Result]) -> Deferred[Result]:
        if not self.alive:
            asking.close()
            self._count("skipped")
            return fail(NodeError(f"{self.name} is dead"))
        asked = Deferred.fromCoroutine(asking)
        return asked.addCallbacks(self._well, self._unwell)

    def _well(self, result: Result) -> Result:
        self._count("answers")
        self._failures = 0
        return result

    def _unwell(self, failure: Failure) -> Failure:
        """Take note of a failure; what comes of it is a NodeError, unless whoever asked has left."""
        if failure.check(CancelledError):
            return failure
        if failure.check(_RefusedError, TooLongError):
            self._count("refused")
        elif failure.check(NodeError):
            self._count("skipped")
            return failure
        else:
            self._dies(failure)
        return Failure(NodeError(f"{self.name}: {failure.getErrorMessage()}"))

    def _dies(self, failure: Failure) -> None:
        if not failure.check(*_FAULTS):
            self._log.failure("Asking {name}", failure, name=self.name)
        self._count("timeouts" if failure.check(TooLateError) else "failures")
        if self._call is not None or self._looking is not None:
            return
        if self.alive:
            why = failure.getErrorMessage() or type(failure.value).__name__
            self._log.warn("{name} is left alone: {why}", name=self.name, why=why[:_SHOWN])
        self.alive = False
        self._failures += 1
        self._call = self._clock.callLater(self._options.delays(self._failures), self._look)

    def _look(self) -> None:
        """See whether it lives, and what it can; nobody waits for that."""
        self._call = None
        self._looking = Deferred.fromCoroutine(self._asked_what_it_can())
        self._looking.addBoth(self._seen)

    def _seen(self, failure: Failure | None) -> None:
        self._looking = None
        if failure is not None:
            if not failure.check(CancelledError):
                self._dies(failure)
                self._wake(NodeError(f"{self.name} is dead"))
            return
        if not self.alive:
            self._log.info("{name} answers again", name=self.name)
        self.alive = True
        self._wake(None)

    async def _asked_what_it_can(self) -> None:
        """Ask which protocols it speaks; one that does not know the question is a graphite-web."""
        if self.server.form:
            question = self._asking("/metrics/find/", [*self._own(), ("query", _LOOK)], {})
            reply = await self._ask(question, self._options.find_timeout_s)
            if reply.status >= 500:
                _body(reply)
            return
        question = Question(f"{self.server.url}/_internal/capabilities/?format=json", headers=self._own_headers)
        reply = await self._ask(question, self._options.find_timeout_s)
        if reply.status >= 500 or reply.status in _STRANGERS:
            raise _FaultError(f"answers {reply.status}")
        form, program = MSGPACK, ""
        if reply.status == _OK:
            try:
                spoken, program = read_protocols(reply.body)
            except AnswerError:
                spoken = ()
            if spoken:
                form = VERSION_3 if VERSION_3 in spoken else PICKLE
        self._form, self._program = form, program

    def _wake(self, error: NodeError | None) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if error is None:
                one.callback(None)
            else:
                one.errback(error)

    async def _settled(self) -> None:
        """Wait until it is known what it speaks; NodeError when that cannot be learnt."""
        if not self._form:
            woken: Deferred[None] = Deferred(self._waiting.remove)
            self._waiting.append(woken)
            await woken


_POSTED = ("/tags/findSeries", "/tags/autoComplete/tags", "/tags/autoComplete/values")
"""The doors of tags that may be asked by POST."""


async def _all(answers: list[Deferred[Reply]]) -> list[bytes]:
    """Return the bodies of all answers; with the first that fails, all others are given up."""
    try:
        return [_body(await answer) for answer in answers]
    except Exception:
        for answer in answers:
            answer.addErrback(lambda _: None)
            answer.cancel()
        raise


def _body(reply: Reply) -> bytes:
    """Return the body of a good answer, empty for one that says politely that there is nothing."""
    if reply.status == _OK:
        return reply.body
    text = f"answers {reply.status}: {reply.body[:_SHOWN].decode('utf-8', 'replace')}"
    if reply.status == _NOT_FOUND and not reply.kind.startswith("text/html"):
        return b""
    if reply.body.rstrip().endswith(_NOTHING):  # go-carbon says so with a 500
        return b""
    raise _RefusedError(text) if 400 <= reply.status < 500 else _FaultError(text)
