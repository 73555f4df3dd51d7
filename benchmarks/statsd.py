"""statsd beside npm's statsd: datagrams and streams in, Graphite's lines out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, say
from benchmarks.load import blast
from benchmarks.report import Row
from tests.system.environment import build
from tests.system.linesink import LineSink
from tests.system.neighbours import NodeStatsd
from tests.system.statsdd import Statsdd

__all__ = ["statsd"]

OURS, NODE, UNLOGGED = "cadtwist", "statsd (npm)", "cadtwist, no log"
NAMES = 10_000
FLUSH_S = 2
OPTIONS = f"  flushInterval: {FLUSH_S * 1000}, deleteIdleStats: true, graphite: {{legacyNamespace: false}},"
COUNTED = re.compile(rb"stats\.counters\.servers\S*\.count (\S+) ")
COUNTERS_SHARE = 0.6
"""Of the lines that blast sends so many are counters of 1: exactly so in each whole round of names."""


@dataclass(frozen=True)
class Load:
    """One way of sending.  `statsite` is its CPU ÷ that of npm's statsd, measured before; `shares` are the bars.

    A bar is a share of statsite's CPU and, where there is a second one, of npm's statsd's.
    """

    what: str
    statsite: float
    shares: tuple[float, ...]
    udp: bool = True
    datagram: int = 0
    rate: float = 0.0


LOADS = (
    Load("UDP, 1,400-byte datagrams at 200,000/s", 0.66 / 1.74, (1 / 3, 1 / 8), datagram=1400, rate=200_000),
    Load("UDP, one metric a datagram at 50,000/s", 2.8 / 6.02, (0.6,), rate=50_000),
    Load("TCP, as fast as taken", 0.53 / 1.21, (1 / 3,), udp=False),
)


def _ours(folder: Path, graphite: int) -> Statsdd:
    return Statsdd(folder, graphite, OPTIONS)


def _unlogged(folder: Path, graphite: int) -> Statsdd:
    return Statsdd(folder, graphite, OPTIONS, ["--log-inputs=none"])


def _node(folder: Path, graphite: int) -> NodeStatsd:
    build("statsd")
    return NodeStatsd(folder, graphite, OPTIONS)


_MAKERS: dict[str, Callable[[Path, int], Statsdd | NodeStatsd]] = {
    OURS: _ours, NODE: _node, UNLOGGED: _unlogged,
}  # fmt: skip


def _measure(bench: Bench, load: Load, peer: str) -> dict[str, float]:
    """Send for some seconds, with flushes; what was counted is what arrived at the sink."""
    options: dict[str, Any] = {"names": bench.scaled(NAMES), "format": "statsd", "whole": True}
    if load.udp:
        options |= {"udp": True, "dgram": load.datagram, "conns": 1, "rate": load.rate}
    else:
        options |= {"conns": 4, "drain": True}
    sink = LineSink()
    try:
        with bench.folder() as folder:
            process = _MAKERS[peer](folder, sink.port)
            process.start(60)
            try:
                blast(process.line, **{**options, "rate": 20_000 if load.udp else 0}, points=1)
                time.sleep(FLUSH_S + 1)
                sink.take()
                used = process.cpu_s()
                sent = blast(process.line, **options, duration=bench.seconds)
                time.sleep(FLUSH_S + 1)
                process.settle()
                used = process.cpu_s() - used
                memory = process.memory_bytes(peak=True)
            finally:
                process.kill()
    finally:
        sink.close()
    values = (float(found[1]) * times for line, times in sink.take().items() if (found := COUNTED.match(line)))
    counted = round(sum(values) / COUNTERS_SHARE)
    return {
        "cpu_s": used / max(1.0, counted) * 1e6, "lines_per_s": counted / (sent.drained - sent.started),
        "lost": max(0.0, 1.0 - counted / sent.lines) * 100.0, "rss_mib": memory / 2**20,
    }  # fmt: skip


def _bar(load: Load, node: float) -> tuple[float, str]:
    """Return the highest allowed CPU of ours, and where it is from."""
    bars = [(node * load.statsite * load.shares[0], "statsite, estimated by npm's statsd in this run")]
    bars += [(node * share, f"1/{1 / share:.0f} of npm's statsd") for share in load.shares[1:]]
    return min(bars)


def statsd(bench: Bench) -> Iterator[Row]:
    """CPU for a million lines, and what was lost, by load and peer."""
    for load in LOADS:
        say(f"statsd: {load.what}")
        peers = (OURS, NODE) if load.udp else (OURS, UNLOGGED, NODE)
        found = bench.in_turn(bench.wanted(*peers), partial(_measure, bench, load))
        most, source = _bar(load, found[NODE]["cpu_s"]) if NODE in found else (None, "")
        for peer, figures in found.items():
            ours = peer == OURS
            yield Row("statsd", load.what, peer, figures["cpu_s"], "CPU-s per M lines", most if ours else None,
                      note=source if ours else "")  # fmt: skip
            yield Row("statsd", f"{load.what}: counted", peer, figures["lines_per_s"], "lines/s")
            bar = 0.0 if ours else None
            yield Row("statsd", f"{load.what}: lost", peer, figures["lost"], "% of lines", bar)
            yield Row("statsd", f"{load.what}: memory", peer, figures["rss_mib"], "MiB")
