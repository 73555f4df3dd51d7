"""Parts of names: nodes, keys of groups, and numbers as legends show them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cadtwist.query.functions.spec import ArgumentError
from cadtwist.query.target import first_path
from cadtwist.query.timeseries import TimeSeries

__all__ = ["SYSTEMS", "grouped", "key_of", "scaled_unit", "shown_number", "truncated"]

SYSTEMS: dict[str, tuple[tuple[str, float], ...]] = {
    "si": (("P", 1000.0**5), ("T", 1000.0**4), ("G", 1000.0**3), ("M", 1000.0**2), ("k", 1000.0)),
    "binary": (("Pi", 1024.0**5), ("Ti", 1024.0**4), ("Gi", 1024.0**3), ("Mi", 1024.0**2), ("Ki", 1024.0)),
    "sec": (("Y", 31_536_000), ("M", 2_592_000), ("D", 86_400), ("H", 3600), ("m", 60)),
    "msec": (("Y", 31_536_000_000), ("M", 2_592_000_000), ("D", 86_400_000), ("H", 3_600_000), ("m", 60_000),
             ("s", 1000)),
    "none": (),
}  # fmt: skip
"""Prefixes of units and their sizes, the largest first."""


def key_of(series: TimeSeries, nodes: Sequence[object]) -> str:
    """Return the nodes and tags of a series, joined by dots: whole numbers count nodes of its first path.

    A number out of range is looked up among the tags, as any text is; what is missing is empty.
    """
    parts = first_path(series.name).partition(";")[0].split(".")
    found = []
    for node in nodes:
        if isinstance(node, int) and -len(parts) <= node < len(parts):
            found.append(parts[node])
        else:
            found.append(series.tags.get(str(node), ""))
    return ".".join(found)


def grouped(series: Sequence[TimeSeries], nodes: Sequence[object]) -> dict[str, list[TimeSeries]]:
    """Return series by their `key_of`, in the order in which keys are first seen."""
    groups: dict[str, list[TimeSeries]] = {}
    for one in series:
        groups.setdefault(key_of(one, nodes), []).append(one)
    return groups


def scaled_unit(value: float, system: str) -> tuple[float, str]:
    """Return a value in the largest unit of a system that is not above it, and that unit's prefix."""
    if system not in SYSTEMS:
        raise ArgumentError(f"Unknown unit system: {system}")
    for prefix, size in SYSTEMS[system]:
        if abs(value) >= size:
            return value / size, prefix
    return value, ""


def truncated(value: float) -> str:
    """Return a number without its fraction, as names show some; ArgumentError for one without end."""
    if not math.isfinite(value):
        raise ArgumentError(f"{value} is no number that may be used here")
    return str(int(value))


def shown_number(value: float, whole: bool) -> str:
    """Return a value as Python shows it, `None` for an unknown one."""
    if value != value:
        return "None"
    return str(int(value)) if whole else str(float(value))
