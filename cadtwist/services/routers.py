"""From the configuration of relays to their lines, filters and routers.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from cadtwist.codec.relayline import COMMANDS, Dialect, graphite_lines, regex_lines, statsd_lines
from cadtwist.config.model import Config
from cadtwist.config.relaymodel import DestinationConfig, GroupConfig, LineConfig, RelayConfig
from cadtwist.model.aggregationrules import AggregateRule, outputs
from cadtwist.model.prereg import PreReg, PreRegFilter, Verdict
from cadtwist.routing.groups import group_router
from cadtwist.routing.ring import Member
from cadtwist.routing.routers import Router
from cadtwist.services.space import GRAPHITE
from cadtwist.stages.names import Outcome
from cadtwist.stages.relaynames import IngressFilter, OneField

__all__ = ["Sections", "dialect_of", "ingress", "members_of", "prereg_of", "preregs_of", "refusal", "router_of"]

_DIVERSE = ("carbon", "carbon_fast")


def members_of(group: GroupConfig, destinations: Mapping[str, DestinationConfig]) -> list[Member]:
    """Return the members of a group as rings know them; they repeat where shards do."""
    keys = group.hash_keys or tuple(
        destinations[name].address if group.method == "cadent" else "" for name in group.members
    )
    return [
        Member(name, destinations[name].host, destinations[name].port, destinations[name].instance, key)
        for name, key in zip(group.members, keys, strict=False)
    ]


def router_of(
    group: GroupConfig, destinations: Mapping[str, DestinationConfig], rules: Sequence[AggregateRule] = ()
) -> Router:
    """Return the router of a group; its targets are names of destinations.  ValueError for values that do not fit."""
    return group_router(
        group.method,
        members_of(group, destinations),
        hash_type=group.hash,
        elter=group.elter,
        vnodes=group.vnodes,
        copies=group.replication,
        diverse=group.diverse_replicas and group.method in _DIVERSE,
        stand_in=group.dynamic or group.down_policy == "remove_node",
        pools=group.pool_replicas,
        aggregates=partial(outputs, rules) if group.aggregated else None,
        rules=[(rule.pattern, rule.destinations, rule.continues) for rule in group.rules],
    )


def dialect_of(lines: LineConfig) -> Dialect:
    """Return how the lines of a relay look."""
    if lines.format == "statsd":
        commands = COMMANDS if lines.status_commands else frozenset[bytes]()
        return statsd_lines(lines.validate, lines.validate_tags, lines.point_tag_regex, lines.strict, commands)
    if lines.format == "regex":
        return regex_lines(lines.regex, lines.time_layout, lines.strict)
    return graphite_lines(lines.validate, lines.cleaning, lines.strict)


def prereg_of(relay: RelayConfig, accumulates: bool = False) -> PreReg:
    """Return the filters of a relay; what none of them matches goes to its default relay, or stays.

    `accumulates`: it stays, to be added up.
    """
    filters = [PreRegFilter(rule.kind, rule.pattern, rule.relay, rule.action == "reject") for rule in relay.filters]
    return PreReg(filters, (not accumulates and relay.default_relay) or relay.name)


def preregs_of(config: Config, accumulates: bool) -> dict[str, PreReg]:
    """Return the filters of the relays that have some.

    They are for lines that came in, which `accumulates` has their relays add up, or for those that accumulators made.
    """
    added_up = {each.relay for each in config.accumulators if accumulates}
    return {
        relay.name: prereg_of(relay, relay.name in added_up)
        for relay in config.relays
        if relay.filters or relay.default_relay
    }


class Sections:
    """Which relay a metric ends in that came in at `entry`: the filters of the others are asked on the way.

    Relays that redirect it round in a circle have it rejected.
    """

    def __init__(self, preregs: Mapping[str, PreReg], entry: str) -> None:
        self._preregs = preregs
        self._entry = entry

    def decide(self, name: str) -> Verdict:
        """Return what becomes of `name`."""
        here, passed, title = self._entry, set[str](), ""
        while here in self._preregs:
            verdict = self._preregs[here].decide(name)
            title = verdict.filter or title
            if verdict.rejected or verdict.backend == here:
                return verdict
            passed.add(here)
            here = verdict.backend
            if here in passed:
                return Verdict("", True, "a circle of redirections")
        return Verdict(here, False, title)


def ingress(group: GroupConfig) -> IngressFilter | None:
    """Return the rule of a group about the names that it takes, None where it takes all."""
    if not group.input_filter and not group.input_blacklist:
        return None
    return IngressFilter(group.input_filter or None, group.input_blacklist or None)


def refusal(
    group: GroupConfig, destinations: Mapping[str, DestinationConfig], space: str
) -> Callable[[str], Outcome | None] | None:
    """Return the rule of a group about the names of a key space, some of which no line can have; None: it takes all."""
    rule = ingress(group)
    lines = space == GRAPHITE and any(destinations[name].protocol == "line" for name in group.members)
    return OneField(rule) if lines else rule
