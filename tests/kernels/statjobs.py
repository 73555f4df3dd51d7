"""Jobs for statfile Writers, made of plain tuples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Sample", "gauge", "job", "summary"]

Sample = tuple[float, float, float, float, float, float]
"""Time, count, sum, sum of squares, smallest, greatest."""


def gauge(time: float, value: float) -> Sample:
    """Return what a line with one value says."""
    return (time, 1, value, value * value, value, value)


def summary(time: float, total: float, sumsq: float, low: float, high: float, count: float) -> Sample:
    """Return what a line of seven fields says, its fields in the line's order."""
    return (time, count, total, sumsq, low, high)


def job(
    samples: Mapping[bytes, Sequence[Sample]],
    now: int,
    shift: int = 0,
    may_create: int = 1000,
    events: bool | Mapping[bytes, bool] = False,
    ids: Mapping[bytes, int] | None = None,
) -> tuple[tuple[Any, ...], npt.NDArray[np.uint8]]:
    """Return the arguments of `plan`, and the statuses that it will set; ids count the names unless given."""
    names = list(samples)
    numbers = [i if ids is None else ids[name] for i, name in enumerate(names)]
    kinds = [events if isinstance(events, bool) else events[name] for name in names]
    flat = np.array([sample for rows in samples.values() for sample in rows], np.float64).reshape(-1, 6)
    name_offsets = np.cumsum([0, *map(len, names)]).astype(np.uint32)
    offsets = np.cumsum([0, *map(len, samples.values())]).astype(np.uint32)
    columns = [np.ascontiguousarray(flat[:, n]) for n in range(6)]
    statuses = np.zeros(len(names), np.uint8)
    return (
        b"".join(names), name_offsets, np.array(numbers, np.uint32), np.array(kinds, np.uint8), offsets, *columns,
        now, shift, may_create, statuses,
    ), statuses  # fmt: skip
