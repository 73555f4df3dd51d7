"""What writing ceres nodes costs, beside whisper files: `python -m benchmarks.bench_ceres [FOLDER]`.

CPU microseconds (user + system) per metric, the best of the rounds, which take turns.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time

import numpy as np

from benchmarks.bench_whisper import NOW, cpu, names_of
from cadtwist.kernels import active, ceresfile_py
from cadtwist.kernels.active import ceresfile, whisperfile

METRICS = 4000
ROUNDS = 5


class Load:
    """Jobs of one more point for each metric.  `now`, for nodes, is that of the disk: what is just made is not kept."""

    def __init__(self, writer: object, n: int) -> None:
        self.writer, self.n, self.at, self.least = writer, n, NOW, float("inf")
        self.names, self.name_offsets = names_of(n)
        self.columns = np.arange(n, dtype=np.uint32), np.zeros(n, np.int32), np.arange(n + 1, dtype=np.uint32)
        self.statuses = np.zeros(n, np.uint8)

    def write(self, now: int = 0) -> float:
        """Write a point to each; return CPU microseconds per metric."""
        ts, values = np.full(self.n, float(self.at)), np.random.default_rng(1).random(self.n)
        self.at += 60
        begun = cpu()
        self.writer.write(  # type: ignore[attr-defined]
            self.names, self.name_offsets, *self.columns, ts, values, now or self.at, self.n, self.statuses
        )
        took = (cpu() - begun) * 1e6 / self.n
        assert set(self.statuses.tolist()) <= {0, 1}
        return took


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        roots = [os.fsencode(os.path.join(folder, name)) for name in ("ceres", "whisper", "python")]
        loads = {"whisper files, native": Load(whisperfile.Writer(roots[1], max_open=METRICS, allocate=1), METRICS)}
        loads["whisper files, native"].writer.add_schema([(60, 1440)], 0.5, 1)  # type: ignore[attr-defined]
        if active.NATIVE:
            loads["ceres nodes, native"] = Load(ceresfile.Writer(roots[0]), METRICS)
        loads["ceres nodes, Python"] = Load(ceresfile_py.Writer(roots[2]), METRICS // 4)
        for what, load in loads.items():
            if what.startswith("ceres"):
                load.writer.add_schema([(60, 1440)], 0.5, "average")  # type: ignore[attr-defined]
            print(f"{what + ': made':40}{load.write(NOW):10.2f} us")
        later = int(time.time()) + 10
        for _round in range(ROUNDS):
            for what, load in loads.items():
                load.least = min(load.least, load.write(later if "ceres" in what else 0))
        for what, load in loads.items():
            print(f"{what + ': 1 point':40}{load.least:10.2f} us")


if __name__ == "__main__":
    main()
