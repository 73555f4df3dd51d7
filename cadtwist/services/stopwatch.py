"""Stopwatch: how long calls take, as a fair sample of bounded size."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from cadtwist.codec.statsdlines import Sampled

__all__ = ["Stopwatch"]

_KEPT = 100


class Stopwatch:
    """Takes the time of calls; of very many in an interval a fair sample is kept."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter, dice: random.Random | None = None) -> None:
        self._clock = clock
        self._dice = dice or random.Random()
        self._values: list[float] = []
        self._seen = 0

    def timed(self, call: Callable[[], object]) -> Callable[[], None]:
        """Return `call` with a watch."""

        def measured() -> None:
            begun = self._clock()
            call()
            self.add(1000.0 * (self._clock() - begun))

        return measured

    def add(self, value_ms: float) -> None:
        """Take one duration."""
        self._seen += 1
        if len(self._values) < _KEPT:
            self._values.append(value_ms)
        else:
            place = self._dice.randrange(self._seen)
            if place < _KEPT:
                self._values[place] = value_ms

    def take(self) -> Sampled:
        """Return what was taken since the last call."""
        taken = Sampled(self._values, self._seen)
        self._values, self._seen = [], 0
        return taken
