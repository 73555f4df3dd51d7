from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.countertree import CounterTree
from cadtwist.telemetry import Account
from cadtwist.web.istat import Listed
from cadtwist.web.istatmeeting import API_BEGINNINGS
from cadtwist.web.istatsite import IstatResource
from cadtwist.web.requests import BoundedSite
from cadtwist.web.site import graphite_doors, graphite_rooms
from tests.web.wire import Client, Reply, request_bytes


class Back:
    """Answers without counters; one of them fails."""

    compat = False
    settings: Any = None

    def __init__(self) -> None:
        self.tree = CounterTree()
        for number in range(50):
            self.tree.add(f"some.counter.{number}", False)

    def now(self) -> int:
        return 1325395000

    async def select(self, name: str, *_asked: object) -> None:
        if name == "broken":
            raise ValueError("cannot be read")

    async def select_many(self, names: Sequence[str], *_asked: object) -> list[None]:
        return [None for _ in names]

    async def matching(self, pattern: str) -> Listed:
        return Listed(self.tree.matching(pattern))

    async def all_agents(self) -> list[dict[str, object]]:
        return [{"_peer": "x"}]

    def file(self, name: str) -> None:
        del name


class MeetingTests(SynchronousTestCase):
    def test_every_path_of_the_api_is_its_own(self) -> None:
        """What is added to the API's doors must be known where counters are asked too."""
        for path in (*graphite_doors(), *graphite_rooms()):
            if path.strip("/"):
                self.assertIn(path.strip("/").partition("/")[0].encode(), API_BEGINNINGS, path)


class IstatSiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.account = Account("http")
        self.site: Any = BoundedSite(IstatResource(Back(), self.account), 1000, self.clock)

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Reply:
        client = Client(self.site, self.clock)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client.send(request_bytes(method, path, (), named, body))
        return client.reply()

    def test_answers(self) -> None:
        reply = self.ask("GET", "/?a=*")
        self.assertEqual((reply.status, json.loads(reply.body)["count"]), (200, 1))
        reply = self.ask("GET", "/none")
        self.assertEqual((reply.status, json.loads(reply.body)), (404, {"error": "No such counter none"}))
        self.assertEqual(self.account.counters, {"requests": 2, "errors_http": 1})

    def test_a_connection_may_ask_again(self) -> None:
        client = Client(self.site, self.clock)
        for _ in range(2):
            client.send(request_bytes("GET", "/?a=*"))
            self.assertEqual(client.reply().status, 200)

    def test_compresses_as_the_client_likes(self) -> None:
        plain = self.ask("GET", "/?q=*").body
        reply = self.ask("GET", "/?q=*", Accept_Encoding="gzip")
        self.assertEqual((reply.headers["content-encoding"], reply.body), ("gzip", plain))
        self.assertLess(int(reply.headers["content-length"]), len(plain))
        self.site.resource.compress = False
        self.assertNotIn("content-encoding", self.ask("GET", "/?q=*", Accept_Encoding="gzip").headers)
        self.assertEqual(gzip.decompress(gzip.compress(plain)), plain)

    def test_preflights_and_methods(self) -> None:
        reply = self.ask("OPTIONS", "/*")
        self.assertEqual((reply.status, reply.headers["access-control-allow-origin"]), (204, "*"))
        self.assertEqual(self.ask("PUT", "/x").status, 405)
        body = b'{"keys":["none"]}'
        reply = self.ask("POST", "/*", body, Referer="https://a.example/b/c")
        self.assertEqual((reply.status, reply.body), (200, b'{"none":"Not found."}'))
        self.assertEqual(reply.headers["access-control-allow-origin"], "https://a.example")

    def test_faults_are_told_and_logged(self) -> None:
        reply = self.ask("GET", "/broken")
        self.assertEqual((reply.status, json.loads(reply.body)), (400, {"error": "HTTP exception: cannot be read"}))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.account.counters["errors_server"], 1)

    def test_long_bodies_are_refused(self) -> None:
        self.assertEqual(self.ask("POST", "/*", b"x" * 1001).status, 413)
