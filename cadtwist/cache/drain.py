"""What is written next, and how fast: the cache's strategy, rates and back-off, as a source of write jobs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.cache.buckets import TokenBucket
from cadtwist.cache.cache import Cache
from cadtwist.cache.strategies import REFRESHED, STRATEGIES
from cadtwist.interfaces import IHolder
from cadtwist.model.batch import Ids
from cadtwist.model.writejob import CREATED, RETRY, WAITS_FOR_CREATE, Statuses, WriteJob

__all__ = ["Drain", "Rates"]

IDLE_S = 1.0
"""How long a writer that found nothing waits, as carbon's does: points of a metric gather meanwhile."""

REFRESH_S = 1.0
_SLICE_WAIT_S = 0.001
_BURST_S = 0.25
_SMOOTH_S = 0.02
_SMALL = 65536
_NO_IDS: Ids = np.zeros(0, np.uint32)
_FREE, _AWAITS_CREATE, _AWAITS_RETRY = 0, 1, 2


@dataclass(frozen=True)
class Rates:
    """How fast metrics are written: inf for no limit.

    `updates_per_second` counts metrics written; it is spent evenly, never in bursts of more than a quarter of a
    second.  `creates_per_minute` delays new files, their points wait.  `min_lag_s` belongs to `timesorted`.  With the
    probability `low_fruit_rate` an order is turned round.
    """

    updates_per_second: float = math.inf
    creates_per_minute: float = math.inf
    min_lag_s: float = 0.0
    low_fruit_rate: float = 0.0


class _Lane:
    """One writer's snapshot: its ids in order and how far they are used up."""

    def __init__(self) -> None:
        self.order: Ids = _NO_IDS
        self.at = 0
        self.taken_at = -math.inf
        self.making: Iterator[Ids | None] | None = None
        self.empty_until = -math.inf
        self.create_hand = 0

    @property
    def left(self) -> int:
        return len(self.order) - self.at


