"""Cadent's read API: find, expand, metrics, render, rawrender and their later kin, below a path of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from cadtwist.model.cadentstyle import stored_method
from cadtwist.model.pattern import is_pattern
from cadtwist.query.cadent import Resolution, chosen_step, moment, resampled, rounded, split_targets
from cadtwist.query.find import Match, QueryError
from cadtwist.query.index import LEAF
from cadtwist.query.owner import HotMetric
from cadtwist.query.timeseries import Window
from cadtwist.query.timespec import TimeSpecError
from cadtwist.web.answers import Answer
from cadtwist.web.cadentforms import FORMATS, Told, encoded, first_metrics, metrics, nodes, raw, render
from cadtwist.web.context import Slices, WebContext, answered
from cadtwist.web.errors import PLAIN, RefusedError
from cadtwist.web.params import Params
from cadtwist.web.sources import Sources

__all__ = ["CadentRoom"]

CACHED = {"Cache-Control": "public, max-age=60, cache"}
PRIVATE = {"Cache-Control": "private, max-age=0, no-cache"}
_MOST_POINTS = 20_480
_NAMES_PER_PAGE = 2048
_MOST_PAGES = 1_000_000
_NAMES_PER_SLICE = 20_000
_FOREVER = 1 << 40

Answering = Callable[[WebContext, Params], Awaitable[Answer]]


class CadentRoom:
    """All paths below `base`, which begins and ends with a slash.  `times` are the resolutions of what is written."""

    def __init__(self, base: str, times: Sequence[Resolution] = ()) -> None:
        self.base = base
        self._times = tuple(times)
        self._doors: dict[str, Answering] = {
            "find": self._find,
            "paths": self._find,
            "metrics/find": self._find,
            "expand": self._expand,
            "list": self._list,
            "metrics": self._metrics,
            "render": self._render,
            "rawrender": self._raw,
            "cache": self._cache,
            "incache": self._in_cache,
        }

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that are served, below the base."""
        return tuple(self._doors)

    async def enter(self, context: WebContext, params: Params) -> Answer:
        """Answer the path that `params.tail` is, with or without a slash at its end."""
        door = self._doors.get(params.tail.strip("/"))
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
        form = _format(params)
        aliases = ("query", "name", "target") if form else ("query",)
        query = ",".join(value for key in aliases for value in params.all(key) if value)
        if not query:
            raise RefusedError(400, "Query is required")
        matches = await _matches(context, split_targets([query]), exact=bool(form))
        return _told(nodes(matches, later=bool(form)), form)

    async def _expand(self, context: WebContext, params: Params) -> Answer:
        query = params.last("query")
        if not query:
            raise RefusedError(400, "Query is required")
        found: list[list[Match]] = await answered(context.owner.find(split_targets([query])))
        names = sorted({path for matches in found for path, kind in matches if kind & LEAF})
        return _told({"results": names}, _format(params))

    async def _list(self, context: WebContext, params: Params) -> Answer:
        page = params.integer("page", 0)
        if not 0 <= page < _MOST_PAGES:
            raise RefusedError(400, "There is no such page")
        slices, names, cursor = Slices(context), list[str](), 0
        skipped = page * _NAMES_PER_PAGE
        while len(names) < _NAMES_PER_PAGE:
            some, cursor = await answered(context.owner.leaves(cursor, _NAMES_PER_SLICE))
            names += some[skipped:]
            skipped = max(skipped - len(some), 0)
            if not cursor:
                break
            await slices.breathe()
        form = _format(params)
        return _told(names[:_NAMES_PER_PAGE], form) if names else _nothing()

    # Series

    async def _metrics(self, context: WebContext, params: Params) -> Answer:
        form = _format(params)
        series = await self._series(context, params, form)
        if not form:
            return Answer(first_metrics(series), FORMATS["json"], headers=CACHED)
        return _told(metrics(series), form)

    async def _render(self, context: WebContext, params: Params) -> Answer:
        form = _format(params)
        if not form:
            return await self._metrics(context, params)
        series = await self._series(context, params, form)
        return _told(render(series), form) if series else _nothing()

    async def _raw(self, context: WebContext, params: Params) -> Answer:
        form = _format(params)
        return _told(raw(await self._series(context, params, form), later=bool(form)), form)

    async def _cache(self, context: WebContext, params: Params) -> Answer:
        """The points that wait in memory, as `rawrender` has them, one by one."""
        form = _format(params)
        waiting = [hot for hot in await _hot(context, _targets(params)) if hot.timestamps]
        shown = raw([Told(hot.name, 0, 1, np.zeros(0), stored_method(hot.name), True) for hot in waiting], True)
        for hot, one in zip(waiting, shown, strict=True):
            times, values = (np.frombuffer(column, np.float64).tolist() for column in (hot.timestamps, hot.values))
            one["data"] = [
                {"time": int(time), "sum": value, "last": value, "min": value, "max": value, "count": 1}
                for time, value in zip(times, values, strict=True)
            ]
            first, last = int(min(times)), int(max(times))
            one.update({"data_from": first, "data_end": last, "from": first, "to": last})
        return _told(shown, form)

    async def _in_cache(self, context: WebContext, params: Params) -> Answer:
        found = {hot.name: bool(hot.timestamps) for hot in await _hot(context, _targets(params))}
        return _told(found, _format(params))

    async def _series(self, context: WebContext, params: Params, form: str) -> list[Told]:
        """Return what the targets mean over the range that is asked for, at most as many points as wanted."""
        targets = _targets(params)
        now = context.clock()
        start, end = self._range(params, now)
        wanted = _wanted_step(params, end - start, form)
        sources = Sources(context, int(now))
        by_target = await sources.fetch(targets, Window(start, end))
        found = {one.name: one for target in targets for one in by_target[target]}
        waiting = {hot.name for hot in await _hot(context, targets) if hot.timestamps} if form else set()
        told = []
        for one in found.values():
            method = stored_method(one.name)
            first, step, values = resampled(one.start, one.step, one.values, wanted, method)
            told.append(Told(one.name, first, step, values, method, one.name in waiting))
        return told

    def _range(self, params: Params, now: float) -> tuple[int, int]:
        """Return the range that is asked for, as whole steps of the resolution that keeps it."""
        start = _moment(params, ("from", "start"), "-1h", now)
        end = _moment(params, ("to", "end"), "now", now)
        start, end = min(start, end), max(start, end)
        if self._times:
            step = chosen_step(self._times, start, end, now)
            start, end = rounded(start, step), rounded(end, step)
            if end - start < step:
                raise RefusedError(400, f"The range is shorter than one step of {step:g} s")
        return start, end


