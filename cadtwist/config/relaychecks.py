"""Faults of relays and destinations that only show when values are seen together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from cadtwist.config.model import Config
from cadtwist.config.relaymodel import (
    ELTERS,
    HASHES,
    DestinationConfig,
    FilterRule,
    GroupConfig,
    HealthConfig,
    LineConfig,
    RelayConfig,
    RouteRule,
)

__all__ = ["CACHE", "Place", "host_and_port", "pattern_fault", "relay_faults", "url_fault"]

Place = tuple[str | int, ...]
_HOST = re.compile(r"[^\x00-\x20\x7f/?#@]+")
_BREAKS = re.compile(r"[\r\n]")
_SCHEMES = ("http", "https", "tcp", "unix", "statsd")
CACHE = "cache"


def relay_faults(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield (where, what) of each contradiction in what concerns relays."""
    relays = [relay.name for relay in config.relays]
    destinations = [destination.name for destination in config.destinations]
    yield from _names("relays", relays)
    yield from _names("destinations", destinations)
    yield from _listeners(config, relays)
    for number, relay in enumerate(config.relays):
        for place, text in _relay(relay, frozenset(relays), frozenset(destinations)):
            yield ("relays", number, *place), text
    yield from _twins(config)
    yield from _circles(config.relays)
    for number, destination in enumerate(config.destinations):
        for place, text in _destination(destination):
            yield ("destinations", number, *place), text
    if config.health_metrics is not None:
        for place, text in _group(config.health_metrics.group, frozenset(destinations)):
            yield ("health_metrics", "group", *place), text
    yield from _health(config.health, ("health",))
    if config.statsd_emission.server and host_and_port(config.statsd_emission.server) is None:
        yield ("statsd_emission", "server"), f"{config.statsd_emission.server!r} is not host:port"
    if _BREAKS.search(config.statsd_emission.prefix):
        yield ("statsd_emission", "prefix"), f"{config.statsd_emission.prefix!r} would break lines in two"
    if config.processes.workers > 1 and config.cache is not None:
        yield ("processes", "workers"), "more than one only without [cache]: a cache has its files for itself"
    if not config.spool.directory and any(found.queue.spool_bytes for found in config.destinations):
        yield ("spool", "directory"), "is needed where a queue has spool_bytes"
    if config.spool.max_bytes < 2 * config.spool.segment_bytes:
        text = f"{config.spool.max_bytes} is less than two segments of {config.spool.segment_bytes}"
        yield ("spool", "max_bytes"), text


def pattern_fault(pattern: str, flags: int = 0) -> str | None:
    """Return why `pattern` is not a regular expression, or None."""
    try:
        re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{pattern!r} is not a regular expression: {error}"
    return None


