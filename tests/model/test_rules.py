"""Tests of `cadtwist.model.rules`."""

from __future__ import annotations

from twisted.trial import unittest

from cadtwist.model.rules import PatternList, RewriteRule


class PatternListTests(unittest.SynchronousTestCase):
    def test_gives_its_patterns_in_order(self) -> None:
        self.assertEqual(list(PatternList(("b", "a"))), ["b", "a"])


class RewriteRuleTests(unittest.SynchronousTestCase):
    def test_tells_what_is_wrong_with_it(self) -> None:
        self.assertIsNone(RewriteRule(r"^a\.(?P<kind>.+)", r"\g<kind>.\1").fault())
        self.assertIsNone(RewriteRule("_sum$", "").fault())
        for wrong in (RewriteRule("(", ""), RewriteRule("*", "x")):
            self.assertTrue(wrong.fault())
        self.assertTrue(RewriteRule("a*", r"\2").fault())
