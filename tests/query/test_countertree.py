from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.countertree import AGGREGATE, EVENT, GAUGE, CounterTree, Found, matcher


class MatcherTests(SynchronousTestCase):
    def test_patterns(self) -> None:
        for pattern, name, matches in (
            ("*", "a.b", True), ("a.*", "a.b.c", True), ("a.*", "b.a.c", False), ("a.?", "a.b", True),
            ("a.?", "a.b.c", False), ("a.?", "a.", True), ("?", "abc", True), ("?", "a.b", False), ("a?c", "ac", True),
            ("*?x", "a.b.x", True), ("?*x", "a.b.x", True), ("*.b", "a.b", True), ("*.b", "a.b.c", False),
            ("", "a", False), ("a", "a", True), ("A", "a", False), ("a[b", "a[b", True),
            ("*a*b*c*d*e*", "xaxbxcxdxe", True),
            ("a?b?c?d?e", "a1b2c3d4e", True), ("a?b?c?d?e", "a1b.2c3d4e", False), ("*.x?y*z?w*", "q.x1y2z3w", True),
        ):  # fmt: skip
            self.assertEqual(bool(matcher(pattern)(name)), matches, (pattern, name))

    @given(st.text("ab.*?", max_size=8), st.text("ab.", max_size=10))
    def test_both_ways_to_match_agree_with_the_rule(self, pattern: str, name: str) -> None:
        runs = re.sub(r"[*?]*\*[*?]*", "*", pattern)
        rule = "".join({"*": ".*", "?": "[^.]*"}.get(c) or re.escape(c) for c in runs)
        expected = bool(pattern) and re.fullmatch(rule, name, re.DOTALL) is not None
        self.assertEqual(bool(matcher(pattern)(name)), expected)

    def test_hostile_patterns_end(self) -> None:
        self.assertFalse(matcher("*a" * 500 + "b")("a" * 2000))
        self.assertFalse(matcher("?a" * 500 + "b")("a" * 2000))
        self.assertFalse(matcher("*" * 5000)("a"))


class CounterTreeTests(SynchronousTestCase):
    def tree(self) -> CounterTree:
        tree = CounterTree()
        tree.add("b.x.y", True)
        tree.add("a", False)
        tree.add("b.z", False)
        return tree

    def test_every_level_is_listed(self) -> None:
        self.assertEqual(
            self.tree().matching("*"),
            [
                Found("a", GAUGE),
                Found("b", AGGREGATE),
                Found("b.x", AGGREGATE),
                Found("b.x.y", EVENT),
                Found("b.z", GAUGE),
            ],
        )
        self.assertEqual([found.name for found in self.tree().matching("b.?")], ["b.x", "b.z"])

    def test_a_level_without_others_below_is_a_leaf_again(self) -> None:
        tree = self.tree()
        tree.remove("b.x")
        tree.remove("b.x.y")
        tree.remove("none")
        self.assertEqual(tree.matching("b.x"), [Found("b.x", EVENT)])
        self.assertEqual(len(tree), 4)
        self.assertNotIn("b.x.y", tree)

    def test_many_names_stay_sorted(self) -> None:
        tree = CounterTree()
        for number in range(300):
            tree.add(f"m{number * 7 % 300:03}", False)
            if number % 100 == 0:
                self.assertEqual(tree.names(), sorted(tree.names()))
        self.assertEqual(tree.leaves("m00*"), [f"m00{n}" for n in range(10)])
