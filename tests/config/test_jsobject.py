"""Tests of `cadtwist.config.jsobject`."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.jsobject import Node, read_object


def plain(node: Node | None) -> Any:
    """Return the values alone."""
    if node is None:
        return None
    if isinstance(node.value, dict):
        return {key: plain(each) for key, each in node.value.items()}
    if isinstance(node.value, list):
        return [plain(each) for each in node.value]
    return node.value


def read(text: str) -> tuple[Any, list[str]]:
    problems = Problems()
    return plain(read_object(text, "c.js", problems)), problems.texts("error")


class ReadObjectTests(SynchronousTestCase):
    def test_what_configurations_look_like(self) -> None:
        text = """/* statsd
        example */
        {
          graphitePort: 2003 // here
        , 'graphiteHost': "graphite.example.com"
        , $x_1: [1, -2.5, +3, .5, 0x10, 1e3, Infinity,],
          "nested": { a: true, b: false, c: null, d: undefined, 7: 'it\\'s\\n\\u0041\\x42\\u{1F600}', e: `tick`, },
        }
        """
        self.assertEqual(
            read(text),
            ({"graphitePort": 2003.0, "graphiteHost": "graphite.example.com",
              "$x_1": [1.0, -2.5, 3.0, 0.5, 16.0, 1000.0, math.inf],
              "nested": {"a": True, "b": False, "c": None, "d": None, "7": "it's\nAB\U0001f600", "e": "tick"}}, []),
        )  # fmt: skip
        self.assertEqual(read("({a: 1});"), ({"a": 1.0}, []))
        self.assertEqual(read("\ufeff{}"), ({}, []))

    def test_lines_are_kept(self) -> None:
        node = read_object("// top\n{\n  a: 1,\n\n  b: [\n    2]\n}", "c.js", Problems())
        assert node is not None
        assert isinstance(node.value, dict)
        self.assertEqual({key: each.line for key, each in node.value.items()}, {"a": 3, "b": 5})

    def test_faults_have_their_line(self) -> None:
        for text, fault in {
            "": "c.js:1: the file is not one object in { }",
            "[1]": "c.js:1: the file is not one object in { }",
            "{a: 1": "c.js:1: a comma or } is expected: ''",
            "{\n a: 1\n b: 2}": "c.js:3: a comma or } is expected: 'b: 2}'",
            "{a: process.env.X}": "c.js:1: a value is expected, nothing that is to be computed: 'process.env.X}'",
            "{a: 1 + 1}": "c.js:1: a comma or } is expected: '+ 1}'",
            "{a 1}": "c.js:1: a : is expected behind the key 'a'",
            "{-: 1}": "c.js:1: a key is expected: '-: 1}'",
            "{}\n{}": "c.js:2: nothing may follow the object: '{}'",
            "({a: 1}": "c.js:1: the ( at the beginning is not closed",
            "{a: 'open\n'}": "c.js:1: a value is expected, nothing that is to be computed: \"'open\"",
            "{a: `${x}`}": "c.js:1: a value is expected, nothing that is to be computed: '`${x}`}'",
            "{a: " * 50: "c.js:1: more than 40 levels",
        }.items():
            self.assertEqual(read(text), (None, [fault]), text)

    def test_json_is_an_object_too(self) -> None:
        single = st.one_of(
            st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5)
        )
        keys = st.text(max_size=3)
        values = st.recursive(
            single,
            lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(keys, inner, max_size=3)),
            max_leaves=8,
        )

        @settings(max_examples=200, deadline=None)
        @given(st.dictionaries(st.text(max_size=4), values, max_size=4))
        def same(document: dict[str, Any]) -> None:
            self.assertEqual(read(json.dumps(document)), (document, []))

        same()

    def test_any_text(self) -> None:
        @settings(max_examples=300, deadline=None)
        @given(st.text("{}[]():,;'\"`ab01.-+/*\n\\ $", max_size=30))
        def survives(text: str) -> None:
            found, faults = read(text)
            self.assertEqual(found is None, bool(faults))

        survives()
