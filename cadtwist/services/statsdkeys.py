"""The log of the most frequent keys of statsd."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cadtwist.model.batch import Ids

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["KeyCounts"]


class KeyCounts:
    """Counts values by series; tells the keys that were seen most.  Reactor thread."""

    def __init__(self, table: tables.MetricTable) -> None:
        self._table = table
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def add(self, ids: Ids) -> None:
        """Count the values of a Batch."""
        if not len(ids):
            return
        needed = int(ids.max()) + 1
        if needed > len(self._counts):
            grown = np.zeros(needed + needed // 4 + 64, np.int64)
            grown[: len(self._counts)] = self._counts
            self._counts = grown
        np.add.at(self._counts, ids, 1)

    def lines(self, percent: float, date: str) -> list[str]:
        """Return a line for each of the first `percent` of the keys, the most frequent first; count anew."""
        ids = np.flatnonzero(self._counts).astype(np.uint32)
        found: dict[str, int] = {}
        for number, count in zip(ids.tolist(), self._counts[ids].tolist(), strict=True):
            try:
                key = self._table.name(number).rpartition(b"|")[0].decode("utf-8")
            except KeyError:
                continue
            found[key] = found.get(key, 0) + count
        self._counts.fill(0)
        ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
        most = math.ceil(len(ordered) * percent / 100.0)
        return [f"{date} count={count} key={key}" for key, count in ordered[:most]]
