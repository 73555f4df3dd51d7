"""Functions that bring a series to another step: summarize, smartSummarize and hitcount."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.reducing import reducer, whole_stays
from cadtwist.query.timeseries import Floats, TimeSeries, Window
from cadtwist.query.timespec import parse_offset

__all__ = ["bucketed", "floored"]

_GROUP = "Transform"
_INTERVALS = ("10min", "1h", "1d")
_MOST_CELLS = 4_000_000
_UNITS = ("seconds", "minutes", "hours", "days", "weeks", "months", "years")
_ALIGNMENTS = (False, None, True, "days", "hours", "minutes", "months", "seconds", "weeks", "years")
Lists = list[TimeSeries]


def _interval(text: str) -> int:
    """Return the seconds of an interval; ArgumentError unless they are above zero."""
    seconds = parse_offset(text)
    if seconds <= 0:
        raise ArgumentError(f"The interval {text!r} is not above zero")
    return seconds


def bucketed(
    context: Context, series: TimeSeries, function: str, interval: int, start: int, end: int
) -> Floats:
    """Return one value for each bucket [start + k * interval, ...) that begins before `end`.

    Known where at least one value in the bucket, and the share `xff` of what it has room for, is.  Points before the
    first bucket are left out, but the latest of them where none lies on its beginning.
    """
    count = context.sized(-(-(end - start) // interval))
    way = reducer(function)
    if not count:
        return np.zeros(0)
    step = max(series.step, 1)
    column = series.values[: max(-(-(series.end - series.start) // step), 0)]
    times = series.start + step * np.arange(len(column))
    edges = start + interval * np.arange(count + 1)
    bounds = np.searchsorted(times, edges, side="left")
    lows, highs = bounds[:-1].copy(), bounds[1:]
    begun = bounds[0]
    if begun and highs[0] > 0 and not (begun < len(times) and times[begun] == start):
        lows[0] = begun - 1
    lengths = highs - lows
    known = np.concatenate(([0], np.cumsum(~np.isnan(column))))
    inside = known[highs] - known[bounds[:-1]]
    values = _reduced(column, lows, lengths, way)
    room = interval / step
    return np.where((inside > 0) & (inside / room >= series.xff), values, np.nan)


def _reduced(values: Floats, lows: Any, lengths: Any, way: Any) -> Floats:
    """Return `values[low : low + length]`, reduced, for each pair."""
    most = int(lengths.max(initial=0))
    results = np.full(len(lows), np.nan)
    if not most:
        return results
    rows = np.arange(most)[:, None]
    at_once = max(_MOST_CELLS // most, 1)
    for first in range(0, len(lows), at_once):
        low, length = lows[first : first + at_once], lengths[first : first + at_once]
        at = np.minimum(low[None, :] + rows, len(values) - 1)
        cells = np.where(rows < length[None, :], values[at], np.nan)
        with np.errstate(all="ignore"):
            results[first : first + at_once] = way(cells, length)
    return results


@render_function(
    "summarize", group=_GROUP,
    params=(
        SERIES, Param("intervalString", "interval", required=True, suggestions=_INTERVALS),
        Param("func", "aggFunc", default="sum"), Param("alignToFrom", "boolean", default=False),
    ),
)  # fmt: skip
def summarize(
    context: Context, series_list: Lists, text: str, function: str = "sum", align_to_from: bool = False
) -> Lists:
    """Combine the values of each interval; intervals lie at multiples of their length, or begin at `from`."""
    interval = _interval(text)
    results = []
    for series in series_list:
        if align_to_from:
            start = series.start
            end = start + -(-(series.end - start) // interval) * interval
            name = f'summarize({series.name}, "{text}", "{function}", true)'
        else:
            start = series.start - series.start % interval
            end = series.end - series.end % interval + interval
            name = f'summarize({series.name}, "{text}", "{function}")'
        values = bucketed(context, series, function, interval, start, end)
        whole = whole_stays(function, series.whole)
        results.append(series.made(name, values, start=start, end=end, step=interval, whole=whole,
                                   summarize=text, summarizeFunction=function))  # fmt: skip
    return results


def floored(moment: int, unit: str, context: Context) -> int:
    """Return the beginning of the unit (`hours`, `days`, `weeks3` ...) that a time lies in; ArgumentError."""
    local = datetime.fromtimestamp(moment, context.request.zone)
    name, weekday = unit, 1
    if unit[:-1] == "weeks" and unit[-1:].isdigit():
        name, weekday = "weeks", int(unit[-1])
    kind = _unit_of(name)
    if not 1 <= weekday <= 7:
        raise ArgumentError(f"Invalid unit: {unit}")
    back = (local.isoweekday() - weekday) % 7 if kind == "weeks" else 0
    fields: dict[str, int] = {"microsecond": 0}
    for field, name in (("second", "seconds"), ("minute", "minutes"), ("hour", "hours")):
        if _UNITS.index(kind) > _UNITS.index(name):
            fields[field] = 0
    if kind in ("months", "years"):
        fields["day"] = 1
    if kind == "years":
        fields["month"] = 1
    return int((local.replace(**fields) - timedelta(days=back)).timestamp())  # type: ignore[arg-type]


def _unit_of(text: str) -> str:
    for prefix, unit in (("s", "seconds"), ("min", "minutes"), ("h", "hours"), ("d", "days"), ("w", "weeks"),
                         ("mon", "months"), ("y", "years")):  # fmt: skip
        if text.startswith(prefix):
            return unit
    raise ArgumentError(f"Invalid offset unit '{text}'")


def _is_unit(align_to: object) -> bool:
    return isinstance(align_to, str) and align_to.lower() not in ("", "true", "false", "none")


def _smart_reach(context: Context, arguments: Sequence[Any]) -> Sequence[Window]:
    align_to = str(arguments[2]) if len(arguments) > 2 else ""
    return [Window(floored(context.start, align_to, context), context.end)] if _is_unit(align_to) else []


@render_function(
    "smartSummarize", group=_GROUP, reach=_smart_reach,
    params=(
        SERIES, Param("intervalString", "interval", required=True, suggestions=_INTERVALS),
        Param("func", "aggFunc", default="sum"), Param("alignTo", "string", options=_ALIGNMENTS),
    ),
)  # fmt: skip
async def smart_summarize(
    context: Context, series_list: Lists, text: str, function: str = "sum", align_to: str | None = None
) -> Lists:
    """Combine the values of each interval, from the first value on, or from the beginning of a unit of time."""
    interval = _interval(text)
    if align_to is not None and _is_unit(align_to):
        series_list = await context.again(floored(context.start, align_to, context), context.end)
    results = []
    for series in series_list:
        count = -(-(series.end - series.start) // interval)
        values = bucketed(context, series, function, interval, series.start, series.end)
        name = f'smartSummarize({series.name}, "{text}", "{function}")'
        whole = whole_stays(function, series.whole)
        results.append(series.made(name, values, end=series.start + count * interval, step=interval, whole=whole,
                                   smartSummarize=text, smartSummarizeFunction=function))  # fmt: skip
    return results


def _hit_start(context: Context, interval: int) -> int:
    for unit, seconds in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if interval >= seconds:
            return floored(context.start, unit, context)
    return context.start


def _hit_reach(context: Context, arguments: Sequence[Any]) -> Sequence[Window]:
    if len(arguments) < 2 or arguments[1] in (False, 0, None):
        return []
    return [Window(_hit_start(context, _interval(arguments[0])), context.end)]


@render_function(
    "hitcount", group=_GROUP, reach=_hit_reach,
    params=(
        SERIES, Param("intervalString", "interval", required=True, suggestions=_INTERVALS),
        Param("alignToInterval", "boolean", default=False),
    ),
)  # fmt: skip
async def hitcount(context: Context, series_list: Lists, text: str, align_to_interval: bool = False) -> Lists:
    """Tell how many hits each interval had, of values that are hits per second."""
    interval = _interval(text)
    if align_to_interval:
        series_list = await context.again(_hit_start(context, interval), context.end)
    results = []
    for series in series_list:
        end = series.end
        suffix = ""
        if align_to_interval:
            end = series.start + ((end - series.start) // interval + 1) * interval
            suffix = ", true"
        count = context.sized(-(-(end - series.start) // interval))
        start = end - count * interval
        values = _hits(context, series, start, interval, count)
        name = f'hitcount({series.name}, "{text}"{suffix})'
        results.append(series.made(name, values, start=start, end=end, step=interval, hitcount=text))
    return results


def _hits(context: Context, series: TimeSeries, start: int, interval: int, count: int) -> Floats:
    """Share the seconds of each value out among the buckets that they overlap."""
    rows = np.flatnonzero(~np.isnan(series.values))
    if not len(rows) or not count:
        return np.full(count, np.nan)
    begin = series.start + rows * series.step - start
    end = np.minimum(begin + series.step, count * interval)
    begin = np.maximum(begin, 0)
    inside = end > begin
    rows, begin, end = rows[inside], begin[inside], end[inside]
    first, last = begin // interval, (end - 1) // interval
    parts = last - first + 1
    context.request.spend(int(parts.sum()))
    owner = np.repeat(np.arange(len(rows)), parts)
    bucket = np.repeat(first - np.cumsum(parts) + parts, parts) + np.arange(len(owner))
    seconds = np.minimum(end[owner], (bucket + 1) * interval) - np.maximum(begin[owner], bucket * interval)
    amounts = np.bincount(bucket, series.values[rows][owner] * seconds, count)
    return np.where(np.bincount(bucket, minlength=count) > 0, amounts, np.nan)
