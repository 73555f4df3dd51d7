"""The pages for operators of a relay: every path, shape and text."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cadtwist.errors import CadtwistError
from cadtwist.query.owner import NoMetrics
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.web.context import WebContext
from cadtwist.web.errors import RefusedError
from cadtwist.web.ops import IOps, OpsSite, ServerChange, checked_server
from cadtwist.web.params import Params
from tests.web.wire import Client, Reply, ask, request_bytes

NO_CACHE = "private, max-age=0, no-cache"
LEDGER = [
    {
        "name": "line tcp",
        "received": 3,
        "made": 0,
        "out": 3,
        "held": 0,
        "merged": 0,
        "dropped": {"queue_full": 1},
        "balance": 0,
        "counters": {"lines": 4},
        "gauges": {},
    }
]


@implementer(IOps)
class FakeOps:
    """Two sections: `statsd-proxy` with two replica sets, and `a b/c`, whose servers are all down."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str, ServerChange]] = []
        self.asked: list[tuple[str, float, int]] = []
        self.debugging = True
        self.content: object = None

    def sections(self) -> dict[str, int]:
        return {"statsd-proxy": 2, "a b/c": 1}

    def stats(self) -> Any:
        return succeed({name: {"valid_line_count": n} for n, name in enumerate(self.sections())})

    def hashcheck(self, key: str) -> Any:
        found: dict[str, Any] = {"to_servers": ["tcp://h:1"], "hash_key": key, "hash_value": [7]}
        return {"statsd-proxy": found, "a b/c": {**found, "to_servers": None, "hash_value": None}}

    def servers_up(self, section: str) -> Any:
        return succeed(2 if section == "statsd-proxy" else 0)

    def add_server(self, section: str, change: ServerChange) -> Any:
        if change.hashkey == "taken":
            raise RefusedError(400, "the key is taken")
        self.changes.append(("add", section, change))

    def purge_server(self, section: str, change: ServerChange) -> Any:
        self.changes.append(("purge", section, change))

    def accumulator(self, section: str) -> object:
        return self.content if section == "statsd-proxy" else None

    def debug(self, what: str, seconds: float, worker: int) -> object:
        self.asked.append((what, seconds, worker))
        if worker == 99:
            raise CadtwistError("there is no worker 99")
        return f"{what} of é" if self.debugging else None


class PagesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.ops = FakeOps()
        self.waits: list[str] = []
        reports = {"ledger": lambda: LEDGER, "waits": lambda: succeed(self.waits)}
        owner = NoMetrics(reports)
        self.context = WebContext(owner, MemoryStore(SchemaTable()), self.clock.seconds)
        self.site: Any = OpsSite(self.ops, self.context, reactor=self.clock)

    def get(self, path: str, **params: Any) -> Reply:
        return ask(self.site, self.clock, "GET", path, list(params.items()))

    def text(self, path: str, **params: Any) -> str:
        reply = self.get(path, **params)
        self.assertEqual((reply.status, reply.headers["cache-control"]), (200, NO_CACHE))
        return reply.body.decode()

    def json(self, path: str, **params: Any) -> Any:
        reply = self.get(path, **params)
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, "application/json"))
        self.assertEqual(reply.headers["cache-control"], NO_CACHE)
        return json.loads(reply.body)

    def refused(self, path: str, status: int, **params: Any) -> str:
        reply = self.get(path, **params)
        self.assertEqual((reply.status, reply.headers["cache-control"]), (status, NO_CACHE))
        return reply.body.decode()


