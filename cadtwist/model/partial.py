"""DaTtSs' partial aggregates: what a client makes of the values of 5 seconds, and what a minute is made of.  Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from msgspec import Struct

__all__ = [
    "DEFAULT_PERCENTILE", "KINDS", "MAX_PATH", "Partial", "PartialPath", "is_path", "merged", "minute", "partial_of",
    "read_value",
]  # fmt: skip

KINDS = ("c", "g", "ms")
"""Counter, gauge, timer."""

DEFAULT_PERCENTILE = 0.1
PartialPath = re.compile(r"[A-Za-z0-9\-_.:]+")
"""What a path consists of."""

MAX_PATH = 1024
"""A longer one is none."""

_VALUE = re.compile(r"(-?[0-9]{1,18})(c|ms|g)(!?)", re.ASCII)


class Partial(Struct, frozen=True, kw_only=True):
    """Values of one statistic put together; the names are those of the wire.

    `pct`: `top` and `bot` are the values that this share of all exceed, or stay below.  `emp`: emphasised.
    """

    typ: str
    pth: str
    pct: float = DEFAULT_PERCENTILE
    sum: float
    cnt: float
    max: float
    min: float
    fst: float
    lst: float
    top: float
    bot: float
    emp: bool = False


def is_path(text: str) -> bool:
    """Tell whether a text is a path."""
    return len(text) <= MAX_PATH and PartialPath.fullmatch(text) is not None


def read_value(text: str) -> tuple[int, str, bool] | None:
    """Return (value, type, emphasis) of a text such as `12ms` or `3c!`, None where it is none; the rest is ignored."""
    match = _VALUE.match(text)
    return None if match is None else (int(match[1]), match[2], bool(match[3]))


def partial_of(
    kind: str, path: str, values: Sequence[float], emphasis: bool = False, percentile: float = DEFAULT_PERCENTILE
) -> Partial:
    """Return what a client makes of values, of which there is at least one, in order of arrival."""
    ordered, n = sorted(values), len(values)
    low = min(max(math.ceil(percentile * n), 0), n - 1)
    high = min(max(math.floor((1 - percentile) * n + 0.5), 0), n - 1)
    return Partial(
        typ=kind, pth=path, pct=percentile, sum=sum(values), cnt=n, max=ordered[-1], min=ordered[0], fst=values[0],
        lst=values[-1], top=ordered[high], bot=ordered[low], emp=emphasis,
    )  # fmt: skip


def minute(partials: Sequence[Partial]) -> Partial:
    """Return the approximate aggregate of partials, of which there is at least one, in order of arrival."""
    last = partials[-1]
    count = sum(each.cnt for each in partials)
    return Partial(
        typ=last.typ,
        pth=last.pth,
        pct=last.pct,
        sum=sum(each.sum for each in partials),
        cnt=count,
        max=max(each.max for each in partials),
        min=min(each.min for each in partials),
        fst=partials[0].fst,
        lst=last.lst,
        top=_beyond(partials, count * last.pct, lambda each: each.top, descending=True),
        bot=_beyond(partials, count * last.pct, lambda each: each.bot, descending=False),
        emp=any(each.emp for each in partials),
    )


def merged(one: Partial, two: Partial) -> Partial:
    """Return what a client sends when the partial `one` could not be sent before `two`."""
    return minute([one, two])


def _beyond(
    partials: Sequence[Partial], share: float, value: Callable[[Partial], float], descending: bool
) -> float:
    """Walk from the outermost partials inward until they have `share` of the values; return the value met last."""
    met, found = 0.0, 0.0
    for each in sorted(partials, key=value, reverse=descending):
        met += each.cnt
        found = value(each)
        if met >= share:
            break
    return found
