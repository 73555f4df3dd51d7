"""The doors by which carbonapi asks: protocol buffers over `/render`, `/metrics/find`, `/info`, and what we can do."""

from __future__ import annotations

from collections.abc import Sequence

from cadtwist.codec.carbonapi import (
    SeriesMessage,
    capabilities_v3,
    fetch_wishes,
    glob_patterns,
    globs_v3,
    matches_v2,
    render_v2,
    render_v3,
    retentions_v2,
    retentions_v3,
)
from cadtwist.codec.protowire import WireError
from cadtwist.query.find import Match
from cadtwist.query.index import BRANCH, LEAF
from cadtwist.query.timeseries import TimeSeries, Window
from cadtwist.web.answers import Answer, plain_json
from cadtwist.web.context import WebContext, answered
from cadtwist.web.errors import RefusedError
from cadtwist.web.params import Params
from cadtwist.web.sources import Sources

__all__ = [
    "TYPE_V2", "TYPE_V3", "VERSION_2", "VERSION_3", "asks_in_v3", "capabilities", "encoded", "encoded_retentions",
    "find_body", "glob_targets", "is_message", "multi_find", "multi_render",
]  # fmt: skip

VERSION_2 = ("protobuf", "protobuf3", "carbonapi_v2_pb")
VERSION_3 = "carbonapi_v3_pb"
TYPE_V2 = "application/x-protobuf"
TYPE_V3 = "application/x-carbonapi-v3-pb"
_PROTOCOLS = (VERSION_3, "carbonapi_v2_pb", "graphite-web-pickle", "graphite-web-pickle-1.1")
_MOST_RANGES = 100
Retained = tuple[str, str, float, Sequence[tuple[int, int]]]
"""(name, method, xff, archives of (step, points))."""


def asks_in_v3(params: Params) -> bool:
    """Tell whether a client wants version 3, by the format or by the type that it accepts."""
    return params.last("format") == VERSION_3 or params.accept == TYPE_V3


def is_message(params: Params) -> bool:
    """Tell whether the body of a request is a message of version 3."""
    return asks_in_v3(params) and params.method == "POST" and bool(params.body)


def encoded(form: str, series: Sequence[TimeSeries], window: Window, expression: str | None = None) -> bytes:
    """Return series as an answer to `/render` in version 2 or 3."""
    messages = [_message(one, window, one.expression if expression is None else expression) for one in series]
    return render_v3(messages) if form == VERSION_3 else render_v2(messages)


def _message(series: TimeSeries, window: Window, expression: str) -> SeriesMessage:
    return SeriesMessage(
        series.name, expression, series.start, series.end, series.step, series.values, series.consolidation.title(),
        series.xff, window.start, window.end,
    )  # fmt: skip


async def multi_render(context: WebContext, params: Params) -> Answer:
    """Answer a MultiFetchRequest of version 3: patterns, each in a range of its own."""
    try:
        wishes = fetch_wishes(params.body)
    except WireError as error:
        raise RefusedError(400, f"Bad request ({error})") from None
    ranges: dict[Window, dict[str, None]] = {}
    for wish in wishes:
        ranges.setdefault(Window(wish.start, wish.stop), {})[wish.name] = None
    if len(ranges) > _MOST_RANGES:
        raise RefusedError(400, f"Bad request (more than {_MOST_RANGES} ranges of time)")
    sources = Sources(context, params.integer("now", int(context.clock())), params.cost)
    found = {window: await sources.fetch(list(patterns), window) for window, patterns in ranges.items()}
    body = [
        encoded(VERSION_3, found[Window(wish.start, wish.stop)].get(wish.name, []),
                Window(wish.start, wish.stop), wish.expression)
        for wish in wishes
    ]  # fmt: skip
    return Answer(b"".join(body), TYPE_V3)


def glob_targets(params: Params) -> list[str]:
    """Return the patterns, or names, of a message of version 3."""
    try:
        return glob_patterns(params.body)
    except WireError as error:
        raise RefusedError(400, f"Bad request ({error})") from None


async def multi_find(context: WebContext, params: Params) -> Answer:
    """Answer a MultiGlobRequest of version 3."""
    patterns = glob_targets(params)
    found = await answered(context.owner.find(patterns)) if patterns else []
    answers = [(pattern, _pairs(matches)) for pattern, matches in zip(patterns, found, strict=True)]
    return Answer(globs_v3(answers), TYPE_V3, headers={"Cache-Control": "no-cache"})


def find_body(form: str, query: str, matches: Sequence[Match]) -> bytes:
    """Return matches as an answer to `/metrics/find` in version 2 or 3."""
    pairs = _pairs(matches)
    return globs_v3([(query, pairs)]) if form == VERSION_3 else matches_v2(query, pairs)


def _pairs(matches: Sequence[Match]) -> list[tuple[str, bool]]:
    return [(path, is_leaf) for path, kind in matches for bit, is_leaf in ((BRANCH, False), (LEAF, True)) if kind & bit]


def encoded_retentions(form: str, metrics: Sequence[Retained]) -> Answer:
    """Return how metrics are kept as an answer to `/info`: all in version 3, the first in version 2."""
    if form == VERSION_3:
        return Answer(retentions_v3(metrics), TYPE_V3)
    return Answer(retentions_v2(*metrics[0]), TYPE_V2)


async def capabilities(context: WebContext, params: Params) -> Answer:
    """`/_internal/capabilities`: which protocols we speak."""
    if asks_in_v3(params):
        return Answer(capabilities_v3(_PROTOCOLS, context.host), TYPE_V3)
    told = {
        "supportedProtocols": _PROTOCOLS, "name": context.host, "likeSplittedRequests": True, "program": "cadtwist",
    }  # fmt: skip
    return plain_json(told)
