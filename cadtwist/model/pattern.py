"""Globs over dotted names, and the path under which a name is found in the tree of files.  No I/O.

The grammar is the one of graphite-web's finders: a query is split at its dots; each component is a shell glob (`*`,
`?`, `[abc]`, `[!a-z]`) after expansion of its braces, which may nest and be empty; `**` stands for any number of
components.  A backslash takes the meaning from the character behind it.
"""

from __future__ import annotations

import re
from hashlib import sha256

__all__ = [
    "MAX_ALTERNATIVES",
    "MAX_CHARACTERS",
    "MAX_PARTS",
    "MAX_PATTERN",
    "MAX_TOTAL",
    "expand_braces",
    "is_pattern",
    "parse_pattern",
    "tagged_path",
]

MAX_ALTERNATIVES = 1000
"""The most texts that the braces of one component may stand for."""

MAX_CHARACTERS = 1 << 20
"""The most characters that expanding the braces of one component may write."""

MAX_TOTAL = 5 * MAX_ALTERNATIVES
"""The most alternatives of all components of a query."""

MAX_PATTERN = 1 << 16
"""The most characters of a query."""

MAX_PARTS = 63
"""The most components of a pattern with wildcards."""

_INNERMOST = re.compile(r"\{([^{}]*)\}")
_WILD = re.compile(r"[*?\[{]")
_ESCAPED = re.compile(r"\\(.?)", re.DOTALL)
_SHELTERED = {"{": "\ue000", "}": "\ue001", ",": "\ue002"}
_RESTORED = str.maketrans({shelter: plain for plain, shelter in _SHELTERED.items()})


def is_pattern(query: str) -> bool:
    """Tell whether a query may mean more than one name."""
    return _WILD.search(query) is not None


def expand_braces(text: str) -> list[str]:
    """Return the texts that `{a,b}` groups of one component stand for, each once, in their order.

    Unbalanced braces stay as they are.  Raises ValueError for more than MAX_ALTERNATIVES or MAX_CHARACTERS.
    """
    waiting, done, written = [text], dict[str, None](), 0
    while waiting:
        current = waiting.pop()
        group = _INNERMOST.search(current)
        if group is None:
            done[current] = None
        else:
            choices = group[1].split(",")
            written += (len(current) - len(group[0])) * len(choices) + len(group[1])
            if len(choices) > MAX_ALTERNATIVES or written > MAX_CHARACTERS:
                raise ValueError(f"braces stand for more than {MAX_ALTERNATIVES} alternatives or too much text")
            waiting += [current[: group.start()] + choice + current[group.end() :] for choice in reversed(choices)]
        if len(waiting) + len(done) > MAX_ALTERNATIVES:
            raise ValueError(f"braces stand for more than {MAX_ALTERNATIVES} alternatives")
    return list(done)


def parse_pattern(query: str) -> tuple[tuple[bytes, ...], ...] | None:
    """Return the components of a query, each with its alternatives, for `NameIndex.find`.

    None for a query that can match nothing: an empty component or a slash in it.  A dot that leads is ignored.
    Raises ValueError for too many characters, components or alternatives.
    """
    if len(query) > MAX_PATTERN:
        raise ValueError(f"a pattern has at most {MAX_PATTERN} characters")
    parts = query.removeprefix(".").split(".")
    if len(parts) > MAX_PARTS:
        raise ValueError(f"a pattern has at most {MAX_PARTS} components")
    if "/" in query or "" in parts:
        return None
    if query.isascii() and "{" not in query and "\\" not in query:
        return tuple([(part,) for part in query.removeprefix(".").encode("ascii").split(b".")])
    found, left = [], MAX_TOTAL
    for part in parts:
        found.append(_alternatives(part))
        left -= len(found[-1])
        if left < 0:
            raise ValueError(f"braces stand for more than {MAX_TOTAL} alternatives")
    return tuple(found)


def _alternatives(part: str) -> tuple[bytes, ...]:
    if "\\" in part:
        part = _ESCAPED.sub(_taken_literally, part)
    texts = expand_braces(part) if "{" in part else [part]
    return tuple(text.translate(_RESTORED).encode("utf-8", "replace") for text in texts)


def _taken_literally(escape: re.Match[str]) -> str:
    plain = escape[1]
    if plain and plain in "*?[":
        return f"[{plain}]"
    return _SHELTERED.get(plain, plain)


def tagged_path(name: str, hashed: bool) -> str:
    """Return the dotted path of a tagged series' file, `_tagged.abc.def.<file>`: graphite-web's and carbon's layout.

    The file is the hex SHA-256 of the name, or the readable name with `_DOT_` for its dots.
    """
    digest = sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
    file = digest if hashed else name.replace(".", "_DOT_")
    return f"_tagged.{digest[:3]}.{digest[3:6]}.{file}"
