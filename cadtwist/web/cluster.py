"""Answers of a whole cluster: ours and those of the servers beside us, put together for one request.

Every server is asked at once, for itself only (`local=1`), so that servers which know each other do not ask in
circles.  Who does not answer is left out: the answer then names it in a header, may not be cached, is counted and,
once a minute, told in the log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from msgspec import structs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from cadtwist.codec.carbonapi import SeriesMessage
from cadtwist.errors import CadtwistError
from cadtwist.query.find import Match, TooBroad
from cadtwist.query.index import BRANCH, LEAF
from cadtwist.query.owner import IOwner, QueryLimits
from cadtwist.query.replicas import clipped, fullest, merged
from cadtwist.query.timeseries import TimeSeries, Window
from cadtwist.web.answers import NEVER_CACHED, Answer
from cadtwist.web.context import WebContext, answered
from cadtwist.web.errors import RefusedError

__all__ = ["MISSING", "Cluster", "ClusterOptions", "Scope", "Server"]

MISSING = "X-Cadtwist-Missing"
"""The header that names the servers whose part an answer lacks."""

_LOG_S = 60.0
Result = TypeVar("Result")
Found = dict[str, list[TimeSeries]]
Fields = list[tuple[str, str]]
Headers = Mapping[str, str]


class Server(Protocol):
    """One of the servers; its questions fail with a CadtwistError where there is no answer."""

    @property
    def name(self) -> str:
        """What people know it by."""

    def find(self, queries: Sequence[str], headers: Headers) -> Deferred[list[list[tuple[str, bool]]]]:
        """Return for each query (path, is it a leaf)."""

    def fetch(
        self, patterns: Sequence[str], start: int, end: int, now: int, headers: Headers
    ) -> Deferred[list[SeriesMessage]]:
        """Return the series of all patterns; each names its pattern."""

    def names(self, headers: Headers) -> Deferred[list[str]]:
        """Return the names of all metrics."""

    def about_tags(self, path: str, fields: Sequence[tuple[str, str]], headers: Headers) -> Deferred[Any]:
        """Return the JSON of a door below `/tags`; None where it is not asked for tags."""


@dataclass(frozen=True)
class ClusterOptions:
    """`merge`: gaps of a series are filled from its replicas; else the fullest replica is taken.

    `fail_on_error`: a request that a server does not answer is refused.  `forward_headers` are passed on.
    """

    merge: bool = True
    fail_on_error: bool = False
    forward_headers: tuple[str, ...] = ()


class Cluster:
    """The servers beside us.  `count(what)` is told of each `partial_answers`."""

    _log = Logger()

    def __init__(
        self,
        servers: Sequence[Server],
        clock: Callable[[], float],
        count: Callable[[str], object],
        options: ClusterOptions | None = None,
    ) -> None:
        self.servers = list(servers)
        self.options = options or ClusterOptions()
        self._clock = clock
        self._count = count
        self._logged: dict[str, float] = {}

    def scope(self, context: WebContext, header: Callable[[bytes], str | None]) -> Scope:
        """Return the cluster for one request; `header` gives the request's headers."""
        wanted = ((name, header(name.lower().encode("ascii"))) for name in self.options.forward_headers)
        return Scope(self, context, {name: value for name, value in wanted if value is not None})

    def note_partial(self, missing: Sequence[str]) -> None:
        """Take note of an answer that lacks the part of some servers."""
        self._count("partial_answers")
        now = self._clock()
        fresh = [name for name in missing if now - self._logged.get(name, -_LOG_S) >= _LOG_S]
        if fresh:
            self._logged.update(dict.fromkeys(fresh, now))
            self._log.warn("Answers lack what {missing} would say", missing=", ".join(fresh))


