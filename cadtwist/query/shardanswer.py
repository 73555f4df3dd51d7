"""What one shard asks another about cells: a question as JSON, an answer of raw cells.  Pure."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cadtwist.kernels.statformat import CELL
from cadtwist.query.istat import Selection

__all__ = [
    "ASKED_BY", "SELECT_TARGET", "SelectQuestion", "pack_question", "pack_selections", "read_question",
    "read_selections",
]  # fmt: skip

ASKED_BY = "x-cadtwist-shard"
"""The header of every question of a shard, with its name: it is answered from what the asked one keeps itself."""

SELECT_TARGET = "/shard/select"
_FOUND = struct.Struct("<BqqqI")
_MOST = 1 << 62


class SelectQuestion(NamedTuple):
    """As the arguments of a backend's `select_many`."""

    names: list[str]
    start: int
    end: int
    most: int
    trailing: bool


def pack_question(asked: SelectQuestion) -> bytes:
    """Return a question as JSON."""
    return json.dumps(asked._asdict()).encode("ascii")


def read_question(data: bytes) -> SelectQuestion:
    """Read a question; ValueError for what is none."""
    try:
        said = json.loads(data)
        names, start, end, most = (said[name] for name in ("names", "start", "end", "most"))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("no question of a shard") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("names of counters are texts")
    if not all(type(number) is int and 0 <= number < _MOST for number in (start, end, most)):
        raise ValueError("times and numbers of samples are whole")
    return SelectQuestion(names, start, end, most, bool(said.get("trailing")))


def pack_selections(found: Sequence[Selection | None]) -> bytes:
    """Return an answer: for each counter whether it is there, its range, and its cells as they lie in files."""
    parts = []
    for selection in found:
        if selection is None:
            parts.append(_FOUND.pack(0, 0, 0, 0, 0))
        else:
            start, end, interval, cells = selection
            parts += [_FOUND.pack(1, start, end, interval, len(cells)), np.ascontiguousarray(cells, CELL).tobytes()]
    return b"".join(parts)


def read_selections(data: bytes, count: int) -> list[Selection | None]:
    """Read the answer to a question for `count` counters; ValueError for what is none."""
    found: list[Selection | None] = []
    at = 0
    for _ in range(count):
        if at + _FOUND.size > len(data):
            raise ValueError("an answer ends early")
        there, start, end, interval, cells = _FOUND.unpack_from(data, at)
        at += _FOUND.size
        if at + cells * CELL.itemsize > len(data):
            raise ValueError("an answer ends early")
        found.append(Selection(start, end, interval, np.frombuffer(data, CELL, cells, at)) if there else None)
        at += cells * CELL.itemsize
    if at != len(data):
        raise ValueError("an answer goes on after its end")
    return found
