"""The doors: limits, errors, methods, headers."""

from __future__ import annotations

import json
import pickle

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.batch import NO_ID
from cadtwist.query.index import HOT, MetricIndex
from cadtwist.query.owner import LocalOwner, QueryLimits
from cadtwist.query.resolution import SchemaInfo
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.telemetry import Telemetry
from cadtwist.web.answers import CrossOrigin
from cadtwist.web.context import WebContext
from cadtwist.web.site import ApiSite
from tests.query.hotpoints import every_has
from tests.web.wire import Client, ask, get, request_bytes

NOW = 1_700_000_000 // 60 * 60
KEYS = ["target", "query", "from", "until", "now", "tz", "format", "maxDataPoints", "noNullPoints", "jsonp", "position"]
VALUES = ["json", "raw", "csv", "pickle", "completer", "nodelist", "a.*", "**", "-1h", "5"]
SCHEMA = SchemaInfo(((60, 60), (300, 288)), "sum", 0.5)


hot = every_has((NOW - 60.0, 1.0), (float(NOW), 2.0))


class SlowOwner:
    """Never answers of itself."""

    def __init__(self):
        self.cancelled = False
        self.answer = Deferred(lambda _: setattr(self, "cancelled", True))

    def report(self, topic):
        return self.answer


def make(
    names=(b"a.x", b"a.y", b"b"),
    owner=None,
    limits=None,
    cors=(),
    max_body=1000,
    waits=(),
    now=lambda: float(NOW),
    **more,
):
    index = MetricIndex(3)
    index.add_all(names, HOT)
    telemetry = Telemetry()
    telemetry.account("cache").count("flushes", 3)
    telemetry.account("cache").received = 7
    telemetry.account("cache").drop('full "disk"', 7)
    reports = {"ledger": telemetry.ledger, "waits": lambda: list(waits), "status": lambda: {"pid": 5}}
    limits = limits or QueryLimits()
    local = LocalOwner(index, lambda name: 1 if name in names else NO_ID, hot, lambda name: SCHEMA, reports, limits)
    clock = Clock()
    context = WebContext(owner or local, MemoryStore(SchemaTable()), now, limits, CrossOrigin(tuple(cors)), **more)
    return ApiSite(context, max_body, reactor=clock, cadent_path="/cadent/"), clock


