"""Many values to one: down the rows of a matrix, NaN (unknown) left aside.

A matrix has one row for each item and one column for each result, so that the same functions combine series (a row
each), the points of buckets and windows (a column each), and whole series.  Formulas: sum; arithmetic mean; median of
the sorted (mean of the two in the middle); population standard deviation; first minus the others; largest minus
smallest; product of all, unknown if one is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from cadtwist.errors import CadtwistError
from cadtwist.query.timeseries import Floats

__all__ = [
    "AGGREGATIONS",
    "Reducer",
    "UnsupportedError",
    "known_share",
    "percentiles",
    "reduce_each",
    "reducer",
    "stacked",
    "whole_stays",
]  # fmt: skip

Counts = npt.NDArray[np.int64]
Reducer = Callable[[Floats, Counts | None], Floats]
"""(matrix, number of items per column where it is not that of the rows) -> a value per column."""

_CHUNK = 1 << 18


class UnsupportedError(CadtwistError):
    """A name is not that of a way to aggregate."""


def _known(matrix: Floats) -> Counts:
    known: Counts = np.count_nonzero(~np.isnan(matrix), axis=0).astype(np.int64)
    return known


def _or_unknown(values: Floats, known: Counts) -> Floats:
    return values if known.all() else np.where(known > 0, values, np.nan)


def _sums(matrix: Floats) -> tuple[Floats, Counts]:
    """Added row after row, so that the sums are those of a loop over the rows to the last bit: names show them."""
    unknown = np.isnan(matrix)
    if unknown.any():
        known = len(matrix) - np.count_nonzero(unknown, axis=0).astype(np.int64)
        filled = np.where(unknown, 0.0, matrix)
    else:
        known, filled = np.full(matrix.shape[1], len(matrix), np.int64), matrix
    if matrix.shape[1] == 1 and len(matrix):
        return np.cumsum(filled[:, 0])[-1:], known
    return np.ascontiguousarray(filled).sum(axis=0), known


def _sum(matrix: Floats, lengths: Counts | None) -> Floats:  # noqa: ARG001
    return _or_unknown(*_sums(matrix))


def _average(matrix: Floats, lengths: Counts | None) -> Floats:  # noqa: ARG001
    total, known = _sums(matrix)
    with np.errstate(invalid="ignore"):
        return total / np.where(known, known, np.nan)


def _average_zero(matrix: Floats, lengths: Counts | None) -> Floats:
    total, _ = _sums(matrix)
    items = np.full(matrix.shape[1], len(matrix), np.int64) if lengths is None else lengths
    return np.where(items > 0, total / np.maximum(items, 1), 0.0)


def _median(matrix: Floats, lengths: Counts | None) -> Floats:  # noqa: ARG001
    known = _known(matrix)
    ordered = np.sort(matrix, axis=0)
    columns = np.arange(matrix.shape[1])
    low, high = ordered[np.maximum(known - 1, 0) // 2, columns], ordered[known // 2 * (known > 1), columns]
    return _or_unknown(np.where(known % 2, low, (low + high) / 2), known)


def _extreme(operation: np.ufunc) -> Reducer:
    neutral = -np.inf if operation is np.fmax else np.inf

    def extreme(matrix: Floats, lengths: Counts | None) -> Floats:  # noqa: ARG001
        if not len(matrix):
            return np.full(matrix.shape[1], np.nan)
        found: Floats = operation.reduce(matrix, axis=0, initial=neutral)
        return np.where(_known(matrix) > 0, found, np.nan) if np.isinf(found).any() else found

    return extreme


def _first_rows(matrix: Floats) -> npt.NDArray[np.intp]:
    rows: npt.NDArray[np.intp] = np.argmax(~np.isnan(matrix), axis=0)
    return rows


def _difference(matrix: Floats, lengths: Counts | None) -> Floats:  # noqa: ARG001
    """Subtracted one after the other, as `_sums` adds."""
    rows, columns = _first_rows(matrix), np.arange(matrix.shape[1])
    signed = np.where(np.isnan(matrix), 0.0, -matrix)
    signed[rows, columns] = matrix[rows, columns]
    return np.where(np.isnan(matrix[rows, columns]), np.nan, _sums(signed)[0])


def _deviation(matrix: Floats, lengths: Counts | None) -> Floats:  # noqa: ARG001
    total, known = _sums(matrix)
    with np.errstate(invalid="ignore"):
        count = np.where(known, known, np.nan)
        away = matrix - total / count
        squares, _ = _sums(away * away)
        deviation: Floats = np.sqrt(squares / count)
    if np.isinf(total).any():
        deviation[np.isinf(matrix).any(axis=0)] = np.nan  # nothing has a distance from an infinite mean
    return deviation


def _count(matrix: Floats, lengths: Counts | None) -> Floats:  # noqa: ARG001
    return _known(matrix).astype(np.float64)


def _range(matrix: Floats, lengths: Counts | None) -> Floats:
    return _extreme(np.fmax)(matrix, lengths) - _extreme(np.fmin)(matrix, lengths)


def _product(matrix: Floats, lengths: Counts | None) -> Floats:
    if lengths is None:
        product: Floats = matrix.prod(axis=0)
        return product
    whole = _known(matrix) == lengths
    return np.where(whole & (lengths > 0), np.where(np.isnan(matrix), 1.0, matrix).prod(axis=0), np.nan)


def _last(matrix: Floats, lengths: Counts | None) -> Floats:  # noqa: ARG001
    rows = len(matrix) - 1 - _first_rows(matrix[::-1])
    return matrix[rows, np.arange(matrix.shape[1])]


AGGREGATIONS: dict[str, Reducer] = {
    "average": _average,
    "avg": _average,
    "avg_zero": _average_zero,
    "count": _count,
    "current": _last,
    "diff": _difference,
    "last": _last,
    "max": _extreme(np.fmax),
    "median": _median,
    "min": _extreme(np.fmin),
    "multiply": _product,
    "range": _range,
    "rangeOf": _range,
    "stddev": _deviation,
    "sum": _sum,
    "total": _sum,
}
"""Every way to aggregate, by the names that targets use."""

_STAYS_WHOLE = frozenset(("count", "current", "diff", "last", "max", "min", "sum", "total"))


def reducer(name: object) -> Reducer:
    """Return the way to aggregate of that name; UnsupportedError for any other."""
    found = AGGREGATIONS.get(str(name))
    if found is None:
        raise UnsupportedError(f"Unsupported aggregation function: {name}")
    return found


def whole_stays(name: str, whole: bool) -> bool:
    """Tell whether aggregating gives whole numbers; `whole`: its input is."""
    return name == "count" or (whole and name in _STAYS_WHOLE)


def stacked(columns: Sequence[Floats]) -> Floats:
    """Return arrays of any lengths as the rows of one matrix, their missing tails unknown."""
    longest = max(map(len, columns), default=0)
    if all(len(column) == longest for column in columns):
        return np.array(columns, np.float64).reshape(len(columns), longest)
    matrix = np.full((len(columns), longest), np.nan)
    for row, column in zip(matrix, columns, strict=True):
        row[: len(column)] = column
    return matrix


def known_share(matrix: Floats) -> Floats:
    """Return, column by column, the share of items that are known."""
    return _known(matrix) / max(len(matrix), 1)


def reduce_each(way: Reducer, columns: Sequence[Floats]) -> Floats:
    """Return one value per array: all of its values, reduced."""
    results = np.full(len(columns), np.nan)
    lengths = np.array([len(column) for column in columns], np.int64)
    for length in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == length)
        if not length:
            results[rows] = way(np.full((1, len(rows)), np.nan), np.zeros(len(rows), np.int64))
            continue
        at_once = max(_CHUNK // length, 1)
        for low in range(0, len(rows), at_once):
            some = rows[low : low + at_once]
            with np.errstate(all="ignore"):
                results[some] = way(np.array([columns[row] for row in some.tolist()]).T, None)
    return results


def percentiles(matrix: Floats, n: float, interpolate: bool = False) -> Floats:
    """Return the n-th percentile of each column: the value at rank n/100 * (known + 1), rounded up or interpolated.

    IndexError where `n` is beyond what there is.
    """
    known = _known(matrix)
    if not len(matrix):
        return np.full(matrix.shape[1], np.nan)
    ordered = np.sort(matrix, axis=0)
    fractional = n / 100.0 * (known + 1)
    rank = fractional.astype(np.int64)
    part = fractional - rank
    if not interpolate:
        rank += np.ceil(part).astype(np.int64)
    row = np.where(rank == 0, 0, np.where(rank - 1 == known, known - 1, rank - 1))
    if ((row >= np.maximum(known, 1)) & (known > 0)).any() or (row < -np.maximum(known, 1)).any():
        raise IndexError(f"percentile {n} is out of range")
    columns = np.arange(matrix.shape[1])
    row = np.where(known > 0, np.where(row < 0, row + known, row), 0)
    found = ordered[row, columns]
    if interpolate:
        following = ordered[np.minimum(rank, np.maximum(known - 1, 0)), columns]
        found = np.where((rank != known) & (rank < known), found + part * (following - found), found)
    return _or_unknown(found, known)