def host_and_port(text: str) -> tuple[str, int] | None:
    """Return the parts of `host:port` or `[address]:port`; None if it is not that."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    is_port = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 1 << 16
    return (host, int(port)) if colon and _HOST.fullmatch(host) and is_port else None


def _names(group: str, names: list[str]) -> Iterator[tuple[Place, str]]:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if not name:
            yield (group, number, "name"), "a name is needed"
        elif name in seen:
            yield (group, number, "name"), f"{name!r} is there twice"
        elif group == "relays" and name == CACHE:
            yield (group, number, "name"), f"{name!r} is what listeners call the cache"
        seen.add(name)


def _listeners(config: Config, relays: list[str]) -> Iterator[tuple[Place, str]]:
    known = [*relays, CACHE] if config.cache is not None else relays
    for number, listener in enumerate(config.listeners):
        yield from _references(("listeners", number, "to"), listener.to, known, "relay")


def _references(place: Place, names: Iterable[str], known: Iterable[str], what: str) -> Iterator[tuple[Place, str]]:
    for name in dict.fromkeys(names):
        if name not in known:
            yield place, f"there is no {what} {name!r}"


def _relay(relay: RelayConfig, relays: frozenset[str], destinations: frozenset[str]) -> Iterator[tuple[Place, str]]:
    for place, text in _lines(relay.lines):
        yield ("lines", place), text
    for number, rule in enumerate(relay.filters):
        fault = _filter_fault(rule, relays)
        if fault is not None:
            yield ("filters", number), fault
    if relay.default_relay and relay.default_relay not in relays:
        yield ("default_relay",), f"there is no relay {relay.default_relay!r}"
    for number, group in enumerate(relay.groups):
        for here, text in _group(group, destinations):
            yield ("groups", number, *here), text


def _lines(lines: LineConfig) -> Iterator[tuple[str, str]]:
    if lines.format == "regex":
        fault = pattern_fault(lines.regex)
        if fault is not None:
            yield "regex", fault
        elif "Key" not in re.compile(lines.regex).groupindex:
            yield "regex", f"{lines.regex!r} has no group (?P<Key>...)"
    elif lines.regex:
        yield "regex", "is for lines of format regex"
    fault = pattern_fault(lines.point_tag_regex)
    if fault is not None:
        yield "point_tag_regex", fault
    elif lines.validate_tags and lines.point_tag_regex and not re.compile(lines.point_tag_regex).groups:
        yield "point_tag_regex", f"{lines.point_tag_regex!r} has no group for the tag's name"


def _filter_fault(rule: FilterRule, relays: frozenset[str]) -> str | None:
    if rule.kind == "regex":
        fault = pattern_fault(rule.pattern)
        if fault is not None:
            return fault
    if rule.kind != "noop" and not rule.pattern:
        return f"a filter of kind {rule.kind} needs a pattern"
    if rule.action != "redirect":
        return f"relay is for redirect, not for {rule.action}" if rule.relay else None
    return None if rule.relay in relays else f"there is no relay {rule.relay!r}"


def _circles(relays: tuple[RelayConfig, ...]) -> Iterator[tuple[Place, str]]:
    """Find relays whose lines could come back to them."""
    onward = {
        relay.name: {rule.relay for rule in relay.filters if rule.action == "redirect"} | {relay.default_relay} - {""}
        for relay in relays
    }
    for number, relay in enumerate(relays):
        if not relay.filters and relay.default_relay in ("", relay.name):
            continue
        reached: set[str] = set()
        ahead = sorted(onward[relay.name])
        while ahead:
            name = ahead.pop()
            if name not in reached and name in onward:
                reached.add(name)
                ahead.extend(sorted(onward[name]))
        if relay.name in reached:
            yield ("relays", number), f"lines of {relay.name!r} could be redirected back to it without end"


def _group(group: GroupConfig, destinations: frozenset[str]) -> Iterator[tuple[Place, str]]:
    yield from _references(("members",), group.members, destinations, "destination")
    if group.method == "rules":
        yield from _rules(group.rules, frozenset(group.members))
    elif group.rules:
        yield ("rules",), "are for the method rules"
    if not group.members and group.method != "shards":
        yield ("members",), "a group needs at least one"
    if group.method != "shards" and len(set(group.members)) < len(group.members):
        yield ("members",), "a destination is there twice; only a map of shards may repeat them"
    hashes = HASHES.get(group.method, ())
    if group.hash and group.hash not in hashes:
        known = f"known are {', '.join(hashes)}" if hashes else "it has one of its own"
        yield ("hash",), f"{group.hash!r} is not a hash of the method {group.method}; {known}"
    if group.elter not in ELTERS:
        yield ("elter",), f"{group.elter!r} is unknown; known are {', '.join(ELTERS)}"
    if group.hash_keys and len(group.hash_keys) != len(group.members):
        yield ("hash_keys",), f"{len(group.hash_keys)} keys for {len(group.members)} members"
    if group.method != "shards" and len(set(group.hash_keys)) < len(group.hash_keys):
        yield ("hash_keys",), "a key is there twice"
    for name in ("prefix", "suffix"):
        if _BREAKS.search(getattr(group, name)):
            yield (name,), f"{getattr(group, name)!r} would break lines in two"
    for name in ("input_filter", "input_blacklist"):
        fault = pattern_fault(getattr(group, name))
        if fault is not None:
            yield (name,), fault
    yield from _sampling(group)


def _twins(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield members of rings that stand at the same places: a ring knows them by host and instance, or by a key."""
    known = {destination.name: destination for destination in config.destinations}
    for number, relay in enumerate(config.relays):
        for place, group in enumerate(relay.groups):
            for text in _twins_of(group, known):
                yield ("relays", number, "groups", place, "members"), text
    if config.health_metrics is not None:
        for text in _twins_of(config.health_metrics.group, known):
            yield ("health_metrics", "group", "members"), text


