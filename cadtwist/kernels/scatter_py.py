"""Raw lines to one text for each destination: the readable twin of `scatter.pyx`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.table_py import MetricTable

__all__ = ["scatter"]

Ids = npt.NDArray[np.uint32]

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
    names: MetricTable | None,
) -> tuple[list[bytes | None], list[int], int] | None:
    """Return (texts, lines, unrouted), or None, with nothing counted, where a row's id is undecided.

    Row i is the line `spans[i]` = (start, key end, end) of `data`.  `numbers` (int16 or int32 by id) has what is
    decided: 0 and 1 nothing, below 0 to drop for the reason -1 - number, else the route number - 2, which goes to the
    destinations `cells[offsets[route]:offsets[route + 1]]` (uint16; offsets uint32, one more than routes).  A line
    leaves as `prefix`, its key, `suffix`, the rest, `ending`; its key is that of the text, or where `names` is a
    table, the name of its id.  `texts` and `lines` are by destination, None and 0 where nothing goes.
    `routed` (uint64 by route) and `dropped` (int64 by reason) are added to; `unrouted` rows had no destination.
    """
    routes = _targets(offsets, cells, destinations)
    if len(spans) != len(ids) or len(routed) < len(routes):
        raise ValueError("the columns differ in length")
    if len(ids) and int(ids.max()) >= len(numbers):
        return None
    found = numbers[ids].astype(np.int64)
    if ((found == 0) | (found == 1) | (found >= len(routes) + _FIRST_ROUTE)).any():
        return None
    parts: list[list[bytes]] = [[] for _ in range(destinations)]
    for (start, key_end, end), number, decided in zip(spans.tolist(), ids.tolist(), found.tolist(), strict=True):
        if not start <= key_end <= end <= len(data):
            raise ValueError("a span is out of range")
        if decided >= _FIRST_ROUTE:
            key = data[start:key_end] if names is None else names.name(number)
            line = prefix + key + suffix + data[key_end:end] + ending
            for destination in routes[decided - _FIRST_ROUTE]:
                parts[destination].append(line)
    counts = np.bincount(found[found > 0] - _FIRST_ROUTE, minlength=len(routes))
    drops = np.bincount(-1 - found[found < 0])
    if len(drops) > len(dropped):
        raise ValueError("a decision to drop has no reason")
    routed[: len(routes)] += counts.astype(np.uint64)
    dropped[: len(drops)] += drops
    unrouted = sum(int(counts[route]) for route, targets in enumerate(routes) if not targets)
    return [b"".join(each) if each else None for each in parts], [len(each) for each in parts], unrouted


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
