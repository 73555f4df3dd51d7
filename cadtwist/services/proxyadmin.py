"""The management port of statsd's cluster proxy, over the Config and who is on the ring."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from cadtwist.codec.proxyadmin import config_lines, proxy_reply
from cadtwist.config.model import Config
from cadtwist.config.relaymodel import DestinationConfig
from cadtwist.protocols.statsdadmin import StatsdAdminFactory
from cadtwist.telemetry import Telemetry

__all__ = ["ProxyFacts", "proxy_admin"]


class ProxyFacts:
    """What the commands ask.

    `config()` is the configuration in force; `ring()` has the names of the destinations that are up, in the order in
    which they came.
    """

    def __init__(self, reactor: Any, config: Callable[[], Config], ring: Callable[[], Sequence[str]]) -> None:
        self.healthy = True
        self._reactor = reactor
        self._config = config
        self._ring = ring
        self._started_at = reactor.seconds()

    def uptime_s(self) -> float:
        """Return the seconds since the start."""
        seconds: float = self._reactor.seconds() - self._started_at
        return seconds

    def nodes(self) -> Iterable[str]:
        """Return the nodes on the ring as HOST:PORT."""
        configs = {each.name: each for each in self._config().destinations}
        return [f"{configs[name].host}:{configs[name].port}" for name in self._ring() if name in configs]

    def shown(self) -> Iterable[str]:
        """Return the lines of the configuration, by the names that a file for the proxy has."""
        config = self._config()
        found: dict[str, Any] = {"nodes": [_node(each) for each in config.destinations]}
        for door in config.listeners:
            if door.protocol == "line" and "port" not in found:
                found.update(server=f"./servers/{door.transport}", host=door.interface, port=door.port)
            if door.protocol == "proxyadmin":
                found.update(mgmt_address=door.interface, mgmt_port=door.port)
        checks = [each.health or config.health for each in config.destinations]
        if checks:
            found["checkInterval"] = checks[0].interval_s * 1000
        found["forkCount"] = config.processes.workers if config.processes.workers > 1 else 0
        return config_lines(found)


def _node(destination: DestinationConfig) -> dict[str, Any]:
    check = urlsplit(destination.check)
    return {"host": destination.host, "port": destination.port, "adminport": check.port}


def proxy_admin(
    reactor: Any, config: Callable[[], Config], telemetry: Telemetry, ring: Callable[[], Sequence[str]]
) -> StatsdAdminFactory:
    """Return the factory of the management port's connections."""
    facts = ProxyFacts(reactor, config, ring)
    return StatsdAdminFactory(facts, telemetry.account("management"), reply=proxy_reply)