def _twins_of(group: GroupConfig, known: Mapping[str, DestinationConfig]) -> Iterator[str]:
    what = "host and instance" if group.method in ("carbon", "carbon_fast") else "address"
    if what == "address" and (group.method != "cadent" or group.hash_keys):
        return
    first: dict[object, str] = {}
    for name in dict.fromkeys(member for member in group.members if member in known):
        found = known[name]
        other = first.setdefault(found.address if what == "address" else (found.host, found.instance), name)
        if other != name:
            yield f"{other} and {name} are of one {what}: a ring cannot tell them apart"


def _sampling(group: GroupConfig) -> Iterator[tuple[Place, str]]:
    for name in ("counters", "timers", "gauges"):
        flood = getattr(group.sampling, name)
        if flood.threshold >= 0 and flood.window_s < 1:
            yield ("sampling", name), f"a threshold of {flood.threshold} needs a window of at least one second"
    timers = group.sampling.timers
    if group.sampling.reservoir_size < timers.threshold:
        text = f"{group.sampling.reservoir_size} is less than the threshold of timers, {timers.threshold}"
        yield ("sampling", "reservoir_size"), text


def _rules(rules: tuple[RouteRule, ...], members: frozenset[str]) -> Iterator[tuple[Place, str]]:
    defaults = [number for number, rule in enumerate(rules) if rule.pattern is None]
    if not defaults:
        yield ("rules",), "one default rule, without a pattern, is needed"
    for number in defaults[1:]:
        yield ("rules", number), "there is a default rule before it"
    for number, rule in enumerate(rules):
        fault = pattern_fault(rule.pattern or "", re.IGNORECASE)
        if fault is not None:
            yield ("rules", number, "pattern"), fault
        if not rule.destinations:
            yield ("rules", number, "destinations"), "at least one is needed"
        yield from _references(("rules", number, "destinations"), rule.destinations, members, "member")


def _destination(destination: DestinationConfig) -> Iterator[tuple[Place, str]]:
    transport = destination.transport
    if transport in ("tcp", "udp"):
        for name in ("host", "port"):
            if not getattr(destination, name):
                yield (name,), f"a destination of transport {transport} needs {name}"
    elif not destination.path:
        yield ("path",), f"a destination of transport {transport} needs path"
    elif transport == "http" and url_fault(destination.path, ("http", "https")) is not None:
        yield ("path",), url_fault(destination.path, ("http", "https")) or ""
    if destination.protocol != "line" and transport not in ("tcp", "unix"):
        yield ("protocol",), f"{destination.protocol} is not spoken over {transport}"
    if destination.tls is not None and transport not in ("tcp", "http"):
        yield ("tls",), f"is for tcp and http, not for {transport}"
    fault = url_fault(destination.check, _SCHEMES) if destination.check else None
    if fault is not None:
        yield ("check",), fault
    if destination.queue.spool_bytes and destination.queue.spool_bytes < 1 << 16:
        yield ("queue", "spool_bytes"), f"{destination.queue.spool_bytes} is too little, 0 or at least {1 << 16}"
    if destination.reconnect.initial_s > destination.reconnect.max_s:
        yield ("reconnect", "initial_s"), f"{destination.reconnect.initial_s:g} is more than max_s"
    if destination.health is not None:
        yield from _health(destination.health, ("health",))


def url_fault(text: str, schemes: tuple[str, ...]) -> str | None:
    """Return what is wrong with the URL `text`, or None."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        return f"{text!r} is not a URL: {error}"
    if url.scheme not in schemes:
        return f"{text!r} does not begin with one of {', '.join(f'{scheme}://' for scheme in schemes)}"
    if url.scheme == "unix":
        return None if url.path else f"{text!r} has no path"
    if not url.hostname:
        return f"{text!r} has no host"
    if url.scheme in ("tcp", "statsd") and not port:
        return f"{text!r} has no port"
    return None


def _health(health: HealthConfig, place: Place) -> Iterator[tuple[Place, str]]:
    if 0 < health.interval_s < health.timeout_s:
        text = f"{health.interval_s:g} is less than the patience with one check, {health.timeout_s:g}"
        yield (*place, "interval_s"), text