class RenderTests(SynchronousTestCase):
    def test_headers_that_are_no_text(self):
        """The bytes of a header may be anything."""
        site, clock = make()
        for name in (b"Content-Type", b"Accept", b"Accept-Encoding", b"Origin"):
            client = Client(site, clock)
            client.send(b"GET /metrics/find?query=* HTTP/1.0\r\n" + name + b": \xff\x82\r\n\r\n")
            self.assertEqual(client.reply().status, 200, name)

    def test_points_in_memory(self):
        reply = get(*make(), "/render", target="a.*", **{"from": "-3min"}, format="json")
        self.assertEqual(
            json.loads(reply.body),
            [
                {
                    "target": name,
                    "tags": {"name": name},
                    "datapoints": [[None, NOW - 120], [1.0, NOW - 60], [2.0, NOW]],
                }
                for name in ("a.x", "a.y")
            ],
        )

    def test_cluster_form(self):
        reply = get(*make(), "/render/", target="{q,r}", **{"from": "-3min"}, format="msgpack", local="1")
        self.assertEqual((reply.status, reply.body), (200, b"\x90"))
        reply = get(*make(), "/render/", target="[b]", **{"from": "-3min"}, format="raw", noCache="1")
        self.assertEqual(reply.body, b"b,%d,%d,60|None,1.0,2.0\n" % (NOW - 120, NOW + 60))
        self.assertIn("no-store", reply.headers["cache-control"])

    def test_refusals(self):
        for fields, status, text in (
            ({"target": "nosuch(a.*)", "format": "json"}, 400, "unknown function: nosuch); targets: \"nosuch(a.*)\""),
            ({"target": "scale(a.*,'x')", "format": "json"}, 400, "parameter \"factor\": 'x' at column 1"),
            ({"target": " (", "format": "json"}, 400, "No expression at column 1 of target"),
            ({"target": "mapSeries(a.*,1)", "format": "json"}, 400, "The target does not stand for series"),
            ({"target": "a", "lineMode": "x"}, 400, "Invalid lineMode 'x'"),
            ({"target": "a", "areaMode": "x"}, 400, "Invalid areaMode 'x'"),
            ({"target": "a", "format": "json", "maxDataPoints": "0"}, 400, "Invalid parameters (maxDataPoints"),
            ({"target": "a", "format": "json", "from": "x"}, 400, "Invalid parameters (Unknown day reference: x)"),
            ({"target": "a", "format": "json", "from": "x", "until": "y"}, 400, "(Unknown day reference: y)"),
            ({"target": "a", "format": "json", "from": "-1h", "until": "-1h", "xFilesFactor": "x"}, 400, "empty time"),
            ({"target": "{a,b}" * 20, "format": "json"}, 400, "Invalid parameters (Query"),
        ):
            reply = get(*make(), "/render", **fields)
            self.assertEqual(reply.status, status)
            self.assertIn(text, reply.body.decode())

    def test_parameters_are_looked_at_though_not_needed(self):
        for form in ("treejson", "completer", "json", "nodelist"):
            reply = get(*make(), "/metrics/find", query="a.*", format=form, position="x")
            self.assertEqual((reply.status, b"Invalid int value 'x' for param position" in reply.body), (400, True))

    def test_numbers_are_looked_at_first(self):
        """Of several faults the one is told that is looked for first."""
        for fields, text in (
            ({"wildcards": "x", "from": "y"}, "Invalid int value 'x' for param wildcards"),
            ({"local": "", "wildcards": "x"}, "Invalid int value '' for param local"),
            ({"from": "y", "position": "x"}, "Invalid value 'y' for param from"),
            ({"query": "", "automatic_variants": "x"}, "Invalid int value 'x' for param automatic_variants"),
            ({"from": "200", "until": "100"}, "Failed to instantiate find query: Invalid interval start=200 end=100"),
            ({"from": "-1h", "until": "-2h"}, "Invalid interval"),
        ):
            reply = get(*make(), "/metrics/find", **{"query": "a.*", "format": "json", **fields})
            self.assertEqual((reply.status, text in reply.body.decode()), (400, True), fields)
        for fields in ({"from": "-1", "until": "100"}, {"from": "100", "until": "100"}, {"from": "", "until": "now"}):
            self.assertEqual(get(*make(), "/metrics/find", query="a.*", **fields).status, 200, fields)

    def test_a_callback_without_a_name(self):
        for form, body in (("json", b"([])"), ("rickshaw", b"([])"), ("dygraph", b"({})"), ("raw", b"")):
            reply = get(*make(), "/render", target="q", format=form, jsonp="")
            self.assertEqual((reply.status, reply.body), (200, body), form)
        self.assertEqual(get(*make(), "/metrics/find", query="q", jsonp="").body, b"[]")

    def test_parts_of_seconds(self):
        """JSON shows times as carbonapi's clients ask for them; other formats know seconds only."""
        fields = {"target": "b", "from": "-3min"}
        for unit, ticks in (("s", 1), ("ms", 1000), ("us", 10**6), ("ns", 10**9), ("", 1), ("milliseconds", 1000)):
            for pretty in ("", "1"):
                reply = get(*make(), "/render", format="json", timestampFormat=unit, pretty=pretty, **fields)
                (one,) = json.loads(reply.body)
                self.assertEqual([time for _, time in one["datapoints"]],
                                 [(NOW - 120 + 60 * i) * ticks for i in range(3)], unit)  # fmt: skip
        plain = get(*make(), "/render", format="raw", **fields).body
        self.assertEqual(get(*make(), "/render", format="raw", timestampFormat="ns", **fields).body, plain)
        reply = get(*make(), "/render", format="json", timestampFormat="min", **fields)
        self.assertEqual((reply.status, b"unsupported timestamp format" in reply.body), (400, True))

    def test_series_without_values(self):
        """They are left out of JSON where no other has one; what fewer points leave of a series is shown."""
        doors = make()
        lines = f"group(verticalLine('{NOW - 120}','v'),verticalLine('{NOW - 60}','w'))"
        for target, more, names in (
            ("delay(a.x,0)", {}, []), ("group(delay(a.x,0),b)", {}, ["delay(a.x,0)", "b"]),
            ("delay(a.x,0)", {"maxDataPoints": "2"}, []), (lines, {"maxDataPoints": "2"}, ["v", "w"]),
        ):  # fmt: skip
            reply = get(*doors, "/render", target=target, format="json", **{"from": "-3min", **more})
            self.assertEqual([one["target"] for one in json.loads(reply.body)], names, target)

    def test_limits_of_tags(self):
        doors = make()
        for path in ("/tags", "/tags/server"):
            self.assertEqual([get(*doors, path, limit=limit).status for limit in ("", "1", "x")], [200, 200, 400])
        ask(*doors, "POST", "/tags/tagSeries", [("path", "m;a=1")])
        for limit, found in (("-1", 2), ("0", 0), ("1", 1), ("9" * 30, 2)):
            self.assertEqual(len(json.loads(get(*doors, "/tags", limit=limit).body)), found, limit)
        self.assertEqual(get(*doors, "/tags/autoComplete/tags", limit="").status, 400)

    def test_budgets(self):
        doors = make(names=[b"a.%d" % i for i in range(9)], limits=QueryLimits(series=5))
        self.assertEqual(get(*doors, "/render", target="a.*", format="json").status, 400)
        doors = make(limits=QueryLimits(series=5))
        reply = get(*doors, "/render", target="group(" + ",".join(["a.*"] * 6) + ")", format="json")
        self.assertEqual((reply.status, b"the limit is 5" in reply.body), (400, True), "one series, asked for often")
        doors = make(limits=QueryLimits(points=4))
        reply = get(*doors, "/render", target="a.*", format="json", **{"from": "-3min"})
        self.assertEqual((reply.status, b"more than 4 points" in reply.body), (400, True))
        ticks = iter(range(NOW, NOW + 1000))
        doors = make(limits=QueryLimits(seconds=2), now=lambda: float(next(ticks)))
        reply = get(*doors, "/render", target="scale(a.*,2)", format="json")
        self.assertEqual((reply.status, b"takes more than 2 s" in reply.body), (400, True))

    def test_inline_render_pauses(self):
        pauses: list[Deferred] = []
        ticks = iter(range(NOW, NOW + 1000))

        def pause():
            pauses.append(Deferred())
            return pauses[-1]

        doors, clock = make(pause=pause, now=lambda: float(next(ticks)), limits=QueryLimits(seconds=900))
        client = Client(doors, clock)
        client.send(request_bytes("GET", "/render", [("target", "a.*"), ("format", "raw")]))
        turns = 0
        while client.transport.value() == b"":
            pauses.pop().callback(None)
            turns += 1
        self.assertEqual(turns, 3)
        self.assertEqual(client.reply().body.count(b"\n"), 2)


