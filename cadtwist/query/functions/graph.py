"""Functions about how series are drawn: they set options for whoever draws, some change names or values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cadtwist.query.functions.combine import constant_line
from cadtwist.query.functions.context import Context
from cadtwist.query.functions.shifting import date_of
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.reducing import stacked as padded
from cadtwist.query.timeseries import TimeSeries

__all__ = ["between"]

_GROUP = "Graph"
_DEFAULT_STACK = "__DEFAULT__"
_MOST_STACKS = 1000
Lists = list[TimeSeries]


@render_function("alpha", group=_GROUP, params=(SERIES, Param("alpha", "float", required=True)))
def alpha(context: Context, series_list: Lists, value: float) -> Lists:  # noqa: ARG001
    """Draw series with this opacity, 0 to 1."""
    return [series.drawn(alpha=value) for series in series_list]


@render_function("color", group=_GROUP, params=(SERIES, Param("theColor", "string", required=True)))
def color(context: Context, series_list: Lists, value: str) -> Lists:  # noqa: ARG001
    """Draw series in this colour: a name, or hexadecimal digits."""
    return [series.drawn(color=value) for series in series_list]


@render_function("lineWidth", group=_GROUP, params=(SERIES, Param("width", "float", required=True)))
def line_width(context: Context, series_list: Lists, width: float) -> Lists:  # noqa: ARG001
    """Draw series with lines of this width."""
    return [series.drawn(lineWidth=width) for series in series_list]


@render_function("dashed", group=_GROUP, params=(SERIES, Param("dashLength", "integer", default=5, takes="number")))
def dashed(context: Context, series_list: Lists, length: float = 5) -> Lists:  # noqa: ARG001
    """Draw series dashed, with dashes of this length."""
    return [
        series.named(f"dashed({series.name}, {length:g})", None, dashed=length).drawn(dashed=length)
        for series in series_list
    ]


@render_function("drawAsInfinite", group=_GROUP, params=(SERIES,))
def draw_as_infinite(context: Context, series_list: Lists) -> Lists:  # noqa: ARG001
    """Draw each value above zero as a line from bottom to top."""
    return [
        series.named(f"drawAsInfinite({series.name})", None, drawAsInfinite=1).drawn(drawAsInfinite=True)
        for series in series_list
    ]


@render_function("secondYAxis", group=_GROUP, params=(SERIES,))
def second_y_axis(context: Context, series_list: Lists) -> Lists:  # noqa: ARG001
    """Draw series on a vertical axis of their own."""
    return [
        series.named(f"secondYAxis({series.name})", None, secondYAxis=1).drawn(secondYAxis=True)
        for series in series_list
    ]


@render_function("stacked", group=_GROUP, params=(SERIES, Param("stack", "string", keyword="stackName")))
def stacked(context: Context, series_list: Lists, stack: str | None = None) -> Lists:
    """Draw series above each other: each value has those of the series before it in its stack added."""
    stack = _DEFAULT_STACK if stack is None else stack
    stacks = context.request.stacks
    if stack not in stacks and len(stacks) >= _MOST_STACKS:
        raise ArgumentError(f"stacked(): more than {_MOST_STACKS} stacks")
    results = []
    for series in series_list:
        context.request.spend(len(series))
        lower, whole = stacks.get(stack, (np.zeros(0), True))
        whole = whole and series.whole
        below, values = padded([lower, series.values])
        height = np.where(np.isnan(below), 0.0, below) + np.where(np.isnan(values), 0.0, values)
        stacks[stack] = height, whole
        shown = np.where(np.isnan(series.values), np.nan, height[: len(series)])
        if stack == _DEFAULT_STACK:
            made = series.made(f"stacked({series.name})", shown, whole=whole, stacked=stack)
        else:
            made = series.made(series.name, shown, whole=whole)
        results.append(made.drawn(stacked=True))
    return results


def between(series_list: Lists, tags: Mapping[str, str]) -> Lists:
    """Return two series as the lower and upper edge of an area, with the tags of the upper one and these."""
    if len(series_list) != 2:
        raise ArgumentError("areaBetween series argument must reference *exactly* 2 series")
    lower, upper = series_list
    name = f"areaBetween({upper.expression})"
    tags = {**upper.tags, **tags}
    return [
        lower.tagged(tags).named(name).drawn(stacked=True, invisible=True),
        upper.tagged(tags).named(name).drawn(stacked=True),
    ]


@render_function("areaBetween", group=_GROUP, params=(SERIES,))
def area_between(context: Context, series_list: Lists) -> Lists:  # noqa: ARG001
    """Draw the area between two series."""
    return between(series_list, {"areaBetween": "1"})


@render_function(
    "threshold", group=_GROUP,
    params=(Param("value", "float", required=True), Param("label", "string"), Param("color", "string")),
)  # fmt: skip
def threshold(context: Context, value: float, label: str | None = None, shade: str | None = None) -> Lists:
    """Draw a horizontal line at a value."""
    line = constant_line(context, value)
    if label:
        line = line.named(label, None, **line.tags)
    return [line.drawn(color=shade) if shade else line]


@render_function(
    "verticalLine", group=_GROUP,
    params=(Param("ts", "date", required=True), Param("label", "string"), Param("color", "string")),
)  # fmt: skip
def vertical_line(context: Context, text: str, label: str | None = None, shade: str | None = None) -> Lists:
    """Draw a vertical line at a time."""
    moment = date_of(context, text, context.request.zone)
    if moment < context.start:
        raise ArgumentError(f"verticalLine(): timestamp {moment} exists before start of range")
    if moment > context.end:
        raise ArgumentError(f"verticalLine(): timestamp {moment} exists after end of range")
    name = str(label)
    line = TimeSeries(name, moment, moment, 1, np.ones(2), xff=context.xff)
    line = line.drawn(drawAsInfinite=True, unlabelled=label is None)
    return [line.drawn(color=shade) if shade else line]
