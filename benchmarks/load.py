"""The load: compiles the two C tools, sends metrics with `blast`, and knows what blast sends."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "LEAVES",
    "STEP_S",
    "Asked",
    "Sent",
    "ask",
    "blast",
    "fill_files",
    "floor",
    "make_files",
    "metric",
    "missing_points",
    "value",
    "wait_for_files",
]

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "build" / "bench"
STEP_S = 60
LEAVES = (
    "cpu.user", "cpu.system", "cpu.idle", "cpu.iowait", "memory.used", "memory.cached", "disk.sda.read_bytes",
    "disk.sda.write_bytes", "net.eth0.rx_packets", "net.eth0.tx_packets", "load.shortterm", "nginx.requests.status_200",
    "nginx.requests.status_500", "app.checkout.latency.mean", "app.checkout.latency.upper_99", "app.queue.depth",
    "jvm.heap.used", "jvm.gc.pause_ms", "redis.connected_clients", "redis.keyspace.hits",
)  # fmt: skip
HOSTS_PER_RACK = 40
RACKS = 100


@dataclass(frozen=True)
class Sent:
    """What blast says of itself; times are those of CLOCK_MONOTONIC."""

    lines: int
    bytes: int
    started: float
    sent: float
    drained: float
    cpu_s: float

    @property
    def accepted_per_s(self) -> float:
        """Lines a second until the peer had read everything (TCP) or until the last was sent (UDP)."""
        return self.lines / max(1e-9, self.drained - self.started)


def tool(name: str) -> Path:
    """Return the compiled tool `name`, compiled when its source is newer."""
    source, program = HERE / "tools" / f"{name}.c", BUILT / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise SystemExit("the benchmarks need a C compiler for their load generator")
        subprocess.run([compiler, "-O2", "-pthread", "-o", str(program), str(source), "-lm"], check=True)
    return program


def blast(port: int, **options: object) -> Sent:
    """Send metrics to 127.0.0.1:`port`; `options` are blast's, a true one is a flag.

    `names` metrics, `points` rounds or `duration` seconds, `step` and `ts0` in seconds, `rate` lines/s, `conns`,
    `format` graphite | pickle | statsd, `mix` of statsd's types (percent: "c,ms,g"), `udp`, `dgram` bytes, `drain`,
    `whole`: rounds are finished when time is up.
    """
    command = [str(tool("blast")), "-d", f"127.0.0.1:{port}"]
    for name, given in options.items():
        if given is True:
            command.append("--" + name.replace("_", "-"))
        elif given is not None and given is not False:
            command += ["--" + name.replace("_", "-"), str(given)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=900)
    said = json.loads(done.stdout)
    return Sent(said["lines"], said["bytes"], said["t_start"], said["t_sent"], said["t_drained"], said["cpu"])


@dataclass(frozen=True)
class Asked:
    """What `ask` says: answers, how many of them were no 200 (or broke), and how long they took."""

    answers: int
    per_s: float
    bad: int
    p50_ms: float
    p99_ms: float


def ask(port: int, paths: Sequence[str], clients: int, seconds: float, rate: float = 0.0) -> Asked:
    """Ask 127.0.0.1:`port` for the paths in turn, each of `clients` one question at a time.

    All together they ask at most `rate` questions a second; 0: as fast as they are answered.
    """
    command = [str(tool("ask")), str(port), str(clients), str(seconds), str(rate)]
    done = subprocess.run(command, input="\n".join(paths), stdout=subprocess.PIPE, text=True, check=True, timeout=900)
    said = json.loads(done.stdout)
    bad = said["refused"] + said["broken"]
    return Asked(said["answers"], said["per_s"], bad, said["p50_ms"], said["p99_ms"])


def floor(what: str, folder: Path, count: int) -> float:
    """Return the CPU microseconds per file that plain C needs for `what` (create | update | update-fd)."""
    done = subprocess.run([str(tool("floor")), what, str(folder), str(count)], stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout)["cpu_s_per_M"])


def metric(number: int, prefix: str = "servers.dc1") -> str:
    """Return blast's metric `number`."""
    host = number // len(LEAVES)
    rack = (host // HOSTS_PER_RACK) % RACKS
    return f"{prefix}.rack{rack:02d}.web-{host:05d}.example_com.{LEAVES[number % len(LEAVES)]}"


def value(number: int, round_: int) -> float:
    """Return the value that blast sends for metric `number` in a round."""
    return (1000000 + (number * 7919 + round_ * 104729) % 9000000) / 100.0


def first_archive(path: Path) -> dict[int, float]:
    """Return {timestamp: value} of a whisper file's first archive."""
    data = path.read_bytes()
    offset, _, count = struct.unpack_from(">LLL", data, 16)
    flat = struct.unpack_from(">" + "Ld" * count, data, offset)
    return {flat[i]: flat[i + 1] for i in range(0, 2 * count, 2) if flat[i]}


def missing_points(root: Path, number: int, ts0: int, rounds: range) -> int:
    """Return how many of the points of metric `number` sent in `rounds` its file lacks (or has wrong)."""
    try:
        points = first_archive(root / (metric(number).replace(".", "/") + ".wsp"))
    except (OSError, struct.error):
        return len(rounds)
    return sum(abs(points.get(ts0 + r * STEP_S, -1.0) - value(number, r)) > 1e-6 for r in rounds)


def wait_for_files(root: Path, names: int, ts0: int, rounds: range, seconds: float) -> tuple[float, int]:
    """Wait until every file has every point; return the moment it was so (monotonic) and the points still missing."""
    end = time.monotonic() + seconds
    sample = sorted({names * k // 30 for k in range(30)} | {names - 1})
    while time.monotonic() < end:
        sample = [n for n in sample if missing_points(root, n, ts0, rounds)]
        if not sample:
            moment = time.monotonic()
            sample = [n for n in range(names) if missing_points(root, n, ts0, rounds)][:200]
            if not sample:
                return moment, 0
        time.sleep(0.2)
    return time.monotonic(), sum(missing_points(root, n, ts0, rounds) for n in range(names))


def fill_files(root: Path, names: int, now: int, points: int = 1440) -> None:
    """Make whisper files of one archive (60 s per point), full up to `now`, for blast's first `names` metrics."""
    head = struct.pack(">LLfL", 1, STEP_S * points, 0.5, 1) + struct.pack(">LLL", 28, STEP_S, points)
    first = now // STEP_S * STEP_S - (points - 1) * STEP_S
    bodies = []
    for kind in range(8):
        flat = [part for k in range(points) for part in (first + k * STEP_S, value(kind, k))]
        bodies.append(head + struct.pack(">" + "Ld" * points, *flat))
    made: set[Path] = set()
    for number in range(names):
        path = root / (metric(number).replace(".", "/") + ".wsp")
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes(bodies[number % len(bodies)])


def make_files(root: Path, names: int, points: int = 1440) -> None:
    """Make empty whisper files of one archive (60 s per point) for blast's first `names` metrics; sparse."""
    head = struct.pack(">LLfL", 1, STEP_S * points, 0.0, 1) + struct.pack(">LLL", 28, STEP_S, points)
    made: set[Path] = set()
    for number in range(names):
        path = root / (metric(number).replace(".", "/") + ".wsp")
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        with path.open("wb") as file:
            file.write(head)
            file.truncate(28 + 12 * points)
