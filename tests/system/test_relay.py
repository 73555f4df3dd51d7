"""The relay as a process: outages, hand-overs, reloads and workers under load."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter

from tests.system.case import SystemTestCase
from tests.system.datagrams import FIRST, DatagramFeed, kernel_drops
from tests.system.linesink import LineSink
from tests.system.process import until
from tests.system.relayd import Relayd

QUICK = {"initial_s": 0.2, "max_s": 1.0, "jitter": 0.0}
SPOOLED = {"spool_bytes": 256 << 20}


class Feeder(threading.Thread):
    """Sends numbered lines over TCP at a rate, connecting again whenever it must; notes what each second had sent."""

    def __init__(self, port: int, per_s: int, names: int = 500) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.per_s = per_s
        self.names = names
        self.sent = 0
        self.reconnects = 0
        self._end = threading.Event()

    def end(self) -> int:
        """Stop; return how many lines were sent."""
        self._end.set()
        self.join(60)
        return self.sent

    def run(self) -> None:
        connection: socket.socket | None = None
        part = max(1, self.per_s // 50)
        while not self._end.is_set():
            begun = time.monotonic()
            if connection is None:
                try:
                    connection = socket.create_connection(("127.0.0.1", self.port), 5)
                except OSError:
                    time.sleep(0.05)
                    continue
            numbers = range(self.sent, self.sent + part)
            data = b"".join(b"feed.m%d %d %d\n" % (n % self.names, n, int(time.time())) for n in numbers)
            try:
                connection.sendall(data)
            except OSError:
                connection, self.reconnects = None, self.reconnects + 1
                continue
            self.sent += part
            time.sleep(max(0.0, part / self.per_s - (time.monotonic() - begun)))
        if connection is not None:
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(10)
            while connection.recv(1000):
                pass


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

    def end(self, relay: Relayd) -> None:
        """End whoever serves now: after a hand-over it is no child of the test."""
        try:
            pid = int(relay.json("/ops/status")["pid"])
        except OSError:
            return
        os.kill(pid, signal.SIGTERM)
        until("it ends", lambda: not os.path.exists(f"/proc/{pid}") or _is_dead(pid), 60)


class OutageTests(RelayCase):
    """One destination is away, then slow, then killed; the relay itself is killed meanwhile."""

    def test_what_the_ledger_had_counted_arrives(self) -> None:
        away_s = self.number("CADTWIST_SYSTEM_OUTAGE_S", 5)
        relay = self.started(self.relay())
        self.addCleanup(self.end, relay)
        feeder = Feeder(relay.line, 5000)
        feeder.start()
        until("lines flow", lambda: min(sink.total for sink in self.sinks) > 100)
        self.sinks[0].close(abruptly=True)
        time.sleep(away_s)
        relay.until("late lines are on the disk", lambda: self.spooled(relay))
        counted = self.promised(relay)
        feeder.end()
        relay.kill()
        relay.start()
        feeder = self.next_feeder(feeder)
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
        missing = [n for n in range(feeder.began, sent) if not found[n]]
        self.assertEqual(missing, [], f"{len(missing)} of {sent - feeder.began}")
        before = sum(1 for n in range(feeder.began) if found[n])
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

    def next_feeder(self, old: Feeder) -> Feeder:
        """Return a feeder that goes on numbering where another has stopped."""
        feeder = Feeder(old.port, old.per_s)
        feeder.sent = feeder.began = old.sent  # type: ignore[attr-defined]
        feeder.start()
        return feeder

    def nothing_spooled(self, relay: Relayd) -> object:
        """Return a question whether the disk has nothing more to send."""

        def look() -> bool:
            before = sum(sink.total for sink in self.sinks)
            time.sleep(0.5)
            return sum(sink.total for sink in self.sinks) == before

        return look

    def live_lines_are_quick(self, feeder: Feeder) -> None:
        """See that new lines pass the backlog: what is sent now is there within two seconds, on every sink."""
        mark = feeder.sent
        until(
            "live lines arrive",
            lambda: all(any(int(line.split()[1]) >= mark for line in sink.order[-2000:]) for sink in self.sinks[1:]),
            2.0,
        )


class Visitor(threading.Thread):
    """Opens connections without end, sends one line over each, and notes who was refused."""

    FIRST = 50_000_000

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.sent = 0
        self.refused: list[str] = []
        self._end = threading.Event()

    def end(self) -> int:
        """Stop; return how many lines were sent."""
        self._end.set()
        self.join(60)
        return self.sent

    def run(self) -> None:
        while not self._end.wait(0.01):
            try:
                with socket.create_connection(("127.0.0.1", self.port), 30) as connection:
                    connection.sendall(b"visit.m%d %d 1\n" % (self.sent % 100, self.FIRST + self.sent))
                    self.sent += 1
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1000):
                        pass
            except OSError as refusal:
                self.refused.append(repr(refusal))


class HandoverTests(RelayCase):
    """SIGUSR2 with one process and with two workers, while connections stay, come and go, and datagrams come."""

    def check(self, workers: int) -> None:
        text = f"[processes]\nworkers = {workers}\n[limits]\nudp_receive_bytes = {workers * 8 << 20}\n"
        relay = self.started(self.relay(text=text, destination={"queue": {"resend_window_s": 0.0}}))
        self.addCleanup(self.end, relay)
        feeder, visitor = Feeder(relay.line, 3000), Visitor(relay.line)
        datagrams = DatagramFeed(relay.line, self.number("CADTWIST_SYSTEM_DATAGRAMS", 20_000))
        self.addCleanup(datagrams.kill)
        feeder.start()
        visitor.start()
        for _ in range(self.number("CADTWIST_SYSTEM_HANDOVERS", 3)):
            old = until("it serves", lambda: self.pid(relay), 60)
            os.kill(old, signal.SIGUSR2)
            until("another process serves", lambda old=old: self.pid(relay) not in (0, old), 60)
            until("the old process is gone", lambda old=old: _is_dead(old), 60)
        sent, rate = datagrams.end()
        lines, visits = feeder.end(), visitor.end()
        print(f"{self.id()}: {lines} lines, {visits} connections, {sent} datagrams at {rate:.0f} a second")
        self.assertEqual(visitor.refused, [])
        self.assertEqual(feeder.reconnects, 0, "the connection was kept")
        self.assertEqual(kernel_drops(relay.line), 0)
        until("all arrived", lambda: sum(sink.total for sink in self.sinks) >= lines + visits + sent, 60)
        found = numbers(self.sinks)
        for first, count in ((0, lines), (Visitor.FIRST, visits), (FIRST, sent)):
            self.assertEqual([n for n in range(first, first + count) if found[n] != 1][:20], [], first)
        self.assertEqual(relay.unbalanced(), {})

    def pid(self, relay: Relayd) -> int:
        """Return who serves now, 0 for nobody who is ready."""
        try:
            status = relay.json("/ops/status")
        except OSError:
            return 0
        return int(status["pid"]) if status["ready"] else 0

    def test_one_process(self) -> None:
        self.check(1)

    def test_two_workers(self) -> None:
        self.check(2)


class ReloadTests(RelayCase):
    """SIGHUP that changes the ring, under load."""

    def test_no_line_is_lost(self) -> None:
        relay = self.started(self.relay(destination={"queue": {"resend_window_s": 0.0}}))
        feeder = Feeder(relay.line, 3000)
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
        feeder = Feeder(relay.line, 1000)
        feeder.start()
        time.sleep(0.3)
        lines = feeder.end()
        until("all arrived", lambda: sum(sink.total for sink in self.sinks) == lines)


class WorkerTests(RelayCase):
    """Two processes behind one port."""

    def test_they_share_the_load_and_one_may_die(self) -> None:
        relay = self.started(self.relay(text="[processes]\nworkers = 2\n"))
        feeders = [Feeder(relay.line, 500) for _ in range(8)]
        for number, feeder in enumerate(feeders):
            feeder.sent = number * 1_000_000
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


def _is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
