from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.cadent import Resolution
from cadtwist.query.owner import QueryLimits
from cadtwist.web.cadentforms import Told, first_metrics
from cadtwist.web.cadentsite import CadentSite
from tests.web.test_site import NOW, make
from tests.web.wire import Reply, ask, get

NAMES = (b"w.mean", b"w.count", b"w.x.upper", b"other")
TIMES = (Resolution(60, 3600), Resolution(300, 86400))


class CadentCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.site, self.clock = make(NAMES)

    def get(self, path: str, **fields: Any) -> Reply:
        return get(self.site, self.clock, f"/cadent/{path}", **fields)

    def json(self, path: str, **fields: Any) -> Any:
        reply = self.get(path, **fields)
        self.assertEqual(reply.status, 200, reply.body)
        return json.loads(reply.body)


class FindTests(CadentCase):
    def test_nodes(self) -> None:
        node = {"text": "mean", "expandable": 0, "leaf": 1, "id": "w.mean", "path": "w.mean", "allowChildren": 0}
        self.assertEqual(self.json("find", query="w.mean"), [node])
        reply = self.get("find/", query="w")
        self.assertEqual(reply.headers["cache-control"], "public, max-age=60, cache")
        self.assertEqual(reply.headers["content-type"], "application/json")
        branch = {"text": "w", "expandable": 1, "leaf": 0, "id": "w", "path": "w", "allowChildren": 1}
        self.assertEqual(json.loads(reply.body), [branch])

    def test_what_is_no_leaf_stands_for_all_that_begins_so(self) -> None:
        for query, paths in (
            ("w.", ["w.count", "w.mean", "w.x"]), ("w.m", ["w.mean"]), ("w.{mean,x}", ["w.mean", "w.x"]),
            ("*", ["other", "w"]), ("none", []),
        ):  # fmt: skip
            self.assertEqual([node["path"] for node in self.json("paths", query=query)], paths, query)

    def test_later_versions_take_the_query_at_its_word(self) -> None:
        for query, paths in (("w.m", []), ("w.*", ["w.count", "w.mean", "w.x"]), ("w", ["w"])):
            reply = self.get("metrics/find", query=query, format="msgpack")
            found = msgspec.msgpack.decode(reply.body)
            self.assertEqual([node["path"] for node in found], paths, query)
            self.assertEqual(reply.headers["content-type"], "application/x-msgpack")

    def test_expand(self) -> None:
        self.assertEqual(self.json("expand", query="w.*"), {"results": ["w.count", "w.mean"]})
        self.assertEqual(self.json("expand", query="none.*"), {"results": []})

    def test_list(self) -> None:
        self.assertEqual(sorted(self.json("list")), sorted(name.decode() for name in NAMES))
        self.assertEqual((self.get("list", page=1).status, self.get("list", page=1).body), (204, b""))
        self.assertEqual(self.get("list", page=-1).status, 400)

    def test_pages(self) -> None:
        self.site, self.clock = make([b"m.n%d" % n for n in range(5000)])
        pages = [self.json("list", page=page) for page in range(3)]
        self.assertEqual([len(page) for page in pages], [2048, 2048, 904])
        self.assertEqual(len({name for page in pages for name in page}), 5000)


