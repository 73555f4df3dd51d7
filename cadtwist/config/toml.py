"""Writes a Config as native TOML that `config.native` reads back as the same Config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

from cadtwist.config.accumulatormodel import AccumulatorConfig
from cadtwist.config.model import AggregateRule, AggregationRule, Config, Listener, RewriteRule, SchemaRule
from cadtwist.config.relaymodel import DestinationConfig, GroupConfig, RelayConfig
from cadtwist.config.rules import retentions_text

__all__ = ["to_toml", "toml_value"]

_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_ALWAYS: dict[type, tuple[str, ...]] = {
    Listener: ("protocol", "transport", "interface"),
    RelayConfig: ("name",),
    GroupConfig: ("method",),
    DestinationConfig: ("transport",),
    AccumulatorConfig: ("input_format", "output_format"),
}
"""What is written within lists though it has its default."""


def to_toml(config: Config) -> str:
    """Return the whole of `config` as text, defaults included but within lists; what is None is left out."""
    scalars: list[str] = []
    tables: list[str] = []
    for name, value in _items(config):
        if isinstance(value, Struct):
            tables.append("\n".join(_table(f"[{name}]", name, dict(_items(value)), False)))
        elif isinstance(value, tuple):
            tables.extend("\n".join(_table(f"[[{name}]]", name, _row(entry), True)) for entry in value)
        else:
            scalars.append(f"{name} = {toml_value(value)}")
    return "\n\n".join(("\n".join(scalars), *tables)) + "\n"


def _table(header: str, path: str, values: dict[str, Any], brief: bool) -> Iterator[str]:
    """Yield the lines of one table and of those within; `brief`: what those have by default is left out."""
    yield header
    inner: list[tuple[str, str, dict[str, Any], bool]] = []
    for name, entry in values.items():
        deeper = f"{path}.{name}"
        if isinstance(entry, Struct):
            inner.append((f"[{deeper}]", deeper, _row(entry) if brief else dict(_items(entry)), brief))
        elif isinstance(entry, tuple) and entry and not isinstance(entry[0], (str, int, float, tuple)):
            inner.extend((f"[[{deeper}]]", deeper, _row(one), True) for one in entry)
        else:
            yield f"{name} = {toml_value(entry)}"
    for table in inner:
        yield from _table(*table)


def _items(value: Struct) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        entry = getattr(value, field.name)
        if entry is not None:
            yield field.name, entry


def _row(entry: Any) -> dict[str, Any]:
    """Return what one entry of a list is written as."""
    if isinstance(entry, SchemaRule):
        row: dict[str, Any] = {"name": entry.name, "pattern": entry.pattern.pattern}
        row["retentions"] = retentions_text(entry.archives)
        return {**row, "priority": entry.priority} if entry.priority else row
    if isinstance(entry, AggregationRule):
        row = {"name": entry.name, "pattern": entry.pattern.pattern, "xff": entry.xff, "method": entry.method}
        return {name: value for name, value in row.items() if value is not None}
    if isinstance(entry, AggregateRule):
        return {name: getattr(entry, name) for name in ("output", "frequency", "method", "pattern")}
    if isinstance(entry, RewriteRule):
        return {"pattern": entry.pattern, "replacement": entry.replacement}
    shown = ((field.name, getattr(entry, field.name), field.default) for field in fields(entry))
    return {name: value for name, value, default in shown if name in _ALWAYS.get(type(entry), ()) or value != default}


def toml_value(value: Any) -> str:
    """Return one plain value or list as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    return "[" + ", ".join(toml_value(entry) for entry in value) + "]"


def _string(text: str) -> str:
    if "\\" in text and "'" not in text and text.isprintable():
        return f"'{text}'"
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    return f"\\u{ord(character):04x}" if ord(character) < 0x20 or ord(character) == 0x7F else character
