"""Which destinations are checked, how, and in what rhythm: from the Config to `net.health`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from twisted.application.service import Service

from cadtwist.config.model import Config
from cadtwist.config.relaymodel import DestinationConfig, HealthConfig
from cadtwist.net.health import HealthLimits, HealthService
from cadtwist.telemetry import Telemetry

__all__ = ["RelayHealth", "check_url"]


def check_url(destination: DestinationConfig) -> str:
    """Return what tells whether a destination lives, "" where nothing does: UDP says nothing of its other end."""
    if destination.check:
        return destination.check
    if destination.transport == "unix":
        return f"unix:{'//' if destination.path.startswith('/') else ''}{quote(destination.path)}"
    return "" if destination.transport == "udp" else destination.address


class RelayHealth(Service):
    """One HealthService for each rhythm that destinations have.  Reactor thread.

    `changed(name, alive)` hears of each change; who is no longer checked is alive.
    """

    name = "health"

    def __init__(
        self, reactor: Any, config: Config, telemetry: Telemetry, changed: Callable[[str, bool], object]
    ) -> None:
        self._reactor = reactor
        self._telemetry = telemetry
        self._changed = changed
        self._services: dict[HealthLimits, HealthService] = {}
        self.down: set[str] = set()
        self.change(config)

    @property
    def checks(self) -> dict[str, str]:
        """The URL by which each destination that is checked is checked."""
        return {name: url for service in self._services.values() for name, url in service.checks.items()}

    def change(self, config: Config) -> None:
        """Check the destinations of `config` from now on; what is known of those that were checked alike stays."""
        wanted: dict[HealthLimits, dict[str, str]] = {}
        for destination in config.destinations:
            limits, url = _limits(destination.health or config.health, destination), check_url(destination)
            if limits.interval_s and url:
                wanted.setdefault(limits, {})[destination.name] = url
        for limits in [limits for limits in self._services if limits not in wanted]:
            self._services.pop(limits).stopService()
        for limits, checks in wanted.items():
            self._watch(limits, checks)
        still = {name for service in self._services.values() for name in service.down}
        for name in self.down - still:
            self._told(name, True)

    def _watch(self, limits: HealthLimits, checks: dict[str, str]) -> None:
        service = self._services.get(limits)
        fresh = service is None
        if service is None:
            account = self._telemetry.account(f"health every {limits.interval_s:g} s")
            service = self._services[limits] = HealthService(self._reactor, limits, account)
            service.listen(self._told)
        service.keep(checks)
        for name, url in checks.items():
            service.watch(name, url)
        if fresh and self.running:
            service.startService()

    def _told(self, name: str, alive: bool) -> None:
        (self.down.discard if alive else self.down.add)(name)
        self._changed(name, alive)

    def startService(self) -> None:
        """Begin to check."""
        super().startService()
        for service in self._services.values():
            service.startService()

    def stopService(self) -> Any:
        """Check no more."""
        super().stopService()
        for service in self._services.values():
            service.stopService()


def _limits(health: HealthConfig, destination: DestinationConfig) -> HealthLimits:
    """Return the rhythm of a destination; the nodes of statsd's proxy are asked at once."""
    at_once = destination.check.startswith("statsd://")
    return HealthLimits(health.interval_s, health.timeout_s, health.failures, health.retry_checks, at_once)
