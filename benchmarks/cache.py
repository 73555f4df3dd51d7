"""Lines in, whisper files out: CPU per point at 100, 10 and 1 points per file, and per created file."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.load import STEP_S, blast, floor, wait_for_files
from benchmarks.peers import OURS, RATIO, Measured, Tuning
from benchmarks.report import Row

__all__ = ["cache", "create"]

SHARE = {100: 2.0, 10: 3.0, 1: 3.0}
"""By how much go-carbon's CPU per point is to be undercut, by points per file."""
NAMES = {100: 5_000, 10: 10_000, 1: 10_000}
PHASES = {100: 1, 10: 2, 1: 5}
"""How often that many points are sent and waited for: few points per file make short phases."""
CREATE_ABOVE_FLOOR_US = 60.0
SPARSE = Tuning(options=(("WHISPER_SPARSE_CREATE", "True"),))
WAIT_S = 120.0


def _phase(peer: Measured, names: int, rounds: range, ts0: int, wire: str = "graphite") -> dict[str, float]:
    """Send `rounds` of `names` points and wait until all are in their files; return what it cost."""
    used = peer.process.cpu_s()
    port = peer.line if wire == "graphite" else peer.pickle
    sent = blast(
        port,
        format=wire,
        conns=4,
        names=names,
        points=len(rounds),
        duration=WAIT_S,
        ts0=ts0 + rounds.start * STEP_S,
        step=STEP_S,
        round0=rounds.start,
        drain=True,
    )
    moment, missing = wait_for_files(peer.whisper, names, ts0, rounds, WAIT_S)
    peer.process.settle()
    points = names * len(rounds)
    return {
        "cpu_us": (peer.process.cpu_s() - used) / points * 1e6,
        "accepted_per_s": sent.accepted_per_s,
        "written_per_s": (points - missing) / (moment - sent.started),
        "missing": float(missing),
    }


def cache(bench: Bench) -> Iterator[Row]:
    """CPU of accepting and writing, beside carbon and go-carbon."""
    for per_file, share in SHARE.items():
        names = bench.scaled(NAMES[per_file])
        rounds = per_file * PHASES[per_file]
        ts0 = int(time.time()) // STEP_S * STEP_S - STEP_S * (rounds + 4)

        def measure(peer: str, names: int = names, per_file: int = per_file, ts0: int = ts0) -> dict[str, float]:
            with bench.peer(peer) as running:
                _phase(running, names, range(1), ts0)
                runs = [
                    _phase(running, names, range(1 + k * per_file, 1 + (k + 1) * per_file), ts0)
                    for k in range(PHASES[per_file])
                ]
                figures = {key: statistics.fmean(run[key] for run in runs) for key in runs[0]}
                figures["rss_mib"] = running.process.memory_bytes(peak=True) / 2**20
                return figures

        found = bench.in_turn(bench.wanted(OURS, "go-carbon", "carbon"), measure)
        yield from _rows(f"update, {per_file} points per file", found, f"update_{per_file}", share)


def _rows(what: str, found: dict[str, dict[str, float]], key: str, share: float) -> Iterator[Row]:
    reference, note = _reference(found, key)
    for peer, figures in found.items():
        ours = peer == OURS
        yield Row("cache", what, peer, figures["cpu_us"], "CPU us per point",
                  reference / share if ours and reference else None, note=note if ours else "")  # fmt: skip
        yield Row("cache", f"{what}: points not in their file", peer, figures["missing"], "points", 0 if ours else None)
        yield Row("cache", f"{what}: written", peer, figures["written_per_s"], "points/s")
        yield Row("cache", f"{what}: accepted", peer, figures["accepted_per_s"], "lines/s")


def _reference(found: dict[str, dict[str, float]], key: str) -> tuple[float | None, str]:
    """Return go-carbon's CPU per point, measured or estimated from carbon's, and which of both it is."""
    if "go-carbon" in found:
        return found["go-carbon"]["cpu_us"], "bar from go-carbon in this run"
    if "carbon" in found:
        return found["carbon"]["cpu_us"] / RATIO[key], "bar ESTIMATED from carbon in this run (no go-carbon here)"
    return None, ""


def create(bench: Bench) -> Iterator[Row]:
    """CPU of creating a file, above what plain C needs in the same interleaved run; both make sparse files."""
    names = bench.scaled(10_000)
    ts0 = int(time.time()) // STEP_S * STEP_S - STEP_S * 4

    def measure(peer: str) -> dict[str, float]:
        with bench.folder() as plain:
            least = floor("create", plain / "floor", names)
        with bench.peer(peer, SPARSE if peer == OURS else Tuning()) as running:
            figures = _phase(running, names, range(1), ts0)
        return {"cpu_us": figures["cpu_us"], "floor_us": least, "missing": figures["missing"]}

    found = bench.in_turn(bench.wanted(OURS, "go-carbon", "carbon"), measure)
    for peer, figures in found.items():
        bar = figures["floor_us"] + CREATE_ABOVE_FLOOR_US if peer == OURS else None
        yield Row("create", "one file", peer, figures["cpu_us"], "CPU us", bar)
        yield Row("create", "plain C in the same run", peer, figures["floor_us"], "CPU us")
