"""The disk below a relay's spool is full while a destination is away: the books say what was lost, and no more is."""

from __future__ import annotations

import socket
import time

from tests.system.process import until
from tests.system.relayd import Relayd
from tests.system.smalldisk import fill, mount_small
from tests.system.test_relay import QUICK, RelayCase
from tests.system.test_relay import numbers as numbers_of

DISK_BYTES = 4 << 20
MEMORY_BYTES = 2 << 20
LINES = 300_000
"""Some 40 bytes each: several times what memory and disk hold."""


class SpoolDiskTests(RelayCase):
    """A tmpfs of 4 MiB, of which somebody else takes all for a while."""

    def check(self, policy: str, dropped: str) -> None:
        spool = self.folder / "relay" / "spool"
        mount_small(self, spool, DISK_BYTES)
        queue = {"max_bytes": MEMORY_BYTES, "spool_bytes": 64 << 20, "policy": policy}
        relay = self.started(self.relay(destination={"reconnect": QUICK, "queue": queue}))
        away = self.sinks[1]
        away.close()
        ballast = spool / "ballast"
        self._feed(relay.line, 0, LINES // 3, policy)
        fill(ballast)
        self._feed(relay.line, LINES // 3, LINES, policy)
        relay.settle()
        account = relay.destinations()["d1"]
        self.assertEqual(relay.unbalanced(), {})
        self.assertLess(relay.memory_bytes(), 200 << 20)
        ballast.unlink()
        away.open()
        until("what was held arrives", lambda: relay.destinations()["d1"]["held"] == 0, 60)
        account = relay.destinations()["d1"]
        found = numbers_of([away])
        lost = account["dropped"]
        print(f"{self.id()}: {account['received']} lines, {len(found)} arrived, dropped: {lost}")
        self.assertEqual(relay.unbalanced(), {})
        self.assertEqual(set(lost), {dropped} if dropped else set())
        self.assertEqual(len(found) + sum(lost.values()), account["received"])
        others = numbers_of([self.sinks[0], self.sinks[2]])
        self.assertEqual(len(others) + account["received"], self.entered(relay))
        self._feed(relay.line, LINES, LINES + 1000, policy)
        until("later lines arrive", lambda: sum(sink.total for sink in self.sinks) >= sum(found.values()) + 1000, 30)

    def entered(self, relay: Relayd) -> int:
        """Return how many lines were read at the TCP door."""
        return int(next(each for name, each in relay.ledger().items() if name.startswith("line tcp"))["received"])

    def _feed(self, port: int, first: int, last: int, policy: str) -> None:
        """Send lines; where the relay blocks, what it does not take within some seconds stays unsent."""
        with socket.create_connection(("127.0.0.1", port), 10) as wire:
            wire.settimeout(2.0 if policy == "block" else 60.0)
            try:
                for start in range(first, last, 1000):
                    numbers = range(start, min(start + 1000, last))
                    wire.sendall(b"".join(b"disk.m%d %d %d\n" % (n % 500, n, self.now) for n in numbers))
                    time.sleep(0.005)
                wire.shutdown(socket.SHUT_WR)
                wire.recv(1)
            except TimeoutError:
                return

    def test_the_newest_are_dropped(self) -> None:
        self.check("drop_new", "queue_full")

    def test_the_oldest_are_dropped(self) -> None:
        self.check("drop_oldest", "queue_full_oldest")

    def test_clients_wait(self) -> None:
        self.check("block", "")
