"""Tests of `cadtwist.client.tx`."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionRefusedError as TwistedRefusal
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived

from cadtwist.client.tx import TwistedClient
from tests.client.fakes import SETTINGS, FakeServer


class TwistedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = FakeServer()
        self.clock = Clock()
        self.killed: list[bool] = []
        self.held: list[Deferred[Any]] = []
        self.holding = False

    def started(self, process: str = "") -> TwistedClient:
        settings = replace(SETTINGS, process=process)
        client = TwistedClient(self.clock, settings, self.ask, lambda: self.killed.append(True))
        client.startService()
        return client

    def ask(self, path: str, body: bytes, seconds: float) -> Deferred[tuple[int, bytes]]:
        if self.holding:
            self.held.append(Deferred())
            return self.held[-1]
        return maybeDeferred(self.server.ask, path, body, seconds)

    def test_each_period_is_sent(self) -> None:
        client = self.started()
        client.agg("a", "1c")
        self.clock.advance(4.9)
        self.assertEqual(self.server.puts, [])
        self.clock.pump([0.1, 5])
        self.assertEqual([len(put) for put in self.server.puts], [1, 0])
        client.agg("a", "2c")
        self.successResultOf(client.stopService())
        self.assertEqual((self.server.total(), self.clock.getDelayedCalls()), (3, []))
        self.assertFalse(client.agg("a", "1c"))

    def test_a_dead_server_and_its_return(self) -> None:
        client = self.started()
        self.server.away = TwistedRefusal()
        for _ in range(10):
            client.agg("a", "1c")
            self.clock.advance(5)
        self.assertEqual(client.core.failures, 10)
        self.server.away = None
        self.clock.advance(5)
        self.assertEqual((self.server.total(), len(self.server.puts)), (10, 1))
        self.successResultOf(client.stopService())

    def test_one_request_at_a_time_and_a_stop_waits_for_it(self) -> None:
        client = self.started()
        self.holding = True
        client.agg("a", "1c")
        self.clock.pump([5, 5, 5])
        self.assertEqual(len(self.held), 1)
        stopped = client.stopService()
        self.assertNoResult(stopped)
        self.holding = False
        self.held[0].callback((503, b""))
        self.successResultOf(stopped)
        self.assertEqual(self.server.total(), 1)

    def test_it_may_start_again(self) -> None:
        client = self.started()
        self.successResultOf(client.stopService())
        client.startService()
        client.agg("a", "1c")
        self.clock.advance(5)
        self.assertEqual(self.server.total(), 1)
        self.successResultOf(client.stopService())

    def test_processes(self) -> None:
        refused = TwistedRefusal()
        self.server.answers = [refused, refused, ResponseNeverReceived([]), (500, b""), (200, b"{}"),
                               (200, f"{SETTINGS.auth}-web".encode())]  # fmt: skip
        client = self.started("web")
        for number, wait in enumerate((1, 2, 0.1, 1, 0.1)):
            self.assertEqual((len(self.server.polls), self.killed), (number + 1, []))
            self.clock.advance(wait)
        self.assertEqual(self.killed, [True])
        self.successResultOf(client.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_stop_ends_the_request_that_waits(self) -> None:
        self.holding = True
        client = self.started("web")
        self.holding = False
        self.successResultOf(client.stopService())
        self.assertTrue(self.held[0].called, "it is cancelled")
        self.assertEqual(self.clock.getDelayedCalls(), [])
