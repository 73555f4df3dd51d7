"""The store of pending points: nanoseconds and bytes per point.  `python -m benchmarks.bench_points [metrics ...]`."""

from __future__ import annotations

import sys
import time
from types import ModuleType

import numpy as np

from tests.twins import native_twin, python_twin

BATCH = 8192
ROOM = 1 << 40


def measure(twin: ModuleType, metrics: int, rounds: int) -> str:
    rng = np.random.default_rng(1)
    store = twin.PointStore()
    orders = [rng.permutation(metrics).astype(np.uint32) for _ in range(3)]
    spent = []
    values = np.ones(BATCH)
    for turn in range(rounds):
        ids, ts = orders[turn % 3], np.full(BATCH, 1.7e9 + turn * 10)
        begin = time.process_time()
        for at in range(0, metrics, BATCH):
            part = ids[at : at + BATCH]
            store.append(part, ts[: len(part)], values[: len(part)], 1, ROOM)
        spent.append((time.process_time() - begin) / metrics * 1e9)
    points, used = store.points, store.bytes
    begin = time.process_time()
    waiting, _ = store.pending()
    listed = time.process_time() - begin
    begin = time.process_time()
    jobs = [store.take(waiting[at : at + 1024]) for at in range(0, metrics, 1024)]
    took = (time.process_time() - begin) / points * 1e9
    begin = time.process_time()
    for job in jobs:
        store.confirm(job[0])
    confirmed = (time.process_time() - begin) / points * 1e9
    return (
        f"{twin.__name__.rsplit('.', 1)[1]:10} {metrics:8} metrics x {rounds}: append first {spent[0]:6.1f}, later "
        f"{np.median(spent[1:]):6.1f} ns; {used / points:5.1f} bytes/point; pending {listed * 1000:.1f} ms; "
        f"take {took:.1f}, confirm {confirmed:.1f} ns/point"
    )


def main() -> None:
    sizes = [int(each) for each in sys.argv[1:]] or [10_000, 100_000, 500_000]
    native = native_twin("points")
    for metrics in sizes:
        if native is not None:
            print(measure(native, metrics, 12))
    print(measure(python_twin("points"), 10_000, 12))


if __name__ == "__main__":
    main()
