"""A new process takes the place of the old one while everybody goes on sending."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.process import until
from tests.system.slots import points

UDP_PER_S = 2000


class Sender(threading.Thread):
    """Sends numbered lines over TCP connections that stay, over new ones, and over UDP, until told to stop."""

    def __init__(self, port: int, minute: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.minute = minute
        self.sent: dict[str, int] = {"stays": 0, "new": 0, "udp": 0}
        self.failures: list[str] = []
        self._stop_wanted = threading.Event()

    def end(self) -> None:
        """Stop sending and wait for it."""
        self._stop_wanted.set()
        self.join(60)

    def run(self) -> None:
        try:
            stays = socket.create_connection(("127.0.0.1", self.port), 10)
            datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with stays, datagrams:
                datagrams.connect(("127.0.0.1", self.port))
                while not self._stop_wanted.is_set():
                    self._round(stays, datagrams)
                    time.sleep(10 / UDP_PER_S)
        except OSError as error:
            self.failures.append(repr(error))

    def _round(self, stays: socket.socket, datagrams: socket.socket) -> None:
        for _ in range(5):
            line = self._line("stays")
            stays.sendall(line[:9])
            stays.sendall(line[9:])
        for _ in range(10):
            datagrams.send(self._line("udp"))
        if self.sent["stays"] % 100 == 0:
            with socket.create_connection(("127.0.0.1", self.port), 10) as new:
                new.sendall(self._line("new"))

    def _line(self, kind: str) -> bytes:
        number = self.sent[kind]
        self.sent[kind] += 1
        return b"hand.%s.m%d %d %d\n" % (kind.encode(), number, number, self.minute)


class HandoverTests(SystemTestCase):
    """SIGUSR2 under load."""

    def test_nothing_is_refused_and_nothing_is_lost(self) -> None:
        daemon = self.started(Cadtwistd(self.folder / "cadtwist", {"WHISPER_SPARSE_CREATE": "True"}))
        self.addCleanup(self._end, daemon)
        minute = self.now - self.now % 60
        sender = Sender(daemon.line, minute)
        sender.start()
        for _ in range(self.number("CADTWIST_SYSTEM_HANDOVERS", 5)):
            time.sleep(0.3)
            old = daemon.json("/ops/status")["pid"]
            os.kill(old, signal.SIGUSR2)
            until("another process serves", lambda old=old: self._serves(daemon) not in (0, old), 60)
            until("the old one is gone", lambda old=old: not os.path.exists(f"/proc/{old}") or _is_dead(old), 60)
            self.assertEqual(daemon.unbalanced(), {})
        time.sleep(0.3)
        sender.end()
        self.assertEqual(sender.failures, [])
        until("all is written", lambda: self._serves(daemon) and daemon.pending() == 0, 60)
        for kind, count in sender.sent.items():
            self.assertGreater(count, 0)
            lost = [n for n in range(count) if points(daemon.whisper, f"hand.{kind}.m{n}") != {minute: n}]
            self.assertEqual(lost, [], f"{kind}: {len(lost)} of {count}")

    def test_a_new_process_that_cannot_start_changes_nothing(self) -> None:
        daemon = self.started(Cadtwistd(self.folder / "cadtwist"))
        self.addCleanup(self._end, daemon)
        pid = daemon.json("/ops/status")["pid"]
        daemon.write_conf(MAX_UPDATES_PER_SECOND="many")
        os.kill(pid, signal.SIGUSR2)
        daemon.until("it says so", lambda: "did not start" in daemon.tail())
        daemon.send(f"still.here 1 {self.now}\n")
        self.assertEqual(self._serves(daemon), pid)

    def _serves(self, daemon: Cadtwistd) -> int:
        try:
            return int(daemon.json("/ops/status")["pid"]) if daemon.ready() else 0
        except OSError:
            return 0

    def _end(self, daemon: Cadtwistd) -> None:
        """End whoever serves now: it is no child of the test."""
        pid = self._serves(daemon)
        if pid:
            os.kill(pid, signal.SIGTERM)
            until("it ends", lambda: _is_dead(pid), 60)


def _is_dead(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
