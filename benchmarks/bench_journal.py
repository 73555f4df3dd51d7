"""The write-ahead log: cost per accepted point, its bound under update limits, and replay.

`python -m benchmarks.bench_journal [points of the replay]`
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
import time

import numpy as np

from cadtwist.cache.cache import Cache
from cadtwist.flow import Gate
from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.wal import Wal, replay
from cadtwist.kernels import active
from cadtwist.model.batch import Batch
from cadtwist.telemetry import Account

BATCH = 8192


class House:
    def __init__(self, folder: str | None, names: int = 0) -> None:
        self.table = active.table.MetricTable(1)
        for number in range(names):
            self.table.intern(b"servers.host%06d.cpu.total.user.and.some.more.text.to.79" % number, 0)
        self.points = active.points.PointStore()
        self.wal = None
        if folder is not None:
            self.log = SegmentLog(folder)
            self.wal = Wal(self.log, self.table, self.points, Account("wal"))
        self.cache = Cache(
            self.table,
            self.points,
            lambda ids: np.zeros(len(ids), np.int32),
            Account("cache"),
            Gate(),
            journal=self.wal,
        )


def accept(house: House, metrics: int, points: int, write_out: int = 0) -> tuple[float, float]:
    """Return nanoseconds per point and the longest turn in milliseconds."""
    rng = np.random.default_rng(1)
    order = rng.permutation(metrics).astype(np.uint32)
    values = np.ones(BATCH)
    spent = longest = 0.0
    at = stamp = 0
    hands = itertools.cycle(range(0, metrics, max(1, write_out)))
    for _ in range(points // BATCH):
        part = np.take(order, np.arange(at, at + BATCH), mode="wrap")
        at += BATCH
        stamp += at // metrics
        at %= metrics
        batch = Batch(part, np.full(BATCH, 1.7e9 + stamp * 10), values)
        begin = time.process_time()
        house.cache.accept(batch)
        if house.wal is not None:
            house.wal.turn_ended()
        turn = time.process_time() - begin
        spent += turn
        longest = max(longest, turn)
        if write_out:
            first = next(hands)
            chosen = np.arange(first, min(metrics, first + write_out), dtype=np.uint32)
            house.points.confirm(house.points.take(chosen)[0])
    return spent / points * 1e9, longest * 1e3


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    print("native" if active.NATIVE else "python", "kernels")
    folder = tempfile.mkdtemp()
    try:
        for metrics in (10_000, 500_000):
            with_log, longest = accept(House(f"{folder}/a{metrics}", metrics), metrics, 4_000_000)
            without, _ = accept(House(None, metrics), metrics, 4_000_000)
            print(
                f"{metrics} metrics: accept {without:.0f} ns/point, with the log {with_log:.0f}: "
                f"the log costs {with_log - without:.0f} ns/point, {(with_log - without) / 2.5:.0f}% of 250 ns; "
                f"longest turn {longest:.1f} ms"
            )
        house = House(f"{folder}/b", 100_000)
        _, longest = accept(house, 100_000, 8_000_000, 40)
        assert house.wal is not None
        print(
            f"100,000 metrics, few updates: {house.points.points:,} points pending, "
            f"log {house.log.used_bytes >> 20} MiB, bound {house.wal.bound_bytes >> 20} MiB, "
            f"longest turn {longest:.1f} ms"
        )
        house = House(f"{folder}/c", 100_000)
        house.wal._min_bytes = 1 << 40
        accept(house, 100_000, n)
        house.log.close()
        new = House(f"{folder}/c")
        begin = time.process_time()
        for _ in replay(new.log, new.table, new.cache.restore, Account("replay"), 0):
            pass
        print(f"replay of {n:,} points: {time.process_time() - begin:.2f} CPU-seconds")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
