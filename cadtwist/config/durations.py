"""Spans of time as Cadent writes them: `10s`, `1h30m`, `300ms`, `5min`, `7d`, `1mon`, `10y`.  Pure."""

from __future__ import annotations

import re

__all__ = ["seconds"]

_DAY_S = 86400.0
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), _DAY_S),
    **dict.fromkeys(("w", "week", "weeks"), 7 * _DAY_S),
    **dict.fromkeys(("mon", "month", "months"), 30 * _DAY_S),
    **dict.fromkeys(("y", "year", "years"), 365 * _DAY_S),
}
_PART = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})\s*([a-zµμ]+)", re.ASCII | re.IGNORECASE)


def seconds(text: str) -> float:
    """Return the length of a span in seconds; a month has 30 days, a year 365.  ValueError if it is none."""
    total = 0.0
    at = 0
    stripped = text.strip()
    while at < len(stripped):
        part = _PART.match(stripped, at)
        unit = _UNITS.get(part[2].lower()) if part is not None else None
        if part is None or unit is None:
            break
        total += float(part[1]) * unit
        at = part.end()
    if not stripped or at < len(stripped):
        raise ValueError(f"{text!r} is not a span of time such as 10s, 5m, 1h30m or 168h")
    return total
