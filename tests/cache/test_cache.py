from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.cache.cache import Limits
from cadtwist.interfaces import IHolder, ISink
from cadtwist.model.writejob import BAD_NAME, CREATED, QUARANTINED, RETRY, TOO_OLD, WAITS_FOR_CREATE, WRITTEN
from tests.cache.fakes import FakeJournal, Kit, batch


def ids_of(*ids: int) -> Any:
    return np.array(ids, np.uint32)


class CacheTests(SynchronousTestCase):
    def test_is_what_it_says(self) -> None:
        verifyObject(ISink, Kit().cache)
        verifyObject(IHolder, Kit().cache)

    def test_points_become_a_job_with_names_and_schemas(self) -> None:
        kit = Kit()
        kit.cache.accept(batch((4, 20.0, 2.0), (4, 10.0, 1.0), (5, 10.0, 7.0)))
        job = kit.cache.take(ids_of(5, 4), 3, 99)
        assert job is not None
        self.assertEqual([job.name(0), job.name(1)], [b"m5", b"m4"])
        self.assertEqual(job.schemas.tolist(), [2, 1])
        self.assertEqual(job.offsets.tolist(), [0, 1, 3])
        self.assertEqual(job.timestamps.tolist(), [10.0, 10.0, 20.0])
        self.assertEqual((job.may_create, job.now, job.points), (3, 99, 3))
        self.assertIsNone(kit.cache.take(ids_of(5, 4), 3, 99))

    def test_each_status_ends_in_its_account(self) -> None:
        kit = Kit()
        statuses = [WRITTEN, CREATED, WAITS_FOR_CREATE, TOO_OLD, RETRY, QUARANTINED, BAD_NAME]
        kit.cache.accept(batch(*[(i, 1.0, 1.0) for i in range(7)], *[(i, 2.0, 1.0) for i in range(7)]))
        job = kit.cache.take(np.arange(7, dtype=np.uint32), 1, 0)
        assert job is not None
        kit.cache.accept(batch((2, 2.0, 9.0)))
        kit.cache.confirm(job, np.array(statuses, np.uint8))
        account = kit.account
        self.assertEqual((account.received, account.out, account.merged, account.held()), (15, 4, 1, 4))
        self.assertEqual(account.dropped, {"too_old": 2, "quarantined": 2, "bad_name": 2})
        self.assertEqual(account.balance(), 0)
        self.assertEqual(account.counters["creates"], 1)
        self.assertEqual(account.counters["updates"], 2)
        self.assertEqual(kit.cache.peek(ids_of(2))[2].tolist(), [1.0, 9.0])
        self.assertEqual(kit.cache.holds(ids_of(0, 2, 4)).tolist(), [False, True, True])

    def test_tells_new_ids_once_until_forgotten(self) -> None:
        kit = Kit()
        kit.cache.accept(batch((3, 1.0, 1.0), (3, 2.0, 1.0), (1, 1.0, 1.0)))
        kit.cache.accept(batch((3, 4.0, 1.0)))
        self.assertEqual(kit.new, [1, 3])
        kit.cache.forget(ids_of(3))
        self.assertEqual(kit.account.dropped, {"forgotten": 3})
        kit.cache.accept(batch((3, 4.0, 1.0)))
        self.assertEqual(kit.new, [1, 3, 3])
        self.assertEqual(kit.account.balance(), 0)

    def test_gate_shuts_at_the_limit_and_five_percent_more_are_taken(self) -> None:
        kit = Kit(Limits(max_points=100))
        kit.cache.accept(batch(*[(1, float(t), 0.0) for t in range(99)]))
        self.assertTrue(kit.gate.open)
        kit.cache.accept(batch((1, 99.0, 0.0)))
        self.assertEqual(kit.gate.reasons, {"cache_full"})
        kit.cache.accept(batch(*[(2, float(t), 0.0) for t in range(9)]))
        self.assertEqual(kit.points.points, 105)
        self.assertEqual(kit.account.dropped, {"cache_full": 4})
        kit.cache.accept(batch((1, 5.0, 1.0)))
        self.assertEqual((kit.account.merged, kit.account.balance()), (1, 0))
        job = kit.cache.take(ids_of(2), 0, 0)
        assert job is not None
        kit.cache.confirm(job, np.zeros(1, np.uint8))
        self.assertFalse(kit.gate.open)
        job = kit.cache.take(ids_of(1), 0, 0)
        assert job is not None
        kit.cache.confirm(job, np.zeros(1, np.uint8))
        self.assertTrue(kit.gate.open)

    def test_without_flow_control_the_limit_is_hard(self) -> None:
        kit = Kit(Limits(max_points=10, flow_control=False))
        kit.cache.accept(batch(*[(1, float(t), 0.0) for t in range(12)]))
        self.assertEqual((kit.points.points, kit.account.dropped), (10, {"cache_full": 2}))
        self.assertTrue(kit.gate.open)

    def test_bytes_are_a_limit_too(self) -> None:
        kit = Kit(Limits(max_bytes=200_000), names=100)
        for t in range(200):
            kit.cache.accept(batch(*[(i, float(t), 0.0) for i in range(100)]))
        self.assertFalse(kit.gate.open)
        self.assertLess(kit.points.point_bytes, 230_000)
        self.assertEqual(kit.account.balance(), 0)

    def test_logs_what_it_takes_and_only_that(self) -> None:
        journal = FakeJournal()
        kit = Kit(Limits(max_points=2, flow_control=False), journal=journal)
        kit.cache.accept(batch((1, 1.0, 0.0)))
        kit.cache.accept(batch((1, 1.0, 5.0), (1, 2.0, 0.0), (2, 1.0, 0.0)))
        kit.cache.accept(batch((3, 1.0, 0.0)))
        self.assertEqual(journal.batches, [[1], [1, 1]])
        self.assertEqual(kit.points.pins(), [(1, 1)])
        self.assertEqual(kit.new, [1])

    def test_restored_points_count_as_made_and_always_fit(self) -> None:
        kit = Kit(Limits(max_points=2))
        kit.cache.restore(batch((1, 1.0, 0.0), (1, 2.0, 0.0), (1, 3.0, 0.0), (1, 3.0, 1.0)), 7)
        self.assertEqual((kit.account.made, kit.account.held(), kit.account.merged), (4, 3, 1))
        self.assertEqual(kit.points.pins(), [(7, 1)])
        self.assertFalse(kit.gate.open)

    @settings(max_examples=40, deadline=None, database=None)
    @given(st.lists(st.tuples(st.sampled_from("atcn"), st.integers(0, 1 << 30)), max_size=40))
    def test_balances_after_any_sequence(self, steps: list[tuple[str, int]]) -> None:
        kit = Kit(Limits(max_points=60))
        jobs = []
        for what, seed in steps:
            rng = np.random.default_rng(seed)
            if what in "an":
                n = int(rng.integers(1, 30))
                kit.cache.accept(batch(*[(int(rng.integers(20)), float(rng.integers(9)), 1.0) for _ in range(n)]))
            elif what == "t":
                job = kit.cache.take(rng.integers(0, 20, 8).astype(np.uint32), 1, 0)
                jobs += [job] if job is not None else []
            elif jobs:
                job = jobs.pop(int(rng.integers(len(jobs))))
                kit.cache.confirm(job, rng.integers(0, 7, len(job)).astype(np.uint8))
            self.assertEqual(kit.account.balance(), 0)
            self.assertLessEqual(kit.points.points, 63)
