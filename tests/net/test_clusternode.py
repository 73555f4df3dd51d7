"""A server of a cluster: what it is asked in each form, and how it is left alone while it is dead."""

from __future__ import annotations

import json
import pickle
from urllib.parse import parse_qsl, urlsplit

import msgspec
import numpy as np
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TooLateError
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.carbonapi import SeriesMessage, fetch_wishes, glob_patterns, globs_v3, render_v3
from cadtwist.model.clusterserver import parse_server
from cadtwist.net.clusterhttp import Reply, TooLongError
from cadtwist.net.clusternode import ClusterNode, NodeError, NodeOptions

OURS = json.dumps({"supportedProtocols": ["carbonapi_v3_pb"], "program": "cadtwist"}).encode()
STORE = json.dumps({"supportedProtocols": ["carbonapi_v3_pb", "carbonapi_v2_pb"], "name": "go-carbon"}).encode()


OLD_STORE = json.dumps({"supportedProtocols": ["carbonapi_v2_pb", "graphite-web-pickle"]}).encode()


class FakeAsk:
    """Keeps questions; each is answered by the test, or by `answers` (path -> Reply or exception)."""

    def __init__(self):
        self.asked, self.answers = [], {}

    def __call__(self, question, timeout_s):
        waiting = Deferred()
        self.asked.append((question, timeout_s, waiting))
        found = self.answers.get(urlsplit(question.url).path)
        if isinstance(found, Exception):
            waiting.errback(found)
        elif found is not None:
            waiting.callback(found)
        return waiting

    @property
    def paths(self):
        return [urlsplit(question.url).path for question, _, _ in self.asked]

    def fields(self, number=-1):
        question = self.asked[number][0]
        text = urlsplit(question.url).query
        if question.body is not None and question.kind.endswith("urlencoded"):
            text += "&" + question.body.decode()
        return parse_qsl(text, keep_blank_values=True)


def ok(body, kind="application/json"):
    return Reply(200, kind, body)


class NodeTestCase(SynchronousTestCase):
    def make(self, text="h:80?format=msgpack", learnt=None, **options):
        self.clock, self.ask, self.counts = Clock(), FakeAsk(), []
        delays = options.pop("delays", lambda failures: 2.0**failures)
        self.node = ClusterNode(self.clock, parse_server(text), self.ask, NodeOptions(delays=delays, **options),
                                self.counts.append)  # fmt: skip
        if learnt is not None:
            self.ask.answers["/_internal/capabilities/"] = learnt
        self.node.start()
        return self.node

    def fails(self, answer):
        return str(self.failureResultOf(answer, NodeError).value)


