"""Taking datapoints in, without writing files: lines, datagrams, pickles, new names, the log's share, both twins."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from benchmarks.bench import Bench
from benchmarks.load import STEP_S, blast
from benchmarks.peers import OURS, PURE, Measured, Tuning
from benchmarks.report import Row
from tests.system.cadtwistd import Cadtwistd
from tests.system.process import raise_file_limit

__all__ = ["accept", "first_sight", "idle", "twins", "wal_share"]

HELD_BACK = Tuning(updates_per_s=2000, creates_per_minute=1)
"""One update a second: what is measured is not the files."""
BARS = {"line": 0.25, "udp": 0.30, "udp-paced": None, "pickle": 0.40}
"""CPU us per point by door, each as fast as is taken; `udp-paced` is UDP_RATE, for which there is no bar."""
FEW, MANY = 10_000, 500_000
UDP_RATE = 1_000_000.0
WAL_SHARE = 0.20
FIRST_SIGHT_US = 10.0
IDLE_SPEED = 0.80


@dataclass(frozen=True)
class Load:
    """One way of sending."""

    door: str = "line"
    names: int = FEW
    seconds: float = 4.0


def _options(load: Load) -> dict[str, object]:
    given: dict[str, object] = {"names": load.names, "conns": 4, "step": 1}
    if load.door.startswith("udp"):
        given.update(udp=True, dgram=1400, conns=1, rate=UDP_RATE if load.door == "udp-paced" else 0)
    else:
        given["drain"] = True
    if load.door == "pickle":
        given["format"] = "pickle"
    return given


def _taken(peer: Measured, lines: int) -> int:
    """Return how many datapoints came in so far; ours says so, of the others all lines are believed."""
    return peer.process.received() if isinstance(peer.process, Cadtwistd) else lines


def _measure(peer: Measured, load: Load) -> dict[str, float]:
    """Send each name once, then as fast as is taken; return what the second part cost."""
    port = peer.pickle if load.door == "pickle" else peer.line
    ts0 = int(time.time()) - 20 * STEP_S
    given = _options(load)
    warm = blast(port, **{**given, "udp": False, "rate": 0, "drain": True}, points=1, ts0=ts0)
    peer.process.settle()
    before, used = _taken(peer, warm.lines), peer.process.cpu_s()
    sent = blast(port, **given, duration=load.seconds, ts0=ts0 + 1, round0=1)
    peer.process.settle()
    taken = _taken(peer, warm.lines + sent.lines) - before
    return {
        "cpu_us": (peer.process.cpu_s() - used) / max(1, taken) * 1e6,
        "accepted_per_s": taken / (sent.drained - sent.started),
        "lost": float(sent.lines - taken),
    }


def accept(bench: Bench) -> Iterator[Row]:
    """Every door of ours with few and many names; the line door beside the peers."""
    for door, bar in BARS.items():
        for names in (FEW, MANY):
            load = Load(door, bench.scaled(names), bench.seconds)
            peers = (OURS, "go-carbon", "carbon") if (door, names) == ("line", FEW) else (OURS,)
            found = bench.in_turn(bench.wanted(*peers), partial(_one, bench, load))
            speed = found["go-carbon"]["accepted_per_s"] if "go-carbon" in found else None
            for peer, figures in found.items():
                ours = peer == OURS
                what = f"{door}, {load.names:,} names"
                note = f"{figures['lost']:,.0f} dropped at overload" if door.startswith("udp") else ""
                yield Row("accept", what, peer, figures["cpu_us"], "CPU us per point", bar if ours else None, note=note)
                yield Row("accept", f"{what}: taken", peer, figures["accepted_per_s"], "points/s",
                          speed if ours else None, at_least=True)  # fmt: skip


def _one(bench: Bench, load: Load, peer: str, tuning: Tuning = HELD_BACK) -> dict[str, float]:
    with bench.peer(peer, tuning) as running:
        return _measure(running, load)


def first_sight(bench: Bench) -> Iterator[Row]:
    """CPU of a name that was never seen."""
    names = bench.scaled(MANY)

    def measure(peer: str) -> dict[str, float]:
        with bench.peer(peer, HELD_BACK) as running:
            running.process.settle()
            used = running.process.cpu_s()
            blast(running.line, names=names, conns=4, points=1, drain=True, ts0=int(time.time()) - 60, duration=120)
            running.process.settle()
            return {"cpu_us": (running.process.cpu_s() - used) / names * 1e6}

    for peer, figures in bench.in_turn((OURS,), measure).items():
        yield Row("first-sight", f"{names:,} new names", peer, figures["cpu_us"], "CPU us per name", FIRST_SIGHT_US)


def wal_share(bench: Bench) -> Iterator[Row]:
    """What the write-ahead log takes of the accept path."""
    load = Load("line", bench.scaled(FEW), bench.seconds)
    tunings = {"with log": HELD_BACK, "without": replace(HELD_BACK, wal=False)}
    found = bench.in_turn(tuple(tunings), lambda which: _one(bench, load, OURS, tunings[which]))
    for which, figures in found.items():
        yield Row("wal", f"line, {which}", OURS, figures["cpu_us"], "CPU us per point")
    share = 1 - found["without"]["cpu_us"] / found["with log"]["cpu_us"]
    yield Row("wal", "the log's share", OURS, share, "of the CPU", WAL_SHARE)


def twins(bench: Bench) -> Iterator[Row]:
    """Our Python twins beside carbon."""
    load = Load("line", bench.scaled(FEW), bench.seconds)
    found = bench.in_turn(bench.wanted(PURE, "carbon"), partial(_one, bench, load))
    speed = found["carbon"]["accepted_per_s"] if "carbon" in found else None
    for peer, figures in found.items():
        bar = speed if peer == PURE else None
        yield Row("twins", "line: taken", peer, figures["accepted_per_s"], "points/s", bar, at_least=True)
        yield Row("twins", "line", peer, figures["cpu_us"], "CPU us per point")


def idle(bench: Bench) -> Iterator[Row]:
    """A busy connection alone, and beside 10,000 idle ones."""
    count = bench.scaled(10_000)
    raise_file_limit(2 * count + 1_000)

    def measure(which: str) -> dict[str, float]:
        with bench.peer(OURS, HELD_BACK) as running, ExitStack() as crowd:
            for _ in range(count if which == "crowd" else 0):
                crowd.enter_context(socket.create_connection(("127.0.0.1", running.line), 10))
            return _measure(running, Load("line", bench.scaled(FEW), bench.seconds))

    found = bench.in_turn(("alone", "crowd"), measure)
    for which, figures in found.items():
        yield Row("idle", f"busy, {which}", OURS, figures["accepted_per_s"], "points/s")
    kept = found["crowd"]["accepted_per_s"] / found["alone"]["accepted_per_s"]
    yield Row("idle", f"speed kept beside {count:,} idle", OURS, kept, "of the speed", IDLE_SPEED, at_least=True)
