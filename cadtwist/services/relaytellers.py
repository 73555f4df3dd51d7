"""What a relay tells others of itself besides carbon's metrics: statsrelay's health metrics, Cadent's to a statsd."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService

from cadtwist.config.relaymodel import HealthMetricsConfig
from cadtwist.services.chains import KEYS, space_of
from cadtwist.services.healthmetrics import HealthMetrics
from cadtwist.services.routers import dialect_of
from cadtwist.services.sections import Sections
from cadtwist.services.statsdemission import RelayReadings, StatsdEmission, Totals

__all__ = ["relay_tellers"]


def relay_tellers(daemon: Any) -> list[IService]:
    """Return the services that tell of a `services.build.Daemon`."""
    config, graph = daemon.config, daemon.relayed
    found: list[IService] = []
    if graph is None:
        return found
    if config.health_metrics is not None:
        found.append(
            HealthMetrics(
                daemon.reactor,
                lambda: daemon.config.health_metrics or HealthMetricsConfig(),
                graph.health_lines,
                dialect_of(config.relays[0].lines),
                daemon.spaces[KEYS],
                lambda: daemon.chains.health,
                daemon.telemetry.account("health metrics"),
            )
        )
    emission = config.statsd_emission
    if emission.server:
        sections = Sections(graph, daemon.telemetry)
        readings = RelayReadings(
            graph,
            sections,
            daemon.telemetry,
            lambda relay: daemon.spaces[space_of(relay.lines)],
            daemon.watch,
            _accumulated(daemon, sections),
        )
        account = daemon.telemetry.account("statsd emission")
        found.append(StatsdEmission(daemon.reactor, emission, socket.gethostname(), readings.read, account))
    return found


def _accumulated(daemon: Any, sections: Sections) -> Callable[[Totals], None]:
    """Return what adds the figures of the accumulators that are there then, if any."""
    found: list[Any] = []

    def add(totals: Totals) -> None:
        if not daemon.chains.accumulators:
            return
        from cadtwist.services.accumulatorreadings import AccumulatorReadings  # noqa: PLC0415 (only where they are)

        if not found:
            found.append(AccumulatorReadings(sections, daemon.telemetry))
        found[0].add(totals, daemon.chains.accumulators, daemon.writers)

    return add
