"""carbonapi's requests at our doors."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.protowire import chunk, read_fields, varint
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

    def test_list(self):
        reply = get(*make(), "/metrics/list/")
        self.assertEqual(json.loads(reply.body), {"Metrics": ["a.x", "a.y", "b"]})
        for form in ("protobuf", "carbonapi_v3_pb"):
            reply = get(*make(), "/metrics/list/", format=form)
            self.assertEqual([value for _, value in read_fields(reply.body)], [b"a.x", b"a.y", b"b"])
        self.assertEqual(get(*make(), "/metrics/list/", format="x").status, 400)

    def test_capabilities(self):
        reply = get(*make(), "/_internal/capabilities/")
        self.assertEqual(json.loads(reply.body)["supportedProtocols"][0], "carbonapi_v3_pb")
        reply = ask(*make(), "GET", "/_internal/capabilities/", [], {"Accept": V3})
        self.assertEqual((reply.headers["content-type"], next(read_fields(reply.body))), (V3, (1, b"carbonapi_v3_pb")))
