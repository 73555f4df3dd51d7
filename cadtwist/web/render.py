"""`/render`: series of plain names and globs, from disk and memory."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import tzinfo
from email.utils import formatdate

from twisted.logger import Logger

from cadtwist.query.consolidate import consolidated
from cadtwist.query.fetch import fetch_metric
from cadtwist.query.find import TooBroad
from cadtwist.query.owner import Resolution
from cadtwist.query.timespec import TimeSpecError, parse_time, zone_named
from cadtwist.web.answers import Answer
from cadtwist.web.context import Slices, WebContext, answered
from cadtwist.web.errors import RefusedError, invalid
from cadtwist.web.formats import RENDER_FORMATS, Rendered, render_pieces
from cadtwist.web.params import Params

__all__ = ["RenderRequest", "parse_render", "render"]

_log = Logger()
_ESCAPES = re.compile(r"\\.", re.DOTALL)
_EXPRESSION = re.compile(r"[()|\"']")
_CACHED_S = 60
_LONGEST_CACHED_S = 365 * 86400
_LATEST = 0xFFFFFFFF  # the last second that files can tell
_MAX_DIGITS = 12
_CALLBACK_FORMATS = ("json", "dygraph", "rickshaw")
_IMAGES = ("png", "svg", "pdf")
_NEVER_CACHED = "max-age=0, no-cache, no-store, must-revalidate, private"


@dataclass(frozen=True)
class RenderRequest:
    """A request for series; times in epoch seconds, `max_points` 0 for no limit, `cached_s` 0 for no caching."""

    targets: tuple[str, ...]
    start: int
    end: int
    now: int
    zone: tzinfo
    form: str
    max_points: int
    no_nulls: bool
    xff: float
    cached_s: int
    callback: str
    pretty: bool


async def render(context: WebContext, params: Params) -> Answer:
    """Answer a render request."""
    wanted = parse_render(params, int(context.clock()), context.zone)
    found: list[Rendered] = []
    if wanted.targets:
        patterns = list(wanted.targets)
        resolution = await answered(context.owner.resolve(patterns, wanted.start, wanted.end))
        found = await _fetched(context, wanted, resolution)
    if wanted.form == "json" and wanted.max_points:
        thinned = consolidated([one.series for one in found], wanted.max_points, wanted.xff)
        found = [replace(one, series=series) for one, series in zip(found, thinned, strict=True)]
    body = await _body(context, wanted, found)
    kind = RENDER_FORMATS[wanted.form]
    if wanted.callback:
        body, kind = wanted.callback.encode("utf-8", "replace") + b"(" + body + b")", "text/javascript"
    return Answer(body, kind, headers=_cache_headers(wanted.cached_s, context.clock()))


async def _fetched(context: WebContext, wanted: RenderRequest, resolution: Resolution) -> list[Rendered]:
    """Read the series in order; a file's fault is logged and costs that file's points only."""
    found: list[Rendered] = []
    points = 0
    slices = Slices(context)
    for target, metrics in zip(wanted.targets, resolution.patterns, strict=True):
        for metric in metrics:
            schema = resolution.schemas[metric.schema]
            series, fault = fetch_metric(context.store, metric, schema, wanted.start, wanted.end, wanted.now)
            if fault:
                _log.warn("Reading {name}: {fault}", name=metric.name, fault=fault)
            if series is not None:
                points += len(series)
                found.append(Rendered(series, target))
            if points > context.limits.points:
                raise TooBroad(f"The request means more than {context.limits.points} points")
            await slices.breathe()
    return found


async def _body(context: WebContext, wanted: RenderRequest, found: list[Rendered]) -> bytes:
    pieces: list[bytes] = []
    slices = Slices(context)
    for piece in render_pieces(wanted.form, found, wanted.xff, wanted.zone, wanted.no_nulls, wanted.pretty):
        pieces.append(piece)
        await slices.breathe()
    return b"".join(pieces)


def parse_render(params: Params, clock: int, zone: tzinfo) -> RenderRequest:
    """Read a request's parameters; RefusedError for what is wrong or not to be had."""
    form = _form(params)
    zone = zone_named(params.last("tz"), zone)
    now = _time(params, "now", clock, zone, clock)
    cached_s = _number(params, "cacheTimeout", int, _CACHED_S)
    xff = _number(params, "xFilesFactor", float, 0.0)
    start = min(max(_time(params, "from", now - 86400, zone, now), 0), _LATEST)
    end = min(max(_time(params, "until", now, zone, now), 0), _LATEST)
    if start == end:
        raise invalid("Invalid empty time range")
    max_points = _max_points(params.last("maxDataPoints"))
    return RenderRequest(
        targets=_targets(params),
        start=min(start, end),
        end=max(start, end),
        now=min(max(now, 0), _LATEST),
        zone=zone,
        form=form,
        max_points=max_points,
        no_nulls="noNullPoints" in params,
        xff=float(xff),
        cached_s=0 if "noCache" in params else min(max(int(cached_s), 0), _LONGEST_CACHED_S),
        callback=params.last("jsonp") if params.last("format") in _CALLBACK_FORMATS else "",
        pretty=bool(params.last("pretty")),
    )


def _max_points(text: str) -> int:
    """Return the limit, 0 for none: as graphite-web does, take what is no number for none."""
    if not text.isdecimal() or len(text) > _MAX_DIGITS:
        return 0
    if int(text) == 0:
        raise invalid("maxDataPoints must be at least 1")
    return int(text)


def _form(params: Params) -> str:
    kind = params.last("graphType", "line")
    if kind not in ("line", "pie"):
        raise invalid(f"Invalid graphType '{kind}', must be one of ['line', 'pie']")
    form = params.last("format")
    if not form:
        form = "raw" if "rawData" in params else "pickle" if "pickle" in params else "png"
    if kind == "pie" or form not in RENDER_FORMATS:
        known = ", ".join(RENDER_FORMATS)
        raise RefusedError(400, f"Images are not drawn here: ask for one of the formats {known}")
    return form


def _targets(params: Params) -> tuple[str, ...]:
    targets = params.all("target") or params.all("target[]")
    wanted = tuple(target.strip() for target in targets if target.strip())
    for target in wanted:
        if _EXPRESSION.search(_ESCAPES.sub("", target)):
            raise RefusedError(400, f"Functions are not evaluated here, only names and globs: {target}")
    return wanted


def _time(params: Params, key: str, default: int, zone: tzinfo, now: int) -> int:
    if key not in params:
        return default
    try:
        return parse_time(params.last(key), zone, now)
    except TimeSpecError as error:
        raise invalid(error) from None


def _number(params: Params, key: str, kind: type[int | float], default: float) -> float:
    if key not in params:
        return default
    try:
        return kind(params.last(key))
    except ValueError as error:
        raise invalid(error) from None


def _cache_headers(cached_s: int, now: float) -> dict[str, str]:
    control = f"max-age={cached_s}" if cached_s else _NEVER_CACHED
    return {"Expires": formatdate(now + (cached_s or -1), usegmt=True), "Cache-Control": control}
