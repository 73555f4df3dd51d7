"""Functions that make one series of several."""

from __future__ import annotations

from functools import reduce as fold

import numpy as np

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.naming import grouped
from cadtwist.query.functions.spec import SERIES, SERIES_LISTS, ArgumentError, Param, render_function
from cadtwist.query.reducing import percentiles, stacked
from cadtwist.query.rows import Aligned, aggregated, align, is_whole, paths_of
from cadtwist.query.timeseries import Floats, TimeSeries

__all__ = ["aggregate_all", "flat"]

_GROUP = "Combine"
_ANY_LISTS = Param("seriesLists", "seriesList", multiple=True)
_XFF = Param("xFilesFactor", "float")
Lists = list[TimeSeries]


def flat(lists: tuple[Lists, ...]) -> Lists:
    """Return the series of all lists in order."""
    return list(lists[0]) if len(lists) == 1 else [series for one in lists for series in one]


def aggregate_all(context: Context, series_list: Lists, function: str, xff: float | None = None) -> Lists:
    """Return the one series that aggregates all, nothing for none."""
    context.request.spend(max(map(len, series_list), default=0))
    return aggregated(series_list, function, context.xff if xff is None else xff)


@render_function("aggregate", group=_GROUP, params=(SERIES, Param("func", "aggFunc", required=True), _XFF))
def aggregate(context: Context, series_list: Lists, function: str, xff: float | None = None) -> Lists:
    """Combine all series by an aggregation function; at least the share `xFilesFactor` of a row must be known."""
    return aggregate_all(context, series_list, function, xff)


@render_function("averageSeries", "avg", group=_GROUP, params=(SERIES_LISTS,), callback=True)
def average_series(context: Context, *lists: Lists) -> Lists:
    """Average all series."""
    return aggregate_all(context, flat(lists), "average")


@render_function("sumSeries", "sum", group=_GROUP, params=(SERIES_LISTS,), callback=True)
def sum_series(context: Context, *lists: Lists) -> Lists:
    """Add all series up."""
    return aggregate_all(context, flat(lists), "sum") if lists else []


@render_function("diffSeries", group=_GROUP, params=(SERIES_LISTS,), callback=True)
def diff_series(context: Context, *lists: Lists) -> Lists:
    """Subtract all others from the first series that has a value."""
    return aggregate_all(context, flat(lists), "diff") if lists else []


@render_function("maxSeries", group=_GROUP, params=(SERIES_LISTS,), callback=True)
def max_series(context: Context, *lists: Lists) -> Lists:
    """Take the largest value of all series."""
    return aggregate_all(context, flat(lists), "max") if lists else []


@render_function("minSeries", group=_GROUP, params=(SERIES_LISTS,), callback=True)
def min_series(context: Context, *lists: Lists) -> Lists:
    """Take the smallest value of all series."""
    return aggregate_all(context, flat(lists), "min") if lists else []


@render_function("rangeOfSeries", group=_GROUP, params=(SERIES_LISTS,), callback=True)
def range_of_series(context: Context, *lists: Lists) -> Lists:
    """Take the distance between the largest and the smallest value of all series."""
    return aggregate_all(context, flat(lists), "rangeOf") if lists else []


@render_function("stddevSeries", group=_GROUP, params=(SERIES_LISTS,), callback=True)
def stddev_series(context: Context, *lists: Lists) -> Lists:
    """Take the population standard deviation of all series."""
    return aggregate_all(context, flat(lists), "stddev") if lists else []


@render_function("multiplySeries", group=_GROUP, params=(SERIES_LISTS,), callback=True)
def multiply_series(context: Context, *lists: Lists) -> Lists:
    """Multiply all series; nothing where one of them is unknown.  One series alone stays as it is."""
    if len(lists) == 1 and len(lists[0]) == 1:
        return lists[0]
    return aggregate_all(context, flat(lists), "multiply") if lists else []


@render_function("countSeries", group=_GROUP, params=(_ANY_LISTS,), callback=True)
def count_series(context: Context, *lists: Lists) -> Lists:
    """Tell how many series there are, whether their values are known or not."""
    if not lists:
        made = constant_line(context, 0.0, whole=True)
        return [made.named(made.name, "countSeries()")]
    series_list = flat(lists)
    if not series_list:
        return []
    aligned = align(series_list)
    values = np.full(context.sized(max(map(len, aligned.columns))), float(len(series_list)))
    name = f"countSeries({paths_of(series_list)})"
    return [_fresh(context, name, aligned, values, whole=True)]


