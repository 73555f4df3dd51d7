"""The relay beside carbon-c-relay and carbon-relay: lines in, three sinks out."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, say
from benchmarks.load import blast, tool
from benchmarks.report import Row
from tests.system.environment import Missing, build
from tests.system.neighbours import CarbonRelay
from tests.system.process import Process, free_ports, raise_file_limit

__all__ = ["relay"]

OURS, C_RELAY, CARBON, ONE_BY_ONE = "cadtwist", "carbon-c-relay", "carbon-relay", "one recv a datagram"
TWO_WORKERS, ONCE = "cadtwist, 2 workers", "cadtwist, no resend window"
STATSRELAY_SHARE = 0.21 / 2.36
"""CPU of statsrelay ÷ CPU of carbon-c-relay (carbon_ch, one worker), measured before on one machine."""
UDP_RATE = 200_000.0
SINKS = 3
SHARDS_PER_SINK = 4
TWISTD = Path(sys.executable).with_name("twistd")

_LISTENER = """[[listeners]]
protocol = "line"
transport = "{transport}"
interface = "127.0.0.1"
port = {port}
"""
_DESTINATION = """[[destinations]]
name = "{name}"
host = "127.0.0.1"
port = {port}
instance = "{name}"
protocol = "{protocol}"

[destinations.queue]
policy = "block"
max_bytes = 1048576
resend_window_s = {window}
"""
_WORKERS = """[processes]
workers = 2

[[listeners]]
protocol = "http"
transport = "tcp"
interface = "127.0.0.1"
port = {port}
"""
_RELAY = """[[relays]]
name = "relay"

[relays.lines]
format = "{format}"

[[relays.groups]]
method = "{method}"
hash = "{hash}"
members = [{members}]
"""


@dataclass(frozen=True)
class Load:
    """One way of relaying."""

    what: str
    method: str = "carbon_ch"
    conns: int = 4
    names: int = 10_000
    protocol: str = "line"
    udp: bool = False

    @property
    def is_statsd(self) -> bool:
        """Whether statsd lines are sent."""
        return self.method == "shards"


LOADS = (
    Load("carbon_ch"),
    Load("carbon_ch, 200 connections", conns=200),
    Load("carbon_ch, 500,000 names", names=500_000),
    Load("fnv1a_ch", "fnv1a_ch"),
    Load("fnv1a_ch, 500,000 names, 200 connections", "fnv1a_ch", 200, 500_000),
    Load("statsd over shards", "shards"),
    Load("statsd over shards, 200 connections", "shards", 200),
    Load("statsd over shards, 500,000 names", "shards", names=500_000),
    Load("statsd datagrams of one line", "shards", 1, udp=True),
    Load("lines to pickles", protocol="pickle"),
)


class Sinks:
    """The three sinks: a C program that counts."""

    def __init__(self, is_pickle: bool) -> None:
        self.ports = free_ports(SINKS)
        flags = ["-p"] if is_pickle else []
        command = [str(tool("sink")), *flags, *map(str, self.ports)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def lines(self) -> list[int]:
        """Return what each has got so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        return [each["lines"] for each in told.values()]

    def close(self) -> None:
        """End."""
        self._process.kill()
        self._process.wait()


def _ours(
    folder: Path, load: Load, sinks: list[int], workers: bool = False, window: float = 1.0
) -> tuple[Process, int]:
    port, report = free_ports(2)
    names = [chr(97 + number) for number in range(len(sinks))]
    members = names * SHARDS_PER_SINK if load.is_statsd else names
    how = {"format": "statsd", "method": "shards", "hash": ""} if load.is_statsd else {
        "format": "graphite", "method": "carbon", "hash": load.method,
    }  # fmt: skip
    parts = [_LISTENER.format(transport=transport, port=port) for transport in ("tcp", "udp")]
    parts += [
        _DESTINATION.format(name=name, port=sink, protocol=load.protocol, window=window)
        for name, sink in zip(names, sinks, strict=True)
    ]
    parts.append(_RELAY.format(members=", ".join(f'"{name}"' for name in members), **how))
    if workers:
        parts.insert(0, _WORKERS.format(port=report))
    conf = folder / "relay.toml"
    folder.mkdir(parents=True, exist_ok=True)
    conf.write_text("\n".join(parts))
    command = [TWISTD, "-n", "--pidfile=", "cadtwist", "-c", conf]
    return Process("relay", command, folder, ports=(port, report) if workers else (port,)), port


