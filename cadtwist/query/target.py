r"""The grammar of render targets: text to a tree of paths, calls, literals and templates.

    target   := expr                       a valid beginning is enough: what follows it is ignored
    expr     := (template | call | path) ('|' call)*
    call     := name '(' [arg (',' arg)* (',' name '=' arg)*] ')'
    arg      := boolean | number | none | infinity | string | expr
    template := 'template(' (call | path) [',' literals | name '=' literal (',' name '=' literal)*] ')'

A path is what the index is asked for: elements between dots, of any visible characters but ``( ) { } , . ' " \ |``,
which a backslash lets in (and is not part of the path itself), and braces with alternatives.  In ``a|f(1)`` the path
becomes the first argument of the call.  Quotes are taken off strings, escapes in them stay.  Tabs are so many spaces.

Whatever the text is, parsing takes time linear in it: results are remembered by position, depth and size are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from cadtwist.errors import CadtwistError

__all__ = [
    "MAX_DEPTH", "MAX_NODES", "MAX_TARGET", "Call", "Literal", "Node", "Path", "TargetError", "Template", "Value",
    "bound_path", "first_path", "parse_target",
]  # fmt: skip

MAX_TARGET = 1 << 17
"""The most characters of a target."""

MAX_DEPTH = 60
"""The most calls within calls, pipes included."""

MAX_NODES = 10_000
"""The most paths, calls and literals of a target."""

_SHOWN = 100
_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_DELIMITED = r"(?=\s*[,)]|\s*\Z)"
_WORD = re.compile(rf"(true|false|none|inf){_DELIMITED}", re.IGNORECASE)
_NUMBER = re.compile(rf"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?{_DELIMITED}", re.ASCII)
_STRING = re.compile(r'"((?:[^"\n\r\\]|""|\\[^\n\r])*)"|' + r"'((?:[^'\n\r\\]|''|\\[^\n\r])*)'")
_PLAIN = r"""(?:[^\s(){},.'"\\|]|\\[(){},.'"\\|=])"""
_CHARACTERS = re.compile(rf"{_PLAIN}+")
_ESCAPED = re.compile(r"""\\([(){},.'"\\|=])""")
_WHOLE_PATH = re.compile(rf"\s*({_PLAIN}+(?:\.{_PLAIN}+)*)\s*\Z")
_SHORT = 1000
_LITERAL = r"(?:-?\d+(?:\.\d+)?(?:[eE]-?\d+)?|(?i:true|false|none|inf))\s*[,)]"
_ARGUMENT = r"""(?:"[^"'\\()]*"|'[^"'\\()]*'|[^\s(){},.'"\\|=]+(?:\.[^\s(){},.'"\\|=]+)*)"""
_FIRST = re.compile(
    rf"((?:[A-Za-z_]\w*\(\s*)+)(?!{_LITERAL}|\w+\s*=)({_PLAIN}+(?:\.{_PLAIN}+)*)"
    rf"((?:(?:\s*,\s*{_ARGUMENT})*\s*\))+)\Z",
    re.ASCII,
)
_LITERALS = {"true": True, "false": False, "none": None, "inf": float("inf")}
_MOST_DIGITS = 400

Value = str | int | float | bool | None


class TargetError(CadtwistError):
    """A target cannot be read; the message says what is wrong at which column (the first is 1)."""


class Path(NamedTuple):
    """What the index is asked for; `column` counts from 1."""

    text: str
    column: int


class Literal(NamedTuple):
    """A constant argument."""

    value: Value
    column: int


@dataclass(frozen=True, eq=False)
class Call:
    """A function with its arguments; `text` is the source of the call itself, without what is piped into it."""

    name: str
    arguments: tuple[Node, ...]
    keywords: tuple[tuple[str, Node], ...]
    text: str
    column: int


@dataclass(frozen=True, eq=False)
class Template:
    """An expression whose `$name` are to be replaced by the values of `bindings`."""

    body: Node
    bindings: tuple[tuple[str, Value], ...]
    column: int


Node = Path | Literal | Call | Template

_Found = tuple[Node, int] | None
"""A node and the position behind it; None where there is none."""


def parse_target(text: str) -> Node:
    """Return the tree of a target; TargetError for a text without a valid beginning, or one that is too much."""
    return _known_target(text) if len(text) <= _SHORT else _parsed(text)


@lru_cache(maxsize=4096)
def _known_target(text: str) -> Node:
    """Return the tree of a short target: dashboards ask for the same again and again, and nobody changes a node."""
    return _parsed(text)


def _parsed(text: str) -> Node:
    if "\t" in text:
        text = text.expandtabs()
    whole = _WHOLE_PATH.match(text) if len(text) <= MAX_TARGET else None
    if whole is not None:
        return Path(_unescaped(whole[1]), whole.start(1) + 1)
    return _Parser(text).target()


def _unescaped(path: str) -> str:
    return _ESCAPED.sub(r"\1", path) if "\\" in path else path


def first_path(name: str) -> str:
    """Return the first path within the name of a series such as `scale(a.b,2)`, the name itself where there is none."""
    if not name.endswith(")"):
        return name
    quick = _FIRST.match(name)
    if quick is not None and quick[1].count("(") == quick[3].count(")"):
        return _unescaped(quick[2])
    try:
        node = parse_target(name)
    except TargetError:
        return name
    while isinstance(node, Call) and node.arguments:
        node = node.arguments[0]
    return node.text if isinstance(node, Path) else name


class _Parser:
    """One text on its way to a tree; every method takes a position and returns what it found there."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_TARGET:
            raise TargetError(f"Target has {len(text)} characters, at most {MAX_TARGET} are read: {_shown(text)}")
        self._text = text
        self._seen: dict[int, _Found] = {}
        self._depth = 0
        self._nodes = 0

    def target(self) -> Node:
        start = self._space(0)
        found = self._expression(start)
        if found is None:
            raise TargetError(f"No expression at column {start + 1} of target {_shown(self._text)}")
        return found[0]

    def _space(self, position: int) -> int:
        match = _SPACE.match(self._text, position)
        return match.end() if match else position

    def _expression(self, position: int) -> _Found:
        """At a position that is no space."""
        if position not in self._seen:
            self._deeper(position)
            self._seen[position] = self._piped(self._template(position) or self._call(position) or self._path(position))
            self._depth -= 1
        return self._seen[position]

    def _deeper(self, position: int) -> None:
        self._depth += 1
        self._count(position)
        if self._depth > MAX_DEPTH:
            raise TargetError(f"More than {MAX_DEPTH} calls within calls at column {position + 1} of the target")

    def _count(self, position: int) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise TargetError(f"More than {MAX_NODES} parts of an expression at column {position + 1} of the target")

    def _piped(self, found: _Found) -> _Found:
        pipes = 0
        while found is not None:
            node, end = found
            bar = self._space(end)
            if self._text[bar : bar + 1] != "|":
                break
            after = self._call(self._space(bar + 1))
            if after is None:
                break
            call, end = after
            pipes += 1
            if pipes + self._depth > MAX_DEPTH:
                raise TargetError(f"More than {MAX_DEPTH} calls within calls at column {bar + 1} of the target")
            found = Call(call.name, (node, *call.arguments), call.keywords, call.text, call.column), end
        return found

    def _call(self, position: int) -> tuple[Call, int] | None:
        name = _NAME.match(self._text, position)
        if name is None:
            return None
        opened = self._space(name.end())
        if self._text[opened : opened + 1] != "(":
            return None
        arguments: list[Node] = []
        keywords: list[tuple[str, Node]] = []
        end = self._space(opened + 1)
        if self._text[end : end + 1] != ")":
            listed = self._arguments(end, arguments, keywords)
            if listed is None:
                return None
            end = listed
        text = self._text[position : end + 1]
        return Call(name[0], tuple(arguments), tuple(keywords), text, position + 1), end + 1

    def _arguments(self, position: int, arguments: list[Node], keywords: list[tuple[str, Node]]) -> int | None:
        """Fill the lists; return the position of the closing parenthesis, None where the list is none."""
        while True:
            keyword = self._keyword(position)
            if keyword is not None:
                if not arguments:
                    return None
                name, node, end = keyword
                keywords.append((name, node))
            else:
                found = None if keywords else self._argument(position)
                if found is None:
                    return None
                node, end = found
                arguments.append(node)
            end = self._space(end)
            mark = self._text[end : end + 1]
            if mark == ")":
                return end
            if mark != ",":
                return None
            position = self._space(end + 1)

    def _keyword(self, position: int) -> tuple[str, Node, int] | None:
        name = _NAME.match(self._text, position)
        if name is None:
            return None
        equals = self._space(name.end())
        if self._text[equals : equals + 1] != "=":
            return None
        found = self._argument(self._space(equals + 1))
        return None if found is None else (name[0], *found)

    def _argument(self, position: int) -> _Found:
        return self._literal(position) or self._expression(position)

    def _literal(self, position: int) -> tuple[Literal, int] | None:
        word = _WORD.match(self._text, position)
        if word is not None:
            self._count(position)
            return Literal(_LITERALS[word[1].lower()], position + 1), word.end()
        return self._number_or_string(position)

    def _number_or_string(self, position: int) -> tuple[Literal, int] | None:
        number = _NUMBER.match(self._text, position)
        if number is not None:
            self._count(position)
            return Literal(_number(number[0], position), position + 1), number.end()
        string = _STRING.match(self._text, position)
        if string is not None:
            self._count(position)
            return Literal(string[1] if string[1] is not None else string[2], position + 1), string.end()
        return None

    def _path(self, position: int) -> tuple[Path, int] | None:
        end = self._element(position)
        if end == position:
            return None
        while self._text[end : end + 1] == ".":
            behind = self._element(end + 1)
            if behind == end + 1:
                break
            end = behind
        return Path(_unescaped(self._text[position:end]), position + 1), end

    def _element(self, position: int) -> int:
        """Return the position behind an element of a path, `position` itself where there is none."""
        while True:
            plain = _CHARACTERS.match(self._text, position)
            if plain is not None:
                position = plain.end()
            elif self._text[position : position + 1] == "{":
                closed = self._braces(position)
                if closed == position:
                    return position
                position = closed
            else:
                return position

    def _braces(self, position: int) -> int:
        """Return the position behind a group of alternatives, `position` itself where it does not close."""
        open_groups, at = 0, position
        while True:
            mark = self._text[at : at + 1]
            if mark == "{":
                open_groups += 1
                at += 1
            elif mark == "}":
                open_groups -= 1
                at += 1
                if not open_groups:
                    return at
            elif mark == ",":
                at += 1
            else:
                plain = _CHARACTERS.match(self._text, at)
                if plain is None:
                    return position
                at = plain.end()

    def _template(self, position: int) -> tuple[Template, int] | None:
        name = _NAME.match(self._text, position)
        if name is None or name[0] != "template":
            return None
        opened = self._space(name.end())
        if self._text[opened : opened + 1] != "(":
            return None
        start = self._space(opened + 1)
        self._deeper(position)
        found: _Found = self._call(start) or self._path(start)
        self._depth -= 1
        if found is None:
            return None
        body, end = found
        bindings: list[tuple[str, Value]] = []
        end = self._space(end)
        while self._text[end : end + 1] == ",":
            bound = self._binding(self._space(end + 1), bindings)
            if bound is None:
                return None
            end = self._space(bound)
        if self._text[end : end + 1] != ")":
            return None
        return Template(body, tuple(bindings), position + 1), end + 1

    def _binding(self, position: int, bindings: list[tuple[str, Value]]) -> int | None:
        name = _NAME.match(self._text, position)
        label = str(len(bindings) + 1)
        if name is not None:
            equals = self._space(name.end())
            if self._text[equals : equals + 1] != "=" or (bindings and bindings[-1][0].isdigit()):
                return None
            label, position = name[0], self._space(equals + 1)
        elif bindings and not bindings[-1][0].isdigit():
            return None
        found = self._number_or_string(position)
        if found is None:
            return None
        bindings.append((label, found[0].value))
        return found[1]


def _number(text: str, position: int) -> int | float:
    if len(text) > _MOST_DIGITS:
        raise TargetError(f"A number of {len(text)} digits at column {position + 1} of the target")
    plain = text.lstrip("-")
    return int(text) if plain.isdigit() else float(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def bound_path(text: str, bindings: Mapping[str, Value]) -> Value:
    """Return a path with its `$name` replaced; one that is nothing but a `$name` gives the value itself."""
    for name, value in bindings.items():
        if text == f"${name}":
            if not isinstance(value, str):
                return value
            return float(value) if _DECIMAL.match(value) else value
        text = text.replace(f"${name}", str(value))
    return text


_DECIMAL = re.compile(r"-?(?:\d+\.?\d*|\.\d+)\Z", re.ASCII)
