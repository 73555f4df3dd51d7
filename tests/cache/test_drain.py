from __future__ import annotations

from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cache.drain import Drain, Rates
from cadtwist.model.writejob import CREATED, RETRY, WAITS_FOR_CREATE, WRITTEN
from tests.cache.fakes import Kit, batch


def drain_of(kit: Kit, strategy: str = "sorted", lanes: int = 1, now: float = 0.0, **rates: float) -> Drain:
    return Drain(kit.cache, strategy, Rates(**rates), now, lanes)


def fill(kit: Kit, metrics: int, at: float = 1.0) -> None:
    kit.cache.accept(batch(*[(i, at, 0.0) for i in range(metrics)]))


def answer(job: Any, status: int) -> Any:
    return np.full(len(job), status, np.uint8)


class DrainTests(SynchronousTestCase):
    def test_writes_all_that_is_pending(self) -> None:
        kit = Kit()
        fill(kit, 20)
        drain = drain_of(kit)
        job = drain.next_job(0.0)
        self.assertEqual(sorted(job.ids.tolist()), list(range(20)))
        self.assertFalse(drain.is_empty)
        drain.confirm(job, answer(job, WRITTEN), 0.0)
        self.assertTrue(drain.is_empty)
        self.assertIsNone(drain.next_job(0.1))
        self.assertEqual(drain.wait_s(0.1), 1.0)
        fill(kit, 3, 2.0)
        self.assertIsNone(drain.next_job(0.2))
        self.assertEqual(len(drain.next_job(1.1)), 3)

    def test_an_order_may_be_turned_round(self) -> None:
        for rate, most_first in ((0.0, True), (1.0, False)):
            kit = Kit()
            kit.cache.accept(batch((1, 1.0, 0.0), (2, 1.0, 0.0), (2, 2.0, 0.0)))
            job = drain_of(kit, low_fruit_rate=rate).next_job(0.0)
            self.assertEqual(job.ids.tolist(), [2, 1] if most_first else [1, 2])

    def test_updates_are_spread_evenly(self) -> None:
        kit = Kit(names=1000)
        fill(kit, 1000)
        drain = drain_of(kit, updates_per_second=100)
        written, most, now = 0, 0, 0.0
        for _ in range(400):
            job = drain.next_job(now)
            if job is None:
                now += max(0.001, drain.wait_s(now))
            else:
                written += len(job)
                most = max(most, len(job))
                drain.confirm(job, answer(job, WRITTEN), now)
            if now >= 2.0:
                break
        self.assertLess(abs(written - 225), 6)
        self.assertLessEqual(most, 25)

    def test_creates_are_delayed_never_dropped(self) -> None:
        kit = Kit(names=30)
        fill(kit, 30)
        drain = drain_of(kit, creates_per_minute=6)
        created, now = [], 0.0
        files: set[int] = set()
        while not drain.is_empty and now < 1000:
            job = drain.next_job(now)
            if job is None:
                now += max(0.1, drain.wait_s(now))
                continue
            left = job.may_create
            statuses = []
            for one in job.ids.tolist():
                statuses.append(WRITTEN if one in files else CREATED if left else WAITS_FOR_CREATE)
                if statuses[-1] == CREATED:
                    files.add(one)
                    left -= 1
                    created.append(now)
            drain.confirm(job, np.array(statuses, np.uint8), now)
        self.assertEqual((len(files), kit.account.out, kit.account.balance()), (30, 30, 0))
        self.assertEqual(len([t for t in created if t < 1.0]), 6)
        self.assertLessEqual(len([t for t in created if t < 60.0]), 12)
        self.assertLess(created[-1], 260.0)

    def test_waiting_creates_do_not_hold_others_up(self) -> None:
        kit = Kit()
        fill(kit, 10)
        drain = drain_of(kit, creates_per_minute=1)
        job = drain.next_job(0.0)
        self.assertEqual(job.may_create, 1)
        statuses = answer(job, WAITS_FOR_CREATE)
        statuses[0] = CREATED
        drain.confirm(job, statuses, 0.0)
        self.assertEqual(drain.awaiting_create, 9)
        kit.cache.accept(batch((15, 1.0, 1.0)))
        job = drain.next_job(2.0)
        self.assertEqual((job.ids.tolist(), job.may_create), ([15], 0))

    def test_looking_for_files_that_may_not_be_made_takes_few_jobs(self) -> None:
        kit = Kit(names=5000)
        fill(kit, 5000)
        drain = drain_of(kit, updates_per_second=1, creates_per_minute=0)
        sizes = []
        while (job := drain.next_job(0.0)) is not None:
            sizes.append(len(job))
            drain.confirm(job, answer(job, WAITS_FOR_CREATE), 0.0)
        self.assertEqual(sum(sizes), 5000)
        self.assertLess(len(sizes), 20)
        self.assertEqual(drain.awaiting_create, 5000)

    def test_updates_beyond_the_allowance_are_paid_back(self) -> None:
        kit = Kit(names=200)
        fill(kit, 200)
        drain = drain_of(kit, updates_per_second=1, creates_per_minute=0)
        for _ in range(5):
            job = drain.next_job(0.0)
            drain.confirm(job, answer(job, WAITS_FOR_CREATE), 0.0)
        job = drain.next_job(0.0)
        self.assertEqual(len(job), 32)
        drain.confirm(job, answer(job, WRITTEN), 0.0)
        self.assertIsNone(drain.next_job(1.0))
        self.assertGreater(drain.wait_s(1.0), 29.0)
        self.assertEqual(len(drain.next_job(33.0)), 1)

    def test_retries_back_off(self) -> None:
        kit = Kit()
        fill(kit, 4)
        drain = drain_of(kit)
        now, times = 0.0, []
        while len(times) < 5:
            job = drain.next_job(now)
            if job is None:
                now += max(0.01, drain.wait_s(now))
                continue
            times.append(now)
            drain.confirm(job, answer(job, RETRY), now)
        gaps = np.diff(times)
        self.assertTrue((gaps[1:] > gaps[:-1] * 1.5).all(), gaps)
        self.assertEqual((kit.account.balance(), kit.points.points), (0, 4))

    def test_lanes_never_share_a_metric(self) -> None:
        kit = Kit()
        fill(kit, 20)
        drain = drain_of(kit, lanes=3)
        for lane in range(3):
            job = drain.next_job(0.0, lane)
            self.assertEqual(set((job.ids % 3).tolist()), {lane})

    def test_jobs_are_bounded_in_points(self) -> None:
        kit = Kit()
        kit.cache.accept(batch(*[(i, float(t), 0.0) for i in range(10) for t in range(50)]))
        drain = Drain(kit.cache, "max", Rates(), 0.0, job_points=120)
        self.assertEqual([drain.next_job(0.0).points for _ in range(5)], [100] * 5)

    def test_a_metric_larger_than_a_job_goes_alone(self) -> None:
        kit = Kit()
        kit.cache.accept(batch(*[(1, float(t), 0.0) for t in range(500)], (2, 1.0, 0.0)))
        drain = Drain(kit.cache, "max", Rates(), 0.0, job_points=120)
        self.assertEqual(drain.next_job(0.0).points, 500)

    def test_shutdown_changes_rates_and_forgets_the_lag(self) -> None:
        kit = Kit()
        fill(kit, 20, 95.0)
        drain = drain_of(kit, "timesorted", updates_per_second=1, min_lag_s=10, now=100.0)
        self.assertIsNone(drain.next_job(100.0))
        drain.shutdown(1000.0)
        self.assertIsNotNone(drain.next_job(100.1))
        self.assertEqual(drain.rates.updates_per_second, 1000.0)

    def test_forgotten_ids_are_offered_no_more(self) -> None:
        kit = Kit()
        fill(kit, 3)
        drain = drain_of(kit, creates_per_minute=1)
        job = drain.next_job(0.0)
        drain.confirm(job, answer(job, WAITS_FOR_CREATE), 0.0)
        ids = np.arange(3, dtype=np.uint32)
        kit.cache.forget(ids)
        drain.forget(ids)
        self.assertIsNone(drain.next_job(100.0))
        self.assertEqual(drain.awaiting_create, 0)

    def test_every_strategy_drains(self) -> None:
        for strategy in ("sorted", "max", "bucketmax", "naive", "timesorted", "random"):
            kit = Kit()
            drain = drain_of(kit, strategy, lanes=2)
            fill(kit, 20)
            now = 0.0
            while not drain.is_empty and now < 5:
                for lane in range(2):
                    job = drain.next_job(now, lane)
                    if job is not None:
                        drain.confirm(job, answer(job, WRITTEN), now)
                now += 0.1
            self.assertTrue(drain.is_empty, strategy)