class DoorTests(SynchronousTestCase):
    def test_metrics_has_three_meanings(self):
        self.assertEqual(json.loads(get(*make(), "/metrics", query="b").body)[0]["id"], "b")
        self.assertEqual(get(*make(), "/metrics", target="b").status, 501)
        text = get(*make(), "/metrics").body.decode()
        self.assertIn('cadtwist_points_received_total{part="cache"} 7.0', text)
        self.assertIn('cadtwist_points_dropped_total{part="cache",reason="full \\"disk\\""} 7.0', text)
        self.assertIn("flushes", text)

    def test_operators_doors(self):
        self.assertEqual(json.loads(get(*make(), "/ledger").body)["accounts"][0]["balance"], 0)
        self.assertEqual(json.loads(get(*make(), "/ops/status").body), {"pid": 5})
        self.assertEqual(get(*make(), "/healthz").status, 200)
        self.assertEqual(get(*make(), "/readyz").status, 200)
        reply = get(*make(waits=["replaying the log"]), "/readyz")
        self.assertEqual((reply.status, reply.body), (503, b"replaying the log\n"))
        self.assertEqual(get(*make(), "/version").body, b"1.1.10")
        self.assertIn(b"<form", get(*make(), "/").body)
        self.assertEqual(get(*make(), "/nothing").status, 404)

    def test_info(self):
        (one,) = json.loads(get(*make(), "/info", target="b").body)["metrics"]
        self.assertEqual((one["maxRetention"], one["consolidationFunc"]), ("86400", "sum"))
        self.assertEqual(one["retentions"][0], {"secondsPerPoint": "60", "numberOfPoints": "60"})
        self.assertEqual(get(*make(), "/info/", target="none").status, 404)
        self.assertEqual(get(*make(), "/info").status, 400)

    def test_find_as_plain_lines(self):
        reply = get(*make(), "/metrics/find", query="*", format="raw")
        self.assertEqual((reply.headers["content-type"], reply.body), ("text/plain", b"a.\nb\n"))

    def test_a_json_body(self):
        told = json.dumps({"target": ["a.x", "b"], "format": "json", "from": "-3min", "maxDataPoints": 10}).encode()
        reply = ask(*make(), "POST", "/render", (), {"Content-Type": "application/json"}, told)
        self.assertEqual([one["target"] for one in json.loads(reply.body)], ["a.x", "b"])

    def test_behind_a_prefix(self):
        site, clock = make()
        for prefix in ("/graphite", "graphite/", "/graphite/"):
            doors = ApiSite(site.resource._context, reactor=clock, cadent_path="/cadent/", prefix=prefix), clock
            for path in ("/graphite/version", "/version", "/graphite/cadent/list", "/graphite/functions/scale"):
                self.assertEqual(get(*doors, path).status, 200, path)
            for path in ("/graphite/", "/graphite", "/"):
                self.assertIn(b"<h1>cadtwist</h1>", get(*doors, path).body, path)
            self.assertEqual([get(*doors, path).status for path in ("/graphitex/version", "/x/version")], [404, 404])

    def test_robots(self):
        self.assertEqual(get(*make(), "/robots.txt").body, b"User-agent: *\nDisallow: /\n")

    def test_cluster_find_has_both_spellings(self):
        (branch, leaf) = pickle.loads(get(*make(), "/metrics/find/", query="*", format="pickle", local="1").body)
        self.assertEqual((branch["path"], branch["isLeaf"], branch["is_leaf"]), ("a", False, False))
        self.assertEqual((leaf["metric_path"], leaf["isLeaf"], leaf["intervals"]), ("b", True, [[0, NOW + 60]]))

    def test_methods(self):
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            self.assertEqual(ask(*make(), method, "/metrics/find", [("query", "b")]).status, 200)
        reply = ask(*make(), "HEAD", "/metrics/find", [("query", "b")])
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertGreater(int(reply.headers["content-length"]), 10)

    def test_gzip(self):
        headers = {"Accept-Encoding": "gzip, deflate"}
        names = [b"n.%d" % i for i in range(100)]
        reply = ask(*make(names), "GET", "/metrics/index.json", (), headers)
        self.assertEqual((reply.headers["content-encoding"], len(json.loads(reply.body))), ("gzip", 100))
        for accepted in ("gzip;q=0", "br, gzip; q=0.000 , x", "identity"):
            self.assertNotIn(
                "content-encoding",
                ask(*make(names), "GET", "/metrics/index.json", (), {"Accept-Encoding": accepted}).headers,
                accepted,
            )
        for accepted in ("gzip;q=0.5", "gzip;q=1, *;q=0"):
            reply = ask(*make(names), "GET", "/metrics/index.json", (), {"Accept-Encoding": accepted})
            self.assertEqual(reply.headers["content-encoding"], "gzip", accepted)
        reply = ask(*make(), "GET", "/metrics/index.json", (), headers)
        self.assertNotIn("content-encoding", reply.headers)

    def test_cross_origin(self):
        origin = {"Origin": "http://one.example"}
        allowed = "access-control-allow-origin"
        self.assertNotIn(allowed, ask(*make(), "GET", "/version", (), origin).headers)
        self.assertEqual(ask(*make(cors="*"), "GET", "/version", (), origin).headers[allowed], "*")
        doors = {"cors": ["http://one.example"]}
        self.assertEqual(ask(*make(**doors), "GET", "/version", (), origin).headers[allowed], "http://one.example")
        self.assertNotIn(allowed, ask(*make(**doors), "GET", "/version", (), {"Origin": "http://two"}).headers)
        self.assertEqual(ask(*make(**doors), "GET", "/version", (), origin).headers["vary"], "Origin")
        self.assertEqual(ask(*make(**doors), "GET", "/functions").headers["vary"], "Origin, Accept-Encoding")
        self.assertNotIn("vary", ask(*make(cors="*"), "GET", "/version", (), origin).headers)
        asked = {**origin, "Access-Control-Request-Method": "POST"}
        reply = ask(*make(**doors), "OPTIONS", "/render", (), asked)
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertIn("POST", reply.headers["access-control-allow-methods"])


