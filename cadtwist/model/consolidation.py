"""The ways to combine datapoints in time, by the names and numbers that whisper files carry."""

from __future__ import annotations

__all__ = ["CERES_METHODS", "DEFAULT_METHOD", "DEFAULT_XFF", "METHODS", "method_name", "method_number"]

METHODS = ("average", "sum", "last", "max", "min", "avg_zero", "absmax", "absmin")
"""Names in the order of their numbers, which begin at 1 (spelled as in storage-aggregation.conf)."""

CERES_METHODS = ("average", "sum", "last", "max", "min")
"""Those that ceres knows as well."""

DEFAULT_METHOD = "average"
DEFAULT_XFF = 0.5

_SYNONYMS = {"avg": "average"}


def method_number(name: str) -> int:
    """Return the number of a method (1..8); ValueError for a name that does not exist."""
    name = _SYNONYMS.get(name, name)
    try:
        return METHODS.index(name) + 1
    except ValueError:
        raise ValueError(f"unknown aggregation method {name!r}; known are {', '.join(METHODS)}") from None


def method_name(number: int) -> str:
    """Return the name of a method's number; ValueError for a number that whisper does not know."""
    if not 1 <= number <= len(METHODS):
        raise ValueError(f"unknown aggregation type {number}")
    return METHODS[number - 1]
