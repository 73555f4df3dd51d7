"""Samples that wait to be written, by counter and in the order of their arrival: the readable twin."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SAMPLE_BYTES", "SampleStore"]

SAMPLE_BYTES = 52
"""What a waiting sample takes."""

FUTURE_S = 60
"""Seconds by which a sample of a gauge may be ahead."""

_SLACK = 0.0001
Floats = npt.NDArray[np.float64]
Columns = tuple[Floats, Floats, Floats, Floats, Floats, Floats]
Sample = tuple[float, float, float, float, float, float]


class SampleStore:
    """At most `most` samples; columns are time, count, sum, sum of squares, smallest and greatest.

    A counter that has `full_at` of them is told by `full`.
    """

    def __init__(self, most: int, full_at: int = 0xFFFFFFFF) -> None:
        self.most, self.full_at = most, full_at
        self._rows: dict[int, list[Sample]] = {}
        self._full: list[int] = []
        self._n = 0

    def __len__(self) -> int:
        """Return how many samples wait."""
        return self._n

    @property
    def counters(self) -> int:
        """How many counters have samples that wait."""
        return len(self._rows)

    def append(
        self, ids: Any, times: Any, counts: Any, sums: Any, sumsqs: Any, minima: Any, maxima: Any, events: Any,
        now: float, step: int,
    ) -> tuple[int, int, int]:  # fmt: skip
        """Take samples; return how many were refused: from the future, implausible, without room.

        `events[i]` says that row i is of events: it may be `step` seconds ahead of `now`, and only its time and sum
        count.  A gauge may be 60 s ahead, must count something, and its mean must lie between its extremes.
        """
        future = implausible = no_room = 0
        columns = (ids, times, counts, sums, sumsqs, minima, maxima, events)
        if any(len(column) != len(ids) for column in columns):
            raise ValueError("the columns differ in length")
        for number, time, count, total, sumsq, low, high, event in zip(*(c.tolist() for c in columns), strict=True):
            if time > now + (step if event else FUTURE_S):
                future += 1
            elif not event and not _plausible(count, total, low, high):
                implausible += 1
            elif self._n >= self.most:
                no_room += 1
            else:
                rows = self._rows.setdefault(number, [])
                rows.append((time, count, total, sumsq, low, high))
                self._n += 1
                if len(rows) == self.full_at:
                    self._full.append(number)
        return future, implausible, no_room

    def full(self) -> npt.NDArray[np.uint32]:
        """Return and forget the counters that have become full; some may be empty again."""
        full, self._full = self._full, []
        return np.array(full, np.uint32)

    def waiting(self) -> npt.NDArray[np.uint32]:
        """Return the counters that have samples, ascending."""
        return np.array(sorted(self._rows), np.uint32)

    def has(self, ids: Any) -> npt.NDArray[np.bool_]:
        """Return which counters have samples."""
        return np.array([number in self._rows for number in np.asarray(ids).tolist()], np.bool_)

    def take(self, ids: Any) -> tuple[npt.NDArray[np.uint32], Columns]:
        """Take the samples of counters out; return n + 1 offsets and the six columns."""
        taken = [self._rows.pop(number, []) for number in np.asarray(ids).tolist()]
        offsets, columns = _columns(taken)
        self._n -= len(columns[0])
        return offsets, columns

    def peek(self, ids: Any) -> tuple[npt.NDArray[np.uint32], Columns]:
        """Return the samples of counters as `take` does, and leave them there."""
        return _columns([self._rows.get(number, []) for number in np.asarray(ids).tolist()])

    def put_back(self, ids: Any, offsets: Any, columns: Columns) -> None:
        """Put samples that were taken before those that came since; they find room in any case."""
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        for place, number in enumerate(np.asarray(ids).tolist()):
            back = rows[offsets[place] : offsets[place + 1]]
            if back:
                self._rows[number] = back + self._rows.get(number, [])
                self._n += len(back)


def _plausible(count: float, total: float, low: float, high: float) -> bool:
    if count == 0:
        return False
    mean, slack = total / count, abs(high) * _SLACK
    return not (low > high + slack or mean + abs(mean) * _SLACK < low or mean > high + slack)


def _columns(rows: list[list[Sample]]) -> tuple[npt.NDArray[np.uint32], Columns]:
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.uint32)
    flat = np.array([sample for of_one in rows for sample in of_one], np.float64).reshape(-1, 6)
    times, counts, sums, sumsqs, minima, maxima = (np.ascontiguousarray(flat[:, number]) for number in range(6))
    return offsets, (times, counts, sums, sumsqs, minima, maxima)
