"""carbon's rule files, with what carbon itself made of the recorded ones."""

from __future__ import annotations

import json
import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.rules import (
    aggregation_rule,
    read_aggregation,
    read_patterns,
    read_schemas,
    retentions_text,
    schema_rule,
)

_DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "carbon")


def _text(name: str) -> str:
    with open(os.path.join(_DATA, name), encoding="utf-8") as file:
        return file.read()


class RecordedTests(SynchronousTestCase):
    """The files and results that carbon left."""

    def setUp(self) -> None:
        self.recorded = json.loads(_text("storage_matching.json"))
        self.problems = Problems()
        self.schemas = read_schemas(_text("storage-schemas.conf"), "s.conf", self.problems)
        self.aggregation = read_aggregation(_text("storage-aggregation.conf"), "a.conf", self.problems)

    def test_the_same_sections_are_loaded(self) -> None:
        self.assertEqual([*(rule.name for rule in self.schemas), "default"], self.recorded["loaded_schemas"])
        self.assertEqual([*(rule.name for rule in self.aggregation), "default"], self.recorded["loaded_aggregations"])

    def test_the_same_rules_match(self) -> None:
        schemas = {rule.name: rule for rule in self.schemas}
        for result in self.recorded["results"]:
            metric = result["metric"]
            first = next((rule.name for rule in self.schemas if rule.pattern.search(metric)), "default")
            self.assertEqual(first, result["schema"], metric)
            if first != "default":
                self.assertEqual([list(archive) for archive in schemas[first].archives], result["archives"], metric)
            rule = next((rule for rule in self.aggregation if rule.pattern.search(metric)), None)
            found = ("default", None, None) if rule is None else (rule.name, rule.xff, rule.method)
            self.assertEqual(found, (result["aggregation"], result["xff"], result["method"]), metric)

    def test_skipped_sections_are_told(self) -> None:
        self.assertFalse(self.problems.failed)
        self.assertEqual(
            self.problems.texts("warning"),
            [
                (
                    "s.conf:20: [invalid_div] retentions: the section is skipped: "
                    "180:3360, 300:8640: the finer precision must divide the coarser"
                ),
                "s.conf:21: the section is skipped: [noret] has no retentions",
                "s.conf:23: the section is skipped: [nopat] has no pattern",
            ],
        )


class ReadSchemasTests(SynchronousTestCase):
    def _reports(self, text: str) -> list[str]:
        problems = Problems()
        read_schemas(text, "s.conf", problems)
        return [f"{report.weight}: {report}" for report in problems.reports]

    def test_faults_that_end_carbon_are_errors(self) -> None:
        self.assertEqual(
            self._reports(
                "[a]\npattern = (\nretentions = 60:60\n[b]\npattern = b\nretentions = 1min:1d\n"
                "[c]\npattern = 5%\nretentions = 60:60\n[d]\npattern=d\nretentions=60:60\npriority=x\nretention=1\n"
            ),
            [
                (
                    "error: s.conf:2: [a] pattern: not a regular expression: "
                    "missing ), unterminated subpattern at position 0"
                ),
                "error: s.conf:6: [b] retentions: invalid unit 'min'",
                "warning: s.conf:7: the section is skipped: [c] has no pattern",
                "error: s.conf:8: pattern: a lone % is not allowed: write %%, or %(option)s for another option's value",
                "error: s.conf:13: [d] priority: is not a whole number",
                "warning: s.conf:14: [d] retention: unknown option, not used",
            ],
        )

    def test_priority_and_percent(self) -> None:
        problems = Problems()
        rules = read_schemas("[a]\nPattern: 5%%$\nRetentions: 60:60\npriority: 3\n", "", problems)
        self.assertEqual(rules, (schema_rule("a", "5%$", "60:60", 3),))
        self.assertEqual(problems.reports, [])

    def test_a_pattern_written_empty_is_none(self) -> None:
        self.assertEqual(
            self._reports("[a]\npattern =\nretentions = 60:60\n"),
            ["warning: s.conf:1: the section is skipped: [a] has no pattern"],
        )


class ReadAggregationTests(SynchronousTestCase):
    def _reports(self, text: str) -> list[str]:
        problems = Problems()
        read_aggregation(text, "a.conf", problems)
        return [f"{report.weight}: {report}" for report in problems.reports]

    def test_faults(self) -> None:
        text = "[{0}]\npattern = x\nxFilesFactor = {1}\naggregationMethod = {2}\n"
        cases = {
            "half": "warning: a.conf:3: [a] xFilesFactor: the section is skipped: 'half' is not a number",
            "1.5": "error: a.conf:3: [a] xFilesFactor: 1.5 is out of range, 0 to 1",
            "nan": "error: a.conf:3: [a] xFilesFactor: 'nan' is out of range, 0 to 1",
        }
        for factor, expected in cases.items():
            self.assertEqual(self._reports(text.format("a", factor, "sum")), [expected])
        self.assertEqual(
            self._reports(text.format("a", "0.5", "median")),
            [
                (
                    "error: a.conf:4: [a] aggregationMethod: unknown method 'median'; "
                    "known are average, sum, last, max, min, avg_zero, absmax, absmin"
                )
            ],
        )

    def test_values_are_optional(self) -> None:
        rules = read_aggregation("[a]\npattern = x\n", "", Problems())
        self.assertEqual(rules, (aggregation_rule("a", "x", None, None),))


class ReadPatternsTests(SynchronousTestCase):
    def test_skips_comments_blanks_and_bad_expressions(self) -> None:
        problems = Problems()
        patterns = read_patterns("# no\n\n  ^a \r\n(\n #kept\n", "w.conf", problems)
        self.assertEqual(patterns, ("^a", "#kept"))
        self.assertEqual(
            problems.texts("warning"),
            ["w.conf:4: skipped, not a regular expression: '(': missing ), unterminated subpattern at position 0"],
        )


class ValueTests(SynchronousTestCase):
    def test_retentions_text_reads_back(self) -> None:
        rule = schema_rule("a", "x", "10s:6h,1m:7d")
        self.assertEqual(retentions_text(rule.archives), "10:2160,60:10080")
        self.assertEqual(schema_rule("a", "x", retentions_text(rule.archives)), rule)