def constant_line(context: Context, value: float, name: str | None = None, whole: bool = False) -> TimeSeries:
    """Return three points of one value: at the start, in the middle and at the end of the request."""
    step = max((context.end - context.start) // 2, 1)
    label = name if name is not None else str(int(value) if whole else value)
    values = np.full(3, value)
    return TimeSeries(
        label, context.start, context.end, step, values, expression=f"constantLine({label})", xff=context.xff,
        whole=whole,
    )  # fmt: skip


def _fresh(context: Context, name: str, aligned: Aligned, values: Floats, whole: bool = False) -> TimeSeries:
    return TimeSeries(name, aligned.start, aligned.end, aligned.step, values, xff=context.xff, whole=whole)


@render_function("powSeries", group=_GROUP, params=(Param("seriesList", "seriesList", required=True, multiple=True),),
                 callback=True)  # fmt: skip
def pow_series(context: Context, *lists: Lists) -> Lists:
    """Raise the first series to the power of the next, and so on; nothing where one is unknown."""
    series_list = flat(lists) if lists else []
    if not series_list:
        return []
    aligned = align(series_list)
    context.request.spend(max(map(len, aligned.columns)))
    with np.errstate(all="ignore"):
        values = fold(_raised, aligned.matrix())
    name = f"powSeries({','.join(series.name for series in series_list)})"
    return [_fresh(context, name, aligned, values, len(series_list) == 1 and series_list[0].whole)]


def _raised(base: Floats, exponent: Floats) -> Floats:
    result: Floats = np.power(base, exponent)
    unknown = np.isnan(base) | np.isnan(exponent)
    return np.where(unknown | (np.isinf(result) & np.isfinite(base) & np.isfinite(exponent)), np.nan, result)


@render_function(
    "percentileOfSeries", group=_GROUP,
    params=(SERIES, Param("n", "float", required=True), Param("interpolate", "boolean", default=False)),
)  # fmt: skip
def percentile_of_series(context: Context, series_list: Lists, n: float, interpolate: bool = False) -> Lists:
    """Take the n-th percentile of all series."""
    if n <= 0:
        raise ArgumentError("The requested percent is required to be greater than 0")
    if not series_list:
        return []
    aligned = align(series_list)
    context.request.spend(max(map(len, aligned.columns)))
    try:
        values = percentiles(aligned.matrix(), n, interpolate)
    except IndexError as error:
        raise ArgumentError(f"percentileOfSeries(): {error}") from None
    whole = not interpolate and all(is_whole(one, aligned.step) for one in series_list)
    return [_fresh(context, f"percentileOfSeries({series_list[0].expression},{n:g})", aligned, values, whole)]


def _quotient(context: Context, dividend: TimeSeries, divisor: TimeSeries) -> TimeSeries:
    aligned = align([dividend, divisor])
    over, under = aligned.matrix()
    context.request.spend(len(over))
    with np.errstate(all="ignore"):
        values = np.where(under == 0, np.nan, over / under)
    return _fresh(context, f"divideSeries({dividend.name},{divisor.name})", aligned, values)


@render_function(
    "divideSeries", group=_GROUP,
    params=(
        Param("dividendSeriesList", "seriesList", required=True), Param("divisorSeries", "seriesList", required=True)
    ),
)  # fmt: skip
def divide_series(context: Context, dividends: Lists, divisors: Lists) -> Lists:
    """Divide each series by the one of the second list; nothing for a divisor of zero, or where one is unknown."""
    if not divisors:
        return [
            one.named(f"divideSeries({one.name},MISSING)").made(
                f"divideSeries({one.name},MISSING)", np.full(context.sized(len(one)), np.nan)
            )
            for one in dividends
        ]
    if len(divisors) > 1:
        raise ArgumentError(
            f"divideSeries second argument must reference exactly 1 series (got {len(divisors)})"
        )
    return [_quotient(context, dividend, divisors[0]) for dividend in dividends]


@render_function(
    "divideSeriesLists", group=_GROUP,
    params=(
        Param("dividendSeriesList", "seriesList", required=True),
        Param("divisorSeriesList", "seriesList", required=True),
    ),
)  # fmt: skip
def divide_series_lists(context: Context, dividends: Lists, divisors: Lists) -> Lists:
    """Divide each series by the one at the same place of the second list."""
    if len(dividends) != len(divisors):
        raise ArgumentError("dividendSeriesList and divisorSeriesList argument must have equal length")
    return [_quotient(context, *pair) for pair in zip(dividends, divisors, strict=True)]


_PAIRED = (
    Param("seriesListFirstPos", "seriesList", required=True),
    Param("seriesListSecondPos", "seriesList", required=True),
)


def _pairwise(context: Context, first: Lists, second: Lists, function: str, xff: float | None = None) -> Lists:
    if len(first) != len(second):
        raise ArgumentError("seriesListFirstPos and seriesListSecondPos argument must have equal length")
    function = function.removesuffix("Series")
    results = []
    for one, other in zip(first, second, strict=True):
        (made,) = aggregate_all(context, [one, other], function, xff)
        name = f"{function}Series({one.name},{other.name})"
        results.append(made.named(name))
    return results


@render_function(
    "aggregateSeriesLists", group=_GROUP, params=(*_PAIRED, Param("func", "aggFunc", required=True), _XFF)
)
def aggregate_series_lists(
    context: Context, first: Lists, second: Lists, function: str, xff: float | None = None
) -> Lists:
    """Aggregate each series with the one at the same place of the second list."""
    return _pairwise(context, first, second, function, xff)


@render_function("sumSeriesLists", group=_GROUP, params=_PAIRED, callback=True)
def sum_series_lists(context: Context, first: Lists, second: Lists) -> Lists:
    """Add to each series the one at the same place of the second list."""
    return _pairwise(context, first, second, "sum")


@render_function("diffSeriesLists", group=_GROUP, params=_PAIRED, callback=True)
def diff_series_lists(context: Context, first: Lists, second: Lists) -> Lists:
    """Subtract from each series the one at the same place of the second list."""
    return _pairwise(context, first, second, "diff")


@render_function("multiplySeriesLists", group=_GROUP, params=_PAIRED, callback=True)
def multiply_series_lists(context: Context, first: Lists, second: Lists) -> Lists:
    """Multiply each series by the one at the same place of the second list."""
    return _pairwise(context, first, second, "multiply")


@render_function(
    "weightedAverage", group=_GROUP,
    params=(
        Param("seriesListAvg", "seriesList", required=True),
        Param("seriesListWeight", "seriesList", required=True),
        Param("nodes", "nodeOrTag", multiple=True),
    ),
)  # fmt: skip
def weighted_average(context: Context, averages: Lists, weights: Lists, *nodes: int | str) -> Lists:
    """Average series by the weights of a second list; pairs have the same nodes or tags."""
    if len(averages) != len(weights):
        raise ArgumentError(
            "weightedAverage must receive the same number of series for seriesListAvg and seriesListWeight but "
            f"received respectively {len(averages)} and {len(weights)}"
        )
    by_key = {key: found[-1] for key, found in grouped(averages, nodes).items()}
    weight_by_key = {key: found[-1] for key, found in grouped(weights, nodes).items()}
    products = [_product(context, one, weight_by_key[key]) for key, one in by_key.items() if key in weight_by_key]
    if not products:
        return []
    (over,) = aggregate_all(context, products, "sum")
    (under,) = aggregate_all(context, weights, "sum")
    parts = [",".join(sorted({one.expression for one in found})) for found in (averages, weights)]
    total, weight = stacked([over.values, under.values])
    values = np.where(weight == 0, np.nan, total / weight)
    name = f"weightedAverage({', '.join([*parts, ','.join(map(str, nodes))])})"
    return [TimeSeries(name, over.start, over.end, over.step, values, xff=context.xff)]


def _product(context: Context, average: TimeSeries, weight: TimeSeries) -> TimeSeries:
    """Value by value, whatever the steps are: the average has the say about time."""
    matrix = stacked([average.values, weight.values])
    context.request.spend(matrix.shape[1])
    name = f"product({average.name},{weight.name})"
    return TimeSeries(name, average.start, average.end, average.step, matrix[0] * matrix[1], xff=context.xff)
