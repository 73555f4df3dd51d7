r"""The rules of carbon's aggregator: which metrics are aggregated, under which name, how and how often.  Pure.

One rule a line: `output (seconds) = method input`.  The input pattern is a regular expression in which each dotted
part may be more:

| A part | stands for |
|---|---|
| with `<<field>>` | what is around it, and one or more characters of any kind, kept as `field` |
| with `<field>` | what is around it, and one or more characters but dots, kept as `field`; only the first of a part |
| `*` alone | one or more characters but dots |
| else | itself, where each `*` is any number of characters but dots |

A pattern matches from the beginning of a name to its end.  `<field>` in the output is replaced by what was kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["AGGREGATE_METHODS", "AggregateRule", "input_regex", "outputs", "parse_rule"]

AGGREGATE_METHODS = ("sum", "avg", "min", "max", "count", "p50", "p75", "p80", "p90", "p95", "p99", "p999")
"""How the values of an interval become one."""

_OUTPUT_FIELD = re.compile(r"<([^<>]*)>")


@dataclass(frozen=True)
class AggregateRule:
    """Names that match `pattern` feed the metric `output`, which `method` computes every `frequency` seconds.

    ValueError for an unknown method, a frequency below 1, a pattern that makes no regular expression, an output field
    that the pattern does not keep, or a `<` or `>` of no field.
    """

    output: str
    frequency: int
    method: str
    pattern: str
    regex: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _pieces: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.method not in AGGREGATE_METHODS:
            raise ValueError(f"unknown method {self.method!r}; known are {', '.join(AGGREGATE_METHODS)}")
        if self.frequency < 1:
            raise ValueError(f"the frequency is {self.frequency}; at least 1 second is needed")
        try:
            regex = re.compile(input_regex(self.pattern))
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a usable pattern: {self.pattern!r}: {error}") from error
        pieces = tuple(_OUTPUT_FIELD.split(self.output))
        if any(mark in piece for piece in pieces[0::2] for mark in "<>"):
            raise ValueError(f"a < or > in the output {self.output!r} is part of no <field>")
        for name in pieces[1::2]:
            if name not in regex.groupindex:
                raise ValueError(f"the output's field <{name}> is not in the pattern {self.pattern!r}")
        object.__setattr__(self, "regex", regex)
        object.__setattr__(self, "_pieces", pieces)

    def output_of(self, name: str) -> str | None:
        """Return the aggregate that `name` feeds; None when the rule is not about it.

        A field that took no part in the match is the word None, as in carbon.
        """
        match = self.regex.match(name)
        if match is None:
            return None
        pieces = list(self._pieces)
        for number in range(1, len(pieces), 2):
            pieces[number] = str(match[pieces[number]])
        return "".join(pieces)


def outputs(rules: Iterable[AggregateRule], name: str) -> tuple[str, ...]:
    """Return the aggregates that `name` feeds by any of the rules, each once, in the order of the rules."""
    found = (rule.output_of(name) for rule in rules)
    return tuple(dict.fromkeys(each for each in found if each is not None))


def parse_rule(line: str) -> AggregateRule:
    """Return the rule of a line that is neither empty nor a comment; ValueError tells what is wrong with it."""
    left, equals, right = line.partition("=")
    if not equals:
        raise ValueError("there is no '=': output (seconds) = method pattern")
    target, source = left.split(), right.split()
    if len(target) != 2:
        raise ValueError(f"{left.strip()!r} is not an output and its frequency: output (seconds) = method pattern")
    if len(source) != 2:
        raise ValueError(f"{right.strip()!r} is not a method and a pattern: output (seconds) = method pattern")
    (output, frequency), (method, pattern) = target, source
    try:
        seconds = int(frequency.lstrip("(").rstrip(")"))
    except ValueError:
        raise ValueError(f"the frequency {frequency!r} is not a whole number of seconds") from None
    return AggregateRule(output, seconds, method, pattern)


def input_regex(pattern: str) -> str:
    """Return the regular expression that an input pattern stands for."""
    return r"\.".join(_part_regex(part) for part in pattern.split(".")) + "$"


def _part_regex(part: str) -> str:
    for opening, closing, stands_for in (("<<", ">>", ".+?"), ("<", ">", "[^.]+?")):
        start, end = part.find(opening), part.find(closing)
        if start != -1 and end > start:
            name = part[start + len(opening) : end]
            return f"{part[:start]}(?P<{name}>{stands_for}){part[end + len(closing) :]}"
    return "[^.]+" if part == "*" else part.replace("*", "[^.]*")
