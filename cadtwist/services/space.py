"""A key space as the composition root makes it: a table of names that recycles its ids, with its figures."""

from __future__ import annotations

import secrets

from cadtwist.config.relaymodel import LineConfig
from cadtwist.kernels import active
from cadtwist.model.table import KeySpace
from cadtwist.telemetry import Telemetry

__all__ = ["GRAPHITE", "KEYS", "SERIES", "Space", "space_of"]

GRAPHITE, KEYS, SERIES = "metric names", "keys", "accumulated series"

_SWEEP_SHARE = 256
_LEAST_SWEEP = 4096


def space_of(lines: LineConfig | None) -> str:
    """Return the name of the key space of lines: Graphite names, or keys of any other kind."""
    return KEYS if lines is not None and lines.format == "statsd" else GRAPHITE


class Space:
    """The names of one kind of lines (`name` tells which), their ids, and those who keep state by id."""

    def __init__(self, name: str, max_bytes: int, telemetry: Telemetry) -> None:
        self.name = name
        self.table = active.table.MetricTable(secrets.randbits(64), max_bytes)
        self.keys = KeySpace(self.table)
        account = telemetry.account(name)
        account.gauge("live", lambda: len(self.table))
        account.gauge("bytes", lambda: self.table.used_bytes)
        account.gauge("retired", lambda: self.keys.retired)

    def sweep(self, now: float, idle_s: int) -> None:
        """Recycle a share of the names that are idle; called every second."""
        self.keys.sweep(now, idle_s, max(_LEAST_SWEEP, self.table.capacity // _SWEEP_SHARE))
