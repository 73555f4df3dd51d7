"""Profiles, heaps and stacks as texts."""

from __future__ import annotations

import threading
import tracemalloc

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import CadtwistError
from cadtwist.services.inspection import Inspection, heap_text, stacks_text


def busy_with_something_particular() -> int:
    """Leave a name in a profile."""
    return sum(range(10))


class Particular:
    """Leaves a name in a heap."""


class ProfileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.inspection = Inspection(self.clock)

    def test_tells_what_ran_meanwhile(self) -> None:
        asked = self.inspection.text("profile", 5.0)
        assert isinstance(asked, Deferred)
        self.clock.callLater(1.0, busy_with_something_particular)
        self.clock.advance(1.0)
        self.assertNoResult(asked)
        self.clock.advance(4.0)
        told = self.successResultOf(asked)
        self.assertIn("busy_with_something_particular", told)
        self.assertIn("Ordered by: cumulative time", told)
        self.assertTrue(told.startswith("5 s of"))

    def test_what_ran_before_and_after_is_not_in_it(self) -> None:
        busy_with_something_particular()
        asked = self.inspection.profile(1.0)
        self.clock.advance(1.0)
        busy_with_something_particular()
        self.assertNotIn("busy_with_something_particular", self.successResultOf(asked))

    def test_one_at_a_time(self) -> None:
        first = self.inspection.profile(1.0)
        self.assertRaises(CadtwistError, self.inspection.profile, 1.0)
        self.clock.advance(1.0)
        self.successResultOf(first)
        self.inspection.profile(0.0)
        self.clock.advance(0.0)

    def test_ends_although_nobody_waits_any_more(self) -> None:
        asked = self.inspection.profile(1.0)
        asked.addErrback(lambda _: None)
        asked.cancel()
        self.clock.advance(1.0)
        self.inspection.profile(0.0)
        self.clock.advance(0.0)


class HeapTests(SynchronousTestCase):
    def test_most_frequent_types_first(self) -> None:
        told = heap_text([Particular(), {}, Particular(), [], Particular()]).splitlines()
        self.assertEqual(told[1].split()[0], "3")
        self.assertTrue(told[1].endswith("test_inspection.Particular"))
        self.assertEqual(len(told), 4)

    def test_of_this_process(self) -> None:
        kept = [Particular() for _ in range(1000)]
        self.assertIn("test_inspection.Particular", str(Inspection(Clock()).text("heap", 0.0)))
        self.assertEqual(len(kept), 1000)

    def test_places_while_they_are_traced(self) -> None:
        self.assertNotIn("memory by the place", heap_text([]))
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        kept = bytearray(1 << 20)
        told = heap_text([])
        self.assertIn("test_inspection.py", told)
        self.assertEqual(len(kept), 1 << 20)


class StackTests(SynchronousTestCase):
    def test_every_thread(self) -> None:
        running, done = threading.Event(), threading.Event()

        def wait_in_a_particular_place() -> None:
            running.set()
            done.wait(10)

        thread = threading.Thread(target=wait_in_a_particular_place, name="waiting one")
        thread.start()
        running.wait(10)
        told = stacks_text()
        done.set()
        thread.join()
        self.assertIn("thread waiting one", told)
        self.assertIn("wait_in_a_particular_place", told)
        self.assertIn("thread MainThread", told)
        self.assertEqual(Inspection(Clock()).text("stacks", 0.0)[:7], "thread ")
