"""A finder for graphite-web's STORAGE_FINDERS and graphite-api's `finders`: they read series from cadtwist or Cadent.

It lives inside Django or Flask: it needs nothing but the standard library, no reactor, and is told by the settings
that Cadent's own finder knows: `CADENT_URLS` (or `CADENT_URL`) and `CADENT_URL_LENGTH` of graphite-web, `cadent:
{urls: [...], urllength: N}` of graphite-api.  `CADENT_TIMEZONE` is taken and means nothing: times are epoch seconds.
Ours are `CADENT_TIMEOUT` (seconds; else graphite-web's FIND_TIMEOUT and FETCH_TIMEOUT) and `CADENT_RETRY_DELAY`.

The URLs are doors to one and the same metrics: one after the other is asked first, the next where one does not answer;
such a one is left alone for a while.  A door of cadtwist is asked in carbonapi's protocol 3, any other as Cadent is,
in either of the shapes that its versions answer in.  May be used by several threads.
"""

from __future__ import annotations

import importlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlencode, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from cadtwist.codec.finderwire import (
    MOST_POINTS,
    Found,
    TimeInfo,
    fetch_request,
    find_request,
    groups,
    read_cadent_series,
    read_globs,
    read_series,
)
from cadtwist.codec.protowire import WireError
from cadtwist.model.clusterserver import authorization

__all__ = ["CadentFinder", "CadtwistFinder", "Doors", "FinderError", "Host", "Options", "Reader", "RefusedError"]

_URL_LENGTH = 8000
_FIND_S, _FETCH_S, _RETRY_S = 3.0, 6.0, 10.0
_MOST_BYTES = 256 << 20
_V3 = "carbonapi_v3_pb"
_MESSAGE = "application/x-carbonapi-v3-pb"
_NOTHING = (204, 404)
_MOST_PAGES = 10_000
_MESSAGE_BYTES = 100_000

Headers = Mapping[str, str]


class FinderError(Exception):
    """No door answers; the text says which ones failed, and why."""


class Options(NamedTuple):
    """How doors are asked."""

    url_length: int = _URL_LENGTH
    find_s: float = _FIND_S
    fetch_s: float = _FETCH_S
    retry_s: float = _RETRY_S


class RefusedError(Exception):
    """A door answers with a status that is none of success; it is well."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


def _asked(url: str, timeout_s: float, headers: Headers, body: bytes | None) -> bytes:
    """Return the body of an answer; RefusedError for a status of the client's fault, OSError for all else."""
    told = {**headers, "User-Agent": "cadtwist-finder"}
    if body is not None:
        told["Content-Type"] = _MESSAGE
    try:
        with urlopen(Request(url, body, told), timeout=timeout_s) as answer:  # noqa: S310 (URLs of the operator)
            data: bytes = answer.read(_MOST_BYTES + 1)
    except HTTPError as error:
        with error:
            text = error.read(200).decode("utf-8", "replace")
        nothing = text.rstrip().endswith("(Not Found)")  # go-carbon says so with a 500
        if error.code < 500 or nothing:
            raise RefusedError(404 if nothing else error.code, text) from None
        raise OSError(f"answers {error.code} {text}") from None
    if len(data) > _MOST_BYTES:
        raise OSError(f"answers more than {_MOST_BYTES} bytes")
    return data


def _json(data: bytes) -> Any:
    """Return what a body holds, None for an empty one; OSError."""
    try:
        return json.loads(data) if data.strip() else None
    except (ValueError, RecursionError) as error:
        raise OSError(f"answers no JSON: {error}") from None


Ask = Callable[[str, float, Headers, "bytes | None"], bytes]
"""(url, seconds, headers, body) -> body: as `_asked`."""


