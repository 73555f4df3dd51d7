"""Reading ceres nodes: which slices there are, and their points as one series.

Tools that roll up may rename, cut or remove slices while they are read: then FileNotFoundError asks for another look.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.errors import StorageError
from cadtwist.kernels.ceresformat import (
    MAX_NODE_BYTES,
    NODE_FILE,
    POINT_BYTES,
    Node,
    parse_node,
    slice_name,
    slice_of,
)
from cadtwist.kernels.regularfile import open_regular

__all__ = ["MAX_SLOTS", "Slice", "aggregated", "read_node", "read_points", "read_slice", "slices_in"]

MAX_SLOTS = 1 << 26
"""The most points of one answer."""

Floats = npt.NDArray[np.float64]
_METHODS = ("average", "avg", "sum", "last", "max", "min", "")


class Slice(NamedTuple):
    """A file of a node: `points` values of `step` seconds from `start` (epoch seconds) on."""

    start: int
    step: int
    points: int

    @property
    def end(self) -> int:
        """Where its last step ends."""
        return self.start + self.points * self.step


def read_node(folder: bytes) -> Node:
    """Return what a node says of itself; OSError where there is none, CorruptNodeError where it says nothing usable."""
    with os.fdopen(open_regular(os.path.join(folder, NODE_FILE)), "rb") as file:
        return parse_node(file.read(MAX_NODE_BYTES))


def slices_in(folder: bytes) -> list[Slice]:
    """Return the slices of a node, newest first."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            named = slice_of(entry.name)
            if named is not None:
                try:
                    found.append(Slice(*named, entry.stat().st_size // POINT_BYTES))
                except FileNotFoundError:
                    continue
    return sorted(found, reverse=True)


def read_slice(folder: bytes, one: Slice, start: int, end: int) -> Floats:
    """Return the values of a slice from the step of `start` on, as many whole steps as fit before `end`.

    Fewer where the slice ends; FileNotFoundError where it has vanished.
    """
    first = (start - one.start) // one.step
    count = max(end - start, 0) // one.step
    fd = open_regular(os.path.join(folder, slice_name(one.start, one.step)))
    try:
        data = os.pread(fd, min(count, MAX_SLOTS) * POINT_BYTES, first * POINT_BYTES)
    finally:
        os.close(fd)
    return np.frombuffer(data, ">f8", len(data) // POINT_BYTES).astype(np.float64)


def read_points(folder: bytes, slices: list[Slice], start: int, end: int, step: int, method: str) -> tuple[int, Floats]:
    """Return (seconds per value, values) of [start, end), both whole steps of the node, as ceres' own reader does.

    The newest slice with points sets the step, a coarser one behind it takes over; finer points are combined by
    `method` from their own beginning on, not aligned to the clock.  NaN where nothing is known.
    """
    boundary = end
    parts: list[Floats] = []
    earliest = None
    for one in slices:
        if start < one.start <= end or start >= one.start:
            begin = max(start, one.start)
            if begin >= one.end:
                if begin == start:
                    break
                continue
            values = read_slice(folder, one, begin, boundary)
            behind = begin + len(values) * one.step
            if one.step != step:
                if not sum(map(len, parts)):
                    step = one.step
                elif one.step < step:
                    values = aggregated(values, step // one.step, method)
                else:
                    parts = [aggregated(np.concatenate(parts), one.step // step, method)]
                    step = one.step
            parts[:0] = [values, np.full(max(boundary - behind, 0) // step, np.nan)]
            earliest = begin
            if begin == start:
                break
        boundary = min(boundary, one.start)
    if earliest is None:
        return step, np.full((end - start) // step, np.nan)
    return step, np.concatenate([np.full((earliest - start) // step, np.nan), *parts])


def aggregated(values: Floats, factor: int, method: str) -> Floats:
    """Return one value for each `factor` of them, the last group perhaps of fewer; unknown ones are left aside.

    StorageError for a method that ceres does not know.
    """
    if method not in _METHODS:
        raise StorageError(f"no way to combine points by {method!r}")
    if factor < 2 or not len(values):
        return values
    groups = np.full((-(-len(values) // factor), factor), np.nan)
    groups.reshape(-1)[: len(values)] = values
    known = ~np.isnan(groups)
    counts = known.sum(axis=1)
    if method in ("max", "min"):
        beyond = -np.inf if method == "max" else np.inf
        chosen = np.where(known, groups, beyond)
        found = chosen.max(axis=1) if method == "max" else chosen.min(axis=1)
    elif method == "last":
        found = groups[np.arange(len(groups)), factor - 1 - known[:, ::-1].argmax(axis=1)]
    else:
        found = np.cumsum(np.where(known, groups, 0.0), axis=1)[:, -1]
        if method != "sum":
            found = found / np.maximum(counts, 1)
    return np.where(counts > 0, found, np.nan)