class SeriesTests(CadentCase):
    def test_metrics_as_the_first_versions_have_them(self) -> None:
        reply = self.get("metrics", target="w.mean", **{"from": NOW - 180, "to": NOW})
        self.assertEqual(reply.headers["content-type"], "application/json")
        expected = (
            f'{{"data_from":{NOW - 120},"data_end":{NOW + 60},"from":{NOW - 120},"to":{NOW + 60},"step":60,'
            f'"series":{{"w.mean":[[null,{NOW - 120}],[1.000000,{NOW - 60}],[2.000000,{NOW}]]}}}}'
        )
        self.assertEqual(reply.body.decode(), expected)
        self.assertEqual(self.get("render", target="w.mean", **{"from": NOW - 180, "to": NOW}).body, reply.body)

    def test_targets(self) -> None:
        for fields in (
            [("target", "w.mean,w.count"), ("target", "other"), ("target", "none")],
            [("path", "w.*,other")],
            [("query", "w.{mean,count},other"), ("format", "")],
        ):
            found = json.loads(ask(self.site, self.clock, "GET", "/cadent/metrics", fields).body)
            self.assertEqual(sorted(found["series"]), ["other", "w.count", "w.mean"])

    def test_nothing_found(self) -> None:
        empty = {"data_from": 0, "data_end": 0, "from": 0, "to": 0, "step": 0, "series": {}}
        self.assertEqual(self.json("metrics", target="none"), empty)
        self.assertEqual(self.json("metrics", target="none", format="json")["series"], {})
        self.assertEqual(self.json("rawrender", target="none"), [])
        self.assertEqual(self.get("render", target="none", format="json").status, 204)

    def test_ranges(self) -> None:
        for start, end, times in (
            ("-1min", "now", [NOW]), ("now", "-1min", [NOW]), ("", "", [NOW - 60 * n for n in reversed(range(60))]),
        ):  # fmt: skip
            fields = {key: text for key, text in (("from", start), ("to", end)) if text}
            found = self.json("metrics", target="w.mean", **fields)
            self.assertEqual([time for _, time in found["series"]["w.mean"]], times)
        found = self.json("metrics", target="w.mean", start="-2min", end="now")
        self.assertEqual(len(found["series"]["w.mean"]), 2)

    def test_metrics_of_later_versions(self) -> None:
        for form, read in (("json", json.loads), ("msgpack", msgspec.msgpack.decode), ("yaml", json.loads)):
            reply = self.get("metrics", target="w.mean", format=form, **{"from": "-3min"})
            found = read(reply.body)
            (series,) = found.pop("series").values()
            points = series.pop("data")
            if form == "msgpack":
                self.assertTrue(math.isnan(points[0]["value"]), "as their finder wants it")
                points = [[None if math.isnan(one["value"]) else one["value"], one["time"]] for one in points]
            self.assertEqual(points, [[None, NOW - 120], [1.0, NOW - 60], [2.0, NOW]])
            flags = {"target": "w.mean", "uid": "w.mean", "in_cache": True, "using_cache": True}
            self.assertEqual(series, flags)
            expected = {"real_start": NOW - 60, "real_end": NOW, "start": NOW - 120, "end": NOW, "step": 60}
            self.assertEqual(found, {**expected, "from": NOW - 120, "to": NOW})

    def test_render_of_later_versions(self) -> None:
        found = self.json("render", target="w.mean,other", format="json", **{"from": "-2min"})
        self.assertEqual([one["target"] for one in found], ["other", "w.mean"])
        self.assertEqual(found[0]["datapoints"], [[1.0, NOW - 60], [2.0, NOW]])

    def test_fewer_points(self) -> None:
        """By the name's method: a mean here, the sum there."""
        fields = {"target": "w.mean,w.count", "format": "json", "from": NOW - 300, "to": NOW, "max_points": 1}
        found = self.json("metrics", **fields)
        values = {
            name: [value for value, _ in one["data"] if value is not None] for name, one in found["series"].items()
        }
        self.assertEqual((found["step"], values), (300, {"w.mean": [1.5], "w.count": [3.0]}))
        fields = {"target": "w.mean", "format": "json", "from": "-1h", "step": 600}
        self.assertEqual(self.json("metrics", **fields)["step"], 600)
        self.assertEqual(self.get("metrics", target="w.mean", step="x").status, 400)

    def test_rawrender(self) -> None:
        (one,) = self.json("rawrender", target="w.mean", **{"from": "-3min"})
        point = {"time": NOW, "sum": 2.0, "mean": 2.0, "min": 2.0, "max": 2.0, "count": 1}
        self.assertEqual((one["metric"], one["step"], one["data"][-1], len(one["data"])), ("w.mean", 60, point, 2))
        (one,) = self.json("rawrender", target="w.count", format="json", **{"from": "-3min"})
        self.assertEqual((one["aggfunc"], one["data"][-1]["last"], one["in_cache"]), ("sum", 2.0, True))

    def test_points_in_memory(self) -> None:
        (one,) = self.json("cache", target="w.mean")
        self.assertEqual([(point["time"], point["sum"]) for point in one["data"]], [(NOW - 60, 1.0), (NOW, 2.0)])
        self.assertEqual((one["from"], one["to"]), (NOW - 60, NOW))
        self.assertEqual(self.json("cache", target="none"), [])
        self.assertEqual(self.json("incache", target="w.mean"), {"target": "w.mean", "tags": [], "in_cache": True})
        self.assertEqual(self.json("incache", target="none"), {"target": "none", "tags": [], "in_cache": False})


