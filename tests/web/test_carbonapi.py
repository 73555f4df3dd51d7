"""carbonapi's requests at our doors."""

from __future__ import annotations

import json
import os
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.protowire import chunk, read_fields, varint
from cadtwist.query.owner import QueryLimits
from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperStore
from cadtwist.web.site import ApiSite
from tests.contracts.test_store import job
from tests.web.test_site import NOW, make
from tests.web.wire import ask, get

V3 = "application/x-carbonapi-v3-pb"


def wish(name, start, stop, expression=""):
    inside = chunk(1, name.encode()) + b"\x10" + varint(start) + b"\x18" + varint(stop)
    return chunk(1, inside + (chunk(5, expression.encode()) if expression else b""))


def series(body):
    """Return (name, expression, start, number of values) of each series of an answer."""
    found = []
    for _, message in read_fields(body):
        fields = dict(read_fields(message))
        found.append((fields[1].decode(), fields.get(2), fields.get(4), len(fields.get(9, b"")) // 8))
    return found


class CarbonapiTests(SynchronousTestCase):
    def test_render_3(self):
        body = wish("a.*", NOW - 180, NOW, "f(a.*)") + wish("b", NOW - 60, NOW) + wish("no", NOW - 60, NOW)
        reply = ask(*make(), "POST", "/render/", [("format", "carbonapi_v3_pb")], {"Accept": V3}, body)
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, V3))
        self.assertEqual(
            series(reply.body),
            [("a.x", b"f(a.*)", NOW - 120, 3), ("a.y", b"f(a.*)", NOW - 120, 3), ("b", b"b", NOW, 1)],
        )
        reply = ask(*make(), "POST", "/render/", [("format", "carbonapi_v3_pb")], {}, b"\x0a\xff")
        self.assertEqual((reply.status, reply.body[:11]), (400, b"Bad request"))

    def test_render_by_parameters(self):
        for form, kind in (("protobuf", "application/x-protobuf"), ("carbonapi_v2_pb", "application/x-protobuf"),
                           ("carbonapi_v3_pb", V3)):  # fmt: skip
            reply = get(*make(), "/render", target="scale(a.x,2)", format=form, **{"from": "-3min"})
            self.assertEqual((reply.status, reply.headers["content-type"]), (200, kind))
            ((_, message),) = read_fields(reply.body)
            self.assertEqual(dict(read_fields(message))[1], b"scale(a.x,2)")

    def test_find(self):
        matches = chunk(1, b"a.x") + b"\x10\x01"
        answer = chunk(1, b"a.[x]") + chunk(2, matches)
        reply = get(*make(), "/metrics/find/", query="a.[x]", format="protobuf")
        self.assertEqual((reply.headers["content-type"], reply.body), ("application/x-protobuf", answer))
        reply = get(*make(), "/metrics/find/", query="a.[x]", format="carbonapi_v3_pb")
        self.assertEqual((reply.headers["content-type"], reply.body), (V3, chunk(1, answer)))
        body = chunk(1, b"a.[x]") + chunk(1, b"nothing")
        reply = ask(*make(), "POST", "/metrics/find/", [("format", "carbonapi_v3_pb")], {}, body)
        self.assertEqual(reply.body, chunk(1, answer) + chunk(1, chunk(1, b"nothing")))

    def test_info(self):
        reply = get(*make(), "/info/", target="a.*", format="protobuf")
        (name, method, *_) = (value for _, value in read_fields(reply.body))
        self.assertEqual((reply.headers["content-type"], name, method), ("application/x-protobuf", b"a.x", b"sum"))
        reply = ask(*make(), "POST", "/info/", [("format", "carbonapi_v3_pb")], {}, chunk(1, b"a.*"))
        self.assertEqual([dict(read_fields(one))[1] for _, one in read_fields(reply.body)], [b"a.x", b"a.y"])
        self.assertEqual(ask(*make(), "POST", "/info/", [("format", "carbonapi_v3_pb")], {}, b"\xff").status, 400)

    def test_info_of_files(self):
        """What the file says counts, not what a new one would be."""
        schemas = SchemaTable()
        store = WhisperStore(self.mktemp(), schemas)
        store.write(job(schemas, {"a.x": [(NOW, 1.0)]}))
        site, clock = make()
        site = ApiSite(replace(site.resource._context, store=store), reactor=clock)
        told = json.loads(get(site, clock, "/info", target="a.*").body)["metrics"]
        self.assertEqual([[one["secondsPerPoint"] for one in metric["retentions"]] for metric in told],
                         [["60"], ["60", "300"]])  # fmt: skip
        self.assertEqual([metric["maxRetention"] for metric in told], [str(7 * 86400), "86400"])
        self.assertEqual([metric["consolidationFunc"] for metric in told], ["average", "sum"])

    def test_list(self):
        reply = get(*make(), "/metrics/list/")
        self.assertEqual(json.loads(reply.body), {"Metrics": ["a.x", "a.y", "b"]})
        for form in ("protobuf", "carbonapi_v3_pb"):
            reply = get(*make(), "/metrics/list/", format=form)
            self.assertEqual([value for _, value in read_fields(reply.body)], [b"a.x", b"a.y", b"b"])
        self.assertEqual(get(*make(), "/metrics/list/", format="x").status, 400)

    def test_details(self):
        root = self.mktemp()
        schemas = SchemaTable()
        store = WhisperStore(root, schemas)
        store.write(job(schemas, {"a.x": [(NOW, 1.0)]}))
        os.utime(store.path_of("a.x"), (NOW - 5, NOW - 9))
        size = os.stat(store.path_of("a.x")).st_size
        site, clock = make()
        told = json.loads(get(site, clock, "/metrics/details/").body)
        self.assertEqual(told, {"FreeSpace": 0, "TotalSpace": 0, "Metrics": []}, "memory has no files")
        site = ApiSite(replace(site.resource._context, store=store), reactor=clock)
        told = json.loads(get(site, clock, "/metrics/details/").body)
        (one,) = told["Metrics"]
        self.assertGreater(one.pop("RealSize"), 0)
        self.assertEqual(one, {"Name": "a.x", "Size": size, "ModTime": NOW - 9, "ATime": NOW - 5, "RdTime": 0})
        self.assertGreaterEqual(told["TotalSpace"], told["FreeSpace"])
        for form, fields in (("protobuf", {1, 2, 3}), ("carbonapi_v3_pb", {1, 2, 3, 5})):
            answer = dict(read_fields(get(site, clock, "/metrics/details", format=form).body))
            entry = dict(read_fields(answer[1]))
            found = dict(read_fields(entry[2]))
            self.assertEqual((entry[1], found[1], set(found)), (b"a.x", size, fields))
            self.assertEqual(answer[3], told["TotalSpace"])
        self.assertEqual(get(site, clock, "/metrics/details", format="x").status, 400)

    def test_list_query(self):
        schemas = SchemaTable()
        store = WhisperStore(self.mktemp(), schemas)
        store.write(job(schemas, {"a.x": [(NOW, 1.0)]}))
        size = os.stat(store.path_of("a.x")).st_size
        site, clock = make(names=[b"a.x", b"a.y", b"a.y.z", b"b"])
        site = ApiSite(replace(site.resource._context, store=store), reactor=clock)

        def asked(**fields):
            return json.loads(get(site, clock, "/metrics/list_query/", **fields).body)

        told = asked(target="a")
        stored = told["PhysicalSize"]
        self.assertGreater(stored, 0)
        listed = [{"Name": "a.x", "PhysicalSize": stored, "LogicalSize": size},
                  {"Name": "a.y", "PhysicalSize": 0, "LogicalSize": 0},
                  {"Name": "a.y.z", "PhysicalSize": 0, "LogicalSize": 0}]  # fmt: skip
        self.assertEqual(told, {"Count": 3, "PhysicalSize": stored, "LogicalSize": size, "Metrics": listed})
        self.assertEqual(asked(target="a", stats_only="true"), {**told, "Metrics": []})
        for fields, names in (
            ({"target": "*"}, ["a.x", "a.y", "a.y.z", "b"]), ({"target": "*", "leaf_only": "true"}, ["b"]),
            ({"target": "a.*", "leaf_only": "true"}, ["a.x", "a.y"]), ({"target": "a.*"}, ["a.x", "a.y", "a.y.z"]),
            ({"target": "*", "limit": "2"}, ["a.x", "a.y"]), ({"target": "nothing"}, []),
        ):  # fmt: skip
            told = asked(**fields)
            self.assertEqual(([one["Name"] for one in told["Metrics"]], told["Count"]), (names, len(names)), fields)
        for fields in ({}, {"target": "a", "limit": "x"}, {"target": "a", "limit": "-1"},
                       {"target": "a", "format": "protobuf"}):  # fmt: skip
            self.assertEqual(get(site, clock, "/metrics/list_query", **fields).status, 400, fields)

    def test_operators(self):
        site, clock = make()
        info = json.loads(get(site, clock, "/admin/info").body)
        self.assertEqual(info["config"]["limits"]["series"], QueryLimits().series)
        self.assertEqual([one["name"] for one in info["cache"]], ["cache"])
        self.assertEqual(list(json.loads(get(site, clock, "/admin/info", scopes="config").body)), ["config"])
        self.assertEqual(get(site, clock, "/admin/info", scopes="cache,secrets").status, 400)
        self.assertEqual(get(site, clock, "/admin/quota").body, b"No quotas are kept.\n")

    def test_files_are_looked_through_when_asked(self):
        site, clock = make()
        asked = []
        site.resource._context.owner.reports["rescan"] = lambda: asked.append("rescan")
        for path, status in (("/forcescan", 202), ("/index", 200)):
            reply = get(site, clock, path)
            self.assertEqual(reply.status, status)
        self.assertEqual(asked, ["rescan", "rescan"])
        self.assertEqual(json.loads(reply.body), {"success": True, "entries": 3})
        del site.resource._context.owner.reports["rescan"]
        self.assertEqual(get(site, clock, "/forcescan").status, 202)
        self.assertEqual([ask(site, clock, method, "/index").status for method in ("PUT", "POST", "DELETE")],
                         [200, 200, 405])  # fmt: skip

    def test_dashboards(self):
        self.assertEqual(json.loads(get(*make(), "/dashboard/find", query="x").body), {"dashboards": []})
        reply = get(*make(), "/dashboard/load/my%20own")
        self.assertEqual(json.loads(reply.body), {"error": "Dashboard 'my own' does not exist."})
        self.assertEqual((reply.status, reply.headers["content-type"]), (404, "application/json"))

    def test_details_end_in_time(self):
        moments = iter(range(10_000))
        site, clock = make(now=lambda: float(NOW + 100 * next(moments)))
        store = WhisperStore(self.mktemp(), SchemaTable())
        site = ApiSite(replace(site.resource._context, store=store), reactor=clock)
        reply = get(site, clock, "/metrics/details")
        self.assertEqual((reply.status, b"more than 10 s" in reply.body), (400, True))

    def test_capabilities(self):
        reply = get(*make(), "/_internal/capabilities/")
        self.assertEqual(json.loads(reply.body)["supportedProtocols"][0], "carbonapi_v3_pb")
        reply = ask(*make(), "GET", "/_internal/capabilities/", [], {"Accept": V3})
        self.assertEqual((reply.headers["content-type"], next(read_fields(reply.body))), (V3, (1, b"carbonapi_v3_pb")))