class Door:
    """One URL.  Whether cadtwist is behind it is learnt with the first question."""

    def __init__(self, url: str, options: Options, ask: Ask = _asked) -> None:
        parts = urlsplit(url)
        self.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
        told = authorization(parts)
        self._own_headers = {"Authorization": told} if told else {}
        self.retry_at = 0.0
        self._options = options
        self._asked = ask
        self._speaks_v3: bool | None = None

    def speaks_v3(self) -> bool:
        """Tell whether it is a door of cadtwist, asking it once; OSError."""
        if self._speaks_v3 is None:
            try:
                url = f"{self.url}/_internal/capabilities/?format=json"
                told = json.loads(self._asked(url, self._options.find_s, self._own_headers, None))
            except (RefusedError, ValueError, RecursionError):
                told = None
            spoken = told.get("supportedProtocols") if isinstance(told, dict) else None
            self._speaks_v3 = isinstance(spoken, list) and _V3 in spoken
        return self._speaks_v3

    def forget(self) -> None:
        """Ask it again what it is."""
        self._speaks_v3 = None

    def find(self, pattern: str, headers: Headers) -> list[tuple[str, bool]]:
        """Return (path, is it a leaf) of what a pattern means, no pair twice."""
        if self.speaks_v3():
            url = f"{self.url}/metrics/find/?format={_V3}"
            data = self._ask(url, self._options.find_s, headers, find_request([pattern]))
            return list(dict.fromkeys(match for _, matches in read_globs(data) for match in matches))
        query = urlencode({"query": pattern, "format": "json"})
        nodes = _json(self._ask(f"{self.url}/paths?{query}", self._options.find_s, headers))
        found = [
            (str(node["path"]), bool(node.get("leaf")))
            for node in nodes or ()
            if isinstance(node, dict) and node.get("path")
        ]
        return list(dict.fromkeys(found))

    def fetch(
        self, patterns: Sequence[str], start: int, end: int, now: int | None, headers: Headers
    ) -> list[Found]:
        """Return the series of patterns."""
        if self.speaks_v3():
            fields = {"format": _V3, "noCache": "1", **({} if now is None else {"now": str(now)})}
            url = f"{self.url}/render/?{urlencode(fields)}"
            found: list[Found] = []
            for some in groups(patterns, _MESSAGE_BYTES):
                question = fetch_request(some, start, end)
                found += read_series(self._ask(url, self._options.fetch_s, headers, question))
            return found
        paths = {pattern: [path for path, leaf in self.find(pattern, headers) if leaf] for pattern in patterns}
        every = list(dict.fromkeys(path for some in paths.values() for path in some))
        known = {one.name: one for one in self.fetch_paths(every, start, end, headers)[0]}
        return [
            known[path]._replace(pattern=pattern) for pattern, some in paths.items() for path in some if path in known
        ]

    def fetch_paths(
        self, paths: Sequence[str], start: int, end: int, headers: Headers
    ) -> tuple[list[Found], list[str]]:
        """Return series by their full names, and the names of those whose latest points another door may have."""
        if self.speaks_v3():
            return self.fetch(paths, start, end, None, headers), []
        found: list[Found] = []
        elsewhere: list[str] = []
        fields = [("from", str(start)), ("to", str(end)), ("format", "json")]
        if end - start > MOST_POINTS:
            fields.append(("max_points", str(MOST_POINTS)))
        for some in groups(paths, self._options.url_length):
            query = urlencode([*(("target", path) for path in some), *fields])
            told = _json(self._ask(f"{self.url}/metrics?{query}", self._options.fetch_s, headers))
            for name, one, cold in read_cadent_series(told, start, end):
                found.append(Found(name, name, *one))
                if cold:
                    elsewhere.append(name)
        return found, elsewhere

    def names(self, headers: Headers) -> list[str]:
        """Return the names of all metrics."""
        if self.speaks_v3():
            names = _json(self._ask(f"{self.url}/metrics/index.json", self._options.fetch_s, headers))
            return [str(name) for name in names or ()]
        found: list[str] = []
        for page in range(_MOST_PAGES):
            some = _json(self._ask(f"{self.url}/list?page={page}", self._options.fetch_s, headers))
            if not some:
                break
            found += [str(name) for name in some]
        return found

    def completions(self, what: str, fields: Sequence[tuple[str, str]], headers: Headers) -> list[str]:
        """Return tags or values that begin with a text; none where the door knows no tags."""
        if not self.speaks_v3():
            return []
        url = f"{self.url}/tags/autoComplete/{quote(what)}?{urlencode(fields)}"
        found = _json(self._ask(url, self._options.find_s, headers))
        return [str(text) for text in found or ()]

    def _ask(self, url: str, timeout_s: float, headers: Headers, body: bytes | None = None) -> bytes:
        """Return a body, empty for one that says politely that there is nothing."""
        try:
            return self._asked(url, timeout_s, {**self._own_headers, **headers}, body)
        except RefusedError as error:
            if error.status in _NOTHING:
                return b""
            raise


