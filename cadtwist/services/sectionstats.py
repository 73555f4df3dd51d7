"""The stats object of a section, with the keys that Cadent's dashboards know.  Pure: `now` is an argument.

A section is a relay of the configuration.  Of several processes each has its own; `merged` adds them up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["COUNTS", "TICK_S", "SectionStats", "merged"]

TICK_S = 5.0
"""How often the last interval's counts and the lists move on."""

COUNTS = (
    *("valid_line_count", "worker_line_count", "invalid_line_count", "success_send_count", "fail_send_count"),
    *("unsendable_send_count", "unknown_send_count", "all_lines_count", "redirected_lines_count"),
    *("rejected_lines_count", "bytes_read_count", "bytes_written_count"),
)
"""What is counted: lines, those for each destination apart, and bytes."""

_TOTALS = {"bytes_read_count": "bytes_read", "bytes_written_count": "bytes_written"}
_RATES = {count: f"{count}_persec" for count in COUNTS if count != "fail_send_count"}
_RATES["unsendable_send_count"] = "unsendable_count_persec"
_LATEST = ("listening", "max_read_buffer_size", "servers_checking")


class SectionStats:
    """The counts of a section over time: the lists have at most `points` ticks."""

    def __init__(self, points: int, started_at: float) -> None:
        self.uptime_from = started_at
        self._ticks: deque[int] = deque(maxlen=points)
        self._lists: dict[str, deque[int]] = {count: deque(maxlen=points) for count in COUNTS}
        self._told = dict.fromkeys(COUNTS, 0)

    def tick(self, now: float, totals: Mapping[str, int]) -> None:
        """End an interval `now` (seconds since the epoch); `totals` are those since the start.

        It is told as the moment when it was due, which is one for all processes.
        """
        self._ticks.append(round(round(now / TICK_S) * TICK_S * 1000))
        for count in COUNTS:
            self._lists[count].append(totals[count] - self._told[count])
            self._told[count] = totals[count]

    def told(self, now: float, totals: Mapping[str, int], state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the object; `state` has the other keys."""
        uptime = max(0.0, now - self.uptime_from)
        found: dict[str, Any] = {_TOTALS.get(count, count): totals[count] for count in COUNTS}
        for count, values in self._lists.items():
            found[f"current_{count}"] = values[-1] if values else 0
        for count, values in self._lists.items():
            found[f"{count}_list"] = list(values) or None
        found["go_routines_list"] = [0] * len(self._ticks) or None
        found["ticks_list"] = list(self._ticks) or None
        found.update(_rates(totals, uptime))
        return {**found, "go_routines": 0, "uptime_sec": int(uptime), **state}


def _rates(totals: Mapping[str, int], uptime: float) -> dict[str, float]:
    return {name: totals[count] / uptime if uptime else 0.0 for count, name in _RATES.items()}


def merged(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the objects of one section in several processes as one; there is at least one.

    A server is down when it is for any process, and up when it is for any.
    """
    found: dict[str, Any] = {}
    ticks = sorted({tick for each in told for tick in each["ticks_list"] or ()})
    ticks = ticks[-max((len(each["ticks_list"] or ()) for each in told), default=0) :] if ticks else []
    for key, first in told[0].items():
        values = [each[key] for each in told]
        if key == "ticks_list":
            found[key] = ticks or None
        elif key.endswith("_list"):
            found[key] = _added_lists(ticks, told, key)
        elif key in ("servers_up", "servers_down"):
            found[key] = list(dict.fromkeys(name for value in values for name in value or ())) or None
        elif key == "uptime_sec":
            found[key] = max(values)
        elif key == "shards":
            found[key] = _added_shards(values)
        else:
            found[key] = first if key in _LATEST else sum(values)
    found["servers_up"] = found["servers_up"] or []
    return found


def _added_lists(ticks: Sequence[int], told: Sequence[Mapping[str, Any]], key: str) -> list[int] | None:
    """Return the sums at each tick: processes tick at the same moments, but need not have begun together."""
    sums = dict.fromkeys(ticks, 0)
    for each in told:
        for tick, value in zip(each["ticks_list"] or (), each[key] or (), strict=False):
            if tick in sums:
                sums[tick] += value
    return list(sums.values()) or None


def _added_shards(values: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {**groups[0], "lines": [sum(counts) for counts in zip(*(group["lines"] for group in groups), strict=True)]}
        for groups in zip(*values, strict=True)
    ]
