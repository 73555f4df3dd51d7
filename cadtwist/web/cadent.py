"""Cadent's read API: find, expand, metrics, render, rawrender and their later kin, below a path of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cadtwist.codec import cadentproto
from cadtwist.model.cadentstyle import method_named, read_method, stored_method
from cadtwist.model.pattern import is_pattern
from cadtwist.query.cadent import Resolution, chosen_step, resampled, rounded, split_targets
from cadtwist.query.find import Match, QueryError, TooBroad
from cadtwist.query.index import LEAF
from cadtwist.query.timeseries import Window
from cadtwist.web import cadentmemory, cadenttags
from cadtwist.web.answers import Answer
from cadtwist.web.cadentasked import (
    PRIVATE,
    format_of,
    names_of,
    nothing,
    page_of,
    queries_of,
    range_of,
    targets_of,
    told,
    wanted_step,
)
from cadtwist.web.cadentforms import (
    Told,
    aligned,
    encoded,
    first_metrics,
    metrics,
    nodes,
    nodes_body,
    raw,
    raw_body,
    render,
)
from cadtwist.web.context import Slices, WebContext, all_names, answered
from cadtwist.web.errors import PLAIN, RefusedError
from cadtwist.web.params import Params
from cadtwist.web.sources import Sources

__all__ = ["LOCAL", "CadentRoom"]

LOCAL = "local/"
"""What paths begin with that are answered from here, whatever servers are beside us."""

_NAMES_PER_PAGE = 2048
_LABELS = "prometheus/api/v1/label/"

Answering = Callable[[WebContext, Params], Awaitable[Answer]]


class CadentRoom:
    """All paths below `base`, which begins and ends with a slash.  `times` are the resolutions of what is written."""

    def __init__(self, base: str, times: Sequence[Resolution] = ()) -> None:
        self.base = base
        self._times = tuple(times)
        self._doors: dict[str, Answering] = {
            **dict.fromkeys(("find", "paths", "metrics/find", f"{LOCAL}find"), self._find),
            "cluster/find": self._find_by_host,
            "find/incache": cadentmemory.find_in_cache,
            "expand": self._expand,
            **dict.fromkeys(("list", f"{LOCAL}list"), self._list),
            "cluster/list": self._list_by_host,
            "metrics": self._metrics,
            "render": self._render,
            "rawrender": self._raw,
            "cluster/rawrender": self._raw_by_host,
            "cache": cadentmemory.cache,
            "cache/list": cadentmemory.cache_list,
            "cached/series": cadentmemory.cached_series,
            "incache": cadentmemory.in_cache,
            "tag/find/byname": cadenttags.tags_by_name,
            "tag/find/bynamevalue": cadenttags.tags_by_name_and_value,
            "tag/uid/bytags": cadenttags.series_by_tags,
            "prometheus/api/v1/query_range": self._matrix,
            f"{_LABELS}__name__/values": self._label_names,
            "info": self._info,
        }

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that are served, below the base; `NAME` stands for any label."""
        return *self._doors, f"{_LABELS}NAME/values"

    async def enter(self, context: WebContext, params: Params) -> Answer:
        """Answer the path that `params.tail` is, with or without a slash at its end."""
        tail = params.tail.strip("/")
        door = self._doors.get(tail)
        if door is None and tail.startswith(_LABELS) and tail.endswith("/values"):
            door = cadenttags.label_values
        try:
            if door is None:
                raise RefusedError(404, self._directions())
            return await door(context, params)
        except RefusedError as refusal:
            return Answer(refusal.text.encode("utf-8", "replace"), PLAIN, refusal.status, PRIVATE)
        except QueryError as error:
            return Answer(str(error).encode("utf-8", "replace"), PLAIN, 400, PRIVATE)

    def _directions(self) -> str:
        return f"Nothing here .. try {self.base}/find or {self.base}/render or {self.base}/expand"

    # Names

    async def _find(self, context: WebContext, params: Params) -> Answer:
        form = format_of(params)
        return told(nodes_body(await self._nodes(context, params, form), form), form)

    async def _find_by_host(self, context: WebContext, params: Params) -> Answer:
        form = format_of(params)
        found = await self._nodes(context, params, "json")
        return told(encoded(form, lambda: {context.host: found}), form)

    async def _nodes(self, context: WebContext, params: Params, form: str) -> list[dict[str, object]]:
        queries = queries_of(params, form)
        if form:
            queries = await names_of(context, params, queries)
        return nodes(await _matches(context, queries, exact=bool(form)), later=bool(form))

    async def _expand(self, context: WebContext, params: Params) -> Answer:
        query, form = params.last("query"), format_of(params)
        if not query:
            raise RefusedError(400, "Query is required")
        found: list[list[Match]] = await answered(context.owner.find(split_targets([query])))
        names = sorted({path for matches in found for path, kind in matches if kind & LEAF})
        return told(encoded(form, lambda: {"results": names}, lambda: cadentproto.names_message(names)), form)

    async def _list(self, context: WebContext, params: Params) -> Answer:
        form, names = format_of(params), await _names(context, page_of(params))
        return told(encoded(form, lambda: names), form) if names else nothing()

    async def _list_by_host(self, context: WebContext, params: Params) -> Answer:
        form, names = format_of(params), await _names(context, page_of(params))
        found = nodes([(name, LEAF) for name in names], later=True)
        return told(encoded(form, lambda: {context.host: found}), form)

    async def _label_names(self, context: WebContext, params: Params) -> Answer:
        names = await _names(context, page_of(params))
        return told(encoded("json", lambda: {"status": "success", "data": names}), "json") if names else nothing()

    async def _info(self, context: WebContext, params: Params) -> Answer:
        """What is known of this server."""
        form = format_of(params)
        about = {
            "time": int(context.clock() * 1e9),
            "hostname": context.host,
            "advertise-name": context.host,
            "resolutions": [[int(one.step_s), int(one.ttl_s)] for one in self._times],
            "api-server": {"host": context.host, "path": self.base},
        }
        return told(encoded(form, lambda: about), form)

    # Series

    async def _metrics(self, context: WebContext, params: Params) -> Answer:
        form = format_of(params)
        series = await self._series(context, params, form)
        if not form:
            return told(first_metrics(series), form)
        return told(metrics(_placed(context, series), form), form)

    async def _render(self, context: WebContext, params: Params) -> Answer:
        form = format_of(params)
        if not form:
            return await self._metrics(context, params)
        series = await self._series(context, params, form)
        return told(render(series, form), form) if series else nothing()

    async def _raw(self, context: WebContext, params: Params) -> Answer:
        form = format_of(params)
        return told(raw_body(raw(await self._series(context, params, form), later=bool(form)), form), form)

    async def _raw_by_host(self, context: WebContext, params: Params) -> Answer:
        form = format_of(params)
        found = raw(await self._series(context, params, form or "json"), later=True)
        return told(encoded(form, lambda: {context.host: found}), form)

    async def _matrix(self, context: WebContext, params: Params) -> Answer:
        """Series as Prometheus' `query_range` has them."""
        series = await self._series(context, params, "json")
        return told(cadenttags.matrix(series), "json") if series else nothing()

    async def _series(self, context: WebContext, params: Params, form: str) -> list[Told]:
        """Return what the targets mean over the range that is asked for, at most as many points as wanted."""
        targets = await names_of(context, params, targets_of(params))
        now = context.clock()
        start, end = self._range(params, now)
        wanted = wanted_step(params, end - start, form)
        sources = Sources(context, int(now), params.cost)
        by_target = await sources.fetch(targets, Window(start, end))
        found = {one.name: one for target in targets for one in by_target[target]}
        series = []
        for one in found.values():
            method = _method(params, one.name, form)
            first, step, values = resampled(one.start, one.step, one.values, wanted, method)
            series.append(Told(one.name, first, step, values, method, one.name in sources.waiting))
        if params.last("in_cache").lower() in ("true", "1"):
            return [one for one in series if one.in_cache]
        return series

    def _range(self, params: Params, now: float) -> tuple[int, int]:
        """Return the range that is asked for, as whole steps of the resolution that keeps it."""
        start, end = range_of(params, now)
        if self._times:
            step = chosen_step(self._times, start, end, now)
            start, end = rounded(start, step), rounded(end, step)
            if end - start < step:
                raise RefusedError(400, f"The range is shorter than one step of {step:g} s")
        return start, end