class RefusalTests(CadentCase):
    def test_texts(self) -> None:
        for path, fields, status, text in (
            ("find", {}, 400, "Query is required"), ("expand", {"query": ""}, 400, "Query is required"),
            ("metrics", {}, 400, "Target is required"), ("rawrender", {"target": ","}, 400, "Target is required"),
            ("metrics", {"target": "a", "from": "sometime"}, 400, "Invalid `start` time"),
            ("metrics", {"target": "a", "to": "sometime"}, 400, "Invalid `end` time"),
            ("list", {"format": "xml"}, 400, "No format 'xml'; there are json, msgpack, protobuf, yaml"),
            ("", {}, 404, "Nothing here .. try /cadent//find or /cadent//render or /cadent//expand"),
            ("no/such", {}, 404, "Nothing here .. try /cadent//find or /cadent//render or /cadent//expand"),
        ):  # fmt: skip
            reply = self.get(path, **fields)
            self.assertEqual((reply.status, reply.body.decode()), (status, text))
            self.assertEqual(reply.headers["content-type"], "text/plain")
            self.assertEqual(reply.headers["cache-control"], "private, max-age=0, no-cache")

    def test_too_much(self) -> None:
        self.site, self.clock = make(NAMES, limits=QueryLimits(series=2))
        reply = self.get("metrics", target="*.*,other")
        self.assertEqual((reply.status, reply.headers["content-type"]), (400, "text/plain"))
        self.assertEqual(self.get("find", query="[").status, 200)

    def test_no_such_path_where_it_is_off(self) -> None:
        self.site.resource._rooms.pop("/cadent/")
        self.assertEqual(self.get("find", query="w").status, 404)


class SiteTests(SynchronousTestCase):
    """The door of an accumulator."""

    def setUp(self) -> None:
        self.lines: list[str] = []
        site, _ = make(NAMES, cors=("*",))
        self.clock = Clock()
        context = site.resource._context
        self.site = CadentSite(context, "/graphite/", TIMES, self.clock, self.lines.append)

    def test_base_path(self) -> None:
        reply = get(self.site, self.clock, "/graphite/find", query="w.mean")
        self.assertEqual((reply.status, json.loads(reply.body)[0]["path"]), (200, "w.mean"))
        self.assertEqual(reply.headers["access-control-allow-origin"], "*")
        for path in ("/find", "/render", "/", "/graphite"):
            reply = get(self.site, self.clock, path)
            text = b"Nothing here .. try /graphite//find or /graphite//render or /graphite//expand"
            self.assertEqual((reply.status, reply.body), (404, text))

    def test_without_a_base_path(self) -> None:
        site = CadentSite(self.site.resource._context, "/", TIMES, self.clock, self.lines.append)
        self.assertEqual(get(site, self.clock, "/find", query="w").status, 200)
        self.assertEqual(get(site, self.clock, "/nothing").status, 404)

    def test_ranges_are_whole_steps_of_the_resolution_that_keeps_them(self) -> None:
        ask_for = lambda start, end: get(  # noqa: E731
            self.site, self.clock, "/graphite/metrics", target="w.mean", **{"from": start, "to": end}
        )
        found = json.loads(ask_for(NOW - 130, NOW - 10).body)
        self.assertEqual([time for _, time in found["series"]["w.mean"]], [NOW - 60, NOW])
        reply = ask_for(NOW - 70, NOW - 65)
        self.assertEqual((reply.status, reply.body), (400, b"The range is shorter than one step of 60 s"))

    def test_access_log(self) -> None:
        headers = {"User-Agent": 'a"b\x01', "Host": "h:1"}
        ask(self.site, self.clock, "GET", "/graphite/find", [("query", "w.mean")], headers)
        ask(self.site, self.clock, "GET", "/nothing")
        date = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d"
        self.assertRegex(
            self.lines[0],
            rf'^{date} \S+ 127.0.0.1:9 "GET /graphite/find\?query=w.mean HTTP/1.1" 200 \d+ "a\?b\?" 0.000ms$',
        )
        self.assertRegex(self.lines[1], r'"GET /nothing HTTP/1.1" 404 \d+ "-" ')


class FormTests(SynchronousTestCase):
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.floats(), max_size=30), st.integers(0, 1 << 32), st.sampled_from([1, 60]))
    def test_first_metrics_are_json_of_all_values(self, values: list[float], start: int, step: int) -> None:
        told = Told('a"b', start, step, np.array(values, np.float64), "average")
        found = json.loads(first_metrics([told]))["series"]['a"b']
        self.assertEqual([time for _, time in found], [start + step * n for n in range(len(values))])
        for (shown, _), value in zip(found, values, strict=True):
            if np.isfinite(value):
                self.assertLessEqual(abs(shown - value), 5.001e-7)
            else:
                self.assertIsNone(shown)

    def test_long_series(self) -> None:
        told = Told("a", 0, 1, np.arange(10_000.0), "average")
        found = json.loads(first_metrics([told]))["series"]["a"]
        self.assertEqual(found[9_999], [9999.0, 9999])
