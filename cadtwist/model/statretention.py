"""Retentions of istatd's counters: `interval:retention[:name[:lambda]]`, comma separated.

An entry with a lambda keeps a season: each cell is blended with the one a season ago.  No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "DEFAULT_RETENTION",
    "StatRetention",
    "checked_retentions",
    "parse_duration",
    "parse_stat_retentions",
    "retention_text",
]

DEFAULT_RETENTION = "10s:10d,5m:1y9d,1h:6y12d,5m:7d:ret-7d:0.9"
"""What istatd keeps unless told otherwise."""

_DURATION = re.compile(r"(?:[0-9]{1,12}[smhdy])+")
_PART = re.compile(r"([0-9]+)([smhdy])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
_MAX_INTERVAL_S = 0x7FFFFFFF
_MAX_SAMPLES = 1 << 26
_MIN_SEASON_S, _MAX_SEASON_S = 10, 373 * 86400
_MAX_ENTRIES = 16
_MAX_NAME_BYTES = 255


class StatRetention(NamedTuple):
    """One file of every counter: `samples` cells of `interval` seconds in a file called `name`.

    `factor` is the weight of the old cell in a season file, 0 for plain files.
    """

    name: str
    interval: int
    samples: int
    factor: float = 0.0

    @property
    def season(self) -> int:
        """Seconds of a season, 0 for plain files."""
        return self.interval * self.samples if self.factor else 0


def parse_duration(text: str) -> int:
    """Return the seconds of `1y9d` or the like; ValueError for anything else."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no length of time (like 10s or 1y9d)")
    return sum(int(amount) * _SECONDS[unit] for amount, unit in _PART.findall(text))


def parse_stat_retentions(text: str) -> tuple[StatRetention, ...]:
    """Read a comma list of entries; ValueError tells the first fault."""
    return checked_retentions(_entry(item.strip()) for item in text.split(","))


def checked_retentions(entries: Iterable[StatRetention]) -> tuple[StatRetention, ...]:
    """Return the entries, or raise ValueError where no store can be kept by them."""
    found = tuple(entries)
    if not 1 <= len(found) <= _MAX_ENTRIES:
        raise ValueError(f"{len(found)} retentions; 1 to {_MAX_ENTRIES} are possible")
    finer: StatRetention | None = None
    for entry in found:
        if not entry.factor:
            if finer is not None and finer.factor:
                raise ValueError(f"{entry.name}: plain retentions come before seasons")
            if finer is not None and finer.interval >= entry.interval:
                raise ValueError(f"{entry.name}: each interval must be longer than the one before")
        finer = entry
    if found[0].factor:
        raise ValueError("the first retention must be a plain one")
    if len({entry.name for entry in found}) != len(found):
        raise ValueError("two retentions have the same name")
    return found


def retention_text(entries: Iterable[StatRetention]) -> str:
    """Return what `parse_stat_retentions` reads as these entries."""
    parts = []
    for entry in entries:
        lambda_text = f":{entry.factor!r}" if entry.factor else ""
        parts.append(f"{entry.interval}s:{entry.interval * entry.samples}s:{entry.name}{lambda_text}")
    return ",".join(parts)


def _entry(text: str) -> StatRetention:
    interval_text, *rest = (part.strip() for part in text.split(":"))
    if not 1 <= len(rest) <= 3:
        raise ValueError(f"{text!r} must be interval:retention[:name[:lambda]]")
    interval = parse_duration(interval_text)
    if not 0 < interval <= _MAX_INTERVAL_S:
        raise ValueError(f"{text!r}: the interval must be 1 s to {_MAX_INTERVAL_S} s")
    samples = parse_duration(rest[0]) // interval
    if not 0 < samples <= _MAX_SAMPLES:
        raise ValueError(f"{text!r}: the retention must hold 1 to {_MAX_SAMPLES} intervals")
    name = (rest[1] if len(rest) > 1 else "") or interval_text
    if "/" in name or "\0" in name or name.startswith(".") or len(name.encode()) > _MAX_NAME_BYTES:
        raise ValueError(f"{name!r} cannot be the name of a file")
    entry = StatRetention(name, interval, samples, _factor(rest[2]) if len(rest) > 2 and rest[2] else 0.0)
    if entry.factor and not _MIN_SEASON_S <= entry.season <= _MAX_SEASON_S:
        raise ValueError(f"{text!r}: a season must be {_MIN_SEASON_S} s to 373 days")
    return entry


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1:
        raise ValueError(f"lambda {text!r} must be above 0 and below 1")
    return factor
