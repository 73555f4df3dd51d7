"""The daemons that are measured: ours on both twins, carbon's cache, and go-carbon where it builds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path

from tests.system.cadtwistd import AGGREGATION, SCHEMAS, Cadtwistd
from tests.system.environment import build
from tests.system.neighbours import CarbonCache
from tests.system.process import Process, free_ports, raise_file_limit

__all__ = ["OURS", "PURE", "RATIO", "Measured", "Tuning", "start"]

OURS, PURE = "cadtwist", "cadtwist-pure"

RATIO = {
    "update_100": 5.3 / 0.96, "update_10": 6.9 / 2.5, "update_1": 28 / 15, "create": 471 / 823,
}  # fmt: skip
"""CPU of carbon ÷ CPU of go-carbon, measured before on one machine: estimates go-carbon where it does not build."""


@dataclass(frozen=True)
class Tuning:
    """What a benchmark asks of a daemon; each peer has its own words for it."""

    updates_per_s: float = inf
    creates_per_minute: float = inf
    wal: bool = True
    retentions: str = "60s:1d"
    max_open_files: int = 20_000
    options: tuple[tuple[str, object], ...] = ()
    whisper: Path | None = None


@dataclass
class Measured:
    """A running peer."""

    name: str
    process: Process
    line: int
    pickle: int
    whisper: Path


def start(peer: str, folder: Path, tuning: Tuning) -> Measured:
    """Start `peer` with its files under `folder`; environment.Missing when it cannot be had here."""
    raise_file_limit(max(65_536, tuning.max_open_files + 4_096))
    measured = _MAKERS[peer](folder, tuning)
    measured.process.start(120)
    return measured


def _cadtwist(folder: Path, tuning: Tuning, pure: bool = False) -> Measured:
    options: dict[str, object] = {
        "MAX_UPDATES_PER_SECOND": tuning.updates_per_s,
        "MAX_CREATES_PER_MINUTE": tuning.creates_per_minute,
        "WAL_ENABLED": tuning.wal,
        "MAX_OPEN_FILES": tuning.max_open_files,
        "CACHE_MAX_BYTES": 8 << 30,
        **dict(tuning.options),
    }
    if tuning.whisper is not None:
        options["LOCAL_DATA_DIR"] = tuning.whisper
    daemon = Cadtwistd(folder, options, tuning.retentions, {"CADTWIST_PURE": "1"} if pure else None)
    name = PURE if pure else OURS
    return Measured(name, daemon, daemon.line, daemon.pickle, tuning.whisper or daemon.whisper)


def _carbon(folder: Path, tuning: Tuning) -> Measured:
    build("carbon")
    options: dict[str, object] = {
        "MAX_UPDATES_PER_SECOND": tuning.updates_per_s,
        "MAX_CREATES_PER_MINUTE": tuning.creates_per_minute,
        "WHISPER_FALLOCATE_CREATE": True,
    }
    if tuning.whisper is not None:
        options["LOCAL_DATA_DIR"] = tuning.whisper
    daemon = CarbonCache(folder, options, tuning.retentions)
    return Measured("carbon", daemon, daemon.line, daemon.pickle, tuning.whisper or daemon.whisper)


_GO_CARBON = """[common]
user = ""
metric-interval = "1h0m0s"
max-cpu = 2
[whisper]
data-dir = "{whisper}"
schemas-file = "{folder}/storage-schemas.conf"
aggregation-file = "{folder}/storage-aggregation.conf"
workers = 2
max-updates-per-second = {updates}
max-creates-per-second = 0
sparse-create = false
flock = false
enabled = true
hash-filenames = true
[cache]
max-size = 100000000
write-strategy = "max"
[udp]
enabled = false
[tcp]
listen = "127.0.0.1:{line}"
enabled = true
[pickle]
listen = "127.0.0.1:{pickle}"
enabled = true
[carbonlink]
enabled = false
[grpc]
enabled = false
[carbonserver]
enabled = false
[[logging]]
logger = ""
file = "stderr"
level = "error"
"""


def _go_carbon(folder: Path, tuning: Tuning) -> Measured:
    program = build("go-carbon") / "bin" / "go-carbon"
    line, pickle = free_ports(2)
    whisper = tuning.whisper or folder / "whisper"
    whisper.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    updates = 0 if tuning.updates_per_s == inf else int(tuning.updates_per_s)
    conf = folder / "go-carbon.conf"
    conf.write_text(_GO_CARBON.format(folder=folder, whisper=whisper, line=line, pickle=pickle, updates=updates))
    (folder / "storage-schemas.conf").write_text(SCHEMAS.format(retentions=tuning.retentions))
    (folder / "storage-aggregation.conf").write_text(AGGREGATION)
    process = Process("go-carbon", [program, "-config", conf], folder, ports=(line, pickle))
    return Measured("go-carbon", process, line, pickle, whisper)


_MAKERS: dict[str, Callable[[Path, Tuning], Measured]] = {
    OURS: _cadtwist,
    PURE: lambda folder, tuning: _cadtwist(folder, tuning, pure=True),
    "carbon": _carbon,
    "go-carbon": _go_carbon,
}
