"""Questions of a megabyte that are made to cost: each is refused with a clear text, at every door that takes one."""

from __future__ import annotations

from urllib.parse import urlencode

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.index import HOT, MetricIndex
from cadtwist.query.owner import LocalOwner
from cadtwist.query.resolution import SchemaInfo
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.web.context import WebContext
from cadtwist.web.site import ApiSite
from tests.fuzz.test_http import NOW, hot
from tests.web.wire import Client, request_bytes

MEGABYTE = 1 << 20
TARGETS = {
    "calls that never close": "scale(" * (MEGABYTE // 6),
    "calls within calls": "scale(" * 60_000 + "a" + ",1)" * 60_000,
    "arguments": f"sumSeries({'a,' * (MEGABYTE // 2)}a)",
    "named arguments": "scale(a," + ",".join(f"k{n}=1" for n in range(80_000)) + ")",
    "pipes": "a" + "|scale(1)" * (MEGABYTE // 9),
    "a text": f"alias(a,'{'x' * MEGABYTE}')",
    "a number": f"scale(a,{'9' * MEGABYTE})",
    "templates": "template(" * (MEGABYTE // 9),
    "tags": "seriesByTag(" + ",".join(["'a=b'"] * (MEGABYTE // 6)) + ")",
}
QUERIES = {
    "braces": "{a,b}" * (MEGABYTE // 5),
    "open braces": "{" * MEGABYTE,
    "components": "a." * (MEGABYTE // 2),
    "any branches": "**." * (MEGABYTE // 3),
    "stars": "*" * MEGABYTE,
    "sets": "[a-" * (MEGABYTE // 3),
    "backslashes": "\\" * MEGABYTE,
    "a name": "x" * MEGABYTE,
}
COSTLY = {
    "alternatives": ".".join("{" + ",".join(f"{letter}{n}" for n in range(999)) + "}" for letter in "abcdef"),
    "wide globs": "servers." + "*a*" * 300 + ".x",
    "sums of sums": "sumSeries(" * 59 + "m.*" + ")" * 59,
    "a slow expression": f"grep(m.*,'{'(a+)+' * 150}$')",
    "a long window": "movingAverage(m.*,'1000years')",
    "many ranges": "timeStack(m.*,'1d',0,100000)",
    "much of everything": "group(" + ",".join(["m.*"] * 9000) + ")",
}


class LargeRequests(SynchronousTestCase):
    def setUp(self) -> None:
        index = MetricIndex(3)
        index.add_all([b"m.%d" % number for number in range(500)], HOT)
        owner = LocalOwner(index, lambda _: 1, hot, lambda _: SchemaInfo(((60, 60),), "average", 0.5))
        self.site = ApiSite(WebContext(owner, MemoryStore(SchemaTable()), lambda: float(NOW)), 4 << 20, Clock())

    def ask(self, path: str, *fields: tuple[str, str]) -> tuple[int, bytes]:
        """Return status and body of the answer to a form."""
        client = Client(self.site, Clock())
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        data = request_bytes("POST", path, (), kind, urlencode(fields).encode())
        for at in range(0, len(data), 1 << 16):
            client.send(data[at : at + (1 << 16)])
        reply = client.reply()
        return reply.status, reply.body

    def test_targets(self) -> None:
        for name, text in TARGETS.items():
            status, body = self.ask("/render", ("target", text), ("format", "json"))
            self.assertEqual(status, 400, name)
            self.assertIn(b"Target has ", body, name)
            self.assertLess(len(body), 3000, "the answer shows only the beginning")

    def test_queries(self) -> None:
        for name, text in QUERIES.items():
            for path, key in (("/metrics/find", "query"), ("/metrics/expand", "query"), ("/info", "target")):
                status, body = self.ask(path, (key, text))
                self.assertEqual(status, 400, (name, path))
                self.assertIn(b"Invalid parameters (Query ", body, (name, path))
                self.assertLess(len(body), 1000)

    def test_no_door_breaks(self) -> None:
        doors = (
            ("/tags/findSeries", "expr"), ("/tags/autoComplete/tags", "expr"), ("/tags/autoComplete/values", "expr"),
            ("/tags/tagSeries", "path"), ("/browser/search", "query"), ("/events/get_data", "tags"),
            ("/metrics/get-metadata", "metric"), ("/functions/", "type"), ("/render", "from"), ("/render", "tz"),
        )  # fmt: skip
        texts = {name: QUERIES[name] for name in ("braces", "sets", "backslashes")}
        for name, text in {**texts, "calls": TARGETS["calls that never close"]}.items():
            for path, key in doors:
                status, body = self.ask(path, (key, text), ("target", "m.1"), ("format", "json"), ("tag", "name"))
                self.assertIn(status, (200, 400, 404, 405), (name, path))
                self.assertNotIn(b"Internal error", body)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_costs_much(self) -> None:
        for name, text in COSTLY.items():
            for path, key in (("/render", "target"), ("/metrics/find", "query")):
                status, body = self.ask(path, (key, text), ("format", "json"))
                self.assertIn(status, (200, 400), (name, path))
                self.assertNotIn(b"Internal error", body)
        for name in ("alternatives", "many ranges", "much of everything"):
            self.assertEqual(self.ask("/render", ("target", COSTLY[name]), ("format", "json"))[0], 400, name)
        self.assertEqual(self.flushLoggedErrors(), [])
