"""Tests of `cadtwist.model.table`."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import numpy.typing as npt
from twisted.trial import unittest
from zope.interface import implementer

from cadtwist.interfaces import IHolder
from cadtwist.model.batch import NO_ID, Ids
from cadtwist.model.table import KeySpace
from tests.twins import native_twin, python_twin


@implementer(IHolder)
class FakeHolder:
    """Claims the ids it is told to."""

    def __init__(self) -> None:
        self.claims: set[int] = set()
        self.forgotten: list[int] = []

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        return np.array([number in self.claims for number in ids.tolist()], np.bool_)

    def forget(self, ids: Ids) -> None:
        self.forgotten += ids.tolist()


class KeySpaceContract:
    kernel: ModuleType

    def setUp(self) -> None:
        self.holder = FakeHolder()
        self.space = KeySpace(self.kernel.MetricTable(1), [self.holder])
        self.table = self.space.table

    def test_retires_what_is_idle_and_claimed_by_nobody(self) -> None:
        for i in range(10):
            self.table.intern(b"m%d" % i, 100 if i < 6 else 190)
        self.holder.claims = {2, 3}
        self.assertEqual(self.space.sweep(200.0, 50, 1000), 4)
        self.assertEqual(self.table.live().tolist(), [2, 3, 6, 7, 8, 9])
        self.assertEqual((self.holder.forgotten, self.space.resting), ([0, 1, 4, 5], 4))

    def test_looks_at_no_more_than_its_budget(self) -> None:
        for i in range(10):
            self.table.intern(b"m%d" % i, 100)
        self.assertEqual([self.space.sweep(200.0, 50, 4) for _ in range(4)], [4, 4, 2, 0])

    def test_gives_an_id_again_after_the_turn(self) -> None:
        first = self.table.intern(b"a", 1)
        self.space.sweep(100.0, 10, 10)
        self.assertNotEqual(self.table.intern(b"b", 100), first)
        self.space.turn_ended()
        self.assertEqual(self.table.intern(b"c", 100), first)
        self.assertEqual(self.space.resting, 0)

    def test_waits_for_jobs_that_began_before(self) -> None:
        first = self.table.intern(b"a", 1)
        old, older = self.space.job_started(), self.space.job_started()
        self.space.sweep(100.0, 10, 10)
        later = self.space.job_started()
        self.space.turn_ended()
        self.space.jobs_done(older)
        self.assertNotEqual(self.table.intern(b"b", 100), first)
        self.space.jobs_done(old)
        self.assertEqual(self.table.intern(b"c", 100), first)
        self.space.jobs_done(later)

    def test_an_id_claimed_while_it_rests_goes_on_resting(self) -> None:
        first = self.table.intern(b"a", 1)
        self.space.sweep(100.0, 10, 10)
        self.holder.claims = {first}
        self.space.turn_ended()
        self.assertEqual((self.space.resting, self.table.name(first)), (1, b"a"))
        self.holder.claims = set()
        self.space.turn_ended()
        self.assertEqual(self.space.resting, 0)

    def test_takes_younger_names_when_the_budget_is_near(self) -> None:
        space = KeySpace(self.kernel.MetricTable(1, 100 * 40))
        for i in range(100):
            space.table.intern(b"name%03d" % i, 100 + i)
        self.assertEqual(space.table.intern(b"another", 200), NO_ID)
        self.assertEqual(space.sweep(200.0, 3600, 1000), 41)
        space.turn_ended()
        self.assertNotEqual(space.table.intern(b"another", 200), NO_ID)
        self.assertEqual(space.sweep(201.0, 3600, 1000), 0)

    def test_asks_only_current_holders(self) -> None:
        other = FakeHolder()
        other.claims = {0}
        self.table.intern(b"a", 1)
        self.space.hold(other)
        self.space.hold(other)
        self.assertEqual(self.space.sweep(100.0, 10, 10), 0)
        self.space.release(other)
        self.assertEqual(self.space.sweep(100.0, 10, 10), 1)

    def test_memory_is_flat_under_churn(self) -> None:
        """A million names an hour with a tenth alive at a time, a hundredth of it by number: 5 hours."""
        alive, per_hour, names = 1000, 10_000, 0
        peaks, slices = [], 60
        for hour in range(5):
            for part in range(slices):
                now = 1000 + hour * 3600 + part * 60
                for _ in range(per_hour // slices):
                    self.table.intern(b"churn.%08d.container.cpu" % names, now)
                    names += 1
                self.space.sweep(float(now), 3600 * alive // per_hour, 3 * alive)
                self.space.turn_ended()
            peaks.append((self.table.capacity, self.table.used_bytes))
        self.assertEqual(len(set(peaks[1:])), 1, peaks)
        self.assertLess(peaks[-1][0], 2 * alive)


class PythonKeySpaceTests(KeySpaceContract, unittest.SynchronousTestCase):
    kernel = python_twin("table")


class NativeKeySpaceTests(KeySpaceContract, unittest.SynchronousTestCase):
    kernel = native_twin("table")  # type: ignore[assignment]
    if kernel is None:
        skip = "the native twin is not built"

    def test_a_day_of_churn_at_full_size(self) -> None:
        """A million names in each of four hours, a tenth of them alive: neither ids nor memory grow."""
        table, now, made, peaks = self.table, 10_000, 0, []
        for _ in range(4):
            for _ in range(60):
                now += 60
                blob = b"".join([b"h%010d.c" % number for number in range(made, made + 16_667)])
                made += 16_667
                ids = np.zeros(16_667, np.uint32)
                table.intern_many(blob, np.arange(0, len(blob) + 1, 13, dtype=np.uint32), ids, now)
                self.space.sweep(float(now), 360, 250_000)
                self.space.turn_ended()
            peaks.append((table.capacity, table.allocated_bytes))
        self.assertEqual(peaks[1], peaks[-1])
        self.assertLess(peaks[-1][0], 150_000)
