"""The HTTP interface as a twisted.web site: a table of doors, bounded requests, errors as texts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from functools import partial
from types import coroutine
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from cadtwist.query.find import QueryError
from cadtwist.web import admin, carbonapi, carbonserver, events, functions, graphite, graphiteapi, tags
from cadtwist.web.answers import Answer, header, send
from cadtwist.web.cadent import LOCAL, CadentRoom
from cadtwist.web.context import WebContext
from cadtwist.web.errors import HTML, PLAIN, RefusedError
from cadtwist.web.gatekeeper import CHALLENGE
from cadtwist.web.params import Params, parse_params
from cadtwist.web.render import render
from cadtwist.web.requests import BoundedSite, DirectRequest
from cadtwist.web.resultcache import Place, ResultCache, place_of
from cadtwist.web.visits import Cost

__all__ = ["ApiSite", "Doors", "graphite_doors", "graphite_rooms"]

Door = Callable[[WebContext, Params], Coroutine[Any, Any, Answer]]

INDEX = "/metrics/index.json"
_ASKING = (b"GET", b"HEAD", b"POST")
_ALWAYS_OPEN = (admin.health, admin.ready)
_STRANGER = Answer(b"Who are you?\n", PLAIN, 401, {"WWW-Authenticate": CHALLENGE})
_NOT_FOUND = Answer(b"<html><body><h1>Not Found</h1></body></html>", "text/html", 404)


async def _metrics(context: WebContext, params: Params) -> Answer:
    """`/metrics` is Graphite's find with `query`, else Prometheus' door."""
    if "query" in params:
        return await graphite.find(context, params)
    if "target" in params:
        raise RefusedError(501, "/metrics with a target is not served here")
    return await admin.prometheus(context, params)


def graphite_doors() -> dict[str, Door]:
    """Return what answers the paths of Graphite's API, and our own beside them."""
    return {
        "": admin.home,
        "/render": render,
        "/metrics": _metrics,
        "/metrics/find": graphite.find,
        "/metrics/expand": graphite.expand,
        INDEX: graphite.index,
        "/functions": functions.function_list,
        "/tags": tags.tag_list,
        "/tags/tagSeries": tags.tag_series,
        "/tags/tagMultiSeries": tags.tag_many,
        "/tags/delSeries": tags.series_gone,
        "/tags/findSeries": tags.find_series,
        "/tags/autoComplete/tags": tags.complete_tags,
        "/tags/autoComplete/values": tags.complete_values,
        "/events": events.events,
        "/events/get_data": events.event_data,
        "/version": graphite.version,
        "/browser/search": graphite.search,
        "/metrics/get-metadata": graphite.get_metadata,
        "/metrics/set-metadata": graphite.set_metadata,
        "/metrics/list": carbonserver.metric_list,
        "/metrics/list_query": carbonserver.metric_query,
        "/metrics/details": carbonserver.metric_details,
        "/forcescan": carbonserver.force_scan,
        "/admin/info": carbonserver.admin_info,
        "/admin/quota": carbonserver.admin_quota,
        "/index": graphiteapi.renewed_index,
        "/dashboard/find": graphiteapi.dashboard_list,
        "/_internal/capabilities": carbonapi.capabilities,
        "/info": admin.info,
        "/ops/status": admin.status,
        "/ledger": admin.ledger,
        "/healthz": admin.health,
        "/robots.txt": admin.robots,
        "/readyz": admin.ready,
    }


def graphite_rooms() -> dict[str, Door]:
    """Return what answers all paths that begin so."""
    return {
        "/functions/": functions.one_function,
        "/tags/": tags.one_tag,
        "/events/": events.one_event,
        "/dashboard/load/": graphiteapi.dashboard,
    }