@implementer(IOwner)
class Scope:
    """The owner of all names in the cluster, as one request sees it; what it did not get is in `missing`."""

    def __init__(self, cluster: Cluster, context: WebContext, headers: Headers) -> None:
        self.missing: set[str] = set()
        self._cluster = cluster
        self._owner: Any = context.owner
        self._limits: QueryLimits = context.limits
        self._headers = headers
        self._told: set[str] = set()
        self.context = replace(context, owner=self, remote=self)

    def told(self, answer: Answer) -> Answer:
        """Return the answer, marked if something is missing."""
        if not self.missing:
            return answer
        missing = sorted(self.missing)
        self._cluster.note_partial(missing)
        headers = {name: value for name, value in answer.headers.items() if name not in ("Expires", "Cache-Control")}
        return structs.replace(answer, headers={**headers, "Cache-Control": NEVER_CACHED, MISSING: ", ".join(missing)})

    # IOwner

    def find(self, queries: list[str]) -> Deferred[list[list[Match]]]:
        """See IOwner."""
        return Deferred.fromCoroutine(self._find(queries))

    def found(self, queries: list[str]) -> Any:
        """See IOwner; of our own metrics only."""
        return self._owner.found(queries)

    def resolve(self, patterns: list[str], start: int, end: int) -> Any:
        """See IOwner; of our own metrics only."""
        return self._owner.resolve(patterns, start, end)

    def leaves(self, cursor: int, budget: int) -> Deferred[tuple[list[str], int]]:
        """See IOwner; the names of the other servers come last, and no name twice."""
        return Deferred.fromCoroutine(self._leaves(cursor, budget))

    def catalog(self, question: str, arguments: list[Any]) -> Any:
        """See IOwner; what changes something, and events, concern ourselves only."""
        asked = _TAG_QUESTIONS.get(question)
        if asked is None:
            return self._owner.catalog(question, arguments)
        return Deferred.fromCoroutine(self._about_tags(asked, question, arguments))

    def names_version(self) -> None:
        """See IOwner: nobody tells us of other servers' names."""

    def tell(self, counts: dict[str, int]) -> Any:
        """See IOwner."""
        return self._owner.tell(counts)

    def report(self, topic: str) -> Any:
        """See IOwner."""
        return self._owner.report(topic)

    async def _find(self, queries: list[str]) -> list[list[Match]]:
        ours, theirs = await self._both(
            lambda server: server.find(queries, self._headers), lambda: answered(self._owner.find(queries))
        )
        found = []
        most = self._limits.find.matches
        for place, matches in enumerate(ours):
            kinds = dict(matches)
            for answer in theirs:
                for path, is_leaf in answer[place] if place < len(answer) else ():
                    kinds[path] = kinds.get(path, 0) | (LEAF if is_leaf else BRANCH)
            most -= len(kinds)
            if most < 0:
                raise TooBroad(f"The queries mean more than {self._limits.find.matches} names in the cluster")
            found.append(sorted(kinds.items()) if theirs else matches)
        return found

    async def _leaves(self, cursor: int, budget: int) -> tuple[list[str], int]:
        names, following = await answered(self._owner.leaves(cursor, budget))
        if not following:
            _, theirs = await self._both(lambda server: server.names(self._headers), _nothing)
            names = [*names, *(name for some in theirs for name in some)]
        fresh = [name for name in dict.fromkeys(names) if name not in self._told]
        self._told.update(fresh)
        return fresh, following

    async def _about_tags(self, asked: _TagQuestion, question: str, arguments: list[Any]) -> Any:
        path, fields = asked.question(*arguments)
        ours, theirs = await self._both(
            lambda server: server.about_tags(path, fields, self._headers),
            lambda: answered(self._owner.catalog(question, arguments)),
        )
        return asked.joined([ours, *(asked.read(answer) for answer in theirs)], *arguments)

    # series

    async def fetch(
        self,
        patterns: Sequence[str],
        window: Window,
        now: int,
        local: Callable[[], Awaitable[Found]],
        breathe: Callable[[], Awaitable[None]],
    ) -> Found:
        """Return the series of each pattern, sorted by name: ours, as `local` reads them, and all others'.

        `breathe` lets others run in between.
        """
        start, end = window
        found, theirs = await self._both(
            lambda server: server.fetch(list(patterns), start, end, now, self._headers), local
        )
        replicas = {pattern: {one.name: [one] for one in found[pattern]} for pattern in patterns}
        for messages in theirs:
            for message in messages:
                known = replicas.get(message.expression)
                one = None if known is None else clipped(_series(message), window)
                if known is not None and one is not None:
                    known.setdefault(one.name, []).append(one)
        count = sum(map(len, replicas.values()))
        if count > self._limits.series:
            raise TooBroad(f"The request means {count} series in the cluster, the limit is {self._limits.series}")
        return await self._joined(replicas, breathe)

    async def _joined(
        self, replicas: dict[str, dict[str, list[TimeSeries]]], breathe: Callable[[], Awaitable[None]]
    ) -> Found:
        left = most = self._limits.points
        found: Found = {}
        for pattern, known in replicas.items():
            series = found[pattern] = []
            for name in sorted(known):
                some = known[name]
                one = merged(some, left) if self._cluster.options.merge else fullest(some)
                left -= len(one)
                if left < 0:
                    raise TooBroad(f"The request means more than {most} points in the cluster")
                series.append(one)
                await breathe()
        return found

    # asking

    async def _both(
        self, ask: Callable[[Server], Deferred[Any]], local: Callable[[], Awaitable[Result]]
    ) -> tuple[Result, list[Any]]:
        """Ask all servers and ourselves at once; return our answer and theirs, without those that failed.

        Nobody is waited for when we refuse ourselves, or when whoever asked has left.
        """
        asked = [ask(server).addErrback(self._left_out, server) for server in self._cluster.servers]
        try:
            ours = await local()
            theirs = [await answer for answer in asked]
        except Exception:
            for answer in asked:
                answer.addErrback(lambda _: None)
                answer.cancel()
            raise
        if self.missing and self._cluster.options.fail_on_error:
            raise RefusedError(503, f"Parts of the cluster do not answer: {', '.join(sorted(self.missing))}\n")
        return ours, [answer for answer in theirs if answer is not None]

    def _left_out(self, failure: Failure, server: Server) -> None:
        failure.trap(CadtwistError)
        self.missing.add(server.name)


