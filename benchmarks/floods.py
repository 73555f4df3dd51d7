"""Names that come and go: simulated days of churn in this process, and random names over UDP."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.bench import Bench, say
from benchmarks.load import blast
from benchmarks.peers import OURS, Tuning
from benchmarks.report import Row
from cadtwist.kernels import active
from cadtwist.model.table import KeySpace
from tests.system.cadtwistd import Cadtwistd

__all__ = ["churn", "random_names"]

HOURS = 24
NEW_PER_HOUR = 1_000_000
ALIVE = 100_000
NAME = b"cluster.pods.web-%012x.container.cpu.usage_seconds"
IDLE_S = 600
STEP_S = 36
FLAT = 1.05
FLOOD = 10_000_000
BUDGET_BYTES = 64 << 20
SLACK_BYTES = 256 << 20
PER_BLAST = 500_000


def _resident() -> int:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096


def _names(first: int, count: int) -> bytes:
    """Return `count` names of pods that were never there before, joined."""
    return b"".join(NAME % n for n in range(first, first + count))


def churn(bench: Bench) -> Iterator[Row]:
    """A million new names an hour, 100,000 alive at a time, 24 simulated hours, table and its sweep."""
    table = active.table.MetricTable(4711)
    space = KeySpace(table)
    per_step = bench.scaled(NEW_PER_HOUR * STEP_S // 3600)
    alive: deque[bytes] = deque(maxlen=ALIVE * 3600 // (NEW_PER_HOUR * STEP_S))
    offsets = np.arange(per_step + 1, dtype=np.uint32) * np.uint32(len(NAME % 0))
    ids = np.zeros(per_step, np.uint32)
    now, made = 1_800_000_000, 0
    used, resident = {}, {}
    began = time.process_time()
    for hour in range(1, HOURS + 1):
        for _ in range(3600 // STEP_S):
            now += STEP_S
            alive.append(_names(made, per_step))
            made += per_step
            for blob in alive:
                table.intern_many(blob, offsets, ids, now)
            for _ in range(4):
                space.sweep(now, IDLE_S, per_step * 8)
            space.turn_ended()
        used[hour], resident[hour] = table.used_bytes, _resident()
        if hour in (1, 2, 3, 12, 24):
            say(f"hour {hour}: {len(table):,} live, {table.used_bytes:,} bytes, resident {resident[hour]:,}")
    yield Row("churn", f"{made:,} names: table bytes, hour {HOURS} ÷ hour 2", OURS, used[HOURS] / used[2], "", FLAT)
    yield Row("churn", "ids, highest", OURS, table.capacity, "ids")
    yield Row("churn", "resident, hour 24 ÷ hour 2", OURS, resident[HOURS] / resident[2], "", FLAT)
    yield Row("churn", "CPU per new name, its ten sightings included", OURS,
              (time.process_time() - began) / made * 1e6, "us")  # fmt: skip


def random_names(bench: Bench) -> Iterator[Row]:
    """Ten million names over UDP that are never seen again, with 64 MiB for names."""
    total = bench.scaled(FLOOD)
    options = (("METRIC_NAMES_MAX_BYTES", BUDGET_BYTES), ("CACHE_MAX_BYTES", 128 << 20))
    with bench.peer(OURS, Tuning(updates_per_s=100, creates_per_minute=60, options=options)) as running:
        daemon = running.process
        assert isinstance(daemon, Cadtwistd)
        daemon.settle()
        before = daemon.memory_bytes(children=False)
        sent = 0
        while sent < total:
            count = min(PER_BLAST, total - sent)
            sent += blast(running.line, names=count, points=1, udp=True, dgram=1400, rate=400_000, duration=60,
                          prefix=f"flood.r{sent}").lines  # fmt: skip
        daemon.settle()
        grown = daemon.memory_bytes(children=False) - before
        names, unbalanced = daemon.names_bytes(), daemon.unbalanced()
        counted = daemon.counted()
    yield Row("random-names", f"{sent:,} over UDP: bytes of names", OURS, names / 2**20, "MiB", BUDGET_BYTES / 2**20)
    yield Row("random-names", "resident grew by", OURS, grown / 2**20, "MiB", (BUDGET_BYTES + SLACK_BYTES) / 2**20)
    note = "the rest was lost by the kernel"
    yield Row("random-names", "counted, of those sent", OURS, counted / sent, "", note=note)
    yield Row("random-names", "accounts that do not balance", OURS, len(unbalanced), "", 0)
