"""Raw lines to one text for each destination: the readable twin of `scatter.pyx`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.table_py import MetricTable

__all__ = ["rows", "scatter"]

Ids = npt.NDArray[np.uint32]

T = TypeVar("T")

_FIRST_ROUTE = 2


def scatter(
    data: bytes,
    spans: Ids,
    ids: Ids,
    numbers: npt.NDArray[np.int16] | npt.NDArray[np.int32],
    offsets: Ids,
    cells: npt.NDArray[np.uint16],
    destinations: int,
    routed: npt.NDArray[np.uint64],
    dropped: npt.NDArray[np.int64],
    prefix: bytes,
    suffix: bytes,
    ending: bytes,
    names: MetricTable,
    renamed: npt.NDArray[np.bool_] | None,
) -> tuple[list[bytes | None], list[int], int] | None:
    """Return (texts, lines, unrouted), or None, with nothing counted, where a row's id is undecided.

    Row i is the line `spans[i]` = (start, key end, end) of `data`.  `numbers` (int16 or int32 by id) has what is
    decided: 0 and 1 nothing, below 0 to drop for the reason -1 - number, else the route number - 2, which goes to the
    destinations `cells[offsets[route]:offsets[route + 1]]` (uint16; offsets uint32, one more than routes).  A line
    leaves as `prefix`, its key, `suffix`, the rest, `ending`; its key is that of the text, or where the row is
    `renamed` (bool by row; None: no row is), that of its id in `names`.  `texts` and `lines` are by destination, None
    and 0 where nothing goes.
    `routed` (uint64 by route) and `dropped` (int64 by reason) are added to; `unrouted` rows had no destination.
    """
    if len(spans) != len(ids) or (renamed is not None and len(renamed) != len(ids)):
        raise ValueError("the columns differ in length")

    def written(row: int, number: int) -> bytes:
        start, key_end, end = spans[row].tolist()
        key = data[start:key_end] if renamed is None or not renamed[row] else names.name(number)
        return prefix + key + suffix + data[key_end:end] + ending

    starts, key_ends, ends = spans[:, 0], spans[:, 1], spans[:, 2]
    if not ((starts <= key_ends) & (key_ends <= ends) & (ends <= len(data))).all():
        raise ValueError("a span is out of range")
    parts = _parts(ids, numbers, offsets, cells, destinations, routed, dropped, written)
    if parts is None:
        return None
    return [b"".join(each) if each else None for each in parts[0]], [len(each) for each in parts[0]], parts[1]


def rows(
    ids: Ids,
    numbers: npt.NDArray[np.int16] | npt.NDArray[np.int32],
    offsets: Ids,
    cells: npt.NDArray[np.uint16],
    destinations: int,
    routed: npt.NDArray[np.uint64],
    dropped: npt.NDArray[np.int64],
) -> tuple[list[npt.NDArray[np.intp] | None], int] | None:
    """Return (rows, unrouted) as `scatter` does, but of each destination the positions (intp array, None for none)."""
    parts = _parts(ids, numbers, offsets, cells, destinations, routed, dropped, lambda row, _: row)
    if parts is None:
        return None
    return [np.array(each, np.intp) if each else None for each in parts[0]], parts[1]


def _parts(
    ids: Ids,
    numbers: npt.NDArray[Any],
    offsets: Ids,
    cells: npt.NDArray[np.uint16],
    destinations: int,
    routed: npt.NDArray[np.uint64],
    dropped: npt.NDArray[np.int64],
    written: Callable[[int, int], T],
) -> tuple[list[list[T]], int] | None:
    """Return what `written(row, id)` gives by destination, and how many rows had none; None where one is undecided."""
    routes = _targets(offsets, cells, destinations)
    if len(routed) < len(routes):
        raise ValueError("the columns differ in length")
    if len(ids) and int(ids.max()) >= len(numbers):
        return None
    found = numbers[ids].astype(np.int64)
    if ((found == 0) | (found == 1) | (found >= len(routes) + _FIRST_ROUTE)).any():
        return None
    drops = np.bincount(-1 - found[found < 0])
    if len(drops) > len(dropped):
        raise ValueError("a decision to drop has no reason")
    parts: list[list[T]] = [[] for _ in range(destinations)]
    for row, (number, decided) in enumerate(zip(ids.tolist(), found.tolist(), strict=True)):
        if decided >= _FIRST_ROUTE:
            text = written(row, number)
            for destination in routes[decided - _FIRST_ROUTE]:
                parts[destination].append(text)
    counts = np.bincount(found[found > 0] - _FIRST_ROUTE, minlength=len(routes))
    routed[: len(routes)] += counts.astype(np.uint64)
    dropped[: len(drops)] += drops
    return parts, sum(int(counts[route]) for route, targets in enumerate(routes) if not targets)


def _targets(offsets: Ids, cells: npt.NDArray[np.uint16], destinations: int) -> list[list[int]]:
    """Return the destinations of each route."""
    bounds = offsets.tolist()
    if any(a > b for a, b in pairwise(bounds)):
        raise ValueError("offsets must ascend")
    if not bounds or bounds[-1] > len(cells):
        raise ValueError("offsets do not fit the cells")
    if len(cells) and int(cells.max()) >= destinations:
        raise ValueError("a cell is no destination")
    return [cells[a:b].tolist() for a, b in pairwise(bounds)]
