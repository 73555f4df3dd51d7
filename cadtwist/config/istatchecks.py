"""Faults of a counter daemon's options that only show when values are seen together, or by their grammar."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from cadtwist.config.istatmodel import DEBUG_OPTIONS, IstatConfig
from cadtwist.config.redisurl import REDIS, parse_redis_url
from cadtwist.model.shard import parse_shard
from cadtwist.model.statretention import parse_stat_retentions

__all__ = ["host_and_port", "istat_faults", "ports_of"]

_PORTS = ("stat_port", "http_port", "admin_port", "replica_port", "prometheus_port", "shard_port")


def host_and_port(text: str) -> tuple[str, int]:
    """Return the parts of `host:port` (an IPv6 address in brackets); ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isdecimal() or not 0 < int(port) <= 65535:
        raise ValueError(f"{text!r} is no host:port")
    return host, int(port)


def istat_faults(config: IstatConfig) -> Iterator[tuple[str, str]]:
    """Yield (field, what) of each contradiction; the field is empty for what concerns the whole."""
    try:
        parse_stat_retentions(config.retention)
    except ValueError as fault:
        yield "retention", str(fault)
    for field in ("agent", "replica_of"):
        try:
            if getattr(config, field):
                host_and_port(getattr(config, field))
        except ValueError as fault:
            yield field, str(fault)
    try:
        if config.settings.startswith(REDIS):
            parse_redis_url(config.settings)
    except ValueError as fault:
        yield "settings", str(fault)
    try:
        if config.listen_address:
            ipaddress.ip_address(config.listen_address)
    except ValueError:
        yield "listen_address", f"{config.listen_address!r} is no IP address"
    unknown = [name for name in config.debug if name not in DEBUG_OPTIONS]
    if unknown:
        yield "debug", f"unknown: {', '.join(unknown)}"
    if config.replica_of and not config.store:
        yield "replica_of", "a replica needs a store"
    yield from _shard_faults(config)
    if not config.store and not config.agent and not config.shards:
        yield "", "must have at least one of a forward address (agent) or a local store"
    taken: dict[int, str] = {}
    for field, port in ports_of(config):
        if port in taken:
            yield field, f"port {port} is also that of {taken[port].replace('_', '-')}"
        taken.setdefault(port, field)


def _shard_faults(config: IstatConfig) -> Iterator[tuple[str, str]]:
    names = set()
    for text in config.shards:
        try:
            shard = parse_shard(text)
        except ValueError as fault:
            yield "shards", str(fault)
            continue
        if shard.name in names:
            yield "shards", f"{shard.name!r} is there twice"
        names.add(shard.name)
    if config.shard_name and config.shard_name not in names:
        yield "shard_name", f"{config.shard_name!r} is none of the shards"
    if config.shard_name and not config.store:
        yield "shard_name", "a shard needs a store"
    if config.shard_name and not config.shard_port:
        yield "shard_name", "a shard needs a shard-port, for what others send to it"
    if config.shards and config.store and not config.shard_name:
        yield "shards", "which of them has this store? (shard-name)"


def ports_of(config: IstatConfig) -> list[tuple[str, int]]:
    """Return the field and the port of each open door."""
    return [(field, getattr(config, field)) for field in _PORTS if getattr(config, field)]