class EverythingTests(PagesCase):
    def test_the_fake_is_one(self) -> None:
        verifyObject(IOps, self.ops)

    def test_we_are_alive(self) -> None:
        for path in ("/ops/status", "/ping", "/status", "/ops/status/", "/ping/"):
            self.assertEqual(self.text(path), "ok")

    def test_stats_of_all_sections(self) -> None:
        self.assertEqual(
            self.json("/stats"), {"statsd-proxy": {"valid_line_count": 0}, "a b/c": {"valid_line_count": 1}}
        )

    def test_stats_within_a_callback(self) -> None:
        reply = self.get("/stats", jsonp="my.$show")
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, "application/javascript"))
        self.assertTrue(reply.body.startswith(b'my.$show({"'))
        self.assertTrue(reply.body.endswith(b"})"))

    def test_a_callback_that_is_more_than_a_name(self) -> None:
        for callback in ("alert(1);x", "<b>", "x" * 300):
            self.assertIn("jsonp", self.refused("/stats", 400, jsonp=callback))

    def test_servers(self) -> None:
        told = self.json("/servers")
        self.assertEqual(list(told), ["statsd-proxy", "a b/c"])
        doors = ["", "/ping", "/ops/status", "/stats", "/addserver", "/purgeserver", "/accumulator"]
        self.assertEqual(told["statsd-proxy"], [f"/statsd-proxy{door}" for door in doors])

    def test_hashcheck(self) -> None:
        told = self.json("/hashcheck", key="a.b")
        self.assertEqual(told["statsd-proxy"], {"to_servers": ["tcp://h:1"], "hash_key": "a.b", "hash_value": [7]})
        self.assertEqual(told["a b/c"]["to_servers"], None)

    def test_hashcheck_without_a_key(self) -> None:
        self.assertEqual(self.refused("/hashcheck", 404), "Please provide a 'key' to process")
        self.assertEqual(self.refused("/hashcheck", 404, key=""), "Please provide a 'key' to process")

    def test_a_page_for_people_at_every_other_path(self) -> None:
        for path in ("/", "/nothing", "/statsd-proxy/nothing", "/debug", "/index.html"):
            page = self.text(path)
            self.assertIn("<h1>Relay</h1>", page)
            self.assertIn("<a href='/a%20b/c/stats'>a b/c</a>", page)

    def test_a_page_of_the_operators_own(self) -> None:
        self.site = OpsSite(self.ops, self.context, b"<p>mine</p>", self.clock)
        self.assertEqual(self.text("/"), "<p>mine</p>")
        self.assertEqual(self.text("/stats/../x"), "<p>mine</p>")

    def test_any_method(self) -> None:
        for method in ("POST", "PUT", "DELETE", "HEAD"):
            reply = ask(self.site, self.clock, method, "/ping")
            self.assertEqual((reply.status, reply.body), (200, b"" if method == "HEAD" else b"ok"))

    def test_our_own_doors(self) -> None:
        self.assertIn('cadtwist_points_received_total{part="line tcp"} 3.0', self.text("/metrics"))
        self.assertEqual(self.json("/ledger"), {"accounts": LEDGER})
        self.assertEqual((self.text("/healthz"), self.text("/readyz")), ("ok\n", "ready\n"))
        self.waits = ["the log"]
        self.assertEqual(self.refused("/readyz", 503), "the log\n")

    def test_too_long_a_body(self) -> None:
        client = Client(self.site, self.clock)
        client.send(b"POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n")
        self.assertEqual(client.reply().status, 413)

    def test_too_many_fields(self) -> None:
        body = b"a=1&" * 16_000 + b"a=2"
        reply = ask(
            self.site, self.clock, "POST", "/ping", [],
            {"Content-Type": "application/x-www-form-urlencoded"}, body[:65_000],
        )  # fmt: skip
        self.assertEqual(reply.status, 200)

    def test_a_fault_of_ours(self) -> None:
        def broken() -> Any:
            raise ZeroDivisionError

        self.ops.stats = broken  # type: ignore[method-assign]
        self.assertEqual(self.refused("/stats", 500), "Internal error\n")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_client_that_leaves(self) -> None:
        waiting: Deferred[Any] = Deferred()
        self.ops.stats = lambda: waiting  # type: ignore[method-assign]
        client = Client(self.site, self.clock)
        client.send(request_bytes("GET", "/stats"))
        client.channel.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(waiting.called)
        self.assertEqual(client.transport.value(), b"")


