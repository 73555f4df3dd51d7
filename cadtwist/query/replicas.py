"""One series of what several servers know of it, point by point.  Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cadtwist.query.find import TooBroad
from cadtwist.query.timeseries import Floats, TimeSeries, Window

__all__ = ["clipped", "fullest", "merged"]


def clipped(series: TimeSeries, window: Window) -> TimeSeries | None:
    """Return the part of a series that belongs to a range, with a step more on either side; None for nothing.

    What another server says is not trusted to lie where it was asked for.
    """
    step = series.step
    low = max(0, -(-(window.start - step - series.start) // step))
    high = min(len(series), (window.end + step - series.start) // step + 1)
    if low >= high:
        return None
    if low == 0 and high == len(series):
        return series
    part = series.copy()
    part.start, part.values = series.start + low * step, series.values[low:high]
    part.end = part.start + (high - low) * step
    return part


def merged(replicas: Sequence[TimeSeries], most: int) -> TimeSeries:
    """Return one series of all points that one or the other of `replicas` (at least one) knows.

    Of several values for one time that of the finer series counts, then that of the earlier one.  The step is the
    finest; where only a coarser series knows something, its value stands in each of the finer slots within its own.
    More than `most` points are TooBroad.
    """
    first = replicas[0]
    others = [one for one in replicas[1:] if len(one)]
    if not others:
        return first
    if not len(first):
        return merged(others, most)
    if all(_alike(first, one) for one in others):
        return _filled(first, first.values, others)
    ordered = sorted((first, *others), key=lambda one: one.step)
    finest = ordered[0]
    start, end = _range(ordered)
    length = (end - start) // finest.step
    if length > most:
        raise TooBroad(f"The replicas of {first.name!r} span {length} points, the limit is {most}")
    times = start + finest.step * np.arange(length, dtype=np.int64)
    values = np.full(length, np.nan)
    for one in ordered:
        rows = (times - one.start) // one.step
        missing = np.isnan(values) & (rows >= 0) & (rows < len(one))
        values[missing] = one.values[rows[missing]]
    whole = first.copy()
    whole.start, whole.end, whole.step, whole.values = start, end, finest.step, values
    return whole


def fullest(replicas: Sequence[TimeSeries]) -> TimeSeries:
    """Return the one of `replicas` that knows most points, of several the first; none of them is changed."""
    return max(replicas, key=lambda one: int(np.count_nonzero(~np.isnan(one.values))))


def _alike(first: TimeSeries, other: TimeSeries) -> bool:
    return (first.start, first.step, len(first)) == (other.start, other.step, len(other))


def _filled(first: TimeSeries, values: Floats, others: Sequence[TimeSeries]) -> TimeSeries:
    for other in others:
        unknown = np.isnan(values)
        if not unknown.any():
            break
        values = np.where(unknown, other.values, values)
    if values is first.values:
        return first
    filled = first.copy()
    filled.values = values
    return filled


def _range(ordered: Sequence[TimeSeries]) -> tuple[int, int]:
    """Return start and end of all series, on the grid of the finest (the first of them).

    The last slot of a coarser series reaches beyond what was asked for: it lengthens the range by whole slots only.
    """
    finest = ordered[0]
    step = finest.step
    start = min(one.start for one in ordered)
    start = finest.start - -(-(finest.start - start) // step) * step
    end = max(one.start + one.step * len(one) for one in ordered if one.step == step)
    for one in ordered:
        last = one.start + one.step * len(one)
        if last - end >= one.step:
            end += -(-(last - end) // step) * step
    return start, end
