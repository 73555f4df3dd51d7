"""TOML with the line of each key, for messages; the values themselves are tomllib's affair.

Lines are found by one pass over a text that tomllib accepted.  Keys within inline tables are found under the key that
holds them.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from cadtwist.config.errors import Problems

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

__all__ = ["KeyPath", "dotted", "key_lines", "line_of", "read_toml"]

KeyPath = tuple[str | int, ...]
_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'",
    re.DOTALL,
)
_LINE = re.compile(r"\(at line (\d+), column \d+\)")


def read_toml(text: str, path: str, problems: Problems) -> tuple[dict[str, Any] | None, dict[KeyPath, int]]:
    """Return the tree of a text and the lines of its keys; None after noting why there is none."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    try:
        return tomllib.loads(text), key_lines(text)
    except tomllib.TOMLDecodeError as error:
        place = _LINE.search(str(error))
        problems.error(path, int(place[1]) if place else 0, "", _LINE.sub("", str(error)).strip())
    except RecursionError:
        problems.error(path, 0, "", "nested too deeply")
    return None, {}


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every table and key, by its path; entries of `[[arrays]]` are numbered from 0."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    path: KeyPath = ()
    at = 0
    number = 1
    while at < len(text):
        end = _line_end(text, at)
        line = text[at:end].lstrip()
        if line.startswith("[["):
            path = _resolved(_parts(line[2:])[0], counts)
            counts[path] = counts.get(path, -1) + 1
            table = (*path, counts[path])
            lines[table] = number
        elif line.startswith("["):
            table = path = _resolved(_parts(line[1:])[0], counts)
        if line.startswith("["):
            for depth in range(1, len(path) + 1):
                lines.setdefault(path[:depth], number)
        elif line and not line.startswith("#"):
            parts, after = _parts(line)
            for depth in range(1, len(parts) + 1):
                lines.setdefault((*table, *parts[:depth]), number)
            end = _value_end(text, end - len(line) + after)
        number += text.count("\n", at, end + 1)
        at = end + 1
    return lines


def line_of(lines: dict[KeyPath, int], path: KeyPath) -> int:
    """Return the line of `path` or of the nearest key that holds it; 0 if there is none."""
    while path:
        if path in lines:
            return lines[path]
        path = path[:-1]
    return 0


def dotted(path: KeyPath) -> str:
    """Return `path` as people write it: `relays[0].name`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return end if end >= 0 else len(text)


def _parts(line: str) -> tuple[tuple[str, ...], int]:
    """Read a dotted key at the start of `line`; return it and the place after it."""
    parts: list[str] = []
    at = 0
    while (match := _PART.match(line, at)) is not None:
        parts.append(next(group for group in match.groups() if group is not None))
        at = match.end()
        if line[at : at + 1] != ".":
            break
        at += 1
    return tuple(parts), at


def _resolved(parts: tuple[str, ...], counts: dict[KeyPath, int]) -> KeyPath:
    """Put the number of the present entry behind each part but the last that names an array of tables."""
    path: KeyPath = ()
    for position, part in enumerate(parts):
        path = (*path, part)
        if path in counts and position < len(parts) - 1:
            path = (*path, counts[path])
    return path


def _value_end(text: str, at: int) -> int:
    """Return the end of the line on which the value that begins after `at` ends."""
    depth = 0
    while at < len(text):
        character = text[at]
        if character in "\"'":
            string = _STRING.match(text, at)
            at = string.end() if string is not None else at + 1
            continue
        if character == "#":
            at = _line_end(text, at)
            continue
        if character == "\n" and depth <= 0:
            return at
        depth += (character in "[{") - (character in "]}")
        at += 1
    return at
