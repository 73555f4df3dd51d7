"""Native TOML: one to one with `config.model.Config`, strict, and written back by `to_toml`.

Every table of the text is a group of the Config (`[writer]`, `[cache]` ...), every key one of its values;
`[[listeners]]`, `[[schemas]]`, `[[relays]]`, `[[relays.groups]]` ... are lists.  Beside them `[files]` may name
carbon's rule files (`schemas`, `aggregation`, `whitelist`, `blacklist`, `rewrite`, `aggregate`; relative to the
configuration's folder), whose rules come behind those of the text.  An unknown key is an error with its line.  Pure.
"""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Callable, Iterable, Iterator
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Struct, ValidationError, convert
from msgspec.structs import fields, replace

from cadtwist.config.checks import faults, names_host
from cadtwist.config.errors import Problems
from cadtwist.config.model import AggregateRule, AggregationRule, Config, RewriteRule, SchemaRule, StagesConfig
from cadtwist.config.options import fault_of, struct_of, text_fault, type_name
from cadtwist.config.relayrules import Rewrites, read_aggregates, read_rewrites
from cadtwist.config.rules import (
    aggregation_rule,
    read_aggregation,
    read_patterns,
    read_schemas,
    schema_rule,
)
from cadtwist.config.tomllines import KeyPath, dotted, line_of, read_toml

__all__ = ["load_native"]

Read = Callable[[str], str]
_Parsed = TypeVar("_Parsed")
_FILES = ("schemas", "aggregation", "whitelist", "blacklist", "rewrite", "aggregate")


def load_native(text: str, path: str, read: Read, problems: Problems, instance: str = "a") -> Config:
    """Read native TOML; every fault is noted, and the Config only counts if there is none.

    `instance` names the instance where the text does not.
    """
    tree, lines = read_toml(text, path, problems)
    if tree is None:
        return Config()
    files = tree.pop("files", {})
    tree.setdefault("instance", instance)
    _keep_private(tree.get("listeners"))
    decoder = _Decoder(path, lines, problems)
    config = decoder.struct(Config, tree, ())
    if not isinstance(config, Config):
        return Config()
    for where, fault in (*_interface_faults(config), *_idle_doors(config, tree.keys()), *faults(config)):
        decoder.error(where, fault)
    if not {"cache", "relays", "istat", "dattss"} & tree.keys() and not config.storage.read_only:
        text = "there is neither [cache] nor [[relays]] nor [istat]: datapoints are received and kept nowhere"
        problems.warning(path, 0, "cache", text)
    return _Files(path, decoder, read, problems).added(config, files)


def _keep_private(doors: Any) -> None:
    """Let the pages by which operators change a relay listen on loopback only, unless told otherwise."""
    for door in doors if isinstance(doors, list) else ():
        if isinstance(door, dict) and door.get("protocol") == "ops" and door.get("transport", "tcp") == "tcp":
            door.setdefault("interface", "127.0.0.1")


