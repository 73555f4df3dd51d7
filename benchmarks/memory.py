"""Resident memory: by name, by pending datapoint, and at the size of a real site."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.bench import Bench, say
from benchmarks.load import blast, make_files, metric
from benchmarks.peers import OURS, Measured, Tuning
from benchmarks.report import Row
from tests.system.cadtwistd import Cadtwistd

__all__ = ["memory", "site"]

HELD_BACK = Tuning(updates_per_s=1, creates_per_minute=1)
NAME_BYTES = 100.0
POINT_BYTES = 16 * 1.25
SITE_NAMES = 140_000
SITE_LAPSE = 10
"""The ten minutes pass ten times as fast: the same points and updates per simulated second."""
SITE_MINUTES = 10
SITE_STEP_S = 10
SITE_UPDATES_PER_S = 1_200
SITE_CACHE_BYTES = 60e6
SITE_PROCESS_BYTES = 250e6


def _resident(peer: Measured) -> int:
    peer.process.settle()
    return peer.process.memory_bytes(children=False)


def memory(bench: Bench) -> Iterator[Row]:
    """The slope from half a million names to one and a half, and by pending datapoints of 100,000 names."""
    low, high = bench.scaled(500_000), bench.scaled(1_500_000)
    ts0 = int(time.time()) - 3_600
    with bench.peer(OURS, HELD_BACK) as running:
        sizes = []
        for names in (low, high):
            blast(running.line, names=names, conns=4, points=1, step=1, ts0=ts0, drain=True, duration=300)
            sizes.append(_resident(running))
    text = sum(len(metric(n)) for n in range(low, high)) / (high - low)
    slope = (sizes[1] - sizes[0]) / (high - low)
    note = f"bar: {NAME_BYTES:.0f} + {text:.0f} for the name + {POINT_BYTES:.0f} for its one pending datapoint"
    bar = NAME_BYTES + text + POINT_BYTES
    yield Row("memory", f"{low:,} to {high:,} names", OURS, slope, "bytes per name", bar, note=note)
    names = bench.scaled(100_000)
    with bench.peer(OURS, HELD_BACK) as running:
        sizes = []
        for first, rounds in ((0, 100), (100, 100)):
            blast(running.line, names=names, conns=4, points=rounds, step=1, ts0=ts0 + first, drain=True, duration=300)
            sizes.append(_resident(running))
    slope = (sizes[1] - sizes[0]) / (names * 100)
    yield Row("memory", f"100 to 200 datapoints of {names:,} names", OURS, slope, "bytes per datapoint", POINT_BYTES)


def site(bench: Bench) -> Iterator[Row]:
    """140,000 names every 10 s, 1,200 updates a second, for ten minutes in a tenth of the time."""
    names = bench.scaled(SITE_NAMES)
    rounds = SITE_MINUTES * 60 // SITE_STEP_S
    updates = SITE_UPDATES_PER_S * SITE_LAPSE * names / SITE_NAMES
    with bench.folder() as folder:
        say(f"making {names:,} files")
        make_files(folder / "whisper", names)
        tuning = Tuning(updates_per_s=max(1, int(updates)), whisper=folder / "whisper")
        with bench.peer(OURS, tuning) as running:
            daemon = running.process
            assert isinstance(daemon, Cadtwistd)
            samples = []
            ts0 = int(time.time()) - rounds * SITE_STEP_S
            per_minute = 60 // SITE_STEP_S
            for minute in range(SITE_MINUTES):
                blast(
                    running.line,
                    names=names,
                    conns=4,
                    points=per_minute,
                    step=SITE_STEP_S,
                    ts0=ts0 + 60 * minute,
                    rate=names * SITE_LAPSE / SITE_STEP_S,
                    drain=True,
                    duration=60,
                )
                samples.append((daemon.pending(), daemon.cache_bytes(), daemon.memory_bytes(children=False)))
                say("minute {}: {:,} pending, cache {:,} bytes, process {:,} bytes".format(minute + 1, *samples[-1]))
            whole = daemon.memory_bytes()
    late = samples[len(samples) // 2 :]
    yield Row("site", "pending at the end", OURS, samples[-1][0], "datapoints")
    yield Row("site", "cache, highest", OURS, max(each[1] for each in samples) / 1e6, "MB", SITE_CACHE_BYTES / 1e6)
    yield Row("site", "process, highest", OURS, max(each[2] for each in samples) / 1e6, "MB", SITE_PROCESS_BYTES / 1e6)
    yield Row("site", "with its web process, at the end", OURS, whole / 1e6, "MB")
    yield Row("site", "pending, last ÷ half-way", OURS, late[-1][0] / max(1, late[0][0]), "", 1.2)
