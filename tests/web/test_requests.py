"""Answers on the wire: head and body as one piece, connections kept or closed as HTTP wants it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cadtwist.web.answers import Answer, CrossOrigin, send
from cadtwist.web.requests import BoundedSite
from tests.web.test_site import make
from tests.web.wire import Client, ask, get, request_bytes

FIND = [("query", "a.*")]


class Sent:
    """A request that is not one of a plain channel: another protocol's, for instance."""

    channel = object()
    startedWriting = 0
    method = b"GET"

    def __init__(self):
        self.told = []

    def getHeader(self, name):
        return None

    def setResponseCode(self, code):
        self.told.append(code)

    def setHeader(self, name, value):
        self.told.append((name, value))

    def write(self, data):
        self.told.append(data)

    def finish(self):
        self.told.append("end")


class WireTests(SynchronousTestCase):
    def test_one_connection_serves_many(self):
        client = Client(*make())
        replies = []
        for _ in range(3):
            client.send(request_bytes("GET", "/metrics/find", FIND))
            replies.append(client.reply())
        self.assertEqual({(reply.status, reply.body) for reply in replies}, {(200, replies[0].body)})
        self.assertNotIn("connection", replies[0].headers)
        self.assertFalse(client.transport.disconnecting)
        self.assertIsNotNone(parsedate_to_datetime(replies[0].headers["date"]))
        self.assertIn("server", replies[0].headers)

    def test_several_at_once_are_answered_in_order(self):
        client = Client(*make())
        client.send(request_bytes("GET", "/version") + request_bytes("GET", "/nowhere") + request_bytes("GET", "/"))
        answers = client.transport.value()
        places = [answers.index(text) for text in (b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"<!DOCTYPE html>")]
        self.assertEqual(places, sorted(places))

    def test_closing(self):
        for request in (
            request_bytes("GET", "/version", headers={"Connection": "close"}),
            b"GET /version HTTP/1.0\r\n\r\n",
        ):
            client = Client(*make())
            client.send(request)
            self.assertEqual(client.reply().headers["connection"], "close")
            self.assertTrue(client.transport.disconnecting)

    def test_head(self):
        site, clock = make()
        whole = get(site, clock, "/metrics/find", query="a.*")
        head = ask(site, clock, "HEAD", "/metrics/find", FIND)
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(head.headers["content-length"], str(len(whole.body)))

    def test_a_form_is_read(self):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        reply = ask(*make(), "POST", "/metrics/find", (), headers, b"query=a.*&format=completer")
        self.assertIn(b'"path": "a.x"', reply.body)

    def test_bodies_that_are_no_forms(self):
        for body in (b"", b"--x", b"--x\r\nContent-Disposition: form-data\r\n\r\n", b"\xff" * 99):
            for kind in ("multipart/form-data; boundary=x", "multipart/form-data", "application/json"):
                reply = ask(*make(), "POST", "/metrics/find", FIND, {"Content-Type": kind}, body)
                self.assertEqual(reply.status, 200, (kind, body))

    def test_no_header_has_two_lines(self):
        class Folded(Resource):
            isLeaf = True

            def render(self, request):
                send(request, Answer(b"body", "text/plain", 200, {"A": "b\r\nX: y\n\rz"}), CrossOrigin())
                return NOT_DONE_YET

        client = Client(BoundedSite(Folded(), reactor=Clock()), Clock())
        client.send(request_bytes("GET", "/"))
        self.assertIn(b"\r\nA: b X: y  z\r\n", client.transport.value())

    def test_other_channels(self):
        request = Sent()
        send(request, Answer(b"body", "text/plain", 404, {"A": "b"}), CrossOrigin())
        expected = [404, ("Content-Type", "text/plain"), ("A", "b"), ("Content-Length", "4"), b"body", "end"]
        self.assertEqual(request.told, expected)
