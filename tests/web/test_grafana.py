"""The requests that Grafana's Graphite data source sends, form by form, and what it reads of the answers."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from urllib.parse import urlencode

from twisted.trial.unittest import SynchronousTestCase

from tests.web.test_site import NOW, make
from tests.web.wire import ask, get

FORM = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Accept": "application/json, text/plain, */*",
    "X-Dashboard-Id": "7",
    "X-Panel-Id": "2",
    "X-Grafana-Org-Id": "1",
}
TAGGED = ("cpu;host=a", "cpu;host=b", "mem;host=a")


def post(doors, path, *fields):
    """Send a form as the data source does; each field is (name, value)."""
    return ask(*doors, "POST", path, (), FORM, urlencode(fields).encode())


def tagged():
    doors = make(names=[name.encode() for name in TAGGED])
    for name in TAGGED:
        ask(*doors, "POST", "/tags/tagSeries", [("path", name)])
    return doors


class QueryTests(SynchronousTestCase):
    def series(self, *fields, doors=None):
        reply = post(doors or make(), "/render", *fields, ("format", "json"))
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, "application/json"), reply.body)
        return json.loads(reply.body)

    def test_health_of_the_data_source(self):
        """A target without metrics, over the last hour."""
        for until in (("until", "now"), ("until", str(NOW))):
            found = self.series(("target", "constantLine(100)"), ("from", "-1h"), until, ("maxDataPoints", "300"))
            self.assertEqual([one["target"] for one in found], ["100.0"])
            self.assertEqual({value for value, _ in found[0]["datapoints"]}, {100.0})
        found = self.series(("target", "constantLine(100)"), ("from", "now-1h"), ("until", "now"))
        self.assertEqual(len(found), 1)

    def test_panel(self):
        """Several targets, epoch seconds or relative times, a number of points; the answer is a list of series."""
        targets = [("target", "aliasByNode(a.*, 1)"), ("target", "b")]
        for start, end in ((str(NOW - 180), str(NOW)), ("-3min", "now")):
            found = self.series(*targets, ("from", start), ("until", end), ("maxDataPoints", "1200"))
            self.assertEqual([one["target"] for one in found], ["x", "y", "b"])
            for one in found:
                self.assertEqual(one["datapoints"], [[None, NOW - 120], [1.0, NOW - 60], [2.0, NOW]])
                self.assertIsInstance(one["tags"], dict)

    def test_older_forms_of_time(self):
        """Releases before 5 sent `HH:MM_YYYYMMDD`."""
        start, end = (datetime.fromtimestamp(NOW + shift, timezone.utc).strftime("%H:%M_%Y%m%d") for shift in (-180, 0))
        (found,) = self.series(("target", "b"), ("from", start), ("until", end))
        self.assertEqual([time for _, time in found["datapoints"]], [NOW - 120, NOW - 60, NOW])

    def test_fewer_points_than_there_are(self):
        (found,) = self.series(("target", "b"), ("from", "-1h"), ("until", "now"), ("maxDataPoints", "7"))
        self.assertLessEqual(len(found["datapoints"]), 7)

    def test_cache_time_and_zone_of_a_panel(self):
        fields = [("target", "b"), ("from", "-3min"), ("until", "now"), ("format", "json")]
        reply = post(make(), "/render", *fields, ("cacheTimeout", "17"), ("tz", "Europe/Berlin"))
        self.assertEqual((reply.status, reply.headers["cache-control"]), (200, "max-age=17"))

    def test_expressions_on_tags(self):
        """The labels of a series are its tags."""
        found = self.series(
            ("target", "aliasByTags(seriesByTag('name=cpu', 'host=~a|b'), 'host')"), ("from", "-3min"), doors=tagged()
        )
        self.assertEqual([(one["target"], one["tags"]["host"], one["tags"]["name"]) for one in found],
                         [("a", "a", "cpu"), ("b", "b", "cpu")])  # fmt: skip

    def test_nothing_is_an_empty_list(self):
        self.assertEqual(self.series(("target", "no.such.*"), ("from", "-1h"), ("until", "now")), [])

    def test_an_error_names_the_panel(self):
        """What went wrong is shown as text; whose panel it was helps the operator."""
        reply = post(make(), "/render", ("target", "nosuch(b)"), ("from", "-1h"), ("format", "json"))
        self.assertEqual(reply.status, 400)
        text = reply.body.decode()
        self.assertIn("unknown function: nosuch", text)
        self.assertIn("grafana-org-id: 1, dashboard-id: 7, panel-id: 2", text)

    def test_a_query_string_is_as_good_as_a_form(self):
        fields = {"target": "b", "from": "-3min", "until": "now", "format": "json"}
        by_form = post(make(), "/render", *fields.items()).body
        self.assertEqual(get(*make(), "/render", **fields).body, by_form)


class EditorTests(SynchronousTestCase):
    def test_nodes_of_the_metric_editor(self):
        """`text` and `expandable` are shown, `id` is asked on; by POST (since 7) and by GET."""
        for query, expected in (
            ("*", [("a", 1, "a"), ("b", 0, "b")]),
            ("a.*", [("x", 0, "a.x"), ("y", 0, "a.y")]),
            ("a.{x,z}", [("x", 0, "a.x")]),
            ("nothing.*", []),
        ):
            fields = {"query": query, "from": str(NOW - 3600), "until": str(NOW)}
            for reply in (post(make(), "/metrics/find", *fields.items()), get(*make(), "/metrics/find", **fields)):
                found = json.loads(reply.body)
                self.assertEqual([(one["text"], one["expandable"], one["id"]) for one in found], expected)

    def test_variables(self):
        """`expand(...)`, and the trees that other variables ask for, with times of the dashboard."""
        fields = {"query": "a.*", "from": "now-6h", "until": "now"}
        self.assertEqual(json.loads(get(*make(), "/metrics/expand", **fields).body), {"results": ["a.x", "a.y"]})
        self.assertEqual([one["text"] for one in json.loads(get(*make(), "/metrics/find", **fields).body)], ["x", "y"])

    def test_functions(self):
        """The editor needs a name, a group, and for each parameter a name and a type; infinity is no JSON number."""
        text = get(*make(), "/functions").body.decode()
        self.assertNotIn("Infinity", text)
        found = json.loads(text)
        self.assertGreater(len(found), 140)
        for name, told in found.items():
            self.assertEqual((told["name"], type(told["group"]), type(told["description"])), (name, str, str))
            for param in told["params"]:
                self.assertLessEqual({"name", "type"}, set(param))
        (first, second) = found["movingAverage"]["params"][:2]
        self.assertEqual((first["type"], second["type"], second["required"]), ("seriesList", "intOrInterval", True))

    def test_version(self):
        """1.1 unlocks tags and functions."""
        self.assertEqual(get(*make(), "/version").body.decode().strip()[:4], "1.1.")


class TagTests(SynchronousTestCase):
    def complete(self, what, *fields, method="GET"):
        fields = [*fields, ("from", "-6h"), ("until", "now"), ("limit", "5000")]
        if method == "GET":
            reply = ask(*tagged(), "GET", f"/tags/autoComplete/{what}", fields)
        else:
            reply = post(tagged(), f"/tags/autoComplete/{what}", *fields)
        self.assertEqual(reply.status, 200)
        return json.loads(reply.body)

    def test_completion(self):
        for method in ("GET", "POST"):
            self.assertEqual(self.complete("tags", method=method), ["host", "name"])
            self.assertEqual(self.complete("tags", ("tagPrefix", "h"), method=method), ["host"])
            self.assertEqual(self.complete("tags", ("expr", "name=cpu"), method=method), ["host"])
            self.assertEqual(self.complete("values", ("tag", "name"), ("valuePrefix", "m"), method=method), ["mem"])
            chosen = (("expr", "name=cpu"), ("expr", "host=a"), ("tag", "host"))
            self.assertEqual(self.complete("values", *chosen, method=method), ["a"])

    def test_variables_of_tags(self):
        self.assertEqual([one["tag"] for one in json.loads(get(*tagged(), "/tags").body)], ["host", "name"])
        found = json.loads(get(*tagged(), "/tags/host").body)
        self.assertEqual([one["value"] for one in found["values"]], ["a", "b"])

    def test_a_server_without_tags_says_so_with_an_empty_list(self):
        reply = get(*make(), "/tags/autoComplete/tags", tagPrefix="", limit="100")
        self.assertEqual((reply.status, json.loads(reply.body)), (200, []))


class AnnotationTests(SynchronousTestCase):
    def test_events(self):
        doors = make()
        event = json.dumps({"what": "deploy", "tags": ["web", "live"], "when": NOW - 60, "data": "42"}).encode()
        ask(*doors, "POST", "/events/", (), {"Content-Type": "application/json"}, event)
        for tags, count in (("web", 1), ("web live", 1), ("", 0), ("other", 0)):
            fields = {"from": str(NOW - 3600), "until": str(NOW), "tags": tags}
            found = json.loads(get(*doors, "/events/get_data", **fields).body)
            self.assertEqual(len(found), count, tags)
            for one in found:
                told = {key: one[key] for key in ("when", "what", "tags", "data")}
                self.assertEqual(told, {"when": NOW - 60, "what": "deploy", "tags": ["web", "live"], "data": "42"})


class BrowserTests(SynchronousTestCase):
    def test_direct_access(self):
        """A browser asks first whether it may send these headers."""
        doors = make(cors=["https://grafana.example"])
        headers = {
            "Origin": "https://grafana.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,x-dashboard-id,x-grafana-org-id,x-panel-id",
        }
        for path in ("/render", "/metrics/find", "/tags/autoComplete/tags", "/functions"):
            reply = ask(*doors, "OPTIONS", path, (), headers)
            self.assertEqual(reply.status, 200)
            self.assertEqual(reply.headers["access-control-allow-origin"], "https://grafana.example")
            allowed = {name.strip() for name in reply.headers["access-control-allow-headers"].lower().split(",")}
            self.assertLessEqual(set(headers["Access-Control-Request-Headers"].split(",")), allowed)
            methods = {name.strip() for name in reply.headers["access-control-allow-methods"].split(",")}
            self.assertLessEqual({"GET", "POST", "OPTIONS"}, methods)
