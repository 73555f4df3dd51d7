"""Servers that join a section of a running relay, or leave it: one Config becomes another.  Pure."""

from __future__ import annotations

from msgspec.structs import replace

from cadtwist.config.cadentsection import destination_of
from cadtwist.config.checks import faults
from cadtwist.config.model import Config
from cadtwist.config.relaymodel import DestinationConfig, GroupConfig, RelayConfig
from cadtwist.errors import ConfigError
from cadtwist.services.routers import members_of, router_of

__all__ = ["with_server", "without_server"]

_FIXED = {"rules": "its rules", "shards": "the shards of its map"}


def with_server(config: Config, section: str, replica: int, server: str, check: str, hashkey: str) -> Config:
    """Return `config` with `server` (a URL) in replica set `replica` of `section`; the same when it is there already.

    It is reached and checked as the first member is.  `check` is the URL of its health checks, `hashkey` its text on
    Cadent's ring.  ConfigError where that cannot be.
    """
    group = _group(config, section, replica)
    made = _destination(config, section, group, server, check)
    if _member(config, group, server) is not None:
        return config
    keys = group.hash_keys
    if group.method == "cadent":
        keys = (*(member.hashkey for member in members_of(group, _by_name(config))), hashkey)
    fresh = replace(group, members=(*group.members, made.name), hash_keys=keys)
    known = any(each.name == made.name for each in config.destinations)
    destinations = config.destinations if known else (*config.destinations, made)
    new = _with_group(replace(config, destinations=destinations), section, replica, fresh)
    present = set(faults(config))
    found = [f"{'.'.join(map(str, place))}: {text}" for place, text in faults(new) if (place, text) not in present]
    if found:
        raise ConfigError(found)
    return new


def without_server(config: Config, section: str, replica: int, server: str) -> Config:
    """Return `config` without `server` in a replica set; the same when it is not there.  ConfigError as above."""
    group = _group(config, section, replica)
    name = _member(config, group, server)
    if name is None:
        return config
    kept = [number for number, member in enumerate(group.members) if member != name]
    fresh = replace(
        group,
        members=tuple(group.members[number] for number in kept),
        hash_keys=tuple(group.hash_keys[number] for number in kept) if group.hash_keys else (),
    )
    new = _with_group(config, section, replica, fresh)
    if name not in _used(new):
        new = replace(new, destinations=tuple(each for each in new.destinations if each.name != name))
    return new


def _relay(config: Config, section: str) -> tuple[int, RelayConfig]:
    for number, relay in enumerate(config.relays):
        if relay.name == section:
            return number, relay
    raise ConfigError([f"there is no section {section!r}"])


def _group(config: Config, section: str, replica: int) -> GroupConfig:
    _, relay = _relay(config, section)
    group = relay.groups[replica]
    if group.method in _FIXED:
        text = f"{section}: {_FIXED[group.method]} decide who gets what, and only a reload changes them"
        raise ConfigError([text])
    return group


def _with_group(config: Config, section: str, replica: int, group: GroupConfig) -> Config:
    number, relay = _relay(config, section)
    groups = (*relay.groups[:replica], group, *relay.groups[replica + 1 :])
    try:
        router_of(group, _by_name(config), config.aggregate_rules)
    except ValueError as error:
        raise ConfigError([str(error)]) from None
    relays = (*config.relays[:number], replace(relay, groups=groups), *config.relays[number + 1 :])
    return replace(config, relays=relays)


def _destination(config: Config, section: str, group: GroupConfig, server: str, check: str) -> DestinationConfig:
    """Return the destination at `server`: like the first member, save where it is."""
    made = destination_of(f"{section}/{server}", server)
    if made is None:
        raise ConfigError([f"{server!r} is not the URL of a server"])
    like = _by_name(config)[group.members[0]] if group.members else made
    return replace(
        like,
        name=made.name,
        transport=made.transport,
        host=made.host,
        port=made.port,
        path=made.path,
        instance=None,
        check="" if check == server and made.transport != "http" else check,
        tls=like.tls if made.transport in ("tcp", "http") else None,
    )


def _member(config: Config, group: GroupConfig, server: str) -> str | None:
    """Return the member of a group that is at `server`."""
    made = destination_of("", server)
    address = server if made is None else made.address
    for each in config.destinations:
        if each.name in group.members and each.address == address:
            return each.name
    return None


def _by_name(config: Config) -> dict[str, DestinationConfig]:
    return {each.name: each for each in config.destinations}


def _used(config: Config) -> set[str]:
    """Return the destinations that something sends to."""
    groups = [group for relay in config.relays for group in relay.groups]
    if config.health_metrics is not None:
        groups.append(config.health_metrics.group)
    used = {name for group in groups for name in group.members}
    return used | {name for group in groups for rule in group.rules for name in rule.destinations}
