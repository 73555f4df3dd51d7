"""Known and unknown slots of a column, without a statement per value."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from cadtwist.query.timeseries import Floats

__all__ = ["filled", "gap_runs", "previous_known", "rounded"]

_DOUBT = 1e-6
_EXACT = 1 << 51


def gap_runs(values: Floats) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return where runs of unknown values begin, and where they have ended."""
    edges = np.diff(np.isnan(values).astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def previous_known(values: Floats) -> Floats:
    """Return for each slot the latest known value before it, NaN where there is none."""
    rows = np.where(np.isnan(values), -1, np.arange(len(values)))
    latest = np.concatenate(([-1], np.maximum.accumulate(rows)[:-1])) if len(values) else rows
    return np.where(latest >= 0, values[latest], np.nan) if len(values) else values


def filled(values: Floats, limit: float, linear: bool) -> Floats:
    """Return the values with gaps of at most `limit` slots filled, longer ones and one that leads as they are.

    Filled with the value before the gap, also at the end; or, `linear`, by the line between its neighbours, not at
    the end.
    """
    starts, ends = gap_runs(values)
    chosen = (starts > 0) & (ends - starts <= limit)
    if linear:
        chosen &= ends < len(values)
    starts, ends = starts[chosen], ends[chosen]
    if not len(starts):
        return values
    lengths = ends - starts
    rows = np.repeat(starts, lengths) + np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    before = values[starts - 1]
    result: Floats = values.copy()
    result[rows] = np.repeat(before, lengths)
    if linear:
        steps = (values[ends] - before) / (lengths + 1)
        result[rows] += np.repeat(steps, lengths) * (rows - np.repeat(starts, lengths) + 1)
    return result


def rounded(values: Floats, digits: int) -> Floats:
    """Return the values rounded as Python rounds: to the nearest decimal, by the exact binary value, ties to even."""
    if not -300 <= digits <= 300:
        return values if digits > 0 else np.where(np.isnan(values), values, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values * 10.0**digits if digits >= 0 else values / 10.0**-digits
        result = np.round(scaled) / 10.0**digits if digits >= 0 else np.round(scaled) * 10.0**-digits
        part = np.abs(scaled - np.floor(scaled) - 0.5)
        doubtful = (part < _DOUBT) | (np.abs(scaled) >= _EXACT) | ~np.isfinite(scaled)
    doubtful &= ~np.isnan(values)
    rows = np.flatnonzero(doubtful)
    if len(rows):
        result[rows] = [round(value, digits) if math.isfinite(value) else value for value in values[rows].tolist()]
    return result
