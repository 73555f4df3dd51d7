"""DaTtSs' graphs: today against the week before, in buckets of some minutes of the day.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from cadtwist.model.partial import Partial, minute
from cadtwist.stages.dattss import plain

__all__ = ["DEFAULT_STEP", "Range", "checked_offset", "checked_step", "curve", "ranges"]

DAY_S = 86_400
WEEK_DAYS = 7
DEFAULT_STEP = 2
_MOST_STEP = 6
_MOST_OFFSET = 24 * 60
_FIELDS = ("pct", "max", "min", "lst", "fst", "bot", "top")


class Range(NamedTuple):
    """A range of time, epoch seconds; the end is not within."""

    start: int
    end: int


def checked_step(text: str) -> int:
    """Return the step in minutes that a client asks for: 1 to 6, else 2."""
    return int(text) if text.isdecimal() and len(text) == 1 and 1 <= int(text) <= _MOST_STEP else DEFAULT_STEP


def checked_offset(text: str) -> int:
    """Return the minutes by which a client's local time is behind UTC; 0 where that is none."""
    digits = text.removeprefix("-")
    if not digits.isdecimal() or len(digits) > len(str(_MOST_OFFSET)) or int(digits) > _MOST_OFFSET:
        return 0
    return int(text)


def ranges(now: float, offset: int) -> tuple[Range, Range]:
    """Return the week before, and today, where the local time is UTC less `offset` minutes."""
    shift = offset * 60
    midnight = (int(now) - shift) // DAY_S * DAY_S + shift
    return Range(midnight - WEEK_DAYS * DAY_S, midnight), Range(midnight, midnight + DAY_S)


def curve(minutes: Iterable[tuple[float, Partial]], offset: int, step: int) -> list[dict[str, Any]]:
    """Return one entry for each bucket of `step` minutes of the local day that has minutes (start, aggregate).

    Sum and count are those of the average minute, all else is of the minutes together.
    """
    buckets: dict[int, list[Partial]] = {}
    for start, partial in minutes:
        local = (int(start) - offset * 60) % DAY_S // 60
        place = local // 60 * 60 + local % 60 // step * step
        buckets.setdefault(place, []).append(partial)
    return [_entry(place, buckets[place]) for place in sorted(buckets)]


def _entry(place: int, partials: list[Partial]) -> dict[str, Any]:
    whole, many = minute(partials), len(partials)
    shown: dict[str, Any] = {
        "dte": f"{place // 60:02d}-{place % 60:02d}",
        "sum": plain(whole.sum / many),
        "cnt": plain(whole.cnt / many),
        "typ": whole.typ,
    }
    return shown | {name: plain(getattr(whole, name)) for name in _FIELDS}