def _c_relay(folder: Path, load: Load, sinks: list[int]) -> tuple[Process, int]:
    program = shutil.which("carbon-c-relay")
    if program is None:
        raise Missing("no carbon-c-relay here (Debian: apt install carbon-c-relay)")
    (port,) = free_ports(1)
    members = " ".join(f"127.0.0.1:{sink}={chr(97 + i)}" for i, sink in enumerate(sinks))
    conf = folder / "relay.conf"
    folder.mkdir(parents=True, exist_ok=True)
    conf.write_text(
        f"cluster sinks {load.method} replication 1 {members};\nmatch * send to sinks stop;\n"
        f"statistics submit every 3600 seconds;\nlisten type linemode 127.0.0.1:{port} proto tcp;\n"
    )
    command = [program, "-f", conf, "-w", "1", "-q", "2000000", "-b", "10000", "-B", "128", "-H", "bench"]
    return Process("c-relay", command, folder, ports=(port,)), port


def _carbon_relay(folder: Path, load: Load, sinks: list[int]) -> tuple[Process, int]:
    build("carbon")
    destinations = [f"127.0.0.1:{sink}:{chr(97 + i)}" for i, sink in enumerate(sinks)]
    daemon = CarbonRelay(folder, destinations, {"DESTINATION_PROTOCOL": load.protocol, "USE_FLOW_CONTROL": "True"})
    return daemon, daemon.line


_MAKERS: dict[str, Callable[[Path, Load, list[int]], tuple[Process, int]]] = {
    OURS: _ours, C_RELAY: _c_relay, CARBON: _carbon_relay, TWO_WORKERS: partial(_ours, workers=True),
    ONCE: partial(_ours, window=0.0),
}  # fmt: skip


@contextmanager
def _running(bench: Bench, peer: str, load: Load) -> Iterator[tuple[Process, int, Sinks]]:
    sinks = Sinks(load.protocol == "pickle")
    try:
        with bench.folder() as folder:
            process, port = _MAKERS[peer](folder / peer.replace(" ", "-"), load, sinks.ports)
            process.start(60)
            try:
                yield process, port, sinks
            finally:
                process.kill()
    finally:
        sinks.close()


def _settle(process: Process, sinks: Sinks) -> None:
    """Wait until nothing more arrives and the relay rests: three looks in a row."""
    last, quiet = (0.0, list[int]()), 0
    while quiet < 3:
        now = process.cpu_s(), sinks.lines()
        quiet = quiet + 1 if now[1] == last[1] and now[0] - last[0] <= 0.03 else 0
        last = now
        time.sleep(0.3)


def _measure(bench: Bench, load: Load, peer: str) -> dict[str, float]:
    """Send each name once, then for some seconds what is taken (datagrams: at UDP_RATE); return the second's cost."""
    if peer == ONE_BY_ONE:
        return _one_by_one(bench, load)
    options: dict[str, Any] = {"names": bench.scaled(load.names), "conns": load.conns, "step": 1}
    if load.is_statsd:
        options["format"] = "statsd"
    options.update({"udp": True, "dgram": 0, "rate": UDP_RATE} if load.udp else {"drain": True})
    with _running(bench, peer, load) as (process, port, sinks):
        ts0 = int(time.time()) - 60
        blast(port, **{**options, "rate": UDP_RATE / 4} if load.udp else options, points=1, ts0=ts0, duration=300)
        _settle(process, sinks)
        workers = process.ports[1] if peer == TWO_WORKERS else None
        before = _taken(workers)
        used, got = process.cpu_s(), sum(sinks.lines())
        sent = blast(port, **options, duration=bench.seconds, ts0=ts0 + 1, round0=1)
        _settle(process, sinks)
        lines = sum(sinks.lines()) - got
        return {
            "cpu_s": (process.cpu_s() - used) / max(1, lines) * 1e6,
            "lines_per_s": lines / (sent.drained - sent.started),
            "lost": float(sent.lines - lines),
            "rss_mib": process.memory_bytes(peak=True) / 2**20,
            "share": _largest_share(before, _taken(workers)),
        }


def _taken(report: int | None) -> list[float]:
    """Return the lines that each worker has received, asked at the HTTP port `report`; none where there is none."""
    if report is None:
        return []
    with urllib.request.urlopen(f"http://127.0.0.1:{report}/ops/status", timeout=30) as answer:
        return [worker["received"] for worker in json.load(answer)["workers"]]


