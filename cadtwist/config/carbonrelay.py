"""The relay's and aggregator's part of carbon.conf: destinations, how they are chosen, and the rule files."""

from __future__ import annotations

import posixpath
from typing import Any, cast

from msgspec.structs import replace

from cadtwist.config.carbonrelayoptions import METHODS
from cadtwist.config.carbonsettings import CarbonSource, RuleFiles, Settings
from cadtwist.config.errors import Problems
from cadtwist.config.relaymodel import (
    HASHES,
    ClientTlsConfig,
    DestinationConfig,
    GroupConfig,
    Method,
    QueueConfig,
    RatioResetConfig,
    ReconnectConfig,
    RelayConfig,
    RouteRule,
)
from cadtwist.config.relayrules import (
    CarbonDestination,
    carbon_destination,
    read_aggregates,
    read_relay_rules,
    read_rewrites,
)

__all__ = ["relay_values", "rule_values"]

_QUEUE = QueueConfig(max_points=10_000, spool_bytes=1 << 30)
"""carbon's bound in memory, and ours behind it."""


def relay_values(
    settings: Settings, source: CarbonSource, storage: str, files: RuleFiles, problems: Problems
) -> dict[str, Any]:
    """Return relays, destinations and spool by their path in the Config."""
    found = _destinations(settings)
    method, aggregated = METHODS[_method(settings, source)]
    rules: tuple[RouteRule, ...] = ()
    if method == "rules":
        path, text = files.text(settings.get("RELAY_RULES", "relay-rules.conf"), source.rules, needed=True)
        if not any(report.file == path for report in problems.reports):
            rules = read_relay_rules(text, path, frozenset(destination.name for destination in found), problems)
    placing = settings.within("relays.groups.")
    if method not in HASHES:
        placing.pop("hash", None)
    elif settings.text("ROUTER_HASH_TYPE").lower() == "none":  # to carbon a hash that it does not know
        placing["hash"] = "carbon_ch"
    group = GroupConfig(
        name=_method(settings, source),
        method=cast("Method", method),
        members=tuple(destination.name for destination in found),
        aggregated=aggregated,
        rules=rules,
        **placing,
    )
    if not found:
        settings.error("DESTINATIONS", "at least one destination is needed")
    own = posixpath.join(storage, "spool", f"{source.program}-{source.instance}")
    return {
        "relays": (RelayConfig(groups=(group,)),) if found and (rules or method != "rules") else (),
        "destinations": tuple(_destination(settings, destination) for destination in found),
        "spool.directory": settings.get("SPOOL_DIR", own),
        "stages.normalise_tags": settings.get("TAG_RELAY_NORMALIZED", False),
    }


def rule_values(
    settings: Settings, source: CarbonSource, letter: str, files: RuleFiles, problems: Problems
) -> dict[str, Any]:
    """Return rewrite and aggregation rules by their path in the Config; `letter` is that of the program."""
    values: dict[str, Any] = {}
    if letter in "AB" or METHODS[_method(settings, source)][1]:
        given = source.aggregation_rules or (source.rules if letter in "AB" else "")
        name = settings.get("AGGREGATION_RULES", "aggregation-rules.conf")
        path, text = files.text(name, given, needed=letter in "AB")
        values["aggregate_rules"] = read_aggregates(text, path, problems)
    name = settings.get("REWRITE_RULES", "rewrite-rules.conf" if letter in "AB" else "")
    if name or source.rewrite_rules:
        path, text = files.text(name, source.rewrite_rules)
        rewrites = read_rewrites(text, path, problems)
        values["stages.rewrite"], values["stages.post_rewrite"] = rewrites.before, rewrites.after
    return values


def _method(settings: Settings, source: CarbonSource) -> str:
    """Return RELAY_METHOD; aggregators always place by consistent hashing."""
    if source.program != "carbon-relay":
        return "consistent-hashing"
    return str(settings.get("RELAY_METHOD", "rules"))


def _destinations(settings: Settings) -> tuple[CarbonDestination, ...]:
    found: dict[CarbonDestination, None] = {}
    for item in settings.get("DESTINATIONS", ()):
        try:
            found[carbon_destination(item)] = None
        except ValueError as error:
            settings.error("DESTINATIONS", str(error))
    return tuple(found)


def _destination(settings: Settings, found: CarbonDestination) -> DestinationConfig:
    protocol = settings.get("DESTINATION_PROTOCOL", "pickle")
    flow_control = settings.get("USE_FLOW_CONTROL", True)
    queue = replace(
        _QUEUE,
        policy=settings.get("QUEUE_POLICY", "block" if flow_control else "drop_new"),
        **settings.within("destinations.queue."),
    )
    return DestinationConfig(
        name=found.name,
        host=found.host,
        port=found.port,
        instance=found.instance,
        protocol=protocol,
        crlf=protocol == "line",
        tls=_tls(settings),
        queue=queue,
        reconnect=ReconnectConfig(**settings.within("destinations.reconnect.")),
        ratio_reset=RatioResetConfig(**settings.within("destinations.ratio_reset.")),
        **settings.within("destinations."),
    )


def _tls(settings: Settings) -> ClientTlsConfig | None:
    authority = settings.get("DESTINATION_SSL_CA", "")
    given = settings.within("destinations.tls.")
    if settings.get("DESTINATION_TRANSPORT", "none") == "ssl":
        return ClientTlsConfig(authority=authority, **given)
    for name, value in (("DESTINATION_SSL_CA", authority), ("DESTINATION_TLS_CERTIFICATE", given)):
        if value:
            settings.warning(name, "is not used: DESTINATION_TRANSPORT is not ssl")
    return None
