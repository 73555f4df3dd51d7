"""Our doors before a cluster: what is asked of the servers beside us, and what becomes of their answers."""

from __future__ import annotations

import json

import numpy as np
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.carbonapi import SeriesMessage
from cadtwist.errors import CadtwistError
from cadtwist.query.owner import QueryLimits
from cadtwist.web.cluster import MISSING, Cluster, ClusterOptions
from tests.web.test_carbonapi import wish
from tests.web.test_site import NOW, make
from tests.web.wire import Client, ask, get, request_bytes

NAN = float("nan")


def message(name, expression, *values, start=NOW - 120, step=60):
    return SeriesMessage(name, expression, start, start + step * len(values), step, np.array(values, np.float64))


class FakeServer:
    """Answers what it was given; `dead` fails, `slow` never ends."""

    def __init__(self, name="other:80", matches=(), series=(), names=(), tags=None, dead=False, slow=False):
        self.name, self.matches, self.series, self.all_names = name, dict(matches), list(series), list(names)
        self.tags, self.dead, self.slow, self.asked, self.waiting = tags or {}, dead, slow, [], []

    def _answer(self, what, value):
        self.asked.append(what)
        if self.slow:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        return fail(CadtwistError("dead")) if self.dead else succeed(value)

    def find(self, queries, headers):
        return self._answer(("find", tuple(queries), dict(headers)), [self.matches.get(query, []) for query in queries])

    def fetch(self, patterns, start, end, now, headers):
        found = [one for one in self.series if one.expression in patterns]
        return self._answer(("fetch", tuple(patterns), start, end, now), found)

    def names(self, headers):
        return self._answer(("names",), self.all_names)

    def about_tags(self, path, fields, headers):
        return self._answer((path, tuple(fields)), self.tags.get(path))


class ClusterTestCase(SynchronousTestCase):
    def doors(self, *servers, names=(b"a.x", b"a.y", b"b"), limits=None, **options):
        self.counts, self.time = [], float(NOW)
        cluster = Cluster(servers, lambda: self.time, self.counts.append, ClusterOptions(**options))
        return make(names=names, limits=limits, cluster=cluster)

    def json(self, doors, path, **fields):
        reply = get(*doors, path, **fields)
        self.assertEqual(reply.status, 200, reply.body)
        return json.loads(reply.body)


class FindTests(ClusterTestCase):
    def test_all_that_somebody_knows(self):
        other = FakeServer(matches={"a.*": [("a.x", True), ("a.z", True), ("a.x", False)]})
        third = FakeServer(matches={"a.*": [("a.w", False)]})
        found = self.json(self.doors(other, third), "/metrics/find", query="a.*")
        self.assertEqual([(one["id"], one["leaf"]) for one in found], [("a.w", 0), ("a.x", 0), ("a.y", 1), ("a.z", 1)])
        self.assertEqual(other.asked, [("find", ("a.*",), {})])
        doors = self.doors(other)
        found = self.json(doors, "/metrics/expand", query="a.*", leavesOnly="1")["results"]
        self.assertEqual(found, ["a.x", "a.y", "a.z"])

    def test_who_asks_for_us_alone_gets_us_alone(self):
        """Else two servers that know each other would ask in circles."""
        other = FakeServer(matches={"a.*": [("a.z", True)]}, names=["z"], series=[message("a.z", "a.*", 1)])
        doors = self.doors(other)
        self.assertEqual(len(self.json(doors, "/metrics/find", query="a.*", local="1")), 2)
        self.assertEqual(len(self.json(doors, "/render", target="a.*", format="json", local="1")), 2)
        self.assertEqual(len(self.json(doors, "/metrics/index.json", local="1")), 3)
        self.assertEqual(self.json(doors, "/tags/autoComplete/tags", local="1"), [])
        self.assertEqual(other.asked, [])
        self.assertEqual(len(self.json(doors, "/metrics/find", query="a.*", local="0")), 3)

    def test_index(self):
        other = FakeServer(names=["a.x", "c", "c"])
        self.assertEqual(self.json(self.doors(other), "/metrics/index.json"), ["a.x", "a.y", "b", "c"])
        self.assertEqual(self.json(self.doors(other), "/metrics/list")["Metrics"], ["a.x", "a.y", "b", "c"])
        reply = ask(*self.doors(other), "POST", "/browser/search", [("query", "c")])
        self.assertEqual(reply.body, b"c")

    def test_too_much(self):
        other = FakeServer(matches={"a.*": [(f"a.{n}", True) for n in range(200_000)]})
        self.assertEqual(get(*self.doors(other), "/metrics/find", query="a.*").status, 400)

    def test_headers_that_are_passed_on(self):
        other = FakeServer()
        doors = self.doors(other, forward_headers=("X-Token", "X-None"))
        ask(*doors, "GET", "/metrics/find", [("query", "b")], {"X-Token": "secret", "X-Other": "1"})
        self.assertEqual(other.asked, [("find", ("b",), {"X-Token": "secret"})])


