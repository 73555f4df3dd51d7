"""The counter daemon against istatd's measured figures: lines, new counters, many quiet counters, answers, memory."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.bench import Bench, say
from benchmarks.report import Row
from tests.system.counterd import Counterd
from tests.system.process import until

__all__ = ["istat", "istat_many"]

OURS = "cadtwist istat"
FEW, MANY = 2_000, 100_000
ISTATD_CPU_S, ISTATD_RSS_MIB, PYTHON_MIB = 3.4, 49, 40
"""istatd's measured CPU-s per M lines and memory at 2,000 counters (1.08); what Python may take beside."""

LINE_BAR = ISTATD_CPU_S / 6
STEADY_BAR = 10.0
STEP_S = 10
TWO_FILES = "10s:2h,5m:12h"
THREE_FILES = "10s:10d,5m:1y9d,1h:6y12d"
STEADY_S = 60
KEYS, BUCKETS = 100, 1_000


def _name(number: int) -> str:
    return f"servers.dc1.rack{number % 50}.web{number // 50 % 40}.app.metric{number}"


def _daemon(folder: Path, retention: str, **options: object) -> Counterd:
    names = {key.replace("_", "-"): value for key, value in options.items()}
    return Counterd("istat", folder, {"retention": retention, "no-self-counters": None, **names})


