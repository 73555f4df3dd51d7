"""Tags and the expressions that ask for them, against plain Python."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.find import QueryError
from cadtwist.query.tags import TagIndex, parse_expression, tag_query

SERIES = ["disk;dc=1;rack=a;host=x", "disk;dc=1;host=y", "disk;dc=2;rack=b;host=x", "cpu;dc=2;host=z", "plain"]
VALUES = st.sampled_from(["", "1", "2", "a", "b", "x", "disk", "[12]", "x|y", ".*", "^d", "d"])
EXPRESSIONS = st.tuples(
    st.sampled_from(["dc", "rack", "host", "name", "no"]), st.sampled_from(["=", "!=", "=~", "!=~"]), VALUES
)
CANONICAL = {
    "disk;dc=1;rack=a;host=x": "disk;dc=1;host=x;rack=a",
    "disk;dc=2;rack=b;host=x": "disk;dc=2;host=x;rack=b",
}


def index_of(names):
    index = TagIndex()
    for name in names:
        index.add(name)
    return index


def tags_of(name):
    metric, *tags = name.split(";")
    return {"name": metric, **dict(tag.split("=") for tag in tags)}


def passes(sign, text, value):
    if "~" in sign:
        found = re.match(text if text.startswith("^") else f"^({text})", value) is not None
    else:
        found = value == text
    return found != sign.startswith("!")


class TagTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None)
    @given(st.lists(EXPRESSIONS, min_size=1, max_size=3), st.sets(st.sampled_from(SERIES)))
    def test_expressions(self, expressions, removed):
        index = index_of(SERIES)
        for name in removed:
            index.remove(name)
        texts = ["".join(one) for one in expressions]
        if all(passes(sign, text, "") for _, sign, text in expressions):
            with self.assertRaises(QueryError):
                index.find(texts)
            return
        expected = [
            CANONICAL.get(name, name) for name in SERIES if name not in removed
            and all(passes(sign, text, tags_of(name).get(tag, "")) for tag, sign, text in expressions)
        ]  # fmt: skip
        self.assertEqual(index.find(texts), sorted(expected))

    def test_lists(self):
        index = index_of(SERIES)
        self.assertEqual(index.tags(), ["dc", "host", "name", "rack"])
        self.assertEqual(index.values("host"), [("x", 2), ("y", 1), ("z", 1)])
        self.assertEqual(index.values("no"), [])
        self.assertEqual(index.complete_tags([], "", 100), ["dc", "host", "name", "rack"])
        self.assertEqual(index.complete_tags([], "", 2), ["dc", "host"])
        self.assertEqual(index.complete_tags(["rack=a"], "", 100), ["dc", "host", "name"])
        self.assertEqual(index.complete_tags(["name=cpu"], "h", 100), ["host"])
        self.assertEqual(index.complete_values([], "host", "", 2), ["x", "y"])
        self.assertEqual(index.complete_values(["dc=2"], "host", "", 100), ["x", "z"])
        self.assertEqual(index.complete_values(["dc=2"], "rack", "", 100), ["b"])

    def test_names(self):
        index = TagIndex()
        self.assertEqual(index.add('a.b{y="2",x="1"}'), "a.b;x=1;y=2")
        self.assertEqual(index.add("a.b;y=2;x=1"), "a.b;x=1;y=2")
        self.assertEqual((len(index), "a.b;x=1;y=2" in index), (1, True))
        self.assertIsNone(index.remove("a.b;x=2"))
        self.assertIsNone(index.remove(";"))
        self.assertEqual(index.remove("a.b;y=2;x=1"), "a.b;x=1;y=2")
        self.assertEqual((len(index), index.tags(), index.values("x")), (0, [], []))
        with self.assertRaises(ValueError):
            index.add("a;x")

    def test_many_removals_are_swept(self):
        index = index_of([f"m;host={number}" for number in range(3000)])
        for number in range(2000):
            index.remove(f"m;host={number}")
        self.assertEqual(len(index), 1000)
        self.assertEqual(len(index.find(["name=m"])), 1000)
        self.assertEqual(len(index.values("host")), 1000)

    def test_refusals(self):
        for text in ("x", "=1", "a;b=1", "a=~(", "a=~" + "x" * 2000, "a=1;b"):
            with self.assertRaises(QueryError):
                parse_expression(text)
        with self.assertRaises(QueryError):
            index_of(SERIES).find(["name=x"] * 101)

    def test_queries(self):
        self.assertEqual(tag_query("seriesByTag('a=1', \"b!=2\")"), ["a=1", "b!=2"])
        self.assertEqual(tag_query("seriesByTag()"), [])
        for text in ("a.b", "seriesByTag.x", "seriesByTagged('x=1')"):
            self.assertIsNone(tag_query(text))
        with self.assertRaises(QueryError):
            tag_query("seriesByTag(a)")
