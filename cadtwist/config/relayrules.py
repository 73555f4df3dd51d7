"""The rule files of carbon's relay and aggregator: relay-rules.conf, rewrite-rules.conf and aggregation-rules.conf.

What carbon skips with a log line is a warning and skipped; what ends carbon is an error.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from cadtwist.config.carbonrow import parse_value
from cadtwist.config.errors import Problems
from cadtwist.config.ini import Section, read_ini
from cadtwist.config.relaychecks import pattern_fault
from cadtwist.config.relaymodel import RouteRule
from cadtwist.model.aggregationrules import AggregateRule, parse_rule
from cadtwist.model.rules import RewriteRule

__all__ = [
    "CarbonDestination",
    "Rewrites",
    "carbon_destination",
    "read_aggregates",
    "read_relay_rules",
    "read_rewrites",
]

_RELAY_OPTIONS = ("pattern", "destinations", "continue", "default")
_PORT_MAX = 65535


class CarbonDestination(Struct, frozen=True):
    """`host:port:instance` as carbon writes destinations; `host` is without brackets."""

    host: str
    port: int
    instance: str | None = None

    @property
    def name(self) -> str:
        """Return it as carbon writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" + ("" if self.instance is None else f":{self.instance}")


class Rewrites(Struct, frozen=True):
    """The two parts of rewrite-rules.conf: for names that come in, and for those that an aggregator makes."""

    before: tuple[RewriteRule, ...] = ()
    after: tuple[RewriteRule, ...] = ()


def carbon_destination(text: str) -> CarbonDestination:
    """Read `host:port`, `host:port:instance` or either with `[address]`; ValueError tells what is wrong."""
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        colon, rest = rest[:1], rest[1:]
        if not bracket or colon != ":":
            raise ValueError(f"{text!r} is not a destination, [address]:port or [address]:port:instance")
    else:
        host, colon, rest = text.partition(":")
    port, colon, instance = rest.partition(":")
    port = port.strip()
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:9]) <= _PORT_MAX):
        raise ValueError(f"{text!r} is not a destination, host:port or host:port:instance")
    return CarbonDestination(host, int(port), instance if colon else None)


def read_relay_rules(text: str, path: str, known: frozenset[str] | None, problems: Problems) -> tuple[RouteRule, ...]:
    """Read relay-rules.conf; the default rule comes last wherever it stands.

    `known` are the names in DESTINATIONS, others are left out of a rule, with a warning; None = any.
    """
    rules: list[RouteRule] = []
    default: RouteRule | None = None
    intended = False
    found = read_ini(text, path, problems)
    for section in found.sections:
        reader = _RelaySection(section, path, known, problems)
        rule = reader.rule()
        intended = intended or reader.is_default
        if rule is None:
            continue
        if rule.pattern is not None:
            rules.append(rule)
        elif default is None:
            default = rule
        else:
            reader.error("default", f"[{default.name}] is the default rule already")
    if default is None:
        if not intended:
            problems.error(path, 0, "", "one section with `default = true` is needed")
        return tuple(rules)
    return (*rules, default)


class _RelaySection:
    """One section of relay-rules.conf."""

    def __init__(self, section: Section, path: str, known: frozenset[str] | None, problems: Problems) -> None:
        self._section = section
        self._path = path
        self._known = known
        self._problems = problems
        self.is_default = False

    def rule(self) -> RouteRule | None:
        """Return its rule; None where it has none or, noted, cannot have one."""
        entries = self._section.entries
        for name, entry in entries.items():
            if name not in _RELAY_OPTIONS and not entry.inherited:
                self._problems.warning(self._path, entry.line, self._option(name), "unknown option, not used")
        if "destinations" not in entries:
            self.error("destinations", "is missing")
        if "pattern" in entries:
            if "default" in entries:
                self.error("default", "a section has a pattern or is the default, not both")
                return None
            pattern = entries["pattern"].value
            fault = pattern_fault(pattern, re.IGNORECASE)
            if fault is not None:
                self.error("pattern", fault)
            made = self._made(pattern, self._flag("continue"))
            return None if fault is not None else made
        if "default" not in entries:
            text = "neither pattern nor default: the section is not used"
            self._problems.warning(self._path, self._section.line, self._option(""), text)
            return None
        self.is_default = self._flag("default")
        return self._made(None, False) if self.is_default else None

    def error(self, name: str, text: str) -> None:
        """Note a fault of one of its options."""
        entry = self._section.entries.get(name)
        line = self._section.line if entry is None else entry.line
        self._problems.error(self._path, line, self._option(name), text)

    def _made(self, pattern: str | None, continues: bool) -> RouteRule | None:
        destinations = self._destinations()
        if destinations is None:
            return None
        return RouteRule(name=self._section.name, pattern=pattern, destinations=destinations, continues=continues)

    def _option(self, name: str) -> str:
        return f"[{self._section.name}] {name}".strip()

    def _flag(self, name: str) -> bool:
        entry = self._section.entries.get(name)
        if entry is None:
            return False
        try:
            return bool(parse_value("bool", entry.value))
        except ValueError as error:
            self.error(name, str(error))
            return False

    def _destinations(self) -> tuple[str, ...] | None:
        entry = self._section.entries.get("destinations")
        if entry is None:
            return None
        names: dict[str, None] = {}
        for item in parse_value("list", entry.value):
            try:
                name = carbon_destination(item).name
            except ValueError as error:
                self.error("destinations", str(error))
                return None
            if self._known is None or name in self._known:
                names[name] = None
            else:
                text = f"{name} is not in DESTINATIONS and gets nothing"
                self._problems.warning(self._path, entry.line, self._option("destinations"), text)
        if not names:
            self.error("destinations", "none of them is in DESTINATIONS")
            return None
        return tuple(names)


def read_rewrites(text: str, path: str, problems: Problems) -> Rewrites:
    """Read rewrite-rules.conf: `regex = replacement` lines below `[pre]` or `[post]`; of two such sections the last."""
    parts: dict[str, list[RewriteRule]] = {"pre": [], "post": []}
    section: str | None = None
    for number, line in _lines(text):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].lower()
            if section not in parts:
                problems.warning(path, number, line, "unknown section, not used (known are pre and post)")
            elif parts[section]:
                problems.warning(path, number, line, "takes the place of an earlier section of this name")
                parts[section] = []
            continue
        pattern, equals, replacement = (part.strip() for part in line.partition("="))
        if section is None or not equals:
            text = "regex = replacement is expected" if section is not None else "no [pre] or [post] before it"
            problems.error(path, number, "", f"{text}: {line[:80]!r}")
            continue
        fault = pattern_fault(pattern)
        rule = RewriteRule(pattern, replacement)
        if fault is not None:
            problems.warning(path, number, "", f"skipped: {fault}")
        elif rule.fault() is not None:
            problems.error(path, number, "", f"the replacement {replacement!r} is not usable: {rule.fault()}")
        elif section in parts:
            parts[section].append(rule)
    return Rewrites(tuple(parts["pre"]), tuple(parts["post"]))


def read_aggregates(text: str, path: str, problems: Problems) -> tuple[AggregateRule, ...]:
    """Read aggregation-rules.conf: `output (seconds) = method pattern` lines."""
    rules = []
    for number, line in _lines(text):
        try:
            rules.append(parse_rule(line))
        except ValueError as error:
            problems.error(path, number, "", str(error))
    return tuple(rules)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, stripped line) of what is neither empty nor a comment."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            yield number, line
