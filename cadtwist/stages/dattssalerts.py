"""Whether a user's alerts hold, and what is told of those that do.  Pure: minutes in, pending alerts out."""

from __future__ import annotations

import html
from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from cadtwist.model.dattssalert import PROCESS, Alert
from cadtwist.model.partial import Partial

__all__ = ["AlertWatch", "Pending", "alert_page"]

MINUTE_S = 60.0
_TYPES = {"c": "Counter", "g": "Gauge", "ms": "Timer", PROCESS: "Process"}
_KEYS = {
    "sum": "Total", "avg": "Average", "lst": "Last value", "max": "Maximum", "min": "Minimum",
    "age": "Seconds since it was seen",
}  # fmt: skip
_OPERATORS = {"<": "is smaller than", ">": "is greater than", "=": "equals to"}

Target = tuple[str, str]
LastSeen = Callable[[str, str], float | None]
"""(type, path) -> when something was heard of it last, epoch seconds; None = never."""


@dataclass(frozen=True)
class Pending:
    """An alert that held, and the value that was seen then."""

    alert: Alert
    seen: float


@dataclass
class AlertWatch:
    """Watches for one user.  Times are epoch seconds; minutes are told with the time of their commit.

    Averages go over `minutes` minutes, and nothing is checked before so many have passed since `since`.
    """

    since: float
    minutes: int = 5
    pending: dict[Target, Pending] = field(default_factory=dict)
    told_at: float = float("-inf")
    _records: dict[Target, deque[tuple[int, Partial]]] = field(default_factory=dict)
    _alerts: dict[Target, list[Alert]] = field(default_factory=dict)

    @property
    def watched(self) -> AbstractSet[Target]:
        """The statistics whose minutes matter."""
        return self._alerts.keys()

    def watch(self, alerts: Iterable[Alert]) -> None:
        """Watch these alerts, and no others."""
        self._alerts = {}
        for alert in alerts:
            self._alerts.setdefault((alert.kind, alert.path), []).append(alert)
        for target in [each for each in self._records if each not in self._alerts]:
            del self._records[target]
        for target in [each for each in self.pending if each not in self._alerts]:
            del self.pending[target]

    def feed(self, now: float, minutes: Iterable[Partial]) -> None:
        """Take the minutes that a commit has stored."""
        number = int(now // MINUTE_S)
        for each in minutes:
            target = each.typ, each.pth
            if target in self._alerts:
                self._records.setdefault(target, deque()).append((number, each))

    def check(self, now: float, last_seen: LastSeen) -> list[Pending]:
        """Return the alerts that hold now and are not pending already; they are pending after that."""
        if now - self.since < self.minutes * MINUTE_S:
            return []
        found = []
        for target, alerts in self._alerts.items():
            records = self._recent(target, now)
            for alert in alerts:
                seen = self._seen(alert, records, now, last_seen)
                if target not in self.pending and seen is not None and alert.holds(seen):
                    found.append(Pending(alert, seen))
                    self.pending[target] = found[-1]
        return found

    def to_tell(self, now: float, between_s: float) -> list[Pending]:
        """Return what is to be told now, at most once in `between_s`; nothing is pending after that."""
        if not self.pending or now - self.told_at <= between_s:
            return []
        self.told_at = now
        pending, self.pending = list(self.pending.values()), {}
        return pending

    def _recent(self, target: Target, now: float) -> deque[tuple[int, Partial]]:
        records = self._records.get(target, deque())
        oldest = int(now // MINUTE_S) - self.minutes
        while records and records[0][0] <= oldest:
            records.popleft()
        return records

    def _seen(
        self, alert: Alert, records: deque[tuple[int, Partial]], now: float, last_seen: LastSeen
    ) -> float | None:
        """Return the value that an alert is about, None where there is none."""
        if alert.key == "age":
            last = last_seen(alert.kind, alert.path)
            return None if last is None else max(now - last, 0.0)
        this = int(now // MINUTE_S)
        newest = records[-1] if records else None
        if alert.key == "avg":
            total = sum(each.sum for _, each in records)
            if alert.kind != "c":
                count = sum(each.cnt for _, each in records)
                return round(total / count, 2) if count else None
            covered = self.minutes if newest is not None and newest[0] == this else self.minutes - 1
            return round(total / (max(covered, 1) * MINUTE_S), 2)
        if alert.key == "lst":
            return None if newest is None else newest[1].lst
        if newest is None or newest[0] < this - 1:
            return 0.0
        return float(getattr(newest[1], alert.key))


def alert_page(pending: list[Pending], most: int) -> str:
    """Return the HTML that tells of alerts, of the first `most` in a table."""
    rows = "".join(
        f"<tr><td>{_TYPES[alert.kind]}</td><td>{html.escape(alert.path)}</td>"
        f"<td>{_KEYS[alert.key]} {_OPERATORS[alert.operator]} {_number(alert.value)}</td><td>{_number(seen)}</td></tr>"
        for alert, seen in ((each.alert, each.seen) for each in pending[:most])
    )
    table = f"<table><tr><th>Type</th><th>Path</th><th>Condition</th><th>Seen value</th></tr>{rows}</table>"
    more = len(pending) - most
    others = f"<p>{more} others alerts have been generated...</p>" if more > 0 else ""
    return f"<html><body>{table}{others}</body></html>"


def _number(value: float) -> str:
    return f"{value:,.2f}"
