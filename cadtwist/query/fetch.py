"""Series from disk and memory, merged.  Blocking on files through the store; no reactor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from cadtwist.errors import StorageError, TooManyPointsError
from cadtwist.interfaces import IBulkReader, IStore
from cadtwist.kernels.active import columns
from cadtwist.model.series import Series
from cadtwist.query.consolidate import reduce_groups
from cadtwist.query.resolution import HotMetric, SchemaInfo

__all__ = ["fetch_metric", "fetch_metrics", "merge_hot", "window"]

Floats = npt.NDArray[np.float64]
_ENDLESS = 1 << 62


def window(
    archives: Sequence[tuple[int, int]], start: int, end: int, now: int, from_start: bool = False
) -> tuple[int, int, int] | None:
    """Return (first, end, step) of what is kept for [start, end], or None for nothing, as whisper aligns it.

    `archives` are (step, points) from fine to coarse.  The finest one that reaches back to `start` answers; the first
    value is the one behind `start`, the last one that of `end`.  With `from_start` they are that of `start` and the
    one before `end`, in the finest steps, as ceres aligns them.
    """
    oldest = now - max(step * points for step, points in archives)
    if start > now or end < oldest:
        return None
    start, end = max(start, oldest), min(end, now)
    if from_start:
        step = archives[0][0]
        first, behind = start - start % step, end - end % step
        return (first, behind, step) if first < behind else None
    step = next(step for step, points in archives if step * points >= now - start)
    first, behind = start - start % step + step, end - end % step + step
    return first, behind + step if first == behind else behind, step


def merge_hot(series: Series, timestamps: Floats, values: Floats, raw_step: int, method: str) -> Series:
    """Return the series with points from memory, which win over what the disk had.

    Within a slot of `raw_step` seconds (the finest archive) the latest point counts; where the series is coarser,
    its slots get these values combined by `method`.
    """
    if not len(timestamps) or not len(series):
        return series
    if raw_step == series.step and series.start % raw_step == 0:
        laid = series.values.copy()
        if columns.lay_over(laid, series.start, raw_step, timestamps, values):
            return Series(
                series.name, series.start, series.end, series.step, laid, series.consolidation, series.xff
            )
    if raw_step < 1 or series.step % raw_step:
        raw_step = series.step
    inside = (timestamps >= series.start) & (timestamps < series.start + len(series) * series.step)
    times = timestamps[inside].astype(np.int64)
    order = np.argsort(times, kind="stable")
    raw = times[order] // raw_step
    latest = np.flatnonzero(np.append(raw[1:] != raw[:-1], True)) if len(raw) else np.zeros(0, np.intp)
    if not len(latest):
        return series
    found = values[inside][order][latest]
    rows = np.maximum(raw[latest] * raw_step - series.start, 0) // series.step
    if raw_step != series.step:
        starts = np.flatnonzero(np.append(True, rows[1:] != rows[:-1]))
        found, rows = reduce_groups(found, starts, method), rows[starts]
    merged = series.values.copy()
    merged[rows] = found
    return replace(series, values=merged)


def fetch_metric(
    store: IStore, metric: HotMetric, schema: SchemaInfo, start: int, end: int, now: int
) -> tuple[Series | None, str]:
    """Return what is known of a metric in [start, end] and the fault of its file, empty for none.

    None: nothing is known.  A metric without a file is answered from memory as its schema will keep it.
    """
    (answer,) = fetch_metrics(store, [metric], [schema], start, end, now)
    return answer


def fetch_metrics(
    store: IStore, metrics: Sequence[HotMetric], schemas: Sequence[SchemaInfo], start: int, end: int, now: int,
    most: int = _ENDLESS,
) -> list[tuple[Series | None, str]]:  # fmt: skip
    """Return what `fetch_metric` does for each of several metrics, whose `schema` is the place of theirs in `schemas`.

    TooManyPointsError where they have more than `most` points altogether.
    """
    names = [metric.name for metric in metrics]
    if IBulkReader.providedBy(store):
        found = store.fetch_many(names, start, end, now, most)
    else:
        found = [_alone(store, name, start, end, now) for name in names]
    answers: list[tuple[Series | None, str]] = []
    points = 0
    for metric, one in zip(metrics, found, strict=True):
        if type(one) is Series:
            points += len(one.values)
            if not metric.timestamps:
                answers.append((one, ""))
                continue
        answers.append(_with_hot(metric, schemas[metric.schema], one, start, end, now))
    if points > most:
        raise TooManyPointsError(f"more than {most} points")
    return answers


def _alone(store: IStore, name: str, start: int, end: int, now: int) -> Series | StorageError | None:
    try:
        series: Series | None = store.fetch(name, start, end, now)
    except StorageError as error:
        return error
    return series


def _with_hot(
    metric: HotMetric, schema: SchemaInfo, found: Series | StorageError | None, start: int, end: int, now: int
) -> tuple[Series | None, str]:
    series, fault = (found, "") if found is None or isinstance(found, Series) else (None, str(found))
    if not metric.timestamps:
        return series, fault
    if series is None:
        kept = window(schema.archives, start, end, now, schema.from_start)
        if kept is None:
            return None, fault
        first, behind, step = kept
        empty = np.full((behind - first) // step, np.nan)
        series = Series(metric.name, first, behind, step, empty, schema.method, schema.xff)
    timestamps = np.frombuffer(metric.timestamps, np.float64)
    values = np.frombuffer(metric.values, np.float64)
    return merge_hot(series, timestamps, values, schema.archives[0][0], series.consolidation), fault
