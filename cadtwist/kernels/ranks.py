"""The values of one timer, exact or thinned out, and what is asked of them by rank.

Beyond `kept` values, levels take over: when a full level is to take more, it is sorted and every second value of it
goes one level up, where it counts twice as much.  Beginning with the first and the second in turn, errors cancel out;
a rank is off by less than n / kept per level (there are log2(n / kept) of them).  Shared by the Python twins; the
native kernel computes the same.
"""

from __future__ import annotations

import math
from bisect import bisect_left

__all__ = ["Items", "Sorted"]


class Items:
    """Values in levels; one of level h stands for 2**h values.  `kept` 0: all are exact."""

    __slots__ = ("_kept", "_second", "levels")

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._second: list[int] = [0]
        self.levels: list[list[float]] = [[]]

    @property
    def bytes(self) -> int:
        """The memory taken, roughly."""
        return 8 * sum(len(level) for level in self.levels)

    def add(self, value: float) -> None:
        """Add a value."""
        if self._kept and len(self.levels[0]) == self._kept:
            self._thin_out(0)
        self.levels[0].append(value)

    def _thin_out(self, h: int) -> None:
        if h + 1 == len(self.levels):
            self.levels.append([])
            self._second.append(0)
        if len(self.levels[h + 1]) == self._kept:
            self._thin_out(h + 1)
        self.levels[h + 1].extend(sorted(self.levels[h])[self._second[h] :: 2])
        self._second[h] ^= 1
        self.levels[h] = []

    def all(self) -> list[float]:
        """Return the values that are there, whatever they stand for."""
        return [value for level in self.levels for value in level]


class Sorted:
    """Values in order, with running weights, sums and sums of squares."""

    def __init__(self, items: Items) -> None:
        pairs = sorted((value, 1 << h) for h, level in enumerate(items.levels) for value in level)
        self._values = [value for value, _ in pairs]
        self._weights, self._sums, self._squares = [0], [0.0], [0.0]
        for value, weight in pairs:
            self._weights.append(self._weights[-1] + weight)
            self._sums.append(self._sums[-1] + value * weight)
            self._squares.append(self._squares[-1] + value * value * weight)
        self.n = self._weights[-1]

    def at(self, rank: int) -> float:
        """Return the value of that rank, from 1 to n."""
        return self._values[bisect_left(self._weights, rank) - 1]

    def between(self, q: float) -> float:
        """Return what stands at q * (n - 1) from the least: a mean of its two neighbours, as near as they are."""
        place = q * (self.n - 1)
        low = math.floor(place)
        if low == place:
            return self.at(low + 1)
        below, above = self.at(low + 1), self.at(low + 2)
        return below * (low + 1 - place) + above * (place - low)

    def nearest(self, q: float) -> float:
        """Return the value of rank ceil(q * n)."""
        return self.at(min(max(math.ceil(q * self.n), 1), self.n))

    def below(self, limit: float) -> int:
        """Return how many values are less than `limit`; all of them for inf."""
        return self.n if limit == math.inf else self._weights[bisect_left(self._values, limit)]

    def _least(self, k: int) -> tuple[float, float]:
        """Return the sum, and that of the squares, of the k least."""
        if not k:
            return 0.0, 0.0
        i = bisect_left(self._weights, k)
        missing = self._weights[i] - k
        if not missing:
            return self._sums[i], self._squares[i]
        value = self._values[i - 1]
        return self._sums[i] - missing * value, self._squares[i] - missing * value * value

    def _threshold(self, percent: float) -> tuple[float, float, float, float, float]:
        n = self.n
        k = 1 if n == 1 else math.floor(abs(percent) / 100.0 * n + 0.5)
        if k == 0:
            return (math.nan,) * 5
        k = min(k, n)
        if percent > 0:
            bound, (total, squares) = self.at(k), self._least(k)
        else:
            bound = self.at(n - k + 1)
            total, squares = (a - b for a, b in zip(self._least(n), self._least(n - k), strict=True))
        return float(k), total / k, bound, total, squares

    def spread(self, thresholds: list[float]) -> list[float]:
        """Return the row that `Buckets.spread` tells of."""
        n, total = self.n, self._sums[-1]
        mean = total / n
        off = 0.0
        for i, value in enumerate(self._values):
            off += (value - mean) * (value - mean) * (self._weights[i + 1] - self._weights[i])
        median = self.at(n // 2 + 1) if n % 2 else (self.at(n // 2) + self.at(n // 2 + 1)) / 2.0
        row = [number for percent in thresholds for number in self._threshold(percent)]
        return [*row, math.sqrt(off / n), total, self._squares[-1], mean, median]
