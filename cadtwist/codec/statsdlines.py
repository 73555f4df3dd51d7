"""Our own counters, gauges and timers as statsd lines, as Cadent's two clients write them.  Pure but for the dice.

The fast client samples, and tells every counter that it has ever told, be it 0; the slow one tells what has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from cadtwist.kernels.jstext import js_text

__all__ = ["Reading", "Sampled", "StatsdLines"]

_UNSAFE = str.maketrans(dict.fromkeys(":|@\n\r \t", "_"))


class Sampled(NamedTuple):
    """Durations in milliseconds, and of how many they are a fair sample."""

    values: list[float]
    seen: int


class Reading(NamedTuple):
    """What there is to tell: totals since the start of counters of both kinds, gauges, and timers of the interval."""

    fast: Mapping[str, int]
    slow: Mapping[str, int]
    gauges: Mapping[str, float]
    timers: Mapping[str, Sampled]


class StatsdLines:
    """Writes lines whose names begin with `stem`; the rates are the shares of counts and of durations that are told."""

    def __init__(self, stem: str, sample_rate: float, timer_rate: float, dice: np.random.Generator) -> None:
        self._stem = stem.translate(_UNSAFE)
        self._rate = sample_rate
        self._timer_rate = timer_rate
        self._dice = dice
        self._told: dict[str, int] = {}
        self._known: dict[str, None] = {}

    def lines(self, reading: Reading) -> list[bytes]:
        """Return the lines of the interval that ends now."""
        self._known.update(dict.fromkeys(reading.fast))
        found = [self._fast(name, self._change(name, reading.fast.get(name))) for name in self._known]
        for name, total in reading.slow.items():
            change = self._change(name, total)
            if change:
                found.append(self._line(name, str(change), "c"))
        found += [self._line(name, js_text(float(value)), "g") for name, value in reading.gauges.items()]
        found += [line for name, sampled in reading.timers.items() for line in self._timers(name, sampled)]
        return [line.encode("utf-8", "replace") for line in found]

    def _change(self, name: str, total: int | None) -> int:
        if total is None:
            return 0
        change = max(0, total - self._told.get(name, 0))
        self._told[name] = total
        return change

    def _fast(self, name: str, count: int) -> str:
        if self._rate < 1.0:
            return self._line(name, str(int(self._dice.binomial(count, self._rate))), "c", self._rate)
        return self._line(name, str(count), "c")

    def _timers(self, name: str, sampled: Sampled) -> Iterable[str]:
        kept = self._dice.random(len(sampled.values)) < self._timer_rate
        rate = self._timer_rate * len(sampled.values) / max(1, sampled.seen)
        for value in np.array(sampled.values)[kept].tolist():
            yield self._line(name, f"{value:.6f}", "ms", rate)

    def _line(self, name: str, value: str, kind: str, rate: float = 1.0) -> str:
        sampled = f"|@{rate:f}" if rate < 1.0 else ""
        return f"{self._stem}.{name.translate(_UNSAFE)}:{value}|{kind}{sampled}"
