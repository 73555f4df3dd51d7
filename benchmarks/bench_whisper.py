"""What writing, making and reading whisper files costs: `python -m benchmarks.bench_whisper [FOLDER]`.

Single archive of a day of minutes (17,308 bytes).  CPU microseconds (user + system) per file or point, the best of
the rounds.  With FLOOR=path of the compiled `floor` tool (create, update, update-fd of N files) its figures are taken
in turn with ours, since those of creation swing with the state of the file system.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from cadtwist.kernels import active
from cadtwist.kernels import whisperfile_py as twin
from cadtwist.kernels.active import whisperfile

NOW = 1_700_000_040
FILES = 4000


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def names_of(n: int) -> tuple[bytes, np.ndarray]:
    names = [b"%02d.%02d.m%06d" % (i % 32, i // 32 % 32, i) for i in range(n)]
    return b"".join(names), np.cumsum([0, *map(len, names)]).astype(np.uint32)


class Load:
    """Jobs of n metrics with some points each, written by one Writer."""

    def __init__(self, kernel: object, root: str, n: int, max_open: int, archives: list[tuple[int, int]]) -> None:
        self.n, self.now = n, NOW
        self.names, self.name_offsets = names_of(n)
        self.writer = kernel.Writer(os.fsencode(root), max_open=max_open, allocate=1)  # type: ignore[attr-defined]
        self.writer.add_schema(archives, 0.5, 1)
        self.statuses = np.zeros(n, np.uint8)
        self.ids, self.schemas = np.arange(n, dtype=np.uint32), np.zeros(n, np.int32)

    def write(self, points: int) -> float:
        """Write `points` new points to each file; return CPU microseconds per file."""
        ts = np.tile(self.now + 60.0 * np.arange(points), self.n)
        values = np.random.default_rng(1).random(self.n * points)
        offsets = np.arange(self.n + 1, dtype=np.uint32) * np.uint32(points)
        self.now += 60 * points
        begun = cpu()
        self.writer.write(
            self.names, self.name_offsets, self.ids, self.schemas, offsets, ts, values, self.now, self.n, self.statuses
        )
        used = (cpu() - begun) / self.n * 1e6
        assert not (self.statuses > 1).any(), np.unique(self.statuses)
        return used


def floor(what: str, folder: str, n: int) -> float | None:
    tool = os.environ.get("FLOOR")
    if tool is None:
        return None
    shown = subprocess.run([tool, what, folder, str(n)], check=True, capture_output=True, text=True).stdout
    return float(json.loads(shown)["cpu_s_per_M"])


def report(what: str, us: float, note: str = "") -> None:
    print(f"{what:44} {us:9.2f} us {note}")


def creation(kernel: object, folder: str, what: str, n: int) -> None:
    rounds = []
    for turn in range(4):
        bare, ours = os.path.join(folder, f"floor{turn}"), os.path.join(folder, f"ours{turn}")
        least = floor("create", bare, n)
        for a in range(32):
            for b in range(32):
                os.makedirs(f"{ours}/{a:02}/{b:02}")
        rounds.append((Load(kernel, ours, n, n, [(60, 1440)]).write(1), least))
        for path in (bare, ours):
            shutil.rmtree(path, ignore_errors=True)
    for ours_us, least in rounds:
        report(f"{what}: create and write a point", ours_us, "" if least is None else f"floor create {least:.2f}")


def updates(kernel: object, folder: str, what: str, n: int) -> None:
    for archives, kind in (([(60, 1440)], "1 archive"), ([(60, 1440), (300, 2016), (3600, 2000)], "3 archives")):
        root = os.path.join(folder, kind)
        load = Load(kernel, root, n, n, archives)
        load.write(1)
        load.write(1)
        for points in (1, 10, 100):
            least = min(load.write(points) for _turn in range(4))
            report(f"{what}: {points} points, open, {kind}", least, f"{least / points:.3f} us a point")
        load = Load(kernel, root, n, n // 10, archives)
        load.now += 60 * 1000
        report(f"{what}: 1 point, not open, {kind}", min(load.write(1) for _turn in range(4)))
        shutil.rmtree(root)


def reading(kernel: object, folder: str, what: str) -> None:
    root = os.path.join(folder, "read")
    Load(kernel, root, 100, 100, [(60, 1440)]).write(1000)
    paths = [os.fsencode(f"{root}/{i % 32:02}/{i // 32 % 32:02}/m{i:06}.wsp") for i in range(100)]
    now = NOW + 60_000

    def fetch_all() -> None:
        for path in paths:
            kernel.fetch(path, now - 3600, now, now)  # type: ignore[attr-defined]

    report(f"{what}: fetch an hour", min(timed(fetch_all) for _turn in range(10)) / 100)
    shutil.rmtree(root)


def timed(work: Callable[[], None]) -> float:
    begun = cpu()
    work()
    return (cpu() - begun) * 1e6


def main() -> None:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES + 1000)), hard))
        served = [(whisperfile, "native", FILES)] if active.NATIVE else []
        for kernel, what, n in (*served, (twin, "Python", FILES // 10)):
            creation(kernel, folder, what, n)
            updates(kernel, folder, what, n)
            reading(kernel, folder, what)
    print(f"{time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()
