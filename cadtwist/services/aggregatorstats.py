"""carbon's own metrics of an aggregator, beside those of its relaying part; read off the accounts of its windows."""

from __future__ import annotations

from cadtwist.services.selfstats import Metrics
from cadtwist.telemetry import Account, Telemetry

__all__ = ["AggregatorStats"]


class AggregatorStats:
    """Collects them; what was sent is told as the difference since the last telling.  Reactor thread."""

    def __init__(self, prefix: str, telemetry: Telemetry) -> None:
        self.prefix = prefix
        self._telemetry = telemetry
        self._sent = 0

    def collect(self) -> Metrics:
        """Return the metrics of the interval since the last call."""
        windows = self._windows()
        sent = sum(account.counters.get("aggregates", 0) for account in windows)
        found = {
            "allocatedBuffers": sum(account.gauges["allocated_buffers"]() for account in windows),
            "bufferedDatapoints": float(sum(account.held() for account in windows)),
            "aggregateDatapointsSent": float(sent - self._sent),
        }
        self._sent = sent
        return [(f"{self.prefix}.{name}", value) for name, value in found.items()]

    def _windows(self) -> list[Account]:
        accounts = self._telemetry.accounts.items()
        return [account for name, account in accounts if name.startswith("aggregator") and account.gauges]
