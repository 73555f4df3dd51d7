"""What both twins of the `flood` kernel tell of a key that floods."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COUNTER", "GAUGE", "MOST_WEIGHT", "TIMER", "Absorbed"]

COUNTER, TIMER, GAUGE = range(3)
"""Kinds of keys; a key of one kind knows nothing of the same name's others."""

MOST_WEIGHT = 1e15
"""A line stands for no more than so many, however small its rate."""


class Absorbed(NamedTuple):
    """What a key has absorbed: `total` of values that stand for `weight` lines; of a timer its extremes and a sample.

    An extreme is (value, rate).
    """

    total: float = 0.0
    weight: float = 0.0
    upper: tuple[float, float] | None = None
    lower: tuple[float, float] | None = None
    sample: tuple[float, ...] = ()
