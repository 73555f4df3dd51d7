"""A new process takes the place of the old one while everybody goes on sending."""

from __future__ import annotations

import os
import signal
import time
from functools import partial

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.loads import Asker, BothWays, Visitor
from tests.system.process import end_serving, family, hand_over, is_dead, until
from tests.system.slots import points

UDP_PER_S = 2000


class HandoverTests(SystemTestCase):
    """SIGUSR2 under load."""

    def test_nothing_is_refused_and_nothing_is_lost(self) -> None:
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", {"WHISPER_SPARSE_CREATE": "True"}))
        self.addCleanup(end_serving, daemon.serving)
        minute = self.now - self.now % 60

        def line(kind: str, number: int) -> bytes:
            return b"hand.%s.m%d %d %d\n" % (kind.encode(), number, number, minute)

        stays = BothWays(daemon.line, line, streamed=5, datagrams=10, pause_s=10 / UDP_PER_S)
        comes = Visitor(daemon.line, partial(line, "new"), 0.1)
        asker = Asker("asker", daemon.http, "/metrics/find?query=*")
        for load in (stays, comes, asker):
            load.start()
        for _ in range(self.number("CADTWIST_SYSTEM_HANDOVERS", 5)):
            time.sleep(0.3)
            hand_over(daemon.serving)
            self.assertEqual(daemon.unbalanced(), {})
        time.sleep(0.3)
        sent = {**stays.end(), "new": comes.end()}
        asker.end()
        self.assertEqual((stays.faults, comes.refused, asker.faults), ([], [], []))
        until("all is written", lambda: daemon.serving() and daemon.pending() == 0, 60)
        for kind, count in sent.items():
            self.assertGreater(count, 0)
            lost = [n for n in range(count) if points(daemon.whisper, f"hand.{kind}.m{n}") != {minute: n}]
            self.assertEqual(lost, [], f"{kind}: {len(lost)} of {count}")

    def test_a_new_process_that_cannot_start_changes_nothing(self) -> None:
        daemon = self.started(Cadtwistd(self.folder / "cadtwist"))
        self.addCleanup(end_serving, daemon.serving)
        pid = daemon.json("/ops/status")["pid"]
        daemon.write_conf(MAX_UPDATES_PER_SECOND="many")
        os.kill(pid, signal.SIGUSR2)
        daemon.until("it says so", lambda: "did not start" in daemon.tail())
        daemon.send(f"still.here 1 {self.now}\n")
        self.assertEqual(daemon.serving(), pid)

    def ended_while_the_next_one_loads(self, number: int) -> tuple[Cadtwistd, int, list[int]]:
        """Return a daemon that was ended by a signal, its process id, and the ids of all its processes then."""
        daemon = self.started(Cadtwistd(self.folder / "cadtwist"))
        self.addCleanup(end_serving, daemon.serving)
        pid = daemon.serving()
        os.kill(pid, signal.SIGUSR2)
        daemon.until("it begins", lambda: "is starting, to take our place" in daemon.tail())
        processes = family(pid)
        os.kill(pid, number)
        return daemon, pid, processes

    def test_a_crash_while_the_next_one_loads_leaves_it_to_serve(self) -> None:
        daemon, pid, _ = self.ended_while_the_next_one_loads(signal.SIGKILL)
        until("the next one serves", lambda: daemon.serving() not in (0, pid))

    def test_a_stop_while_the_next_one_loads_ends_both(self) -> None:
        daemon, _, processes = self.ended_while_the_next_one_loads(signal.SIGTERM)
        until("all have gone", lambda: all(map(is_dead, processes)))
        self.assertEqual(daemon.serving(), 0)
        self.assertNotIn("Traceback", daemon.log.read_text("utf-8", "replace"))
