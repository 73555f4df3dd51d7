"""The store of open cells: nanoseconds per point and per cell.  `python -m benchmarks.bench_buckets [rows ...]`."""

from __future__ import annotations

import sys
import time
from types import ModuleType

import numpy as np

from cadtwist.kernels.bucketkinds import KEPT, PLAIN
from tests.twins import native_twin, python_twin

BATCH = 8192


def measure(twin: ModuleType, rows: int, points: int, kind: int) -> str:
    store = twin.Buckets(4096)
    for row in range(rows):
        store.define(row, 60.0, kind)
    ids = np.random.default_rng(1).integers(0, rows, points).astype(np.uint32)
    times, values = np.full(BATCH, 1.7e9), np.random.default_rng(2).random(BATCH)
    spent = []
    for _ in range(3):
        begin = time.process_time()
        for at in range(0, points, BATCH):
            part = ids[at : at + BATCH]
            store.add(part, times[: len(part)], values[: len(part)])
        spent.append((time.process_time() - begin) / points * 1e9)
    begin = time.process_time()
    cells = store.cells_of(np.arange(rows, dtype=np.uint32))
    store.read(cells)
    if kind & KEPT:
        store.spread(cells, np.array([90.0]))
    told = (time.process_time() - begin) / len(cells) * 1e9
    size = store.bytes / len(cells)
    begin = time.process_time()
    store.free(cells)
    freed = (time.process_time() - begin) / len(cells) * 1e9
    return (
        f"{twin.__name__.rsplit('.', 1)[1]:10} {rows:8} rows{' with values' if kind & KEPT else '':12}: add first "
        f"{spent[0]:6.1f}, later {min(spent[1:]):6.1f} ns; read {told:.0f}, free {freed:.0f} ns/cell; "
        f"{size:.0f} bytes/cell"
    )


def main() -> None:
    sizes = [int(each) for each in sys.argv[1:]] or [4_000, 100_000, 1_000_000]
    native = native_twin("buckets")
    for rows in sizes:
        for kind in (PLAIN, PLAIN | KEPT):
            if native is not None:
                print(measure(native, rows, max(rows, 1_000_000), kind))
    print(measure(python_twin("buckets"), 4_000, 100_000, PLAIN))


if __name__ == "__main__":
    main()
