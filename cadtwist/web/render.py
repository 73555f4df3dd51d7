"""`/render`: what targets stand for, in every format."""

from __future__ import annotations

import re
from datetime import tzinfo

from msgspec import Struct, field

from cadtwist.query.consolidate import ConsolidationError, consolidated
from cadtwist.query.evaluate import EvaluationError, Query, evaluate
from cadtwist.query.timeseries import TimeSeries, Window
from cadtwist.query.timespec import TimeSpecError, parse_time, zone_named
from cadtwist.web.answers import NEVER_CACHED, Answer, http_date
from cadtwist.web.carbonapi import TYPE_V2, TYPE_V3, VERSION_2, VERSION_3, encoded, is_message, multi_render
from cadtwist.web.context import WebContext
from cadtwist.web.errors import HTML, RefusedError, invalid
from cadtwist.web.formats import RENDER_FORMATS, render_pieces
from cadtwist.web.image import IMAGES, GraphOptions, drawn, graph_options, slices_of, wrapped
from cadtwist.web.params import Params
from cadtwist.web.sources import Sources

__all__ = ["RenderRequest", "parse_render", "render"]

_TEMPLATE = re.compile(r"template\[(\w+)\]\Z")
_MOST_SHOWN = 1000
_MESSAGES = {**dict.fromkeys(VERSION_2, TYPE_V2), VERSION_3: TYPE_V3}
_KINDS = {**RENDER_FORMATS, **_MESSAGES, **IMAGES}
_CACHED_S = 60
_LONGEST_CACHED_S = 365 * 86400
_LATEST = 0xFFFFFFFF  # the last second that files can tell
_MAX_DIGITS = 12
_CALLBACK_FORMATS = ("json", "dygraph", "rickshaw", "svg")
_TICKS = {
    **dict.fromkeys(("", "s", "second", "seconds"), 1),
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 10**3),
    **dict.fromkeys(("us", "microsecond", "microseconds"), 10**6),
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 10**9),
}


class RenderRequest(Struct, frozen=True):
    """A request for series; times in epoch seconds, `max_points` 0 for no limit, `cached_s` 0 for no caching.

    JSON shows times in `ticks` a second, within a call of `callback` (perhaps without a name) unless that is None.
    """

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
    callback: str | None
    pretty: bool
    bindings: dict[str, str] = field(default_factory=dict)
    pie: bool = False
    ticks: int = 1


async def render(context: WebContext, params: Params) -> Answer:
    """Answer a render request."""
    if is_message(params):
        return await multi_render(context, params)
    wanted = parse_render(params, int(context.clock()), context.zone, context.cached_s)
    options = graph_options(params) if wanted.form in IMAGES else GraphOptions()
    sources = Sources(context, wanted.now, params.cost)
    found = slices_of(wanted.targets, wanted.start, wanted.end) if wanted.pie else None
    if found is None:
        try:
            found = await evaluate(_query(context, wanted, sources), sources, context.functions)
            _bounded(context, found)
            most = wanted.max_points if wanted.form == "json" else options.width if wanted.form in IMAGES else 0
            if wanted.form == "json" and not any(map(len, found)):
                found = []  # but one whose values are all gone when there are fewer points is shown
            if most:
                found = consolidated(found, most)
        except EvaluationError as error:
            raise _refused(str(error), error.targets, params) from None
        except ConsolidationError as error:
            raise invalid(error) from None
    began = params.cost.timer()
    answer = await _encoded(context, options, wanted, found, sources)
    params.cost.spent("encode", began)
    return answer


async def _encoded(
    context: WebContext, options: GraphOptions, wanted: RenderRequest, found: list[TimeSeries], sources: Sources
) -> Answer:
    if wanted.form in IMAGES:
        return _image(context, options, wanted, found)
    if wanted.form in _MESSAGES:
        body = encoded(wanted.form, found, Window(wanted.start, wanted.end))
    else:
        body = await _body(sources, wanted, found)
    kind = _KINDS[wanted.form]
    if wanted.callback is not None:
        body, kind = wanted.callback.encode("utf-8", "replace") + b"(" + body + b")", "text/javascript"
    return Answer(body, kind, headers=_cache_headers(wanted.cached_s, context.clock()), kept_s=wanted.cached_s)


def _query(context: WebContext, wanted: RenderRequest, sources: Sources) -> Query:
    limits = context.limits
    return Query(
        wanted.targets, wanted.start, wanted.end, wanted.now, int(context.clock()), wanted.zone, context.zone,
        wanted.xff, wanted.bindings, limits.points, limits.calls, sources.breathe,
    )  # fmt: skip


