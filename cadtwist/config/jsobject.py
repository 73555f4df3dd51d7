"""JavaScript object literals, as statsd's configuration files are: read, never evaluated.

Keys are bare, quoted or numbers; strings have either quote; `//` and `/* */` comments, trailing commas, `undefined`,
hexadecimal numbers and signs are understood.  Anything that would have to be computed is an error with its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Union

from msgspec import Struct

from cadtwist.config.errors import Problems

__all__ = ["Node", "read_object"]

Value = Union[str, float, bool, None, "list[Node]", "dict[str, Node]"]

_MAX_DEPTH = 40
_SPACE = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)+", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_NUMBER = re.compile(r"[+-]?\s*(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|Infinity)")
_STRING = re.compile(r"'((?:[^'\\\n]|\\.)*)'|\"((?:[^\"\\\n]|\\.)*)\"|`((?:[^`\\$]|\\.)*)`", re.DOTALL)
_ESCAPE = re.compile(r"\\(u\{[0-9a-fA-F]{1,6}\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_PLAIN_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}
_WORDS: dict[str, Value] = {"true": True, "false": False, "null": None, "undefined": None}


class Node(Struct, frozen=True):
    """A value and the line on which it begins."""

    value: Value
    line: int


class _SyntaxError(Exception):
    """What is wrong, at a place in the text."""

    def __init__(self, at: int, text: str) -> None:
        super().__init__(text)
        self.at = at


def read_object(text: str, path: str, problems: Problems) -> Node | None:
    """Return the object that a file is; None, with a note in `problems`, where it is none."""
    reader = _Reader(text.removeprefix("\ufeff"))
    try:
        return reader.document()
    except _SyntaxError as fault:
        problems.error(path, reader.line(fault.at), "", str(fault))
        return None


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def line(self, at: int) -> int:
        return self._text.count("\n", 0, at) + 1

    def document(self) -> Node:
        self._space()
        wrapped = self._take("(")
        if self._peek() != "{":
            raise _SyntaxError(self._at, "the file is not one object in { }")
        found = self._value()
        if wrapped and not self._take(")"):
            raise _SyntaxError(self._at, "the ( at the beginning is not closed")
        self._take(";")
        if self._at < len(self._text):
            raise _SyntaxError(self._at, f"nothing may follow the object: {self._shown()}")
        return found

    def _space(self) -> None:
        match = _SPACE.match(self._text, self._at)
        if match:
            self._at = match.end()

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _shown(self) -> str:
        return repr(self._text[self._at : self._at + 20].split("\n")[0])

    def _take(self, mark: str) -> bool:
        if self._peek() != mark:
            return False
        self._at += 1
        self._space()
        return True

    def _value(self) -> Node:
        begin = self.line(self._at)
        mark = self._peek()
        if mark in ("{", "["):
            self._depth += 1
            if self._depth > _MAX_DEPTH:
                raise _SyntaxError(self._at, f"more than {_MAX_DEPTH} levels")
            self._at += 1
            self._space()
            value: Value = self._members() if mark == "{" else self._items()
            self._depth -= 1
        else:
            value = self._single()
        self._space()
        return Node(value, begin)

    def _single(self) -> Value:
        start = self._at
        match = _STRING.match(self._text, start)
        if match:
            self._at = match.end()
            return _unescaped(next(group for group in match.groups() if group is not None))
        match = _NUMBER.match(self._text, start)
        if match:
            self._at = match.end()
            return _number(match[0])
        match = _WORD.match(self._text, start)
        if match and match[0] in _WORDS:
            self._at = match.end()
            return _WORDS[match[0]]
        raise _SyntaxError(start, f"a value is expected, nothing that is to be computed: {self._shown()}")

    def _members(self) -> dict[str, Node]:
        found: dict[str, Node] = {}

        def member() -> None:
            key = self._key()
            if not self._take(":"):
                raise _SyntaxError(self._at, f"a : is expected behind the key {key!r}")
            found[key] = self._value()

        self._list("}", member)
        return found

    def _items(self) -> list[Node]:
        found: list[Node] = []
        self._list("]", lambda: found.append(self._value()))
        return found

    def _list(self, end: str, one: Callable[[], None]) -> None:
        while self._peek() != end:
            one()
            if not self._take(",") and self._peek() != end:
                raise _SyntaxError(self._at, f"a comma or {end} is expected: {self._shown()}")
        self._at += 1

    def _key(self) -> str:
        start = self._at
        match = _STRING.match(self._text, start) if self._peek() in ("'", '"') else None
        if match:
            key = _unescaped(next(group for group in match.groups() if group is not None))
        else:
            match = _WORD.match(self._text, start) or re.compile(r"[0-9]+").match(self._text, start)
            if match is None:
                raise _SyntaxError(start, f"a key is expected: {self._shown()}")
            key = match[0]
        self._at = match.end()
        self._space()
        return key


def _number(text: str) -> float:
    plain = "".join(text.split())
    sign = -1.0 if plain[0] == "-" else 1.0
    digits = plain.lstrip("+-")
    if digits[:2].lower() == "0x":
        return sign * int(digits, 16)
    return sign * (float("inf") if digits == "Infinity" else float(digits))


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) > 1:
            point = int(code.strip("ux{}"), 16)
            return chr(point) if point < 0x110000 else "\ufffd"
        return _PLAIN_ESCAPES.get(code, code)

    found = _ESCAPE.sub(one, text)
    return found.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