@implementer(IHolder)
class Drain:
    """Jobs of at most `job_metrics` metrics and about `job_points` datapoints for `lanes` writers; reactor thread.

    While jobs find nothing but files that may not be created yet, they grow beyond the allowance of updates, which is
    given back; should one of them update files after all, the next waits for longer.

    Lane k gets only ids with id % lanes == k, so two writers never meet in a file.  `now` must be one clock's seconds
    in all calls, the epoch's where `timesorted` is used.  `on_sorted(metrics)` hears of each snapshot made.
    """

    def __init__(
        self,
        cache: Cache,
        strategy: str,
        rates: Rates,
        now: float,
        lanes: int = 1,
        job_metrics: int = 1024,
        job_points: int = 65536,
        seed: int = 0,
        on_sorted: Callable[[int], object] | None = None,
    ) -> None:
        self.rates = rates
        self._on_sorted = on_sorted
        self._cache = cache
        self._points = cache.points
        self._order = STRATEGIES[strategy]
        self._refreshed = strategy in REFRESHED
        self._job_metrics = job_metrics
        self._job_points = job_points
        self._rng = np.random.default_rng(seed)
        self._lanes = [_Lane() for _ in range(lanes)]
        self._states = np.zeros(0, np.uint8)
        self._updates = TokenBucket(0, 0, now)
        self._creates = TokenBucket(0, 0, now)
        self._retries: deque[tuple[float, Ids]] = deque()
        self._retry_s = 1.0
        self._wait_s = 0.0
        self._reach = 1
        self._some_await = False
        self._set_rates(rates)
        self._creates.spend(-(1 << 30))
        self._updates.spend(-(1 << 30))

    def _set_rates(self, rates: Rates) -> None:
        self.rates = rates
        updates, creates = rates.updates_per_second, rates.creates_per_minute
        self._updates.change(updates, max(1.0, updates * _BURST_S))
        self._least = max(1, int(min(self._job_metrics, updates * _SMOOTH_S)))
        self._creates.change(creates / 60, max(1.0, creates) if creates > 0 else 0.0)

    def change(self, strategy: str, rates: Rates) -> None:
        """Go on with another strategy and other rates."""
        self._order = STRATEGIES[strategy]
        self._refreshed = strategy in REFRESHED
        self._set_rates(rates)

    def shutdown(self, rate: float | None) -> None:
        """Stop is near: metrics and creations go at `rate` per second (None: as before), without a minimal lag."""
        rates = replace(self.rates, min_lag_s=0.0)
        if rate is not None:
            rates = Rates(rate, rate * 60)
        self._set_rates(rates)
        for lane in self._lanes:
            lane.empty_until = -math.inf
            lane.making = None

    @property
    def is_empty(self) -> bool:
        """True when no datapoint is pending or in flight."""
        return self._points.points == 0

    @property
    def awaiting_create(self) -> int:
        """Metrics whose file may not be created yet."""
        return int(np.count_nonzero(self._states == _AWAITS_CREATE))

    # jobs

    def next_job(self, now: float, lane: int = 0) -> WriteJob | None:
        """Return what `lane` writes next, or None; then `wait_s` tells when to ask again."""
        mine = self._lanes[lane]
        self._end_retries(now)
        budget = self._updates.available(now, self._job_metrics)
        if budget < self._least:
            self._wait_s = self._updates.wait_s(self._least)
            return None
        budget = max(budget, self._reach)
        may_create = self._creates.available(now, self._job_metrics)
        ids = self._to_create(mine, lane, min(budget, may_create))
        if len(ids) < budget:
            ids = np.concatenate((ids, self._from_snapshot(mine, lane, now, budget - len(ids))))
        may_create = min(may_create, len(ids))
        job = self._cache.take(ids, may_create, int(now)) if len(ids) else None
        if job is not None:
            self._updates.spend(len(job))
            self._creates.spend(may_create)
            self._wait_s = 0.0
        return job

    def wait_s(self, now: float) -> float:
        """Return in how many seconds `next_job` may have something, after it returned None."""
        wait_s = self._wait_s
        if self._retries:
            wait_s = min(wait_s, max(0.0, self._retries[0][0] - now))
        return wait_s

    def confirm(self, job: WriteJob, statuses: Statuses, now: float, late: int = 0) -> None:
        """Settle each metric of `job` by its status; `late` points of it found no place in their files."""
        created = int(np.count_nonzero(statuses == CREATED))
        waiting = job.ids[statuses == WAITS_FOR_CREATE]
        failed = job.ids[statuses == RETRY]
        self._cache.confirm(job, statuses, late)
        self._creates.spend(created - job.may_create)
        self._updates.spend(-len(waiting))
        self._reach = min(self._job_metrics, 2 * self._reach) if len(waiting) == len(job) else 1
        self._hold_states(job.ids)
        if len(waiting):
            self._states[waiting] = _AWAITS_CREATE
            self._some_await = True
        if len(failed):
            self._states[failed] = _AWAITS_RETRY
            self._retries.append((now + self._retry_s, failed))
            self._retry_s = min(60.0, self._retry_s * 2)
        elif len(job) > len(waiting):
            self._retry_s = 1.0

    def forget(self, ids: Ids) -> None:
        """The ids may come back as other metrics."""
        self._states[ids[ids < len(self._states)]] = _FREE

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Nothing here must not be lost."""
        return np.zeros(len(ids), np.bool_)

    def _hold_states(self, ids: Ids) -> None:
        top = int(ids.max()) + 1 if len(ids) else 0
        if len(self._states) < top:
            grown = np.zeros(top + top // 4, np.uint8)
            grown[: len(self._states)] = self._states
            self._states = grown

    def _end_retries(self, now: float) -> None:
        while self._retries and self._retries[0][0] <= now:
            _, ids = self._retries.popleft()
            self._states[ids[self._states[ids] == _AWAITS_RETRY]] = _FREE
            for lane in self._lanes:
                lane.empty_until = -math.inf

    def _to_create(self, lane: _Lane, number: int, most: int) -> Ids:
        """Return at most `most` ids that wait for a creation; all have their turn."""
        if most < 1 or not self._some_await:
            return _NO_IDS
        awaiting = np.flatnonzero(self._states == _AWAITS_CREATE).astype(np.uint32)
        self._some_await = len(awaiting) > 0
        mine = awaiting[awaiting % np.uint32(len(self._lanes)) == number]
        begin = int(np.searchsorted(mine, lane.create_hand))
        ids = np.concatenate((mine[begin : begin + most], mine[: min(begin, max(0, most - len(mine) + begin))]))
        if len(ids):
            lane.create_hand = int(ids[-1]) + 1
            self._states[ids] = _FREE
        return ids

    def _from_snapshot(self, lane: _Lane, number: int, now: float, most: int) -> Ids:
        """Return at most `most` ids by the strategy; none while a snapshot is being made or nothing is due."""
        stale = self._refreshed and now - lane.taken_at >= REFRESH_S
        if lane.making is None and (not lane.left or stale):
            if now < lane.empty_until:
                self._wait_s = lane.empty_until - now
                return _NO_IDS
            lane.making = self._order(self._points, now, self.rates.min_lag_s, self._rng)
        if lane.making is not None and not self._advance(lane, lane.making, number, now):
            return _NO_IDS
        ids = lane.order[lane.at : lane.at + most]
        points = np.cumsum(self._points.counts(ids), dtype=np.int64)
        ids = ids[: max(1, int(np.searchsorted(points, self._job_points, "right")))]
        lane.at += len(ids)
        if not lane.left:
            lane.order, lane.at = _NO_IDS, 0
        self._wait_s = 0.0
        return ids

    def _advance(self, lane: _Lane, making: Iterator[Ids | None], number: int, now: float) -> bool:
        """Work on the snapshot; True when it is ready and not empty."""
        order = next(making)
        small = self._points.metrics < _SMALL
        while order is None and small:
            order = next(making)
        if order is None:
            self._wait_s = _SLICE_WAIT_S
            return False
        lane.making = None
        lane.taken_at = now
        if self._on_sorted is not None:
            self._on_sorted(len(order))
        if self.rates.low_fruit_rate and self._rng.random() < self.rates.low_fruit_rate:
            order = order[::-1]
        if len(self._lanes) > 1:
            order = order[order % np.uint32(len(self._lanes)) == number]
        if len(order):
            self._hold_states(order)
            order = order[self._states[order] == _FREE]
        lane.order, lane.at = order, 0
        if not len(order):
            lane.empty_until = now + IDLE_S
            self._wait_s = IDLE_S
        return len(order) > 0
