"""What Cadent's read API makes of its parameters: moments, targets, the resolution of an answer.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import numpy as np

from cadtwist.config.durations import seconds
from cadtwist.query.consolidate import reduce_groups
from cadtwist.query.timeseries import Floats
from cadtwist.query.timespec import TimeSpecError

__all__ = ["Resolution", "chosen_step", "moment", "resampled", "rounded", "split_targets"]

_LONGEST_TEXT = 64
_LATEST = 253_402_300_799  # the end of the year 9999
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{0,9})?")
_SPAN = re.compile(r"([+-]?)((?:[0-9.]+[a-zµμ]+)+)", re.ASCII | re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}( [0-9]{2}(:[0-9]{2}){0,2})?")
_FORMS = {10: "%Y-%m-%d", 13: "%Y-%m-%d %H", 16: "%Y-%m-%d %H:%M", 19: "%Y-%m-%d %H:%M:%S"}
_DAYS = {"today": 0, "yesterday": 1, "lastweek": 7}


class Resolution(NamedTuple):
    """One entry of `times`: seconds of a bin, seconds for which bins are kept."""

    step_s: float
    ttl_s: float


def moment(text: str, now: float) -> int:
    """Return the epoch seconds that a text means; TimeSpecError where it means none.

    `now`; epoch seconds, perhaps with a fraction; a span relative to now with its sign as written (`-1h`; `1h` is to
    come); RFC 3339; `YYYY-MM-DD[ hh[:mm[:ss]]]` (UTC); `today`, `yesterday`, `lastweek` (midnights, UTC).
    """
    text = text.strip()
    try:
        found = _moment(text, now) if len(text) <= _LONGEST_TEXT else None
    except (ValueError, OverflowError) as error:
        raise TimeSpecError(f"{text!r}: {error}") from None
    if found is None or not -_LATEST <= found <= _LATEST:
        raise TimeSpecError(f"{text[:_LONGEST_TEXT]!r} is no time")
    return int(found // 1)


def _moment(text: str, now: float) -> float | None:
    word = text.lower()
    if word == "now":
        return now
    if _NUMBER.fullmatch(text):
        return float(text)
    if word in _DAYS:
        midnight = datetime.fromtimestamp(now, timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
        return (midnight - timedelta(days=_DAYS[word])).timestamp()
    if _DATE.fullmatch(text):
        return datetime.strptime(text, _FORMS[len(text)]).replace(tzinfo=timezone.utc).timestamp()
    span = _SPAN.fullmatch(word)
    if span is not None:
        return now + (-1 if span[1] == "-" else 1) * seconds(span[2])
    if "T" in text.upper():
        found = datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
        return found.timestamp() if found.tzinfo is not None else None
    return None


def split_targets(values: Iterable[str]) -> list[str]:
    """Return the targets of a request, each once: commas part them, but not within braces or brackets."""
    found: dict[str, None] = {}
    for value in values:
        depth = begin = 0
        for at, char in enumerate(value):
            if char in "({[":
                depth += 1
            elif char in ")}]":
                depth = max(depth - 1, 0)
            elif char == "," and not depth:
                found.setdefault(value[begin:at].strip())
                begin = at + 1
        found.setdefault(value[begin:].strip())
    found.pop("", None)
    return list(found)


def chosen_step(times: Sequence[Resolution], start: int, end: int, now: float) -> float:
    """Return the seconds of a bin in the first of `times` that keeps all of a range long enough, else of the last."""
    for one in times:
        if max(end - start, now - start, now - end) < one.ttl_s:
            return one.step_s
    return times[-1].step_s


def rounded(when: int, step_s: float) -> int:
    """Return the multiple of a step that is nearest to a moment; what is in the middle goes up."""
    step = max(int(step_s), 1)
    rest = when % step
    return when - rest if rest < step // 2 or not rest else when - rest + step


def resampled(start: int, step: int, values: Floats, wanted: int, method: str) -> tuple[int, int, Floats]:
    """Return (start, step, values) of slots of `wanted` seconds, if that is more, filled up to a multiple of `step`.

    A slot is labelled by its end: the point at p falls into the slot t with t - step < p <= t.
    """
    factor = -(-wanted // step)
    if factor < 2 or not len(values):
        return start, step, values
    coarse = factor * step
    labels = -(-(start + step * np.arange(len(values), dtype=np.int64)) // coarse)
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    return int(labels[0]) * coarse, coarse, reduce_groups(values, starts, method)
