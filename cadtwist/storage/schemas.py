"""Which retention and consolidation a metric's file gets: decided by name, once, as a small number.

Pure: rules come parsed from the configuration, nothing is read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cadtwist.model.consolidation import DEFAULT_METHOD, DEFAULT_XFF
from cadtwist.model.retention import DEFAULT_ARCHIVES, AggregationRule, Archive, SchemaRule

__all__ = ["Decision", "Schema", "SchemaTable"]


class Schema(NamedTuple):
    """How a file is made: archives ordered by precision, share of known points asked for, method by name."""

    archives: tuple[Archive, ...]
    xff: float
    method: str


class Decision(NamedTuple):
    """What was decided for a name, and by which rules (`default` where none matched)."""

    number: int
    schema: Schema
    schema_rule: str
    aggregation_rule: str


_NO_RULE = SchemaRule("default", re.compile(""), DEFAULT_ARCHIVES)
_NO_AGGREGATION = AggregationRule("default", re.compile(""), None, None)


def _first_match(searches: tuple[Callable[[str], object], ...], name: str) -> int:
    """Return the position of the first pattern found in a name, -1 if there is none."""
    for number, search in enumerate(searches):
        if search(name):
            return number
    return -1


class SchemaTable:
    """storage-schemas and storage-aggregation rules, asked in order (higher priority first); the first match counts.

    Invariant: a number once given means the same Schema for ever; a reload only adds.  So numbers kept elsewhere
    stay valid, and writer threads may read while the reactor thread reloads.
    """

    def __init__(self, rules: Sequence[SchemaRule] = (), aggregations: Sequence[AggregationRule] = ()) -> None:
        self._schemas: list[Schema] = []
        self._numbers: dict[Schema, int] = {}
        self.reload(rules, aggregations)

    def __len__(self) -> int:
        return len(self._schemas)

    def reload(self, rules: Sequence[SchemaRule], aggregations: Sequence[AggregationRule]) -> None:
        """Decide by these rules from now on.  Whoever keeps decisions by name has to ask again."""
        rules = sorted(rules, key=lambda rule: -rule.priority)
        self._rules = (*rules, _NO_RULE)
        self._aggregations = (*aggregations, _NO_AGGREGATION)
        self._rule_searches = tuple(rule.pattern.search for rule in rules)
        self._aggregation_searches = tuple(rule.pattern.search for rule in aggregations)
        self._pairs: dict[tuple[int, int], int] = {}
        self._decide_pair((-1, -1))

    def decide(self, name: str) -> int:
        """Return the schema number of a metric name."""
        pair = _first_match(self._rule_searches, name), _first_match(self._aggregation_searches, name)
        found = self._pairs.get(pair)
        return self._decide_pair(pair) if found is None else found

    def explain(self, name: str) -> Decision:
        """Return what `decide` decides, with the names of the rules that did."""
        number = self.decide(name)
        rule = self._rules[_first_match(self._rule_searches, name)]
        aggregation = self._aggregations[_first_match(self._aggregation_searches, name)]
        return Decision(number, self._schemas[number], rule.name, aggregation.name)

    def schema(self, number: int) -> Schema:
        """Return the Schema of a number; IndexError for one never given.  Any thread."""
        if number < 0:
            raise IndexError(number)
        return self._schemas[number]

    def _decide_pair(self, pair: tuple[int, int]) -> int:
        rule, aggregation = self._rules[pair[0]], self._aggregations[pair[1]]
        xff = DEFAULT_XFF if aggregation.xff is None else aggregation.xff
        schema = Schema(rule.archives, xff, aggregation.method or DEFAULT_METHOD)
        found = self._numbers.get(schema)
        if found is None:
            found = len(self._schemas)
            self._schemas.append(schema)
            self._numbers[schema] = found
        self._pairs[pair] = found
        return found