def _interface_faults(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield names where addresses belong: the legacy dialects take them, and look them up when they listen."""
    for number, door in enumerate(config.listeners):
        if door.transport in ("tcp", "udp", "http") and names_host(door.interface):
            yield ("listeners", number, "interface"), f"{door.interface!r} is neither an IPv4 nor an IPv6 address"


def _idle_doors(config: Config, sections: Iterable[str]) -> Iterator[tuple[KeyPath, str]]:
    """Yield doors that would not be opened, or would swallow what comes, without any of the `sections`."""
    needs = {
        "cachequery": ("cache",),
        **dict.fromkeys(("ops", "proxyadmin"), ("relays",)),
        **dict.fromkeys(("line", "pickle", "protobuf"), ("cache", "relays")),
    }
    for number, door in enumerate(config.listeners):
        needed = needs.get(door.protocol, ())
        if needed and not set(needed) & set(sections):
            named = " or ".join({"cache": "[cache]", "relays": "[[relays]]"}[each] for each in needed)
            yield ("listeners", number), f"a listener of protocol {door.protocol} needs {named}"


class _Decoder:
    """Turns the tree that tomllib gave into the model; each fault is noted with its line."""

    def __init__(self, path: str, lines: dict[KeyPath, int], problems: Problems) -> None:
        self._path = path
        self._lines = lines
        self._problems = problems

    def error(self, path: KeyPath, text: str) -> None:
        """Note a fault of the key at `path`."""
        self._problems.error(self._path, line_of(self._lines, path), dotted(path), text)

    def struct(self, kind: type[Struct], tree: Any, path: KeyPath) -> Struct | None:
        """Return a `kind` made of the table `tree`; None where it lacks what it must have.

        A value that is noted as a fault counts as not given, so that what refers to this one is not a fault as well.
        """
        if not isinstance(tree, dict):
            self.error(path, "a table is expected")
            return None
        hints = get_type_hints(kind)
        self.unknown(tree, tuple(hints), path)
        values: dict[str, Any] = {}
        whole = True
        for field in fields(kind):
            here = (*path, field.name)
            if field.name in tree:
                value = self._value(hints[field.name], tree[field.name], here)
                whole = whole and (value is not NODEFAULT or field.default is not NODEFAULT)
                if value is not NODEFAULT:
                    values[field.name] = value
            elif field.default is NODEFAULT:
                self.error(path, f"{field.name} is missing")
                whole = False
        return kind(**values) if whole or not path else None

    def unknown(self, tree: dict[str, Any], known: tuple[str, ...], path: KeyPath) -> None:
        """Note the keys of `tree` that nobody knows."""
        for name in tree:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                self.error((*path, name), f"unknown key{hint}")

    def _value(self, hint: Any, value: Any, path: KeyPath) -> Any:
        if hint in _RULES:
            return self._rules(value, path, lambda tree, here: self._rule(tree, here, *_RULES[hint]))
        inner = struct_of(hint)
        if inner is None:
            return self._leaf(hint, value, path)
        if get_origin(hint) is tuple:
            return self._rules(value, path, lambda tree, here: self.struct(inner, tree, here))
        found = self.struct(inner, value, path)
        return NODEFAULT if found is None else found

    def _leaf(self, hint: Any, value: Any, path: KeyPath) -> Any:
        try:
            found = convert(value, hint, strict=True)
        except ValidationError:
            self.error(path, f"{value!r} does not fit, expected: {type_name(_without_none(hint))}")
            return NODEFAULT
        texts = (found,) if isinstance(found, str) else found if isinstance(found, tuple) else ()
        fault = next((fault for text in texts if isinstance(text, str) and (fault := text_fault(text))), None)
        fault = fault or fault_of(".".join(part for part in path if isinstance(part, str)), found)
        if fault is not None:
            self.error(path, fault)
            return NODEFAULT
        return found

    def _rules(self, value: Any, path: KeyPath, one: Callable[[Any, KeyPath], Any]) -> Any:
        if not isinstance(value, list):
            self.error(path, "a list of tables is expected, each begun by [[...]]")
            return NODEFAULT
        found = [one(tree, (*path, number)) for number, tree in enumerate(value)]
        return tuple(entry for entry in found if entry is not None)

    def _rule(self, tree: Any, path: KeyPath, row_kind: type[Struct], made: Callable[[Any], Any]) -> Any:
        """Return what `made` makes of a row; None for one that is noted as a fault."""
        row = self.struct(row_kind, tree, path)
        if row is None:
            return None
        try:
            return made(row)
        except ValueError as error:
            self.error(path, str(error))
            return None


class _Schema(Struct, frozen=True, kw_only=True):
    """One `[[schemas]]`."""

    name: str
    pattern: str
    retentions: str
    priority: int = 0


class _Aggregation(Struct, frozen=True, kw_only=True):
    """One `[[aggregation]]`."""

    name: str
    pattern: str
    xff: float | None = None
    method: str | None = None


class _Rewrite(Struct, frozen=True, kw_only=True):
    """One `[[stages.rewrite]]`."""

    pattern: str
    replacement: str = ""


class _Aggregate(Struct, frozen=True, kw_only=True):
    """One `[[aggregate_rules]]`."""

    output: str
    frequency: int
    method: str
    pattern: str


def _rewrite_rule(row: _Rewrite) -> RewriteRule:
    rule = RewriteRule(row.pattern, row.replacement)
    fault = rule.fault()
    if fault is not None:
        raise ValueError(f"{row.pattern!r} to {row.replacement!r} is not usable: {fault}")
    return rule


_RULES: dict[object, tuple[type[Struct], Callable[[Any], Any]]] = {
    tuple[SchemaRule, ...]: (
        _Schema, lambda row: schema_rule(row.name, row.pattern, row.retentions, row.priority),
    ),
    tuple[AggregationRule, ...]: (
        _Aggregation, lambda row: aggregation_rule(row.name, row.pattern, row.xff, row.method),
    ),
    tuple[AggregateRule, ...]: (
        _Aggregate, lambda row: AggregateRule(row.output, row.frequency, row.method, row.pattern),
    ),
    tuple[RewriteRule, ...]: (_Rewrite, _rewrite_rule),
}  # fmt: skip
"""Lists of what texts are made into: what a row of the list has, and what is made of it."""


class _Files:
    """The rule files that `[files]` names."""

    def __init__(self, path: str, decoder: _Decoder, read: Read, problems: Problems) -> None:
        self._folder = posixpath.dirname(path)
        self._decoder = decoder
        self._read = read
        self._problems = problems

    def added(self, config: Config, files: Any) -> Config:
        """Return `config` with the rules of the files behind its own."""
        if not isinstance(files, dict):
            self._decoder.error(("files",), "a table is expected")
            return config
        self._decoder.unknown(files, _FILES, ("files",))
        stages: StagesConfig = config.stages
        rewrites = self._read_rules(files, "rewrite", read_rewrites) or Rewrites()
        return replace(
            config,
            schemas=config.schemas + self._rules(files, "schemas", read_schemas),
            aggregation=config.aggregation + self._rules(files, "aggregation", read_aggregation),
            aggregate_rules=config.aggregate_rules + self._rules(files, "aggregate", read_aggregates),
            stages=replace(
                stages,
                rewrite=stages.rewrite + rewrites.before,
                post_rewrite=stages.post_rewrite + rewrites.after,
                blacklist=stages.blacklist + self._rules(files, "blacklist", read_patterns),
                whitelist=stages.whitelist + self._rules(files, "whitelist", read_patterns),
            ),
        )

    def _rules(self, files: dict[str, Any], name: str, parse: Callable[..., tuple[Any, ...]]) -> tuple[Any, ...]:
        return self._read_rules(files, name, parse) or ()

    def _read_rules(self, files: dict[str, Any], name: str, parse: Callable[..., _Parsed]) -> _Parsed | None:
        given = files.get(name)
        if given is None:
            return None
        if not isinstance(given, str) or not given:
            self._decoder.error(("files", name), "the path of a file is expected")
            return None
        path = posixpath.normpath(posixpath.join(self._folder, given))
        try:
            return parse(self._read(path), path, self._problems)
        except (OSError, ValueError) as error:
            self._decoder.error(("files", name), f"{path} cannot be read: {error}")
            return None


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        return next(part for part in get_args(hint) if part is not type(None))
    return hint