def _method(params: Params, name: str, form: str) -> str:
    """Return how points of a metric are combined: as the request says, as its generation guesses by the name."""
    return (method_named(params.last("agg")) or read_method(name)) if form else stored_method(name)


def _placed(context: WebContext, series: list[Told]) -> list[Told]:
    """Return the series with the times of all, if that is not too much."""
    if not series:
        return []
    low, high = min(one.start for one in series), max(one.end for one in series)
    points = sum((high - low) // one.step + 1 for one in series)
    if points > context.limits.points:
        raise TooBroad(f"The answer has {points} points, the limit is {context.limits.points}")
    return aligned(series)


async def _names(context: WebContext, page: int) -> list[str]:
    """Return one page of the names of all metrics."""
    slices, names = Slices(context), list[str]()
    skipped = page * _NAMES_PER_PAGE
    async for some in all_names(context):
        names += some[skipped:]
        skipped = max(skipped - len(some), 0)
        if len(names) >= _NAMES_PER_PAGE:
            break
        await slices.breathe()
    return names[:_NAMES_PER_PAGE]


async def _matches(context: WebContext, queries: list[str], exact: bool) -> list[Match]:
    """Return what queries mean, sorted; unless `exact`, one that is no leaf itself stands for all that begins so."""
    if exact:
        found: Any = await answered(context.owner.find(queries))
        return sorted({match for matches in found for match in matches})
    found = await answered(context.owner.find([each for query in queries for each in (query, _completed(query))]))
    matches: set[Match] = set()
    for query, itself, begun in zip(queries, found[::2], found[1::2], strict=True):
        leaf = [match for match in itself if match[1] & LEAF]
        matches.update([(query, LEAF)] if leaf and not is_pattern(query) else begun)
    return sorted(matches)


def _completed(query: str) -> str:
    return query if query.endswith("*") else f"{query}*"
