"""Faults of what flows where: kinds of lines that do not fit the listeners, relays or destinations behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cadtwist.config.model import Config
from cadtwist.config.relaymodel import RelayConfig

__all__ = ["form_faults"]

_CACHE = "cache"
Place = tuple[str | int, ...]


def form_faults(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield (where, what) of each contradiction; names that refer to nothing are somebody else's business."""
    formats = {relay.name: relay.lines.format for relay in config.relays}
    yield from _listeners(config, formats)
    protocols = {each.name: each.protocol for each in config.destinations}
    for number, relay in enumerate(config.relays):
        yield from _redirections(number, relay, formats)
        for place, group in enumerate(relay.groups):
            framed = [name for name in dict.fromkeys(group.members) if protocols.get(name, "line") != "line"]
            where = ("relays", number, "groups", place)
            for name in framed[:1]:
                if relay.lines.format != "graphite":
                    yield (*where, "members"), f"{name!r} takes datapoints, not {relay.lines.format} lines"
                elif _unread(relay):
                    yield (*where, "members"), f"{name!r} takes datapoints, and of these lines the names alone are read"
                elif group.prefix or group.suffix:
                    text = f"goes around names in lines, and {name!r} takes none; rewrite names instead"
                    yield (*where, "prefix" if group.prefix else "suffix"), text


def _unread(relay: RelayConfig) -> bool:
    """Return whether anything may stand behind the names of a relay's lines: nobody reads it."""
    return not relay.lines.validate or relay.lines.cleaning == "c_relay"


def _listeners(config: Config, formats: Mapping[str, str]) -> Iterator[tuple[Place, str]]:
    first = next(iter(formats), "")
    unread = {relay.name for relay in config.relays if _unread(relay)}
    for number, door in enumerate(config.listeners):
        if door.protocol not in ("line", "pickle", "protobuf"):
            continue
        targets = door.to or ((_CACHE,) if config.cache is not None else (first,))
        kinds = {formats.get(name, "graphite") for name in targets if name in formats or name == _CACHE}
        if len(kinds) > 1:
            yield ("listeners", number, "to"), f"lines are of one kind, not of several: {', '.join(sorted(kinds))}"
        elif _CACHE in targets and unread.intersection(targets):
            yield ("listeners", number, "to"), "the cache takes datapoints, and of these lines the names alone are read"
        elif door.protocol != "line" and kinds - {"graphite"}:
            yield ("listeners", number, "to"), f"{door.protocol} brings datapoints, not {kinds.pop()} lines"


def _redirections(number: int, relay: RelayConfig, formats: Mapping[str, str]) -> Iterator[tuple[Place, str]]:
    onward = [(("filters", n), rule.relay) for n, rule in enumerate(relay.filters) if rule.action == "redirect"]
    for where, name in [*onward, (("default_relay",), relay.default_relay)]:
        if name in formats and formats[name] != relay.lines.format:
            yield ("relays", number, *where), f"{name!r} reads {formats[name]} lines, these are {relay.lines.format}"
