"""What the daemon tells of itself as metrics: carbon's `carbon.agents.*` names and every account of the ledger.

Pure but for the sink: `now` is an argument, and `services.build` owns the timer.  Counters are told as the
difference since the last telling, as carbon does; gauges as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from cadtwist.interfaces import ISink
from cadtwist.model.batch import NO_ID, Batch
from cadtwist.telemetry import Account, Telemetry

__all__ = ["AgentStats", "Emitter", "Metrics", "account_metrics", "metric_part"]

Reading = Callable[[], float]
Metrics = list[tuple[str, float]]
_UNSAFE = re.compile(r"[^A-Za-z0-9_:-]+")


def metric_part(text: str) -> str:
    """Return `text` as one component of a metric name: dots and other separators become underscores."""
    return _UNSAFE.sub("_", text)


@dataclass
class AgentStats:
    """carbon's own metrics of a cache (`<prefix>.agents.<host>-<instance>.*`).

    `counters` and `gauges` map carbon's names to what reads their present total or value.  The derived ones
    (`cpuUsage`, `avgUpdateTime`, `pointsPerUpdate`, `cache.bulk_queries_average_size`) come from the totals
    `cpu_seconds`, `update_seconds` and `bulk_query_metrics`.
    """

    prefix: str
    counters: Mapping[str, Reading]
    gauges: Mapping[str, Reading]
    cpu_seconds: Reading
    update_seconds: Reading
    bulk_query_metrics: Reading
    _last: dict[str, float] = field(default_factory=dict)
    _told_at: float | None = None

    def collect(self, now: float) -> Metrics:
        """Return the metrics of the interval that ends `now`; the first call only tells what is known by then."""
        elapsed = None if self._told_at is None else now - self._told_at
        self._told_at = now
        changes = {name: self._change(name, read()) for name, read in self.counters.items()}
        found = dict(changes)
        found.update((name, read()) for name, read in self.gauges.items())
        cpu = self._change("cpu_seconds", self.cpu_seconds())
        if elapsed:
            found["cpuUsage"] = 100.0 * cpu / elapsed
        update_seconds = self._change("update_seconds", self.update_seconds())
        updates = changes.get("updateOperations", 0)
        if updates:
            found["avgUpdateTime"] = update_seconds / updates
            found["pointsPerUpdate"] = changes.get("committedPoints", 0) / updates
        asked = self._change("bulk_query_metrics", self.bulk_query_metrics())
        if changes.get("cache.bulk_queries"):
            found["cache.bulk_queries_average_size"] = asked / changes["cache.bulk_queries"]
        return [(f"{self.prefix}.{name}", float(value)) for name, value in found.items()]

    def _change(self, name: str, total: float) -> float:
        change = total - self._last.get(name, 0.0)
        self._last[name] = total
        return change


def account_metrics(prefix: str, telemetry: Telemetry) -> Metrics:
    """Return every account's ledger columns, counters and gauges as totals under `<prefix>.ledger.<account>.`."""
    found: Metrics = []
    for account in telemetry.accounts.values():
        stem = f"{prefix}.ledger.{metric_part(account.name)}"
        found += [
            (f"{stem}.received", float(account.received)),
            (f"{stem}.made", float(account.made)),
            (f"{stem}.out", float(account.out)),
            (f"{stem}.merged", float(account.merged)),
            (f"{stem}.held", float(account.held())),
        ]
        found += [(f"{stem}.dropped.{metric_part(why)}", float(n)) for why, n in account.dropped.items()]
        found += [(f"{stem}.{metric_part(what)}", float(n)) for what, n in account.counters.items()]
        found += [(f"{stem}.{metric_part(what)}", float(read())) for what, read in account.gauges.items()]
    return found


class Emitter:
    """Turns named values into a Batch for `sink`: the source of metrics that are born inside the daemon.

    `intern(name, now)` gives a metric's id or `NO_ID`, which is counted as a drop.  `sink` may be replaced.
    """

    def __init__(self, account: Account, sink: ISink, intern: Callable[[bytes, int], int]) -> None:
        self._account = account
        self.sink = sink
        self._intern = intern

    def emit(self, metrics: Iterable[tuple[str, float]], now: float) -> None:
        """Send one datapoint at `now` for each (name, value); a value that is no number is left out."""
        known = [(name, value) for name, value in metrics if value == value]
        ids = np.array([self._intern(name.encode(), int(now)) for name, _ in known], np.uint32)
        values = np.array([value for _, value in known], np.float64)
        taken = ids != NO_ID
        refused = int(len(ids) - np.count_nonzero(taken))
        self._account.made += len(known)
        if refused:
            self._account.drop("table_full", refused)
            ids, values = ids[taken], values[taken]
        if len(ids):
            self._account.out += len(ids)
            self.sink.accept(Batch(ids, np.full(len(ids), now, np.float64), values))
