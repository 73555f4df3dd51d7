"""INI text as carbon's configuration files are read, with the line of every option kept.

The grammar is that of the standard library's `configparser.ConfigParser` in its default form:

* options are case-insensitive and separated from their value by `=` or `:`;
* `#` and `;` begin a comment only as the first character of a line (indented or not);
* a line that is indented deeper than its option continues the value, joined by LF;
* `%(name)s` is replaced by another option of the section or of `[DEFAULT]`, `%%` is a percent sign, any other `%`
  is an error;
* `[DEFAULT]` is inherited by all sections; a second section or option of the same name is an error.

Where that parser stops at its first error, this one notes it and goes on.  Pure: text in, values out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from msgspec import Struct

from cadtwist.config.errors import Problems

__all__ = ["Entry", "IniFile", "Section", "read_ini"]

_HEADER = re.compile(r"\[(.+)\]")
_OPTION = re.compile(r"(.*?)\s*[=:]\s*(.*)$")
_REFERENCE = re.compile(r"%\(([^)]+)\)s")
_MAX_DEPTH = 10
_MAX_VALUE_CHARACTERS = 1 << 20


class Entry(Struct, frozen=True):
    """One option: its value after interpolation, the line it begins on, and whether `[DEFAULT]` gave it."""

    value: str
    line: int
    inherited: bool = False


class Section(Struct, frozen=True):
    """One section with its options in file order, by lower-case name; those of `[DEFAULT]` come first."""

    name: str
    line: int
    entries: dict[str, Entry]


class IniFile(Struct, frozen=True):
    """The sections of one file in file order, without `[DEFAULT]`."""

    path: str
    sections: tuple[Section, ...]

    def section(self, name: str) -> Section | None:
        """Return the section of exactly this name, or None."""
        return next((section for section in self.sections if section.name == name), None)


def read_ini(text: str, path: str, problems: Problems) -> IniFile:
    """Read `text`; faults are noted under `path` and whatever is readable is returned."""
    reader = _Reader(path, problems)
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        reader.read_line(number, line.removesuffix("\r"))
    return IniFile(path, reader.finished())


class _Raw:
    """An option while its lines are being gathered."""

    __slots__ = ("line", "parts")

    def __init__(self, line: int, value: str) -> None:
        self.line = line
        self.parts = [value]

    @property
    def value(self) -> str:
        return "\n".join(self.parts).rstrip()


class _Reader:
    """Line by line; `_option` is the option that an indented line would continue."""

    def __init__(self, path: str, problems: Problems) -> None:
        self._path = path
        self._problems = problems
        self._defaults: dict[str, _Raw] = {}
        self._sections: dict[str, tuple[int, dict[str, _Raw]]] = {}
        self._current: dict[str, _Raw] | None = None
        self._option: _Raw | None = None
        self._indent = 0
        self._homeless = False

    def read_line(self, number: int, line: str) -> None:
        text = line.strip()
        if text[:1] in ("#", ";"):
            return
        if not text:
            if self._option is not None:
                self._option.parts.append("")
            return
        indent = len(line) - len(line.lstrip())
        if self._option is not None and indent > self._indent:
            self._option.parts.append(text)
            return
        self._indent = indent
        header = _HEADER.match(text)
        if header:
            self._begin_section(number, header[1])
        else:
            self._begin_option(number, text)

    def _begin_section(self, number: int, name: str) -> None:
        self._option = None
        if name == "DEFAULT":
            self._current = self._defaults
        elif name in self._sections:
            self._problems.error(self._path, number, f"[{name}]", "this section was there before")
            self._current = {}
        else:
            self._current = {}
            self._sections[name] = (number, self._current)

    def _begin_option(self, number: int, text: str) -> None:
        if self._current is None:
            if not self._homeless:
                self._problems.error(self._path, number, "", f"no [section] before {text[:40]!r}")
            self._homeless = True
            return
        match = _OPTION.match(text)
        if match is None or not match[1]:
            self._option = None
            self._indent = sys.maxsize
            self._problems.error(self._path, number, "", f"neither [section] nor option = value: {text[:40]!r}")
            return
        name = match[1].rstrip().lower()
        self._option = _Raw(number, match[2].strip())
        if name in self._current:
            self._problems.error(self._path, number, name, f"was set before, on line {self._current[name].line}")
            return
        self._current[name] = self._option

    def finished(self) -> tuple[Section, ...]:
        return tuple(Section(name, line, self._entries(options)) for name, (line, options) in self._sections.items())

    def _entries(self, options: dict[str, _Raw]) -> dict[str, Entry]:
        merged = {**self._defaults, **options}
        entries = {}
        for name, raw in merged.items():
            try:
                value = _interpolated(raw.value, merged)
            except ValueError as error:
                self._problems.error(self._path, raw.line, name, str(error))
                continue
            entries[name] = Entry(value, raw.line, name not in options)
        return entries


def _interpolated(value: str, options: dict[str, _Raw], depth: int = 1) -> str:
    if "%" not in value:
        return value
    if depth > _MAX_DEPTH:
        raise ValueError(f"%(...)s refers to others more than {_MAX_DEPTH} deep, or to itself")
    pieces: list[str] = []
    room = _MAX_VALUE_CHARACTERS
    for piece in _replaced(value, options, depth):
        room -= len(piece)
        if room < 0:
            raise ValueError("the value is too long after %(...)s were replaced")
        pieces.append(piece)
    return "".join(pieces)


def _replaced(value: str, options: dict[str, _Raw], depth: int) -> Iterator[str]:
    at = 0
    while (percent := value.find("%", at)) >= 0:
        yield value[at:percent]
        if value.startswith("%%", percent):
            yield "%"
            at = percent + 2
            continue
        reference = _REFERENCE.match(value, percent)
        if reference is None:
            raise ValueError("a lone % is not allowed: write %%, or %(option)s for another option's value")
        other = options.get(reference[1].lower())
        if other is None:
            raise ValueError(f"%({reference[1]})s: there is no such option")
        yield _interpolated(other.value, options, depth + 1)
        at = reference.end()
    yield value[at:]