def _largest_share(before: list[float], after: list[float]) -> float:
    """Return which part of what came since `before` the busiest worker took."""
    taken = [now - then for then, now in zip(before, after, strict=True)]
    return max(taken) / max(1.0, sum(taken)) if taken else 1.0


def _one_by_one(bench: Bench, load: Load) -> dict[str, float]:
    (port,) = free_ports(1)
    command = [str(tool("recvone")), str(port), str(2 << 20)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(0.3)
        sent = blast(
            port, names=bench.scaled(load.names), conns=1, format="statsd", udp=True, dgram=0, rate=UDP_RATE,
            duration=bench.seconds,
        )  # fmt: skip
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        said = json.loads(process.stdout.read())
    taken = max(1, said["datagrams"])
    return {
        "cpu_s": said["cpu_s"] / taken * 1e6, "lines_per_s": taken / (sent.drained - sent.started),
        "lost": float(sent.lines - taken), "rss_mib": 0.0,
    }  # fmt: skip


def _peers(load: Load) -> tuple[str, ...]:
    if load.protocol == "pickle":
        return (OURS, CARBON)
    if load.udp:
        return (OURS, ONE_BY_ONE)
    if load.is_statsd:
        return (OURS,)
    if load == LOADS[0]:
        return (OURS, TWO_WORKERS, ONCE, C_RELAY, CARBON)
    return (OURS, TWO_WORKERS, C_RELAY) if load == LOADS[1] else (OURS, C_RELAY)


def _bar(load: Load, found: dict[str, dict[str, float]], c_relay: float | None) -> tuple[float | None, str]:
    """Return the highest allowed CPU of ours, and where it is from."""
    if load.protocol == "pickle":
        return (found[CARBON]["cpu_s"] / 20, f"1/20 of {CARBON}") if CARBON in found else (None, "")
    if load.udp:
        if ONE_BY_ONE not in found:
            return None, ""
        return found[ONE_BY_ONE]["cpu_s"] * 0.6, "0.6 of a receiver that reads as statsrelay does and only that"
    if load.is_statsd:
        if c_relay is None:
            return None, ""
        return c_relay * STATSRELAY_SHARE, f"statsrelay, estimated by {C_RELAY} in this run"
    share = 6 if load.method == "fnv1a_ch" else 10
    return (found[C_RELAY]["cpu_s"] / share, f"1/{share} of {C_RELAY}") if C_RELAY in found else (None, "")


def relay(bench: Bench) -> Iterator[Row]:
    """CPU for a million lines, by load and peer."""
    raise_file_limit(4_096)
    c_relay: float | None = None
    for load in LOADS:
        say(f"relay: {load.what}")
        found = bench.in_turn(bench.wanted(*_peers(load)), partial(_measure, bench, load))
        if load == LOADS[0] and C_RELAY in found:
            c_relay = found[C_RELAY]["cpu_s"]
        bar, source = _bar(load, found, c_relay)
        for peer, figures in found.items():
            ours = peer == OURS
            lost = f"{figures['lost']:,.0f} lost" if figures["lost"] else ""
            note = "; ".join(part for part in (source if ours else "", lost) if part)
            yield Row("relay", load.what, peer, figures["cpu_s"], "CPU-s per M lines", bar if ours else None, note=note)
            yield Row("relay", f"{load.what}: delivered", peer, figures["lines_per_s"], "lines/s")
        yield from _workers(load, found)
        if OURS in found and C_RELAY in found:
            half = found[C_RELAY]["rss_mib"] / 2
            yield Row("relay", f"{load.what}: memory", OURS, found[OURS]["rss_mib"], "MiB", half,
                      note=f"1/2 of {C_RELAY}")  # fmt: skip
        if ONCE in found:
            yield Row("relay", f"{load.what}: memory", ONCE, found[ONCE]["rss_mib"], "MiB")


def _workers(load: Load, found: dict[str, dict[str, float]]) -> Iterator[Row]:
    """Show that a second worker costs nearly nothing, and takes its part."""
    if TWO_WORKERS in found and OURS in found:
        one, two = found[OURS], found[TWO_WORKERS]
        yield Row("relay", f"{load.what}: two workers", TWO_WORKERS, two["cpu_s"], "CPU-s per M lines",
                  one["cpu_s"] * 1.1, note="1.1 of one worker")  # fmt: skip
        yield Row("relay", f"{load.what}: busiest of two", TWO_WORKERS, two["share"] * 100, "% of lines", 60.0)