class OtherDoorTests(SynchronousTestCase):
    def test_search(self):
        for query, found in (("A. b", b"a.x,a.y,b"), ("^B$", b"b"), ("z", b""), ("", b"")):
            self.assertEqual(ask(*make(), "POST", "/browser/search", [("query", query)]).body, found)
        self.assertEqual(get(*make(), "/browser/search", query="(").status, 400)

    def test_metadata(self):
        doors = make()
        fields = [("metric", "a.x"), ("metric", "no"), ("key", "aggregationMethod")]
        reply = ask(*doors, "GET", "/metrics/get-metadata", fields)
        told = json.loads(reply.body)
        self.assertEqual((told["a.x"], list(told["no"])), ("sum", ["error"]))
        reply = get(*doors, "/metrics/get-metadata", metric="b", key="x")
        self.assertEqual(list(json.loads(reply.body)["b"]), ["error"])
        self.assertEqual(list(json.loads(get(*doors, "/metrics/set-metadata", metric="b").body)["b"]), ["error"])
        changes = json.dumps([*({"metric": name, "key": "k", "value": "v"} for name in ("b", "a.x")), 5])
        reply = ask(*doors, "POST", "/metrics/set-metadata", (), {"Content-Type": "application/json"}, changes.encode())
        told = {name: {"error": f"Unexpected error occurred in bulk CarbonLink.set_metadata({name})"} for name in
                ("b", "a.x")}  # fmt: skip
        self.assertEqual(json.loads(reply.body), told)
        reply = ask(*doors, "POST", "/metrics/set-metadata", [("operations", changes)])
        self.assertEqual(json.loads(reply.body), told)
        self.assertEqual(ask(*doors, "POST", "/metrics/set-metadata", [("operations", "[" * 500)]).status, 200)


