"""When the writer of counters hurries, and lets clients wait."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.flow import Gate
from cadtwist.model.statjob import Shift
from cadtwist.services.counterwriter import REASON, CounterWriter
from cadtwist.telemetry import Account


class Samples:
    def __init__(self) -> None:
        self.waiting, self.most = 0, 100

    def __len__(self) -> int:
        return self.waiting


class FakeCache:
    """A cache that never has a job to give; `rounds` are those that were begun."""

    def __init__(self) -> None:
        self.samples = Samples()
        self.counters = 1000
        self.urgent = False
        self.rounds: list[Shift] = []

    def begin(self, shift: Shift) -> int:
        self.rounds.append(shift)
        return 0

    def take(self, most: int) -> None:
        return None


class FakeStore:
    unwritten = 0

    def writer(self, lane: int) -> FakeStore:
        return self


class LookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cache, self.gate = FakeCache(), Gate()
        cache, store = (self.cache, FakeStore())  # type: tuple[Any, Any]
        self.writer = CounterWriter(Clock(), cache, store, self.gate, Account("writer"), 300)

    def look(self, waiting: int) -> tuple[bool, int]:
        """Return whether clients wait, and how many rounds were begun."""
        self.cache.samples.waiting = waiting
        self.writer.look()
        self.writer._round_ends()
        return REASON in self.gate.reasons, len(self.cache.rounds)

    def test_clients_wait_from_too_many_until_few_and_all_that_time_is_written(self) -> None:
        self.assertEqual(self.look(70), (False, 0))
        self.assertEqual(self.look(81), (True, 1))
        self.assertEqual(self.look(70), (True, 2), "what a round has left is not waited with until the next one is due")
        self.assertEqual(self.look(61), (True, 3))
        self.assertEqual(self.look(59), (False, 3))
        self.assertEqual(self.look(70), (False, 3))
