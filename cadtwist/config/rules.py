"""The rule files of carbon: storage-schemas.conf, storage-aggregation.conf, whitelist.conf and blacklist.conf.

What carbon skips with a log line is a warning and skipped; what ends carbon is an error.  Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from math import isfinite
from typing import TypeVar

from cadtwist.config.errors import Problems
from cadtwist.config.ini import Section, read_ini
from cadtwist.model.consolidation import METHODS
from cadtwist.model.retention import AggregationRule, SchemaRule, checked_archives, parse_retention

__all__ = [
    "aggregation_rule",
    "read_aggregation",
    "read_patterns",
    "read_schemas",
    "retentions_text",
    "schema_rule",
]

Rule = TypeVar("Rule")
_SCHEMA_OPTIONS = ("pattern", "retentions", "priority")
_AGGREGATION_OPTIONS = ("pattern", "xfilesfactor", "aggregationmethod")


class _SkipError(Exception):
    """Carbon leaves this section out and goes on."""

    def __init__(self, option: str, text: str) -> None:
        super().__init__(text)
        self.option = option


class _FatalError(ValueError):
    """Carbon refuses to start with this section."""

    def __init__(self, option: str, text: str) -> None:
        super().__init__(text)
        self.option = option


def _read(
    text: str, path: str, known: tuple[str, ...], rule_of: Callable[[Section], Rule], problems: Problems
) -> tuple[Rule, ...]:
    rules = []
    for section in read_ini(text, path, problems).sections:
        _warn_unknown(section, path, known, problems)
        try:
            rules.append(rule_of(section))
        except (_SkipError, _FatalError) as fault:
            _report(fault, section, path, problems)
    return tuple(rules)


def read_schemas(text: str, path: str, problems: Problems) -> tuple[SchemaRule, ...]:
    """Read storage-schemas.conf: sections with `pattern`, `retentions` and, as go-carbon has it, `priority`."""
    return _read(text, path, _SCHEMA_OPTIONS, _schema, problems)


def read_aggregation(text: str, path: str, problems: Problems) -> tuple[AggregationRule, ...]:
    """Read storage-aggregation.conf: sections with `pattern`, `xFilesFactor` and `aggregationMethod`."""
    return _read(text, path, _AGGREGATION_OPTIONS, _aggregation, problems)


def read_patterns(text: str, path: str, problems: Problems) -> tuple[str, ...]:
    """Read a black or white list: a regular expression per line, empty lines and those beginning with # left out."""
    patterns = []
    for number, line in enumerate(text.split("\n"), 1):
        pattern = line.strip()
        if not pattern or line.startswith("#"):
            continue
        try:
            re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            problems.warning(path, number, "", f"skipped, not a regular expression: {pattern!r}: {error}")
            continue
        patterns.append(pattern)
    return tuple(patterns)


def schema_rule(name: str, pattern: str, retentions: str, priority: int = 0) -> SchemaRule:
    """Return the value of one schema; ValueError for a pattern or retentions that cannot be used."""
    archives = checked_archives(parse_retention(item) for item in retentions.split(","))
    return SchemaRule(name, _compiled(pattern), archives, priority)


def aggregation_rule(name: str, pattern: str, xff: float | None, method: str | None) -> AggregationRule:
    """Return the value of one aggregation rule; ValueError for what whisper could not keep."""
    if xff is not None and not 0 <= xff <= 1:
        raise _FatalError("xFilesFactor", f"{xff:g} is out of range, 0 to 1")
    if method is not None and method not in METHODS:
        raise _FatalError("aggregationMethod", f"unknown method {method!r}; known are {', '.join(METHODS)}")
    return AggregationRule(name, _compiled(pattern), xff, method)


def retentions_text(archives: Iterable[tuple[int, int]]) -> str:
    """Return archives as `schema_rule` reads them, without loss: `step:points,...`."""
    return ",".join(f"{step}:{points}" for step, points in archives)


def _schema(section: Section) -> SchemaRule:
    pattern = _required(section, "pattern")
    try:
        retentions = [parse_retention(item) for item in _required(section, "retentions").split(",")]
    except ValueError as error:
        raise _FatalError("retentions", str(error)) from error
    compiled = _compiled(pattern)
    try:
        archives = checked_archives(retentions)
    except ValueError as error:
        raise _SkipError("retentions", str(error)) from error
    return SchemaRule(section.name, compiled, archives, _priority(section))


def _priority(section: Section) -> int:
    entry = section.entries.get("priority")
    try:
        return int(entry.value) if entry is not None else 0
    except ValueError:
        raise _FatalError("priority", "is not a whole number") from None


def _aggregation(section: Section) -> AggregationRule:
    pattern = _required(section, "pattern")
    xff = section.entries.get("xfilesfactor")
    method = section.entries.get("aggregationmethod")
    factor = None
    if xff is not None:
        try:
            factor = float(xff.value)
        except ValueError:
            raise _SkipError("xFilesFactor", f"{xff.value!r} is not a number") from None
        if not isfinite(factor):
            raise _FatalError("xFilesFactor", f"{xff.value!r} is out of range, 0 to 1")
    return aggregation_rule(section.name, pattern, factor, method.value if method is not None else None)


def _required(section: Section, name: str) -> str:
    entry = section.entries.get(name)
    if entry is None or not entry.value:
        raise _SkipError("", f"[{section.name}] has no {name}")
    return entry.value


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise _FatalError("pattern", f"not a regular expression: {error}") from error


def _report(fault: _SkipError | _FatalError, section: Section, path: str, problems: Problems) -> None:
    entry = section.entries.get(fault.option.lower())
    line = entry.line if entry is not None else section.line
    option = f"[{section.name}] {fault.option}".strip() if fault.option else ""
    if isinstance(fault, _FatalError):
        problems.error(path, line, option, str(fault))
    else:
        problems.warning(path, line, option, f"the section is skipped: {fault}")


def _warn_unknown(section: Section, path: str, known: tuple[str, ...], problems: Problems) -> None:
    for name, entry in section.entries.items():
        if name not in known and not entry.inherited:
            problems.warning(path, entry.line, f"[{section.name}] {name}", "unknown option, not used")
