"""Tests of `cadtwist.client.threads`: its waits are given by the test."""

from __future__ import annotations

import queue
import threading
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.client.threads import ThreadedClient
from tests.client.fakes import SETTINGS, FakeServer

PATIENCE_S = 60


class Waits:
    """The waits of one thread: each ends when the test says so; the client's end ends all."""

    def __init__(self) -> None:
        self.asked: queue.Queue[float] = queue.Queue()
        self.ends: queue.Queue[bool] = queue.Queue()

    def __call__(self, ended: threading.Event, seconds: float) -> bool:
        self.asked.put(seconds)
        return self.ends.get(timeout=PATIENCE_S) or ended.is_set()

    def over(self) -> None:
        """End the wait that is under way, and return when the next one has begun."""
        self.ends.put(False)
        self.asked.get(timeout=PATIENCE_S)


class ThreadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = FakeServer()
        self.waits = Waits()
        self.killed: list[bool] = []

    def started(self) -> ThreadedClient:
        settings = replace(SETTINGS, process="")
        client = ThreadedClient(settings, self.server.ask, lambda: self.killed.append(True), wait=self.waits)
        self.assertEqual(self.waits.asked.get(timeout=PATIENCE_S), 5.0)
        self.addCleanup(self.end, client)
        return client

    def end(self, client: ThreadedClient) -> None:
        for _ in range(4):
            self.waits.ends.put(True)
        client.stop()

    def test_each_period_is_sent_be_it_empty(self) -> None:
        client = self.started()
        client.agg("a", "1c")
        client.agg("a", "2c")
        self.waits.over()
        self.waits.over()
        self.assertEqual([len(put) for put in self.server.puts], [1, 0])
        self.assertEqual(self.server.total(), 3)

    def test_many_threads(self) -> None:
        client = self.started()

        def work() -> None:
            for _ in range(1000):
                client.agg("a", "1c")

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            client.push()
        for thread in threads:
            thread.join()
        client.push()
        self.assertEqual(self.server.total(), 8000)

    def test_a_dead_server_and_its_return(self) -> None:
        client = self.started()
        self.server.away = ConnectionRefusedError("nobody there")
        for _ in range(20):
            client.agg("a", "1c")
            self.waits.over()
        self.server.away = TimeoutError("no answer")
        self.waits.over()
        self.server.away = None
        self.waits.over()
        self.assertEqual((self.server.total(), client.core.failures, client.core.lost), (20, 21, 0))

    def test_the_end_sends_the_rest(self) -> None:
        client = self.started()
        client.agg("a", "1c")
        self.end(client)
        self.assertEqual((self.server.total(), client.running), (1, False))
        self.assertFalse(client.agg("a", "1c"), "values are ignored while it is stopped")
        client.stop()
        self.assertEqual(self.server.total(), 1)

    def test_it_may_start_again(self) -> None:
        client = self.started()
        self.end(client)
        while not self.waits.ends.empty():
            self.waits.ends.get()
        client.start()
        client.start()
        self.waits.asked.get(timeout=PATIENCE_S)
        self.assertTrue(client.agg("a", "1c"))
        self.waits.over()
        self.assertEqual(self.server.total(), 1)


class ProcessTests(SynchronousTestCase):
    def run_until_killed(self, *answers: Any) -> tuple[FakeServer, list[float]]:
        server, waits = FakeServer(), []
        killed = threading.Event()
        server.answers = [*answers, (200, f"{SETTINGS.auth}-web".encode())]

        def wait(ended: threading.Event, seconds: float) -> bool:
            if threading.current_thread().name == "dattss process":
                waits.append(seconds)
                return ended.is_set()
            return ended.wait(PATIENCE_S)

        client = ThreadedClient(SETTINGS, server.ask, killed.set, wait=wait)
        self.assertTrue(killed.wait(PATIENCE_S))
        client.stop()
        return server, waits

    def test_it_asks_until_it_is_killed(self) -> None:
        server, waits = self.run_until_killed((200, b'{"ok":true}'), (200, b"other-web"))
        self.assertEqual((server.polls, waits), ([{"auth": SETTINGS.auth, "process": "web"}] * 3, [0.1, 0.1]))

    def test_how_long_it_waits(self) -> None:
        refused, reset = ConnectionRefusedError(), ConnectionResetError()
        slow = TimeoutError()
        _, waits = self.run_until_killed(refused, refused, refused, reset, refused, (500, b""), slow, (200, b""))
        self.assertEqual(waits, [1, 2, 4, 0.1, 1, 2, 4, 0.1])
