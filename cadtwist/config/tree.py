"""Values of a tree that TOML, JSON or JavaScript gave, for the dialects whose keys are not those of the Config.

A value of another type is taken where there is no doubt about it (`"5"` and `5.0` for 5, `"true"`, 1 for true); any
other is an error with its line.  A key that nobody asked for is a warning.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from math import isfinite
from typing import Any, TypeVar

from cadtwist.config.errors import Problems
from cadtwist.config.options import fault_of, text_fault
from cadtwist.config.tomllines import KeyPath, dotted, line_of
from cadtwist.model.regexes import python_regex

__all__ = ["Source", "Table"]

_Default = TypeVar("_Default")

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


class Source:
    """A file with the lines of its keys, and where its faults are noted."""

    def __init__(self, file: str, lines: dict[KeyPath, int], problems: Problems) -> None:
        self.file = file
        self.problems = problems
        self._lines = lines

    def error(self, path: KeyPath, text: str) -> None:
        """Note a fault of the key at `path`."""
        self.problems.error(self.file, line_of(self._lines, path), dotted(path), text)

    def warning(self, path: KeyPath, text: str) -> None:
        """Note what is accepted at `path` and probably not meant."""
        self.problems.warning(self.file, line_of(self._lines, path), dotted(path), text)

    def notice(self, path: KeyPath, text: str) -> None:
        """Note that the key at `path` has no effect."""
        self.problems.notice(self.file, line_of(self._lines, path), dotted(path), text)


class Table:
    """One object of the tree; what is not there is asked of `parent`, the defaults.

    `null` counts as not given.
    """

    def __init__(self, source: Source, tree: dict[str, Any], path: KeyPath, parent: Table | None = None) -> None:
        self.source = source
        self.path = path
        self._tree = tree
        self._parent = parent
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return self._tree.get(key) is not None

    def here(self, key: str) -> KeyPath:
        """Return the path of a key."""
        return (*self.path, key)

    def place(self, key: str) -> KeyPath:
        """Return the path of a key where it is given: here, or in the parent."""
        inherited = self._parent is not None and key in self._parent and key not in self
        return self._parent.here(key) if self._parent is not None and inherited else self.here(key)

    def ask(self, key: str, inherit: bool = True) -> Any:
        """Return the raw value, None where there is none."""
        self._asked.add(key)
        value = self._tree.get(key)
        if value is None and inherit and self._parent is not None:
            return self._parent.ask(key)
        return value

    def error(self, key: str, text: str) -> None:
        """Note a fault of one of the keys."""
        self.source.error(self.place(key), text)

    def text(self, key: str, default: str = "", *, inherit: bool = True) -> str:
        """Return a text."""
        value = self.ask(key, inherit)
        if not isinstance(value, str):
            return default if value is None else self._misfit(key, value, "a text", default)
        fault = text_fault(value)
        if fault is not None:
            self.error(key, fault)
        return value if fault is None else default

    def regex(self, key: str, default: str = "") -> str:
        """Return a regular expression of RE2 or PCRE in Python's notation."""
        value = self.text(key, default)
        try:
            return python_regex(value) if value and value != default else value
        except ValueError as error:
            self.error(key, str(error))
            return default

    def choice(self, key: str, known: Iterable[str], default: str = "") -> str:
        """Return one of the `known` texts."""
        value = self.text(key, default)
        known = tuple(known)
        if value not in known and value != default:
            self.error(key, f"{value!r} is unknown; known are {', '.join(known)}")
            return default
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """Return true or false."""
        value = self.ask(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        word = str(value).strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        return self._misfit(key, value, "true or false", default)

    def number(self, key: str, default: float, option: str = "") -> float:
        """Return a number within the range of the `option`."""
        found = self.number_or_none(key, option)
        return default if found is None else found

    def number_or_none(self, key: str, option: str = "") -> float | None:
        """Return a number within the range of the `option`; None where there is none, or none that is usable."""
        value = self.ask(key)
        if value is None:
            return None
        try:
            if isinstance(value, bool) or not isinstance(value, (int, float, str)):
                raise ValueError
            number = float(value)
        except (ValueError, OverflowError):
            self._misfit(key, value, "a number", None)
            return None
        return self._ranged(key, number, option)

    def whole(self, key: str, default: int, option: str = "") -> int:
        """Return a whole number within the range of the `option`."""
        value = self.ask(key)
        if value is None:
            return default
        try:
            if isinstance(value, bool) or not isinstance(value, (int, float, str)):
                raise ValueError
            if isinstance(value, str):
                value = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
            if isinstance(value, float) and not (isfinite(value) and value == int(value)):
                raise ValueError
        except ValueError:
            return self._misfit(key, value, "a whole number", default)
        found = self._ranged(key, int(value), option)
        return default if found is None else int(found)

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self.ask(key)
        if value is None:
            return default
        if not isinstance(value, list):
            return self._misfit(key, value, "a list of texts", default)
        found = []
        for number, item in enumerate(value):
            fault = text_fault(item) if isinstance(item, str) else f"{item!r} does not fit, expected: a text"
            if fault is None:
                found.append(item)
            else:
                self.source.error((*self.place(key), number), fault)
        return tuple(found)

    def table(self, key: str) -> Table | None:
        """Return the object at `key`; None where there is none."""
        value = self.ask(key, inherit=False)
        if value is None or isinstance(value, dict):
            return None if value is None else Table(self.source, value, self.here(key))
        return self._misfit(key, value, "a table", None)

    def tables(self, key: str) -> tuple[Table, ...]:
        """Return the objects of the list at `key`; one object alone counts as a list of it."""
        value = self.ask(key, inherit=False)
        if value is None:
            return ()
        if isinstance(value, dict):
            return (Table(self.source, value, self.here(key)),)
        if not isinstance(value, list):
            return self._misfit(key, value, "a list of tables", ())
        found = []
        for number, item in enumerate(value):
            if isinstance(item, dict):
                found.append(Table(self.source, item, (*self.here(key), number)))
            else:
                self.source.error((*self.here(key), number), f"{item!r} does not fit, expected: a table")
        return tuple(found)

    def has_no_effect(self, key: str, reason: str, *harmless: Any) -> None:
        """Note that a key, if it is here and has none of the `harmless` values, does nothing."""
        value = self.ask(key, inherit=False)
        if value is not None and value not in harmless:
            self.source.notice(self.here(key), f"has no effect: {reason}")

    def note_unknown(self, *known: str) -> None:
        """Warn of the keys that nobody asked for; `known` are further names for the hint."""
        for key in self._tree:
            if key not in self._asked and key not in known:
                close = difflib.get_close_matches(key, sorted(self._asked.union(known)), n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                self.source.warning(self.here(key), f"unknown key, not used{hint}")

    def _ranged(self, key: str, number: float, option: str) -> float | None:
        fault = fault_of(option, number) if option else None
        if fault is None and number != number:
            fault = "nan is not a number that can be used here"
        if fault is not None:
            self.error(key, fault)
            return None
        return number

    def _misfit(self, key: str, value: Any, expected: str, default: _Default) -> _Default:
        shown = repr(value)
        self.error(key, f"{shown if len(shown) <= 80 else shown[:77] + '...'} does not fit, expected: {expected}")
        return default
