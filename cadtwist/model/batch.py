"""Datapoints travelling together, as parallel columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BATCH_POINTS", "NO_ID", "Batch", "Columns", "Floats", "Ids", "Spans"]

BATCH_POINTS = 8192
"""The most datapoints that one Batch carries."""

NO_ID = 0xFFFFFFFF
"""Stands for "no such metric" wherever an id is expected."""

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]
SpanTable = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.bool_] | npt.NDArray[np.intp]


@dataclass(slots=True)
class Spans:
    """Where the raw lines of a Batch stand: `table[i]` is (line start, name end, line end) within `data`.

    `renamed`: which ids have other names than their lines (None: none has); where such a line goes on, its id's name
    takes the old one's place.  Of other lines the name is in the text alone: an id may serve for many that are alike.
    """

    data: bytes
    table: SpanTable
    renamed: npt.NDArray[np.bool_] | None = None

    def select(self, rows: Rows) -> Spans:
        """Return the chosen rows, copied."""
        return Spans(self.data, self.table[rows], None if self.renamed is None else self.renamed[rows])


@dataclass(slots=True)
class Batch:
    """Columns of equal length, LENT for the call of `accept`.

    A sink copies what it keeps, nobody changes a column, no thread gets one.  `weights` is statsd's sample rate;
    `spans` the raw lines, only where a sink asked for them.
    """

    ids: Ids
    timestamps: Floats
    values: Floats
    weights: Floats | None = None
    spans: Spans | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: Rows) -> Batch:
        """Return a Batch of the chosen rows (a mask or positions), copied."""
        return Batch(
            self.ids[rows],
            self.timestamps[rows],
            self.values[rows],
            None if self.weights is None else self.weights[rows],
            None if self.spans is None else self.spans.select(rows),
        )


class Columns:
    """The arrays that a codec fills: allocated once, lent out as Batches again and again."""

    __slots__ = ("ids", "n", "spans", "timestamps", "values")

    def __init__(self, capacity: int = BATCH_POINTS, keep_spans: bool = False) -> None:
        self.ids: Ids = np.zeros(capacity, np.uint32)
        self.timestamps: Floats = np.zeros(capacity, np.float64)
        self.values: Floats = np.zeros(capacity, np.float64)
        self.spans: SpanTable | None = np.zeros((capacity, 3), np.uint32) if keep_spans else None
        self.n = 0

    def batch(self, data: bytes = b"") -> Batch:
        """Return the filled part as a Batch; valid until the columns are filled again."""
        n = self.n
        spans = None if self.spans is None else Spans(data, self.spans[:n])
        return Batch(self.ids[:n], self.timestamps[:n], self.values[:n], None, spans)
