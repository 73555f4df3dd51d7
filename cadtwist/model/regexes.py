r"""Regular expressions of RE2 (Cadent) and PCRE (statsrelay) in Python's notation.  Pure.

Most are the same text.  What is written otherwise is translated: `(?<name>...)`, `[[:digit:]]`, `\z`, `\h`, `\Q...\E`,
`\x{263A}`, `\k<name>`, and options in the middle such as `a(?i)b`.  `\d`, `\w`, `\s` and `\b` mean ASCII there, and so
they do in what is returned.
"""

from __future__ import annotations

import re

__all__ = ["python_regex"]

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t-\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_TOKEN = re.compile(
    r"""\\Q(?P<literal>.*?)(?:\\E|\Z)
      | \\x\{(?P<code>[0-9A-Fa-f]{1,6})\}
      | (?P<set>\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\])
      | \((?P<named>\?<(?![=!]))
      | \\k[<{'](?P<again>\w+)[>}']
      | \((?P<options>\?[a-zA-Z]*-?[a-zA-Z]+)\)
      | \\.|.""",
    re.DOTALL | re.VERBOSE,
)
_IN_SET = re.compile(
    r"\[:(?P<posix>\^?[a-z]+):\] | \\x\{(?P<code>[0-9A-Fa-f]{1,6})\} | \\. | [\[&~|]", re.DOTALL | re.VERBOSE
)
_OUTSIDE = {r"\z": r"\Z", r"\Z": r"(?=\n?\Z)", r"\h": r"[\t ]", r"\H": r"[^\t ]", r"\E": ""}
_INSIDE = {r"\h": r"\t ", "[": r"\[", "&": r"\&", "~": r"\~", "|": r"\|"}


def python_regex(pattern: str) -> str:
    """Return the Python regular expression that means what `pattern` means; ValueError tells what is wrong with it."""
    try:
        translated = "(?a)" + _Translation(pattern).text()
        re.compile(translated)
    except (ValueError, re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"not a usable regular expression: {pattern!r}: {error}") from error
    return translated


class _Translation:
    """One pass over a pattern: what is written so far, and the options set in each group that is open.

    Python knows options only at the very front or for a group of their own; so each gets a group that ends with the
    one it stands in, and is begun anew after a bar.
    """

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._written: list[str] = []
        self._options: list[list[str]] = [[]]

    def text(self) -> str:
        """Return the whole translation."""
        for found in _TOKEN.finditer(self._pattern):
            self._add(found)
        return "".join(self._written) + ")" * len(self._options[0])

    def _add(self, found: re.Match[str]) -> None:
        kind = found.lastgroup
        if kind == "literal":
            self._written.append(re.escape(found["literal"]))
        elif kind == "code":
            self._written.append(re.escape(_character(found["code"])))
        elif kind == "set":
            self._written.append("[" + _IN_SET.sub(_set_part, found["set"][1:]))
        elif kind == "again":
            self._written.append(f"(?P={found['again']})")
        elif kind == "options":
            self._options[-1].append(f"({found['options']}:")
            self._written.append(self._options[-1][-1])
        elif kind == "named" or found[0] == "(":
            self._written.append("(?P<" if kind == "named" else "(")
            self._options.append([])
        elif found[0] == ")":
            ended = self._options.pop() if len(self._options) > 1 else []
            self._written.append(")" * len(ended) + ")")
        elif found[0] == "|":
            again = self._options[-1]
            self._written.append(")" * len(again) + "|" + "".join(again))
        else:
            self._written.append(_OUTSIDE.get(found[0], found[0]))


def _set_part(found: re.Match[str]) -> str:
    if found["posix"] is not None:
        if found["posix"] not in _POSIX:
            raise ValueError(f"{found[0]} is not known")
        return _POSIX[found["posix"]]
    if found["code"] is not None:
        return re.escape(_character(found["code"]))
    return _INSIDE.get(found[0], found[0])


def _character(code: str) -> str:
    try:
        return chr(int(code, 16))
    except ValueError:
        raise ValueError(f"there is no character {code}") from None
