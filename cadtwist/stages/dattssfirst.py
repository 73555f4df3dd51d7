"""What the first DaTtSs shows: a user's state by process, and a day in steps of ten minutes.  Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from cadtwist.model.partial import DEFAULT_PERCENTILE, Partial, minute
from cadtwist.stages.dattss import plain
from cadtwist.stages.dattsshistory import DAY_S, WEEK_DAYS

__all__ = ["by_process", "day", "process_of"]

_STEP_S = 600
_MEASURED = ("pct", "sum", "cnt", "max", "min", "top", "bot", "fst", "lst")
_ZERO = {"pct": DEFAULT_PERCENTILE, **dict.fromkeys(_MEASURED[1:], 0)}


def process_of(path: str, known: Collection[str]) -> tuple[str, str]:
    """Return (process, name) of a path: the longest `known` process that it begins with, else its first part.

    The process is empty where the path has one part only.
    """
    end = path.rfind(".")
    while end > 0:
        if path[:end] in known:
            return path[:end], path[end + 1 :]
        end = path.rfind(".", 0, end)
    process, dot, name = path.partition(".")
    return (process, name) if dot else ("", path)


def by_process(
    status: dict[str, list[dict[str, Any]]], known: Collection[str]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the entries of a status by process and type, their `pth` a `nam`; those of no process are left out."""
    found = {process: {kind: list[dict[str, Any]]() for kind in status} for process in sorted(known)}
    for kind, entries in status.items():
        for entry in entries:
            process, name = process_of(entry["pth"], known)
            if process:
                shown = found.setdefault(process, {each: [] for each in status})
                shown[kind].append({("nam" if key == "pth" else key): value for key, value in entry.items()})
                shown[kind][-1]["nam"] = name
    return found


def day(minutes: Iterable[tuple[float, Partial]], kind: str, offset: int, now: float) -> dict[str, list[Any]]:
    """Return `today` up to now, and `past`, a whole day: one aggregate of each ten minutes (start, partial).

    Today's are zero where there is nothing; `past` has the mean of the days of the week before that have something
    then, None where no day has.  Local time is UTC less `offset` minutes.
    """
    steps = DAY_S // _STEP_S
    of_day: dict[tuple[int, int], list[Partial]] = {}
    for start, partial in minutes:
        which, second = divmod(int(start) - offset * 60, DAY_S)
        of_day.setdefault((which, second // _STEP_S), []).append(partial)
    shown = {place: _measured(partials) for place, partials in of_day.items()}
    this, second = divmod(int(now) - offset * 60, DAY_S)
    zero = {"typ": kind, **_ZERO}
    today = [{**zero, **shown.get((this, step), {})} for step in range(second // _STEP_S + 1)]
    week = range(this - WEEK_DAYS, this)
    past = [_mean([shown[which, step] for which in week if (which, step) in shown], kind) for step in range(steps)]
    return {"today": [_plain(each) for each in today], "past": past}


def _measured(partials: list[Partial]) -> dict[str, float]:
    whole = minute(partials)
    return {name: getattr(whole, name) for name in _MEASURED}


def _mean(days: list[dict[str, float]], kind: str) -> dict[str, Any] | None:
    if not days:
        return None
    return _plain({"typ": kind, **{name: sum(each[name] for each in days) / len(days) for name in _MEASURED}})


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {name: value if name == "typ" else plain(value) for name, value in entry.items()}
