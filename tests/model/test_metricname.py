"""Tests of `cadtwist.model.metricname`."""

from __future__ import annotations

import json
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.model.metricname import canonical, is_tagged, parse_name

RECORDING = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "carbon", "tag_normalisation.json")


class NameTests(unittest.SynchronousTestCase):
    def test_names_are_as_recorded(self) -> None:
        with open(RECORDING, encoding="utf-8") as file:
            results = json.load(file)["results"]
        self.assertGreater(len(results), 40)
        for result in results:
            if "error" in result:
                with self.assertRaises(ValueError) as caught:
                    canonical(result["in"])
                self.assertEqual(str(caught.exception), result["error"])
            else:
                self.assertEqual(canonical(result["in"]), result["path"])
                self.assertEqual(parse_name(result["in"]), result["tags"])

    def test_escapes_of_openmetrics_values(self) -> None:
        self.assertEqual(parse_name(r'm{a="x\\y",b="\"z\\"}'), {"name": "m", "a": "x\\y", "b": '"z\\'})
        self.assertEqual(canonical('m{b="x":,a="y"}'), "m;a=y;b=x")
        bad = (r'm{a="x\n"}', 'm{a="x":b="y"}', 'm{a="x"b="y"}', 'm{="x"}', 'm{a=x"}', 'm{a="x","}', r'm{a="x\"}')
        for text in bad:
            with self.assertRaises(ValueError):
                parse_name(text)

    def test_a_value_that_another_one_replaces_must_be_good_as_well(self) -> None:
        self.assertEqual(parse_name("m;a=x;a=y;name=z"), {"name": "m", "a": "y"})
        for text in ("m;a=~x;a=y", "m;a=;a=y", "m;name=~z", "m;name=", 'm{name="~z"}', 'm{a="~x",a="y"}'):
            with self.assertRaises(ValueError):
                parse_name(text)

    def test_tells_tagged_names(self) -> None:
        self.assertTrue(is_tagged("a;b=c"))
        self.assertFalse(is_tagged("a.b"))

    @settings(max_examples=200, deadline=None, database=None, print_blob=True)
    @given(st.text('ab;={}"\\~,!^. ', max_size=24))
    def test_a_canonical_name_stays_as_it_is(self, text: str) -> None:
        try:
            name = canonical(text)
        except ValueError:
            return
        try:
            again = canonical(name)
        except ValueError:
            self.assertIn("{", text)  # the recorded daemon keeps `;` of an OpenMetrics name unread
            return
        if "{" not in text:
            self.assertEqual(again, name)
