"""The doors of Cadent's later versions: forms, memory, tags, several servers, Prometheus' manner."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.protowire import read_fields
from cadtwist.query.cadent import Resolution
from cadtwist.query.index import HOT, MetricIndex
from cadtwist.query.owner import LocalOwner, QueryLimits
from cadtwist.query.resolution import SchemaInfo
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.web.cadentsite import CadentSite
from cadtwist.web.context import WebContext
from tests.fuzz.test_http import NOW, hot
from tests.web.wire import Reply, ask, get

TAGGED = ("disk;host=a;rack=1", "disk;host=b", "cpu;host=a")
PLAIN = ("w.mean", "w.count", "other")
SECOND = 1_000_000_000


class Asked(LocalOwner):
    """Counts how often it is asked for points."""

    questions: list[list[str]]

    def resolve(self, patterns: list[str], start: int, end: int) -> Any:
        self.questions.append(patterns)
        return super().resolve(patterns, start, end)


class LaterCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.site = self.made()

    def made(self, names: tuple[str, ...] = (*PLAIN, *TAGGED), limits: QueryLimits | None = None) -> CadentSite:
        index = MetricIndex(3)
        index.add_all([name.encode() for name in names], HOT)
        schema = SchemaInfo(((60, 60), (300, 100)), "average", 0.5)
        self.owner = Asked(index, lambda name: 1, hot, lambda _: schema, limits=limits or QueryLimits())
        object.__setattr__(self.owner, "questions", [])
        for name in names:
            if ";" in name:
                self.owner.catalog("add", [[name]])
        self.clock = Clock()
        context = WebContext(
            self.owner, MemoryStore(SchemaTable()), lambda: float(NOW), limits or QueryLimits(), host="here"
        )
        return CadentSite(context, "/g/", (Resolution(60, 3600),), self.clock, lambda _: None)

    def get(self, path: str, **fields: Any) -> Reply:
        return get(self.site, self.clock, f"/g/{path}", **fields)

    def json(self, path: str, **fields: Any) -> Any:
        reply = self.get(path, **fields)
        self.assertEqual(reply.status, 200, reply.body)
        return json.loads(reply.body)

    def message(self, reply: Reply) -> list[tuple[int, Any]]:
        """Return the fields of the message in an answer."""
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, "application/x-protobuf"))
        self.assertEqual(int.from_bytes(reply.body[:4], "big"), len(reply.body) - 4)
        return list(read_fields(reply.body[4:]))


class FormTests(LaterCase):
    def test_messages(self) -> None:
        ((_, node),) = self.message(self.get("find", query="w.mean", format="protobuf"))
        self.assertEqual(dict(read_fields(node))[4], b"w.mean")
        self.assertEqual(self.message(self.get("expand", query="w.*", format="pb")), [(2, b"w.count"), (2, b"w.mean")])
        told = self.message(self.get("metrics", target="w.mean", format="protobuf", **{"from": "-2min"}))
        self.assertEqual([number for number, _ in told], [1, 2, 3, 4, 5, 6, 7, 8])
        ((_, series),) = self.message(self.get("render", target="w.mean", format="protobuf", **{"from": "-2min"}))
        points = [dict(read_fields(data)) for number, data in read_fields(series) if number == 4]
        self.assertEqual([point[1] for point in points], [NOW - 60, NOW])
        self.assertEqual(points[0][2], 7.0)
        ((_, item),) = self.message(self.get("rawrender", target="w.mean", format="protobuf", **{"from": "-2min"}))
        ((_, cached),) = self.message(self.get("cache", target="w.mean", format="protobuf"))
        for summary in (item, cached):
            point = dict(read_fields(dict(read_fields(summary))[11]))  # type: ignore[arg-type]
            self.assertEqual((point[1], point[6], point[7]), (NOW - 60, 7.0, 1))

    def test_the_form_may_be_named_by_headers(self) -> None:
        for headers in (
            {"Content-Type": "application/x-msgpack"}, {"Accept-Encoding": "application/msgpack, gzip"},
            {"Accept": "application/x-msgpack"},
        ):  # fmt: skip
            reply = ask(self.site, self.clock, "GET", "/g/find", [("query", "w.*")], headers)
            self.assertEqual(reply.headers["content-type"], "application/x-msgpack", headers)
            self.assertEqual([node["path"] for node in msgspec.msgpack.decode(reply.body)], ["w.count", "w.mean"])

    def test_their_finder(self) -> None:
        """It asks so, leaves the bound of points empty, and reads `value` of each point by its place."""
        fields = [("target", "w.mean"), ("target", "other"), ("from", NOW - 120), ("to", NOW)]
        query = [*fields, ("max_points", ""), ("format", "msgpack")]
        told = msgspec.msgpack.decode(ask(self.site, self.clock, "GET", "/g/metrics", query).body)
        self.assertEqual((told["start"], told["end"], told["step"]), (NOW - 60, NOW, 60))
        for series in told["series"].values():
            self.assertEqual([point["value"] for point in series["data"]][:1], [7.0])
            self.assertEqual(len(series["data"]), 2)

    def test_the_owner_is_asked_once(self) -> None:
        for path in ("metrics", "render", "rawrender"):
            for form in ("json", "msgpack", "protobuf"):
                self.owner.questions.clear()
                self.assertEqual(self.get(path, target="w.*,other", format=form).status, 200)
                self.assertEqual(len(self.owner.questions), 1, (path, form))

    def test_how_points_are_combined(self) -> None:
        for agg, method in (("", "average"), ("max", "max"), ("hits", "sum"), ("none", "average")):
            (one,) = self.json("rawrender", target="w.mean", format="json", agg=agg)
            self.assertEqual(one["aggfunc"], method, agg)

    def test_steps_and_bounds(self) -> None:
        for step in ("120", "2min"):
            self.assertEqual(self.json("metrics", target="w.mean", format="json", step=step)["step"], 120)
        self.assertEqual(self.get("metrics", target="w.mean", step="x").body, b"Invalid `step` size")


class MemoryTests(LaterCase):
    def test_which(self) -> None:
        listed = self.json("cache/list")
        keys = [one["key"] for one in listed]
        self.assertEqual((keys[-3:], len(keys)), (sorted(PLAIN), 6), "tagged ones go by their files' names")
        self.assertEqual(listed[-1], {"key": "w.mean", "tags": [], "meta_tags": [], "uid": "w.mean"})
        found = self.json("find/incache", query="w.*")
        self.assertEqual([(node["path"], node["leaf"]) for node in found], [("w.count", 1), ("w.mean", 1)])
        self.assertEqual(self.get("find/incache").body, b"Query is required")
        self.site = self.made(limits=QueryLimits(series=3))
        self.assertEqual(self.get("cache/list").status, 400)

    def test_a_blob(self) -> None:
        reply = self.get("cached/series", target="w.mean")
        head = {key.removeprefix("x-cadentseries-"): text for key, text in reply.headers.items() if "series-" in key}
        time = str((NOW - 60) * SECOND)
        self.assertEqual(
            head,
            {
                "key": "w.mean", "uniqueid": "w.mean", "tags": "null", "metatags": "null", "resolution": "60",
                "ttl": "30000", "encoding": "protobuf", "points": "1", "start": time, "end": time,
            },
        )  # fmt: skip
        self.assertEqual(reply.headers["content-type"], "application/cadent")
        (whole, one) = read_fields(reply.body)
        ((_, point),) = read_fields(one[1])  # type: ignore[arg-type]
        self.assertEqual((whole, list(read_fields(point))), ((1, 1), [(1, (NOW - 60) * SECOND), (2, 7.0)]))  # type: ignore[arg-type]
        coded = self.get("cached/series", target="w.mean", base64="1")
        self.assertEqual(base64.b64decode(coded.body + b"=="), reply.body)
        for target, status in (("w.*", 400), ("w.mean,other", 400), ("none", 204)):
            self.assertEqual(self.get("cached/series", target=target).status, status, target)


class TagTests(LaterCase):
    def test_tags(self) -> None:
        hosts = [{"name": "host", "value": value, "is_meta": False} for value in ("a", "b")]
        self.assertEqual(self.json("tag/find/byname", name="ho.*"), hosts)
        self.assertEqual(self.json("tag/find/byname", name="hos"), [])
        self.assertEqual(self.json("tag/find/bynamevalue", name="host", value="[b-z]"), hosts[1:])
        self.assertEqual(self.json("tag/find/byname", name="host", page=1), [])
        ((_, first), _) = self.message(self.get("tag/find/byname", name="host", format="protobuf"))
        self.assertEqual(list(read_fields(first)), [(3, b"host"), (4, b"a")])
        for path, fields, text in (
            ("byname", {}, b"Name is required"), ("bynamevalue", {"name": "host"}, b"Value is required"),
        ):  # fmt: skip
            self.assertEqual(self.get(f"tag/find/{path}", **fields).body, text)
        self.assertEqual(self.get("tag/find/byname", name="(").status, 400)

    def test_series(self) -> None:
        disks = ["disk;host=a;rack=1", "disk;host=b"]
        for query, found in (
            ("disk{host=a}", disks[:1]), ('{host="b"}', disks[1:]), ("{host=a, rack=1}", disks[:1]), ("{host=z}", []),
        ):  # fmt: skip
            self.assertEqual(self.json("tag/uid/bytags", query=query), found, query)
        self.assertEqual(self.get("tag/uid/bytags", query="disk").body, b"No tags found")
        many = "{" + ",".join(f"a{n}=1" for n in range(65)) + "}"
        self.assertEqual(self.get("tag/uid/bytags", query=many).body, b"Too many tags found")

    def test_points_by_tags(self) -> None:
        for fields in ({"target": "disk{host=a}"}, {"tags": "host=a,rack=1"}):
            found = self.json("metrics", format="json", **{"from": "-2min"}, **fields)
            self.assertEqual(list(found["series"]), ["disk;host=a;rack=1"], fields)
        found = self.json("metrics", target="w.{mean,count}", format="json")
        self.assertEqual(list(found["series"]), ["w.count", "w.mean"])


class PrometheusTests(LaterCase):
    def test_a_range(self) -> None:
        found = self.json("prometheus/api/v1/query_range", query="disk{host=a}", start=NOW - 120, end=NOW, step="60s")
        labels = {"__name__": "disk", "host": "a", "rack": "1"}
        self.assertEqual(
            found,
            {
                "status": "success",
                "data": {"resultType": "matrix", "result": [{"metric": labels, "values": [[NOW - 60, "7.0"]]}]},
            },
        )
        self.assertEqual(self.get("prometheus/api/v1/query_range", query="none").status, 204)

    def test_labels(self) -> None:
        told = self.json("prometheus/api/v1/label/host/values")
        self.assertEqual(told, {"status": "success", "data": ["a", "b"]})
        self.assertEqual(self.get("prometheus/api/v1/label/none/values").status, 204)
        names = self.json("prometheus/api/v1/label/__name__/values")["data"]
        self.assertEqual(sorted(names), sorted(self.json("list")))


class ServerTests(LaterCase):
    def test_by_host(self) -> None:
        self.assertEqual([one["path"] for one in self.json("cluster/find", query="w.*")["here"]], ["w.count", "w.mean"])
        self.assertEqual(len(self.json("cluster/list")["here"]), 6)
        self.assertEqual(self.json("cluster/rawrender", target="w.mean")["here"][0]["metric"], "w.mean")
        self.assertEqual(self.json("local/find", query="w.mean"), self.json("find", query="w.mean"))
        self.assertEqual(self.json("local/list"), self.json("list"))

    def test_about(self) -> None:
        about = self.json("info")
        self.assertEqual((about["hostname"], about["resolutions"]), ("here", [[60, 3600]]))
        self.assertEqual((about["time"], about["api-server"]["path"]), (NOW * SECOND, "/g/"))
