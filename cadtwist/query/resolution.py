"""Which metrics patterns mean, how they are kept, and what of them waits in memory: values, and how they travel.

An owner tells them in `Piece`s, columns of a few hundred metrics, so that it spends no statement on a metric and no
long time at once; who asked puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct

__all__ = ["METRICS_AT_ONCE", "HotMetric", "Piece", "Resolution", "SchemaInfo", "assembled", "cut"]

METRICS_AT_ONCE = 512
"""The most metrics of a piece."""


class SchemaInfo(Struct, frozen=True, array_like=True):
    """How a metric is kept: (step, points) from fine to coarse, aggregation method and xFilesFactor.

    Of a range its store gives the steps of [start, end) with `from_start`, as ceres does, else those of (start, end].
    """

    archives: tuple[tuple[int, int], ...]
    method: str
    xff: float
    from_start: bool = False


class HotMetric(Struct, frozen=True, array_like=True, gc=False):
    """One metric that a pattern means; its points in memory as native float64 columns; the number of its schema."""

    name: str
    schema: int
    timestamps: bytes = b""
    values: bytes = b""


class Resolution(Struct, frozen=True, array_like=True):
    """The metrics of each pattern, sorted by name, and the schemas that they refer to.

    `quiet`: no datapoint at all waited in memory.
    """

    patterns: list[list[HotMetric]]
    schemas: list[SchemaInfo]
    quiet: bool = False


class Piece(Struct, frozen=True, array_like=True):
    """Some metrics of the pattern at place `pattern`: names, and columns of native numbers.

    `numbers` (uint32) tell the places of their schemas in `schemas`, empty: all have the first.  The points of metric
    i are those between `offsets[i]` and `offsets[i + 1]` (uint32) of the float64 columns; empty: there are none.
    `ids` (uint32) are the numbers under which points of these metrics wait, empty: that is not told.
    """

    pattern: int
    names: list[str]
    schemas: list[SchemaInfo]
    numbers: bytes = b""
    offsets: bytes = b""
    timestamps: bytes = b""
    values: bytes = b""
    ids: bytes = b""


def assembled(patterns: int, pieces: Iterable[Piece], quiet: bool) -> Resolution:
    """Return what pieces tell of so many patterns; those of one pattern follow each other in order."""
    schemas: list[SchemaInfo] = []
    found: list[list[HotMetric]] = [[] for _ in range(patterns)]
    for piece in pieces:
        behind = _place(schemas, piece.schemas)
        numbers = np.frombuffer(piece.numbers, np.uint32) + behind if piece.numbers else None
        places = [behind] * len(piece.names) if numbers is None else numbers.tolist()
        if not piece.offsets:
            found[piece.pattern] += map(HotMetric, piece.names, places)
            continue
        times, values = piece.timestamps, piece.values
        bounds = (8 * np.frombuffer(piece.offsets, np.uint32).astype(np.int64)).tolist()
        found[piece.pattern] += [
            HotMetric(name, place, times[low:high], values[low:high])
            for name, place, (low, high) in zip(piece.names, places, pairwise(bounds), strict=True)
        ]
    return Resolution(found, schemas, quiet)


def _place(schemas: list[SchemaInfo], some: list[SchemaInfo]) -> int:
    """Return the place from which on `some` are in `schemas`; they are put there unless they were the last to be."""
    behind = len(schemas) - len(some)
    if behind < 0 or schemas[behind:] != some:
        behind = len(schemas)
        schemas += some
    return behind


def cut(resolution: Resolution, take: Callable[[Piece], object]) -> bool:
    """Give `take` all of a resolution in pieces; return whether it is quiet."""
    for pattern, metrics in enumerate(resolution.patterns):
        for low in range(0, len(metrics), METRICS_AT_ONCE):
            take(_piece(pattern, metrics[low : low + METRICS_AT_ONCE], resolution.schemas))
    return resolution.quiet


def _piece(pattern: int, metrics: Sequence[HotMetric], schemas: list[SchemaInfo]) -> Piece:
    offsets = np.zeros(len(metrics) + 1, np.uint32)
    np.cumsum([len(metric.timestamps) // 8 for metric in metrics], out=offsets[1:])
    return Piece(
        pattern,
        [metric.name for metric in metrics],
        schemas,
        np.array([metric.schema for metric in metrics], np.uint32).tobytes(),
        offsets.tobytes(),
        b"".join(metric.timestamps for metric in metrics),
        b"".join(metric.values for metric in metrics),
    )
