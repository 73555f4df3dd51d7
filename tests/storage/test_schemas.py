from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.retention import AggregationRule, SchemaRule, parse_retentions
from cadtwist.storage.schemas import SchemaTable

DATA = Path(__file__).parent.parent / "data" / "carbon"


def sections(file: str) -> list[tuple[str, dict[str, str]]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DATA / file)
    return [(name, dict(parser[name])) for name in parser.sections()]


def recorded_rules() -> tuple[list[SchemaRule], list[AggregationRule]]:
    rules = []
    for name, options in sections("storage-schemas.conf"):
        try:
            archives = parse_retentions(options["retentions"])
            rules.append(SchemaRule(name, re.compile(options["pattern"]), archives))
        except (KeyError, ValueError):
            continue
    aggregations = [
        AggregationRule(
            name,
            re.compile(options["pattern"]),
            float(options["xFilesFactor"]) if "xFilesFactor" in options else None,
            options.get("aggregationMethod"),
        )
        for name, options in sections("storage-aggregation.conf")
    ]
    return rules, aggregations


class SchemaTableTests(SynchronousTestCase):
    def test_decides_as_recorded(self) -> None:
        table = SchemaTable(*recorded_rules())
        cases = json.loads((DATA / "storage_matching.json").read_text())["results"]
        for case in cases:
            decision = table.explain(case["metric"])
            self.assertEqual(decision.schema_rule, case["schema"], case)
            self.assertEqual(decision.aggregation_rule, case["aggregation"], case)
            self.assertEqual([list(archive) for archive in decision.schema.archives], case["archives"], case)
            self.assertEqual(decision.schema.xff, 0.5 if case["xff"] is None else case["xff"], case)
            self.assertEqual(decision.schema.method, case["method"] or "average", case)
            self.assertEqual(table.schema(table.decide(case["metric"])), decision.schema)
        self.assertLess(len(table), len(cases))

    def test_numbers_outlive_a_reload(self) -> None:
        rules, aggregations = recorded_rules()
        table = SchemaTable(rules, aggregations)
        before = {name: (table.decide(name), table.explain(name).schema) for name in ("foo.1sec.bar", "x", "a.count")}
        table.reload([SchemaRule("all", re.compile(""), parse_retentions("5s:1h"))], [])
        for number, schema in before.values():
            self.assertEqual(table.schema(number), schema)
        self.assertEqual(table.explain("x").schema.archives, ((5, 720),))
        table.reload(rules, aggregations)
        self.assertEqual(table.decide("foo.1sec.bar"), before["foo.1sec.bar"][0])

    def test_higher_priority_is_asked_first(self) -> None:
        low = SchemaRule("low", re.compile("a"), parse_retentions("60:10"))
        high = SchemaRule("high", re.compile("a"), parse_retentions("10:10"), priority=5)
        self.assertEqual(SchemaTable([low, high]).explain("a").schema_rule, "high")
        self.assertEqual(SchemaTable([low, low]).explain("b").schema_rule, "default")

    def test_unknown_numbers(self) -> None:
        for number in (-1, 1):
            self.assertRaises(IndexError, SchemaTable().schema, number)
