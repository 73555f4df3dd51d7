"""Cadent's PreReg file: filters that sit before a section, and accumulators.  Text in, values out.  Pure."""

from __future__ import annotations

from msgspec import Struct

from cadtwist.config.accumulatormodel import AccumulatorConfig
from cadtwist.config.cadentaccumulator import read_accumulator
from cadtwist.config.errors import Problems
from cadtwist.config.relaymodel import FilterRule
from cadtwist.config.tomllines import read_toml
from cadtwist.config.tree import Source, Table

__all__ = ["PreRegs", "Sections", "read_prereg"]

_KINDS = ("regex", "prefix", "substring", "noop")


class Sections(Struct, frozen=True):
    """The sections of the main file: what their lines are, by name, and the names of those that have a listener."""

    formats: dict[str, str]
    listening: tuple[str, ...]


class Front(Struct, frozen=True):
    """What sits before a section: filters, and the section of what they do not decide (empty = this one)."""

    filters: tuple[FilterRule, ...]
    default_relay: str


class PreRegs(Struct, frozen=True):
    """The whole file: fronts by the section they sit before, and accumulators."""

    fronts: dict[str, Front]
    accumulators: tuple[AccumulatorConfig, ...]


def read_prereg(text: str, path: str, sections: Sections, problems: Problems) -> PreRegs:
    """Read a PreReg file; every fault is noted."""
    tree, lines = read_toml(text, path, problems)
    source = Source(path, lines, problems)
    fronts: dict[str, Front] = {}
    accumulators: dict[str, AccumulatorConfig] = {}
    for name, value in (tree or {}).items():
        if not isinstance(value, dict):
            source.error((name,), "a table is expected")
            continue
        table = Table(source, value, (name,))
        reader = _PreReg(source, name, table, sections)
        front, accumulator = reader.front(), reader.accumulator()
        table.note_unknown()
        listen = reader.listen_server
        if listen in fronts:
            source.warning((name, "listen_server"), f"{listen!r} has another one already: this one replaces it")
        if listen:
            fronts[listen] = front
            accumulators.pop(listen, None)
        if listen and accumulator is not None:
            accumulators[listen] = accumulator
    return PreRegs(fronts, tuple(accumulators.values()))


class _PreReg:
    """One table of the file."""

    def __init__(self, source: Source, name: str, table: Table, sections: Sections) -> None:
        self._source = source
        self._name = name
        self._table = table
        self._sections = sections
        self._accumulator = table.table("accumulator")
        self.listen_server = self._listening()
        self._default = self._section("default_backend")

    def front(self) -> Front:
        """Return its filters and its default section, which with an accumulator is for what accumulators make."""
        table = self._table
        maps = table.tables("map")
        if not maps and self._accumulator is None:
            self._source.warning(table.path, "neither [[map]] nor accumulator: nothing is decided here")
        filters = tuple(rule for rule in map(self._filter, maps) if rule is not None)
        return Front(filters, self._default if self._default != self.listen_server else "")

    def accumulator(self) -> AccumulatorConfig | None:
        """Return its accumulator."""
        if self._accumulator is None:
            return None
        return read_accumulator(self._accumulator, self._name, self.listen_server, self._sections.formats)

    def _listening(self) -> str:
        name = self._table.text("listen_server")
        if not name:
            self._source.error(self._table.path, "listen_server is missing")
        elif name not in self._sections.formats:
            self._table.error("listen_server", f"there is no section {name!r}")
        elif name not in self._sections.listening:
            self._table.error("listen_server", f"{name!r} has no listener: there is nothing to sit before")
        else:
            return name
        return ""

    def _section(self, key: str) -> str:
        name = self._table.text(key)
        if not name:
            self._source.error(self._table.path, f"{key} is missing")
        elif name not in self._sections.formats:
            self._table.error(key, f"there is no section {name!r}")
        return name

    def _filter(self, table: Table) -> FilterRule | None:
        given = [kind for kind in _KINDS if kind in table]
        if len([kind for kind in given if kind != "noop"]) > 1:
            self._source.error(table.path, f"only one is possible: {', '.join(given)}")
            return None
        if not given:
            self._source.error(table.path, f"one of {', '.join(_KINDS)} is missing")
            return None
        kind = given[0]
        pattern = "" if kind == "noop" else table.regex(kind) if kind == "regex" else table.text(kind)
        table.ask("noop")
        backend = table.text("backend")
        rejects = table.flag("reject")
        table.note_unknown()
        if backend and backend not in self._sections.formats:
            table.error("backend", f"there is no section {backend!r}")
            return None
        if kind != "noop" and not pattern:
            if table.ask(kind) == "":
                table.error(kind, "is empty")
            return None
        if kind == "noop":
            return self._made("noop", "", False, backend)
        if kind == "regex":
            return self._made("regex", pattern, rejects, backend)
        return self._made("prefix" if kind == "prefix" else "substring", pattern, rejects, backend)

    def _made(self, kind: str, pattern: str, rejects: bool, backend: str) -> FilterRule:
        if rejects:
            return FilterRule(kind=kind, pattern=pattern, action="reject")  # type: ignore[arg-type]
        to = backend or self._default
        if to in ("", self.listen_server):
            return FilterRule(kind=kind, pattern=pattern)  # type: ignore[arg-type]
        return FilterRule(kind=kind, pattern=pattern, action="redirect", relay=to)  # type: ignore[arg-type]
