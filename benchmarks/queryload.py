"""Eight clients ask while datapoints come in: what that costs the receiving process, and whether a point is lost."""

from __future__ import annotations

import json
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from benchmarks.bench import Bench, say
from benchmarks.load import LEAVES, Asked, Sent, ask, blast, metric
from benchmarks.report import Row
from tests.system.cadtwistd import RUN_TWISTD, get
from tests.system.process import Process, free_ports

__all__ = ["ingest"]

ROOT = Path(__file__).resolve().parent.parent
NAMES = 100_000
RATE = 300_000.0
CLIENTS = 8
MORE_CPU = 1.3
LONGEST_MS = 50.0

_CONF = """[[listeners]]
protocol = "line"
interface = "127.0.0.1"
port = {line}

[[listeners]]
protocol = "http"
interface = "127.0.0.1"
port = {http}

[cache]
max_bytes = 8000000000

[wal]
directory = "{folder}/wal"

[storage]
root = "{folder}/whisper"

[[schemas]]
name = "all"
pattern = ""
retentions = "60s:1d"

[self_metrics]
interval_s = 0
"""


class _Measured(Process):
    """A cache; one whose reactor's `turns` are measured turns all the time, so that its CPU says nothing."""

    def __init__(self, folder: Path, turns: bool) -> None:
        self.line, self.http = free_ports(2)
        folder.mkdir(parents=True)
        conf = folder / "cache.toml"
        conf.write_text(_CONF.format(line=self.line, http=self.http, folder=folder))
        self._turns = turns
        command: list[str | Path] = [*RUN_TWISTD, "-n", "--pidfile=", "cadtwist", "-c", conf]
        if turns:
            command = [sys.executable, Path(__file__).with_name("turns.py"), conf]
        super().__init__("cache", command, folder, ports=(self.line, self.http), cwd=ROOT)

    def tell(self) -> dict[str, float]:
        """Return what was found of turns since the last call, nothing where they are not measured."""
        if not self._turns:
            return {}

        def told() -> list[dict[str, float]]:
            lines = self.log.read_text("utf-8", "replace").splitlines()
            return [json.loads(line) for line in lines if line.startswith('{"turns"')]

        known = len(told())
        self.signal(signal.SIGUSR1)
        self.until("it tells", lambda: len(told()) > known)
        return told()[-1]

    def account(self, name: str) -> dict[str, int]:
        """Return an account of the ledger."""
        accounts = json.loads(get(f"http://127.0.0.1:{self.http}/ledger"))["accounts"]
        return next(account for account in accounts if account["name"] == name)

    def own_cpu_s(self) -> float:
        """Return the CPU seconds of the receiving process, its writer threads included, without web processes."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


def ingest(bench: Bench) -> Iterator[Row]:
    """The same load alone and with eight clients, in turn; files are written meanwhile.  Turns are measured apart."""
    alone, beside, lost = _loads(bench, turns=False)
    cpu, with_clients = (min(found["cpu"] for found in some) for some in (alone, beside))
    yield Row("query-ingest", "CPU of ingest alone", "cadtwist", cpu, "CPU s per M")
    yield Row("query-ingest", f"CPU of ingest with {CLIENTS} clients", "cadtwist", with_clients, "CPU s per M",
              MORE_CPU * cpu)  # fmt: skip
    yield Row("query-ingest", "datapoints lost", "cadtwist", float(lost), "", 0.0)
    alone, beside, _ = _loads(bench, turns=True)
    for what, some, bar in (("alone", alone, None), ("with clients", beside, LONGEST_MS)):
        yield Row("query-ingest", f"longest turn {what}", "cadtwist", max(one["longest_ms"] for one in some), "ms", bar)
        yield Row("query-ingest", f"longest turn {what}, CPU", "cadtwist", max(one["longest_cpu_ms"] for one in some),
                  "ms", bar)  # fmt: skip


def _loads(bench: Bench, turns: bool) -> tuple[list[dict[str, float]], list[dict[str, float]], int]:
    """Return the figures of each load alone and with clients, and how many datapoints were lost of all."""
    names = bench.scaled(NAMES)
    found: dict[int, list[dict[str, float]]] = {0: [], CLIENTS: []}
    with bench.folder() as folder:
        cache = _Measured(folder / "cache", turns)
        cache.start(60)
        try:
            sent = blast(cache.line, names=names, points=1, conns=4, step=60, ts0=_begin(), drain=True).lines
            cache.until("the files are made", lambda: cache.account("cache")["held"] == 0, 300)
            for _ in range(bench.repeat):
                for clients in (0, CLIENTS):
                    load, asked, figures = _run(cache, names, bench.seconds, clients)
                    sent += load.lines
                    found[clients].append(figures)
                    say(f"{clients} clients: {figures}, {load.lines:,} lines, {asked}")
            cache.until("all was taken", lambda: cache.account("cache")["received"] >= sent, 30)
            return found[0], found[CLIENTS], sent - cache.account("cache")["received"]
        finally:
            cache.kill()


def _begin() -> int:
    return int(time.time()) // 60 * 60 - 600


def _run(
    cache: _Measured, names: int, seconds: float, clients: int
) -> tuple[Sent, Asked | None, dict[str, float]]:
    """Return what was sent and asked, and CPU seconds per million points with the longest turns."""
    found: list[Asked] = []
    thread = threading.Thread(target=lambda: found.append(ask(cache.http, _paths(names), clients, seconds)))
    cache.tell()
    before = cache.own_cpu_s()
    if clients:
        thread.start()
    load = blast(cache.line, names=names, conns=4, step=1, ts0=int(time.time()), rate=RATE, duration=seconds,
                 drain=True)  # fmt: skip
    if clients:
        thread.join()
    used = (cache.own_cpu_s() - before) / load.lines * 1e6
    return load, found[0] if found else None, {"cpu": used, **cache.tell()}


def _paths(names: int) -> list[str]:
    """Return what dashboards ask: single series, forty, sums of forty, and names."""
    choose = random.Random(3)
    racks = max(1, min(100, names // len(LEAVES) // 40))
    paths = []
    for _ in range(100):
        many = f"servers.dc1.rack{choose.randrange(racks):02d}.web-*.example_com.{choose.choice(LEAVES)}"
        targets = (metric(choose.randrange(names)), many, f"sumSeries({many})")
        paths += [f"/render?format=json&from=-1h&until=now&target={quote(target)}" for target in targets]
        paths.append(f"/metrics/find?query={quote(many)}")
    return paths
