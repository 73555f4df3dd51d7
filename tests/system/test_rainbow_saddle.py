"""rainbow-saddle, which lets one master take the place of another at SIGHUP, around `statsrelay`."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.system.cadtwistd import ROOT
from tests.system.case import SystemTestCase
from tests.system.environment import program
from tests.system.linesink import LineSink
from tests.system.loads import Visitor
from tests.system.process import Process, free_ports, until


def counter(way: bytes, number: int) -> bytes:
    """Return the line of a counter that tells how it was sent."""
    return b"%b.m%d:%d|c\n" % (way, number % 50, number)


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
        client = Visitor(port, partial(counter, b"tcp"), 0.005, partial(counter, b"udp"))
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
        wanted = Counter(counter(way, n).strip() for way in (b"tcp", b"udp") for n in range(sent))
        self.assertEqual(client.refused, [])
        self.assertEqual((wanted - lines, lines - wanted), (Counter(), Counter()))
        self.assertEqual(saddle.stop(60), 0)
