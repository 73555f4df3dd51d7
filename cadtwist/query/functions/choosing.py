"""Functions that keep some of the series, or change their order."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cadtwist.query.functions.calculate import n_percentile_values
from cadtwist.query.functions.combine import flat
from cadtwist.query.functions.context import Context
from cadtwist.query.functions.spec import SERIES, SERIES_LISTS, ArgumentError, Param, render_function
from cadtwist.query.functions.transform import mapped
from cadtwist.query.reducing import percentiles, reduce_each, reducer, stacked
from cadtwist.query.search import compiled
from cadtwist.query.timeseries import Floats, TimeSeries

__all__: list[str] = []

_GROUP = "Filter Series"
_DATA = "Filter Data"
_SORTING = "Sorting"
_N = Param("n", "float", required=True)
_COUNT = Param("n", "integer", required=True)
_TRUNCATED = Param("n", "integer", required=True, takes="truncated")
_ONE_OR_MORE = Param("n", "integer", required=True, takes="truncated", otherwise=1)
_FUNC = Param("func", "aggFunc", default="average")
_DIGITS = re.compile(r"\d+")
Lists = list[TimeSeries]
_OPERATORS: dict[str, Callable[[Floats, float], npt.NDArray[np.bool_]]] = {
    "=": operator.eq, "!=": operator.ne, ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
}  # fmt: skip


def _measured(series_list: Lists, function: str) -> Floats:
    return reduce_each(reducer(function), [series.values for series in series_list])


def _kept(series_list: Lists, mask: npt.NDArray[np.bool_]) -> Lists:
    return [series for series, keep in zip(series_list, mask.tolist(), strict=True) if keep]


def _compared(series_list: Lists, function: str, sign: str, limit: float) -> Lists:
    """Keep series whose measure compares with the limit; what cannot be measured passes for `!=`, `<` and `<=`."""
    found = _measured(series_list, function)
    passed = np.where(np.isnan(found), sign in ("!=", "<", "<="), _OPERATORS[sign](found, limit))
    return _kept(series_list, passed)


@render_function(
    "filterSeries", group=_GROUP,
    params=(
        SERIES, Param("func", "aggFunc", required=True),
        Param("operator", "string", required=True, options=("!=", "<", "<=", "=", ">", ">=")),
        Param("threshold", "float", required=True),
    ),
)  # fmt: skip
def filter_series(context: Context, series_list: Lists, function: str, sign: str, limit: float) -> Lists:  # noqa: ARG001
    """Keep the series whose aggregate compares as wanted with a limit."""
    reducer(function)  # of two faults this one is told
    if sign not in _OPERATORS:
        raise ArgumentError(f"Unsupported operator: {sign}")
    return _compared(series_list, function, sign, limit)


@render_function("averageAbove", group=_GROUP, params=(SERIES, _N))
def average_above(context: Context, series_list: Lists, n: float) -> Lists:  # noqa: ARG001
    """Keep the series with an average above `n`."""
    return _compared(series_list, "average", ">", n)


@render_function("averageBelow", group=_GROUP, params=(SERIES, _N))
def average_below(context: Context, series_list: Lists, n: float) -> Lists:  # noqa: ARG001
    """Keep the series with an average of at most `n`."""
    return _compared(series_list, "average", "<=", n)


@render_function("currentAbove", group=_GROUP, params=(SERIES, _N))
def current_above(context: Context, series_list: Lists, n: float) -> Lists:  # noqa: ARG001
    """Keep the series whose last known value is above `n`."""
    return _compared(series_list, "last", ">", n)


@render_function("currentBelow", group=_GROUP, params=(SERIES, _N))
def current_below(context: Context, series_list: Lists, n: float) -> Lists:  # noqa: ARG001
    """Keep the series whose last known value is at most `n`."""
    return _compared(series_list, "last", "<=", n)


@render_function("maximumAbove", group=_GROUP, params=(SERIES, _N))
def maximum_above(context: Context, series_list: Lists, n: float) -> Lists:  # noqa: ARG001
    """Keep the series whose largest value is above `n`."""
    return _compared(series_list, "max", ">", n)


@render_function("maximumBelow", group=_GROUP, params=(SERIES, _N))
def maximum_below(context: Context, series_list: Lists, n: float) -> Lists:  # noqa: ARG001
    """Keep the series whose largest value is at most `n`."""
    return _compared(series_list, "max", "<=", n)


@render_function("minimumAbove", group=_GROUP, params=(SERIES, _N))
def minimum_above(context: Context, series_list: Lists, n: float) -> Lists:  # noqa: ARG001
    """Keep the series whose smallest value is above `n`."""
    return _compared(series_list, "min", ">", n)


@render_function("minimumBelow", group=_GROUP, params=(SERIES, _N))
def minimum_below(context: Context, series_list: Lists, n: float) -> Lists:  # noqa: ARG001
    """Keep the series whose smallest value is at most `n`."""
    return _compared(series_list, "min", "<=", n)


def _ranked(series_list: Lists, n: int, function: str, descending: bool) -> Lists:
    measures = _measured(series_list, function)
    keys = np.where(np.isnan(measures), -np.inf, measures)
    order = np.argsort(-keys if descending else keys, kind="stable").tolist()
    return [series_list[row] for row in order[:n]]


@render_function("highest", group=_GROUP, params=(SERIES, _ONE_OR_MORE, _FUNC))
def highest(context: Context, series_list: Lists, n: int = 1, function: str = "average") -> Lists:  # noqa: ARG001
    """Keep the `n` series with the highest aggregates, the highest first."""
    return _ranked(series_list, n, function, True)


@render_function("lowest", group=_GROUP, params=(SERIES, _ONE_OR_MORE, _FUNC))
def lowest(context: Context, series_list: Lists, n: int = 1, function: str = "average") -> Lists:  # noqa: ARG001
    """Keep the `n` series with the lowest aggregates, the lowest first."""
    return _ranked(series_list, n, function, False)


@render_function("highestAverage", group=_GROUP, params=(SERIES, _TRUNCATED))
def highest_average(context: Context, series_list: Lists, n: int) -> Lists:  # noqa: ARG001
    """Keep the `n` series with the highest averages, the highest first."""
    return _ranked(series_list, n, "average", True)


@render_function("highestCurrent", group=_GROUP, params=(SERIES, _TRUNCATED))
def highest_current(context: Context, series_list: Lists, n: int) -> Lists:  # noqa: ARG001
    """Keep the `n` series with the highest last values, the highest first."""
    return _ranked(series_list, n, "current", True)


@render_function("highestMax", group=_GROUP, params=(SERIES, _TRUNCATED))
def highest_max(context: Context, series_list: Lists, n: int) -> Lists:  # noqa: ARG001
    """Keep the `n` series with the highest maxima, the highest first."""
    return _ranked(series_list, n, "max", True)


@render_function("lowestAverage", group=_GROUP, params=(SERIES, _TRUNCATED))
def lowest_average(context: Context, series_list: Lists, n: int) -> Lists:  # noqa: ARG001
    """Keep the `n` series with the lowest averages, the lowest first."""
    return _ranked(series_list, n, "average", False)


@render_function("lowestCurrent", group=_GROUP, params=(SERIES, _TRUNCATED))
def lowest_current(context: Context, series_list: Lists, n: int) -> Lists:  # noqa: ARG001
    """Keep the `n` series with the lowest last values, the lowest first."""
    return _ranked(series_list, n, "current", False)


@render_function("limit", group=_GROUP, params=(SERIES, _COUNT))
def limit(context: Context, series_list: Lists, n: int) -> Lists:  # noqa: ARG001
    """Keep the first `n` series; all but the last ones for a number below zero."""
    return series_list[:n]


@render_function("mostDeviant", group=_GROUP, params=(SERIES, _COUNT))
def most_deviant(context: Context, series_list: Lists, n: int) -> Lists:  # noqa: ARG001
    """Keep the `n` series with the largest variance, the largest first."""
    deviations = _measured(series_list, "stddev")
    known = _kept(series_list, ~np.isnan(deviations))
    order = np.argsort(-deviations[~np.isnan(deviations)], kind="stable").tolist()
    return [known[row] for row in order[:n]]


@render_function("removeEmptySeries", group=_GROUP, params=(SERIES, Param("xFilesFactor", "float")))
def remove_empty_series(context: Context, series_list: Lists, xff: float | None = None) -> Lists:  # noqa: ARG001
    """Keep the series with at least one known value, and at least the share `xFilesFactor` of them known."""
    least = xff or 0.0
    known = _measured(series_list, "count")
    lengths = np.array([max(len(series), 1) for series in series_list], np.float64)
    return _kept(series_list, (known > 0) & (known / lengths >= least))


@render_function("unique", group=_GROUP, params=(SERIES_LISTS,))
def unique(context: Context, *lists: Lists) -> Lists:  # noqa: ARG001
    """Keep the first of series with equal names."""
    found: dict[str, TimeSeries] = {}
    for series in flat(lists) if lists else []:
        found.setdefault(series.name, series)
    return list(found.values())


@render_function("grep", group=_GROUP, params=(SERIES, Param("pattern", "string", required=True)))
def grep(context: Context, series_list: Lists, pattern: str) -> Lists:  # noqa: ARG001
    """Keep the series in whose name a regular expression is found."""
    search = compiled(pattern)
    return [series for series in series_list if search.found(series.name)]


@render_function("exclude", group=_GROUP, params=(SERIES, Param("pattern", "string", required=True)))
def exclude(context: Context, series_list: Lists, pattern: str) -> Lists:  # noqa: ARG001
    """Keep the series in whose name a regular expression is not found."""
    search = compiled(pattern)
    return [series for series in series_list if not search.found(series.name)]


@render_function("averageOutsidePercentile", group=_GROUP, params=(SERIES, _N))
def average_outside_percentile(context: Context, series_list: Lists, n: float) -> Lists:  # noqa: ARG001
    """Keep the series whose average is not between the (100 - n)-th and the n-th percentile of all averages."""
    averages = _measured(series_list, "average")
    if np.isnan(averages).any():
        raise ArgumentError("averageOutsidePercentile(): a series has no values")
    if not series_list:
        return []
    low, high = _edges(averages[:, None], n)
    return _kept(series_list, ~((averages > low[0]) & (averages < high[0])))


def _edges(matrix: Floats, n: float) -> tuple[Floats, Floats]:
    n = 100 - n if n < 50 else n
    try:
        return percentiles(matrix, 100 - n), percentiles(matrix, n)
    except IndexError as error:
        raise ArgumentError(str(error)) from None


@render_function("removeBetweenPercentile", group=_GROUP, params=(SERIES, _N))
def remove_between_percentile(context: Context, series_list: Lists, n: float) -> Lists:
    """Keep the series with at least one value that is not between two percentiles of all values of its time."""
    if not series_list:
        return []
    context.request.spend(sum(map(len, series_list)))
    matrix = stacked([series.values for series in series_list])
    if np.isnan(matrix).any():
        raise ArgumentError("removeBetweenPercentile(): a value is missing")
    low, high = _edges(matrix, n)
    return _kept(series_list, np.any(~((matrix > low) & (matrix < high)), axis=1))


@render_function(
    "useSeriesAbove", group=_GROUP,
    params=(
        SERIES, Param("value", "float", required=True), Param("search", "string", required=True),
        Param("replace", "string", required=True),
    ),
)  # fmt: skip
async def use_series_above(context: Context, series_list: Lists, value: float, search: str, replace: str) -> Lists:
    """Show other series in place of those whose maximum is above a value: their names with a text replaced."""
    pattern = compiled(search)
    names = [pattern.replaced(series.name, replace) for series in _compared(series_list, "max", ">", value)]
    return await context.query(f"group({','.join(names)})") if names else []


def _cut(context: Context, series_list: Lists, label: str, limits: Floats, above: bool, shown: float) -> Lists:
    results = []
    for series, edge in zip(series_list, limits.tolist(), strict=True):
        def work(values: Floats, edge: float = edge) -> Floats:
            return np.where(values > edge if above else values < edge, np.nan, values)

        tags = {"nPercentile": shown} if label.endswith("Percentile") and edge == edge else {}
        (made,) = mapped(context, [series], f"{label}(%s, {shown:g})", work, series.whole, **tags)
        results.append(made)
    return results


def _percentile_edges(series_list: Lists, n: float) -> Floats:
    """Return the n-th percentile of each series, NaN where there is none."""
    edges = []
    for series in series_list:
        try:
            edges.append(float(n_percentile_values([series], n)[0]))
        except IndexError:
            edges.append(np.nan)
    return np.array(edges, np.float64)


@render_function("removeAbovePercentile", group=_DATA, params=(SERIES, _N))
def remove_above_percentile(context: Context, series_list: Lists, n: float) -> Lists:
    """Take away the values above the n-th percentile of their series."""
    return _cut(context, series_list, "removeAbovePercentile", _percentile_edges(series_list, n), True, n)


@render_function("removeBelowPercentile", group=_DATA, params=(SERIES, _N))
def remove_below_percentile(context: Context, series_list: Lists, n: float) -> Lists:
    """Take away the values below the n-th percentile of their series."""
    return _cut(context, series_list, "removeBelowPercentile", _percentile_edges(series_list, n), False, n)


@render_function("removeAboveValue", group=_DATA, params=(SERIES, _N))
def remove_above_value(context: Context, series_list: Lists, n: float) -> Lists:
    """Take away the values above `n`."""
    return _cut(context, series_list, "removeAboveValue", np.full(len(series_list), n), True, n)


@render_function("removeBelowValue", group=_DATA, params=(SERIES, _N))
def remove_below_value(context: Context, series_list: Lists, n: float) -> Lists:
    """Take away the values below `n`."""
    return _cut(context, series_list, "removeBelowValue", np.full(len(series_list), n), False, n)


@render_function("sortBy", group=_SORTING, params=(SERIES, _FUNC, Param("reverse", "boolean", default=False)))
def sort_by(context: Context, series_list: Lists, function: str = "average", reverse: bool = False) -> Lists:  # noqa: ARG001
    """Sort series by an aggregate, the lowest first."""
    return _ranked(series_list, len(series_list), function, reverse)


@render_function("sortByMaxima", group=_SORTING, params=(SERIES,))
def sort_by_maxima(context: Context, series_list: Lists) -> Lists:  # noqa: ARG001
    """Sort series by their maximum, the highest first."""
    return _ranked(series_list, len(series_list), "max", True)


@render_function("sortByMinima", group=_SORTING, params=(SERIES,))
def sort_by_minima(context: Context, series_list: Lists) -> Lists:  # noqa: ARG001
    """Sort series by their minimum, the lowest first; series that never rise above zero are left out."""
    above = _kept(series_list, _measured(series_list, "max") > 0)
    return _ranked(above, len(above), "min", False)


@render_function("sortByTotal", group=_SORTING, params=(SERIES,))
def sort_by_total(context: Context, series_list: Lists) -> Lists:  # noqa: ARG001
    """Sort series by the sum of their values, the highest first."""
    return _ranked(series_list, len(series_list), "sum", True)


@render_function(
    "sortByName", group=_SORTING,
    params=(SERIES, Param("natural", "boolean", default=False), Param("reverse", "boolean", default=False)),
)  # fmt: skip
def sort_by_name(context: Context, series_list: Lists, natural: bool = False, reverse: bool = False) -> Lists:  # noqa: ARG001
    """Sort series by name; `natural`: by the numbers in it, too."""
    key = _natural if natural else str
    return sorted(series_list, key=lambda series: key(series.name), reverse=reverse)


def _natural(name: str) -> str:
    return _DIGITS.sub(lambda digits: digits[0].zfill(10), name)
