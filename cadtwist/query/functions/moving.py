"""Moving windows: each value becomes what a function makes of the ones up to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from cadtwist.query.functions.context import Context
from cadtwist.query.functions.gaps import rounded
from cadtwist.query.functions.spec import SERIES, ArgumentError, Param, render_function
from cadtwist.query.reducing import Reducer, reducer, whole_stays
from cadtwist.query.timeseries import Floats, TimeSeries, Window
from cadtwist.query.timespec import parse_offset

__all__: list[str] = []

_GROUP = "Calculate"
_SIZES = (5, 7, 10, "1min", "5min", "10min", "30min", "1hour")
_WINDOW = Param("windowSize", "intOrInterval", required=True, suggestions=_SIZES)
_XFF = Param("xFilesFactor", "float")
_MOST_CELLS = 1 << 20
_BLOCK = 32
_ROUNDING = 1e-14  # more than sums within a block may be wrong by, in parts of the largest value
_FEW = 32
Lists = list[TimeSeries]


def _preview(size: float | str, series_list: Lists) -> int:
    """Return how many seconds before the request are needed."""
    if isinstance(size, str):
        return abs(parse_offset(size))
    return int(size) * max(series.step for series in series_list)


def _reach(context: Context, arguments: Sequence[Any]) -> Sequence[Window]:
    if not arguments or not isinstance(arguments[0], str):
        return []
    return [Window(context.start - abs(parse_offset(arguments[0])), context.end)]


def _points_of(size: float | str, preview: int, step: int) -> int:
    return preview // max(step, 1) if isinstance(size, str) else int(size)


def _shown_size(size: float | str) -> str:
    return f'"{size}"' if isinstance(size, str) else str(size)


async def _moving(
    context: Context, series_list: Lists, size: float | str, function: str, xff: float | None
) -> Lists:
    if not series_list:
        return []
    way = reducer(function)
    label = f"moving{function.capitalize()}"
    preview = _preview(size, series_list)
    previewed = await context.again(context.start - preview, context.end)
    whole = [whole_stays(function, series.whole) for series in previewed]
    results = []
    for place, values in enumerate(_moved(context, previewed, size, preview, function, way, xff)):
        series = previewed[place]
        tags: dict[str, Any] = {label: size}
        name = f"{label}({series.name},{_shown_size(size)})"
        results.append(series.made(name, values, start=series.start + preview, whole=whole[place], **tags))
    return results


def _moved(
    context: Context, found: Lists, size: float | str, preview: int, function: str, way: Reducer, xff: float | None
) -> list[Floats]:
    """Return the new values of each series; series of one length and step are worked on together."""
    together: dict[tuple[int, int, float], list[int]] = {}
    for place, series in enumerate(found):
        together.setdefault((len(series), series.step, context_xff(series, xff)), []).append(place)
    results: list[Floats] = [np.zeros(0)] * len(found)
    for (length, step, least), places in together.items():
        at_once = max(_MOST_CELLS // max(length, 1), 1)
        for low in range(0, len(places), at_once):
            some = places[low : low + at_once]
            matrix = np.array([found[place].values for place in some])
            rows = _windows(context, matrix, _points_of(size, preview, step), function, way, least)
            for place, row in zip(some, rows, strict=True):
                results[place] = row
    return results


def context_xff(series: TimeSeries, xff: float | None) -> float:
    """Return the share of known values that a window needs: what the call says, else what the series has."""
    return series.xff if xff is None else xff


def _windows(context: Context, matrix: Floats, points: int, function: str, way: Reducer, xff: float) -> Floats:
    """Return what a function makes of `values[i - points : i]` for i from points + 1 to the end, row by row.

    A window of no points, or fewer, knows nothing.
    """
    series, length = matrix.shape
    count = max(length - points, 0)
    context.request.spend(series * count)
    if points <= 0 or not count:
        return np.full((series, count), np.nan)
    known = np.zeros((series, length + 1), np.int64)
    np.cumsum(~np.isnan(matrix), axis=1, out=known[:, 1:])
    inside = known[:, points + 1 :] - known[:, 1 : count + 1]
    doubled = _DOUBLED.get(function)
    with np.errstate(all="ignore"):
        if doubled is None:
            context.request.spend(series * count * points)
            made = np.array([_each_window(values[1:], points, way, function) for values in matrix])
        else:
            made = doubled(matrix[:, 1:], points, inside)
    return np.where((inside > 0) & (inside / points >= xff), made, np.nan)


def _each_window(values: Floats, points: int, way: Reducer, name: str) -> Floats:
    windows = np.lib.stride_tricks.sliding_window_view(values, points)
    at_once = max(_MOST_CELLS // points, 1)
    results = np.empty(len(windows))
    for low in range(0, len(windows), at_once):
        cells = windows[low : low + at_once].T
        if name in ("multiply", "avg_zero"):
            known = np.count_nonzero(~np.isnan(cells), axis=0).astype(np.int64)
            results[low : low + at_once] = way(cells, known)
        else:
            results[low : low + at_once] = way(cells, None)
    return results


def _over_windows(values: Floats, points: int, join: Callable[[Floats, Floats], Floats]) -> Floats:
    """Join all values of each window of each row by an associative operation, doubling the width of what is joined."""
    count = values.shape[1] - points + 1
    total: Floats | None = None
    width, level, done = 1, values, 0
    left = points
    while left:
        if left & 1:
            part = level[:, done : done + count]
            total = part if total is None else join(total, part)
            done += width
        left >>= 1
        if left:
            level = join(level[:, :-width], level[:, width:])
            width *= 2
    return values[:, :0] if total is None else total


def _window_sums(values: Floats, points: int, inside: Any) -> Floats:  # noqa: ARG001
    """Sums of a few values are made one value after the other, as by a loop: names show them to the last bit."""
    filled = np.where(np.isnan(values), 0.0, values)
    if points > _FEW:
        return _over_windows(filled, points, np.add)
    count = filled.shape[1] - points + 1
    sums: Floats = filled[:, :count].copy()
    for place in range(1, points):
        sums += filled[:, place : place + count]
    return sums


def _window_means(values: Floats, points: int, inside: Any) -> Floats:
    means: Floats = _window_sums(values, points, inside) / np.maximum(inside, 1)
    return means


def _window_maxima(values: Floats, points: int, inside: Any) -> Floats:  # noqa: ARG001
    return _over_windows(values, points, np.fmax)


def _window_minima(values: Floats, points: int, inside: Any) -> Floats:  # noqa: ARG001
    return _over_windows(values, points, np.fmin)


def _window_counts(values: Floats, points: int, inside: Any) -> Floats:  # noqa: ARG001
    counted: Floats = inside.astype(np.float64)
    return counted


_DOUBLED: dict[str, Callable[[Floats, int, Any], Floats]] = {
    "average": _window_means,
    "avg": _window_means,
    "avg_zero": _window_means,
    "count": _window_counts,
    "max": _window_maxima,
    "min": _window_minima,
    "sum": _window_sums,
    "total": _window_sums,
}


@render_function(
    "movingWindow", group=_GROUP, reach=_reach,
    params=(SERIES, _WINDOW, Param("func", "aggFunc", default="average"), _XFF),
)  # fmt: skip
async def moving_window(
    context: Context, series_list: Lists, size: float | str, function: str = "average", xff: float | None = None
) -> Lists:
    """Combine the latest values of each time by a function; the window has a number of points, or a length of time."""
    return await _moving(context, series_list, size, function, xff)


@render_function("movingAverage", group=_GROUP, reach=_reach, params=(SERIES, _WINDOW, _XFF))
async def moving_average(
    context: Context, series_list: Lists, size: float | str, xff: float | None = None
) -> Lists:
    """Average the latest values of each time."""
    return await _moving(context, series_list, size, "average", xff)


@render_function("movingMedian", group=_GROUP, reach=_reach, params=(SERIES, _WINDOW, _XFF))
async def moving_median(
    context: Context, series_list: Lists, size: float | str, xff: float | None = None
) -> Lists:
    """Take the median of the latest values of each time."""
    return await _moving(context, series_list, size, "median", xff)


@render_function("movingSum", group=_GROUP, reach=_reach, params=(SERIES, _WINDOW, _XFF))
async def moving_sum(context: Context, series_list: Lists, size: float | str, xff: float | None = None) -> Lists:
    """Add up the latest values of each time."""
    return await _moving(context, series_list, size, "sum", xff)


@render_function("movingMax", group=_GROUP, reach=_reach, params=(SERIES, _WINDOW, _XFF))
async def moving_max(context: Context, series_list: Lists, size: float | str, xff: float | None = None) -> Lists:
    """Take the largest of the latest values of each time."""
    return await _moving(context, series_list, size, "max", xff)


@render_function("movingMin", group=_GROUP, reach=_reach, params=(SERIES, _WINDOW, _XFF))
async def moving_min(context: Context, series_list: Lists, size: float | str, xff: float | None = None) -> Lists:
    """Take the smallest of the latest values of each time."""
    return await _moving(context, series_list, size, "min", xff)


@render_function("exponentialMovingAverage", group=_GROUP, reach=_reach, params=(SERIES, _WINDOW))
async def exponential_moving_average(context: Context, series_list: Lists, size: float | str) -> Lists:
    """Average all values, later ones counting more: with k = 2 / (window + 1), ema = k * value + (1 - k) * ema.

    It begins with the average of the window before the request.
    """
    if not series_list:
        return []
    preview = _preview(size, series_list)
    span = preview if isinstance(size, str) else int(size)
    if span < 0:
        raise ArgumentError(f"exponentialMovingAverage(): the window {size} is below zero")
    weight = 2.0 / (span + 1.0)
    results = []
    for series in await context.again(context.start - preview, context.end):
        points = _points_of(size, preview, series.step)
        before = series.values[:points]
        before = before[~np.isnan(before)]
        context.request.spend(len(series))
        first = sum(before.tolist()) / len(before) if len(before) else 0.0
        with np.errstate(all="ignore"):
            values = rounded(_averages(series.values[points:], first, weight), 6)
        name = f"exponentialMovingAverage({series.name},{_shown_size(size)})"
        results.append(
            series.made(name, values, start=series.start + preview, exponentialMovingAverage=size)
        )
    return results


def _averages(values: Floats, first: float, weight: float) -> Floats:
    """Return `first` and then the moving averages, such that rounded to six decimals they are those of a loop.

    Where some are so near to a tie that the last bits decide, or so large that they show, the loop itself makes them.
    """
    made = _smoothed(values, first, weight)
    scaled = made * 1e6
    doubt = 1e6 * _ROUNDING * np.nanmax(np.abs(np.append(values, first)))
    if not (np.abs(scaled - np.floor(scaled) - 0.5) <= doubt).any():
        return made
    rows, kept = np.flatnonzero(~np.isnan(values)), 1.0 - weight
    known = values[rows].tolist()
    made[rows + 1] = list(accumulate(known, lambda latest, value: weight * value + kept * latest, initial=first))[1:]
    return made


def _smoothed(values: Floats, first: float, weight: float) -> Floats:
    """Return `first` and then ema = weight * value + (1 - weight) * ema; unknown values change nothing.

    Block by block: within one, each average is a sum of what the values before it weigh.
    """
    rows = np.flatnonzero(~np.isnan(values))
    known = values[rows]
    powers = (1.0 - weight) ** np.arange(_BLOCK + 1)
    shares = np.tril(weight * powers[np.abs(np.subtract.outer(np.arange(_BLOCK), np.arange(_BLOCK)))])
    averages = np.empty(len(known))
    latest = first
    block_size = _BLOCK if np.isfinite(known).all() else 1
    for low in range(0, len(known), block_size):
        block = known[low : low + block_size]
        size = len(block)
        averages[low : low + size] = shares[:size, :size] @ block + powers[1 : size + 1] * latest
        latest = averages[low + size - 1]
    results = np.full(len(values) + 1, np.nan)
    results[0] = first
    results[rows + 1] = averages
    return results
