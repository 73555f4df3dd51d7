"""The same packets to npm's statsd and to ours: the same lines to Graphite, order aside."""

from __future__ import annotations

import random
import re
import socket
import time
from collections import Counter

from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.neighbours import NodeStatsd
from tests.system.process import Process, until
from tests.system.statsdd import Statsdd

FLUSH_S = 2
OPTIONS = f"""  flushInterval: {FLUSH_S * 1000}, percentThreshold: [90, 99.9, -10],
  histogram: [{{metric: 'lat', bins: [10, 100, 'inf']}}],"""
OTHER = (
    OPTIONS
    + """ deleteIdleStats: true,
  graphite: {legacyNamespace: false, globalPrefix: 'g', prefixTimer: 'tm', globalSuffix: 'sfx'},"""
)
VOLATILE = re.compile(r"timestamp_lag|calculationtime|processing_time|last_|flush_time|flush_length")


def packets(transport: str) -> list[bytes]:
    """Return lines of all kinds, a few in each packet; the same ones every time.

    Sums of the values do not depend on their order: they are quarters, and rates powers of two.
    """
    chosen = random.Random(transport)
    lines = []
    for number in range(1500):
        name = f"app.{transport}.{chosen.choice('abcdef')}.n{number % 37}"
        kind = chosen.choice(("c", "ms", "g", "s", "bad"))
        value = chosen.choice((number % 11, chosen.randrange(10**6) / 4, 0))
        rate = chosen.choice(("", "", "|@0.5", "|@0.25"))
        lines.append({
            "c": f"{name}:{value}|c{rate}",
            "ms": f"{name}.lat:{value}|ms{rate}",
            "g": f"{name}.g:{chosen.choice(('', '+', '-'))}{value}|g",
            "s": f"{name}.s:m{number % 5}|s",
            "bad": chosen.choice((f"{name}", f"{name}:x|c", f"{name}:1|c:2|ms:3|g", f"we ird/{name}:4|c|#k:v,host:a")),
        }[kind])  # fmt: skip
    return ["\n".join(lines[at : at + 5]).encode() for at in range(0, len(lines), 5)]


class NeighbourTests(SystemTestCase):
    """statsd 0.9.0 and ours."""

    def told(self, sink: LineSink, seconds: float = 3 * FLUSH_S) -> Counter[str]:
        """Return the values of the next whole flush: what comes until nothing comes any more."""
        sink.take()
        until("a flush", lambda: sink.total > 0, seconds)
        before = -1
        until("its end", lambda: sink.total == before or self.grows(sink), seconds, 0.2)
        found = Counter[str]()
        for line in sink.take():
            name, value, _ = line.decode().split(" ")
            found[f"{name} {'*' if VOLATILE.search(name) else value}"] += 1
        return found

    def grows(self, sink: LineSink) -> bool:
        """Tell whether nothing has come since the last time this was asked."""
        before, self.seen = getattr(self, "seen", -1), sink.total
        return before == self.seen

    def compare(self, options: str) -> None:
        self.needs("statsd")
        sinks = {"ours": LineSink(), "theirs": LineSink()}
        daemons: dict[str, Process] = {
            "ours": self.started(Statsdd(self.folder / "ours", sinks["ours"].port, options)),
            "theirs": self.started(NodeStatsd(self.folder / "theirs", sinks["theirs"].port, options)),
        }
        flushes = {}
        for who, daemon in daemons.items():
            sink = sinks[who]
            self.addCleanup(sink.close)
            self.told(sink)
            self.send(daemon.ports[0])
            flushes[who] = [self.told(sink), self.told(sink)]
        for ours, theirs in zip(flushes["ours"], flushes["theirs"], strict=True):
            differences = sorted((ours - theirs).items()), sorted((theirs - ours).items())
            self.assertEqual(differences, ([], []), [each[:9] for each in differences])
        self.assertGreater(len(flushes["ours"][0]), 1000)

    @staticmethod
    def send(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(b"".join(text + b"\n" for text in packets("tcp")))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for text in packets("udp"):
                sender.sendto(text, ("127.0.0.1", port))
                time.sleep(0.002)  # npm's statsd has a small buffer

    def test_old_names_and_idle_series(self) -> None:
        self.compare(OPTIONS)

    def test_new_names_without_idle_series(self) -> None:
        self.compare(OTHER)