class Doors:
    """All doors, in turn."""

    def __init__(
        self,
        urls: Iterable[str],
        options: Options,
        clock: Callable[[], float] = time.monotonic,
        ask: Ask = _asked,
    ) -> None:
        self.doors = [Door(url, options, ask) for url in urls]
        if not self.doors:
            raise FinderError("no URL is given: set CADENT_URLS, or cadent: urls")
        self._retry_s = options.retry_s
        self._clock = clock
        self._turns = itertools.count()
        self._lock = threading.Lock()

    def first(self, ask: Callable[[Door], Any]) -> Any:
        """Return the answer of the first door that gives one; FinderError when none does."""
        return next(self.each(ask))

    def each(self, ask: Callable[[Door], Any]) -> Iterator[Any]:
        """Yield the answers of all doors that give one; FinderError when none does."""
        failed = []
        answered = False
        for door in self._in_turn():
            try:
                answer = ask(door)
            except RefusedError as error:
                failed.append(f"{door.url}: {error}")
                continue
            except (OSError, HTTPException, WireError) as error:
                door.retry_at = self._clock() + self._retry_s
                door.forget()
                failed.append(f"{door.url}: {error}")
                continue
            door.retry_at = 0.0
            answered = True
            yield answer
        if not answered:
            raise FinderError("; ".join(failed))

    def _in_turn(self) -> list[Door]:
        """Return the doors that live, another one first each time; all of them where none does."""
        with self._lock:
            begin = next(self._turns) % len(self.doors)
        doors = self.doors[begin:] + self.doors[:begin]
        now = self._clock()
        return [door for door in doors if door.retry_at <= now] or doors


class Reader:
    """Reads one metric; those that were found together are fetched together."""

    __slots__ = ("_batch", "path")
    supported = True

    def __init__(self, path: str, batch: _Batch) -> None:
        self.path = path
        self._batch = batch

    def get_intervals(self) -> Any:
        """Return the time in which there may be points: all up to now."""
        return self._batch.finder.always()

    def fetch(
        self, startTime: float, endTime: float, now: float | None = None, requestContext: Any = None  # noqa: ARG002
    ) -> tuple[TimeInfo, list[Any]]:
        """Return ((start, end, step), values)."""
        start, end = int(startTime), int(endTime)
        found = self._batch.fetched(start, end).get(self.path)
        return ((start, end, max(end - start, 1)), []) if found is None else (found.time_info, found.values)


class _Batch:
    """The metrics that one query found."""

    def __init__(self, finder: CadtwistFinder, headers: Headers) -> None:
        self.finder = finder
        self.paths: list[str] = []
        self._headers = headers
        self._lock = threading.Lock()
        self._fetched: dict[tuple[int, int], dict[str, Found]] = {}

    def fetched(self, start: int, end: int) -> dict[str, Found]:
        """Return all of them in a range, asking once."""
        with self._lock:
            if (start, end) not in self._fetched:
                found = self.finder.fetch_paths(self.paths, start, end, self._headers)
                self._fetched = {(start, end): {one.name: one for one in found}}
            return self._fetched[start, end]


class Host(NamedTuple):
    """The classes of the program that we live in."""

    leaf: Any
    branch: Any
    interval: Any
    interval_set: Any


