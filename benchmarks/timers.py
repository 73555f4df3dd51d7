"""A million timers of statsd, told every 10 s while others come: turns, losses, and the memory of idle ones."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, say
from benchmarks.load import blast, metric
from benchmarks.relay import Sinks
from benchmarks.report import Row
from tests.system.statsdd import Statsdd

__all__ = ["timers"]

TIMERS = 1_000_000
FLUSH_S = 10
LONGEST_MS = 200.0
IDLE_BYTES = 200.0
OPTIONS = f"  flushInterval: {FLUSH_S * 1000}, deleteTimers: "
_LOAD: dict[str, Any] = {"format": "statsd", "mix": "0,100,0", "udp": True, "dgram": 1400, "conns": 1}


class _Measured(Statsdd):
    """A statsd whose turns are measured; `deletes`: timers without data are told no more."""

    def __init__(self, folder: Path, graphite: int, deletes: bool) -> None:
        super().__init__(folder, graphite, OPTIONS + ("true," if deletes else "false,"))
        at = self.command.index("statsd")
        self.command = [sys.executable, str(Path(__file__).with_name("turns.py")), *self.command[at:]]

    def told(self) -> list[dict[str, float]]:
        """Return what was found in each part."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith('{"turns"')]

    def tell(self) -> dict[str, float]:
        """Return what was found since the last call."""
        known = len(self.told())
        self.signal(signal.SIGUSR1)
        self.until("it tells", lambda: len(self.told()) > known)
        return self.told()[-1]

    def account(self, name: str) -> dict[str, Any]:
        """Return the counters of the account whose name begins so."""
        return next(found for its, found in self.ledger().items() if its.startswith(name))


def _turns(bench: Bench, sinks: Sinks, folder: Path, names: int) -> Iterator[Row]:
    """Send each timer once an interval, for some intervals; the longest turn of each."""
    daemon = _Measured(folder, sinks.ports[0], deletes=True)
    daemon.start(60)
    try:
        seconds = FLUSH_S * (bench.repeat + 1.5)
        load: dict[str, Any] = {**_LOAD, "names": names, "rate": names / FLUSH_S, "duration": seconds, "whole": True}
        sent: list[int] = []
        sender = threading.Thread(target=lambda: sent.append(blast(daemon.line, **load).lines), daemon=True)
        sender.start()
        time.sleep(FLUSH_S)
        for _turn in range(bench.repeat):
            daemon.tell()
            before, used = sinks.lines()[0], daemon.cpu_s()
            time.sleep(FLUSH_S)
            found, told = daemon.tell(), sinks.lines()[0] - before
            say(f"{found}, {told:,} lines told, {daemon.cpu_s() - used:.1f} CPU-s")
            note = f"{told:,} lines told meanwhile, {names / FLUSH_S:,.0f} timers/s come"
            yield Row("statsd-million", "longest turn", "cadtwist", found["longest_ms"], "ms", LONGEST_MS, note=note)
            yield Row("statsd-million", "longest turn, CPU", "cadtwist", found["longest_cpu_ms"], "ms", LONGEST_MS)
        sender.join()
        daemon.until("the last flush", lambda: daemon.account("statsd")["held"] == 0, 3 * FLUSH_S)
        time.sleep(FLUSH_S)
        taken = daemon.account("statsd udp")["received"]
        yield Row("statsd-million", "lost", "cadtwist", sent[0] - taken, "lines", 0.0)
        lost = sum(sum(account["dropped"].values()) for account in daemon.ledger().values())
        yield Row("statsd-million", "dropped", "cadtwist", lost, "values", 0.0)
        yield Row("statsd-million", "memory", "cadtwist", daemon.memory_bytes(peak=True) / 2**20, "MiB")
    finally:
        daemon.kill()


def _idle(sinks: Sinks, folder: Path, names: int) -> Iterator[Row]:
    """Send a half of the timers once, then all, and wait until they were told; the slope between."""
    daemon = Statsdd(folder, sinks.ports[0], OPTIONS + "false,")
    daemon.start(60)
    try:
        sizes = []
        for many in (names // 2, names):
            blast(daemon.line, **{**_LOAD, "names": many, "rate": names / FLUSH_S}, points=1, duration=60)
            daemon.until("all is told", lambda: daemon.ledger()["statsd"]["held"] == 0, 3 * FLUSH_S)
            daemon.settle()
            sizes.append(daemon.memory_bytes(children=False))
    finally:
        daemon.kill()
    fresh = range(names // 2, names)
    text = sum(len(metric(number)) + len("|ms") for number in fresh) / len(fresh)
    slope = (sizes[1] - sizes[0]) / len(fresh)
    note = f"beside the name and its type, {text:.0f} bytes"
    yield Row("statsd-million", "memory of an idle timer", "cadtwist", slope - text, "bytes", IDLE_BYTES, note=note)


def timers(bench: Bench) -> Iterator[Row]:
    """The longest turn while a million timers are told and others come; what an idle one takes."""
    names = bench.scaled(TIMERS)
    sinks = Sinks(is_pickle=False)
    try:
        with bench.folder() as folder:
            yield from _turns(bench, sinks, folder / "turns", names)
            yield from _idle(sinks, folder / "idle", names)
    finally:
        sinks.close()
