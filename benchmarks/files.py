"""Many files: more than there are descriptors, and the start over a million."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.bench import Bench, say
from benchmarks.load import STEP_S, blast, make_files, missing_points
from benchmarks.peers import OURS, Tuning
from benchmarks.report import Row
from tests.system.cadtwistd import Cadtwistd
from tests.system.process import NotReady, until
from tests.system.slots import many_files

__all__ = ["descriptors", "startup"]

FILES, DESCRIPTORS = 200_000, 20_000
START_FILES = 1_000_000
INDEX_S = 30.0
ROUNDS = 2
SAMPLE = 400


def descriptors(bench: Bench) -> Iterator[Row]:
    """One point a file, 200,000 files through 20,000 descriptors."""
    names = bench.scaled(FILES)
    with bench.folder() as folder:
        say(f"making {names:,} files")
        make_files(folder / "whisper", names)
        tuning = Tuning(max_open_files=max(10, names * DESCRIPTORS // FILES), whisper=folder / "whisper")
        first = int(time.time()) // STEP_S * STEP_S - STEP_S * 600
        turns = iter(range(1_000))

        def measure(peer: str) -> dict[str, float]:
            ts0 = first + STEP_S * ROUNDS * next(turns)
            with bench.peer(peer, tuning) as running:
                running.process.settle()
                used = running.process.cpu_s()
                for round_ in range(ROUNDS):
                    at = ts0 + round_ * STEP_S
                    blast(running.line, names=names, conns=4, points=1, ts0=at, round0=round_, drain=True, duration=120)
                    _written(running.whisper, names, at - round_ * STEP_S, round_)
                    running.process.settle()
                return {"cpu_us": (running.process.cpu_s() - used) / (names * ROUNDS) * 1e6}

        found = bench.in_turn(bench.wanted(OURS, "go-carbon"), measure)
    bar = found["go-carbon"]["cpu_us"] if "go-carbon" in found else None
    for peer, figures in found.items():
        yield Row("descriptors", f"{names:,} files through {tuning.max_open_files:,} descriptors", peer,
                  figures["cpu_us"], "CPU us per point", bar if peer == OURS else None)  # fmt: skip


def _written(root: object, names: int, ts0: int, round_: int) -> None:
    """Wait until a sample of the files has the point of a round."""
    sample = range(0, names, max(1, names // SAMPLE))
    rounds = range(round_, round_ + 1)
    until("the files", lambda: not any(missing_points(root, n, ts0, rounds) for n in sample), 300, 0.5)  # type: ignore[arg-type]


def startup(bench: Bench) -> Iterator[Row]:
    """A start over a million files."""
    count = bench.scaled(START_FILES)
    with bench.folder() as folder:
        say(f"making {count:,} names of files")
        many_files(folder / "whisper", count)
        with bench.peer(OURS, Tuning(whisper=folder / "whisper")) as running:
            daemon = running.process
            assert isinstance(daemon, Cadtwistd)
            began = time.monotonic()
            daemon.json("/metrics/find", query="site.*")
            answered = time.monotonic() - began
            try:
                until("the index is complete", lambda: daemon.indexed() >= count, 300, 0.5)
            except NotReady as failure:
                say(str(failure))
            complete = time.monotonic() - began
            yield Row("startup", "first answer after the doors are open", OURS, answered, "s")
            yield Row("startup", f"index of {count:,} files complete", OURS, complete, "s", INDEX_S)
            yield Row("startup", "CPU until then", OURS, daemon.cpu_s(), "s")
            yield Row("startup", "resident", OURS, daemon.memory_bytes(children=False) / 2**20, "MiB")
