"""proxyConfig.js of statsd's cluster proxy: text in, Config out."""

from __future__ import annotations

import os
from math import inf
from typing import Any

from cadtwist.config.checks import faults
from cadtwist.config.errors import Problems
from cadtwist.config.jsobject import Node, read_object
from cadtwist.config.model import Config, Listener, LocalStatsConfig, SelfMetricsConfig
from cadtwist.config.relaychecks import host_and_port
from cadtwist.config.relaymodel import (
    DestinationConfig,
    GroupConfig,
    HealthConfig,
    LineConfig,
    ProcessesConfig,
    QueueConfig,
    RelayConfig,
)
from cadtwist.config.tomllines import KeyPath
from cadtwist.config.tree import Source, Table

__all__ = ["load_statsd_proxy"]

_SERVERS = ("udp", "tcp")
_EVERYWHERE = "0.0.0.0"  # noqa: S104 (the proxy's default)
_CACHE = "where a name goes is kept with the name, in the memory that all names share"


def load_statsd_proxy(text: str, path: str, problems: Problems, instance: str = "a") -> Config:
    """Read `text`; every fault is noted, and the Config only counts if there is none."""
    node = read_object(text, path, problems)
    if node is None:
        return Config()
    lines: dict[KeyPath, int] = {}
    tree = _plain(node, (), lines)
    source = Source(path, lines, problems)
    table = Table(source, tree, ())
    nodes = _nodes(table)
    interval_ms = table.number("checkInterval", 10_000.0)
    if not 1000 <= interval_ms <= 86_400_000:
        table.error("checkInterval", f"{interval_ms:g} is out of range, 1000 to 86400000 ms")
        interval_ms = 10_000.0
    members = tuple(node.name for node in nodes)
    group = GroupConfig(name="nodes", method="hashring", members=members, down_policy="remove_node")
    config = Config(
        program="statsd-proxy",
        instance=instance,
        listeners=_listeners(table),
        relays=(
            RelayConfig(
                name="proxy",
                lines=LineConfig(format="statsd", validate=False),
                groups=(group,) if members else (),
            ),
        ),
        destinations=nodes,
        health=HealthConfig(interval_s=interval_ms / 1000, timeout_s=interval_ms / 1000, failures=0, retry_checks=1),
        processes=ProcessesConfig(workers=_workers(table)),
        self_metrics=SelfMetricsConfig(interval_s=0.0),
        local_stats=LocalStatsConfig(interval_s=0.0),
    )
    table.has_no_effect("cacheSize", _CACHE)
    table.note_unknown()
    for place, fault in faults(config):
        source.error(_written(place), fault)
    return config


def _plain(node: Node, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """Return the value of `node` without lines, which go to `lines`."""
    lines[path] = node.line
    if isinstance(node.value, dict):
        return {key: _plain(inner, (*path, key), lines) for key, inner in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(inner, (*path, number), lines) for number, inner in enumerate(node.value)]
    return node.value


def _nodes(table: Table) -> tuple[DestinationConfig, ...]:
    found: dict[str, DestinationConfig] = {}
    for node in table.tables("nodes"):
        host = node.text("host")
        port = node.whole("port", 0, "destinations.port")
        admin = node.whole("adminport", 0, "destinations.port")
        node.note_unknown()
        name = f"{host}:{port}"
        if host_and_port(f"[{host}]:{port}" if ":" in host else name) is None:
            table.source.error(node.path, "host and port are needed")
            continue
        if not admin:
            table.source.error(node.path, "adminport is needed: it is asked for `health`")
            continue
        if name in found:
            table.source.warning(node.path, f"{name} is there twice")
            continue
        shown = f"[{host}]" if ":" in host else host
        found[name] = DestinationConfig(
            name=name,
            transport="udp",
            host=host,
            port=port,
            datagram_bytes=0,
            recycle_s=inf,
            check=f"statsd://{shown}:{admin}",
            queue=QueueConfig(resend_window_s=0.0, resend_window_bytes=0),
        )
    if not found and not table.source.problems.failed:
        table.source.error(table.here("nodes"), "at least one node {host, port, adminport} is needed")
    return tuple(found.values())


def _listeners(table: Table) -> tuple[Listener, ...]:
    server = table.text("server", "./servers/udp")
    kind = server.rsplit("/", 1)[-1].removesuffix(".js")
    if kind not in _SERVERS:
        table.error("server", f"{server!r} is unknown; known are ./servers/udp and ./servers/tcp")
    ipv6 = table.flag("address_ipv6")
    host = table.text("host", "::" if ipv6 else _EVERYWHERE)
    port = table.whole("port", 8125, "listeners.port")
    admin = table.whole("mgmt_port", 8126, "listeners.port")
    doors = [Listener(protocol="line", transport="tcp" if kind == "tcp" else "udp", interface=host, port=port)]
    if admin:
        interface = table.text("mgmt_address", _EVERYWHERE)
        doors.append(Listener(protocol="proxyadmin", interface=interface, port=admin))
    return tuple(doors)


def _workers(table: Table) -> int:
    """Return how many processes are asked for: `forkCount`, of which one alone forks nothing."""
    if table.ask("forkCount") == "auto":
        return min(os.cpu_count() or 1, 256)
    return min(max(table.whole("forkCount", 0), 1), 256)


def _written(place: tuple[str | int, ...]) -> tuple[str | int, ...]:
    if place[:1] == ("listeners",):
        return ("port",) if place[1:2] == (0,) else ("mgmt_port",)
    if place[:1] == ("destinations",):
        return ("nodes",)
    return ()
