"""Functions that look at another time than the one asked for, or at a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any

import numpy as np

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.timeseries import TimeSeries, Window
from cadtwist.query.timespec import TimeSpecError, parse_offset, parse_time

__all__ = ["date_of"]

_GROUP = "Transform"
_SHIFTS = ("1h", "6h", "12h", "1d", "2d", "7d", "14d", "30d")
_MOST_SHIFTS = 1000
Lists = list[TimeSeries]


def _signed(text: str) -> str:
    """Return a shift with its sign: one without means the past."""
    return text if text[:1] in ("+", "-") else f"-{text}"


def _shifted(context: Context, text: str, align_dst: bool) -> Window:
    seconds = parse_offset(text)
    start, end = context.start + seconds, context.end + seconds
    if align_dst:
        correction = _dst_shift(context, Window(start, end))
        start, end = start + correction, end + correction
    return Window(start, end)


def _dst_shift(context: Context, shifted: Window) -> int:
    """Return the seconds that keep the hour of the day when the ranges lie on both sides of a change of clocks."""
    home = context.request.home
    here = {_is_summer(context.start, home), _is_summer(context.end, home)}
    there = {_is_summer(shifted.start, home), _is_summer(shifted.end, home)}
    if len(here) > 1 or len(there) > 1 or here == there:
        return 0
    return 3600 if here == {True} else -3600


def _is_summer(moment: int, zone: tzinfo) -> bool:
    return bool(datetime.fromtimestamp(moment, zone).dst() or timedelta())


def _shift_reach(context: Context, arguments: Sequence[Any]) -> Sequence[Window]:
    align_dst = len(arguments) > 2 and str(arguments[2]).lower() in ("true", "1")
    return [_shifted(context, _signed(arguments[0]), align_dst)]


@render_function(
    "timeShift", group=_GROUP, reach=_shift_reach,
    params=(
        SERIES, Param("timeShift", "interval", required=True, suggestions=_SHIFTS),
        Param("resetEnd", "boolean", default=True), Param("alignDst", "boolean", default=False, keyword="alignDST"),
    ),
)  # fmt: skip
async def time_shift(
    context: Context, series_list: Lists, text: str, reset_end: bool = True, align_dst: bool = False
) -> Lists:
    """Show what was at another time as if it were now; a shift without a sign is one into the past."""
    if not series_list:
        return []
    text = _signed(text)
    start, end = series_list[0].start, series_list[0].end
    results = []
    for series in await context.again(*_shifted(context, text, align_dst)):
        made = series.named(f'timeShift({series.name}, "{text}")', None, timeShift=text)
        made.end = end if reset_end else series.end - series.start + start
        made.start = start
        results.append(made)
    return results


def _stack_windows(context: Context, unit: str, first: int, last: int) -> list[Window]:
    if last - first > _MOST_SHIFTS:
        raise ArgumentError(f"timeStack(): more than {_MOST_SHIFTS} shifts")
    seconds = parse_offset(unit)
    return [
        Window(context.start + seconds * number, context.end + seconds * number) for number in range(first, last)
    ]


def _stack_reach(context: Context, arguments: Sequence[Any]) -> Sequence[Window]:
    unit, first, last = arguments
    return _stack_windows(context, _signed(unit), int(first), int(last))


@render_function(
    "timeStack", group=_GROUP, reach=_stack_reach,
    params=(
        SERIES, Param("timeShiftUnit", "interval", default="1d", suggestions=_SHIFTS),
        Param("timeShiftStart", "integer", default=0, takes="truncated"),
        Param("timeShiftEnd", "integer", default=7, takes="truncated"),
    ),
)  # fmt: skip
async def time_stack(
    context: Context, series_list: Lists, unit: str = "1d", first: int = 0, last: int = 7
) -> Lists:
    """Show several times above each other: each shifted by a number of units, from `timeShiftStart` on."""
    if not series_list:
        return []
    unit = _signed(unit)
    results = []
    for number, window in enumerate(_stack_windows(context, unit, first, last), first):
        for series in await context.again(*window):
            name = f"timeShift({series.name}, {unit}, {number})"
            made = series.named(name, name, timeShiftUnit=unit, timeShift=number)
            made.start, made.end = series_list[0].start, series_list[0].end
            results.append(made)
    return results


def date_of(context: Context, text: str, zone: tzinfo | None = None) -> int:
    """Return the time that a date argument means, relative to the real time."""
    try:
        return parse_time(text, zone or context.request.home, context.request.clock)
    except TimeSpecError as error:
        raise ArgumentError(str(error)) from None


@render_function(
    "timeSlice", group=_GROUP,
    params=(SERIES, Param("startSliceAt", "date", required=True), Param("endSliceAt", "date", default="now")),
)  # fmt: skip
def time_slice(context: Context, series_list: Lists, start_text: str, end_text: str = "now") -> Lists:
    """Keep the values between two times, which may be relative to now."""
    start, end = date_of(context, start_text), date_of(context, end_text)
    results = []
    for series in series_list:
        context.request.spend(len(series))
        times = context.start + series.step * np.arange(len(series))
        values = np.where((times >= start) & (times <= end), series.values, np.nan)
        name = f"timeSlice({series.name}, {start}, {end})"
        made = series.named(name, None, timeSliceStart=start, timeSliceEnd=end)
        made.values = values
        results.append(made)
    return results
