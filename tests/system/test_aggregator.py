"""The aggregator beside carbon's, killed under load, and handed over with what is open."""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from functools import partial

from tests.system.aggregatord import Aggregatord
from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.loads import BothWays
from tests.system.neighbours import CarbonAggregator
from tests.system.process import end_serving, free_ports, hand_over, until

METHODS = ("sum", "avg", "min", "max", "count", "p50", "p90", "p99")
RULES = "".join(f"{method}.<app>.requests ({{frequency}}) = {method} servers.*.<app>.requests\n" for method in METHODS)
SERVERS, APPS = 20, 5


def data(minutes: list[int]) -> bytes:
    """Return datapoints of all servers and applications at each of the times."""
    return b"".join(
        b"servers.s%d.app%d.requests %d %d\n" % (server, app, (server * 7 + app * 3 + when) % 101, when)
        for when in minutes
        for server in range(SERVERS)
        for app in range(APPS)
    )


def send(port: int, text: bytes) -> None:
    """Send over a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(text)


def last_values(sink: LineSink) -> dict[tuple[str, int], float]:
    """Return what a store would have: of each name and time the value that came last."""
    found: dict[tuple[str, int], float] = {}
    for line in list(sink.order):
        name, value, when = line.decode().split()
        found[name, int(float(when))] = float(value)
    return found


class AggregatorTests(SystemTestCase):
    """Real processes."""

    def sink(self) -> LineSink:
        sink = LineSink()
        self.addCleanup(sink.close)
        return sink

    def test_tells_what_carbon_tells(self) -> None:
        self.needs("carbon")
        ours, theirs = self.sink(), self.sink()
        rules = RULES.format(frequency=2)
        daemons = [
            self.started(Aggregatord(self.folder / "ours", ours.port, rules)),
            self.started(CarbonAggregator(self.folder / "theirs", theirs.port, rules)),
        ]
        start = self.now - self.now % 2
        times = [start - 4, start - 3, start - 2, start - 1, start, start + 1]
        for daemon in daemons:
            send(daemon.line, data(times) + b"other.name 1 %d\n" % start)
        wanted = APPS * len(METHODS) * 3 + len(times) * SERVERS * APPS + 1
        for sink in (ours, theirs):
            until("all is told", lambda sink=sink: len(last_values(sink)) >= wanted, 30)
        self.assertEqual(last_values(ours), last_values(theirs))
        self.assertEqual(set(ours.seen()), set(theirs.seen()))

    def test_a_killed_aggregator_goes_on_with_what_was_open(self) -> None:
        sink = self.sink()
        options = {"FORWARD_ALL": False, "WAL_SEGMENT_BYTES": 1 << 16, "WAL_MAX_BYTES": 1 << 17}
        daemon = self.started(Aggregatord(self.folder, sink.port, RULES.format(frequency=3600), options))
        when = self.now - self.now % 3600
        points = SERVERS * APPS * 60
        for life in range(3):
            for part in range(6):
                send(daemon.line, data([when + life * 60 + part * 10 + second for second in range(10)]))
            daemon.until("everything is logged", lambda: self.logged(daemon) >= points)
            daemon.kill()
            daemon.start()
        daemon.stop()
        sink.settle()
        found = last_values(sink)
        for app in range(APPS):
            values = [(server * 7 + app * 3 + when + n) % 101 for n in range(180) for server in range(SERVERS)]
            self.assertEqual(found[f"count.app{app}.requests", when], len(values))
            self.assertEqual(found[f"sum.app{app}.requests", when], sum(values))
            self.assertEqual(found[f"max.app{app}.requests", when], max(values))
        self.assertEqual(list((self.folder / "storage" / "wal").rglob("*.seg")), [])

    def test_a_new_process_goes_on_with_what_is_open(self) -> None:
        sink = self.sink()
        daemon = self.started(Aggregatord(self.folder, sink.port, RULES.format(frequency=3600), {"FORWARD_ALL": False}))
        when = self.now - self.now % 3600
        send(daemon.line, data([when, when + 1]))
        daemon.until("everything is logged", lambda: self.logged(daemon) >= 2 * SERVERS * APPS)
        hand_over(partial(self.serving, daemon))
        send(daemon.line, data([when + 2]))
        until("it has taken all", lambda: self.logged(daemon) >= SERVERS * APPS)
        end_serving(partial(self.serving, daemon))
        until("all is told", lambda: len(last_values(sink)) >= APPS * len(METHODS), 30)
        self.assertEqual({value for (name, _), value in last_values(sink).items() if name[:5] == "count"}, {60.0})
        values: dict[str, set[float]] = defaultdict(set)
        for line in sink.seen():
            values[line.decode().split()[0]].add(float(line.split()[1]))
        self.assertEqual({len(each) for each in values.values()}, {1})

    def test_hand_overs_under_load_lose_nothing(self) -> None:
        """Streams and datagrams go on while one process takes the place of the other, before the interval ends."""
        sink, (udp,) = self.sink(), free_ports(1)
        options = {"FORWARD_ALL": False, "ENABLE_UDP_LISTENER": True, "UDP_RECEIVER_INTERFACE": "127.0.0.1"}
        rules = "".join(f"{how}.<kind> (3600) = {how} in.<kind>.*\n" for how in ("sum", "count", "max"))
        daemon = self.started(Aggregatord(self.folder, sink.port, rules, {**options, "UDP_RECEIVER_PORT": udp}))
        when = self.now - self.now % 3600

        def line(kind: str, number: int) -> bytes:
            return b"in.%s.h%d %d %d\n" % (kind.encode(), number % 7, number, when)

        load = BothWays(daemon.line, line, udp_port=udp)
        load.start()
        for _ in range(self.number("CADTWIST_SYSTEM_HANDOVERS", 3)):
            time.sleep(0.5)
            hand_over(partial(self.serving, daemon))
        time.sleep(0.5)
        sent = load.end()
        self.assertEqual(load.faults, [])
        end_serving(partial(self.serving, daemon))
        sink.settle()
        found = last_values(sink)
        for kind, count in sent.items():
            told = {how: found.get((f"{how}.{kind}", when)) for how in ("sum", "count", "max")}
            self.assertEqual(told, {"sum": sum(range(count)), "count": count, "max": count - 1}, kind)

    @staticmethod
    def logged(daemon: Aggregatord) -> int:
        """Return how many datapoints this process has logged."""
        logs = [each for name, each in daemon.ledger().items() if name.startswith("aggregation log ")]
        return sum(int(each["counters"].get("logged", 0)) for each in logs)

    @staticmethod
    def serving(daemon: Aggregatord) -> int:
        """Return the process that the pid file names, 0 for none."""
        path = daemon.folder / "pid"
        return int(path.read_text() or 0) if path.exists() else 0

    def setUp(self) -> None:
        super().setUp()
        self.now = int(time.time())