class FormTests(NodeTestCase):
    def test_msgpack_and_pickle(self):
        for form, encode in (("msgpack", msgspec.msgpack.encode), ("pickle", lambda value: pickle.dumps(value, 2))):
            node = self.make(f"h:80/g?format={form}")
            self.ask.answers = {
                "/g/metrics/find/": ok(encode([{"path": "a.b", "is_leaf": True}])),
                "/g/render/": ok(encode([{"name": "a.b", "start": 60, "end": 120, "step": 60, "values": [1.5],
                                          "pathExpression": "a.*"}])),
            }  # fmt: skip
            found = self.successResultOf(node.find(["a.*", "b"], {"X-T": "1"}))
            self.assertEqual(found, [[("a.b", True)], [("a.b", True)]])
            self.assertEqual(self.ask.fields(), [("local", "1"), ("format", form), ("query", "b")])
            self.assertEqual((self.ask.asked[0][0].headers, self.ask.asked[0][1]), ({"X-T": "1"}, 3.0))
            (one,) = self.successResultOf(node.fetch(["a.*", "b"], 60, 120, 130, {}))
            self.assertEqual((one.name, one.expression, one.values.tolist()), ("a.b", "a.*", [1.5]))
            self.assertEqual(self.ask.fields(), [
                ("local", "1"), ("format", form), ("from", "60"), ("until", "120"), ("now", "130"), ("noCache", "1"),
                ("target", "a.*"), ("target", "b"),
            ])  # fmt: skip
            self.assertEqual((self.ask.asked[-1][0].body, self.ask.asked[-1][1]), (None, 6.0))

    def test_version_3(self):
        node = self.make("h:80", ok(OURS))
        self.ask.answers = {
            "/metrics/find/": ok(globs_v3([("a.*", [("a.b", True)]), ("b", [])])),
            "/render/": ok(render_v3([SeriesMessage("a.b", "a.*", 60, 120, 60, np.array([1.5]))])),
        }
        self.assertEqual(self.successResultOf(node.find(["a.*", "b"], {})), [[("a.b", True)], []])
        question = self.ask.asked[-1][0]
        self.assertEqual((glob_patterns(question.body), self.ask.fields()),
                         (["a.*", "b"], [("local", "1"), ("format", "carbonapi_v3_pb")]))  # fmt: skip
        (one,) = self.successResultOf(node.fetch(["a.*", "b"], 60, 120, 130, {}))
        self.assertEqual(one.values.tolist(), [1.5])
        wishes = fetch_wishes(self.ask.asked[-1][0].body)
        self.assertEqual([(wish.name, wish.start, wish.stop) for wish in wishes], [("a.*", 60, 120), ("b", 60, 120)])
        self.assertIn(("now", "130"), self.ask.fields())

    def test_many_queries_are_asked_some_at_a_time(self):
        node = self.make()
        answer = node.find([f"q{n}" for n in range(20)], {})
        for asked in (8, 16, 20):
            self.assertEqual(len(self.ask.asked), asked)
            for _, _, waiting in self.ask.asked[asked - 8 if asked < 20 else 16 :]:
                waiting.callback(ok(msgspec.msgpack.encode([])))
        self.assertEqual(self.successResultOf(answer), [[]] * 20)
        self.assertIn("more than 100", self.fails(node.find(["q"] * 101, {})))
        self.assertTrue(node.alive)

    def test_long_questions_are_posted(self):
        node = self.make()
        self.ask.answers = {"/render/": ok(msgspec.msgpack.encode([]))}
        patterns = ["x" * 100 + str(n) for n in range(50)]
        self.assertEqual(self.successResultOf(node.fetch(patterns, 1, 2, 3, {})), [])
        self.assertEqual([value for key, value in self.ask.fields() if key == "target"], patterns)
        self.assertIn(b"target=", self.ask.asked[-1][0].body)
        node = self.make(use_post=True)
        node.find(["a"], {})
        self.assertIn(b"query=a", self.ask.asked[-1][0].body)

    def test_a_server_is_asked_what_it_can(self):
        """One that cannot tell is a graphite-web."""
        for learnt, form, tags in (
            (ok(OURS), "carbonapi_v3_pb", True),
            (ok(STORE), "carbonapi_v3_pb", False),
            (ok(OLD_STORE), "pickle", True),
            (Reply(404, "text/html", b"<h1>Not Found</h1>"), "msgpack", True),
            (ok(b"<html>a page for everything</html>", "text/html"), "msgpack", True),
        ):
            node = self.make("h:80", learnt)
            node.find(["a"], {})
            self.assertEqual((dict(self.ask.fields())["format"], node.tags), (form, tags))

    def test_who_asks_before_that_waits(self):
        node = self.make("h:80")
        first, second, left = node.find(["a"], {}), node.find(["b"], {}), node.find(["c"], {})
        left.cancel()
        self.failureResultOf(left, CancelledError)
        self.ask.asked[0][2].callback(ok(OURS))
        self.assertEqual(self.ask.paths, ["/_internal/capabilities/", "/metrics/find/", "/metrics/find/"])
        for waiting in (first, second):
            self.assertNoResult(waiting)
        late = self.make("h:80").find(["a"], {})
        self.ask.asked[0][2].errback(RefusedError())
        self.assertIn("dead", self.fails(late))
        self.assertEqual(self.counts, ["failures", "skipped"])

    def test_nothing_found_is_no_failure(self):
        node = self.make("h:80", ok(STORE))
        nothing = Reply(404, "text/plain; charset=utf-8", b"Not Found (Not Found)")
        self.ask.answers.update({"/metrics/find/": nothing, "/render/": nothing, "/metrics/list/": nothing})
        self.assertEqual(self.successResultOf(node.find(["a"], {})), [[]])
        self.assertEqual(self.successResultOf(node.fetch(["a"], 1, 2, 3, {})), [])
        error = b"Internal error while processing request (Not Found)\n"
        self.ask.answers["/metrics/find/"] = Reply(500, "text/plain; charset=utf-8", error)
        self.assertEqual(self.successResultOf(node.find(["a", "b"], {})), [[], []])
        self.assertTrue(node.alive)

    def test_names(self):
        node = self.make("h:80", ok(STORE))
        self.ask.answers["/metrics/list/"] = ok(b'{"Metrics": ["a", "b"]}')
        self.assertEqual(self.successResultOf(node.names({})), ["a", "b"])
        node = self.make("h:80?local=0&format=msgpack")
        self.ask.answers["/metrics/index.json"] = ok(b'["a"]')
        self.assertEqual(self.successResultOf(node.names({})), ["a"])
        self.assertEqual(self.ask.fields(), [("local", "0")])

    def test_tags(self):
        node = self.make("h:80", ok(OURS))
        self.ask.answers["/tags/autoComplete/tags"] = ok(b'["host"]')
        answer = node.about_tags("/tags/autoComplete/tags", [("expr", "a=b")], {})
        self.assertEqual(self.successResultOf(answer), ["host"])
        self.assertEqual(self.ask.fields(), [("expr", "a=b"), ("local", "1")])

    def test_who_has_no_tags_is_not_asked_for_them(self):
        for text, learnt in (("h:80", ok(STORE)), ("h:80?noTags=1&format=msgpack", None)):
            node = self.make(text, learnt)
            before = len(self.ask.asked)
            self.assertIsNone(self.successResultOf(node.about_tags("/tags", [], {})))
            self.assertEqual(self.successResultOf(node.fetch(["seriesByTag('a=b')"], 1, 2, 3, {})), [])
            self.assertEqual(len(self.ask.asked), before)