class Doors(Resource):
    """The paths of `doors`, each open with and without a slash at its end, and all paths that begin as `rooms` do.

    They are Graphite's unless others are given.  `/metrics/index.json` alone has no slash.  `prefix` (`/graphite`) may
    stand before each path.
    """

    isLeaf = True

    def __init__(
        self, context: WebContext, doors: Mapping[str, Door] | None = None, rooms: Mapping[str, Door] | None = None,
        prefix: str = "",
    ) -> None:  # fmt: skip
        super().__init__()
        self._prefix = f"/{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._context = context
        self._log = Logger()
        self._doors = graphite_doors() if doors is None else dict(doors)
        self._rooms = graphite_rooms() if rooms is None else dict(rooms)
        self._names: dict[Door, str] = {
            render: "render",
            **dict.fromkeys((_metrics, graphite.find), "find"),
            graphite.expand: "expand",
            graphite.index: "index",
        }
        self._caches: dict[Door, ResultCache] = {
            render: context.renders,
            **dict.fromkeys((_metrics, graphite.find, graphite.expand), context.finds),
        }

    def render(self, request: Request) -> int:
        """Answer any method like GET; a cross-origin preflight gets its headers only."""
        if request.method == b"OPTIONS" and header(request, b"access-control-request-method"):
            send(request, Answer(b"", PLAIN), self._context.cross_origin)
            return NOT_DONE_YET
        door, tail = self._found(request.path)
        gatekeeper, cost = self._context.gatekeeper, Cost()
        if door is not None:
            cost.door = self._names.get(door, cost.door)
        if not gatekeeper.is_open and door not in _ALWAYS_OPEN and not gatekeeper.admits(
            header(request, b"authorization")
        ):
            self._send(_STRANGER, request, cost)
            return NOT_DONE_YET
        if door is None:
            self._send(_NOT_FOUND, request, cost)
            return NOT_DONE_YET
        place = self._place(door, request)
        if place is not None and (kept := place.answer()) is not None:
            self._send(kept, request, cost, kept=True)
            return NOT_DONE_YET
        self._work(self._enter(door, request, tail, place, cost), request, cost)
        return NOT_DONE_YET

    def _work(self, entered: Coroutine[Any, Any, Answer], request: Request, cost: Cost) -> None:
        """Answer by `entered`; most of the time it waits for nothing, and needs no Deferred."""
        try:
            waits_for = entered.send(None)
        except StopIteration as end:
            self._send(end.value, request, cost)
            return
        except Exception:  # noqa: BLE001 (whatever it is, it is told)
            work: Deferred[Any] = fail(Failure())
        else:
            work = Deferred.fromCoroutine(_going_on(entered, waits_for))
            gone = request.notifyFinish()
            gone.addErrback(lambda _: work.cancel())
        work.addErrback(self._refuse, request)
        work.addCallback(self._send, request, cost)
        work.addErrback(self._drop)

    def opens(self, path: bytes) -> bool:
        """Return whether a path is one of the API's: not that of the first page."""
        return path.strip(b"/") != b"" and self._found(path)[0] is not None

    def _found(self, path: bytes) -> tuple[Door | None, str]:
        """Return the door of a path, and what follows its own path; None where there is none."""
        text = unquote(path.decode("utf-8", "replace"))
        if self._prefix and f"{text}/".startswith(self._prefix):
            text = text[len(self._prefix) - 1 :]
        door = self._doors.get(text if text.startswith(INDEX) else text.removesuffix("/"))
        if door is not None:
            return door, ""
        for start, behind in self._rooms.items():
            if text.startswith(start):
                return behind, text[len(start) :].removesuffix("/")
        return None, ""

    def _place(self, door: Door, request: Request) -> Place | None:
        """Return where an answer of that door may be kept; None where none is: what other servers know may change."""
        cache = self._caches.get(door)
        if cache is None or not cache.is_open or request.method not in _ASKING or self._context.cluster is not None:
            return None
        context = self._context
        version = context.owner.names_version() if cache is context.finds else None
        if version is None and cache is context.finds:
            return None
        return place_of(request, cache, context.clock(), version)

    async def _enter(
        self, door: Door, request: Request, tail: str, place: Place | None, cost: Cost
    ) -> Answer:
        query = request.uri.partition(b"?")[2]
        body = b"" if request.content is None else request.content.read()
        kind = header(request, b"content-type") or ""
        params = parse_params(query, body, kind, header(request, b"accept"), cost)
        params.method, params.tail, params.body = request.method.decode("ascii", "replace"), tail, body
        params.header = partial(header, request)
        context = self._context
        if context.cluster is not None and params.last("local", "0") in ("0", "") and not tail.startswith(LOCAL):
            scope = context.cluster.scope(context, params.header)
            return scope.told(await door(scope.context, params))
        answer = await door(context, params)
        if place is not None:
            place.keep(answer)
        return answer

    def _refuse(self, failure: Failure, request: Request) -> Answer | Failure:
        """Turn an error into the answer that tells it."""
        if failure.check(CancelledError):
            return failure
        error = failure.value
        if isinstance(error, RefusedError):
            return Answer(error.text.encode("utf-8", "replace"), error.content_type, error.status)
        if isinstance(error, QueryError):
            return Answer(f"Invalid parameters ({error})".encode("utf-8", "replace"), HTML, 400)
        if isinstance(error, ConnectionLost):
            return Answer(b"The process that owns the metrics does not answer\n", PLAIN, 503)
        self._log.failure("Answering {path}", failure, path=request.path)
        return Answer(b"Internal error\n", PLAIN, 500)

    def _send(self, answer: Answer, request: Request, cost: Cost, kept: bool = False) -> None:
        send(request, answer, self._context.cross_origin)
        self._context.visits.done(request.uri, answer.status, len(answer.body), cost, kept)

    def _drop(self, failure: Failure) -> None:
        """End quietly when the client left; tell anything else."""
        if not failure.check(CancelledError):
            self._log.failure("Sending an answer", failure)


@coroutine
def _going_on(work: Coroutine[Any, Any, Answer], waits_for: Any) -> Generator[Any, Any, Answer]:
    """Go on with a coroutine that waits for something already."""
    while True:
        try:
            waits_for = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001 (it is the coroutine's)
            step: Callable[[Any], Any] = work.throw
            got: Any = error
        else:
            step, got = work.send, waits_for
        try:
            waits_for = step(got)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


class ApiSite(BoundedSite):
    """The site of Graphite's API, with Cadent's below `cadent_path`, if there is one; all is also behind `prefix`."""

    def __init__(
        self, context: WebContext, max_body: int = 1 << 20, reactor: Any = None, cadent_path: str = "",
        prefix: str = "",
    ) -> None:  # fmt: skip
        rooms = graphite_rooms()
        if cadent_path:
            room = CadentRoom(f"/{cadent_path.strip('/')}/")
            rooms[room.base] = room.enter
        super().__init__(Doors(context, rooms=rooms, prefix=prefix), max_body, reactor, DirectRequest)
