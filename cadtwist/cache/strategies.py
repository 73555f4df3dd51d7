"""In which order metrics are written: each strategy turns a snapshot of what is pending into an order of ids.

A strategy is a generator function: it yields None between slices of work (each takes at most some ten milliseconds
with 1,000,000 metrics) and at last yields the ids, first to write first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Floats, Ids

__all__ = ["REFRESHED", "STRATEGIES", "Pending", "Strategy", "descending"]

_SLICE = 65536
_SMALL = 65536
Indices = npt.NDArray[np.intp]


class Pending(Protocol):
    """What is asked of the store of points."""

    def pending(self) -> tuple[Ids, Ids]:
        """Return ids and counts of metrics with pending points, first come first."""

    def oldest(self, ids: Ids, /) -> Floats:
        """Return each metric's oldest pending timestamp."""


Strategy = Callable[[Pending, float, float, np.random.Generator], Iterator["Ids | None"]]


def _by_count(counts: Ids) -> Indices:
    """Return positions by ascending count, stable, by radix passes over 16 bits."""
    order = np.argsort(counts.astype(np.uint16), kind="stable")
    if len(counts) and int(counts.max()) > 0xFFFF:
        high = (counts >> np.uint32(16)).astype(np.uint16)
        order = order[np.argsort(high[order], kind="stable")]
    return order


def descending(counts: Ids) -> Indices:
    """Return positions by descending count; of equal counts the first comes first."""
    return (len(counts) - 1 - _by_count(counts[::-1]))[::-1]


def _sorted(points: Pending, _: float, __: float, ___: np.random.Generator) -> Iterator[Ids | None]:
    """Most points first; carbon sorts ascending and takes from the end, so of equals the last comes first."""
    ids, counts = points.pending()
    yield None
    yield ids[_by_count(counts)[::-1]]


def _max(points: Pending, _: float, __: float, ___: np.random.Generator) -> Iterator[Ids | None]:
    """Most points first, of equals the first that came."""
    ids, counts = points.pending()
    yield None
    yield ids[descending(counts)]


def _naive(points: Pending, _: float, __: float, ___: np.random.Generator) -> Iterator[Ids | None]:
    """The last that came first."""
    yield points.pending()[0][::-1]


def _random(points: Pending, _: float, __: float, rng: np.random.Generator) -> Iterator[Ids | None]:
    """Any order."""
    ids, _counts = points.pending()
    yield None
    yield ids[rng.permutation(len(ids))]


def _timesorted(points: Pending, now: float, lag_s: float, _: np.random.Generator) -> Iterator[Ids | None]:
    """The oldest datapoint first; only metrics whose oldest is more than `lag_s` seconds old, where that is not 0."""
    ids, _counts = points.pending()
    parts = []
    for at in range(0, len(ids), _SLICE):
        parts.append(points.oldest(ids[at : at + _SLICE]))
        yield None
    oldest = np.concatenate(parts) if parts else np.zeros(0)
    due = oldest < now - lag_s if lag_s > 0 else oldest < np.inf
    ids, oldest = ids[due], oldest[due]
    if len(ids) <= _SMALL:
        yield ids[np.argsort(oldest, kind="stable")]
        return
    yield None
    seconds = np.clip(oldest - oldest.min(), 0, 0xFFFFFFFF).astype(np.uint32)
    order = np.argsort(seconds.astype(np.uint16), kind="stable")
    yield None
    high = (seconds >> np.uint32(16)).astype(np.uint16)[order]
    yield None
    order = order[np.argsort(high, kind="stable")]
    yield None
    yield ids[order]


STRATEGIES: dict[str, Strategy] = {
    "sorted": _sorted,
    "max": _max,
    "bucketmax": _max,
    "naive": _naive,
    "timesorted": _timesorted,
    "random": _random,
}
"""The strategies by the names of CACHE_WRITE_STRATEGY."""

REFRESHED = frozenset({"max", "bucketmax"})
"""Strategies whose order is looked up anew although ids of the last snapshot are left."""