class SectionTests(PagesCase):
    def test_stats(self) -> None:
        for path in ("/statsd-proxy", "/statsd-proxy/stats", "/statsd-proxy/stats/", "/statsd-proxy/"):
            self.assertEqual(self.json(path), {"valid_line_count": 0})
        self.assertEqual(self.json("/a%20b/c/stats"), {"valid_line_count": 1})

    def test_alive(self) -> None:
        for path in ("ops/status", "ops/status/", "ping", "status"):
            self.assertEqual(self.text(f"/statsd-proxy/{path}"), "ok")
            self.assertEqual(self.refused(f"/a%20b/c/{path}", 503), "all servers down")

    def test_the_accumulator(self) -> None:
        self.assertEqual(self.refused("/statsd-proxy/accumulator", 501), "No accumulators defined")
        self.ops.content = {"min_time": 1, "max_time": 2, "stats": None}
        self.assertEqual(self.json("/statsd-proxy/accumulator"), self.ops.content)
        self.assertEqual(self.refused("/a%20b/c/accumulator", 501), "No accumulators defined")

    def added(self) -> list[tuple[Any, ...]]:
        found = [
            (what, section, change.server, change.check_server, change.hashkey, change.replica)
            for what, section, change in self.ops.changes
        ]
        self.ops.changes.clear()
        return found

    def test_a_server_joins(self) -> None:
        server = "tcp://127.0.0.1:7"
        self.assertEqual(self.text("/statsd-proxy/addserver", server=server), "Server URL Added")
        self.assertEqual(self.added(), [("add", "statsd-proxy", server, server, server, 0)])
        given = {"server": "udp://h:7", "check_server": "http://h/alive", "hashkey": "h-7", "replica": "1"}
        self.assertEqual(self.text("/statsd-proxy/addserver", **given), "Server URL Added")
        self.assertEqual(self.added(), [("add", "statsd-proxy", "udp://h:7", "http://h/alive", "h-7", 1)])

    def test_by_a_form(self) -> None:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        body = b"server=tcp%3A%2F%2Fh%3A1&hashkey=k"
        reply = ask(self.site, self.clock, "POST", "/statsd-proxy/addserver", [("replica", "1")], kind, body)
        self.assertEqual((reply.status, reply.body), (200, b"Server URL Added"))
        self.assertEqual(self.added(), [("add", "statsd-proxy", "tcp://h:1", "tcp://h:1", "k", 1)])

    def test_a_server_leaves(self) -> None:
        self.assertEqual(self.text("/statsd-proxy/purgeserver", server="udp://h:1"), "Server URL Purged")
        self.assertEqual(self.added()[0][:3], ("purge", "statsd-proxy", "udp://h:1"))

    def test_every_refusal(self) -> None:
        tcp = {"server": "tcp://h:1"}
        for params, text in [
            ({}, "Invalid server name"),
            ({"server": "  "}, "Invalid server name"),
            ({"server": "h:1"}, "Not a valid server URL"),
            ({"server": "tcp://h"}, "Not a valid server URL"),
            ({"server": "tcp://h:99999"}, "Not a valid server URL"),
            ({"server": "tcp://[::1"}, "Not a valid server URL"),
            ({"server": "ftp://h:1"}, "Not a valid server URL"),
            ({"server": "unix://"}, "Not a valid server URL"),
            ({**tcp, "check_server": "h"}, "Not a valid Check server URL"),
            ({"server": "udp://h:1"}, "Check server can only be TCP or HTTP"),
            ({"server": "unix:///run/x"}, "Check server can only be TCP or HTTP"),
            ({**tcp, "replica": "x"}, "Replica index is not an int"),
            ({**tcp, "replica": "2"}, "Replica index Too large"),
            ({**tcp, "replica": "-1"}, "Replica index Too small"),
            ({**tcp, "hashkey": "taken"}, "the key is taken"),
        ]:
            self.assertEqual(self.refused("/statsd-proxy/addserver", 400, **params), text, params)
        for params, text in [
            ({}, "Invalid server name"),
            ({"server": "h:1"}, "Not a valid server URL"),
            ({**tcp, "replica": "2"}, "Replica index Too large"),
        ]:
            self.assertEqual(self.refused("/statsd-proxy/purgeserver", 400, **params), text, params)
        self.assertEqual(self.ops.changes, [])

    def test_urls_that_are_fine(self) -> None:
        for server in ("tcp://[::1]:1", "http://h/lines", "https://h", "udp://h:1", "unix:///run/x"):
            change = checked_server(Params([("server", server), ("check_server", "tcp://h:1")]), 1)
            self.assertEqual((change.server, change.hashkey), (server, server))


class DebugTests(PagesCase):
    def ask_from(self, peer: Any, path: str) -> int:
        transport = StringTransport(peerAddress=peer)
        channel: Any = self.site.buildProtocol(peer)
        channel.callLater = self.clock.callLater
        channel.makeConnection(transport)
        channel.dataReceived(request_bytes("GET", path))
        return int(bytes(transport.value()).split()[1])

    def test_texts(self) -> None:
        for what in ("profile", "heap", "stacks"):
            self.assertEqual(self.text(f"/debug/{what}"), f"{what} of é")
        self.assertEqual(self.ops.asked, [(what, 10.0, -1) for what in ("profile", "heap", "stacks")])

    def test_seconds_and_worker(self) -> None:
        self.text("/debug/profile", seconds="0.5", worker="3")
        self.text("/debug/profile", seconds="86400")
        self.assertEqual(self.ops.asked, [("profile", 0.5, 3), ("profile", 300.0, -1)])

    def test_wrong_numbers(self) -> None:
        for given in ({"seconds": "x"}, {"seconds": "nan"}, {"seconds": "inf"}, {"seconds": "-2"}, {"worker": "x"}):
            self.assertIn("is not a number", self.refused("/debug/profile", 400, **given))
        self.assertEqual(self.ops.asked, [])

    def test_not_now(self) -> None:
        self.assertEqual(self.refused("/debug/heap", 409, worker="99"), "there is no worker 99")

    def test_off(self) -> None:
        self.ops.debugging = False
        self.assertEqual(self.refused("/debug/heap", 404), "not found")

    def test_other_things(self) -> None:
        self.assertEqual(self.refused("/debug/x", 404), "not found")
        self.assertEqual(self.ops.asked, [])

    def test_on_loopback_only(self) -> None:
        for host, status in (("127.0.0.1", 200), ("127.3.2.1", 200), ("::1", 200), ("10.0.0.1", 404)):
            self.assertEqual(self.ask_from(IPv4Address("TCP", host, 1), "/debug/heap"), status, host)
        self.assertEqual(self.ask_from(UNIXAddress(b"/run/x"), "/debug/heap"), 404)
        self.assertEqual(self.ask_from(IPv4Address("TCP", "10.0.0.1", 1), "/ping"), 200)
