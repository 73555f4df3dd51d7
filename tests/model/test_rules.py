"""Tests of `cadtwist.model.rules`."""

from __future__ import annotations

from twisted.trial import unittest

from cadtwist.model.rules import PatternList, RewriteRule, read_patterns, read_rewrites


class RuleTests(unittest.SynchronousTestCase):
    def test_reads_a_list_of_patterns(self) -> None:
        patterns, problems = read_patterns("# comment\n\n^carbon\\.\n  spaced  \n #not a comment\n")
        self.assertEqual(patterns, PatternList(("^carbon\\.", "spaced", "#not a comment")))
        self.assertEqual(problems, [])
        self.assertTrue(patterns)
        self.assertFalse(PatternList())

    def test_leaves_invalid_patterns_out_and_tells(self) -> None:
        patterns, problems = read_patterns("good\n(bad\nfine\n*\n")
        self.assertEqual(patterns.patterns, ("good", "fine"))
        self.assertEqual([(problem.line, problem.text) for problem in problems], [(2, "(bad"), (4, "*")])
        self.assertTrue(all(problem.reason for problem in problems))

    def test_reads_substitutions(self) -> None:
        rules, problems = read_rewrites([(3, r"^a\.(.+) = b.\1"), (4, "_sum$ ="), (5, "nothing"), (6, "( = x")])
        self.assertEqual(rules, (RewriteRule(r"^a\.(.+)", r"b.\1"), RewriteRule("_sum$", "")))
        self.assertEqual([problem.line for problem in problems], [5, 6])
