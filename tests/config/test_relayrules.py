"""The rule files of relays and aggregators, against what carbon made of recorded ones; faults are in data/carbon."""

from __future__ import annotations

import json
import os
import re

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.relaymodel import RouteRule
from cadtwist.config.relayrules import (
    CarbonDestination,
    carbon_destination,
    read_aggregates,
    read_relay_rules,
    read_rewrites,
)

_DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "carbon")


def _text(name: str) -> str:
    with open(os.path.join(_DATA, name), encoding="utf-8") as file:
        return file.read()


class DestinationTests(SynchronousTestCase):
    def test_forms(self) -> None:
        for text, expected in {
            "h:1": CarbonDestination("h", 1),
            " h:1:a:b ": CarbonDestination("h", 1, "a:b"),
            "h:1:": CarbonDestination("h", 1, ""),
            "[::1]:65535": CarbonDestination("::1", 65535),
            "[::1]:1:x": CarbonDestination("::1", 1, "x"),
        }.items():
            self.assertEqual(carbon_destination(text), expected)
            self.assertEqual(expected.name, text.strip())

    def test_what_is_none(self) -> None:
        for text in ("", "h", ":1", "h:", "h:x", "h:0", "h:65536", "h:99999999999", "[::1]", "[::1", "[::1]1", "h:²"):
            self.assertRaises(ValueError, carbon_destination, text)


class RelayRulesTests(SynchronousTestCase):
    def test_the_default_comes_last_and_others_keep_their_order(self) -> None:
        text = (
            "[first]\ndefault = true\ndestinations = h:1, h:2\n"
            "[second]\npattern = ^B\ndestinations = h:2\ncontinue = true\n"
            "[third]\npattern = c\ndestinations = h:1\n"
        )
        problems = Problems()
        rules = read_relay_rules(text, "r", frozenset(("h:1", "h:2")), problems)
        self.assertEqual(problems.reports, [])
        self.assertEqual(
            rules,
            (
                RouteRule(name="second", pattern="^B", destinations=("h:2",), continues=True),
                RouteRule(name="third", pattern="c", destinations=("h:1",)),
                RouteRule(name="first", destinations=("h:1", "h:2")),
            ),
        )

    def test_an_empty_file_lacks_its_default(self) -> None:
        problems = Problems()
        self.assertEqual(read_relay_rules("", "r", frozenset(), problems), ())
        self.assertEqual(problems.texts("error"), ["r: one section with `default = true` is needed"])

    def test_a_default_without_a_destination_is_one_fault(self) -> None:
        problems = Problems()
        read_relay_rules("[a]\ndefault = true\ndestinations = h:1:a\n", "r", frozenset(("h:1",)), problems)
        self.assertEqual(problems.texts("error"), ["r:3: [a] destinations: none of them is in DESTINATIONS"])


    def test_sections_that_are_not_used_may_name_anybody(self) -> None:
        """But they name somebody, as carbon wants it."""
        problems = Problems()
        rule = "[a]\ndefault = true\ndestinations = h:1\n"
        more = "[b]\ndefault = false\ndestinations = other:1\n[c]\ndestinations = other:1\n"
        self.assertEqual(len(read_relay_rules(rule + more, "r", frozenset(("h:1",)), problems)), 1)
        self.assertEqual(problems.texts("error"), [])
        read_relay_rules(rule + "[b]\ndefault = false\n", "r", frozenset(("h:1",)), problems)
        self.assertEqual(problems.texts("error"), ["r:4: [b] destinations: is missing"])


class RewritesTests(SynchronousTestCase):
    def test_of_two_sections_of_one_name_the_last_counts(self) -> None:
        problems = Problems()
        rewrites = read_rewrites("[pre]\na = b\n[post]\nc = d\n[PRE]\ne = f\n[post]\n", "r", problems)
        self.assertEqual([rule.pattern for rule in rewrites.before], ["e"])
        self.assertEqual(rewrites.after, ())
        self.assertEqual(
            problems.texts("warning"),
            [f"r:{line}: {name}: takes the place of an earlier section of this name" for line, name in
             ((5, "[PRE]"), (7, "[post]"))],
        )  # fmt: skip

    def test_carbons_file_gives_carbons_results(self) -> None:
        problems = Problems()
        rewrites = read_rewrites(_text("rewrite-rules.conf"), "r", problems)
        self.assertEqual(len(problems.reports), 1)
        results = json.loads(_text("rewrite_results.json"))["results"]
        self.assertTrue(results)
        for result in results:
            for part, rules in (("pre", rewrites.before), ("post", rewrites.after)):
                name = result["in"]
                for rule in rules:
                    name = re.sub(rule.pattern, rule.replacement, name)
                self.assertEqual(name, result[part], result)


class AggregatesTests(SynchronousTestCase):
    def test_carbons_file(self) -> None:
        problems = Problems()
        rules = read_aggregates(_text("aggregation-rules.conf"), "r", problems)
        self.assertEqual(problems.reports, [])
        lines = [line for line in _text("aggregation-rules.conf").split("\n") if line and not line.startswith("#")]
        self.assertEqual([f"{rule.output} ({rule.frequency}) = {rule.method} {rule.pattern}" for rule in rules], lines)
