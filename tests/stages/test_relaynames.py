"""Tests of `cadtwist.stages.relaynames`."""

from __future__ import annotations

import json
import os
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.model.prereg import PreReg, PreRegFilter
from cadtwist.stages.names import NameRule, Outcome
from cadtwist.stages.relaynames import Affix, CadentCleaning, IngressFilter, OneField, PreRegReject, RelayCleansing

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "carbon")


def becomes(rule: NameRule, name: str) -> str | None:
    outcome = rule(name) or Outcome((name,))
    return outcome.names[0] if outcome.names else None


class IngressTests(unittest.SynchronousTestCase):
    def test_the_blacklist_comes_first(self) -> None:
        rule = IngressFilter("^keep", "drop")
        self.assertIsNone(rule("keep.a"))
        self.assertEqual(rule("keep.drop"), Outcome((), "rejected_lines"))
        self.assertEqual(rule("x.drop"), Outcome((), "rejected_lines"))
        self.assertEqual(rule("x"), Outcome((), "filtered_lines"))

    def test_each_alone(self) -> None:
        self.assertIsNone(IngressFilter()("x"))
        names = ("keep.me", "drop.me", "other", "keep.drop", "col")
        kept = [name for name in names if IngressFilter(keep="^(?=keep)")(name) is None]
        self.assertEqual(kept, ["keep.me", "keep.drop"])
        self.assertEqual(
            [name for name in names if IngressFilter(refuse="drop")(name) is None], ["keep.me", "other", "col"]
        )


class OneFieldTests(unittest.SynchronousTestCase):
    def test_drops_what_no_line_can_say(self) -> None:
        for name in ("a b", "a\tb", "a\nb", "\ra", "a\v", "\f"):
            self.assertEqual(OneField()(name), Outcome((), "name"))
        self.assertIsNone(OneField()("a.b;c=\u00e9"))

    def test_asks_further(self) -> None:
        rule = OneField(IngressFilter(refuse="drop"))
        self.assertEqual(rule("drop"), Outcome((), "rejected_lines"))
        self.assertEqual(rule("drop x"), Outcome((), "name"))
        self.assertIsNone(rule("keep"))


class AffixTests(unittest.SynchronousTestCase):
    def test_as_recorded(self) -> None:
        self.assertEqual(Affix("p1.", ".s1")("keep.me"), Outcome(("p1.keep.me.s1",)))
        self.assertEqual(Affix(suffix=".s3")("col"), Outcome(("col.s3",)))
        self.assertIsNone(Affix()("a"))


class PreRegTests(unittest.SynchronousTestCase):
    def test_drops_only_what_is_rejected(self) -> None:
        filters = [PreRegFilter("prefix", "a", "other"), PreRegFilter("regex", "b$", reject=True)]
        rule = PreRegReject(PreReg(filters, "here"))
        self.assertEqual([rule(name) for name in ("ab", "cb", "c")], [None, Outcome((), "rejected"), None])


class CadentCleaningTests(unittest.SynchronousTestCase):
    def test_one_pass_from_left_to_right(self) -> None:
        for name, clean in (
            ("a..b", "a.b"),
            ("a....b", "a..b"),
            ("a...b", "a..b"),
            ("a,*(){}", "a______"),
            ("a.b", "a.b"),
        ):
            self.assertEqual(becomes(CadentCleaning(), name), clean)
        self.assertIsNone(CadentCleaning()("a.b"))


class RelayCleansingTests(unittest.SynchronousTestCase):
    def test_as_recorded(self) -> None:
        with open(os.path.join(DATA, "c_relay_cleansing.json"), encoding="utf-8") as file:
            recorded = json.load(file)
        lines = [re.sub("[\t ]+", " ", line.encode("latin-1").decode()).strip(" \r") for line in recorded["sent"]]
        names = [line.partition(" ")[0] for line in lines if " " in line]
        found = [becomes(RelayCleansing(), name) for name in names]
        self.assertEqual(found, [line.partition(" ")[0] for line in recorded["received_in_order"]])
        self.assertEqual(len(found), 24)

    def test_what_is_allowed(self) -> None:
        self.assertEqual(becomes(RelayCleansing("+]^"), "a+]^-b"), "a+]^_b")
        self.assertEqual(becomes(RelayCleansing("-_:#;"), "a;b/c"), "a;b_c")
        self.assertEqual(becomes(RelayCleansing(), "a;b/c"), "a;b/c")

    def test_nothing_left(self) -> None:
        for name in ("", "...", "."):
            self.assertEqual(RelayCleansing()(name), Outcome((), "name"))

    @settings(max_examples=200, deadline=None, database=None, print_blob=True)
    @given(st.text("ab.-/;=é", max_size=12))
    def test_a_clean_name_stays(self, name: str) -> None:
        clean = becomes(RelayCleansing(), name)
        if clean is not None:
            self.assertIsNone(RelayCleansing()(clean))
