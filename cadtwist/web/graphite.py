"""Graphite's doors: find, expand, index and the version."""

from __future__ import annotations

import json
from math import inf

from cadtwist.query.find import Match
from cadtwist.query.index import LEAF
from cadtwist.query.search import compiled
from cadtwist.query.timespec import TimeSpecError, parse_time, zone_named
from cadtwist.web.answers import Answer, json_answer
from cadtwist.web.carbonapi import (
    TYPE_V2,
    TYPE_V3,
    VERSION_2,
    VERSION_3,
    asks_in_v3,
    find_body,
    is_message,
    multi_find,
)
from cadtwist.web.context import WebContext, all_names, answered, sorted_names
from cadtwist.web.errors import HTML, RefusedError, invalid
from cadtwist.web.findformats import FIND_FORMATS, NO_CACHE, completer_query, find_answer, has_one_component
from cadtwist.web.params import Params

__all__ = ["expand", "find", "get_metadata", "index", "search", "set_metadata", "version"]

_MAX_QUERIES = 10_000
_MOST_FOUND = 100


async def find(context: WebContext, params: Params) -> Answer:
    """`/metrics/find`: one level of the tree, or whatever a glob means."""
    if is_message(params):
        return await multi_find(context, params)
    params.check_integers(("leavesOnly", "local", "wildcards"))
    now, start, end = _checked_times(context, params)
    params.check_integers(("position", "automatic_variants"))
    if "query" not in params:
        raise invalid("Missing required parameter 'query'")
    query = params.last("query")
    if not query:
        raise invalid("Required parameter 'query' is empty")
    form = VERSION_3 if asks_in_v3(params) else params.last("format", "treejson")
    if form not in (*FIND_FORMATS, *VERSION_2, VERSION_3):
        raise RefusedError(400, "Invalid value for 'format' parameter")
    if start is not None and end is not None and start > end:
        raise invalid(f"Failed to instantiate find query: Invalid interval start={start} end={end}")
    wanted = completer_query(query, params.flag("automatic_variants")) if form == "completer" else query
    matches = await _alike(context, wanted, params) if form == "treejson" else None
    if matches is None:
        (matches,) = await answered(context.owner.find([wanted]))
    if form not in FIND_FORMATS:
        return Answer(find_body(form, query, matches), TYPE_V3 if form == VERSION_3 else TYPE_V2, headers=NO_CACHE)
    return find_answer(form, query, matches, params, now)


async def _alike(context: WebContext, query: str, params: Params) -> list[Match] | None:
    """Return one match in place of many that would be one node of the tree; None where they may be more.

    A dashboard's list of hosts is found so: nothing is done for each host.
    """
    if context.remote is not None or not has_one_component(query) or params.flag("wildcards"):
        return None
    (found,) = await answered(context.owner.found([query]))
    kinds = found.kinds
    if found.branches or kinds.count(kinds[:1]) != len(kinds):
        return None
    if not kinds:
        return []
    first = found.paths[: memoryview(found.ends).cast("I")[0]]
    return [(first.decode("utf-8", "replace"), kinds[0])]


def _checked_times(context: WebContext, params: Params) -> tuple[int, int | None, int | None]:
    """Refuse times that are none; return the clock and both ends of the range, None for one that is not told.

    Which names there are does not depend on time.
    """
    clock = int(context.clock())
    zone = zone_named(params.last("tz"), context.zone)
    now, start, end = clock, None, None
    for key in ("now", "from", "until"):
        text = params.last(key, "-1")
        if text == "-1":
            continue
        try:
            time = parse_time(text, zone, now)
        except TimeSpecError as error:
            raise invalid(f"Invalid value '{text}' for param {key}: {error}") from None
        if key == "now":
            now = time
        elif key == "from":
            start = time
        else:
            end = time
    return clock, start, end


async def expand(context: WebContext, params: Params) -> Answer:
    """`/metrics/expand`: the paths that queries mean."""
    queries = params.all("query")
    leaves_only, grouped = params.flag("leavesOnly"), params.flag("groupByExpr")
    params.integer("local", 0)
    if len(queries) > _MAX_QUERIES:
        raise invalid(f"More than {_MAX_QUERIES} queries")
    found = await answered(context.owner.find(queries)) if queries else []
    paths = [sorted({path for path, kind in one if kind & LEAF or not leaves_only}) for one in found]
    if grouped:
        return json_answer(params, {"results": dict(zip(queries, paths, strict=True))}, False, NO_CACHE, inf)
    return json_answer(params, {"results": sorted({path for one in paths for path in one})}, False, NO_CACHE, inf)


async def index(context: WebContext, params: Params) -> Answer:
    """`/metrics/index.json`: every metric there is."""
    try:
        params.integer("local", 0)
    except RefusedError:
        return Answer(b"[]", "application/json", 500)
    return json_answer(params, await sorted_names(context), False)


async def search(context: WebContext, params: Params) -> Answer:
    """`/browser/search`: at most a hundred metrics in whose name one of several regular expressions is found."""
    searches = [compiled(text, any_case=True) for text in params.last("query").split()]
    names: list[str] = []
    if searches:
        async for some in all_names(context):
            names += [name for name in some if any(one.found(name) for one in searches)]
            if len(names) >= _MOST_FOUND:
                break
    return Answer(",".join(names[:_MOST_FOUND]).encode("utf-8", "replace"), "text/plain")


async def get_metadata(context: WebContext, params: Params) -> Answer:
    """`/metrics/get-metadata`: how metrics are aggregated in time, the only thing that can be asked for."""
    key, metrics = params.last("key"), params.all("metric")
    now = int(context.clock())
    resolution = await answered(context.owner.resolve(metrics, now, now)) if metrics else None
    found: dict[str, object] = {}
    for place, metric in enumerate(metrics):
        kept = resolution.patterns[place] if resolution is not None else []
        if key == "aggregationMethod" and len(kept) == 1 and resolution is not None:
            found[metric] = resolution.schemas[kept[0].schema].method
        else:
            found[metric] = {"error": f"Unexpected error occurred in CarbonLink.get_metadata({metric}, {key})"}
    return json_answer(params, found, False)


async def set_metadata(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/metrics/set-metadata`: refused, for one metric or for a list; carbonlink's door does that."""
    if params.method == "POST":
        told = "bulk CarbonLink.set_metadata({metric})"
        wishes = _wishes(params)
    else:
        told, wishes = "CarbonLink.set_metadata({metric}, {key})", [(params.last("metric"), params.last("key"))]
    refusals = {
        metric: {"error": f"Unexpected error occurred in {told.format(metric=metric, key=key)}"}
        for metric, key in wishes
    }
    return json_answer(params, refusals, False)


def _wishes(params: Params) -> list[tuple[str, str]]:
    """Return metric and key of each change of a list, which is the body or the field `operations`."""
    text: str | bytes = params.last("operations") or params.body
    try:
        wishes = json.loads(text)
    except (ValueError, RecursionError):
        return [(params.last("metric"), params.last("key"))]
    known = [one for one in (wishes if isinstance(wishes, list) else [wishes]) if isinstance(one, dict)]
    return [(str(one.get("metric", "")), str(one.get("key", ""))) for one in known[:_MAX_QUERIES]]


async def version(context: WebContext, params: Params) -> Answer:  # noqa: ARG001
    """`/version`: the graphite-web that clients may take us for."""
    return Answer(context.graphite_version.encode("ascii"), HTML)
