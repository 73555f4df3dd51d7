"""Many idle connections beside a busy one."""

from __future__ import annotations

import socket

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.feed import Feed
from tests.system.process import raise_file_limit


class IdleConnectionTests(SystemTestCase):
    """CADTWIST_SYSTEM_IDLE tells how many are idle (default 1,000)."""

    def test_the_busy_one_loses_nothing_and_the_idle_ones_live(self) -> None:
        """All of the busy one's points arrive; afterwards each idle connection still delivers."""
        count = self.number("CADTWIST_SYSTEM_IDLE", 1000)
        if raise_file_limit(2 * count + 200) < count + 200:
            self.skipTest(f"{count} connections need more open files than are allowed here")
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", retentions="1s:2h"))
        idle = [self._connect(daemon.line) for _ in range(count)]
        feed = Feed(daemon.line, "busy", self.now - 3600, 50, rate=100_000)
        feed.start()
        daemon.until("the busy one is heard", lambda: feed.sent >= 100_000, 60)
        sent = feed.end()
        self.assertEqual(feed.faults, [], daemon.tail())
        minute = self.now - 60
        for number, connection in enumerate(idle):
            connection.sendall(f"idle.m{number} {number} {minute}\n".encode())
        taken = sent + count
        daemon.until("every point is taken", lambda: daemon.received() >= taken, 60)
        for connection in idle:
            connection.close()
        self.assertEqual(daemon.unbalanced(), {})
        self.assertEqual(daemon.stop(120), 0, daemon.tail())
        self.assertEqual(feed.missing(daemon.whisper, 0, sent)[:5], [])
        self.assertEqual(len(list((daemon.whisper / "idle").glob("*.wsp"))), count)

    def test_more_than_the_maximum(self) -> None:
        """Beyond the maximum everybody is served or counted as refused, and later ones are served."""
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", {"MAX_RECEIVER_CONNECTIONS": 5}))
        connections = [self._connect(daemon.line) for _ in range(12)]
        for number, connection in enumerate(connections):
            connection.sendall(f"crowd.m{number} 1 {self.now}\n".encode())
        daemon.until("the first five", lambda: daemon.received() >= 5)
        for connection in connections:
            connection.close()
        door = f"line tcp:127.0.0.1:{daemon.line}"

        def settled() -> bool:
            refused = daemon.ledger()[door]["counters"].get("connections_refused", 0)
            return bool(daemon.received() + refused == 12)

        daemon.until("all twelve are accounted for", settled)
        before = daemon.received()
        daemon.send(f"later.one 1 {self.now}\n")
        self.assertEqual(daemon.received(), before + 1)

    def _connect(self, port: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), 10)
        self.addCleanup(connection.close)
        return connection
