"""The finder within graphite-web and graphite-api, before fake doors; the real hosts are in tests.system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from io import StringIO
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli import shims
from cadtwist.codec.carbonapi import SeriesMessage, fetch_wishes, glob_patterns, globs_v3, render_v3
from cadtwist.codec.finderwire import groups
from cadtwist.finder import CadtwistFinder, Doors, FinderError, Host, Options, RefusedError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NAN = float("nan")


class Query(NamedTuple):
    pattern: str
    headers: dict = {}
    leaves_only: bool = False


class Leaf:
    is_leaf = True

    def __init__(self, path, reader):
        self.path, self.reader, self.intervals = path, reader, reader.get_intervals()


class Branch:
    is_leaf = False

    def __init__(self, path):
        self.path = path


HOST = Host(Leaf, Branch, lambda start, end: (start, end), list)


class FakeAsk:
    """Answers by host and path: bytes, an exception, or a function of (fields, body)."""

    def __init__(self):
        self.answers, self.asked = {}, []

    def __call__(self, url, timeout_s, headers, body):
        parts = urlsplit(url)
        fields = parse_qsl(parts.query, keep_blank_values=True)
        self.asked.append((parts.netloc, parts.path, fields, dict(headers), body, timeout_s))
        found = self.answers.get((parts.netloc, parts.path), RefusedError(404, "no"))
        if isinstance(found, Exception):
            raise found
        return found(fields, body) if callable(found) else found

    def to(self, path):
        return [one for one in self.asked if one[1] == path]


class FinderTestCase(SynchronousTestCase):
    def make(self, *urls, **options):
        self.ask, self.time = FakeAsk(), 0.0
        self.doors = Doors(urls or ("http://a",), Options(**options), lambda: self.time, self.ask)
        return CadtwistFinder(None, self.doors, HOST)

    def answer(self, path, value, host="a"):
        self.ask.answers[host, path] = value if isinstance(value, Exception | bytes) or callable(value) else (
            json.dumps(value).encode()
        )  # fmt: skip


OURS = {"supportedProtocols": ["carbonapi_v3_pb", "x"]}


class CadtwistTests(FinderTestCase):
    def finder(self, *urls, **options):
        finder = self.make(*urls, **options)
        self.answer("/_internal/capabilities/", OURS)
        return finder

    def test_find(self):
        finder = self.finder()
        matches = [("a.x", False), ("a.x", True), ("a.y", True), ("a.y", True)]
        self.answer("/metrics/find/", globs_v3([("a.*", matches)]))
        nodes = finder.find_nodes(Query("a.*", {"X-T": "1"}))
        self.assertEqual([(node.path, node.is_leaf) for node in nodes], [("a.x", False), ("a.x", True), ("a.y", True)])
        self.assertEqual(nodes[1].intervals[0][0], 0)
        ((_, _, _, headers, body, timeout),) = self.ask.to("/metrics/find/")
        self.assertEqual((headers, glob_patterns(body), timeout), ({"X-T": "1"}, ["a.*"], 3.0))
        self.assertEqual(len(finder.find_nodes(Query("a.*", {}, True))), 2)
        self.assertEqual([query for _, query in finder.find_multi([Query("a.*")])], [Query("a.*")] * 3)

    def test_fetch(self):
        finder = self.finder()
        series = SeriesMessage("a.x", "a.*", 60, 180, 60, np.array([1.5, NAN]))
        self.answer("/render/", render_v3([series, SeriesMessage("b", "b", 0, 0, 0, np.zeros(0))]))
        found = finder.fetch(["a.*", "b"], 60.0, 180.0, 181, {"forwardHeaders": {"X": "1"}})
        names = {"pathExpression": "a.*", "path": "a.x", "name": "a.x"}
        self.assertEqual(found[0], {**names, "time_info": (60, 180, 60), "values": [1.5, None]})
        self.assertEqual((found[1]["time_info"], found[1]["values"]), ((0, 0, 1), []))
        ((_, _, fields, headers, body, timeout),) = self.ask.to("/render/")
        self.assertEqual((dict(fields)["now"], headers, timeout), ("181", {"X": "1"}, 6.0))
        self.assertEqual([wish[:3] for wish in fetch_wishes(body)], [("a.*", 60, 180), ("b", 60, 180)])

    def test_nodes_that_were_found_together_are_fetched_together(self):
        finder = self.finder()
        self.answer("/metrics/find/", globs_v3([("*", [("a", True), ("b", True), ("c", True)])]))
        one = [SeriesMessage(name, name, 60, 120, 60, np.array([value])) for name, value in (("a", 1.0), ("b", 2.0))]
        self.answer("/render/", render_v3(one))
        nodes = finder.find_nodes(Query("*"))
        fetched = [node.reader.fetch(60, 120) for node in nodes]
        self.assertEqual(fetched, [((60, 120, 60), [1.0]), ((60, 120, 60), [2.0]), ((60, 120, 60), [])])
        self.assertEqual(len(self.ask.to("/render/")), 1)
        nodes[0].reader.fetch(0, 120, 130, {})
        self.assertEqual(len(self.ask.to("/render/")), 2)

    def test_tags_and_names(self):
        finder = self.finder()
        self.assertTrue(finder.tags)
        self.answer("/tags/autoComplete/tags", ["host"])
        self.answer("/tags/autoComplete/values", ["a"])
        self.answer("/metrics/index.json", ["b", "a"])
        self.assertEqual(finder.auto_complete_tags(["a=b"], "h", 5), ["host"])
        self.assertEqual(self.ask.asked[-1][2], [("expr", "a=b"), ("tagPrefix", "h"), ("limit", "5")])
        self.assertEqual(finder.auto_complete_values([], "host"), ["a"])
        self.assertEqual(self.ask.asked[-1][2], [("tag", "host"), ("valuePrefix", "")])
        self.assertEqual(finder.get_index({}), ["a", "b"])

    def test_nothing(self):
        finder = self.finder()
        self.assertEqual(finder.find_nodes(Query("none")), [])
        self.assertEqual(finder.fetch(["none"], 0, 9), [])

    def test_garbage_is_the_doors_fault(self):
        finder = self.finder()
        for data in (b"\xff", b"\x0a\xff"):
            self.answer("/metrics/find/", data)
            self.assertRaises(FinderError, finder.find_nodes, Query("a"))


class CadentTests(FinderTestCase):
    NODES = [
        {"text": "x", "path": "w.x", "leaf": 1, "expandable": 0, "id": "w.x"},
        {"text": "y", "path": "w.y", "leaf": 0, "expandable": 1, "id": "w.y"}, {"odd": 1}, 5,
    ]  # fmt: skip

    def test_find(self):
        finder = self.make("http://a/graphite/")
        self.answer("/graphite/paths", self.NODES)
        nodes = finder.find_nodes(Query("w.*"))
        self.assertEqual([(node.path, node.is_leaf) for node in nodes], [("w.x", True), ("w.y", False)])
        self.assertEqual(self.ask.asked[-1][2], [("query", "w.*"), ("format", "json")])
        self.assertFalse(finder.tags)
        self.answer("/graphite/paths", b"null")
        self.assertEqual(finder.find_nodes(Query("w.*")), [])
        self.assertEqual(len(self.ask.to("/graphite/_internal/capabilities/")), 1)

    def test_every_shape_of_its_answers(self):
        pairs = [[None, 60], [1.0, 121], [NAN, 180]]
        for told in (
            {"data_from": 60, "data_end": 180, "from": 60, "to": 180, "step": 60, "series": {"w.x": pairs}},
            {"start": 60, "end": 180, "from": 0, "to": 0, "step": 60, "series": {"w.x": {"uid": "", "data": pairs}}},
            {"start": 60, "end": 180, "step": 60, "w.x": {"data": pairs}},
            {"start": 60, "end": 180, "w.x": {"data": [{"time": t - t % 60, "value": v} for v, t in pairs]}},
        ):
            finder = self.make()
            self.answer("/paths", self.NODES)
            self.answer("/metrics", told)
            (one,) = finder.fetch(["w.*"], 60, 180)
            self.assertEqual((one["pathExpression"], one["name"]), ("w.*", "w.x"))
            self.assertEqual((one["time_info"], one["values"]), ((60, 240, 60), [None, 1.0, None]))
            times = [("from", "60"), ("to", "180")]
            self.assertEqual(self.ask.asked[-1][2], [("target", "w.x"), *times, ("format", "json")])

    def test_the_end_is_behind_the_last_value(self):
        finder = self.make()
        self.answer("/paths", self.NODES)
        told = {"start": 60, "end": 240, "step": 60, "series": {"w.x": {"data": [[1.0, 60], [2.0, 180], [3.0, -60]]}}}
        self.answer("/metrics", told)
        (one,) = finder.fetch(["w.*"], 60, 240)
        self.assertEqual((one["time_info"], one["values"]), ((60, 240, 60), [1.0, None, 2.0]))

    def test_nothing(self):
        for body in (b"", b"null", b'{"series": {}}', b"[]"):
            finder = self.make()
            self.answer("/paths", self.NODES)
            self.answer("/metrics", body)
            self.assertEqual(finder.fetch(["w.*"], 0, 99), [])
            (leaf, _) = finder.find_nodes(Query("w.*"))
            self.assertEqual(leaf.reader.fetch(0, 99), ((0, 99, 99), []))

    def test_urls_stay_short_and_long_ranges_coarse(self):
        finder = self.make(url_length=40)
        names = [f"w.metric{n}" for n in range(5)]
        self.answer("/paths", [{"path": name, "leaf": 1} for name in names])
        self.answer("/metrics", lambda fields, _: json.dumps(
            {"start": 0, "end": 60, "step": 60, "series": {v: {"data": [[1.0, 0]]} for k, v in fields if k == "target"}}
        ).encode())  # fmt: skip
        self.assertEqual([one["name"] for one in finder.fetch(["w.*"], 0, 9000)], names)
        self.assertEqual([len([v for k, v in one[2] if k == "target"]) for one in self.ask.to("/metrics")], [2, 2, 1])
        self.assertIn(("max_points", "4096"), self.ask.asked[-1][2])

    def test_the_latest_points_may_be_in_the_memory_of_another(self):
        """A series that is kept in memory, but not in that of the one who was asked."""
        finder = self.make("http://a", "http://b", "http://c")

        def told(value, **how):
            return {"start": 0, "end": 0, "step": 60, "series": {"w.x": {"data": [[value, 0]], **how}}}

        for host in "abc":
            self.answer("/paths", self.NODES, host)
        self.answer("/metrics", told(1.0, using_cache=True, in_cache=False), "a")
        self.answer("/metrics", told(2.0, using_cache=True, in_cache=False), "b")
        self.answer("/metrics", told(3.0, using_cache=True, in_cache=True), "c")
        (leaf, _) = finder.find_nodes(Query("w.*"))
        self.assertEqual(leaf.reader.fetch(0, 59)[1], [3.0])
        self.answer("/metrics", OSError("gone"), "c")
        self.assertEqual(leaf.reader.fetch(0, 58)[1], [1.0])

    def test_names(self):
        finder = self.make()
        pages = {"0": b'["b", "a"]', "1": b'["c"]'}
        self.answer("/list", lambda fields, _: pages.get(dict(fields)["page"], b""))
        self.assertEqual(finder.get_index(), ["a", "b", "c"])
        self.assertEqual(finder.auto_complete_tags(["a=b"]), [])


class DoorTests(FinderTestCase):
    def hosts(self, path="/metrics/find/"):
        return [host for host, where, *_ in self.ask.asked if where == path]

    def several(self):
        finder = self.make("http://a", "http://b", "http://c")
        for host in "abc":
            self.answer("/_internal/capabilities/", OURS, host)
            self.answer("/metrics/find/", globs_v3([]), host)
        return finder

    def test_in_turn(self):
        finder = self.several()
        for _ in range(4):
            finder.find_nodes(Query("a"))
        self.assertEqual(self.hosts(), ["a", "b", "c", "a"])

    def test_one_that_does_not_answer_is_left_alone(self):
        finder = self.several()
        self.answer("/metrics/find/", OSError("refused"), "b")
        for _ in range(6):
            finder.find_nodes(Query("a"))
        self.assertEqual(self.hosts().count("b"), 1)
        self.time = 11.0
        self.answer("/metrics/find/", globs_v3([]), "b")
        for _ in range(3):
            finder.find_nodes(Query("a"))
        self.assertEqual(self.hosts().count("b"), 2)
        self.assertEqual(len([1 for host in self.hosts("/_internal/capabilities/") if host == "b"]), 2)

    def test_all_are_asked_when_none_lives(self):
        finder = self.several()
        for host in "abc":
            self.answer("/metrics/find/", OSError("refused"), host)
        error = self.assertRaises(FinderError, finder.find_nodes, Query("a"))
        self.assertEqual(str(error).count("refused"), 3)
        self.answer("/metrics/find/", globs_v3([]), "c")
        self.assertEqual(finder.find_nodes(Query("a")), [])
        self.answer("/_internal/capabilities/", OSError("down"), "a")

    def test_a_refusal_kills_nobody(self):
        finder = self.several()
        for host in "abc":
            self.answer("/metrics/find/", RefusedError(400, "too broad"), host)
        self.assertIn("400 too broad", str(self.assertRaises(FinderError, finder.find_nodes, Query("a"))))
        self.assertEqual([door.retry_at for door in self.doors.doors], [0.0] * 3)

    def test_who_is_unknown_has_no_tags(self):
        finder = self.make()
        self.answer("/_internal/capabilities/", OSError("down"))
        self.assertFalse(finder.tags)

    def test_who_asks(self):
        finder = self.make("http://al:secret@a/x/", "http://:token@a/x")
        self.answer("/x/_internal/capabilities/", OURS)
        self.answer("/x/metrics/find/", globs_v3([]))
        finder.find_nodes(Query("a", {"X-T": "1"}))
        self.assertEqual([one[3]["Authorization"] for one in self.ask.asked], ["Basic YWw6c2VjcmV0"] * 2)
        self.assertEqual([door.url for door in self.doors.doors], ["http://a/x"] * 2)
        finder.find_nodes(Query("a"))
        self.assertEqual(self.ask.asked[-1][3], {"Authorization": "Bearer token"})

    def test_no_url(self):
        self.assertRaises(FinderError, Doors, [], Options())

    def test_groups(self):
        self.assertEqual(list(groups(["a" * 30, "b" * 30, "c"], 40)), [["a" * 30], ["b" * 30], ["c"]])
        self.assertEqual(list(groups([], 40)), [])


class ImportTests(SynchronousTestCase):
    def run_python(self, code, *path):
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join((ROOT, *path))}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_it_needs_nothing_but_the_standard_library(self):
        code = "import sys, cadtwist.finder; print(*sorted({name.split('.')[0] for name in sys.modules}))"
        loaded = set(self.run_python(code).split())
        self.assertEqual(loaded & {"twisted", "numpy", "msgspec", "treq", "zope"}, set())

    def test_the_shim_is_there_by_choice(self):
        out = StringIO()
        self.assertEqual(shims.run([], out, {}), 0)
        folder = out.getvalue().strip()
        code = "from cadent import CadentFinder; print(CadentFinder.__module__, CadentFinder.__name__)"
        self.assertEqual(self.run_python(code, folder), "cadtwist.finder CadtwistFinder\n")
        self.run_python("import importlib.util as u; assert u.find_spec('cadent') is None")
