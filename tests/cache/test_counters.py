from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cache.counters import CounterCache
from cadtwist.kernels import active
from cadtwist.model.statjob import Shift, StatJob
from cadtwist.model.summary import SummaryColumns
from cadtwist.model.writejob import RETRY, WRITTEN
from cadtwist.telemetry import Account

NOW = 1000.0


class CounterCacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = active.table.MetricTable(1)
        self.account = Account("cache")
        self.known: dict[bytes, bool] = {}
        self.opened: list[tuple[bytes, bool]] = []
        self.cache = CounterCache(
            self.table, self.account, self.known.get, lambda: NOW, step_s=10, most=100, full_at=5,
            opened=lambda counter, event: self.opened.append((counter, event)),
        )  # fmt: skip

    def send(self, *rows: tuple[bytes, float, float]) -> None:
        columns = SummaryColumns(len(rows))
        columns.n = len(rows)
        for row, (name, time, value) in enumerate(rows):
            columns.ids[row] = self.table.intern(name, 5)
            columns.timestamps[row], columns.counts[row], columns.sums[row] = time, 1, value
            columns.minima[row] = columns.maxima[row] = value
        self.cache.accept(columns.batch())

    def take(self, most: int = 100) -> StatJob:
        job = self.cache.take(most)
        assert job is not None
        return job

    def confirm(self, job: StatJob, status: int = WRITTEN, kept: bool = False) -> None:
        self.cache.confirm(job, np.full(len(job), status, np.uint8), np.full(len(job), kept))

    def test_names_meet_in_the_counter_they_mean(self) -> None:
        self.send((b"Foo/Bar", 5, 1), (b"foo_bar", 6, 2), (b"a..b", 7, 3), (b"a.b.", 8, 4))
        self.cache.begin()
        job = self.take()
        found = {job.name(row): job.columns[2][job.offsets[row] : job.offsets[row + 1]].tolist() for row in range(2)}
        self.assertEqual(found, {b"foo_bar": [1.0, 2.0], b"a.b": [3.0, 4.0]})

    def test_the_first_line_says_what_a_counter_is_unless_files_do(self) -> None:
        self.known[b"old"] = True
        self.send((b"*e", 5, 1), (b"e", 5, 1), (b"g", 5, 1), (b"*g", 5, 1), (b"old", 5, 1))
        self.assertEqual(self.opened, [(b"e", True), (b"g", False), (b"old", True)])
        self.cache.begin()
        jobs = [self.take(), self.take()]  # new counters do not wait for the round
        events = {job.name(row): int(job.events[row]) for job in jobs for row in range(len(job))}
        self.assertEqual(events, {b"e": 1, b"g": 0, b"old": 1})

    def test_counts_what_it_drops(self) -> None:
        self.send((b"a", NOW + 61, 1), (b"*e", NOW + 11, 1), (b".", 5, 1), (b"x" * 300, 5, 1), (b"a", NOW + 60, 1))
        self.send(*[(b"b", 5, 1)] * 100)
        self.assertEqual(self.account.dropped, {"from_future": 2, "name": 2, "table_full": 0, "cache_full": 1})
        self.assertEqual(self.account.balance(), 0)

    def test_a_round_takes_every_counter_once(self) -> None:
        self.send(*[(b"m%d" % n, 5, 1) for n in range(10)])
        self.assertEqual(self.cache.begin(), 10)
        taken = [self.take(4), self.take(4), self.take(4)]
        self.assertEqual([len(job) for job in taken], [4, 4, 2])
        self.assertIsNone(self.cache.take(4))
        self.assertEqual(self.account.held(), 10)
        for job in taken:
            self.confirm(job)
        self.assertEqual((self.account.held(), self.account.out, self.account.balance()), (0, 10, 0))

    def test_a_new_counter_gets_its_files_before_the_next_round(self) -> None:
        self.known[b"old"] = False
        self.send((b"new", 5, 1), (b"old", 5, 1))
        job = self.take()
        self.assertEqual((job.name(0), len(job), job.shift), (b"new", 1, Shift.NONE))
        self.confirm(job)
        self.assertIsNone(self.cache.take(5))

    def test_a_full_counter_is_taken_between_rounds(self) -> None:
        self.known.update({b"hot": False, b"cold": False})
        self.send(*[(b"hot", 5, n) for n in range(6)], (b"cold", 5, 1))
        job = self.take()
        self.assertEqual((job.name(0), job.samples, len(job)), (b"hot", 6, 1))

    def test_a_counter_is_in_one_job_at_a_time(self) -> None:
        self.send((b"a", 5, 1))
        self.cache.begin()
        job = self.take()
        self.send((b"a", 6, 2))
        self.cache.begin()
        self.assertIsNone(self.cache.take(5))
        self.assertEqual(self.cache.left, 1)
        self.confirm(job)
        self.assertEqual(self.take().samples, 1)

    def test_what_could_not_be_written_comes_again_first(self) -> None:
        self.send((b"a", 5, 1), (b"b", 5, 7))
        self.cache.begin()
        job = self.take()
        self.send((b"a", 6, 2))
        self.cache.confirm(job, np.array([RETRY, WRITTEN], np.uint8), np.zeros(2, np.bool_))
        self.cache.begin(Shift.OUT)
        again = self.take()
        self.assertEqual((again.columns[2].tolist(), again.shift, again.now), ([1.0, 2.0], Shift.OUT, 1000))
        self.confirm(again)
        self.assertEqual((self.account.out, self.account.balance()), (3, 0))

    def test_open_windows_are_flushed_without_samples(self) -> None:
        self.send((b"*e", 5, 1))
        self.cache.begin()
        self.confirm(self.take(), kept=True)
        self.assertEqual(self.cache.begin(), 1)
        self.confirm(self.take(), kept=False)
        self.assertEqual(self.cache.begin(), 0)
        self.cache.restore(self.table.lookup(b"e"), True)
        self.assertEqual(self.cache.begin(), 1)

    def test_peeks_at_what_no_job_has_taken(self) -> None:
        self.send((b"A", 5, 1))
        number = self.cache.counter_of(b"a")
        self.assertEqual(self.cache.peek(number)[2].tolist(), [1.0])
        self.cache.begin()
        self.take()
        self.assertEqual(self.cache.peek(number)[2].tolist(), [])

    def test_claims_counters_until_nothing_needs_them(self) -> None:
        self.send((b"A", 5, 1), (b"b", 5, 1))
        upper, lower, b = (self.table.lookup(name) for name in (b"A", b"a", b"b"))
        ids = np.array([upper, lower, b], np.uint32)
        self.cache.begin()
        job = self.take()
        self.assertEqual(self.cache.holds(ids).tolist(), [False, True, True])
        self.confirm(job)
        self.assertEqual(self.cache.holds(ids).tolist(), [False, True, False])
        self.cache.forget(ids[:1])
        self.assertEqual(self.cache.holds(ids).tolist(), [False, False, False])
        self.cache.forget(ids[1:])
        self.send((b"*b", 5, 1))
        self.assertEqual(self.opened[-1], (b"b", True))
