"""Which lines of a flooding key are absorbed instead of relayed: the readable twin of `flood.pyx`.

Each counter, timer and gauge key counts its lines in a window.  The line behind the threshold switches the key to
sampling: it and those that follow are absorbed, until a window in which it stays within the threshold has ended.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cadtwist.kernels.absorbed import COUNTER, GAUGE, MOST_WEIGHT, TIMER, Absorbed
from cadtwist.kernels.keyedline import number_before

__all__ = ["Flood"]

Ids = npt.NDArray[np.uint32]

_KINDS = {b"c": COUNTER, b"ms": TIMER, b"m": TIMER, b"g": GAUGE}
_LEAST, _MOST = 2.2250738585072014e-308, 1.7976931348623157e308
_MASK = (1 << 64) - 1


class _Key:
    __slots__ = ("absorbed", "count", "lines", "lower", "sample", "sampling", "seen", "total", "upper")

    def __init__(self) -> None:
        self.lines, self.seen, self.sampling = 0, 0, False
        self.clear()

    def clear(self) -> None:
        self.absorbed = 0
        self.count = self.total = 0.0
        self.upper: tuple[float, float] | None = None
        self.lower: tuple[float, float] | None = None
        self.sample: list[float] = []


class Flood:
    """The state of all keys by kind and id; `thresholds` (below 0: that kind passes) and `most_keys` are by kind.

    `extremes`: a timer's highest and lowest value are kept apart from its sample.
    """

    def __init__(self, thresholds: Sequence[int], most_keys: Sequence[int], extremes: bool, seed: int) -> None:
        self._thresholds, self._most_keys, self._extremes = tuple(thresholds), tuple(most_keys), extremes
        self._keys: tuple[dict[int, _Key], ...] = ({}, {}, {})
        self._dice = seed & _MASK or 1

    def take(self, data: bytes, spans: Ids, ids: Ids, kept: npt.NDArray[np.uint8], now: int) -> tuple[int, int]:
        """Look at statsd lines that were checked; set `kept[i]` to 1 where line i goes on, else to 0.

        Returns how many were absorbed, and how many dropped because their kind has `most_keys` keys.
        """
        absorbed = flagged = 0
        for row, ((start, _, end), number) in enumerate(zip(spans.tolist(), ids.tolist(), strict=True)):
            kept[row] = 1
            line = data[start:end]
            value, rest = number_before(line, line.rfind(b":") + 1)
            word, *more = rest.partition(b"|")[2].split(b"|", 1)
            kind = _KINDS.get(word)
            if kind is None or self._thresholds[kind] < 0:
                continue
            key = self._keys[kind].get(number)
            if key is None:
                if len(self._keys[kind]) >= self._most_keys[kind]:
                    kept[row] = 0
                    flagged += 1
                    continue
                key = self._keys[kind][number] = _Key()
            key.lines += 1
            key.seen = now
            if key.sampling or key.lines > self._thresholds[kind]:
                key.sampling = True
                rate = number_before(more[0], 1)[0] if more and more[0] else 1.0
                self._absorb(key, kind, value, rate)
                kept[row] = 0
                absorbed += 1
        return absorbed, flagged

    def end_window(self, kind: int) -> Ids:
        """Begin another window of `kind`: keys within the threshold are sampled no more; return who has absorbed."""
        for key in self._keys[kind].values():
            key.sampling = key.lines > self._thresholds[kind]
            key.lines = 0
        return np.array(sorted(number for number, key in self._keys[kind].items() if key.absorbed), np.uint32)

    def drain(self, kind: int, number: int) -> Absorbed:
        """Return what a key has absorbed since the last time, nothing for one that is unknown."""
        key = self._keys[kind].get(number)
        if key is None:
            return Absorbed()
        found = Absorbed(key.total, key.count, key.upper, key.lower, tuple(key.sample))
        key.clear()
        return found

    def purge(self, kind: int, before: int) -> int:
        """Forget keys of `kind` that were seen last before then and are not sampled; return how many."""
        keys = self._keys[kind]
        idle = [number for number, key in keys.items() if key.seen < before and not (key.sampling or key.absorbed)]
        for number in idle:
            del keys[number]
        return len(idle)

    def keys(self, kind: int) -> int:
        """Return how many keys of `kind` there are."""
        return len(self._keys[kind])

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Return which ids have absorbed something that was not drained."""
        return np.array([any(n in keys and keys[n].absorbed for keys in self._keys) for n in ids.tolist()], np.bool_)

    def forget(self, ids: Ids) -> None:
        """Forget keys."""
        for number in ids.tolist():
            for keys in self._keys:
                keys.pop(number, None)

    def _absorb(self, key: _Key, kind: int, value: float, rate: float) -> None:
        key.absorbed += 1
        weight = min(1 / rate, MOST_WEIGHT) if 0.0 < rate < 1.0 else 1.0
        if kind == TIMER:
            self._absorb_timer(key, value, rate, weight)
        elif kind == COUNTER:
            key.total += value * weight
            key.count = float(math.floor(key.count + weight))
        else:
            key.total += value
            key.count += 1.0

    def _absorb_timer(self, key: _Key, value: float, rate: float, weight: float) -> None:
        if self._extremes and value > (_LEAST if key.upper is None else key.upper[0]):
            before, key.upper = key.upper, (value, rate)
            if before is None:
                return
            value = before[0]
        if self._extremes and value < (_MOST if key.lower is None else key.lower[0]):
            before, key.lower = key.lower, (value, rate)
            if before is None:
                return
            value = before[0]
        most = self._thresholds[TIMER]
        if len(key.sample) < most:
            key.sample.append(value)
        else:
            place = self._random() % key.lines
            if place < most:
                key.sample[place] = value
        key.count = float(math.floor(key.count + weight))

    def _random(self) -> int:
        """Return the next number of a xorshift generator, the same in both twins."""
        dice = self._dice
        dice ^= dice >> 12
        dice ^= dice << 25 & _MASK
        dice ^= dice >> 27
        self._dice = dice
        return (dice * 2685821657736338717 & _MASK) >> 33