class CadtwistFinder:
    """What graphite-web and graphite-api ask.  With a `config` (of graphite-api's yaml) it is graphite-api's."""

    local = True
    disabled = False

    def __init__(
        self, config: Mapping[str, Any] | None = None, doors: Doors | None = None, host: Host | None = None
    ) -> None:
        self._host = host or _host("graphite" if config is None else "graphite_api")
        self._doors = doors or (_of_web() if config is None else _of_api(config))

    @classmethod
    def factory(cls) -> list[CadtwistFinder]:
        """Return the finders that graphite-web gets by this name."""
        return [cls()]

    @property
    def tags(self) -> bool:
        """Tell whether `seriesByTag` is resolved here: by cadtwist, not by Cadent."""
        try:
            return bool(self._doors.first(Door.speaks_v3))
        except FinderError:
            return False

    def always(self) -> Any:
        """Return the time in which there may be points."""
        return self._host.interval_set([self._host.interval(0, time.time())])

    def find_nodes(self, query: Any) -> list[Any]:
        """Return the nodes that a query's pattern means."""
        headers = getattr(query, "headers", None) or {}
        found = self._doors.first(lambda door: door.find(query.pattern, headers))
        batch = _Batch(self, headers)
        nodes = []
        for path, is_leaf in found:
            if is_leaf:
                batch.paths.append(path)
                nodes.append(self._host.leaf(path, Reader(path, batch)))
            elif not getattr(query, "leaves_only", False):
                nodes.append(self._host.branch(path))
        return nodes

    def find_multi(self, queries: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
        """Yield (node, query) for each of several queries."""
        for query in queries:
            for node in self.find_nodes(query):
                yield node, query

    def fetch(
        self,
        patterns: Iterable[str],
        start_time: float,
        end_time: float,
        now: float | None = None,
        requestContext: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Return the series of all patterns, as graphite-web wants them."""
        headers = _forwarded(requestContext)
        wanted, moment = list(patterns), None if now is None else int(now)
        found = self._doors.first(
            lambda door: door.fetch(wanted, int(start_time), int(end_time), moment, headers)
        )
        return [
            {
                "pathExpression": one.pattern, "path": one.name, "name": one.name, "time_info": one.time_info,
                "values": one.values,
            }
            for one in found
        ]  # fmt: skip

    def fetch_paths(self, paths: Sequence[str], start: int, end: int, headers: Headers) -> list[Found]:
        """Return series by their full names; what a door holds back in memory elsewhere is asked of the others."""
        answers = self._doors.each(lambda door: door.fetch_paths(paths, start, end, headers))
        found, cold = next(answers)
        if cold:
            known = {one.name: one for one in found}
            missing = set(cold)
            for more, still in answers:
                warm = {one.name: one for one in more if one.name in missing and one.name not in still}
                known.update(warm)
                missing -= warm.keys()
                if not missing:
                    break
            found = list(known.values())
        return list(found)

    def get_index(self, requestContext: Mapping[str, Any] | None = None) -> list[str]:
        """Return the names of all metrics, sorted."""
        headers = _forwarded(requestContext)
        return sorted(self._doors.first(lambda door: door.names(headers)))

    def auto_complete_tags(
        self,
        exprs: Iterable[str],
        tagPrefix: str | None = None,
        limit: int | None = None,
        requestContext: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Return tags that begin with a text."""
        return self._completed("tags", exprs, [("tagPrefix", tagPrefix or "")], limit, requestContext)

    def auto_complete_values(
        self,
        exprs: Iterable[str],
        tag: str,
        valuePrefix: str | None = None,
        limit: int | None = None,
        requestContext: Mapping[str, Any] | None = None,
    ) -> list[str]:
        """Return values of a tag that begin with a text."""
        fields = [("tag", tag or ""), ("valuePrefix", valuePrefix or "")]
        return self._completed("values", exprs, fields, limit, requestContext)

    def _completed(
        self,
        what: str,
        exprs: Iterable[str],
        fields: list[tuple[str, str]],
        limit: int | None,
        context: Mapping[str, Any] | None,
    ) -> list[str]:
        asked = [*(("expr", expr) for expr in exprs or ()), *fields]
        asked += [] if limit is None else [("limit", str(limit))]
        found: list[str] = self._doors.first(lambda door: door.completions(what, asked, _forwarded(context)))
        return found


CadentFinder = CadtwistFinder
"""The name by which configurations made for Cadent know it."""


# Settings


def _host(package: str) -> Host:
    nodes, intervals = (importlib.import_module(f"{package}.{name}") for name in ("node", "intervals"))
    return Host(nodes.LeafNode, nodes.BranchNode, intervals.Interval, intervals.IntervalSet)


def _of_web() -> Doors:
    """Return the doors that Django's settings name."""
    settings = importlib.import_module("django.conf").settings
    urls = getattr(settings, "CADENT_URLS", None) or getattr(settings, "CADENT_URL", None) or ()
    timeout = getattr(settings, "CADENT_TIMEOUT", None)
    options = Options(
        int(getattr(settings, "CADENT_URL_LENGTH", None) or _URL_LENGTH),
        float(timeout or getattr(settings, "FIND_TIMEOUT", None) or _FIND_S),
        float(timeout or getattr(settings, "FETCH_TIMEOUT", None) or _FETCH_S),
        float(getattr(settings, "CADENT_RETRY_DELAY", _RETRY_S)),
    )
    return Doors([urls] if isinstance(urls, str) else urls, options)


def _of_api(config: Mapping[str, Any]) -> Doors:
    """Return the doors that the section `cadent` of graphite-api's yaml names."""
    section = config.get("cadent") or {}
    urls = section.get("urls") or section.get("url") or ()
    timeout = section.get("timeout")
    options = Options(
        int(section.get("urllength") or _URL_LENGTH),
        float(timeout or _FIND_S),
        float(timeout or _FETCH_S),
        float(section.get("retry_delay", _RETRY_S)),
    )
    return Doors([urls] if isinstance(urls, str) else urls, options)


def _forwarded(context: Mapping[str, Any] | None) -> Headers:
    return (context or {}).get("forwardHeaders") or {}