class LimitTests(SynchronousTestCase):
    def test_long_body(self):
        site, clock = make()
        client = Client(site, clock)
        client.send(b"POST /render HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)
        self.assertIn(b" 413 ", client.transport.value())
        self.assertEqual(client.transport.value().count(b"HTTP/1.1"), 1)
        self.assertFalse(client.transport.disconnecting, "who still sends shall read the answer")
        clock.advance(1)
        self.assertTrue(client.transport.disconnecting)

    def test_long_chunked_body(self):
        site, clock = make()
        client = Client(site, clock)
        client.send(b"POST /render HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            client.send(b"64\r\n" + b"x" * 100 + b"\r\n")
        client.send(b"0\r\n\r\n")
        self.assertEqual(client.transport.value().count(b" 413 "), 1)
        self.assertEqual(client.transport.value().count(b"HTTP/1.1"), 1)

    def test_many_fields(self):
        site, clock = make(max_body=1 << 20)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = ask(site, clock, "POST", "/render", (), form, b"a&" * 30_000)
        self.assertEqual(reply.status, 413)

    def test_client_leaves(self):
        slow = SlowOwner()
        site, clock = make(owner=slow)
        client = Client(site, clock)
        client.send(request_bytes("GET", "/healthz"))
        client.channel.connectionLost(Failure(ConnectionLost()))
        self.assertTrue(slow.cancelled)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_owner_is_gone(self):
        slow = SlowOwner()
        site, clock = make(owner=slow)
        client = Client(site, clock)
        client.send(request_bytes("GET", "/healthz"))
        slow.answer.errback(ConnectionLost())
        self.assertEqual(client.reply().status, 503)

    def test_unexpected_error(self):
        slow = SlowOwner()
        site, clock = make(owner=slow)
        client = Client(site, clock)
        client.send(request_bytes("GET", "/healthz"))
        slow.answer.errback(ZeroDivisionError("secret"))
        reply = client.reply()
        self.assertEqual((reply.status, reply.body), (500, b"Internal error\n"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    @settings(max_examples=150, deadline=None, database=None)
    @given(
        st.sampled_from(["/render", "/metrics/find", "/metrics/expand", "/info", "/metrics/index.json"]),
        st.lists(
            st.tuples(
                st.sampled_from(KEYS),
                st.one_of(st.text(max_size=12), st.sampled_from(VALUES)),
            ),
            max_size=5,
        ),
    )
    def test_hostile_parameters(self, path, fields):
        reply = ask(*make(), "GET", path, [(k, v.encode("utf-8", "replace")) for k, v in fields])
        self.assertTrue(reply.status < 500 or b"matplotlib" in reply.body, reply.body)
        self.assertEqual(self.flushLoggedErrors(), [])
