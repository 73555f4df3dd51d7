"""istatd's door for Prometheus."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.web.istatprometheus import PrometheusDoor
from cadtwist.web.requests import BoundedSite
from tests.web.wire import Client, Reply, request_bytes


class PrometheusDoorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: Deferred[str] = Deferred()
        self.clock = Clock()
        self.site: Any = BoundedSite(PrometheusDoor(lambda: self.told), 1000, self.clock)

    def client(self, method: str, path: str) -> Client:
        client = Client(self.site, self.clock)
        client.send(request_bytes(method, path))
        return client

    def reply(self, method: str, path: str) -> Reply:
        return self.client(method, path).reply(method == "HEAD")

    def test_the_text_when_it_is_there(self) -> None:
        client = self.client("GET", "/metrics")
        self.assertEqual(client.transport.value(), b"")
        self.told.callback("a 1\n")
        reply = client.reply()
        self.assertEqual((reply.status, reply.body), (200, b"a 1\n"))
        self.assertTrue(reply.headers["content-type"].startswith("text/plain"))

    def test_nothing_else(self) -> None:
        self.assertEqual(self.reply("POST", "/metrics").status, 405)
        self.assertEqual(self.reply("GET", "/").status, 400)

    def test_a_fault_is_answered(self) -> None:
        """Whoever scrapes must not wait for ever."""
        client = self.client("GET", "/metrics")
        self.told.errback(ValueError("broken"))
        self.assertEqual(client.reply().status, 503)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_who_left_is_no_fault(self) -> None:
        client = self.client("GET", "/metrics")
        client.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.flushLoggedErrors(), [])
