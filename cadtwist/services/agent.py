"""carbon's own metrics, read off the parts of a running cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import psutil

from cadtwist.services.selfstats import AgentStats
from cadtwist.telemetry import Account, Telemetry

__all__ = [
    "RECEIVERS",
    "accepted_points",
    "agent_stats",
    "listed_points",
    "open_connections",
    "received_points",
]

RECEIVERS = ("line ", "pickle ", "protobuf ")


def agent_stats(telemetry: Telemetry, points: Any, prefix: str) -> AgentStats:
    """Return the metrics of a cache (`points` its PointStore) under `prefix`, named as carbon-cache names its own."""
    cache = telemetry.account("cache")
    writer = telemetry.account("writer")
    process = psutil.Process()

    def asked(what: str) -> Callable[[], float]:
        return lambda: sum(account.counters.get(what, 0) for account in _of(telemetry, ("cachequery ",)))

    def cpu_seconds() -> float:
        times = process.cpu_times()
        return times.user + times.system

    def counted(account: Account, what: str) -> Callable[[], float]:
        return lambda: account.counters.get(what, 0)

    def dropped(account: Account, reason: str) -> Callable[[], float]:
        return lambda: account.dropped.get(reason, 0)

    return AgentStats(
        prefix,
        {
            "metricsReceived": lambda: accepted_points(telemetry),
            "blacklistMatches": lambda: listed_points(telemetry, "blacklist"),
            "whitelistRejects": lambda: listed_points(telemetry, "whitelist"),
            "cache.queries": asked("queries"),
            "cache.bulk_queries": asked("bulk_queries"),
            "cache.overflow": dropped(cache, "cache_full"),
            "updateOperations": counted(cache, "updates"),
            "committedPoints": counted(cache, "committed_points"),
            "creates": counted(cache, "creates"),
            "droppedCreates": lambda: 0,
            "errors": counted(cache, "errors"),
        },
        {
            "activeConnections": lambda: open_connections(telemetry),
            "memUsage": lambda: process.memory_info().rss,
            "cache.size": lambda: points.points,
            "cache.queues": lambda: points.metrics,
        },
        cpu_seconds,
        lambda: writer.counters.get("update_microseconds", 0) / 1e6,
        asked("bulk_metrics"),
    )


def received_points(telemetry: Telemetry) -> float:
    """Return how many datapoints came in at all receivers."""
    return sum(account.received for account in _of(telemetry, RECEIVERS))


def listed_points(telemetry: Telemetry, reason: str) -> float:
    """Return how many datapoints a list has refused: `blacklist` or `whitelist`."""
    return sum(account.dropped.get(reason, 0) for account in _of(telemetry, ("names",)))


def accepted_points(telemetry: Telemetry) -> float:
    """Return how many datapoints came in and were not refused by a list: carbon's `metricsReceived`."""
    return received_points(telemetry) - listed_points(telemetry, "blacklist") - listed_points(telemetry, "whitelist")


def open_connections(telemetry: Telemetry) -> float:
    """Return how many connections all receivers have now."""
    accounts = [account for account in _of(telemetry, RECEIVERS) if "connections_open" in account.gauges]
    return sum(account.gauges["connections_open"]() for account in accounts)


def _of(telemetry: Telemetry, prefixes: Iterable[str]) -> list[Account]:
    starts = tuple(prefixes)
    return [account for name, account in telemetry.accounts.items() if name.startswith(starts)]
