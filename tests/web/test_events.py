"""The doors of events; the recorded cases are replayed in tests.web.test_golden."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.web.test_site import NOW, make
from tests.web.wire import ask, get


class EventDoorTests(SynchronousTestCase):
    def post(self, doors, told):
        return ask(*doors, "POST", "/events/", (), {"Content-Type": "application/json"}, json.dumps(told).encode())

    def test_an_event_is_drawn(self):
        doors = make()
        self.assertEqual(self.post(doors, {"what": "<deploy>", "tags": ["x"], "when": NOW - 5}).status, 200)
        self.assertEqual(self.post(doors, {"what": "now"}).status, 200)
        reply = get(*doors, "/render", target='events("x")', format="json", noNullPoints="1", **{"from": "-1min"})
        self.assertEqual(json.loads(reply.body)[0]["datapoints"], [[1, NOW - 5]])
        found = json.loads(get(*doors, "/events/get_data").body)
        self.assertEqual([(event["when"], event["what"]) for event in found], [(NOW - 5, "<deploy>"), (NOW, "now")])
        self.assertIn("&lt;deploy&gt;", get(*doors, "/events/").body.decode())
        self.assertIn("&lt;deploy&gt;", get(*doors, "/events/1/").body.decode())
        self.assertEqual(get(*doors, "/events/x").status, 404)

    def test_refusals(self):
        for told in ([], {}, {"what": None}, {"what": "x" * 300}, {"what": []}, {"what": "x", "when": "now"},
                     {"what": "x", "when": True}, {"what": "x", "when": -1}, {"what": "x", "tags": [5]},
                     {"what": "x", "tags": ["t"] * 101}, {"what": "x", "data": []}):  # fmt: skip
            self.assertEqual(self.post(make(), told).status, 400, told)
        self.assertEqual(get(*make(), "/events/get_data", **{"from": "x"}).status, 400)


    def test_what_an_event_may_lack(self):
        doors = make()
        for told in ({"what": ""}, {"what": "n", "tags": None}, {"what": "b", "tags": ["x y", "z"], "data": 5}):
            self.assertEqual(self.post(doors, {**told, "when": NOW}).status, 200, told)
        found = json.loads(get(*doors, "/events/get_data").body)
        self.assertEqual([(one["what"], one["tags"], one["data"]) for one in found],
                         [("", [], ""), ("n", [], ""), ("b", ["x", "y", "z"], "5")])  # fmt: skip

    def test_an_empty_tag_is_no_events(self):
        """A field that is there is a question, though it be empty."""
        doors = make()
        self.post(doors, {"what": "x", "tags": "a", "when": NOW})
        for fields, count in (({}, 1), ({"tags": ""}, 0), ({"tags": "", "set": "union"}, 0), ({"tags": "a  b"}, 1),
                              ({"tags": "a  b", "set": "union"}, 1), ({"tags": "a ", "set": "intersection"}, 0),
                              ({"from": ""}, 1), ({"until": ""}, 1)):  # fmt: skip
            self.assertEqual(len(json.loads(get(*doors, "/events/get_data", **fields).body)), count, fields)


class TagDoorTests(SynchronousTestCase):
    def test_series_by_tag(self):
        doors = make(names=[b"m;host=a", b"m;host=b"])
        for path in ("m;host=a", "m;host=b", "m;host=c"):
            self.assertEqual(ask(*doors, "POST", "/tags/tagSeries", [("path", path)]).status, 200)
        reply = get(*doors, "/render", target="aliasByTags(seriesByTag('name=m','host!=c'),'host')", format="json",
                    **{"from": "-3min"})  # fmt: skip
        self.assertEqual([series["target"] for series in json.loads(reply.body)], ["a", "b"])
        reply = get(*doors, "/render", target="seriesByTag('host!=c')", format="json")
        self.assertEqual((reply.status, b"must not match the empty string" in reply.body), (400, True))

    def test_refusals(self):
        for path, fields, text in (
            ("/tags", {"limit": "x"}, "invalid literal"),
            ("/tags", {"filter": "("}, "Invalid regular expression"),
            ("/tags/autoComplete/values", {}, "no tag specified"),
            ("/tags/findSeries", {"expr": "x"}, "Invalid tagspec x"),
        ):
            reply = get(*make(), path, **fields)
            self.assertEqual(reply.status, 400)
            self.assertIn(text, json.loads(reply.body)["error"])
        for path in ("/tags/delSeries", "/tags/tagMultiSeries", "/tags/tagSeries"):
            self.assertEqual((ask(*make(), "POST", path).status, get(*make(), path).status), (400, 405))
