"""Input that cannot be a datapoint: a value, never an exception."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BAD_KINDS", "EXCERPT_BYTES", "BadInput"]

EXCERPT_BYTES = 80

BAD_KINDS = (
    "fields", "value", "timestamp", "encoding", "too_long", "empty", "nan", "name", "frame", "table_full",
    "type", "rate", "tag", "reserved", "event", "auth",
)  # fmt: skip
"""What can be wrong with a line or item; the position in this tuple is the number that kernels report."""


class BadInput(NamedTuple):
    """One refused line, item or frame: a kind of `BAD_KINDS` and at most `EXCERPT_BYTES` bytes of it."""

    kind: str
    excerpt: bytes