async def _nothing() -> None:
    return None


def _series(message: SeriesMessage) -> TimeSeries:
    end = message.start + message.step * len(message.values)
    return TimeSeries(
        message.name, message.start, end, message.step, message.values, expression=message.expression
    )


# Tags: what is asked at which door, and how answers become one


class _TagQuestion(Protocol):
    """A question to a `Catalog` that others can be asked, too."""

    def question(self, *arguments: Any) -> tuple[str, Fields]:
        """Return door and fields."""

    def read(self, answer: Any) -> Any:
        """Return what a server said in the catalog's form; nothing for what makes no sense."""

    def joined(self, answers: list[Any], *arguments: Any) -> Any:
        """Return one answer made of all, ours first."""


@dataclass(frozen=True)
class _Texts:
    """A question whose answer is a sorted list of texts; `fields(*arguments)` are its fields, `key` that of a row."""

    path: str
    fields: Callable[..., Fields]
    key: str = ""
    limited: bool = True

    def question(self, *arguments: Any) -> tuple[str, Fields]:
        return self.path, self.fields(*arguments)

    def read(self, answer: Any) -> list[str]:
        rows = answer if isinstance(answer, list) else []
        if self.key:
            rows = [row.get(self.key) for row in rows if isinstance(row, dict)]
        return [text for text in rows if isinstance(text, str)]

    def joined(self, answers: list[Any], *arguments: Any) -> list[str]:
        found = sorted({text for answer in answers for text in answer})
        return found[: max(arguments[-1], 0)] if self.limited else found


class _Values:
    """The values of one tag with the number of their series: of several servers, the largest that one counts."""

    def question(self, *arguments: Any) -> tuple[str, Fields]:
        tag, pattern, limit = arguments
        return f"/tags/{quote(tag, safe='', errors='replace')}", [("filter", pattern), ("limit", str(limit))]

    def read(self, answer: Any) -> list[tuple[str, int]] | None:
        rows = answer.get("values") if isinstance(answer, dict) else None
        if not isinstance(rows, list):
            return None
        pairs = [(row.get("value"), row.get("count")) for row in rows if isinstance(row, dict)]
        return [(value, count) for value, count in pairs if isinstance(value, str) and isinstance(count, int)]

    def joined(self, answers: list[Any], *arguments: Any) -> list[tuple[str, int]] | None:
        known = [answer for answer in answers if answer is not None]
        if not known:
            return None
        counts: dict[str, int] = {}
        for value, count in (pair for answer in known for pair in answer):
            counts[value] = max(count, counts.get(value, 0))
        return sorted(counts.items())[: max(arguments[-1], 0)]


def _expressions(expressions: Sequence[str]) -> Fields:
    return [("expr", expression) for expression in expressions]


_TAG_QUESTIONS: dict[str, _TagQuestion] = {
    "series": _Texts("/tags/findSeries", _expressions, limited=False),
    "tags": _Texts("/tags", lambda pattern, limit: [("filter", pattern), ("limit", str(limit))], "tag"),
    "values": _Values(),
    "complete tags": _Texts(
        "/tags/autoComplete/tags",
        lambda some, prefix, limit: [*_expressions(some), ("tagPrefix", prefix), ("limit", str(limit))],
    ),
    "complete values": _Texts(
        "/tags/autoComplete/values",
        lambda some, tag, prefix, limit: [
            *_expressions(some), ("tag", tag), ("valuePrefix", prefix), ("limit", str(limit)),
        ],
    ),
}