def _bounded(context: WebContext, found: list[TimeSeries]) -> None:
    """Refuse an answer of more series or points than a request may cost: a target may be asked for many times."""
    limits = context.limits
    if len(found) > limits.series:
        raise invalid(f"The answer has {len(found)} series, the limit is {limits.series}")
    points = sum(len(series.values) for series in found)
    if points > limits.points:
        raise invalid(f"The answer has {points} points, the limit is {limits.points}")


def _refused(message: str, targets: list[str], params: Params) -> RefusedError:
    """Return graphite-web's refusal of a target, with what the client told of itself."""
    text = f"Invalid parameters ({message}); targets: \"{_shown(', '.join(targets))}\""
    if params.source:
        told = ", ".join(f"{name}: {_shown(value)}" for name, value in params.source)
        text += f'; source: "{told}"'
    return RefusedError(400, text, HTML)


def _shown(text: str) -> str:
    return text[:_MOST_SHOWN]


def _image(context: WebContext, options: GraphOptions, wanted: RenderRequest, found: list[TimeSeries]) -> Answer:
    image = drawn(wanted.form, found, options, wanted.zone, wanted.pie)
    headers = _cache_headers(wanted.cached_s, context.clock())
    if wanted.form == "svg" and wanted.callback is not None:
        return Answer(wrapped(image, wanted.callback), "text/javascript", headers=headers, kept_s=wanted.cached_s)
    return Answer(image, IMAGES[wanted.form], headers=headers, kept_s=wanted.cached_s)


async def _body(sources: Sources, wanted: RenderRequest, found: list[TimeSeries]) -> bytes:
    pieces: list[bytes] = []
    if wanted.form == "json" and wanted.ticks != 1:
        found = [series.in_ticks(wanted.ticks) for series in found]
    for piece in render_pieces(wanted.form, found, wanted.zone, wanted.no_nulls, wanted.pretty):
        pieces.append(piece)
        await sources.breathe()
    return b"".join(pieces)


def parse_render(params: Params, clock: int, zone: tzinfo, cached_s: int = _CACHED_S) -> RenderRequest:
    """Read a request's parameters; RefusedError for what is wrong or not to be had.

    `cached_s` is for how long an answer may be cached where the request does not tell.
    """
    form = _form(params)
    zone = zone_named(params.last("tz"), zone)
    now = _time(params, "now", clock, zone, clock)
    kept_s = _number(params, "cacheTimeout", int, cached_s)
    end = min(max(_time(params, "until", now, zone, now), 0), _LATEST)  # of two wrong times the last one is told
    start = min(max(_time(params, "from", now - 86400, zone, now), 0), _LATEST)
    if start == end:
        raise invalid("Invalid empty time range")
    xff = _number(params, "xFilesFactor", float, 0.0)
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
        cached_s=0 if "noCache" in params else min(max(int(kept_s), 0), _LONGEST_CACHED_S),
        callback=params.last("jsonp") if "jsonp" in params and params.last("format") in _CALLBACK_FORMATS else None,
        pretty=bool(params.last("pretty")),
        pie=params.last("graphType") == "pie",
        ticks=_ticks(params),
        bindings=_bindings(params),
    )


def _bindings(params: Params) -> dict[str, str]:
    """Return the values of template variables that win over the targets' own."""
    named = [key for key in params if key.startswith("template[")]
    return {found[1]: params.last(key) for key in named if (found := _TEMPLATE.match(key))}


def _ticks(params: Params) -> int:
    """Return carbonapi's `timestampFormat`, as ticks a second."""
    ticks = _TICKS.get(params.last("timestampFormat"))
    if ticks is None:
        raise invalid("unsupported timestamp format, supported: 's', 'ms', 'us', 'ns'")
    return ticks


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
    if params.accept == TYPE_V3:
        form = VERSION_3
    if kind == "pie":
        return form if form in IMAGES else "png"
    return form if form in _KINDS else "png"


def _targets(params: Params) -> tuple[str, ...]:
    targets = params.all("target") or params.all("target[]")
    return tuple(target.strip() for target in targets if target.strip())


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
    control = f"max-age={cached_s}" if cached_s else NEVER_CACHED
    return {"Expires": http_date(int(now + (cached_s or -1))), "Cache-Control": control}
