"""Eight clients ask while datapoints come in: what that costs the receiving process, and whether a point is lost.

Files are there before, and written at the default rate, so that writing costs the same in each load.  CPU of ingest is
that of the process that receives: its writer threads and its answers to web processes included, web processes not.
"""

from __future__ import annotations

import json
import random
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from benchmarks.bench import Bench, say
from benchmarks.load import LEAVES, Asked, ask, blast, make_files, metric
from benchmarks.report import Row
from tests.system.cadtwistd import get
from tests.system.process import Process, free_ports

__all__ = ["ingest"]

ROOT = Path(__file__).resolve().parent.parent
NAMES = 10_000
RATE = 300_000.0
BURST = 3000
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
retentions = "60s:20d"

[self_metrics]
interval_s = 0
"""


@dataclass(frozen=True)
class _Load:
    """What clients ask meanwhile; all of them together `rate` questions a second, 0: as fast as they are answered.

    `burst` datapoints come together.
    """

    what: str
    clients: int = 0
    rate: float = 0.0
    burst: int = BURST
    wide: bool = False


_ALONE = _Load("alone")
_PACED = _Load(f"{CLIENTS} clients, 200 questions/s", CLIENTS, 200.0)
_BUSY = _Load(f"{CLIENTS} clients that never rest", CLIENTS)
_SMALL = _Load("alone, in pieces of 60", burst=60)
_SMALL_BUSY = _Load(f"{CLIENTS} clients that never rest, in pieces of 60", CLIENTS, burst=60)
_IN_TURN = (_ALONE, _PACED, _BUSY, _SMALL, _SMALL_BUSY)
_WIDE = _Load(f"{CLIENTS} clients that ask for thousands of metrics", CLIENTS, wide=True)


@dataclass(frozen=True)
class _Figures:
    """CPU seconds per million datapoints: of the receiving process, of all; the longest turns; what was answered."""

    own_cpu: float
    all_cpu: float
    longest_ms: float
    longest_cpu_ms: float
    asked: Asked | None
    lines: int


class _Measured(Process):
    """A cache that measures the turns of its reactor."""

    def __init__(self, folder: Path, names: int) -> None:
        self.line, self.http = free_ports(2)
        folder.mkdir(parents=True)
        make_files(folder / "whisper", names, 20 * 1440)
        conf = folder / "cache.toml"
        conf.write_text(_CONF.format(line=self.line, http=self.http, folder=folder))
        command = [sys.executable, Path(__file__).with_name("turns.py"), conf]
        super().__init__("cache", command, folder, ports=(self.line, self.http), cwd=ROOT)

    def tell(self) -> dict[str, float]:
        """Return what was found of turns since the last call."""

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

    def knows(self, names: int) -> bool:
        """Tell whether all files were found."""
        status = json.loads(get(f"http://127.0.0.1:{self.http}/ops/status"))
        return int(status["index_names"]) >= names and not status["waits"]

    def own_cpu_s(self) -> float:
        """Return the CPU seconds of the receiving process, its writer threads included, without web processes."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100


def ingest(bench: Bench) -> Iterator[Row]:
    """The same load alone and with clients, in turn; then with questions that mean thousands of metrics."""
    found, lost = _loads(bench)
    for load in _IN_TURN:
        figures = found[load]
        alone = _median(found[_ALONE if load.burst == BURST else _SMALL], "own_cpu")
        bar = MORE_CPU * alone if load.clients else None
        asked = [one.asked for one in figures if one.asked is not None]
        note = f"{statistics.median(one.per_s for one in asked):.0f} answers/s" if asked else ""
        yield _row(f"CPU of ingest, {load.what}", _median(figures, "own_cpu"), "CPU s per M", bar, note)
        yield _row(f"CPU of all processes, {load.what}", _median(figures, "all_cpu"), "CPU s per M")
    yield _row("datapoints lost", float(lost), "", 0.0)
    for load, figures in found.items():
        bar = LONGEST_MS if load.clients else None
        yield _row(f"longest turn, {load.what}", max(one.longest_ms for one in figures), "ms", bar)
        yield _row(f"longest turn, {load.what}, CPU", max(one.longest_cpu_ms for one in figures), "ms", bar)


def _row(what: str, figure: float, unit: str, bar: float | None = None, note: str = "") -> Row:
    return Row("query-ingest", what, "cadtwist", figure, unit, bar, note=note)


