"""What istatd answers of a counter: which file, which range, which cells, and what is told of each.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.statformat import CELL, COLLATED, COUNTER_AGGREGATE, TRAILING, Header

__all__ = ["COUNTER_FIGURES", "FIGURES", "Cells", "Selection", "figures", "select", "select_interval"]

DEFAULT_SPAN_S = 900
FIGURES = ("count", "min", "max", "sum", "sumsq", "avg", "sdev")
"""What is told of each cell, beside its time."""

COUNTER_FIGURES = {"avg": "average", "count": "sum", "max": "max", "min": "min", "sdev": "average", "sum": "sum"}
"""The figures that are series, each with how its values are consolidated."""

_REDUCTIONS_S = (
    10, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 14400, 21600, 28800, 43200, 86400,
)  # fmt: skip
_NO_SEASON_INTERVAL_S = 10
_MAX_CELLS = 1 << 26
_FLOAT_MAX = float(np.finfo(np.float32).max)

Cells = npt.NDArray[Any]
ReadCells = Callable[[int, int, int], Cells]


class Selection(NamedTuple):
    """The range as it was rounded (epoch seconds), the seconds between cells, and the cells (dtype CELL)."""

    start: int
    end: int
    interval: int
    cells: Cells


def select(
    headers: Sequence[Header | None],
    read: ReadCells,
    start: int,
    end: int,
    now: int,
    most: int,
    trailing: bool = False,
) -> Selection:
    """Return the cells of a counter from `start` to `end` (0: not given), at most `most` of them (0: all).

    `headers` are those of its files, finest first; `read(file, first index, count)` returns cells as they lie in
    their slots.  `trailing` asks for a season file.
    """
    start, end = _range(start, end, now)
    none = np.zeros(0, CELL)
    if end < start:
        return Selection(start, end, 0, none)
    number, interval = _pick_season(headers, now - start) if trailing else _pick(headers, start, now)
    native = interval
    start, end, interval = _normalised(start, end, interval, most)
    head = None if number is None else headers[number]
    if number is None or head is None:
        return Selection(start, end, interval, none)
    event = any(h is not None and h.flags & (COUNTER_AGGREGATE if n else COLLATED) for n, h in enumerate(headers))
    cells = _read(head, number, read, start, end, event)
    if native < interval:
        fixed = head.fixed_count if head.flags & COUNTER_AGGREGATE else 1
        cells = _reduced(cells, start, interval, interval // native * fixed if event else 0)
    return Selection(start, end, interval, cells)


def select_interval(
    headers: Sequence[Header | None], read: ReadCells, interval: int, start: int, end: int
) -> Cells | None:
    """Return the cells that a counter has from `start` to before `end` in its file of `interval` seconds.

    None where it has no such file; files of a season do not count.
    """
    for number, head in enumerate(headers):
        if head is not None and head.interval == interval and not head.flags & TRAILING:
            cells = _read(head, number, read, start, end, event=False)
            within: Cells = cells[cells["time"] < end]
            return within
    return None


def _range(start: int, end: int, now: int) -> tuple[int, int]:
    if not start and not end:
        return now - DEFAULT_SPAN_S, now
    return start or end - DEFAULT_SPAN_S, end or start + DEFAULT_SPAN_S


def _pick(headers: Sequence[Header | None], start: int, now: int) -> tuple[int | None, int]:
    """Return the finest file in which `start` is, and the interval to answer with."""
    interval = _NO_SEASON_INTERVAL_S
    for number, head in enumerate(headers):
        if head is None:
            continue
        interval = head.interval
        index = (start - head.create_time) // head.interval
        if index > head.last_bucket:
            if head.flags & COLLATED and head.create_time + index * head.interval < now:
                return number, interval
        elif index > head.last_bucket - head.slots:
            return number, interval
    finest = next((head for head in headers if head is not None), None)
    if finest is not None and start > finest.last_time:
        interval = finest.interval
    return None, interval


def _pick_season(headers: Sequence[Header | None], ago: int) -> tuple[int | None, int]:
    """Return the first season file whose season reaches back far enough."""
    interval = _NO_SEASON_INTERVAL_S
    for number, head in enumerate(headers):
        if head is not None and head.flags & TRAILING:
            interval = head.interval
            if head.season >= ago:
                return number, interval
    return None, interval


def _normalised(start: int, end: int, interval: int, most: int) -> tuple[int, int, int]:
    """Round the range to the interval, and to a coarser one where there would be more than `most` cells."""
    if most == 1 and end > start:
        span = end - start
        start -= start % span
        end += -end % span
        return start, end, end - start
    start -= start % interval
    end += -end % interval
    if not most or (end - start) // interval <= most:
        return start, end, interval
    usable = [step for step in _REDUCTIONS_S if step > interval and step % interval == 0]
    fitting = (step for step in usable if (end - start) // step <= most)
    target = next(fitting, usable[-1] if usable else (end - start) // most)
    if not usable and target < 2 * interval:
        return start, end, interval
    return start - start % target, end + -end % target, target


def _read(head: Header, number: int, read: ReadCells, start: int, end: int, event: bool) -> Cells:
    """Return the cells of a range: of a gauge those that exist, of events one for each interval."""
    first = (start - head.create_time) // head.interval
    count = max(1, min((end - start) // head.interval, _MAX_CELLS))
    low, high = max(first, head.last_bucket - head.slots + 1), min(first + count - 1, head.last_bucket)
    found = read(number, low, high - low + 1) if low <= high else np.zeros(0, CELL)
    times = found["time"]
    if not event:
        existing: Cells = found[(times >= start) & (times <= end) & (times != 0)]
        return existing
    cells = np.zeros(min(count, head.slots), CELL)
    cells["time"] = start + np.arange(len(cells)) * head.interval
    cells["count"] = 1
    known = (times >= start) & (times < end) & (times != 0)
    places = (np.arange(len(found)) + (low - first))[known]
    within = places < len(cells)
    cells[places[within]] = found[known][within]
    return cells


def _reduced(cells: Cells, start: int, interval: int, fixed: int) -> Cells:
    """Merge cells into longer ones; of events (`fixed` > 0) each then counts that many, gaps as zeros."""
    if not len(cells):
        return cells
    groups = (cells["time"] - start) // interval
    counted = cells["count"] != 0
    keys, inverse = np.unique(groups, return_inverse=True)
    first = np.full(len(keys), len(cells))
    np.minimum.at(first, inverse[counted], np.flatnonzero(counted))
    last = np.zeros(len(keys), np.intp)
    np.maximum.at(last, inverse, np.arange(len(cells)))
    first = np.minimum(first, last)  # of nothing counted the last cell remains
    kept = np.arange(len(cells)) >= first[inverse]
    cells, inverse = cells[kept], inverse[kept]
    heads = np.zeros(len(cells), np.bool_)
    heads[np.searchsorted(inverse, np.arange(len(keys)))] = True
    out: Cells = cells[heads].copy()
    out["time"] = start + keys * interval
    rest, into = cells[~heads], inverse[~heads]
    with np.errstate(all="ignore"):
        for field in ("sum", "sumsq"):
            column = out[field].copy()
            np.add.at(column, into, rest[field])
            out[field] = column
        totals = out["count"].astype(np.int64)
        np.add.at(totals, into, rest["count"])
        for field, at, beyond in (("min", np.minimum.at, np.inf), ("max", np.maximum.at, -np.inf)):
            column = out[field].copy()
            at(column, into, np.where(np.isnan(rest[field]), beyond, rest[field]).astype(np.float32))
            out[field] = column
    out["count"] = totals.astype(np.int32)
    if fixed:
        short = out["count"] < fixed
        out["min"][short] = np.where(out["min"][short] > 0, 0, out["min"][short])
        out["max"][short] = np.where(out["max"][short] < 0, 0, out["max"][short])
        out["count"] = fixed
    return out


def figures(cells: Cells, single: bool = False) -> dict[str, list[Any]]:
    """Return `time` and FIGURES of cells as lists of Python numbers.

    With `single` every number is rounded to a float32, as istatd tells them.  Infinity is told as the largest float32.
    The deviation is that of a sample: 0 of fewer than two values.
    """
    counts = cells["count"].astype(np.float64)
    sums, sumsqs = cells["sum"], cells["sumsq"].astype(np.float64)
    many = counts > 1
    with np.errstate(all="ignore"):
        mean = np.where(counts > 0, sums / np.where(counts > 0, counts, 1), 0.0)
        spread = np.maximum(counts * sumsqs - sums * sums, 0) / np.where(many, counts * (counts - 1), 1)
        columns = {
            "min": cells["min"],
            "max": cells["max"],
            "sum": sums,
            "sumsq": sumsqs,
            "avg": mean,
            "sdev": np.where(many, np.sqrt(spread), 0.0),
        }
        told = {
            name: np.clip(column.astype(np.float32) if single else column, -_FLOAT_MAX, _FLOAT_MAX)
            if name in ("min", "max") or single
            else np.where(np.isinf(column), np.copysign(_FLOAT_MAX, column), column)
            for name, column in columns.items()
        }
    lists: dict[str, list[Any]] = {name: column.astype(np.float64).tolist() for name, column in told.items()}
    return {"time": cells["time"].tolist(), "count": cells["count"].tolist(), **lists}
