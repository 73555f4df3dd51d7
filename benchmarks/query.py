"""Questions over HTTP: find and render beside graphite-web and carbonapi + go-carbon, on full files."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from benchmarks.bench import Bench, say
from benchmarks.load import LEAVES, RACKS, ask, blast, fill_files, metric
from benchmarks.memory import HELD_BACK
from benchmarks.report import Row
from tests.system.cadtwistd import Cadtwistd
from tests.system.environment import build
from tests.system.neighbours import GraphiteWeb
from tests.system.process import Process, free_ports

__all__ = ["OURS", "chain", "million", "query", "serving"]

OURS, GRAPHITE, CARBONAPI = "cadtwist", "graphite-web", "carbonapi"
NAMES = 10_000
MANY_NAMES = 1_000_000
PER_RACK = 40
CLIENTS = 4
LEAF, HOSTS, NEW = "find of a leaf", "find over all hosts", "never asked before"
MOST_NEW_PER_S = {LEAF: 15_000, HOSTS: 5_000}
RATIO = {
    LEAF: 0.0876, HOSTS: 0.0069, "one series": 0.1316, "40 series": 0.1611,
    "one series over a day": 0.3226, "sum of 40 series": 0.1289,
}  # fmt: skip
"""CPU of carbonapi with go-carbon ÷ CPU of graphite-web, measured before on one machine: for where Go is missing."""

BARS = {
    LEAF: ((CARBONAPI, 0.6),),
    HOSTS: ((CARBONAPI, 0.5), (GRAPHITE, 1 / 250)),
    "one series": ((CARBONAPI, 0.6),),
    "40 series": ((CARBONAPI, 0.5), (GRAPHITE, 1 / 12)),
    "one series over a day": ((CARBONAPI, 0.4),),
    "sum of 40 series": ((CARBONAPI, 0.4),),
}

_GO_CARBON = """[common]
user = ""
metric-interval = "1h0m0s"
max-cpu = 2
[whisper]
data-dir = "{whisper}"
schemas-file = "{folder}/storage-schemas.conf"
enabled = true
[udp]
enabled = false
[tcp]
enabled = false
[pickle]
enabled = false
[carbonlink]
enabled = false
[grpc]
enabled = false
[carbonserver]
listen = "127.0.0.1:{server}"
enabled = true
query-cache-enabled = false
find-cache-enabled = false
trigram-index = true
trie-index = false
scan-frequency = "5m0s"
max-metrics-rendered = 10000
[[logging]]
logger = ""
file = "stderr"
level = "error"
"""
_CARBONAPI = """listeners:
  - address: "127.0.0.1:{http}"
expvar: {{enabled: false}}
cache: {{type: "null"}}
backendCache: {{type: "null"}}
cpus: 2
notFoundStatusCode: 200
upstreams:
  timeouts: {{find: "10s", render: "20s", connect: "1s"}}
  backendsv2:
    backends:
      - groupName: "go-carbon"
        protocol: "carbonapi_v3_pb"
        lbMethod: "broadcast"
        maxTries: 1
        servers: ["http://127.0.0.1:{server}"]
logger:
  - {{logger: "", file: "stderr", level: "error"}}
