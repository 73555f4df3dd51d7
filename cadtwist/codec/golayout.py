"""Times written as Go writes them: a layout shows how its reference moment, 2 January 2006 15:04:05, would look."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

__all__ = ["LayoutError", "reader"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
                "november", "december")  # fmt: skip
_DAYS = "mon|tue|wed|thu|fri|sat|sun"
_LONG_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"
_PARTS = {
    "January": ("month_name", "|".join(_LONG_MONTHS)),
    "Jan": ("month_name", "|".join(_MONTHS)),
    "Monday": ("", _LONG_DAYS),
    "Mon": ("", _DAYS),
    "MST": ("zone_name", r"[A-Z]{3,5}|[+-]\d\d"),
    "2006": ("year", r"\d{4}"),
    "-07:00:00": ("offset", r"[+-]\d\d:\d\d:\d\d"),
    "-07:00": ("offset", r"[+-]\d\d:\d\d"),
    "-0700": ("offset", r"[+-]\d{4}"),
    "-07": ("offset", r"[+-]\d\d"),
    "Z07:00": ("offset", r"Z|[+-]\d\d:\d\d"),
    "Z0700": ("offset", r"Z|[+-]\d{4}"),
    "Z07": ("offset", r"Z|[+-]\d\d"),
    "002": ("year_day", r"\d{3}"),
    "01": ("month", r"\d\d"),
    "02": ("day", r"\d\d"),
    "03": ("hour12", r"\d\d"),
    "04": ("minute", r"\d\d"),
    "05": ("second", r"\d\d(?:[.,]\d+)?"),
    "06": ("short_year", r"\d\d"),
    "15": ("hour", r"\d\d"),
    "PM": ("half", "AM|PM"),
    "pm": ("half", "am|pm"),
    "_2": ("day", r"[ \d]?\d"),
    "1": ("month", r"\d\d?"),
    "2": ("day", r"\d\d?"),
    "3": ("hour12", r"\d\d?"),
    "4": ("minute", r"\d\d?"),
    "5": ("second", r"\d\d?(?:[.,]\d+)?"),
}
_TOKENS = re.compile("|".join([*map(re.escape, _PARTS), r"[.,]0+(?!\d)|[.,]9+(?!\d)", "."]), re.DOTALL)


class LayoutError(ValueError):
    """A layout that names the same part twice."""


def reader(layout: str) -> Callable[[str], float | None]:
    """Return a function from a text in `layout` to epoch seconds, None where the text is no such time.

    What the layout lacks is that of Go: year 0 (and so no time that Graphite knows), 1 January, 00:00, UTC.
    """
    pattern, names = "", set[str]()
    for token in _TOKENS.findall(layout):
        name, digits = _PARTS.get(token, ("", ""))
        if name in names:
            raise LayoutError(f"{token} says {name} once more")
        if re.fullmatch(r"[.,][09]+", token):
            # a fraction: that of the seconds before it, which take one anyway
            continue
        if name:
            names.add(name)
            pattern += f"(?P<{name}>{digits})"
        else:
            pattern += f"(?:{digits})" if digits else re.escape(token)
    shape = re.compile(pattern, re.IGNORECASE)

    def read(text: str) -> float | None:
        match = shape.fullmatch(text)
        if match is None:
            return None
        try:
            return _moment({name: part for name, part in match.groupdict().items() if part})
        except (ValueError, OverflowError):
            return None

    return read


def _moment(parts: dict[str, str]) -> float:
    """Return epoch seconds of the parts of a time; ValueError where there is no such time."""
    year = int(parts.get("year", 0))
    if "short_year" in parts:
        short = int(parts["short_year"])
        year = short + (1900 if short >= 69 else 2000)
    month = int(parts.get("month", 1))
    if "month_name" in parts:
        month = _MONTHS.index(parts["month_name"][:3].lower()) + 1
    hour = int(parts.get("hour", parts.get("hour12", 0)))
    if "hour12" in parts and not 0 <= hour <= 12:
        raise ValueError("no such hour")
    half = parts.get("half", "").lower()
    if half == "pm" and hour < 12:
        hour += 12
    elif half == "am" and hour == 12:
        hour = 0
    seconds = float(parts.get("second", "0").replace(",", "."))
    when = datetime(year, month, int(parts.get("day", "1")), hour, int(parts.get("minute", 0)), int(seconds),
                    tzinfo=timezone.utc)  # fmt: skip
    if "year_day" in parts:
        when = when.replace(month=1, day=1) + timedelta(days=int(parts["year_day"]) - 1)
    return when.timestamp() + seconds % 1 - _offset_s(parts.get("offset", ""))


def _offset_s(text: str) -> int:
    """Return the seconds east of UTC of `+hh`, `+hhmm`, `+hh:mm` or `+hh:mm:ss`."""
    digits = text[1:].replace(":", "")
    if not digits:
        return 0
    seconds = int(digits[:2]) * 3600 + int(digits[2:4] or 0) * 60 + int(digits[4:6] or 0)
    return -seconds if text[0] == "-" else seconds
