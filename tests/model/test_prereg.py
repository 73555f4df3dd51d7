"""Tests of `cadtwist.model.prereg`."""

from __future__ import annotations

from twisted.trial import unittest

from cadtwist.model.prereg import PreReg, PreRegFilter, Verdict


class PreRegTests(unittest.SynchronousTestCase):
    def test_each_kind(self) -> None:
        for kind, text, hit, miss in (
            ("regex", r"b\d", "ab1c", "abc"),
            ("prefix", "ab", "abc", "cab"),
            ("substring", "b.", "ab.c", "abc"),
        ):
            prereg = PreReg([PreRegFilter(kind, text, "other")], "here")
            self.assertEqual(prereg.decide(hit), Verdict("other", False, f"{kind} {text}"))
            self.assertEqual(prereg.decide(miss), Verdict("here"))
        self.assertEqual(PreReg([PreRegFilter("noop", "x", "other")], "here").decide("y").backend, "other")

    def test_the_first_match_decides(self) -> None:
        filters = [
            PreRegFilter("prefix", "a.secret", reject=True),
            PreRegFilter("prefix", "a.", "first"),
            PreRegFilter("substring", "secret", reject=True),
            PreRegFilter("prefix", "b."),
            PreRegFilter("noop", "all", "rest"),
        ]
        prereg = PreReg(filters, "here")
        found = {name: prereg.decide(name).backend for name in ("a.secret", "a.x", "c.secret", "b.x", "z")}
        self.assertEqual(found, {"a.secret": "", "a.x": "first", "c.secret": "", "b.x": "here", "z": "rest"})
        self.assertEqual(prereg.decide("c.secret"), Verdict("", True, "substring secret"))
        self.assertEqual(prereg.backends, ("first", "rest"))

    def test_a_noop_may_reject_the_rest(self) -> None:
        prereg = PreReg([PreRegFilter("prefix", "a"), PreRegFilter("noop", "true", reject=True)], "here")
        self.assertEqual([prereg.decide(name).rejected for name in ("a", "b")], [False, True])

    def test_faults(self) -> None:
        self.assertIn("known are regex", str(self.assertRaises(ValueError, PreRegFilter, "glob", "x")))
        self.assertIn("'('", str(self.assertRaises(ValueError, PreRegFilter, "regex", "(")))
