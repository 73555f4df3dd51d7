"""Which retention and consolidation a metric's file gets: decided by name, once, as a small number.

Pure: rules come parsed from the configuration, nothing is read here.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        self._rules = tuple(sorted(rules, key=lambda rule: -rule.priority))
        self._aggregations = tuple(aggregations)
        self._number(Schema(DEFAULT_ARCHIVES, DEFAULT_XFF, DEFAULT_METHOD))

    def decide(self, name: str) -> int:
        """Return the schema number of a metric name."""
        return self.explain(name).number

    def explain(self, name: str) -> Decision:
        """Return what `decide` decides, with the names of the rules that did."""
        archives, schema_rule = DEFAULT_ARCHIVES, "default"
        for rule in self._rules:
            if rule.pattern.search(name):
                archives, schema_rule = rule.archives, rule.name
                break
        xff, method, aggregation_rule = DEFAULT_XFF, DEFAULT_METHOD, "default"
        for aggregation in self._aggregations:
            if aggregation.pattern.search(name):
                xff = DEFAULT_XFF if aggregation.xff is None else aggregation.xff
                method = aggregation.method or DEFAULT_METHOD
                aggregation_rule = aggregation.name
                break
        schema = Schema(archives, xff, method)
        return Decision(self._number(schema), schema, schema_rule, aggregation_rule)

    def schema(self, number: int) -> Schema:
        """Return the Schema of a number; IndexError for one never given.  Any thread."""
        if number < 0:
            raise IndexError(number)
        return self._schemas[number]

    def _number(self, schema: Schema) -> int:
        found = self._numbers.get(schema)
        if found is None:
            found = len(self._schemas)
            self._schemas.append(schema)
            self._numbers[schema] = found
        return found
