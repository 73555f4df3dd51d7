"""JSON as configuration: the value of a text, and the line of each of its keys; a fault is noted with its line.

The text is JSON and nothing else (the standard library reads it); where each key stands is found by one more pass over
a text that it accepted.
"""

from __future__ import annotations

import json
import re
from typing import Any

from cadtwist.config.errors import Problems
from cadtwist.config.tomllines import KeyPath

__all__ = ["read_json"]

_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|\n|[^\s{}\[\],:"]+', re.DOTALL)


def read_json(text: str, path: str, problems: Problems) -> tuple[Any, dict[KeyPath, int]]:
    """Return the value and the lines of its keys and entries; None after noting why there is none."""
    text = text.removeprefix("\ufeff")
    twice: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in items:
            if name in found:
                twice.append(name)
            found[name] = value
        return found

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_refused)
    except json.JSONDecodeError as error:
        problems.error(path, error.lineno, "", f"not JSON: {error.msg} (column {error.colno})")
        return None, {}
    except ValueError as error:
        problems.error(path, _line_of_constant(text), "", f"not JSON: {error}")
        return None, {}
    except RecursionError:
        problems.error(path, 0, "", "nested too deeply")
        return None, {}
    for name in dict.fromkeys(twice):
        problems.warning(path, 0, name, "is there twice in one object: the last one counts")
    return value, _lines(text)


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _line_of_constant(text: str) -> int:
    """Return the line of the first constant that the standard library takes and JSON has not; 0 if there is none."""
    line = 1
    for match in _PIECE.finditer(text):
        if match[0] in _NO_NUMBERS:
            return line
        line += match[0].count("\n")
    return 0


def _lines(text: str) -> dict[KeyPath, int]:
    lines: dict[KeyPath, int] = {}
    line = 1
    holders: list[tuple[bool, KeyPath]] = []  # (is an object, its path)
    place: KeyPath = ()  # of the value that comes next
    key = ""
    counts: list[int] = []
    for match in _PIECE.finditer(text):
        piece = match[0]
        if piece == "\n":
            line += 1
            continue
        is_object, holder = holders[-1] if holders else (False, ())
        if piece == ":":
            place = (*holder, key)
            lines[place] = line
        elif piece in ("}", "]"):
            holders.pop()
            counts.pop()
        elif piece == ",":
            counts[-1] += 1
            place = (*holder, counts[-1])
        else:
            if holders and not is_object:
                lines.setdefault((*holder, counts[-1]), line)
                place = (*holder, counts[-1])
            if piece in ("{", "["):
                holders.append((piece == "{", place))
                counts.append(0)
            elif is_object and piece.startswith('"'):
                key = json.loads(piece)
    return lines
