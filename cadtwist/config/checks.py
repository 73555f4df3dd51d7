"""Faults that only show when values of a Config are seen together."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import msgspec

from cadtwist.config.accumulatorchecks import accumulator_faults
from cadtwist.config.clustermodel import ClusterConfig
from cadtwist.config.istatchecks import istat_faults, ports_of
from cadtwist.config.model import Config, Listener, TagsConfig
from cadtwist.config.redisurl import parse_redis_url
from cadtwist.config.relaychecks import Place, pattern_fault, relay_faults
from cadtwist.config.relayforms import form_faults
from cadtwist.config.statsdsection import section_faults
from cadtwist.model.clusterserver import parse_server
from cadtwist.model.consolidation import CERES_METHODS

__all__ = ["faults", "names_host"]

_NEEDED = {"tcp": "port", "udp": "port", "unix": "path", "endpoint": "endpoint", "http": "port"}
_BOUND = ("tcp", "udp", "http")
_ENDPOINT = re.compile(r"[A-Za-z][\w-]*:")
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")
_HOST_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
_METRICS = ("line", "pickle", "protobuf")


def faults(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield (where, what) of each contradiction."""
    doors: dict[str, Listener] = {}
    for number, listener in enumerate(config.listeners):
        fault = _listener_fault(listener)
        other = doors.setdefault(_socket(listener), listener)
        if fault is not None:
            yield ("listeners", number), fault
        elif other is not listener:
            text = f"{listener.address} is taken twice, for {other.protocol} and for {listener.protocol}"
            yield ("listeners", number), text
    yield from _secret_faults(config)
    for name in ("blacklist", "whitelist"):
        for pattern in getattr(config.stages, name):
            fault = pattern_fault(pattern)
            if fault is not None:
                yield ("stages", name), fault
    yield from _tags_faults(config.tags)
    yield from _cluster_faults(config.cluster)
    if config.storage.read_only and config.cache is not None:
        yield ("storage", "read_only"), "another process writes: there is nothing to do for [cache]"
    wal = config.wal
    if wal.enabled and wal.max_bytes < 2 * wal.segment_bytes:
        yield ("wal", "max_bytes"), f"{wal.max_bytes} is less than two segments of {wal.segment_bytes}"
    for name in ("rewrite", "post_rewrite"):
        for number, rule in enumerate(getattr(config.stages, name)):
            fault = rule.fault()
            if fault is not None:
                yield ("stages", name, number), f"{rule.pattern!r} to {rule.replacement!r} is not usable: {fault}"
    yield from _aggregations(config)
    if config.aggregator is not None and config.processes.workers > 1:
        yield ("processes", "workers"), "more than one only without [aggregator]: one has all values of an interval"
    yield from _istat(config)
    yield from _dattss_faults(config)
    yield from _statsd_faults(config)
    yield from relay_faults(config)
    yield from accumulator_faults(config)
    yield from form_faults(config)


def names_host(interface: str) -> bool:
    """Tell whether `interface` has the form of a host's name, and is none of those that need no look-up."""
    return interface not in ("", "localhost") and not _is_address(interface) and _is_place(interface)


def _is_place(interface: str) -> bool:
    return not interface or _is_address(interface) or bool(_HOST_NAME.fullmatch(interface))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _tags_faults(tags: TagsConfig) -> Iterator[tuple[Place, str]]:
    if tags.enabled and not tags.url.startswith(("http://", "https://")):
        yield ("tags", "url"), f"{tags.url!r} begins neither with http:// nor with https://"
    try:
        if tags.database:
            parse_redis_url(tags.database)
    except ValueError as fault:
        yield ("tags", "database"), str(fault)


def _aggregations(config: Config) -> Iterator[tuple[Place, str]]:
    if config.storage.kind != "ceres":
        return
    for number, rule in enumerate(config.aggregation):
        if rule.method is not None and rule.method not in CERES_METHODS:
            known = ", ".join(CERES_METHODS)
            yield ("aggregation", number), f"[{rule.name}]: ceres has no method {rule.method!r}; known are {known}"


def _istat(config: Config) -> Iterator[tuple[Place, str]]:
    if config.istat is None:
        return
    for field, fault in istat_faults(config.istat):
        yield ("istat", field) if field else ("istat",), fault
    doors = {(door.transport == "udp", door.port): door for door in config.listeners if door.port}
    for field, port in ports_of(config.istat):
        for datagrams in (False, True) if field == "stat_port" else (False,):
            if (datagrams, port) in doors:
                yield ("istat", field), f"port {port} is also that of {doors[datagrams, port].address}"
    if config.processes.workers > 1:
        yield ("processes", "workers"), "more than one only without [istat]: a store has its files for itself"


