"""A reload of a relay with many living names, under load: how long its longest reactor turn is meanwhile."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, say
from benchmarks.load import blast
from benchmarks.relay import Sinks
from benchmarks.report import Row
from tests.system.process import Process
from tests.system.relayd import Relayd

__all__ = ["relay_reload"]

NAMES = 1_000_000
RATE = 50_000.0
LONGEST_MS = 100.0
DONE = "the new rules for names are in force"
LOOKED_AT = '[stages]\nblacklist = ["^nobody\\\\."]'
"""A rule about names: a relay that only places them by a ring remembers few of them."""


class _Measuring(Relayd):
    """A relay whose turns are measured."""

    def __init__(self, folder: Path, ports: list[int], text: str) -> None:
        super().__init__(folder, ports, destination={"queue": {"policy": "block"}}, text=text)
        self.command = [sys.executable, str(Path(__file__).with_name("turns.py")), str(self.conf)]

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


def _in_force(process: Process) -> int:
    return process.log.read_text("utf-8", "replace").count(DONE)


def _reload(relay: _Measuring, members: list[str]) -> dict[str, float]:
    """Change the ring; return what was found until every name was decided about again."""
    before = _in_force(relay)
    relay.group["members"] = members
    relay.write_conf()
    relay.tell()
    began = time.monotonic()
    relay.signal(signal.SIGHUP)
    relay.until("the reload is done", lambda: _in_force(relay) > before, 600)
    return {**relay.tell(), "seconds": time.monotonic() - began}


def relay_reload(bench: Bench) -> Iterator[Row]:
    """Reloads that change the ring while lines come at a rate; the longest turn by the clock and by CPU time."""
    yield from _reloads(bench, "all remembered", LOOKED_AT)
    yield from _reloads(bench, "placed by a ring alone", "")


def _reloads(bench: Bench, what: str, text: str) -> Iterator[Row]:
    names = bench.scaled(NAMES)
    sinks = Sinks(is_pickle=False)
    try:
        with bench.folder() as folder:
            relay = _Measuring(folder / "relay", sinks.ports, text)
            relay.start(60)
            try:
                blast(relay.line, names=names, points=1, conns=4, step=1, drain=True)
                relay.tell()
                end = threading.Event()
                load = threading.Thread(target=_send, args=(relay.line, names, end), daemon=True)
                load.start()
                time.sleep(bench.seconds)
                quiet = relay.tell()
                say(f"{what}, no reload: {quiet}")
                longest = f"{what}: longest turn"
                yield Row("relay-reload", f"{longest} without a reload", "cadtwist", quiet["longest_ms"], "ms")
                for turn in range(bench.repeat):
                    found = _reload(relay, ["d0", "d1"] if turn % 2 == 0 else ["d0", "d1", "d2"])
                    say(f"{what}, reload: {found}")
                    note = f"{names:,} names in {found['seconds']:.1f} s, {RATE:,.0f} lines/s"
                    yield Row("relay-reload", longest, "cadtwist", found["longest_ms"], "ms", LONGEST_MS, note=note)
                    yield Row("relay-reload", f"{longest}, CPU", "cadtwist", found["longest_cpu_ms"], "ms", LONGEST_MS)
                end.set()
                load.join()
            finally:
                relay.kill()
    finally:
        sinks.close()


def _send(port: int, names: int, end: threading.Event) -> None:
    while not end.is_set():
        blast(port, names=names, conns=4, step=1, rate=RATE, duration=2.0)