class RenderTests(ClusterTestCase):
    """Ours have 1 and 2 in their last two minutes, and nothing before."""

    def points(self, doors, target, **fields):
        found = self.json(doors, "/render", target=target, format="json", **{"from": "-3min", **fields})
        return {one["target"]: [value for value, _ in one["datapoints"]] for one in found}

    def test_replicas_become_one(self):
        theirs = [message("a.x", "a.*", 5, 6, 7), message("a.z", "a.*", 8, NAN, 9), message("a.q", "b.*", 1)]
        other = FakeServer(series=theirs)
        doors = self.doors(other)
        found = self.points(doors, "a.*")
        self.assertEqual(found, {"a.x": [5, 1, 2], "a.y": [None, 1, 2], "a.z": [8, None, 9]})
        self.assertEqual(other.asked, [("fetch", ("a.*",), NOW - 180, NOW, NOW)])
        self.assertEqual(self.points(doors, "sumSeries(a.*)"), {"sumSeries(a.*)": [13, 2, 13]})

    def test_the_fullest_replica_where_nothing_is_merged(self):
        other = FakeServer(series=[message("a.x", "a.*", 5, 6, 7)])
        self.assertEqual(self.points(self.doors(other, merge=False), "a.*")["a.x"], [5, 6, 7])

    def test_tags_are_resolved_by_each_server(self):
        other = FakeServer(series=[message("m;host=b", "seriesByTag('name=m')", 1, 2, 3)])
        self.assertEqual(self.points(self.doors(other), "seriesByTag('name=m')"), {"m;host=b": [1, 2, 3]})

    def test_series_that_are_elsewhere_in_time(self):
        other = FakeServer(series=[message("a.z", "a.*", 1, 2, start=60), message("a.v", "a.*")])
        self.assertEqual(sorted(self.points(self.doors(other), "a.*")), ["a.x", "a.y"])

    def test_answers_in_version_3(self):
        """Each range of a request is asked for."""
        other = FakeServer()
        body = wish("a.*", NOW - 180, NOW) + wish("b", NOW - 60, NOW)
        fields = [("format", "carbonapi_v3_pb"), ("now", str(NOW + 7))]
        self.assertEqual(ask(*self.doors(other), "POST", "/render/", fields, {}, body).status, 200)
        expected = [("fetch", ("a.*",), NOW - 180, NOW, NOW + 7), ("fetch", ("b",), NOW - 60, NOW, NOW + 7)]
        self.assertEqual(other.asked, expected)

    def test_limits(self):
        many = FakeServer(series=[message(f"a.{n}", "a.*", 1) for n in range(20)])
        for limits, text in ((QueryLimits(series=15), "series in"), (QueryLimits(points=18), "points in the cluster")):
            reply = get(*self.doors(many, limits=limits), "/render", target="a.*", format="json", **{"from": "-3min"})
            self.assertEqual((reply.status, text in reply.body.decode()), (400, True), reply.body)