"""


class Serving:
    """Peers that answer at `http`, as one."""

    def __init__(self, http: int, *processes: Process) -> None:
        self.http = http
        self.processes = processes

    def cpu_s(self) -> float:
        """Return the CPU seconds of all processes so far."""
        return sum(process.cpu_s() for process in self.processes)


@contextmanager
def serving(peer: str, folder: Path, whisper: Path, names: int) -> Iterator[Serving]:
    """Lend a peer that has read what files there are; environment.Missing where it cannot be had."""
    made: list[Process] = []
    try:
        yield _MAKERS[peer](folder, whisper, names, made)
    finally:
        for process in made:
            process.kill()


def _cadtwist(folder: Path, whisper: Path, names: int, made: list[Process]) -> Serving:
    daemon = Cadtwistd(folder, {"LOCAL_DATA_DIR": whisper})
    made.append(daemon)
    daemon.start(120)
    daemon.until("all names are found", lambda: daemon.indexed() >= names, 300)
    return Serving(daemon.http, daemon)


def _graphite_web(folder: Path, whisper: Path, names: int, made: list[Process]) -> Serving:
    build("graphite-web")
    daemon = GraphiteWeb(folder, whisper)
    made.append(daemon)
    daemon.start(120)
    return Serving(daemon.http, daemon)


def _carbonapi(folder: Path, whisper: Path, names: int, made: list[Process]) -> Serving:
    programs = {name: build(name) / "bin" / name for name in ("go-carbon", "carbonapi")}
    folder.mkdir(parents=True)
    server, http = free_ports(2)
    (folder / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 60s:1d\n")
    (folder / "go-carbon.conf").write_text(_GO_CARBON.format(folder=folder, whisper=whisper, server=server))
    (folder / "carbonapi.yaml").write_text(_CARBONAPI.format(http=http, server=server))
    for name, conf, port in (("go-carbon", "go-carbon.conf", server), ("carbonapi", "carbonapi.yaml", http)):
        process = Process(name, [programs[name], "-config", folder / conf], folder, ports=(port,))
        made.append(process)
        process.start(60)
        process.settle(2.0, 60 + names / 10_000)
    return Serving(http, *made)


_MAKERS: dict[str, Callable[[Path, Path, int, list[Process]], Serving]] = {
    OURS: _cadtwist, GRAPHITE: _graphite_web, CARBONAPI: _carbonapi,
}  # fmt: skip


def _plain(kind: str) -> str:
    """Return the kind of question of which this one is like, asked for the first time or not."""
    return kind.removesuffix(f", {NEW}")


def _questions(names: int, seconds: float) -> dict[str, list[str]]:
    """Return paths by what they ask for: enough that of those that are new none is asked twice within `seconds`.

    There are not so many hosts: a parameter that means nothing makes each of them another question.
    """
    hosts, choose = max(names // len(LEAVES), 1), random.Random(7)

    def any_host() -> str:
        return metric(choose.randrange(hosts) * len(LEAVES)).removesuffix("." + LEAVES[0])

    def rack() -> str:
        number = choose.randrange(max(1, min(RACKS, hosts // PER_RACK)))
        return f"servers.dc1.rack{number:02d}.web-*.example_com.{choose.choice(LEAVES)}"

    def find(query: str) -> str:
        return f"/metrics/find/?format=treejson&query={quote(query)}"

    def render(target: str, since: str = "-1h") -> str:
        return f"/render/?format=json&from={since}&until=now&target={quote(target)}"

    def leaf() -> str:
        return find(f"{any_host()}.{choose.choice(('cpu', 'memory', 'disk.sda', 'net.eth0', 'jvm.gc'))}.*")

    def all_hosts() -> str:
        return find(f"servers.dc1.*.web-*.example_com.{choose.choice(LEAVES)}")

    return {
        LEAF: [find(f"{any_host()}.cpu.*") for _ in range(400)],
        HOSTS: [all_hosts() for _ in range(50)],
        **{f"{kind}, {NEW}": [f"{ask_for()}&unasked={number}" for number in range(int(most * seconds))]
           for (kind, most), ask_for in zip(MOST_NEW_PER_S.items(), (leaf, all_hosts), strict=True)},
        "one series": [render(metric(choose.randrange(names))) for _ in range(1000)],
        "40 series": [render(rack()) for _ in range(200)],
        "one series over a day": [render(metric(choose.randrange(names)), "-23h") for _ in range(1000)],
        "sum of 40 series": [render(f"sumSeries({rack()})") for _ in range(200)],
    }


def query(bench: Bench) -> Iterator[Row]:
    """CPU of all processes for each kind of question, 4 clients at a time."""
    names = bench.scaled(NAMES)
    with bench.folder() as folder:
        say(f"filling {names:,} files")
        fill_files(folder / "whisper", names, int(time.time()))
        turns = iter(range(1000))

        def measure(peer: str) -> dict[str, float]:
            with serving(peer, folder / f"{peer}-{next(turns)}", folder / "whisper", names) as peers:
                return {kind: _cpu_ms(peers, paths, bench.seconds) for kind, paths in
                        _questions(names, bench.seconds + 1).items()}  # fmt: skip

        found = bench.in_turn(bench.wanted(OURS, GRAPHITE, CARBONAPI), measure)
    yield from _rows(found)


def _cpu_ms(peers: Serving, paths: list[str], seconds: float) -> float:
    """Return the CPU milliseconds of an answer."""
    ask(peers.http, paths[::-1], 2, min(0.5, seconds))
    before = peers.cpu_s()
    asked = ask(peers.http, paths, CLIENTS, seconds)
    if asked.bad:
        raise AssertionError(f"{asked.bad} of {asked.answers} questions were not answered: {paths[0]}")
    return (peers.cpu_s() - before) / max(asked.answers, 1) * 1e3


def _rows(found: dict[str, dict[str, float]]) -> Iterator[Row]:
    """Yield our figures with the bars that peers set, and theirs."""
    for peer, figures in found.items():
        for kind, figure in figures.items():
            bars, note = [], ""
            if peer == OURS:
                bars = [share * theirs for other, share in BARS[_plain(kind)]
                        if (theirs := _of_peer(found, other, kind)) is not None]  # fmt: skip
                note = "carbonapi estimated from graphite-web" if CARBONAPI not in found else ""
            yield Row("query", kind, peer, figure, "CPU ms", min(bars, default=None), note=note)


def _of_peer(found: dict[str, dict[str, float]], peer: str, kind: str) -> float | None:
    if peer in found:
        return found[peer][kind]
    return found[GRAPHITE][kind] * RATIO[_plain(kind)] if peer == CARBONAPI and GRAPHITE in found else None


def million(bench: Bench) -> Iterator[Row]:
    """The 99th percentile of globs for leaves among a million names that wait in memory, asked by one client."""
    names = bench.scaled(MANY_NAMES)
    hosts = list(range(names // len(LEAVES)))
    random.Random(11).shuffle(hosts)
    every = [
        f"/metrics/find?query={quote(metric(host * len(LEAVES)).removesuffix(LEAVES[0]) + 'cpu.*')}" for host in hosts
    ]
    with bench.folder() as folder, bench.peer(OURS, HELD_BACK, folder / "cache") as running:
        daemon = running.process
        assert isinstance(daemon, Cadtwistd)
        blast(running.line, names=names, conns=4, points=1, step=1, ts0=int(time.time()) - 60, drain=True, duration=300)
        daemon.until("all names are found", lambda: daemon.indexed() >= names, 300)
        for what, paths in (("each asked once", every), ("the same again", every[:500])):
            asked = ask(daemon.http, paths, 1, bench.seconds)
            if asked.bad:
                raise AssertionError(f"{asked.bad} answers were refusals")
            yield Row("query-million", f"glob of leaves, {what}, 99th percentile", OURS, asked.p99_ms, "ms", 10.0,
                      note=f"{names:,} names, median {asked.p50_ms:.2f} ms")  # fmt: skip


CHAIN = "sumSeries(highestAverage(movingAverage(servers.dc1.*.web-*.example_com.cpu.{{user,system}},10),{most}))"


def chain(bench: Bench) -> Iterator[Row]:
    """Answers a second to a chain of functions over 1,000 series; graphite-web's of the same run beside it."""
    names = bench.scaled(NAMES)
    path = f"/render/?format=json&from=-1h&until=now&target={quote(CHAIN.format(most=1000))}"
    with bench.folder() as folder:
        fill_files(folder / "whisper", names, int(time.time()))
        turns = iter(range(1000))

        def measure(peer: str) -> dict[str, float]:
            with serving(peer, folder / f"{peer}-{next(turns)}", folder / "whisper", names) as peers:
                asked = ask(peers.http, [path], 1, max(2 * bench.seconds, 2))
                if asked.bad:
                    raise AssertionError(f"{peer}: {asked.bad} answers were refusals")
                return {"per_s": asked.per_s}

        found = bench.in_turn(bench.wanted(OURS, GRAPHITE), measure)
    for peer, figures in found.items():
        bar = 10 * found[GRAPHITE]["per_s"] if peer == OURS and GRAPHITE in found else None
        yield Row("query-chain", "chain over 1,000 series", peer, figures["per_s"], "answers/s", bar, at_least=True)

