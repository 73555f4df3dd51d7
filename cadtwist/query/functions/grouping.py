"""Functions that put series into groups by the nodes of their names or their tags."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from cadtwist.model.metricname import parse_name
from cadtwist.query.functions.combine import aggregate_all, flat
from cadtwist.query.functions.context import Context
from cadtwist.query.functions.naming import grouped
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, bind, render_function
from cadtwist.query.timeseries import TimeSeries

__all__: list[str] = []

_GROUP = "Combine"
_NODES = Param("nodes", "nodeOrTag", multiple=True)
_MAP_NODES = Param("mapNodes", "nodeOrTag", required=True, multiple=True)
_POSITIONS = Param("position", "node", multiple=True, takes="position")
Lists = list[TimeSeries]


@render_function("group", group=_GROUP, params=(Param("seriesLists", "seriesList", multiple=True),))
def group(context: Context, *lists: Lists) -> Lists:  # noqa: ARG001
    """Make one list of several."""
    return flat(lists) if lists else []


async def _called_back(context: Context, callback: str, series_list: Lists) -> TimeSeries:
    """Return what a function, or an aggregation, makes of a group: one series."""
    function = context.request.functions.get(callback)
    if function is None:
        (made,) = aggregate_all(context, series_list, callback)
        return made
    context.request.called()
    found = function.call(context, *bind(callback, function, [series_list], {}))
    if inspect.isawaitable(found):
        found = await found
    if not found or isinstance(found[0], list):
        raise ArgumentError(f"{callback} gives no series of a group")
    first: TimeSeries = found[0]
    return first


async def _per_group(context: Context, groups: Mapping[str, Lists], callback: str) -> Lists:
    return [(await _called_back(context, callback, found)).named(key) for key, found in groups.items()]


@render_function(
    "groupByNode", group=_GROUP,
    params=(
        SERIES, Param("nodeNum", "nodeOrTag", required=True), Param("callback", "aggOrSeriesFunc", default="average")
    ),
)  # fmt: skip
async def group_by_node(context: Context, series_list: Lists, node: int | str, callback: str = "average") -> Lists:
    """Combine the series that share a node of their name, or a tag, by a function or an aggregation."""
    return await _per_group(context, grouped(series_list, (node,)), callback)


@render_function(
    "groupByNodes", group=_GROUP, params=(SERIES, Param("callback", "aggOrSeriesFunc", required=True), _NODES)
)
async def group_by_nodes(context: Context, series_list: Lists, callback: str, *nodes: int | str) -> Lists:
    """Combine the series that share several nodes of their names, or tags, by a function or an aggregation."""
    return await _per_group(context, grouped(series_list, nodes), callback)


@render_function(
    "groupByTags", group=_GROUP,
    params=(
        SERIES, Param("callback", "aggOrSeriesFunc", required=True), Param("tags", "tag", required=True, multiple=True)
    ),
)  # fmt: skip
async def group_by_tags(context: Context, series_list: Lists, callback: str, *tags: str) -> Lists:
    """Combine the series that share the values of tags; the results have these tags alone."""
    if not tags:
        raise ArgumentError("groupByTags(): no tags specified")
    others = sorted(tag for tag in tags if tag != "name")
    shared = {series.tags.get("name", "") for series in series_list}
    common = shared.pop() if len(shared) == 1 else callback
    groups: dict[str, Lists] = {}
    for series in series_list:
        name = series.tags.get("name", "") if "name" in tags else common
        key = name + "".join(f";{tag}={series.tags.get(tag, '')}" for tag in others)
        groups.setdefault(key, []).append(series)
    results = []
    for key, found in groups.items():
        made = (await _called_back(context, callback, found)).copy()
        try:
            parsed = parse_name(key)
        except ValueError as error:
            raise ArgumentError(f"groupByTags(): {error}") from None
        results.append(
            TimeSeries(key, made.start, made.end, made.step, made.values, tags=parsed,
                       consolidation=made.consolidation, xff=made.xff, whole=made.whole)
        )  # fmt: skip
    return results


def _without_positions(context: Context, series_list: Lists, function: str, positions: tuple[int, ...]) -> Lists:
    groups: dict[str, Lists] = {}
    dropped = set(positions)
    for series in series_list:
        parts = series.name.split(".")
        key = ".".join(part for place, part in enumerate(parts) if place not in dropped)
        groups.setdefault(key, []).append(series)
    return [aggregate_all(context, found, function)[0].named(key) for key, found in groups.items()]


@render_function(
    "aggregateWithWildcards", group=_GROUP, params=(SERIES, Param("func", "aggFunc", required=True), _POSITIONS)
)
def aggregate_with_wildcards(context: Context, series_list: Lists, function: str, *positions: int) -> Lists:
    """Aggregate the series whose names are equal but for the nodes at some positions (the first is 0)."""
    return _without_positions(context, series_list, function, positions)


@render_function("averageSeriesWithWildcards", group=_GROUP, params=(SERIES, _POSITIONS), callback=True)
def average_with_wildcards(context: Context, series_list: Lists, *positions: int) -> Lists:
    """Average the series whose names are equal but for the nodes at some positions."""
    return _without_positions(context, series_list, "average", positions)


@render_function("sumSeriesWithWildcards", group=_GROUP, params=(SERIES, _POSITIONS), callback=True)
def sum_with_wildcards(context: Context, series_list: Lists, *positions: int) -> Lists:
    """Add up the series whose names are equal but for the nodes at some positions."""
    return _without_positions(context, series_list, "sum", positions)


@render_function("multiplySeriesWithWildcards", group=_GROUP, params=(SERIES, _POSITIONS), callback=True)
def multiply_with_wildcards(context: Context, series_list: Lists, *positions: int) -> Lists:
    """Multiply the series whose names are equal but for the nodes at some positions."""
    return _without_positions(context, series_list, "multiply", positions)


@render_function("mapSeries", "map", group=_GROUP, params=(SERIES, _MAP_NODES))
def map_series(context: Context, series_list: Lists, *nodes: int | str) -> list[Lists]:  # noqa: ARG001
    """Put series that share nodes of their names, or tags, into lists of their own, for `reduceSeries` to work on."""
    return list(grouped(series_list, nodes).values())


@render_function(
    "reduceSeries", "reduce", group=_GROUP,
    params=(
        Param("seriesLists", "seriesLists", required=True),
        Param("reduceFunction", "string", required=True),
        Param("reduceNode", "node", required=True),
        Param("reduceMatchers", "string", required=True, multiple=True),
    ),
)  # fmt: skip
async def reduce_series(
    context: Context, lists: list[Lists], callback: str, node: int, *matchers: str
) -> Lists:
    """Call a function on the series of each list whose node equals the first matcher, the second, and so on."""
    function = context.request.functions.get(callback)
    if function is None:
        raise ArgumentError(f'Function "{callback}" not found')
    slots: dict[str, list[TimeSeries | None]] = {}
    for one in lists:
        if not isinstance(one, list):
            raise ArgumentError("reduceSeries() takes what mapSeries() gives")
        for series in one:
            parts = series.name.split(".")
            if not -len(parts) <= node < len(parts):
                raise ArgumentError(f"reduceSeries(): {series.name} has no node {node}")
            if parts[node] in matchers:
                key = f"{'.'.join(parts[:node])}.reduce.{callback}"
                found = slots.setdefault(key, [None] * len(matchers))
                found[matchers.index(parts[node])] = series
    results = []
    for key, found in slots.items():
        missing = [matcher for matcher, series in zip(matchers, found, strict=True) if series is None]
        if missing:
            raise ArgumentError(f"reduceSeries(): {key} has no series for {', '.join(missing)}")
        context.request.called()
        made = function.call(context, *bind(callback, function, [[series] for series in found], {}))
        made = await made if inspect.isawaitable(made) else made
        if not made:
            raise ArgumentError(f"reduceSeries(): {callback} gives nothing for {key}")
        results.append(made[0].named(key))
    return results


@render_function(
    "applyByNode", group=_GROUP,
    params=(
        SERIES, Param("nodeNum", "node", required=True), Param("templateFunction", "string", required=True),
        Param("newName", "string"),
    ),
)  # fmt: skip
async def apply_by_node(
    context: Context, series_list: Lists, node: int, template: str, new_name: str | None = None
) -> Lists:
    """Evaluate a template for each distinct beginning of the names, up to a node; `%` in it stands for that."""
    prefixes = set()
    for series in series_list:
        parts = series.name.split(".")
        if node >= len(parts):
            raise ArgumentError(f"{series.name} do not contains {node} nodes")
        prefixes.add(".".join(parts[: node + 1]))
    results = []
    for prefix in sorted(prefixes):
        for made in await context.query(template.replace("%", prefix)):
            name = new_name.replace("%", prefix) if new_name else made.name
            other = made.named(name, prefix)
            other.start, other.end = series_list[-1].start, series_list[-1].end
            results.append(other)
    return results
