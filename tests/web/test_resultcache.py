"""Answers that are given again, and when they are not."""

from __future__ import annotations

import json
from math import inf

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.web.answers import Answer
from cadtwist.web.resultcache import ResultCache
from tests.web.test_site import NOW, make
from tests.web.wire import ask, get

KEY = (b"/x", b"", "", "")


def answer(body=b"body", **more):
    return Answer(body, "text/plain", **more)


class ResultCacheTests(SynchronousTestCase):
    def test_for_some_seconds(self):
        cache = ResultCache(100_000)
        self.assertIsNone(cache.get(KEY, 10, None))
        cache.put(KEY, answer(headers={"A": "b"}), 10, 60)
        kept = cache.get(KEY, 15.5, None)
        self.assertEqual((kept.body, kept.headers), (b"body", {"A": "b", "Age": "5"}))
        self.assertIsNotNone(cache.get(KEY, 69.9, None))
        self.assertIsNone(cache.get(KEY, 70, None))
        self.assertEqual((len(cache), cache.used_bytes, cache.hits, cache.misses), (0, 0, 2, 2))

    def test_a_clock_that_was_put_back(self):
        cache = ResultCache(100_000)
        cache.put(KEY, answer(), 1000, 60)
        self.assertIsNone(cache.get(KEY, 500, None))

    def test_while_names_are_the_same(self):
        cache = ResultCache(100_000)
        cache.put(KEY, answer(), 10, inf, 7)
        self.assertEqual(cache.get(KEY, 10**9, 7), answer())
        self.assertIsNone(cache.get(KEY, 10, 8))
        self.assertIsNone(cache.get(KEY, 10, 7), "gone for good")

    def test_bounded_in_bytes(self):
        cache = ResultCache(10_000)
        for number in range(100):
            cache.put((b"%d" % number, b"", "", ""), answer(bytes(700)), 10, inf)
            self.assertLessEqual(cache.used_bytes, 10_000)
            cache.get((b"0", b"", "", ""), 10, None)
        self.assertEqual(len(cache), 8)
        self.assertIsNotNone(cache.get((b"0", b"", "", ""), 10, None), "asked for often")
        self.assertIsNone(cache.get((b"50", b"", "", ""), 10, None))
        cache.put(KEY, answer(bytes(2000)), 10, inf)
        self.assertIsNone(cache.get(KEY, 10, None), "too large")
        for body in (b"a", b"b"):
            cache.put(KEY, answer(body), 10, 5)
        self.assertEqual(cache.get(KEY, 10, None).body, b"b")

    def test_what_is_not_kept(self):
        cache = ResultCache(0)
        cache.put(KEY, answer(), 10, 60)
        self.assertFalse(cache.is_open)
        self.assertIsNone(cache.get(KEY, 10, None))
        cache = ResultCache(100_000)
        cache.put(KEY, answer(), 10, 0)
        self.assertEqual(len(cache), 0)


class FindCacheTests(SynchronousTestCase):
    def setUp(self):
        self.site, self.clock = make()
        self.context = self.site.resource._context

    def find(self, **more):
        return get(self.site, self.clock, "/metrics/find", query="a.*", **more)

    def hits(self):
        return self.context.finds.hits

    def test_the_same_question_is_answered_again(self):
        for form in ("treejson", "completer", "nodelist"):
            first = self.find(format=form)
            before = self.hits()
            self.assertEqual(self.find(format=form), first)
            self.assertEqual(self.hits(), before + 1)
        for path in ("/metrics/find/", "/metrics", "/metrics/expand"):
            first = get(self.site, self.clock, path, query="*")
            before = self.hits()
            self.assertEqual(get(self.site, self.clock, path, query="*"), first)
            self.assertEqual(self.hits(), before + 1)

    def test_what_clients_add_against_caches_makes_no_difference(self):
        first = self.find(_="1", _salt="17.5")
        before = self.hits()
        self.assertEqual(self.find(_="2", _salt="18.5"), first)
        self.assertEqual(self.hits(), before + 1)
        self.find(_="3", format="completer")
        self.assertEqual(self.hits(), before + 1)

    def test_what_comes_and_goes_is_seen_at_once(self):
        names = []
        for change in (lambda: None, lambda: self.index.add(b"a.new"), lambda: self.index.remove(b"a.new")):
            self.index = self.context.owner.index
            change()
            for _ in range(2):
                names.append([node["text"] for node in json.loads(self.find().body)])
        without, with_it = ["x", "y"], ["new", "x", "y"]
        self.assertEqual(names, [without, without, with_it, with_it, without, without])

    def test_a_file_of_a_known_name_changes_nothing(self):
        self.find()
        self.context.owner.index.add(b"a.x")
        self.find()
        self.assertEqual(self.hits(), 1)

    def test_what_depends_on_the_clock_is_not_kept(self):
        for form in ("json", "pickle", "msgpack"):
            self.find(format=form)
            self.find(format=form)
        self.find(format="nosuch")
        self.find(format="nosuch")
        self.assertEqual((self.hits(), len(self.context.finds)), (0, 0))

    def test_the_accepted_type_matters(self):
        site, clock = make(names=["a.ü".encode()])
        bodies = []
        for accept in ("text/html", "application/json") * 2:
            bodies.append(ask(site, clock, "GET", "/metrics/find", [("query", "a.*")], {"Accept": accept}).body)
        self.assertEqual(bodies[:2], bodies[2:])
        self.assertNotEqual(bodies[0], bodies[1])

    def test_clients_that_want_it_fresh(self):
        for control in ("no-cache", "no-store", "max-age=0"):
            for _ in range(2):
                ask(self.site, self.clock, "GET", "/metrics/find", [("query", "a.*")], {"Cache-Control": control})
        self.assertEqual(self.hits(), 0)

    def test_forms(self):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        texts = [
            ask(self.site, self.clock, "POST", "/metrics/find", (), headers, body).body
            for body in (b"query=a.*", b"query=b", b"query=a.*", b"query=b")
        ]
        self.assertEqual(texts[:2], texts[2:])
        self.assertNotEqual(texts[0], texts[1])
        self.assertEqual(self.hits(), 2)


class RenderCacheTests(SynchronousTestCase):
    def setUp(self):
        self.now = float(NOW)
        self.cache = ResultCache(1 << 20)
        self.site, self.clock = make(now=lambda: self.now, renders=self.cache, cached_s=30)

    def render(self, **more):
        return get(self.site, self.clock, "/render", target="a.*", format="json", **{"from": "-3min", **more})

    def test_kept_as_long_as_asked(self):
        for asked, seconds in (({}, 30), ({"cacheTimeout": "5"}, 5)):
            first = self.render(**asked)
            self.assertEqual(first.headers["cache-control"], f"max-age={seconds}")
            self.now += seconds - 1
            second = self.render(**asked)
            self.assertEqual((second.body, second.headers["age"]), (first.body, str(seconds - 1)))
            self.now += 1
            third = self.render(**asked)
            self.assertNotIn("age", third.headers)
        self.assertEqual(self.cache.hits, 2)

    def test_never_kept(self):
        for asked in ({"noCache": "1"}, {"cacheTimeout": "0"}, {"from": "nosuch"}):
            for _ in range(2):
                self.assertNotIn("age", self.render(**asked).headers)
        self.assertEqual((self.cache.hits, len(self.cache)), (0, 0))

    def test_off_by_default(self):
        site, clock = make()
        for _ in range(2):
            reply = get(site, clock, "/render", target="a.*", format="json")
            self.assertNotIn("age", reply.headers)
            self.assertEqual(reply.headers["cache-control"], "max-age=60")
