"""Fewer points: `maxDataPoints` with graphite-web's alignment, and finer series brought to a coarser step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from cadtwist.errors import CadtwistError
from cadtwist.query.timeseries import Floats, TimeSeries

__all__ = [
    "CONSOLIDATIONS", "MEANS", "ConsolidationError", "consolidated", "consolidated_values", "looped_sums",
    "reduce_groups",
]  # fmt: skip

CONSOLIDATIONS = ("average", "avg", "avg_zero", "first", "last", "max", "min", "sum")
"""The methods that a request may name."""

MEANS = ("average", "avg", "avg_zero")
"""Those of them whose results need not be whole where the values are."""
Sums = Callable[[Floats, npt.NDArray[np.intp]], Floats]
"""(values, starts) -> the sum of each group `values[starts[i]:starts[i+1]]`."""


class ConsolidationError(CadtwistError):
    """A series is to be consolidated by a method that does not exist."""


def consolidated(series: Sequence[TimeSeries], max_points: int) -> list[TimeSeries]:
    """Return the series with at most about `max_points` (> 0) values over the range of all of them.

    Buckets lie at multiples of their width; a label names the last raw slot of its bucket.  A bucket is known when
    at least one value, and the share `xff` of its values, is.
    """
    if not series:
        return []
    time_range = max(one.end for one in series) - min(one.start for one in series)
    return [_consolidated(one, max_points, time_range) for one in series]


def _consolidated(series: TimeSeries, max_points: int, time_range: int) -> TimeSeries:
    if not len(series):
        return series
    other = series.copy()
    if max_points == 1:
        other.values = consolidated_values(series, len(series))
        other.whole = series.whole and series.consolidation not in MEANS
        other.step = max(series.end - series.start, 1)
        return other
    if series.step <= 0 or max_points >= time_range / series.step:
        return series
    width = -(-time_range // (series.step * max_points))
    step = width * series.step
    nudge = step + series.start % series.step - series.start % step
    other.values = series.values[max(nudge // series.step - 1, 0) :]
    other.values = consolidated_values(other, width)
    other.whole = series.whole and series.consolidation not in MEANS
    other.start = series.start + nudge
    other.step = step
    return other


def consolidated_values(series: TimeSeries, width: int, sums: Sums = np.add.reduceat) -> Floats:
    """Return the values of a series, each `width` of them combined as the series tells; ConsolidationError.

    `sums` adds up groups: `looped_sums` where names will show the last bits.
    """
    values = series.values
    if width <= 1 or not len(values):
        return values
    method = series.consolidation
    if method not in CONSOLIDATIONS:
        raise ConsolidationError(f"Invalid consolidation function: {method!r}")
    starts = np.arange(0, len(values), width)
    found = reduce_groups(values, starts, method, sums)
    if series.xff > 0:
        known = np.add.reduceat((~np.isnan(values)).astype(np.int64), starts)
        found[known / width < series.xff] = np.nan
    return found


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def reduce_groups(
    values: Floats, starts: npt.NDArray[np.intp], method: str, sums: Sums = np.add.reduceat
) -> Floats:
    """Return one value per group `values[starts[i]:starts[i+1]]`, NaN (unknown) left aside, NaN for none known.

    `starts` rises strictly.  The methods are whisper's, and `first`.
    """
    unknown = np.isnan(values)
    known = np.add.reduceat((~unknown).astype(np.float64), starts)
    lengths = np.diff(np.append(starts, len(values)))
    filled = np.where(unknown, 0.0, values)
    if method == "sum":
        result = sums(filled, starts)
    elif method == "avg_zero":
        result = sums(filled, starts) / lengths
    elif method in ("max", "min"):
        extreme = np.maximum if method == "max" else np.minimum
        result = extreme.reduceat(np.where(unknown, -np.inf if method == "max" else np.inf, values), starts)
    elif method in ("absmax", "absmin"):
        result = _absolute(values, unknown, starts, lengths, method == "absmax")
    elif method == "last":
        rows = np.where(unknown, -1, np.arange(len(values)))
        result = values[np.maximum.reduceat(rows, starts)]
    elif method == "first":
        rows = np.where(unknown, len(values), np.arange(len(values)))
        result = np.append(values, np.nan)[np.minimum.reduceat(rows, starts)]
    else:
        result = sums(filled, starts) / known
    return np.where(known > 0, result, np.nan)


def looped_sums(values: Floats, starts: npt.NDArray[np.intp]) -> Floats:
    """Return sums of groups; those of one width are added up value after value, as by a loop, to the last bit."""
    width = int(starts[1] - starts[0]) if len(starts) > 1 else len(values)
    if starts[:1].any() or (np.diff(starts) != width).any() or not 0 <= len(starts) * width - len(values) < width:
        return np.add.reduceat(values, starts)
    padded = np.zeros(len(starts) * width)
    padded[: len(values)] = values
    sums: Floats = np.ascontiguousarray(padded.reshape(-1, width).T).sum(axis=0)
    return sums if len(starts) > 1 else np.cumsum(values)[-1:]


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
