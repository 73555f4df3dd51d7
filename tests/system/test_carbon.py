"""carbon's own daemons: its relay as our sender, its cache as the reference for the same input."""

from __future__ import annotations

import random
import socket

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.neighbours import CarbonCache, CarbonRelay
from tests.system.process import until
from tests.system.slots import archives, points

RETENTIONS = "1s:10m,10s:2h"


def send(port: int, text: str) -> None:
    """Send lines and wait until the peer has read them."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(30)
        while connection.recv(4096):
            pass


class RelayTests(SystemTestCase):
    """carbon-relay in front of us."""

    def setUp(self) -> None:
        super().setUp()
        self.needs("carbon")
        self.daemon = self.started(Cadtwistd(self.folder / "cadtwist"))

    def _through(self, protocol: str, port: int) -> None:
        relay = self.started(
            CarbonRelay(self.folder / "relay", [f"127.0.0.1:{port}:a"], {"DESTINATION_PROTOCOL": protocol})
        )
        ts = self.now - self.now % 60
        send(relay.line, "".join(f"relayed.m{n} {n}.5 {ts}\n" for n in range(2000)))
        root = self.daemon.whisper
        wanted = {ts: 1999.5}
        until("the last relayed point in its file", lambda: points(root, "relayed.m1999") == wanted)
        self.assertEqual(self.daemon.stop(), 0)
        self.assertEqual([points(root, f"relayed.m{n}") for n in range(2000)], [{ts: n + 0.5} for n in range(2000)])

    def test_pickles_of_carbon_relay(self) -> None:
        """What the relay packs, we unpack whole."""
        self._through("pickle", self.daemon.pickle)

    def test_lines_of_carbon_relay(self) -> None:
        """Lines ended by CR LF and numbers with ten decimals."""
        self._through("line", self.daemon.line)


class SameFilesTests(SystemTestCase):
    """The same lines into carbon-cache and into us."""

    def setUp(self) -> None:
        super().setUp()
        self.needs("carbon")

    def _lines(self, seed: int) -> str:
        chance = random.Random(seed)
        lines = []
        for n in range(200):
            for _ in range(chance.randrange(1, 60)):
                age = chance.randrange(5, 300) if chance.random() < 0.8 else chance.randrange(1500, 5000)
                stamp = chance.choice((str(self.now - age), f"{self.now - age}.0"))
                number = chance.choice((f"{chance.uniform(-1e6, 1e6)!r}", str(chance.randrange(1000)), "1e3", "-0.0"))
                lines.append(f"same.group{n % 7}.m{n} {number} {stamp}\n")
        lines += [f"same.tagged;host=h{n};dc=d1 {n} {self.now - 60}\n" for n in range(20)]
        lines += ["not a line\n", "same.nan nan 1\n"]
        lines += [f"same..empty 1 {self.now - 60}\n", f".same.dot 1 {self.now - 60}\n"]
        return "".join(lines)

    def test_the_same_slots_in_the_same_files(self) -> None:
        """Every file of carbon's exists here, with the same archives and the same slots, and none besides."""
        ours = self.started(Cadtwistd(self.folder / "ours", retentions=RETENTIONS))
        theirs = self.started(CarbonCache(self.folder / "theirs", retentions=RETENTIONS))
        seed = self.now
        text = self._lines(seed)
        for daemon in (ours, theirs):
            send(daemon.line, text)
            send(daemon.line, f"same.last 1 {self.now}\n")
        for daemon in (ours, theirs):
            until("the last file", lambda daemon=daemon: points(daemon.whisper, "same.last"), 60)
            daemon.settle()
        ours.stop()
        theirs.stop()
        made, wanted = (
            sorted(file.relative_to(daemon.whisper) for file in daemon.whisper.rglob("*.wsp"))
            for daemon in (ours, theirs)
        )
        self.assertEqual(made, wanted, f"seed {seed}")
        for path in made:
            self.assertEqual(archives(ours.whisper / path), archives(theirs.whisper / path), f"{path}, seed {seed}")
