"""Token buckets: how many updates and creations are allowed at a time.  Time is an argument."""

from __future__ import annotations

import math

__all__ = ["TokenBucket"]


class TokenBucket:
    """Tokens come in at `rate` per second up to `capacity`; a rate of inf allows everything, 0 nothing."""

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self.rate = rate
        self.capacity = capacity
        self._tokens = capacity
        self._at = now

    def change(self, rate: float, capacity: float) -> None:
        """Go on at another rate."""
        self.rate = rate
        self.capacity = capacity
        self._tokens = min(self._tokens, capacity)

    def available(self, now: float, most: int) -> int:
        """Return how many whole tokens there are, at most `most`.  A clock that goes back gives none."""
        if math.isinf(self.rate):
            return most
        self._tokens = min(self.capacity, self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = now
        return min(most, int(self._tokens + 1e-9))

    def spend(self, tokens: int) -> None:
        """Take tokens away, or give them back when negative."""
        if not math.isinf(self.rate):
            self._tokens = min(self.capacity, self._tokens - tokens)

    def wait_s(self, tokens: int = 1) -> float:
        """Return after how many seconds, from the last look, `tokens` will be there; inf for never."""
        if math.isinf(self.rate) or self._tokens >= tokens:
            return 0.0
        return (tokens - self._tokens) / self.rate if self.rate > 0 else math.inf