def _send(daemon: Counterd, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", daemon.stat), 30) as link:
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        while link.recv(4096):
            pass


def _received(daemon: Counterd) -> int:
    accounts = daemon.get("/ledger")["accounts"]
    return int(next(each["received"] for each in accounts if each["name"] == "istat counters"))


def _lines(count: int, at: int, first: int = 0) -> bytes:
    return "".join(f"{_name(n)} {at} {n % 997}.25\n" for n in range(first, first + count)).encode()


def _created(daemon: Counterd) -> int:
    gauges = daemon.get("/?q=*")["matching_names"]
    return sum(1 for found in gauges if found["is_leaf"])


def _speed(bench: Bench, folder: Path) -> Iterator[tuple[str, float]]:
    """Yield CPU for lines to counters that exist, and the memory then."""
    daemon = _daemon(folder, TWO_FILES)
    daemon.start()
    try:
        count = bench.scaled(FEW)
        now = int(time.time())
        _send(daemon, _lines(count, now))
        until("all counters are there", lambda: _created(daemon) >= count, 120)
        _flush(daemon)
        payload = b"".join(_lines(count, now - STEP_S * ago) for ago in range(20, 0, -1))
        rounds = max(1, int(bench.seconds * 1_000_000 / (20 * count)))
        before, used = _received(daemon), daemon.cpu_s()
        for _ in range(rounds):
            _send(daemon, payload)
        until("all came", lambda: _received(daemon) - before >= rounds * 20 * count, 120)
        yield "lines", (daemon.cpu_s() - used) / (rounds * 20 * count) * 1e6
        yield "rss", daemon.memory_bytes() / 2**20
    finally:
        daemon.kill()


def _flush(daemon: Counterd) -> None:
    with socket.create_connection(("127.0.0.1", daemon.admin), 600) as link:
        link.sendall(b"flush\n")
        while not link.recv(100).endswith(b"ok\r\n"):
            pass


def _create(bench: Bench, folder: Path, **options: object) -> Iterator[tuple[str, float]]:
    """Yield CPU for a new counter, its files made and flushed."""
    daemon = _daemon(folder, TWO_FILES, **options)
    daemon.start()
    try:
        count = bench.scaled(FEW)
        used = daemon.cpu_s()
        _send(daemon, _lines(count, int(time.time())))
        until("all counters are there", lambda: _created(daemon) >= count, 120)
        _flush(daemon)
        yield "create", (daemon.cpu_s() - used) / count * 1e6
    finally:
        daemon.kill()


def istat(bench: Bench) -> Iterator[Row]:
    """Lines, new counters and memory at 2,000 counters."""

    def measure(_peer: str) -> dict[str, float]:
        figures: dict[str, float] = {}
        with bench.folder() as folder:
            figures |= dict(_speed(bench, folder / "speed"))
            figures |= dict(_create(bench, folder / "create", allocation_strategy=1))
            flat = _create(bench, folder / "flat", allocation_strategy=1, dont_recursively_create_counters=None)
            figures |= {f"{what}_flat": value for what, value in flat}
        return figures

    for figures in bench.in_turn((OURS,), measure).values():
        count = f"{bench.scaled(FEW):,} counters"
        yield Row("istat", f"lines to {count}", OURS, figures["lines"], "CPU-s per M lines", LINE_BAR,
                  note="1/6 of istatd's 3.4")  # fmt: skip
        yield Row("istat", "new counters, levels above too", OURS, figures["create"], "CPU us each",
                  note="istatd: 550 to 4,600, by file system")  # fmt: skip
        yield Row("istat", "new counters without levels", OURS, figures["create_flat"], "CPU us each")
        yield Row("istat", f"memory at {count}", OURS, figures["rss"], "MiB", ISTATD_RSS_MIB + PYTHON_MIB,
                  note="istatd's 49 MiB and 40 MiB for Python")  # fmt: skip


def istat_many(bench: Bench) -> Iterator[Row]:
    """100,000 counters of three files each: at rest, asked, started again."""
    count = bench.scaled(MANY)
    with bench.folder() as folder:
        daemon = _daemon(folder, THREE_FILES, num_files=20_000, dont_recursively_create_counters=None)
        daemon.start()
        try:
            rss = daemon.memory_bytes()
            say(f"making {count:,} counters of three files")
            used = daemon.cpu_s()
            for first in range(0, count, 5_000):
                _send(daemon, _lines(min(5_000, count - first), int(time.time()), first))
            until("all came", lambda: _received(daemon) >= count, 600)
            _flush(daemon)
            yield Row("istat-many", "new counters of three files", OURS, (daemon.cpu_s() - used) / count * 1e6,
                      "CPU us each")  # fmt: skip
            growth = (daemon.memory_bytes() - rss) / count
            yield Row("istat-many", "memory for each counter", OURS, growth, "bytes",
                      note="istatd: about 20,000 (49 MiB at 2,000 counters, two files each)")  # fmt: skip
            yield from _steady(daemon, count)
            yield from _asked(daemon, count)
            daemon.stop(300)
            began = time.monotonic()
            daemon.start(600)
            yield Row("istat-many", f"start over {3 * count:,} files", OURS, time.monotonic() - began, "s")
            yield Row("istat-many", "CPU until then", OURS, daemon.cpu_s(), "s")
        finally:
            daemon.kill()


def _steady(daemon: Counterd, count: int) -> Iterator[Row]:
    """Send a sample of every counter each ten seconds, spread over them, for a minute."""
    say(f"one sample of {count:,} counters each {STEP_S} s, for {STEADY_S} s")
    parts = 100
    size = -(-count // parts)
    time.sleep(1)
    used, began = daemon.cpu_s(), time.monotonic()
    with socket.create_connection(("127.0.0.1", daemon.stat), 30) as link:
        for turn in range(STEADY_S * parts // STEP_S):
            first = turn % parts * size
            link.sendall(_lines(max(0, min(size, count - first)), int(time.time()), first))
            wait_s = began + (turn + 1) * STEP_S / parts - time.monotonic()
            time.sleep(max(0.0, wait_s))
    share = (daemon.cpu_s() - used) / (time.monotonic() - began) * 100
    yield Row("istat-many", f"{count:,} counters, a sample each 10 s, written once in 300 s", OURS, share,
              "% of a core", STEADY_BAR)  # fmt: skip


def _asked(daemon: Counterd, count: int) -> Iterator[Row]:
    """Ask for many cells of many counters, and for the list of all."""
    now = int(time.time())
    start = now - now % STEP_S - BUCKETS * STEP_S
    keys = [_name(number) for number in range(min(KEYS, count))]
    lines = (f"{key} {start + n * STEP_S} {n}\n" for key in keys for n in range(BUCKETS))
    _send(daemon, "".join(lines).encode())
    asked = {"keys": keys, "start": start, "stop": now, "maxSamples": 2 * BUCKETS}
    found = daemon.post("/*", asked)
    if len(found[keys[-1]]["data"]) < BUCKETS:
        raise AssertionError(f"{len(found[keys[-1]]['data'])} cells, {BUCKETS} expected")
    took, cpu = _timed(daemon, "POST", "/*", json.dumps(asked).encode())
    yield Row("istat-many", f"multi-get of {len(keys)} counters, {BUCKETS:,} cells each", OURS, took * 1e3, "ms")
    yield Row("istat-many", "CPU of it", OURS, cpu * 1e3, "ms")
    took, cpu = _timed(daemon, "GET", "/?q=*", None)
    yield Row("istat-many", f"list of {count:,} counters", OURS, took * 1e3, "ms")
    yield Row("istat-many", "CPU of it", OURS, cpu * 1e3, "ms")


def _timed(daemon: Counterd, method: str, target: str, body: bytes | None) -> tuple[float, float]:
    """Return the median seconds of an answer, and the daemon's CPU for one."""
    link = http.client.HTTPConnection("127.0.0.1", daemon.http, timeout=120)
    took = []
    used = daemon.cpu_s()
    for _ in range(7):
        began = time.monotonic()
        link.request(method, target, body)
        answer = link.getresponse()
        data = answer.read()
        took.append(time.monotonic() - began)
        if answer.status != 200 or len(data) < 100:
            raise AssertionError(f"{method} {target}: {answer.status}")
    link.close()
    return statistics.median(took), (daemon.cpu_s() - used) / len(took)