def _cluster_faults(cluster: ClusterConfig) -> Iterator[tuple[Place, str]]:
    for server in cluster.servers:
        try:
            parse_server(server, cluster.https)
        except ValueError as error:
            yield ("cluster", "servers"), str(error)
    for name in cluster.forward_headers:
        if not _HEADER.fullmatch(name):
            yield ("cluster", "forward_headers"), f"{name!r} is no name of a header"


def _dattss_faults(config: Config) -> Iterator[tuple[Place, str]]:
    dattss = config.dattss
    if dattss is None:
        for number, listener in enumerate(config.listeners):
            if listener.protocol == "dattss":
                yield ("listeners", number), "a listener of protocol dattss needs [dattss]"
        return
    if not dattss.secret:
        yield ("dattss", "secret"), "must be given: it signs the keys of users"
    if not config.listeners_of("dattss"):
        yield ("dattss",), "there is no listener of protocol dattss"
    if config.processes.workers > 1:
        yield ("processes", "workers"), "more than one only without [dattss]: all of a user is in one process"
    names = [node.name for node in dattss.nodes]
    if names and dattss.node not in names:
        yield ("dattss", "node"), f"{dattss.node!r} is none of the nodes {', '.join(names)}"
    if len(set(names)) < len(names):
        yield ("dattss", "nodes"), "a node is there twice"


def _statsd_faults(config: Config) -> Iterator[tuple[Place, str]]:
    section = config.statsd
    if section is None:
        for number, listener in enumerate(config.listeners):
            if listener.protocol == "statsd":
                yield ("listeners", number), "a listener of protocol statsd needs [statsd]"
        return
    if not config.listeners_of("statsd"):
        yield ("statsd",), "there is no listener of protocol statsd"
    if config.processes.workers > 1:
        yield ("processes", "workers"), "more than one only without [statsd]: one has all values of a series"
    known = [relay.name for relay in config.relays if relay.lines.format != "statsd"]
    known += ["cache"] if config.cache is not None else []
    for name in section.to:
        if name not in known:
            what = "there is no [cache]" if name == "cache" else f"there is no relay {name!r} of Graphite lines"
            yield ("statsd", "to"), what
    if not section.to and not known:
        yield ("statsd",), "there is neither a cache nor a relay that gets its values"
    for place, text in section_faults(section):
        yield ("statsd", *place), text


def _socket(listener: Listener) -> str:
    """Return what two listeners cannot share."""
    if listener.transport != "http":
        return listener.address
    return msgspec.structs.replace(listener, transport="tcp").address


def _secret_faults(config: Config) -> Iterator[tuple[Place, str]]:
    """Who may ask over HTTP; the texts do not show a password."""
    for number, user in enumerate(config.web.users, 1):
        name, colon, password = user.partition(":")
        if not name or not colon or not password:
            yield ("web", "users"), f"the {number}. is not name:password"
        elif password.startswith("sha256:") and not _DIGEST.fullmatch(password):
            yield ("web", "users"), f"the digest of {name} is not 64 hexadecimal digits"
    for number, token in enumerate(config.web.tokens, 1):
        if not token or (token.startswith("sha256:") and not _DIGEST.fullmatch(token)):
            yield ("web", "tokens"), f"the {number}. is empty, or its digest not 64 hexadecimal digits"


def _listener_fault(listener: Listener) -> str | None:
    needed = _NEEDED[listener.transport]
    if not getattr(listener, needed):
        return f"a listener of transport {listener.transport} needs {needed}"
    if listener.transport == "endpoint" and not _ENDPOINT.match(listener.endpoint):
        return f"{listener.endpoint!r} is no endpoint, a kind and its arguments: tcp:2003, say"
    if listener.transport in _BOUND and not _is_place(listener.interface):
        return f"interface {listener.interface!r} is neither an address nor a name"
    if listener.to and listener.protocol not in _METRICS:
        return f"{listener.protocol} brings no datapoints: `to` has no meaning"
    if listener.transport == "http" and listener.protocol != "line":
        return f"{listener.protocol} is not spoken over http"
    if listener.transport != "udp":
        return None
    if listener.protocol not in ("line", "dattss", "statsd"):
        return f"{listener.protocol} is not spoken over udp"
    if listener.tls is not None or listener.proxy_protocol:
        return "tls and proxy_protocol are for streams, not for udp"
    return None
