"""Long work in slices, one piece after the other."""

from __future__ import annotations

from collections.abc import Generator

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.slices import OneByOne


class OneByOneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.done: list[str] = []

    def work(self, name: str, slices: int, fault: Exception | None = None) -> Generator[None, None, str]:
        for number in range(slices):
            self.done.append(f"{name}{number}")
            yield
        if fault is not None:
            raise fault
        return name

    def turns(self) -> None:
        for _ in range(20):
            self.clock.advance(0)

    def test_one_after_the_other(self) -> None:
        run = OneByOne(self.clock)
        first, second = run(self.work("a", 3)), run(self.work("b", 2))
        self.assertNoResult(first)
        self.assertNotIn("b0", self.done)
        self.turns()
        self.assertEqual((self.successResultOf(first), self.successResultOf(second)), ("a", "b"))
        self.assertEqual(self.done, ["a0", "a1", "a2", "b0", "b1"])

    def test_a_fault_ends_only_its_own(self) -> None:
        run = OneByOne(self.clock)
        first, second = run(self.work("a", 1, ValueError("a"))), run(self.work("b", 1))
        self.turns()
        self.failureResultOf(first, ValueError)
        self.assertEqual(self.successResultOf(second), "b")