class PartialTests(ClusterTestCase):
    def test_an_answer_tells_what_it_lacks(self):
        doors = self.doors(FakeServer("dead:80", dead=True), FakeServer("gone:80/g", dead=True), FakeServer())
        for path, fields in (
            ("/render", {"target": "a.*", "format": "json"}),
            ("/metrics/find", {"query": "a.*"}),
            ("/metrics/index.json", {}),
            ("/tags/autoComplete/tags", {}),
        ):
            reply = get(*doors, path, **fields)
            self.assertEqual((reply.status, reply.headers[MISSING.lower()]), (200, "dead:80, gone:80/g"))
            self.assertIn("no-store", reply.headers["cache-control"])
            self.assertNotIn("expires", reply.headers)
        self.assertEqual(self.counts, ["partial_answers"] * 4)

    def test_a_whole_answer_tells_nothing(self):
        reply = get(*self.doors(FakeServer()), "/render", target="a.*", format="json")
        self.assertNotIn(MISSING.lower(), reply.headers)
        self.assertEqual((reply.headers["cache-control"], self.counts), ("max-age=60", []))

    def test_a_part_may_be_too_little(self):
        doors = self.doors(FakeServer("dead:80", dead=True), fail_on_error=True)
        reply = get(*doors, "/render", target="a.*", format="json")
        self.assertEqual((reply.status, reply.body), (503, b"Parts of the cluster do not answer: dead:80\n"))

    def test_our_refusal_waits_for_nobody(self):
        slow = FakeServer(slow=True)
        reply = get(*self.doors(slow), "/metrics/find", query="{a,b}" * 20)
        self.assertEqual(reply.status, 400)
        self.assertTrue(slow.waiting[0].called, "it was given up")

    def test_a_client_that_leaves_is_waited_for_no_longer(self):
        slow, also = FakeServer(slow=True), FakeServer("third", slow=True)
        site, clock = self.doors(slow, also)
        client = Client(site, clock)
        client.send(request_bytes("GET", "/render", [("target", "a.*"), ("format", "json")]))
        given_up = []
        for waiting in (*slow.waiting, *also.waiting):
            waiting.addErrback(lambda failure: given_up.append(failure.check(CancelledError)))
        client.channel.connectionLost(Failure(ConnectionLost()))
        self.assertTrue(all(waiting.called for waiting in (*slow.waiting, *also.waiting)))
        self.assertEqual((self.counts, self.flushLoggedErrors()), ([], []))

    def test_an_unexpected_fault_is_told(self):
        broken = FakeServer()
        broken.find = lambda queries, headers: fail(ZeroDivisionError("x"))
        self.assertEqual(get(*self.doors(broken), "/metrics/find", query="b").status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class TagTests(ClusterTestCase):
    def test_answers_become_one(self):
        tags = {
            "/tags": [{"tag": "zone", "id": 1}, {"tag": "name"}, {"odd": 1}, 5],
            "/tags/host": {"values": [{"value": "b", "count": 3}, {"value": "a", "count": 1}, {"value": 5}]},
            "/tags/findSeries": ["cpu;host=b", "cpu;host=a"],
            "/tags/autoComplete/tags": ["zone", "host", 7],
            "/tags/autoComplete/values": ["c", "a"],
        }
        other = FakeServer(tags=tags)
        doors = self.doors(other)
        for path in ("cpu;host=a", "mem;host=a"):
            self.assertEqual(ask(*doors, "POST", "/tags/tagSeries", [("path", path)]).status, 200)
        self.assertEqual(other.asked, [], "what changes something is for us alone")
        self.assertEqual([row["tag"] for row in self.json(doors, "/tags")], ["host", "name", "zone"])
        values = self.json(doors, "/tags/host")["values"]
        self.assertEqual([(row["value"], row["count"]) for row in values], [("a", 2), ("b", 3)])
        self.assertEqual(self.json(doors, "/tags/findSeries", expr="name=cpu"), ["cpu;host=a", "cpu;host=b"])
        self.assertEqual(self.json(doors, "/tags/autoComplete/tags", expr="name=cpu", limit="2"), ["host", "zone"])
        self.assertEqual(self.json(doors, "/tags/autoComplete/values", tag="host", valuePrefix=""), ["a", "c"])
        self.assertEqual(other.asked[-2:], [
            ("/tags/autoComplete/tags", (("expr", "name=cpu"), ("tagPrefix", ""), ("limit", "2"))),
            ("/tags/autoComplete/values", (("tag", "host"), ("valuePrefix", ""), ("limit", "100"))),
        ])  # fmt: skip

    def test_a_tag_that_only_another_has(self):
        tags = {"/tags/zo%2Fne": {"tag": "zone", "values": [{"value": "x", "count": 1}]}}
        doors = self.doors(FakeServer(tags=tags))
        self.assertEqual(self.json(doors, "/tags/zo%2Fne")["values"], [{"value": "x", "count": 1}])
        self.assertIsNone(self.json(doors, "/tags/none"))
