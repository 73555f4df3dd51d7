"""Series side by side: brought to one step, their values at one index form a row.

As graphite-web does it: the step is the least common multiple of all steps, finer series are consolidated to it by
their own method, the range is the union.  Values are not shifted: the first values of all series share the first row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import lcm
from typing import NamedTuple

import numpy as np

from cadtwist.query.consolidate import MEANS, consolidated_values, looped_sums
from cadtwist.query.reducing import Reducer, known_share, reducer, stacked, whole_stays
from cadtwist.query.timeseries import Floats, TimeSeries

__all__ = ["Aligned", "aggregated", "align", "combine", "common_tags", "is_whole", "paths_of"]

_CHUNK = 1 << 18


class Aligned(NamedTuple):
    """Columns of several series on the same times; their lengths may differ."""

    start: int
    end: int
    step: int
    columns: list[Floats]

    def matrix(self) -> Floats:
        """Return the columns as the rows of a matrix."""
        return stacked(self.columns)


def align(series: Sequence[TimeSeries]) -> Aligned:
    """Bring series (at least one) to one step and range."""
    first = series[0]
    step, start, end = first.step, first.start, first.end
    if all(one.step == step for one in series):
        columns = [one.values for one in series]
    else:
        step = lcm(*(one.step for one in series))
        columns = [consolidated_values(one, step // one.step, looped_sums) for one in series]
    start, end = min(one.start for one in series), max(one.end for one in series)
    if step:
        end -= (end - start) % step
    return Aligned(start, end, step, columns)


def combine(aligned: Aligned, way: Reducer, xff: float) -> Floats:
    """Return one value per row; unknown where nothing, or less than the share `xff`, is known."""
    length = max(map(len, aligned.columns))
    same = all(len(column) == length for column in aligned.columns)
    width = max(_CHUNK // len(aligned.columns), 16)
    if not same or length <= width:
        return _combined(aligned.matrix(), way, xff)
    pieces = [
        _combined(np.array([column[low : low + width] for column in aligned.columns]), way, xff)
        for low in range(0, length, width)
    ]
    return np.concatenate(pieces)


def _combined(matrix: Floats, way: Reducer, xff: float) -> Floats:
    if xff <= 1 and matrix.size and not np.isnan(matrix).any():
        with np.errstate(all="ignore"):
            return way(matrix, None)
    share = known_share(matrix)
    enough = (share > 0) & (share >= xff)
    with np.errstate(all="ignore"):
        values = way(matrix, None)
    return values if enough.all() else np.where(enough, values, np.nan)


def is_whole(series: TimeSeries, step: int) -> bool:
    """Tell whether the values of a series are whole numbers when it is brought to a step."""
    return series.whole and (series.step == step or series.consolidation not in MEANS)


def paths_of(series: Iterable[TimeSeries]) -> str:
    """Return the distinct expressions of series, joined by commas."""
    return ",".join(dict.fromkeys(one.expression for one in series))


def common_tags(series: Sequence[TimeSeries], name: str) -> dict[str, str]:
    """Return the tags that all series share; `name` stands for the tag `name` where they do not share that."""
    common = dict(series[0].tags)
    for one in series[1:]:
        tags = one.tags
        for tag, value in list(common.items()):
            if tags.get(tag) != value:
                del common[tag]
        if not common:
            break
    common.setdefault("name", name)
    return common


def aggregated(series: Sequence[TimeSeries], function: str, xff: float) -> list[TimeSeries]:
    """Return the one series that combines all, nothing for none; UnsupportedError for an unknown function.

    The name of the function may end in `Series`.
    """
    function = function.removesuffix("Series")
    way = reducer(function)
    if not series:
        return []
    aligned = align(series)
    name = f"{function}Series({paths_of(series)})"
    tags = common_tags(series, name)
    tags["aggregatedBy"] = function
    whole = whole_stays(function, all(is_whole(one, aligned.step) for one in series))
    values = combine(aligned, way, xff)
    return [
        TimeSeries(name, aligned.start, aligned.end, aligned.step, values, tags=tags, xff=xff, whole=whole)
    ]
