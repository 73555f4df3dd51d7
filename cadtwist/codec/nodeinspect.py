"""Tables as node's `util.inspect` shows them: scripts read statsd's management replies in this form.

What is known here: an object of numbers, or of lists of numbers.  The rules of breaking are those of node 12 and
later with their defaults: a line has 80 columns, an object stands on one line if it fits, long lists are set in
columns, and a list shows 100 items.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from cadtwist.kernels.jstext import js_text

__all__ = ["inspect"]

_WIDTH = 80
_SHOWN_ITEMS = 100
_GROUPED_FROM = 7
_MOST_COLUMNS = 12
_CHARACTER_HEIGHT = 2.5
_BARE = re.compile(r"[a-zA-Z_][a-zA-Z_0-9]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")
_LARGEST_INDEX = 2**32 - 2


def inspect(table: Mapping[str, float | Sequence[float]]) -> str:
    """Return the text of an object; keys that are indexes come first, in order, as in every JavaScript object."""
    if not table:
        return "{}"
    indexes = sorted((key for key in table if _is_index(key)), key=int)
    entries = []
    for key in (*indexes, *(key for key in table if not _is_index(key))):
        value = table[key]
        shown = _number(value) if isinstance(value, float | int) else _list(value, 2)
        entries.append(f"{_key(key)}: {shown}")
    return _joined(entries, "{", "}", 0)


def _is_index(key: str) -> bool:
    return _INDEX.fullmatch(key) is not None and int(key) <= _LARGEST_INDEX


def _key(key: str) -> str:
    if _BARE.fullmatch(key):
        return key
    quote = next((mark for mark in "'\"`" if mark not in key), "'")
    escaped = _CONTROL.sub(_escaped, key.replace("\\", "\\\\"))
    return quote + (escaped.replace("'", "\\'") if quote == "'" else escaped) + quote


def _escaped(found: re.Match[str]) -> str:
    return _SHORT.get(found[0], f"\\x{ord(found[0]):02X}")


def _number(value: float) -> str:
    return "-0" if value == 0 and math.copysign(1.0, value) < 0 else js_text(float(value))


def _list(values: Sequence[float], indent: int) -> str:
    if not values:
        return "[]"
    entries = [_number(value) for value in values[:_SHOWN_ITEMS]]
    left = len(values) - _SHOWN_ITEMS
    if left > 0:
        entries.append(f"... {left} more item{'s' if left > 1 else ''}")
    grouped = _columns(entries, len(entries) - (left > 0), indent) if len(entries) >= _GROUPED_FROM else entries
    return _joined(grouped, "[", "]", indent, len(grouped) == len(entries))


def _joined(entries: list[str], opening: str, closing: str, indent: int, may_join: bool = True) -> str:
    start = len(entries) + indent + len(opening) + 10
    length = sum(map(len, entries)) + len(entries) + start
    if may_join and length <= _WIDTH and not any("\n" in entry for entry in entries):
        return f"{opening} {', '.join(entries)} {closing}"
    begin = "\n" + " " * indent
    return opening + begin + "  " + f",{begin}  ".join(entries) + begin + closing


def _columns(entries: list[str], count: int, indent: int) -> list[str]:
    """Set the first `count` entries in columns, if node would."""
    sizes = [len(entry) for entry in entries[:count]]
    total, widest = sum(sizes) + 2 * count, max(sizes) + 2
    if widest * 3 + indent >= _WIDTH or not (total / widest > 5 or widest <= 8):
        return entries
    biased = max(widest - 3 - math.sqrt(widest - total / len(entries)), 1.0)
    columns = min(
        math.floor(math.sqrt(_CHARACTER_HEIGHT * biased * count) / biased + 0.5),
        (_WIDTH - indent) // widest,
        _MOST_COLUMNS,
        15,
    )
    if columns <= 1:
        return entries
    widths = [max(sizes[column::columns]) + 2 for column in range(columns)]
    lines = []
    for start in range(0, count, columns):
        row = entries[start : min(start + columns, count)]
        cells = [f"{entry}, ".rjust(width) for entry, width in zip(row[:-1], widths, strict=False)]
        lines.append("".join(cells) + row[-1].rjust(widths[len(row) - 1] - 2))
    return lines + entries[count:]
