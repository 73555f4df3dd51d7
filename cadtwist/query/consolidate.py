"""Fewer points for a graph: `maxDataPoints`, with graphite-web's alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cadtwist.model.series import Series

__all__ = ["consolidated", "reduce_groups"]

Floats = npt.NDArray[np.float64]


def consolidated(series: Sequence[Series], max_points: int, xff: float) -> list[Series]:
    """Return the series with at most about `max_points` (> 0) values over the range of all of them.

    Buckets lie at multiples of their width; a label names the last raw slot of its bucket.  A bucket is known when
    at least one value, and the share `xff` of its values, is.
    """
    if not series:
        return []
    time_range = max(one.end for one in series) - min(one.start for one in series)
    return [_consolidated(one, max_points, xff, time_range) for one in series]


def _consolidated(series: Series, max_points: int, xff: float, time_range: int) -> Series:
    if max_points == 1:
        width = max(len(series), 1)
        values = _buckets(series.values, width, xff)
        return replace(series, step=max(series.end - series.start, 1), values=values)
    if max_points >= time_range / series.step:
        return series
    width = -(-time_range // (series.step * max_points))
    step = width * series.step
    nudge = step + series.start % series.step - series.start % step
    values = _buckets(series.values[max(nudge // series.step - 1, 0) :], width, xff)
    start = series.start + nudge
    room = max((series.end - start) // step + 1, 0)
    return replace(series, start=start, step=step, values=values[:room])


def _buckets(values: Floats, width: int, xff: float) -> Floats:
    if not len(values):
        return values
    starts = np.arange(0, len(values), width)
    known = np.add.reduceat((~np.isnan(values)).astype(np.int64), starts)
    means = reduce_groups(values, starts, "average")
    means[known / width < xff] = np.nan
    return means


def reduce_groups(values: Floats, starts: npt.NDArray[np.intp], method: str) -> Floats:
    """Return one value per group `values[starts[i]:starts[i+1]]`, NaN (unknown) left aside, NaN for none known.

    `starts` rises strictly.  The methods are whisper's.
    """
    unknown = np.isnan(values)
    known = np.add.reduceat((~unknown).astype(np.float64), starts)
    lengths = np.diff(np.append(starts, len(values)))
    filled = np.where(unknown, 0.0, values)
    if method == "sum":
        result = np.add.reduceat(filled, starts)
    elif method == "avg_zero":
        result = np.add.reduceat(filled, starts) / lengths
    elif method in ("max", "min"):
        extreme = np.maximum if method == "max" else np.minimum
        result = extreme.reduceat(np.where(unknown, -np.inf if method == "max" else np.inf, values), starts)
    elif method in ("absmax", "absmin"):
        result = _absolute(values, unknown, starts, lengths, method == "absmax")
    elif method == "last":
        rows = np.where(unknown, -1, np.arange(len(values)))
        result = values[np.maximum.reduceat(rows, starts)]
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            result = np.add.reduceat(filled, starts) / known
    return np.where(known > 0, result, np.nan)


def _absolute(
    values: Floats,
    unknown: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.intp],
    lengths: npt.NDArray[np.intp],
    largest: bool,
) -> Floats:
    """The value furthest from (or nearest to) zero, with its sign, the first of equals."""
    sizes = np.where(unknown, -np.inf if largest else np.inf, np.abs(values))
    extreme = (np.maximum if largest else np.minimum).reduceat(sizes, starts)
    chosen = (sizes == np.repeat(extreme, lengths)) & ~unknown
    rows = np.where(chosen, np.arange(len(values)), len(values))
    first = np.minimum.reduceat(rows, starts)
    return np.append(values, np.nan)[first]
