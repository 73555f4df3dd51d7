"""Functions that tell something about whole series, or draw a line through them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cadtwist.query.functions.combine import constant_line
from cadtwist.query.functions.context import Context
from cadtwist.query.functions.shifting import date_of
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.reducing import percentiles, reduce_each, reducer, whole_stays
from cadtwist.query.timeseries import Floats, TimeSeries, Window

__all__ = ["n_percentile_values"]

_GROUP = "Calculate"
Lists = list[TimeSeries]


def _shown(value: float) -> str:
    return "None" if math.isnan(value) else f"{value:g}"


@render_function(
    "aggregateLine", group=_GROUP,
    params=(SERIES, Param("func", "aggFunc", default="average"), Param("keepStep", "boolean", default=False)),
)  # fmt: skip
def aggregate_line(
    context: Context, series_list: Lists, function: str = "average", keep_step: bool = False
) -> Lists:
    """Draw a horizontal line at what an aggregation makes of all values of a series."""
    way = reducer(function)
    results = []
    for series, value in zip(series_list, reduce_each(way, [one.values for one in series_list]).tolist(), strict=True):
        name = f"aggregateLine({series.name}, {_shown(value)})"
        whole = whole_stays(function, series.whole)
        if keep_step:
            context.request.spend(len(series))
            results.append(series.made(name, np.full(len(series), value), whole=whole))
            continue
        label = "None" if math.isnan(value) else str(int(value)) if whole else str(value)
        line = constant_line(context, value, label, whole)
        results.append(line.named(name, name, **line.tags))
    return results


def n_percentile_values(series_list: Lists, n: float) -> Floats:
    """Return the n-th percentile of each series, NaN for one without values; IndexError beyond what there is."""
    if not n:
        raise ArgumentError("The requested percent is required to be greater than 0")
    return np.array([percentiles(series.values[:, None], n)[0] for series in series_list], np.float64)


@render_function("nPercentile", group=_GROUP, params=(SERIES, Param("n", "float", required=True)))
def n_percentile(context: Context, series_list: Lists, n: float) -> Lists:
    """Draw a horizontal line at the n-th percentile of each series."""
    results = []
    try:
        values = n_percentile_values(series_list, n).tolist()
    except IndexError as error:
        raise ArgumentError(str(error)) from None
    for series, value in zip(series_list, values, strict=True):
        if math.isnan(value):
            continue
        length = context.sized((series.end - series.start) // max(series.step, 1))
        results.append(series.made(f"nPercentile({series.name}, {n:g})", np.full(length, value), whole=series.whole,
                                   nPercentile=n))  # fmt: skip
    return results


@render_function(
    "stdev", group=_GROUP,
    params=(SERIES, Param("points", "integer", required=True), Param("windowTolerance", "float", default=0.1)),
)  # fmt: skip
def stdev(context: Context, series_list: Lists, points: int, tolerance: float = 0.1) -> Lists:
    """Take the population standard deviation of the latest values of each time.

    At least the share `windowTolerance` of them must be known.
    """
    if points < 0:
        raise ArgumentError("stdev(): points must not be below zero")
    results = []
    for series in series_list:
        context.request.spend(2 * len(series))
        values = _deviations(series.values, points, tolerance) if points else np.full(len(series), np.nan)
        results.append(series.made(f"stdev({series.name},{points})", values, stdev=points))
    return results


def _deviations(values: Floats, points: int, tolerance: float) -> Floats:
    """Running sums in the order in which values leave and enter the window: what they lose by rounding shows."""
    known = ~np.isnan(values)
    valid = np.cumsum(known)
    valid[points:] -= valid[:-points].copy()
    filled = np.where(known, values, 0.0)
    sums = _running(filled, points)
    squares = _running(filled * filled, points)
    with np.errstate(all="ignore"):
        deviations = np.sqrt(valid * squares - sums * sums) / valid
    return np.where((valid > 0) & (valid / points >= tolerance), deviations, np.nan)


def _running(values: Floats, points: int) -> Floats:
    changes = np.zeros(2 * len(values))
    changes[2 * points :: 2] = -values[:-points]
    changes[1::2] = values
    return np.cumsum(changes)[1::2]


def _source_window(context: Context, start: str | None, end: str | None) -> Window:
    return Window(
        context.start if start is None else date_of(context, start),
        context.end if end is None else date_of(context, end),
    )


def _regression_reach(context: Context, arguments: Sequence[Any]) -> Sequence[Window]:
    start, end = [*(None if text is None else str(text) for text in arguments[:2]), None, None][:2]
    return [_source_window(context, start, end)]


@render_function(
    "linearRegression", group=_GROUP, reach=_regression_reach,
    params=(SERIES, Param("startSourceAt", "date"), Param("endSourceAt", "date")),
)  # fmt: skip
async def linear_regression(
    context: Context, series_list: Lists, start_text: str | None = None, end_text: str | None = None
) -> Lists:
    """Draw the straight line that fits the values best, those of the request or those between two times."""
    start, end = _source_window(context, start_text, end_text)
    sources = await context.again(start, end)
    results = []
    for source, series in zip(sources, series_list, strict=False):
        context.request.spend(len(series))
        line = _fitted(source)
        if line is None:
            continue
        factor, constant = line
        values = constant + (series.start + np.arange(len(series), dtype=np.float64) * series.step) * factor
        name = f"linearRegression({series.name}, {start}, {end})"
        made = series.made(name, values, linearRegressions=f"{start}, {end}")
        made.consolidation = "average"
        results.append(made)
    return results


def _fitted(series: TimeSeries) -> tuple[float, float] | None:
    """Return slope per second and value at time zero of the least squares line; None for less than two points."""
    rows = np.flatnonzero(~np.isnan(series.values))
    values = series.values[rows]
    count, sum_i, sum_ii = len(rows), int(rows.sum()), int((rows * rows).sum())
    divisor = count * sum_ii - sum_i * sum_i
    if not divisor:
        return None
    sum_v, sum_iv = float(np.cumsum(values)[-1]), float(np.cumsum(rows * values)[-1])
    factor = (count * sum_iv - sum_i * sum_v) / divisor / series.step
    return factor, (sum_ii * sum_v - sum_iv * sum_i) / divisor - factor * series.start


@render_function("identity", group=_GROUP, params=(Param("name", "string", required=True),))
def identity(context: Context, name: str) -> Lists:
    """Draw the time itself: each value is its own timestamp, one a minute."""
    times = clock_times(context, 60)
    return [
        TimeSeries(name, context.start, context.end, 60, times.astype(np.float64), expression=f'identity("{name}")',
                   xff=context.xff, whole=True)
    ]  # fmt: skip


def clock_times(context: Context, step: int) -> Any:
    """Return the times of a new series from the request's start on, before its end."""
    if step <= 0:
        raise ArgumentError(f"The step {step} is not above zero")
    return context.start + step * np.arange(context.sized(-(-(context.end - context.start) // step)))
