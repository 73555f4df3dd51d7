"""Functions that change what series are called."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.naming import key_of, scaled_unit, shown_number
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.reducing import AGGREGATIONS, reduce_each, reducer, whole_stays
from cadtwist.query.search import Search, compiled
from cadtwist.query.timeseries import TimeSeries

__all__: list[str] = []

_GROUP = "Alias"
_POSITIONS = Param("pos", "integer", multiple=True)
_FROM = Param("start", "node", default=0, takes="truncated")
_TO = Param("stop", "node", default=0, takes="truncated")
_LEGENDS = (
    *sorted((*AGGREGATIONS, *(f"{name}Series" for name in AGGREGATIONS), "si", "binary")),
)  # fmt: skip
_MOST_NAME = 4096
_REST = re.compile(r",.*$")
Lists = list[TimeSeries]


@render_function("alias", group=_GROUP, params=(SERIES, Param("newName", "string", required=True)))
def alias(context: Context, series_list: Lists, new_name: str) -> Lists:  # noqa: ARG001
    """Give series another name."""
    return [series.named(new_name) for series in series_list]


@render_function(
    "aliasByNode", group=_GROUP, params=(SERIES, Param("nodes", "nodeOrTag", required=True, multiple=True))
)
def alias_by_node(context: Context, series_list: Lists, *nodes: int | str) -> Lists:  # noqa: ARG001
    """Name series by nodes of their names, counted from 0, from the end below zero, or by tags."""
    return [series.named(key_of(series, nodes)) for series in series_list]


@render_function("aliasByTags", group=_GROUP, params=(SERIES, Param("tags", "nodeOrTag", required=True, multiple=True)))
def alias_by_tags(context: Context, series_list: Lists, *tags: int | str) -> Lists:  # noqa: ARG001
    """Name series by tags, or by nodes of their names."""
    return [series.named(key_of(series, tags)) for series in series_list]


def _part(name: str, start: int, stop: int) -> str:
    left, right = name.rfind("(") + 1, name.find(")")
    parts = name[left : right if right >= 0 else len(name)].split(".")
    return _REST.sub("", ".".join(parts[start : stop or None]))


@render_function("aliasByMetric", group=_GROUP, params=(SERIES,))
def alias_by_metric(context: Context, series_list: Lists) -> Lists:  # noqa: ARG001
    """Name series by the last node of their names."""
    return [series.named(_part(series.name, -1, 0)) for series in series_list]


@render_function(
    "substr", group="Special", params=(SERIES, _FROM, _TO)
)
def substr(context: Context, series_list: Lists, start: int = 0, stop: int = 0) -> Lists:  # noqa: ARG001
    """Name series by some nodes of their names: from `start` on, before `stop`; 0 is the end."""
    return [series.named(_part(series.name, start, stop)) for series in series_list]


@render_function(
    "aliasSub", group=_GROUP,
    params=(SERIES, Param("search", "string", required=True), Param("replace", "string", required=True)),
)  # fmt: skip
def alias_sub(context: Context, series_list: Lists, search: str, replace: str) -> Lists:  # noqa: ARG001
    r"""Replace what a regular expression finds in the names; `\1` stands for its first group."""
    pattern = compiled(search)
    return [series.named(_replaced(pattern, replace, series.name)) for series in series_list]


def _replaced(pattern: Search, replace: str, name: str) -> str:
    made = pattern.replaced(name, replace)
    if len(made) > len(name) + _MOST_NAME:
        raise ArgumentError(f"A replacement makes a name longer by more than {_MOST_NAME} characters")
    return made


@render_function(
    "aliasQuery", group=_GROUP,
    params=(
        SERIES, Param("search", "string", required=True), Param("replace", "string", required=True),
        Param("newName", "string", required=True),
    ),
)  # fmt: skip
async def alias_query(context: Context, series_list: Lists, search: str, replace: str, new_name: str) -> Lists:
    """Name series by the last value of another series, whose name is theirs with a text replaced.

    `newName` shows it where it has a format such as `%d`.
    """
    pattern = compiled(search)
    results = []
    for series in series_list:
        query = _replaced(pattern, replace, series.name)
        found = await context.query(query)
        if not found:
            raise ArgumentError(f"No series found with query: {query}")
        (value,) = reduce_each(reducer("last"), [found[0].values]).tolist()
        if value != value:
            raise ArgumentError(f"Cannot get last value of series: {query}")
        results.append(series.named(_formatted(new_name, value)))
    return results


def _formatted(template: str, value: float) -> str:
    if re.search(r"%[^%a-zA-Z]*\d{4}", template) or "*" in template:
        raise ArgumentError(f"Invalid name {template!r}: too wide")
    try:
        return template % value
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentError(f"Invalid name {template!r}: {error}") from None


@render_function(
    "legendValue", group=_GROUP, params=(SERIES, Param("valuesTypes", "string", multiple=True, options=_LEGENDS))
)
def legend_value(context: Context, series_list: Lists, *kinds: str) -> Lists:  # noqa: ARG001
    """Append values of the series to their names, such as `last` or `avg`; `si` or `binary` at the end shows units."""
    system = kinds[-1] if kinds and kinds[-1] in ("si", "binary") else ""
    names = [series.name for series in series_list]
    for kind in kinds[:-1] if system else kinds:
        if kind not in AGGREGATIONS:
            names = [f"{name:<20}{kind:<5}{'(?)':<10}" if system else f"{name} ({kind}: (?))" for name in names]
            continue
        values = reduce_each(reducer(kind), [series.values for series in series_list]).tolist()
        for row, (series, value) in enumerate(zip(series_list, values, strict=True)):
            if system:
                shown = "None" if value != value else "{:.2f}{}".format(*scaled_unit(value, system))
                names[row] = f"{names[row]:<20}{kind:<5}{shown:<10}"
            else:
                shown = shown_number(value, whole_stays(kind, series.whole))
                names[row] = f"{names[row]} ({kind}: {shown})"
    return [series.named(name) for series, name in zip(series_list, names, strict=True)]


def _cased(series_list: Lists, positions: tuple[int, ...], case: Callable[[str], str]) -> Lists:
    results = []
    for series in series_list:
        letters = list(series.name)
        for at in positions or range(len(letters)):
            if -len(letters) <= at < len(letters):
                letters[at] = case(letters[at])
        results.append(series.named("".join(letters)))
    return results


@render_function("upper", group=_GROUP, params=(SERIES, _POSITIONS))
def upper(context: Context, series_list: Lists, *positions: int) -> Lists:  # noqa: ARG001
    """Write names in upper case, or only their letters at some positions."""
    return _cased(series_list, positions, str.upper)


@render_function("lower", group=_GROUP, params=(SERIES, _POSITIONS))
def lower(context: Context, series_list: Lists, *positions: int) -> Lists:  # noqa: ARG001
    """Write names in lower case, or only their letters at some positions."""
    return _cased(series_list, positions, str.lower)


@render_function(
    "cactiStyle", group="Special",
    params=(SERIES, Param("system", "string", options=("binary", "si")), Param("units", "string")),
)  # fmt: skip
def cacti_style(context: Context, series_list: Lists, system: str | None = None, units: str | None = None) -> Lists:  # noqa: ARG001
    """Append last, largest and smallest value to the names, in columns."""
    columns = [[series.name for series in series_list]]
    widths = [max(map(len, columns[0]), default=0)]
    for function in ("last", "max", "min"):
        values = reduce_each(reducer(function), [series.values for series in series_list]).tolist()
        columns.append([_cacti_number(value, system, units) for value in values])
        whole = [float(int(value)) if math.isfinite(value) and int(value) else 3.0 for value in values]
        widths.append(max((len(_cacti_number(value, system, units)) for value in whole), default=0) + 3)
    return [
        series.named("{:<{}} Current:{:<{}} Max:{:<{}} Min:{:<{}} ".format(*_padded(row, widths)))
        for series, *row in zip(series_list, *columns, strict=True)
    ]


def _padded(row: list[str], widths: list[int]) -> list[object]:
    return [part for pair in zip(row, widths, strict=True) for part in pair]


def _cacti_number(value: float, system: str | None, units: str | None) -> str:
    if value != value:
        return "nan"
    if not system:
        return f"{value:.2f} {units}" if units else f"{value:.2f}"
    scaled, prefix = scaled_unit(value, system)
    return f"{scaled:.2f} {prefix}{units}" if units else f"{scaled:.2f}{prefix}"
