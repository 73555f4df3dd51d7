"""Functions that make series of nothing, and those about consolidation."""

from __future__ import annotations

import zlib

import numpy as np

from cadtwist.query.consolidate import CONSOLIDATIONS
from cadtwist.query.functions.calculate import clock_times
from cadtwist.query.functions.combine import constant_line
from cadtwist.query.functions.context import Context
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.timeseries import TimeSeries

__all__: list[str] = []

_GROUP = "Special"
_TRANSFORM = "Transform"
_NAME = Param("name", "string", required=True)
_STEP = Param("step", "integer", default=60)
Lists = list[TimeSeries]


def _consolidated_by(series_list: Lists, function: str) -> Lists:
    results = []
    for series in series_list:
        name = f'consolidateBy({series.name},"{function}")'
        made = series.named(name, name, consolidateBy=function)
        made.consolidation = function
        results.append(made)
    return results


@render_function(
    "consolidateBy", group=_GROUP,
    params=(SERIES, Param("consolidationFunc", "string", required=True, options=CONSOLIDATIONS)),
)  # fmt: skip
def consolidate_by(context: Context, series_list: Lists, function: str) -> Lists:  # noqa: ARG001
    """Say how values are combined when there are more than may be shown."""
    return _consolidated_by(series_list, function)


@render_function("cumulative", group=_GROUP, params=(SERIES,))
def cumulative(context: Context, series_list: Lists) -> Lists:  # noqa: ARG001
    """Say that values are added up when there are more than may be shown."""
    return _consolidated_by(series_list, "sum")


@render_function(
    "setXFilesFactor", "xFilesFactor", group=_GROUP, params=(SERIES, Param("xFilesFactor", "float", required=True))
)
def set_x_files_factor(context: Context, series_list: Lists, xff: float) -> Lists:
    """Say which share of values must be known when values are combined, here and in the rest of the request."""
    context.keep_xff(xff)
    results = []
    for series in series_list:
        made = series.named(series.name, None, xFilesFactor=xff)
        made.xff = xff
        results.append(made)
    return results


@render_function("constantLine", group=_GROUP, params=(Param("value", "float", required=True),))
def constant_line_function(context: Context, value: float) -> Lists:
    """Draw a horizontal line at a value."""
    return [constant_line(context, value)]


@render_function("randomWalkFunction", "randomWalk", group=_GROUP, params=(_NAME, _STEP))
def random_walk(context: Context, name: str, step: int = 60) -> Lists:
    """Draw a random walk from zero, by at most 0.5 a step; the same for the same name and time."""
    length = len(clock_times(context, step))
    generator = np.random.default_rng([zlib.crc32(name.encode("utf-8", "replace")), abs(context.start)])
    values = np.concatenate(([0.0], np.cumsum(generator.random(max(length - 1, 0)) - 0.5)))[:length]
    return [TimeSeries(name, context.start, context.end, step, values, xff=context.xff)]


@render_function("timeFunction", "time", group=_TRANSFORM, params=(_NAME, _STEP))
def time_function(context: Context, name: str, step: int = 60) -> Lists:
    """Draw the time itself: each value is its own timestamp."""
    times = clock_times(context, step).astype(np.float64)
    return [TimeSeries(name, context.start, context.end, step, times, xff=context.xff)]


@render_function(
    "sinFunction", "sin", group=_TRANSFORM,
    params=(_NAME, Param("amplitude", "integer", default=1, takes="number"), _STEP),
)  # fmt: skip
def sin_function(context: Context, name: str, amplitude: float = 1, step: int = 60) -> Lists:
    """Draw the sine of the time in seconds, multiplied by `amplitude`."""
    values = np.sin(clock_times(context, step).astype(np.float64)) * amplitude
    return [TimeSeries(name, context.start, context.end, step, values, xff=context.xff)]


@render_function(
    "fallbackSeries", group=_GROUP, params=(SERIES, Param("fallback", "seriesList", required=True))
)
def fallback_series(context: Context, series_list: Lists, fallback: Lists) -> Lists:  # noqa: ARG001
    """Show other series where there are none."""
    return series_list or fallback


@render_function("events", group=_GROUP, params=(Param("tags", "string", required=True, multiple=True),))
async def events(context: Context, *tags: str) -> Lists:
    """Count the events of each second that have all tags, those that no event has left aside; `*` means every event."""
    length = context.sized(context.end - context.start)
    wanted = [] if tags == ("*",) else list(tags)
    times = await context.request.events(wanted, context.start, context.end) if tags else []
    rows = np.array([int(time) - context.start for time in times], np.int64)
    counts = np.bincount(rows[(rows >= 0) & (rows < length)], minlength=length).astype(np.float64)
    name = 'events("{}")'.format('", "'.join(tags))
    values = np.where(counts > 0, counts, np.nan)
    return [TimeSeries(name, context.start, context.end, 1, values, consolidation="sum", xff=context.xff, whole=True)]


@render_function("seriesByTag", group=_GROUP, params=(Param("tagExpressions", "string", required=True, multiple=True),))
def series_by_tag(context: Context, *expressions: str) -> Lists:  # noqa: ARG001
    """Return the series whose tags match all expressions: `tag=value`, `tag!=value`, `tag=~regex`, `tag!=~regex`."""
    raise ArgumentError("seriesByTag() takes expressions in quotes and stands for the series that they match")
