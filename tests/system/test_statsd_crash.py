"""statsd is killed under load, and started again: what was logged is told, nothing is told twice."""

from __future__ import annotations

import socket
import time
from collections import defaultdict

from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.loads import Repeater
from tests.system.statsdd import Statsdd

FLUSH_S = 2
OPTIONS = (
    f"  flushInterval: {FLUSH_S * 1000}, deleteIdleStats: true, deleteGauges: false,\n"
    "  graphite: {legacyNamespace: false},"
)
KEYS = 50


def load(daemon: Statsdd) -> Repeater:
    """Send counters of 1 and moves of a gauge over one connection."""
    text = b"".join(b"crash.c%d:1|c\n" % key for key in range(KEYS)) + b"crash.level:+1|g\ncrash.t:5|ms\n"
    sender = Repeater(daemon.line, text, 0.002)
    sender.start()
    return sender


class CrashTests(SystemTestCase):
    """What survives kill -9."""

    def values(self, sink: LineSink) -> dict[str, dict[int, set[float]]]:
        """Return what the sink got: by name and timestamp, each different value."""
        found: dict[str, dict[int, set[float]]] = defaultdict(lambda: defaultdict(set))
        for line in sink.seen():
            name, value, timestamp = line.decode().split()
            found[name][int(timestamp)].add(float(value))
        return found

    def sums(self, sink: LineSink) -> list[float]:
        """Return what the sink knows of each counter; a value that came twice was the same."""
        found = self.values(sink)
        named = [found[f"stats.counters.crash.c{key}.count"] for key in range(KEYS)]
        for times in named:
            for values in times.values():
                self.assertEqual(len(values), 1)
        return [sum(max(values) for values in times.values()) for times in named]

    def test_a_killed_statsd_tells_what_it_logged(self) -> None:
        sink = LineSink()
        self.addCleanup(sink.close)
        daemon = self.started(Statsdd(self.folder, sink.port, OPTIONS))
        rounds = 0
        for life in range(3):
            sender = load(daemon)
            time.sleep(2.5 + life)
            before = sender.end()
            rounds += before
            self.logs(daemon, before * (KEYS + 2))
            daemon.kill()
            daemon.start()
        daemon.until("all is told", lambda: min(self.sums(sink)) >= rounds, 15)
        self.assertEqual(set(self.sums(sink)), {float(rounds)})
        levels = self.values(sink)["stats.gauges.crash.level"]
        self.assertEqual(levels[max(levels)], {float(rounds)})
        daemon.stop()
        self.assertEqual(list((self.folder / "state" / "window").glob("*.seg")), [])

    def test_a_flush_that_nobody_got_is_told_again(self) -> None:
        sink = LineSink()
        self.addCleanup(sink.close)
        daemon = self.started(Statsdd(self.folder, sink.port, OPTIONS))
        daemon.until("the sink is there", lambda: sink.total > 0)
        sink.close(abruptly=True)
        sender = load(daemon)
        time.sleep(2 * FLUSH_S + 0.5)
        rounds = sender.end()
        self.logs(daemon, rounds * (KEYS + 2))
        daemon.kill()
        sink.open()
        daemon.start()
        daemon.until("all is told", lambda: min(self.sums(sink)) >= rounds, 30)
        self.assertEqual(set(self.sums(sink)), {float(rounds)})

    def test_datagrams_are_logged_where_that_is_asked_for(self) -> None:
        sink = LineSink()
        self.addCleanup(sink.close)
        daemon = self.started(Statsdd(self.folder, sink.port, OPTIONS, ["--log-inputs=all"]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(100):
                sender.sendto(b"crash.c0:1|c\ncrash.c0:2|c", ("127.0.0.1", daemon.line))
        self.logs(daemon, 200)
        daemon.kill()
        daemon.start()
        name = "stats.counters.crash.c0.count"
        daemon.until("all is told", lambda: sum(map(max, self.values(sink)[name].values())) == 300, 15)

    @staticmethod
    def logs(daemon: Statsdd, values: int) -> None:
        """Wait until so many values are in the log, of those that this process took."""

        def enough() -> bool:
            return int(daemon.ledger()["window log"]["counters"].get("logged", 0)) >= values

        daemon.until("everything is logged", enough)
