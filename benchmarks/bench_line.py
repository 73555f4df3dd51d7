"""Reads Graphite lines with both twins: nanoseconds per line of parsing and interning.

Run as `python benchmarks/bench_line.py [--names 10000 500000] [--seconds 1.0]`.
"""

from __future__ import annotations

import argparse
import importlib
import random
import time
from types import ModuleType
from typing import Any

from cadtwist.model.batch import Columns

NOW = 1_795_216_800


def names(count: int) -> list[bytes]:
    """Names of 58 bytes on average, twenty per host."""
    kinds = ("cpu.idle", "cpu.user", "cpu.system", "memory.used", "disk.sda.read_bytes")
    return [
        b"servers.dc%d.rack%02d.web-%05d.example_com.%s.%d"
        % (i % 3, i // 800 % 40, i // 20, kinds[i % 5].encode(), i % 4)
        for i in range(count)
    ]


def chunks(metrics: list[bytes], lines: int, size: int = 65536) -> list[bytes]:
    """Lines in random order of metrics, in reads of about `size` bytes that end with a line."""
    chosen = random.Random(7)
    text = [b"%s %.2f %d\n" % (chosen.choice(metrics), chosen.random() * 1e5, NOW + i // 1000) for i in range(lines)]
    found, start, per = [], 0, max(1, size // 79)
    while start < lines:
        found.append(b"".join(text[start : start + per]))
        start += per
    return found


def measure(kernel: ModuleType, metrics: list[bytes], reads: list[bytes], seconds: float) -> dict[str, Any]:
    """Return ns per new name and per line, best and median pass."""
    table = kernel.MetricTable(12345)
    began = time.perf_counter()
    for name in metrics:
        table.intern(name, NOW)
    first = (time.perf_counter() - began) / len(metrics)
    columns, passes, deadline = Columns(), [], time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(passes) < 3:
        began, done = time.process_time(), 0
        for data in reads:
            bad: list[tuple[int, int, int]] = []
            pos = 0
            while pos < len(data):
                pos, n = kernel.parse_graphite(
                    table, data, pos, len(data), columns.ids, columns.timestamps, columns.values, None, 0,
                    float(NOW), 0, bad,
                )  # fmt: skip
                done += n
        passes.append((time.process_time() - began) / done)
    passes.sort()
    return {"new": first, "best": passes[0], "median": passes[len(passes) // 2]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", type=int, nargs="*", default=[10_000, 500_000])
    parser.add_argument("--seconds", type=float, default=1.0)
    asked = parser.parse_args()
    for count in asked.names:
        metrics = names(count)
        reads = chunks(metrics, 400_000)
        length = sum(map(len, reads)) / 400_000
        for twin in ("table", "table_py"):
            kernel = importlib.import_module(f"cadtwist.kernels.{twin}")
            took = measure(kernel, metrics, reads if twin == "table" else reads[:60], asked.seconds)
            print(
                f"{twin:9} {count:8} names, {length:.0f} bytes a line: "
                f"{took['median'] * 1e9:7.1f} ns a line (best {took['best'] * 1e9:.1f}), "
                f"{took['new'] * 1e9:.0f} ns a new name"
            )


if __name__ == "__main__":
    main()
