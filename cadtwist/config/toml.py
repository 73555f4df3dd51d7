"""Writes a Config as native TOML that `config.native` reads back as the same Config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

from cadtwist.config.model import AggregationRule, Config, SchemaRule
from cadtwist.config.rules import retentions_text

__all__ = ["to_toml", "toml_value"]

_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_ALWAYS = ("protocol", "transport", "interface")


def to_toml(config: Config) -> str:
    """Return the whole of `config` as text, defaults included but for listeners; what is None is left out."""
    scalars: list[str] = []
    tables: list[str] = []
    for name, value in _items(config):
        if isinstance(value, Struct):
            tables.append("\n".join(_table(f"[{name}]", name, value)))
        elif isinstance(value, tuple):
            tables.extend("\n".join(_table(f"[[{name}]]", name, _row(entry))) for entry in value)
        else:
            scalars.append(f"{name} = {toml_value(value)}")
    return "\n\n".join(("\n".join(scalars), *tables)) + "\n"


def _table(header: str, path: str, value: Struct | dict[str, Any]) -> Iterator[str]:
    yield header
    inner: list[tuple[str, Struct]] = []
    for name, entry in value.items() if isinstance(value, dict) else _items(value):
        if isinstance(entry, Struct):
            inner.append((f"{path}.{name}", entry))
        else:
            yield f"{name} = {toml_value(entry)}"
    for deeper, entry in inner:
        yield from _table(f"[{deeper}]", deeper, entry)


def _items(value: Struct) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        entry = getattr(value, field.name)
        if entry is not None:
            yield field.name, entry


def _row(entry: Any) -> dict[str, Any]:
    if isinstance(entry, SchemaRule):
        row: dict[str, Any] = {"name": entry.name, "pattern": entry.pattern.pattern}
        row["retentions"] = retentions_text(entry.archives)
        return {**row, "priority": entry.priority} if entry.priority else row
    if isinstance(entry, AggregationRule):
        row = {"name": entry.name, "pattern": entry.pattern.pattern, "xff": entry.xff, "method": entry.method}
        return {name: value for name, value in row.items() if value is not None}
    shown = ((field.name, getattr(entry, field.name), field.default) for field in fields(entry))
    return {name: value for name, value, default in shown if name in _ALWAYS or value != default}


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
