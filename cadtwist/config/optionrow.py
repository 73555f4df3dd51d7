"""The form of a row in the tables of options."""

from __future__ import annotations

from math import inf

from msgspec import Struct

__all__ = ["GIB", "PORT_MAX", "Option"]

GIB = 1 << 30
PORT_MAX = 65535


class Option(Struct, frozen=True):
    """One option.

    `path` is its place in the Config (`writer.threads`); `low` and `high` are inclusive.  `reloadable`: a running
    process takes a new value; otherwise it needs a restart.
    """

    path: str
    doc: str
    unit: str = ""
    low: float = -inf
    high: float = inf
    reloadable: bool = False
