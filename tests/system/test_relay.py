"""The relay as a process: outages, hand-overs, reloads and workers under load."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter

from tests.system.case import SystemTestCase
from tests.system.datagrams import FIRST, DatagramFeed, kernel_drops
from tests.system.linesink import LineSink
from tests.system.loads import LineFeeder, Visitor
from tests.system.process import end_serving, hand_over, until
from tests.system.relayd import Relayd

QUICK = {"initial_s": 0.2, "max_s": 1.0, "jitter": 0.0}
SPOOLED = {"spool_bytes": 256 << 20}
VISITS = 50_000_000
"""The value of the first line of visitors."""


def numbers(sinks: list[LineSink]) -> Counter[int]:
    """Return how often each line came, by its number."""
    found: Counter[int] = Counter()
    for sink in sinks:
        for line, count in sink.seen().items():
            found[int(line.split()[1])] += count
    return found


class RelayCase(SystemTestCase):
    """Three sinks and what becomes of them."""

    def setUp(self) -> None:
        super().setUp()
        self.sinks = [LineSink() for _ in range(3)]
        for sink in self.sinks:
            self.addCleanup(sink.close)

    def relay(self, **values: object) -> Relayd:
        """Return a relay over the sinks that tries again soon."""
        destination = {"reconnect": QUICK, "queue": SPOOLED, **values.pop("destination", {})}  # type: ignore[dict-item]
        ports = [sink.port for sink in self.sinks]
        return Relayd(self.folder / "relay", ports, destination=destination, **values)  # type: ignore[arg-type]

class OutageTests(RelayCase):
    """One destination is away, then slow, then killed; the relay itself is killed meanwhile."""

    def test_what_the_ledger_had_counted_arrives(self) -> None:
        away_s = self.number("CADTWIST_SYSTEM_OUTAGE_S", 5)
        relay = self.started(self.relay())
        self.addCleanup(end_serving, relay.serving)
        feeder = LineFeeder(relay.line, 5000)
        feeder.start()
        until("lines flow", lambda: min(sink.total for sink in self.sinks) > 100)
        self.sinks[0].close(abruptly=True)
        time.sleep(away_s)
        relay.until("late lines are on the disk", lambda: self.spooled(relay))
        counted = self.promised(relay)
        feeder.end()
        relay.kill()
        relay.start()
        feeder = LineFeeder(relay.line, feeder.per_s, first=feeder.sent)
        feeder.start()
        self.sinks[0].bytes_per_s = 30_000
        self.sinks[0].open()
        self.live_lines_are_quick(feeder)
        time.sleep(min(away_s, 5))
        self.sinks[0].close(abruptly=True)
        self.sinks[0].bytes_per_s = 0
        time.sleep(0.5)
        self.sinks[0].open()
        sent = feeder.end()
        relay.until("nothing is held", lambda: not any(d["held"] for d in relay.destinations().values()), 60)
        relay.until("nothing is on the disk", self.nothing_spooled(relay), 60)
        self.assertEqual(relay.unbalanced(), {})
        found = numbers(self.sinks)
        missing = [n for n in range(feeder.first, sent) if not found[n]]
        self.assertEqual(missing, [], f"{len(missing)} of {sent - feeder.first}")
        before = sum(1 for n in range(feeder.first) if found[n])
        self.assertGreaterEqual(before, counted, "lines that the ledger had counted before the kill")
        repeated = sum(count - 1 for count in found.values())
        rate, window_s = 5000 / 3, 1.0 + 1.2
        self.assertLess(repeated, 3 * window_s * rate + 2 * 4 * (1 << 20) / 25, "more than the resend windows")

    def spooled(self, relay: Relayd) -> float:
        """Return how many lines wait on the disk for the first sink."""
        return float(relay.destinations()["d0"]["gauges"]["spooled_points"])

    def promised(self, relay: Relayd) -> int:
        """Return how many lines the ledger says are delivered, or on the disk."""
        accounts = relay.destinations().values()
        return sum(int(account["out"] + account["gauges"]["spooled_points"]) for account in accounts)

    def nothing_spooled(self, relay: Relayd) -> object:
        """Return a question whether the disk has nothing more to send."""

        def look() -> bool:
            before = sum(sink.total for sink in self.sinks)
            time.sleep(0.5)
            return sum(sink.total for sink in self.sinks) == before

        return look

    def live_lines_are_quick(self, feeder: LineFeeder) -> None:
        """See that new lines pass the backlog: what is sent now is there within two seconds, on every sink."""
        mark = feeder.sent
        until(
            "live lines arrive",
            lambda: all(any(int(line.split()[1]) >= mark for line in sink.order[-2000:]) for sink in self.sinks[1:]),
            2.0,
        )


def visit(number: int) -> bytes:
    """Return the line of a visitor."""
    return b"visit.m%d %d 1\n" % (number % 100, VISITS + number)


class HandoverTests(RelayCase):
    """SIGUSR2 with one process and with two workers, while connections stay, come and go, and datagrams come."""

    def check(self, workers: int) -> None:
        text = f"[processes]\nworkers = {workers}\n[limits]\nudp_receive_bytes = {workers * 8 << 20}\n"
        relay = self.started(self.relay(text=text, destination={"queue": {"resend_window_s": 0.0}}))
        self.addCleanup(end_serving, relay.serving)
        feeder, visitor = LineFeeder(relay.line, 3000), Visitor(relay.line, visit)
        datagrams = DatagramFeed(relay.line, self.number("CADTWIST_SYSTEM_DATAGRAMS", 20_000))
        self.addCleanup(datagrams.kill)
        feeder.start()
        visitor.start()
        for _ in range(self.number("CADTWIST_SYSTEM_HANDOVERS", 3)):
            hand_over(relay.serving)
        sent, rate = datagrams.end()
        lines, visits = feeder.end(), visitor.end()
        print(f"{self.id()}: {lines} lines, {visits} connections, {sent} datagrams at {rate:.0f} a second")
        self.assertEqual(visitor.refused, [])
        self.assertEqual(feeder.reconnects, 0, "the connection was kept")
        self.assertEqual(kernel_drops(relay.line), 0)
        until("all arrived", lambda: sum(sink.total for sink in self.sinks) >= lines + visits + sent, 60)
        found = numbers(self.sinks)
        for first, count in ((0, lines), (VISITS, visits), (FIRST, sent)):
            self.assertEqual([n for n in range(first, first + count) if found[n] != 1][:20], [], first)
        self.assertEqual(relay.unbalanced(), {})

    def test_one_process(self) -> None:
        self.check(1)

    def test_two_workers(self) -> None:
        self.check(2)


class ReloadTests(RelayCase):
    """SIGHUP that changes the ring, under load."""

    def test_no_line_is_lost(self) -> None:
        relay = self.started(self.relay(destination={"queue": {"resend_window_s": 0.0}}))
        feeder = LineFeeder(relay.line, 3000)
        feeder.start()
        rounds = self.number("CADTWIST_SYSTEM_RELOADS", 10)
        for round_ in range(rounds):
            relay.group["members"] = ["d0", "d1", "d2"] if round_ % 2 else ["d0", "d2"]
            relay.write_conf()
            relay.signal(signal.SIGHUP)
            counted = {"reloads": round_ + 1}
            relay.until("it is read", lambda counted=counted: relay.ledger()["configuration"]["counters"] == counted)
            time.sleep(0.1)
        lines = feeder.end()
        until("all arrived", lambda: sum(sink.total for sink in self.sinks) >= lines, 30)
        found = numbers(self.sinks)
        self.assertEqual([n for n in range(lines) if found[n] != 1], [])
        self.assertEqual(relay.unbalanced(), {})

    def test_a_faulty_file_changes_nothing(self) -> None:
        relay = self.started(self.relay())
        good = relay.conf.read_text()
        relay.conf.write_text(good.replace('method = "carbon"', 'method = "nonsense"') + "strange = 1\n")
        relay.signal(signal.SIGHUP)
        relay.until("both faults are told", lambda: "nonsense" in relay.tail() and "strange" in relay.tail())
        feeder = LineFeeder(relay.line, 1000)
        feeder.start()
        time.sleep(0.3)
        lines = feeder.end()
        until("all arrived", lambda: sum(sink.total for sink in self.sinks) == lines)


class WorkerTests(RelayCase):
    """Two processes behind one port."""

    def test_they_share_the_load_and_one_may_die(self) -> None:
        relay = self.started(self.relay(text="[processes]\nworkers = 2\n"))
        feeders = [LineFeeder(relay.line, 500, first=number * 1_000_000) for number in range(8)]
        for feeder in feeders:
            feeder.start()
        time.sleep(2)
        status = relay.json("/ops/status")
        pids = [worker["pid"] for worker in status["workers"]]
        shares = [worker["received"] for worker in status["workers"]]
        self.assertLess(max(shares), 0.6 * sum(shares))
        os.kill(pids[0], signal.SIGKILL)
        relay.until("another one is there", lambda: self.worker_pids(relay) not in ([], pids))
        time.sleep(1)
        for feeder in feeders:
            feeder.end()
        back = sum(feeder.reconnects for feeder in feeders)
        self.assertIn(back, range(4, 8), "those of the dead one came back, one or another while it was dying: twice")

    def test_loud_connections_do_not_stay_with_one(self) -> None:
        """One client has opened loud and quiet ones by turns, so that one worker had all loud ones."""
        relay = self.started(self.relay(text="[processes]\nworkers = 2\n"))
        feeders = []
        for number in range(8):
            feeders.append(LineFeeder(relay.line, 500 if number % 2 else 60_000, first=number * 10_000_000))
            feeders[-1].start()
            time.sleep(0.1)
        until("the first two are moved", lambda: self.moved(relay) >= 2, 30)
        before = [worker["received"] for worker in relay.json("/ops/status")["workers"]]
        time.sleep(3)
        after = [worker["received"] for worker in relay.json("/ops/status")["workers"]]
        shares = [new - old for old, new in zip(before, after, strict=True)]
        self.assertLess(max(shares), 0.6 * sum(shares))
        lines = sum(feeder.end() - feeder.first for feeder in feeders)
        until("all arrived", lambda: sum(sink.total for sink in self.sinks) >= lines, 60)
        self.assertEqual(sum(feeder.reconnects for feeder in feeders), 0)
        self.assertEqual((sum(sink.total for sink in self.sinks), len(numbers(self.sinks))), (lines, lines))
        self.assertEqual(relay.unbalanced(), {})

    def moved(self, relay: Relayd) -> int:
        """Return how many connections were moved."""
        return int(relay.ledger()["workers"]["counters"].get("connections_moved", 0))

    def test_datagrams_of_one_sender_are_shared_by_name(self) -> None:
        relay = self.started(self.relay(text="[processes]\nworkers = 2\n"))
        count, names = 20_000, 500
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", relay.line))
            for number in range(count):
                client.send(b"one.sender.m%d %d 1\n" % (number % names, number))
                if number % 100 == 99:
                    time.sleep(0.01)
        until("all arrived", lambda: sum(sink.total for sink in self.sinks) >= count)
        shares = [worker["received"] for worker in relay.json("/ops/status")["workers"]]
        self.assertLess(max(shares), 0.6 * sum(shares))
        values: dict[bytes, list[int]] = {}
        for sink in self.sinks:
            for line in sink.order:
                name, value, _ = line.split()
                values.setdefault(name, []).append(int(value))
        self.assertEqual(len(values), names)
        self.assertEqual([name for name, found in values.items() if found != sorted(found)], [], "in order")

    def worker_pids(self, relay: Relayd) -> list[int]:
        """Return the workers' process ids, none while one of them does not answer."""
        workers = relay.json("/ops/status")["workers"]
        return [] if None in workers else [worker["pid"] for worker in workers]
