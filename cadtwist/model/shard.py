"""One of several stores that share the counters of a site, as it is written in a configuration."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Shard", "parse_shard"]

_SHARD = re.compile(r"([A-Za-z0-9_.-]{1,100})=(\[[0-9A-Fa-f:.]+\]|[^\s:,=\[\]]+):([0-9]{1,5}),([0-9]{1,5})")


class Shard(NamedTuple):
    """A store by its name, which alone says what it keeps; `port` takes samples from other shards, `http_port` asks."""

    name: str
    host: str
    port: int
    http_port: int

    @property
    def url(self) -> str:
        """Where it is asked."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.http_port}"


def parse_shard(text: str) -> Shard:
    """Read `NAME=HOST:SHARD-PORT,HTTP-PORT` (an IPv6 address in brackets); ValueError for anything else."""
    found = _SHARD.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no NAME=HOST:SHARD-PORT,HTTP-PORT")
    name, host, port, http_port = found[1], found[2], int(found[3]), int(found[4])
    if not 0 < port <= 65535 or not 0 < http_port <= 65535 or port == http_port:
        raise ValueError(f"{text[:80]!r}: the ports are two numbers from 1 to 65535")
    return Shard(name, host.strip("[]"), port, http_port)
