"""Which series have which tags: an index in memory, and the expressions by which it is asked.

An expression is `tag=value`, `tag!=value`, `tag=~regex` or `tag!=~regex`; regular expressions are anchored at the
start only.  A series that lacks a tag has it with an empty value; at least one expression must not match that.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.model.metricname import canonical, parse_name
from cadtwist.query.find import QueryError
from cadtwist.query.search import Search, compiled
from cadtwist.query.target import Call, Literal, TargetError, parse_target

__all__ = ["TagCount", "TagExpression", "TagIndex", "anchored", "parse_expression", "tag_query"]

_EXPRESSION = re.compile(r"([^;!=]+)(!?=~?)([^;]*)\Z")
_MOST_EXPRESSIONS = 100
_LEAST_WASTE = 1000
Rows = npt.NDArray[np.uint32]


class TagCount(NamedTuple):
    """A value of a tag, and how many series have it."""

    value: str
    series: int


class TagExpression(NamedTuple):
    """A test of one tag: `negated` or not, by `pattern` or, where that is None, by equality with `text`."""

    tag: str
    negated: bool
    text: str
    pattern: Search | None

    def accepts(self, value: str) -> bool:
        """Tell whether a value passes."""
        found = value == self.text if self.pattern is None else self.pattern.found(value)
        return found != self.negated


def parse_expression(text: str) -> TagExpression:
    """Read one expression; QueryError for what is none."""
    found = _EXPRESSION.match(text)
    if found is None:
        raise QueryError(f"Invalid tagspec {text}")
    tag, sign, value = found.groups()
    return TagExpression(tag, sign.startswith("!"), value, anchored(value) if sign.endswith("~") else None)


def anchored(text: str) -> Search:
    """Return a regular expression that is to be found at the start; QueryError for one that is none or too long."""
    return compiled(text if text.startswith("^") else f"^({text})")


def tag_query(text: str) -> list[str] | None:
    """Return the expressions of a call `seriesByTag("...", ...)`, None for any other text."""
    if not text.startswith("seriesByTag"):
        return None
    try:
        node = parse_target(text)
    except TargetError:
        return None
    if not isinstance(node, Call) or node.name != "seriesByTag":
        return None
    values = [argument.value if isinstance(argument, Literal) else None for argument in node.arguments]
    if any(not isinstance(value, str) for value in values):
        raise QueryError(f"seriesByTag takes expressions in quotes: {text}")
    return [str(value) for value in values]


class TagIndex:
    """Canonical names of tagged series by tag and value.

    A series has a number; each value of a tag has the rising numbers of its series.  A removed series leaves its
    number behind until a quarter of all are such.
    """

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._names: list[str] = []
        self._gone = 0
        self._tags: dict[str, dict[str, array[int]]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def names(self) -> list[str]:
        """Return all canonical names."""
        return list(self._rows)

    def add(self, path: str) -> str:
        """Take a series, in any form of its name; return the canonical one.  ValueError for a name that is none."""
        tags = parse_name(path)
        name = canonical(path)
        if name not in self._rows:
            row = self._rows[name] = len(self._names)
            self._names.append(name)
            for tag, value in tags.items():
                self._tags.setdefault(tag, {}).setdefault(value, array("I")).append(row)
        return name

    def remove(self, path: str) -> str | None:
        """Forget a series; return its canonical name if it was there."""
        try:
            name = canonical(path)
        except ValueError:
            return None
        row = self._rows.pop(name, None)
        if row is None:
            return None
        self._names[row] = ""
        self._gone += 1
        if self._gone > max(_LEAST_WASTE, len(self._names) // 4):
            self._rebuild()
        return name

    def _rebuild(self) -> None:
        names = [name for name in self._names if name]
        self.__init__()  # type: ignore[misc]
        for name in names:
            self.add(name)

    def find(self, expressions: Sequence[str]) -> list[str]:
        """Return the names that pass all expressions, sorted; QueryError."""
        return sorted(self._names[row] for row in np.flatnonzero(self._matching(expressions)).tolist())

    def _matching(self, expressions: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return a mask over the numbers of series."""
        if len(expressions) > _MOST_EXPRESSIONS:
            raise QueryError(f"More than {_MOST_EXPRESSIONS} tag expressions")
        parsed = [parse_expression(text) for text in expressions]
        if all(one.accepts("") for one in parsed):
            raise QueryError("At least one tagspec must not match the empty string")
        matching = self._alive()
        for one in parsed:
            matching &= self._mask(one)
        return matching

    def _alive(self) -> npt.NDArray[np.bool_]:
        mask = np.ones(len(self._names), bool)
        if self._gone:
            mask[[row for row, name in enumerate(self._names) if not name]] = False
        return mask

    def _mask(self, expression: TagExpression) -> npt.NDArray[np.bool_]:
        values = self._tags.get(expression.tag, {})
        empty = expression.accepts("")
        mask = np.full(len(self._names), empty)
        if expression.pattern is None:
            rows = values.get(expression.text)
            if expression.text and rows is not None:
                mask[_numbers(rows)] = not expression.negated
            elif not expression.text:
                for rows in values.values():
                    mask[_numbers(rows)] = expression.negated
            return mask
        for value, rows in values.items():
            accepted = expression.accepts(value)
            if accepted != empty:
                mask[_numbers(rows)] = accepted
        return mask

    def tags(self) -> list[str]:
        """Return all tags, sorted."""
        alive = self._alive()
        return sorted(tag for tag, values in self._tags.items() if _any_of(values.values(), alive))

    def values(self, tag: str) -> list[TagCount]:
        """Return the values of a tag and how many series have each, sorted by value; nothing for an unknown tag."""
        alive = self._alive()
        counted = [
            TagCount(value, int(np.count_nonzero(alive[_numbers(rows)])))
            for value, rows in sorted(self._tags.get(tag, {}).items())
        ]
        return [one for one in counted if one.series]

    def complete_tags(self, expressions: Sequence[str], prefix: str, limit: int) -> list[str]:
        """Return at most `limit` tags that begin with `prefix`, of series that pass, without those asked for."""
        used = {parse_expression(text).tag for text in expressions}
        mask = self._matching(expressions) if expressions else self._alive()
        found = (
            tag
            for tag in sorted(self._tags)
            if tag.startswith(prefix) and tag not in used and _any_of(self._tags[tag].values(), mask)
        )
        return list(_first(found, limit))

    def complete_values(self, expressions: Sequence[str], tag: str, prefix: str, limit: int) -> list[str]:
        """Return at most `limit` values of a tag that begin with `prefix`, of series that pass."""
        mask = self._matching([*expressions, f"{tag}!="]) if expressions else self._alive()
        values = self._tags.get(tag, {})
        found = (
            value for value in sorted(values) if value.startswith(prefix) and mask[_numbers(values[value])].any()
        )
        return list(_first(found, limit))


def _numbers(rows: array[int]) -> Rows:
    return np.frombuffer(rows, np.uint32)


def _any_of(postings: Iterable[array[int]], mask: npt.NDArray[np.bool_]) -> bool:
    return any(mask[_numbers(rows)].any() for rows in postings)


def _first(found: Iterator[str], limit: int) -> Iterator[str]:
    for _, one in zip(range(limit), found, strict=False):
        yield one
