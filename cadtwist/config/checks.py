"""Faults that only show when values of a Config are seen together."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cadtwist.config.model import Config, Listener

__all__ = ["faults"]

Place = tuple[str | int, ...]
_NEEDED = {"tcp": "port", "udp": "port", "unix": "path", "endpoint": "endpoint"}


def faults(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield (where, what) of each contradiction."""
    doors: dict[str, Listener] = {}
    for number, listener in enumerate(config.listeners):
        fault = _listener_fault(listener)
        other = doors.setdefault(listener.address, listener)
        if fault is not None:
            yield ("listeners", number), fault
        elif other is not listener:
            text = f"{listener.address} is taken twice, for {other.protocol} and for {listener.protocol}"
            yield ("listeners", number), text
    for name in ("blacklist", "whitelist"):
        for pattern in getattr(config.stages, name):
            fault = _pattern_fault(pattern)
            if fault is not None:
                yield ("stages", name), fault
    if config.tags.enabled and not config.tags.url.startswith(("http://", "https://")):
        yield ("tags", "url"), f"{config.tags.url!r} begins neither with http:// nor with https://"
    wal = config.wal
    if wal.enabled and wal.max_bytes < 2 * wal.segment_bytes:
        yield ("wal", "max_bytes"), f"{wal.max_bytes} is less than two segments of {wal.segment_bytes}"


def _pattern_fault(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        return f"{pattern!r} is not a regular expression: {error}"
    return None


def _listener_fault(listener: Listener) -> str | None:
    needed = _NEEDED[listener.transport]
    if not getattr(listener, needed):
        return f"a listener of transport {listener.transport} needs {needed}"
    if listener.transport != "udp":
        return None
    if listener.protocol != "line":
        return f"{listener.protocol} is not spoken over udp"
    if listener.tls is not None or listener.proxy_protocol:
        return "tls and proxy_protocol are for streams, not for udp"
    return None