def _median(figures: list[_Figures], field: str) -> float:
    return float(statistics.median(getattr(one, field) for one in figures))


def _loads(bench: Bench) -> tuple[dict[_Load, list[_Figures]], int]:
    """Return the figures of each load, and how many datapoints were lost of all."""
    names = bench.scaled(NAMES)
    found: dict[_Load, list[_Figures]] = {}
    with bench.folder() as folder:
        cache = _Measured(folder / "cache", names)
        cache.start(60)
        try:
            cache.until("all files are found", lambda: cache.knows(names), 60)
            loads = [*_IN_TURN * bench.repeat, _WIDE]
            rounds = _Rounds(names, bench.seconds, len(loads) + 1)
            sent = _run(cache, rounds, bench.seconds, _PACED).lines
            for load in loads:
                figures = _run(cache, rounds, bench.seconds, load)
                sent += figures.lines
                found.setdefault(load, []).append(figures)
                say(f"{load.what}: {figures}")
            cache.until("all was taken", lambda: cache.account("cache")["received"] >= sent, 30)
            return found, sent - cache.account("cache")["received"]
        finally:
            cache.kill()


class _Rounds:
    """The rounds of all loads: a minute each, so that every datapoint is one of its own in its file."""

    def __init__(self, names: int, seconds: float, loads: int) -> None:
        self.names = names
        self._each = int(RATE * seconds / names * 1.5) + 1
        self.next = int(time.time()) // 60 * 60 - loads * self._each * 60

    def span(self) -> str:
        """Return an hour of the next rounds, as render is asked for it: the minutes in the middle of a load."""
        begin = self.next + self._each // 4 * 60
        return f"from={begin}&until={begin + 3600}"

    def begin(self) -> int:
        """Return the time of the first round of a load."""
        begin, self.next = self.next, self.next + self._each * 60
        return begin


def _run(cache: _Measured, rounds: _Rounds, seconds: float, load: _Load) -> _Figures:
    """Return what one load took."""
    names, asked = rounds.names, list[Asked]()
    span = rounds.span()
    paths = _wide_paths(span) if load.wide else _paths(names, span)
    thread = threading.Thread(target=lambda: asked.append(ask(cache.http, paths, load.clients, seconds, load.rate)))
    cache.tell()
    own, whole = cache.own_cpu_s(), cache.cpu_s()
    if load.clients:
        thread.start()
    sent = blast(cache.line, names=names, conns=4, step=60, ts0=rounds.begin(), rate=RATE, burst=load.burst,
                 duration=seconds, drain=True)  # fmt: skip
    if load.clients:
        thread.join()
    millions = sent.lines / 1e6
    own, whole = (cache.own_cpu_s() - own) / millions, (cache.cpu_s() - whole) / millions
    turns = cache.tell()
    if asked and asked[0].bad:
        raise AssertionError(f"{asked[0].bad} of {asked[0].answers} questions were not answered")
    return _Figures(own, whole, turns["longest_ms"], turns["longest_cpu_ms"], asked[0] if asked else None, sent.lines)


def _render(target: str, span: str) -> str:
    return f"/render?format=json&{span}&target={quote(target)}"


def _paths(names: int, span: str) -> list[str]:
    """Return what dashboards ask: single series, forty, sums of forty, and names."""
    choose = random.Random(3)
    racks = max(1, min(100, names // len(LEAVES) // 40))
    paths = []
    for _ in range(100):
        many = f"servers.dc1.rack{choose.randrange(racks):02d}.web-*.example_com.{choose.choice(LEAVES)}"
        paths += [_render(target, span) for target in (metric(choose.randrange(names)), many, f"sumSeries({many})")]
        paths.append(f"/metrics/find?query={quote(many)}")
    return paths


def _wide_paths(span: str) -> list[str]:
    """Return questions that mean thousands of metrics: sums over 1,000 and more of 10,000, and every name there is."""
    hosts = "servers.dc1.*.web-*.example_com"
    sums = [_render(f"sumSeries({hosts}.{leaves})", span) for leaves in ("cpu.{user,system}", "cpu.*", "*.*")]
    return [*sums, *(f"/metrics/find?query={quote(f'{hosts}.{levels}')}" for levels in ("cpu.user", "*.*", "*.*.*"))]
