"""The aggregator beside carbon's and carbon-c-relay: one rule, lines of many names in, one line of each five out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.bench import Bench, say
from benchmarks.load import blast
from benchmarks.report import Row
from tests.system.aggregatord import Aggregatord
from tests.system.environment import build
from tests.system.linesink import LineSink
from tests.system.neighbours import CarbonAggregator, CRelay

__all__ = ["aggregator"]

OURS, UNLOGGED = "cadtwist", "cadtwist, no log"
C_RELAY, CARBON = "carbon-c-relay", "carbon-aggregator"
NAMES = 4_000
INTERVAL_S = 10
SHARE = 8
RULES = f"count.<rack>.<leaf> ({INTERVAL_S}) = count servers.dc1.<rack>.*.example_com.<<leaf>>\n"
ROUTES = """cluster out forward 127.0.0.1:{sink};
aggregate ^servers\\.dc1\\.([^.]+)\\.[^.]+\\.example_com\\.(.+)$
    every {interval} seconds expire after {expire} seconds timestamp at end of bucket
    compute count write to count.\\1.\\2 send to out stop;
"""
"""The same rule in carbon-c-relay's words."""


def _ours(folder: Path, sink: int, log: bool = True) -> Aggregatord:
    return Aggregatord(folder, sink, RULES, {"FORWARD_ALL": False, "WAL_ENABLED": log})


def _carbon(folder: Path, sink: int) -> CarbonAggregator:
    build("carbon")
    return CarbonAggregator(folder, sink, RULES, {"FORWARD_ALL": "False"})


def _c_relay(folder: Path, sink: int) -> CRelay:
    build("carbon-c-relay")
    return CRelay(folder, ROUTES.format(sink=sink, interval=INTERVAL_S, expire=INTERVAL_S + 5))


_MAKERS: dict[str, Callable[[Path, int], Aggregatord | CarbonAggregator | CRelay]] = {
    OURS: _ours, UNLOGGED: partial(_ours, log=False), C_RELAY: _c_relay, CARBON: _carbon,
}  # fmt: skip


def _counted(sink: LineSink) -> float:
    """Return how many datapoints were summed up: of each name and time, what was told last."""
    found = {(name, stamp): float(value) for name, value, stamp in (line.split() for line in list(sink.order))}
    return sum(found.values())


def _measure(bench: Bench, peer: str) -> dict[str, float]:
    """Send each name once, then for some seconds what is taken; datapoints are of the present second."""
    names, sink = bench.scaled(NAMES), LineSink()
    try:
        with bench.folder() as folder:
            daemon = _MAKERS[peer](folder / "aggregator", sink.port)
            daemon.start(60)
            try:
                first = blast(daemon.line, names=names, conns=4, points=1, step=0, drain=True)
                time.sleep(1)
                used = daemon.cpu_s()
                sent = blast(daemon.line, names=names, conns=4, step=0, drain=True, whole=True, duration=bench.seconds)
                time.sleep(2 * INTERVAL_S)
                daemon.settle()
                used, memory = daemon.cpu_s() - used, daemon.memory_bytes(peak=True)
            finally:
                daemon.kill()
    finally:
        sink.close()
    lines = first.lines + sent.lines
    return {
        "cpu_s": used / sent.lines * 1e6, "lines_per_s": sent.accepted_per_s,
        "lost": max(0.0, 1.0 - _counted(sink) / lines) * 100.0, "rss_mib": memory / 2**20,
    }  # fmt: skip


def aggregator(bench: Bench) -> Iterator[Row]:
    """CPU for a million lines that are summed up, with the log of open buckets and without."""
    say(f"aggregator: one rule, {bench.scaled(NAMES):,} names")
    found = bench.in_turn(bench.wanted(OURS, UNLOGGED, C_RELAY, CARBON), partial(_measure, bench))
    bars = [(found[peer]["cpu_s"] / SHARE, f"1/{SHARE} of {peer}") for peer in (C_RELAY, CARBON) if peer in found]
    most, source = min(bars) if bars else (None, "")
    for peer, figures in found.items():
        ours = peer in (OURS, UNLOGGED)
        yield Row("aggregator", "one rule", peer, figures["cpu_s"], "CPU-s per M lines", most if ours else None,
                  note=source if ours else "")  # fmt: skip
        yield Row("aggregator", "one rule: taken", peer, figures["lines_per_s"], "lines/s")
        yield Row("aggregator", "one rule: lost", peer, figures["lost"], "% of lines", 0.0 if ours else None)
        yield Row("aggregator", "one rule: memory", peer, figures["rss_mib"], "MiB")