class HealthTests(NodeTestCase):
    def test_faults_kill(self):
        for fault, counted in (
            (RefusedError("no"), "failures"),
            (TooLateError(), "timeouts"),
            (Reply(500, "text/html", b"trace"), "failures"),
            (Reply(503, "text/plain", b"busy"), "failures"),
            (ok(b"no msgpack"), "failures"),
        ):
            node = self.make()
            self.ask.answers["/metrics/find/"] = fault
            self.fails(node.find(["a"], {}))
            self.assertEqual((node.alive, self.counts), (False, [counted]))

    def test_refusals_do_not(self):
        for refusal in (Reply(400, "text/html", b"too broad"), Reply(429, "text/plain", b"busy"), TooLongError("long"),
                        Reply(404, "text/html", b"<h1>")):  # fmt: skip
            node = self.make()
            self.ask.answers["/metrics/find/"] = refusal
            self.fails(node.find(["a"], {}))
            self.assertEqual((node.alive, self.counts), (True, ["refused"]))

    def test_nobody_waits_for_a_dead_server(self):
        node = self.make()
        self.ask.answers["/metrics/find/"] = RefusedError("no")
        self.fails(node.find(["a"], {}))
        asked = len(self.ask.asked)
        asking = node.find(["a"], {}), node.fetch(["a"], 1, 2, 3, {}), node.names({}), node.about_tags("/tags", [], {})
        for answer in asking:
            self.assertIn("is dead", self.fails(answer))
        self.assertEqual((len(self.ask.asked), self.counts), (asked, ["failures"] + ["skipped"] * 4))

    def test_looks_are_made_by_itself_and_rarer(self):
        node = self.make()
        self.ask.answers["/metrics/find/"] = RefusedError("no")
        self.fails(node.find(["a"], {}))
        for delay in (2, 4, 8):
            asked = len(self.ask.asked)
            self.clock.advance(delay - 0.1)
            self.assertEqual(len(self.ask.asked), asked)
            self.clock.advance(0.1)
            self.assertEqual(len(self.ask.asked), asked + 1)
        self.ask.answers["/metrics/find/"] = Reply(404, "text/plain", b"Not Found")
        self.clock.advance(16)
        self.assertTrue(node.alive)
        self.ask.answers["/metrics/find/"] = ok(msgspec.msgpack.encode([]))
        self.assertEqual(self.successResultOf(node.find(["a"], {})), [[]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_answers_looks_only_stays_rare(self):
        """A server may live and yet fail all that matters."""
        node = self.make("h:80", ok(OURS))
        self.ask.answers["/metrics/find/"] = Reply(500, "text/plain", b"")
        for delay in (2, 4, 8):
            self.fails(node.find(["a"], {}))
            self.assertFalse(node.alive)
            self.clock.advance(delay)
            self.assertTrue(node.alive)

    def test_what_it_speaks_is_learnt_anew(self):
        node = self.make("h:80", ok(OURS))
        self.ask.answers["/metrics/find/"] = RefusedError("no")
        self.fails(node.find(["a"], {}))
        self.ask.answers["/_internal/capabilities/"] = Reply(404, "text/html", b"")
        self.clock.advance(2)
        self.fails(node.find(["a"], {}))
        self.assertEqual(dict(self.ask.fields())["format"], "msgpack")

    def test_many_failures_at_once_are_one_death(self):
        node = self.make()
        several = [node.find(["a"], {}) for _ in range(5)]
        for _, _, waiting in list(self.ask.asked):
            waiting.errback(RefusedError("no"))
        for answer in several:
            self.fails(answer)
        self.assertEqual([call.getTime() for call in self.clock.getDelayedCalls()], [2])

    def test_who_leaves_kills_nobody(self):
        node = self.make()
        answer = node.find(["a", "b"], {})
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertTrue(all(waiting.called for _, _, waiting in self.ask.asked), "both questions were given up")
        self.assertEqual((node.alive, self.counts), (True, []))

    def test_a_fault_of_ours_is_logged(self):
        node = self.make()
        self.ask.answers["/metrics/find/"] = ZeroDivisionError("x")
        self.fails(node.find(["a"], {}))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_who_must_tell_who_he_is(self):
        """The secret goes with every question; a stranger's protocol cannot be learnt."""
        node = self.make("http://:secret@h:80", ok(OURS))
        self.ask.answers["/metrics/find/"] = ok(b"")
        self.successResultOf(node.find(["a"], {"X-T": "1"}))
        headers = [question.headers for question, _, _ in self.ask.asked]
        self.assertEqual(headers, [{"Authorization": "Bearer secret"}, {"Authorization": "Bearer secret", "X-T": "1"}])
        node = self.make("h:80", Reply(401, "text/plain", b"Who are you?"))
        self.assertFalse(node.alive)
        node = self.make("h:80?format=msgpack")
        self.ask.answers["/metrics/find/"] = RefusedError("no")
        self.fails(node.find(["a"], {}))
        self.ask.answers["/metrics/find/"] = Reply(401, "text/plain", b"Who are you?")
        self.clock.advance(2)
        self.assertTrue(node.alive, "requests may bring what is wanted")

    def test_stop(self):
        node = self.make()
        self.ask.answers["/metrics/find/"] = RefusedError("no")
        self.fails(node.find(["a"], {}))
        node.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        node = self.make("h:80")
        node.stop()
        self.assertEqual((self.ask.asked[0][2].called, self.clock.getDelayedCalls()), (True, []))
