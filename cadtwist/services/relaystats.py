"""carbon's own metrics of a relay: `carbon.relays.<host>-<instance>.*`, read off the accounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psutil

from cadtwist.services.agent import accepted_points, listed_points, open_connections
from cadtwist.services.selfstats import Metrics
from cadtwist.telemetry import Telemetry

__all__ = ["RelayStats", "destination_part"]

_COUNTERS = {
    "attemptedRelays": "attempted",
    "sent": "sent",
    "batchesSent": "batches",
    "fullQueueDrops": "full_queue_drops",
    "queuedUntilConnected": "queued_until_connected",
}
"""carbon's counters of a destination, and what `DestinationFigures` calls them."""

_RESETS = "slow_connection_resets"
_MAXIMA = {"relayMaxQueueLength": "most_queued", "queuedUntilReady": "most_queued_until_ready"}
"""Largest values of an interval; reading starts a new one."""


def destination_part(host: str, port: int, instance: str | None) -> str:
    """Return a destination as carbon writes it within a metric name; dots are its only separators that go."""
    return f"{host}:{port}:{instance}".replace(".", "_")


class RelayStats:
    """Collects them; counters are told as the difference since the last telling.  Reactor thread.

    `destinations()` are by the part of the metric name that stands for them; each tells `figures()`: its counters and
    the maxima since the last call, by the names of the tables above; where they may happen, slow_connection_resets.
    """

    def __init__(self, prefix: str, telemetry: Telemetry, destinations: Callable[[], Mapping[str, Any]]) -> None:
        self.prefix = prefix
        self._telemetry = telemetry
        self._destinations = destinations
        self._process = psutil.Process()
        self._last: dict[str, float] = {}
        self._told_at: float | None = None

    def collect(self, now: float) -> Metrics:
        """Return the metrics of the interval that ends `now`."""
        elapsed = None if self._told_at is None else now - self._told_at
        self._told_at = now
        times = self._process.cpu_times()
        cpu = self._change("cpu", times.user + times.system)
        found: dict[str, float] = {
            "metricsReceived": self._change("received", accepted_points(self._telemetry)),
            "blacklistMatches": self._change("blacklist", listed_points(self._telemetry, "blacklist")),
            "whitelistRejects": self._change("whitelist", listed_points(self._telemetry, "whitelist")),
            "activeConnections": open_connections(self._telemetry),
            "memUsage": float(self._process.memory_info().rss),
        }
        if elapsed:
            found["cpuUsage"] = 100.0 * cpu / elapsed
        for part, destination in self._destinations().items():
            found.update(self._of(part, destination.figures()))
        return [(f"{self.prefix}.{name}", value) for name, value in found.items()]

    def _of(self, part: str, figures: Mapping[str, float]) -> dict[str, float]:
        stem = f"destinations.{part}"
        found = {f"{stem}.{name}": self._change(f"{part} {what}", figures[what]) for name, what in _COUNTERS.items()}
        found.update((f"{stem}.{name}", figures[what]) for name, what in _MAXIMA.items())
        told = {name: value for name, value in found.items() if value}
        if _RESETS in figures:
            told[f"{stem}.slowConnectionReset"] = self._change(f"{part} {_RESETS}", figures[_RESETS])
        return told

    def _change(self, name: str, total: float) -> float:
        change = total - self._last.get(name, 0.0)
        self._last[name] = total
        return change
