"""Tests of `cadtwist.services.flushing`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.flushing import Flusher


class Stage:
    """Due at certain times; each flush takes `slices` calls."""

    def __init__(self, *due: float, slices: int = 1) -> None:
        self.due = list(due)
        self.slices = slices
        self.flushed: list[float] = []
        self.finished: list[float] = []
        self.broken = False
        self._left = slices

    def next_flush(self, now: float) -> float | None:
        return self.due[0] if self.due else None

    def flush(self, now: float, budget_s: float) -> bool:
        if self.broken:
            raise RuntimeError("a fault of ours")
        if not self.due or now < self.due[0]:
            return True
        self.flushed.append(now)
        self._left -= 1
        if self._left:
            return False
        self._left = self.slices
        self.due.pop(0)
        return True

    def finish(self, now: float) -> None:
        if self.broken:
            raise RuntimeError("a fault of ours")
        self.finished.append(now)


class FlusherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def start(self, *stages: Stage) -> Flusher:
        flusher = Flusher(self.clock, lambda: stages)
        flusher.startService()
        return flusher

    def test_each_stage_when_it_is_due(self) -> None:
        one, two = Stage(10.0, 20.0), Stage(15.0)
        self.start(one, two)
        self.clock.pump([5.0] * 5)
        self.assertEqual((one.flushed, two.flushed), ([10.0, 20.0], [15.0]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_long_flush_gives_way_between_slices(self) -> None:
        stage = Stage(10.0, slices=3)
        self.start(stage)
        seen: list[int] = []
        for _ in range(2):
            self.clock.callLater(10.0, lambda: self.clock.callLater(0.0, lambda: seen.append(len(stage.flushed))))
        self.clock.advance(10.0)
        self.assertEqual((len(stage.flushed), seen), (3, [2, 2]))

    def test_data_makes_a_stage_due_sooner(self) -> None:
        stage = Stage()
        flusher = self.start(stage)
        stage.due = [50.0]
        flusher.wake()
        stage.due = [7.0, 50.0]
        flusher.wake()
        self.clock.advance(7.0)
        self.assertEqual(stage.flushed, [7.0])
        stage.due = []
        flusher.wake()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_tells_what_is_open(self) -> None:
        broken, stage = Stage(10.0), Stage(10.0)
        broken.broken = True
        flusher = self.start(broken, stage)
        self.clock.advance(3.0)
        flusher.stopService()
        self.assertEqual((stage.finished, self.clock.getDelayedCalls()), ([3.0], []))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        flusher.wake()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_fault_is_logged_and_tried_again(self) -> None:
        broken, stage = Stage(10.0), Stage(10.0)
        broken.broken = True
        self.start(broken, stage)
        self.clock.advance(10.0)
        self.assertEqual((stage.flushed, len(self.flushLoggedErrors(RuntimeError))), ([10.0], 1))
        broken.broken = False
        self.clock.advance(1.0)
        self.assertEqual(broken.flushed, [11.0])

    def test_what_ends_when_we_stop_is_told_by_that_alone(self) -> None:
        one, two = Stage(10.0, 20.0), Stage(15.0)
        flusher = self.start(one, two)
        self.assertEqual(flusher.hold((), 60.0), 0.0)
        self.assertEqual(flusher.hold((two,), 12.0), 12.0)
        self.assertEqual(flusher.hold((one, two), 60.0), 15.0)
        self.clock.pump([5.0] * 5)
        self.assertEqual((one.flushed, two.flushed), ([10.0], []))
        flusher.stopService()
        self.assertEqual((one.finished, two.finished), ([25.0], [25.0]))
