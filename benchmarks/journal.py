"""The write-ahead log: how fast it is replayed, and that it stays within its bound."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, say
from benchmarks.load import blast
from benchmarks.peers import OURS, Tuning
from benchmarks.report import Row
from tests.system.cadtwistd import Cadtwistd
from tests.system.process import until

__all__ = ["bound", "replay"]

REPLAYED = 10_000_000
REPLAY_CPU_S = 5.0
NAMES = 10_000
BOUND_NAMES = 100_000
BOUND_UPDATES_PER_S = 500
BOUND_BYTES = 64 << 20
SEGMENT_BYTES = 8 << 20
BOUND_S = 60.0
BOUND_RATE = 50_000
PENDING_BYTES = 24
"""What one pending datapoint may take in the log, at most."""


def replay(bench: Bench) -> Iterator[Row]:
    """CPU of a start after a crash, beside that of an empty start."""
    rounds = max(1, bench.scaled(REPLAYED) // NAMES)
    options = (("WAL_MAX_BYTES", 4 << 30),)
    with bench.peer(OURS, Tuning(updates_per_s=1, creates_per_minute=1, options=options)) as running:
        daemon = running.process
        assert isinstance(daemon, Cadtwistd)
        daemon.settle()
        empty = daemon.cpu_s()
        blast(running.line, names=NAMES, conns=4, points=rounds, step=1, drain=True, duration=300,
              ts0=int(time.time()) - rounds)  # fmt: skip
        points = NAMES * rounds
        until("all logged", lambda: daemon.logged() >= points, 60)
        written = daemon.written()
        daemon.kill()
        began = time.monotonic()
        daemon.start(300)
        took = time.monotonic() - began
        daemon.settle()
        used = daemon.cpu_s() - empty
        lost = points - written - daemon.replayed()
    yield Row("replay", f"{points:,} logged datapoints", OURS, used, "CPU s", REPLAY_CPU_S * points / REPLAYED)
    yield Row("replay", "ready again after", OURS, took, "s")
    yield Row("replay", "neither written before nor replayed", OURS, max(0, lost), "datapoints", 0)


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            continue
    return total


def bound(bench: Bench) -> Iterator[Row]:
    """500 updates a second allowed on 100,000 metrics: the log's highest size and what was allowed then."""
    names = bench.scaled(BOUND_NAMES)
    options = (("WAL_MAX_BYTES", BOUND_BYTES), ("WAL_SEGMENT_BYTES", SEGMENT_BYTES))
    worst, room = 0.0, 1.0
    with bench.peer(OURS, Tuning(updates_per_s=BOUND_UPDATES_PER_S, options=options)) as running:
        daemon = running.process
        assert isinstance(daemon, Cadtwistd)
        ts0 = int(time.time()) - 3_000
        rounds = int(BOUND_RATE / names) or 1
        for second in range(int(BOUND_S)):
            blast(running.line, names=names, conns=4, points=rounds, step=1, ts0=ts0 + second * rounds, drain=True,
                  duration=30, rate=BOUND_RATE)  # fmt: skip
            allowed = max(BOUND_BYTES, 2 * daemon.pending() * PENDING_BYTES) + 2 * SEGMENT_BYTES
            size = _size(daemon.wal)
            if size / allowed > worst / room:
                worst, room = size, allowed
        say(f"ledger: {daemon.ledger().get('write-ahead log')}")
        pending = daemon.pending()
    yield Row("log-bound", "the log at its fullest", OURS, worst / 2**20, "MiB", room / 2**20)
    yield Row("log-bound", "pending at the end", OURS, pending, "datapoints")