def _format(params: Params) -> str:
    """Return the form that a request asks for, empty where it names none: that of the first versions."""
    form = params.last("format").lower()
    if not form and params.accept and "msgpack" in params.accept:
        return "msgpack"
    if form and form not in FORMATS:
        raise RefusedError(400, f"No format {form!r}; there are {', '.join(FORMATS)}")
    return form


def _told(value: object, form: str) -> Answer:
    return Answer(encoded(value, form), FORMATS[form or "json"], headers=CACHED)


def _nothing() -> Answer:
    return Answer(b"", PLAIN, 204, PRIVATE)


def _targets(params: Params) -> list[str]:
    values = next((found for key in ("target", "path", "query") if (found := params.all(key))), [])
    targets = split_targets(values)
    if not targets:
        raise RefusedError(400, "Target is required")
    return targets


def _moment(params: Params, names: tuple[str, str], default: str, now: float) -> int:
    text = next((found for name in names if (found := params.last(name))), default)
    try:
        return moment(text, now)
    except TimeSpecError:
        raise RefusedError(400, f"Invalid `{'start' if 'from' in names else 'end'}` time") from None


def _wanted_step(params: Params, range_s: int, form: str) -> int:
    """Return the seconds of a slot that are asked for, 1 for whatever there is."""
    step = max((params.integer(key, 0) for key in ("step", "sample")), default=0)
    most = next((n for key in ("max_points", "maxDataPoints", "maxpts") if (n := params.integer(key, 0)) > 0), 0)
    if form:
        most = min(most or _MOST_POINTS, _MOST_POINTS)
    return max(step, -(-range_s // most) if most else 0, 1)


async def _hot(context: WebContext, targets: list[str]) -> list[HotMetric]:
    """Return the metrics that targets mean, each once, with their points in memory."""
    resolution = await answered(context.owner.resolve(targets, 0, _FOREVER))
    found: dict[str, HotMetric] = {hot.name: hot for metrics_ in resolution.patterns for hot in metrics_}
    return list(found.values())


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
