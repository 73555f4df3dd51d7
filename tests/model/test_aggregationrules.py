"""Tests of `cadtwist.model.aggregationrules`."""

from __future__ import annotations

import json
import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.model.aggregationrules import AGGREGATE_METHODS, AggregateRule, input_regex, outputs, parse_rule

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "carbon")


def read_rules() -> list[AggregateRule]:
    with open(os.path.join(DATA, "aggregation-rules.conf"), encoding="utf-8") as file:
        return [parse_rule(line) for line in file if line.strip() and not line.startswith("#")]


class RecordedTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        with open(os.path.join(DATA, "aggregation_rules_results.json"), encoding="utf-8") as file:
            self.recorded = json.load(file)
        self.rules = read_rules()

    def test_rules(self) -> None:
        self.assertEqual(len(self.rules), len(self.recorded["rules"]))
        for rule, wanted in zip(self.rules, self.recorded["rules"], strict=True):
            self.assertEqual(
                (rule.pattern, rule.output, rule.method, rule.frequency, rule.regex.pattern),
                (
                    wanted["input_pattern"],
                    wanted["output_pattern"],
                    wanted["method"],
                    wanted["frequency"],
                    wanted["regex"],
                ),
            )

    def test_results(self) -> None:
        self.assertEqual(len(self.recorded["results"]), 65)
        for result in self.recorded["results"]:
            found = [rule.output_of(result["metric"]) for rule in self.rules]
            self.assertEqual(found, result["aggregates"], result["metric"])
            wanted = dict.fromkeys(name for name in result["aggregates"] if name is not None)
            self.assertEqual(outputs(self.rules, result["metric"]), tuple(wanted))


class PatternTests(unittest.SynchronousTestCase):
    def test_parts(self) -> None:
        for pattern, regex in (
            ("*", "[^.]+$"),
            ("a*b*", "a[^.]*b[^.]*$"),
            ("**", "[^.]*[^.]*$"),
            ("a.*.c", r"a\.[^.]+\.c$"),
            ("x<f>*", "x(?P<f>[^.]+?)*$"),
            ("<<f>>.<g>", r"(?P<f>.+?)\.(?P<g>[^.]+?)$"),
            ("<a><b>", "(?P<a>[^.]+?)<b>$"),
            (">a<", ">a<$"),
            ("[0-9].(x|y)", r"[0-9]\.(x|y)$"),
        ):
            self.assertEqual(input_regex(pattern), regex, pattern)

    def test_matches_from_the_beginning_to_the_end(self) -> None:
        rule = parse_rule("out.<x> (5) = sum a.<x>")
        self.assertEqual(
            (rule.output_of("a.b"), rule.output_of("za.b"), rule.output_of("a.b.c")), ("out.b", None, None)
        )

    def test_a_percent_sign_means_itself(self) -> None:
        self.assertEqual(parse_rule("100%.<x> (5) = sum a.<x>").output_of("a.b"), "100%.b")

    def test_a_field_that_took_no_part_is_none(self) -> None:
        rule = parse_rule("o.<y>.x (5) = sum a(<y>)?c")
        self.assertEqual((rule.output_of("abc"), rule.output_of("ac")), ("o.b.x", "o.None.x"))

    def test_tags_are_plain_text(self) -> None:
        self.assertEqual(parse_rule("all.<x> (1) = sum m.<x>").output_of("m.a;b=c"), "all.a;b=c")

    def test_each_output_once_in_the_order_of_the_rules(self) -> None:
        rules = [
            parse_rule(f"{output} (1) = sum {pattern}")
            for output, pattern in (("z", "a.*"), ("y", "*.b"), ("z", "a.b"))
        ]
        self.assertEqual((outputs(rules, "a.b"), outputs(rules, "q.q")), (("z", "y"), ()))


class ParseTests(unittest.SynchronousTestCase):
    def test_values(self) -> None:
        rule = parse_rule("  <a>.all   ( 60 ) = sum <a>.* ".replace("( 60 )", "(60)"))
        self.assertEqual(rule, AggregateRule("<a>.all", 60, "sum", "<a>.*"))
        self.assertEqual(hash(rule), hash(parse_rule("<a>.all 60 = sum <a>.*")))
        for method in AGGREGATE_METHODS:
            self.assertEqual(parse_rule(f"o (1) = {method} i").method, method)

    def test_faults(self) -> None:
        for line, told in (
            ("", "there is no '='"),
            ("a (60) sum b", "there is no '='"),
            ("a = sum b", "'a' is not an output"),
            ("a b (60) = sum c", "is not an output"),
            ("a (60) = sum", "'sum' is not a method"),
            ("a (60) = sum b c", "is not a method"),
            ("a (60s) = sum b", "'(60s)' is not a whole number"),
            ("a (1.5) = sum b", "not a whole number"),
            ("a () = sum b", "not a whole number"),
            ("<<x>> (60) = sum <<x>>", "a < or > in the output '<<x>>' is part of no <field>"),
            ("a.> (60) = sum b", "part of no <field>"),
            ("a (0) = sum b", "at least 1"),
            ("a (-60) = sum b", "at least 1"),
            ("a (60) = median b", "unknown method 'median'; known are sum, avg"),
            ("a (60) = sum (b", "not a usable pattern"),
            ("a (60) = sum <x>.<x>", "not a usable pattern"),
            ("a (60) = sum <1x>", "not a usable pattern"),
            ("a.<y> (60) = sum <x>", "field <y> is not in the pattern"),
        ):
            error = self.assertRaises(ValueError, parse_rule, line)
            self.assertIn(told, str(error), line)

    @settings(max_examples=300, deadline=None, database=None, print_blob=True)
    @given(st.text("ab.*<>=()[]\\ 60sum%", max_size=40))
    def test_any_text_is_a_rule_or_a_clear_fault(self, line: str) -> None:
        try:
            rule = parse_rule(line)
        except ValueError as error:
            self.assertTrue(str(error))
        else:
            self.assertIsInstance(rule.output_of("a.b") or "", str)
