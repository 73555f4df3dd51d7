"""The time grammar of `from`, `until` and `now`, with graphite-web's readings and its error texts.

A text is digits (epoch seconds, or a date YYYYMMDD), or REFERENCE and OFFSET.  References: `now`, a time of day
(`6pm`, `06:30`, `noon`, `midnight`, `teatime`) and a day (`today`, `yesterday`, `tomorrow`, `MM/DD/YY`, `YYYYMMDD`,
`november14`, `monday`), either may be missing.  Offsets: `-1h30min`, `+2d`; months have 30 days, years 365.
Peculiarities are kept because dashboards were written against them: 12am is noon, 12pm is midnight.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from cadtwist.errors import CadtwistError

__all__ = ["TimeSpecError", "parse_offset", "parse_time", "zone_named"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_UNITS = (
    ("s", 1),
    ("min", 60),
    ("h", 3600),
    ("d", 86400),
    ("w", 604800),
    ("mon", 30 * 86400),
    ("y", 365 * 86400),
)
_NAMED_HOURS = (("noon", 12), ("midnight", 0), ("teatime", 16))
_LATEST = 253_402_300_799  # the end of the year 9999
_LONGEST_TEXT = 256
_LEFT_OUT = dict.fromkeys(map(ord, "_, "))


class TimeSpecError(CadtwistError):
    """A text is no time; the message says why."""


def zone_named(name: str, default: tzinfo = timezone.utc) -> tzinfo:
    """Return the time zone of that name, `default` for one that nobody knows."""
    if not name:
        return default
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return default


def parse_time(text: str, zone: tzinfo, now: int) -> int:
    """Return epoch seconds for a text; `now` is what it is relative to.  Raises TimeSpecError."""
    if text == "now":
        return now
    if len(text) > _LONGEST_TEXT:
        raise TimeSpecError("Time is too long")
    text = text.strip().lower().translate(_LEFT_OUT)
    try:
        seconds = _parse(text, zone, now)
    except (ValueError, OverflowError) as error:
        raise TimeSpecError(str(error)) from None
    if abs(seconds) > _LATEST:
        raise TimeSpecError("Time is out of range")
    return seconds


def parse_offset(text: str) -> int:
    """Return the seconds of an offset such as `-1h30min`; the sign may be missing.  Raises TimeSpecError."""
    try:
        return _offset(text)
    except ValueError as error:
        raise TimeSpecError(str(error)) from None


def _parse(text: str, zone: tzinfo, now: int) -> int:
    if text.isdigit() and not _is_date(text):
        return int(text)
    sign = "+" if "+" in text else "-"
    reference, found, offset = text.partition(sign)
    return _reference(reference, zone, now) + (_known_offset(found + offset) if found else 0)


@lru_cache(maxsize=256)
def _known_offset(text: str) -> int:
    """Return the seconds of a short offset: requests repeat a few."""
    return _offset(text)


def _is_date(text: str) -> bool:
    return len(text) == 8 and int(text[:4]) > 1900 and int(text[4:6]) < 13 and int(text[6:]) < 32


def _reference(text: str, zone: tzinfo, now: int) -> int:
    if text in ("", "now"):
        return now
    hour, minute, rest = _time_of_day(text)
    local = datetime.fromtimestamp(now, zone).replace(tzinfo=None)
    moment = local.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return _epoch(_on_day(moment, rest, text), zone)


def _time_of_day(text: str) -> tuple[int, int, str]:
    hour = minute = 0
    colon = text.find(":")
    if 0 < colon < 3:
        hour, minute, text = int(text[:colon]), int(text[colon + 1 : colon + 3]), text[colon + 3 :]
        if text.startswith("pm"):
            hour = (hour + 12) % 24
        if text.startswith(("am", "pm")):
            text = text[2:]
    for half, shift in (("am", 0), ("pm", 12)):
        at = text.find(half)
        if 0 < at < 3:
            hour, text = int(text[:at]), text[at + 2 :]
            if shift:
                hour = (hour + shift) % 24
    for word, named in _NAMED_HOURS:
        if text.startswith(word):
            return named, 0, text[len(word) :]
    return hour, minute, text


def _on_day(moment: datetime, day: str, whole: str) -> datetime:
    shift = {"": 0, "today": 0, "yesterday": -1, "tomorrow": 1}.get(day)
    if shift is not None:
        return moment + timedelta(days=shift)
    if day.count("/") == 2:
        month, number, year = map(int, day.split("/"))
        year += 1900 if year < 1900 else 0
        year += 100 if year < 1970 else 0
        return moment.replace(year=year, month=month, day=number)
    if len(day) == 8 and day.isdigit():
        return moment.replace(year=int(day[:4]), month=int(day[4:6]), day=int(day[6:]))
    if day[:3] in _MONTHS:
        digits = day[-2:] if day[-2:].isdigit() else day[-1:]
        if not digits.isdigit():
            raise ValueError("Day of month required after month name")
        return moment.replace(month=_MONTHS.index(day[:3]) + 1, day=int(digits))
    if day[:3] in _WEEKDAYS:
        return moment - timedelta(days=(moment.weekday() - _WEEKDAYS.index(day[:3])) % 7)
    raise ValueError(f"Unknown day reference: {whole}")


def _epoch(local: datetime, zone: tzinfo) -> int:
    """Return the epoch of a wall-clock time; where that is ambiguous or does not exist, standard time is meant."""
    early, late = local.replace(tzinfo=zone, fold=0), local.replace(tzinfo=zone, fold=1)
    before, after = early.utcoffset(), late.utcoffset()
    chosen = late if before is not None and after is not None and before > after else early
    return int(chosen.timestamp())


def _offset(text: str) -> int:
    if not text:
        return 0
    sign = 1
    if not text[0].isdigit():
        if text[0] not in "+-":
            raise ValueError(f"Invalid offset: {text}")
        sign = 1 if text[0] == "+" else -1
        text = text[1:]
    total = 0
    while text:
        digits = _leading(text, str.isdigit)
        text = text[len(digits) :]
        unit = _leading(text, str.isalpha)
        text = text[len(unit) :]
        total += int(digits) * _seconds_of(unit)
    return sign * total


def _leading(text: str, test: Callable[[str], bool]) -> str:
    end = 0
    while end < len(text) and test(text[end]):
        end += 1
    return text[:end]


def _seconds_of(unit: str) -> int:
    for word, seconds in _UNITS:
        if unit.startswith(word):
            return seconds
    raise ValueError(f"Invalid offset unit '{unit}'")
