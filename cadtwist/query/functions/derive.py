"""Functions that compare or add up the values of a series along time."""

from __future__ import annotations

import numpy as np

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.gaps import previous_known, rounded
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.functions.summarize import bucketed
from cadtwist.query.functions.transform import mapped
from cadtwist.query.timeseries import Floats, TimeSeries
from cadtwist.query.timespec import parse_offset

__all__ = ["increases"]

_GROUP = "Transform"
Lists = list[TimeSeries]
_LIMITS = (Param("maxValue", "float"), Param("minValue", "float"))


def _before(values: Floats) -> Floats:
    """Return for each slot the value of the slot before, NaN for the first."""
    return np.concatenate(([np.nan], values[:-1])) if len(values) else values


@render_function("derivative", group=_GROUP, params=(SERIES,))
def derivative(context: Context, series_list: Lists) -> Lists:
    """Tell by how much each value differs from that of the slot before."""
    return mapped(context, series_list, "derivative(%s)", lambda values: values - _before(values), None, derivative=1)


def increases(values: Floats, most: float | None, least: float | None) -> Floats:
    """Return by how much a counter grew in each slot.

    Values above `most` or below `least` count for nothing.  Where the counter fell, it wrapped around at `most`, or
    began anew at `least`; with neither, nothing is known.
    """
    valid = ~np.isnan(values)
    if most is not None:
        valid &= ~(values > most)
    if least is not None:
        valid &= ~(values < least)
    counted = np.where(valid, values, np.nan)
    before = _before(counted)
    grown = counted - before
    if most is not None:
        wrapped = most + 1 + counted - before - (least or 0)
    elif least is not None:
        wrapped = counted - least
    else:
        wrapped = np.full(len(values), np.nan)
    return np.where(np.isnan(grown), np.nan, np.where(counted >= before, grown, wrapped))


@render_function("nonNegativeDerivative", group=_GROUP, params=(SERIES, *_LIMITS))
def non_negative_derivative(
    context: Context, series_list: Lists, most: float | None = None, least: float | None = None
) -> Lists:
    """Tell by how much a counter grew since the slot before; nothing where it fell, unless it wraps at `maxValue`."""
    return mapped(
        context, series_list, "nonNegativeDerivative(%s)", lambda values: increases(values, most, least),
        None if most is None and least is None else False, nonNegativeDerivative=1,
    )  # fmt: skip


@render_function("perSecond", group=_GROUP, params=(SERIES, *_LIMITS))
def per_second(
    context: Context, series_list: Lists, most: float | None = None, least: float | None = None
) -> Lists:
    """Tell by how much a counter grew per second since the slot before; six decimals."""
    results = []
    for series in series_list:
        context.request.spend(len(series))
        with np.errstate(all="ignore"):
            values = rounded(increases(series.values, most, least) / max(series.step, 1), 6)
        results.append(series.made(f"perSecond({series.name})", values, perSecond=1))
    return results


@render_function("integral", group=_GROUP, params=(SERIES,))
def integral(context: Context, series_list: Lists) -> Lists:
    """Add up the values from the start; gaps stay gaps and add nothing."""

    def work(values: Floats) -> Floats:
        unknown = np.isnan(values)
        return np.where(unknown, np.nan, np.cumsum(np.where(unknown, 0.0, values)))

    return mapped(context, series_list, "integral(%s)", work, integral=1)


@render_function("integralByInterval", group=_GROUP, params=(SERIES, Param("intervalUnit", "string", required=True)))
def integral_by_interval(context: Context, series_list: Lists, unit: str) -> Lists:
    """Add up the values from the start of each interval, counted from the start of the request."""
    interval = abs(parse_offset(unit))
    if not interval:
        raise ArgumentError("integralByInterval(): the interval is zero")
    results = []
    for series in series_list:
        context.request.spend(len(series))
        buckets = (series.start + series.step * np.arange(len(series)) - context.start) // interval
        values = np.where(np.isnan(series.values), 0.0, series.values)
        edges = np.flatnonzero(np.diff(buckets)) + 1
        pieces = [np.cumsum(piece) for piece in np.split(values, edges)]
        name = f"integralByInterval({series.name},'{unit}')"
        results.append(series.made(name, np.concatenate(pieces), integralByInterval=unit))
    return results


@render_function("delay", group=_GROUP, params=(SERIES, Param("steps", "integer", required=True)))
def delay(context: Context, series_list: Lists, steps: int) -> Lists:
    """Shift the values by a number of slots to the right, negative to the left; by zero, nothing is left of them."""

    def work(values: Floats) -> Floats:
        empty = np.full(min(abs(steps), len(values)), np.nan)
        if steps < 0:
            return np.concatenate((values[-steps:], empty))
        return np.concatenate((empty, values[:-steps])) if steps else values[:0]

    return mapped(context, series_list, f"delay(%s,{steps})", work, None, delay=steps)


@render_function("changed", group="Special", params=(SERIES,))
def changed(context: Context, series_list: Lists) -> Lists:
    """Tell by 1 where a value differs from the latest known one before it, by 0 everywhere else."""

    def work(values: Floats) -> Floats:
        before = previous_known(values)
        return np.where((values != before) & ~np.isnan(values) & ~np.isnan(before), 1.0, 0.0)

    return mapped(context, series_list, "changed(%s)", work, True)


@render_function("compressPeriodicGaps", group=_GROUP, params=(SERIES,))
def compress_periodic_gaps(context: Context, series_list: Lists) -> Lists:
    """Give a series that is sent less often than it is kept the step at which it is sent.

    The guess is the distance of the first two values that are not zero; it holds when a third one follows at that
    distance with gaps around it.  A series of another shape stays as it is.
    """
    results = []
    for series in series_list:
        context.request.spend(len(series))
        results.append(_compressed(context, series))
    return results


def _compressed(context: Context, series: TimeSeries) -> TimeSeries:
    name = f"compressPeriodicGaps({series.name})"
    known = np.flatnonzero(~np.isnan(series.values) & (series.values != 0))
    if len(known) < 2:
        return series.made(name, series.values, whole=series.whole)
    first, second = int(known[0]), int(known[1])
    period, third = second - first, 2 * second - first
    around = series.values[third - 1 : third + 2]
    if period <= 1 or len(around) < 3 or third not in known or not np.isnan(around[[0, 2]]).all():
        return series.made(name, series.values, whole=series.whole)
    start, interval = series.start + first * series.step, series.step * period
    values = bucketed(context, series, "last", interval, start, series.end)
    end = start + interval * (len(values) - 1)
    return series.made(name, values, start=start, end=end, step=interval, whole=series.whole)
