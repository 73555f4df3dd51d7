"""rainbow-saddle, which lets one master take the place of another at SIGHUP, around `statsrelay`."""

from __future__ import annotations

import json
import signal
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from tests.system.cadtwistd import ROOT
from tests.system.case import SystemTestCase
from tests.system.environment import program
from tests.system.linesink import LineSink
from tests.system.process import Process, free_ports, until


class Client(threading.Thread):
    """Sends a counter at a time, over TCP with a connection for each and as a datagram; notes who was refused."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.sent = 0
        self.refused: list[str] = []
        self._end = threading.Event()

    def end(self) -> int:
        """Stop; return how many were sent each way."""
        self._end.set()
        self.join(30)
        return self.sent

    def run(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            while not self._end.wait(0.005):
                try:
                    with socket.create_connection(("127.0.0.1", self.port), 30) as wire:
                        wire.sendall(b"tcp.m%d:%d|c\n" % (self.sent % 50, self.sent))
                        wire.shutdown(socket.SHUT_WR)
                        wire.recv(100)
                except OSError as refusal:
                    self.refused.append(repr(refusal))
                datagrams.sendto(b"udp.m%d:%d|c\n" % (self.sent % 50, self.sent), ("127.0.0.1", self.port))
                self.sent += 1


class RainbowSaddleTests(SystemTestCase):
    """`rainbow-saddle --gunicorn-pidfile PID --pid RS.pid statsrelay --config=FILE`."""

    def test_restarts_without_a_gap(self) -> None:
        self.needs("rainbow-saddle")
        sinks = [LineSink(), LineSink()]
        for sink in sinks:
            self.addCleanup(sink.close)
        (port,) = free_ports(1)
        conf, pid_file = self.folder / "statsrelay.json", self.folder / "statsrelay.pid"
        shards = [f"127.0.0.1:{sink.port}" for sink in sinks for _ in range(4)]
        conf.write_text(json.dumps({"statsd": {"bind": f"127.0.0.1:{port}", "shard_map": shards}}))
        relay = [Path(sys.executable).with_name("statsrelay"), f"--config={conf}"]
        saddle = self.started(
            Process(
                "rainbow-saddle",
                [
                    program("rainbow-saddle", "rainbow-saddle"), "--gunicorn-pidfile", pid_file,
                    "--pid", self.folder / "saddle.pid", *relay,
                ],
                self.folder,
                {"PYTHONPATH": str(ROOT)},
                (port,),
            )
        )  # fmt: skip
        client = Client(port)
        client.start()
        for _ in range(self.number("CADTWIST_SYSTEM_SADDLES", 2)):
            old = int(pid_file.read_text())
            saddle.signal(signal.SIGHUP)
            saddle.until("another one serves", lambda old=old: int(pid_file.read_text() or old) != old, 60)
            new = int(pid_file.read_text())
            saddle.until("the arbiter knows", lambda new=new: f"New arbiter PID is {new}" in saddle.tail(), 60)
            saddle.until("the pid file beside is gone", lambda: not Path(f"{pid_file}.2").exists(), 10)
            self.assertFalse(Path(f"{pid_file}.oldbin").exists())
            time.sleep(0.5)
        sent = client.end()
        until("all arrived", lambda: sum(sink.total for sink in sinks) >= 2 * sent, 30)
        lines = sum((sink.take() for sink in sinks), Counter[bytes]())
        wanted = Counter(b"%b.m%d:%d|c" % (way, n % 50, n) for way in (b"tcp", b"udp") for n in range(sent))
        self.assertEqual(client.refused, [])
        self.assertEqual((wanted - lines, lines - wanted), (Counter(), Counter()))
        self.assertEqual(saddle.stop(60), 0)
