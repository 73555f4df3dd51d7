"""A destination whose machine is gone without a word: its connection stays, and nobody answers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

from tests.system.loads import LineFeeder
from tests.system.process import Process, until
from tests.system.test_relay import QUICK, RelayCase

SINK = """
import socket, sys, threading
def read(wire):
    while wire.recv(65536):
        pass
listening = socket.create_server((sys.argv[1], 2003))
print("listens", flush=True)
while True:
    wire, _ = listening.accept()
    print("connected", flush=True)
    threading.Thread(target=read, args=(wire,), daemon=True).start()
"""


class SilentPeerTests(RelayCase):
    """The first member of a failover group lives in a network of its own, whose cable is pulled."""

    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0 or shutil.which("ip") is None:
            self.skipTest("a network of its own needs root and ip")
        self.space = f"silent-{os.getpid()}"
        self.cable = f"sil{os.getpid() % 100_000}"
        for command in (
            f"netns add {self.space}",
            f"link add {self.cable}a type veth peer name {self.cable}b netns {self.space}",
            f"addr add 198.18.77.1/30 dev {self.cable}a",
            f"link set {self.cable}a up",
            f"-n {self.space} addr add 198.18.77.2/30 dev {self.cable}b",
            f"-n {self.space} link set {self.cable}b up",
        ):
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
            if done.returncode:
                self.skipTest(f"no network can be made here: ip {command}: {done.stderr.strip()}")
            if command.startswith("netns"):
                self.addCleanup(subprocess.run, ["ip", "netns", "del", self.space], check=False)
            if command.startswith("link add"):
                self.addCleanup(subprocess.run, ["ip", "link", "del", f"{self.cable}a"], check=False)

    def test_another_member_takes_over(self) -> None:
        """One that only does not read keeps its connection."""
        space = ["ip", "netns", "exec", self.space]
        sink = self.started(Process("sink", [*space, sys.executable, "-c", SINK, "198.18.77.2"], self.folder / "sink"))
        sink.until("it listens", lambda: "listens" in sink.tail())
        relay = self.relay(
            group={"method": "failover", "hash": "", "members": ["d0", "d1"]},
            destination={"reconnect": {**QUICK, "unanswered_s": 3.0}},
        )
        text = relay.conf.read_text().replace('hash = ""\n', "")
        relay.conf.write_text(text.replace(
            f'host = "127.0.0.1"\nport = {relay.targets[0]}', 'host = "198.18.77.2"\nport = 2003'
        ))  # fmt: skip
        self.started(relay)
        sink.until("the first member is connected", lambda: "connected" in sink.tail())
        feeder = LineFeeder(relay.line, 1000)
        feeder.start()
        relay.until("lines flow", lambda: relay.destinations()["d0"]["out"] > 1000)
        os.killpg(sink.pid, signal.SIGSTOP)
        received = relay.destinations()["d0"]["received"]
        relay.until("six seconds go by", lambda: relay.destinations()["d0"]["received"] > received + 6000)
        self.assertNotIn("silent_peers", relay.destinations()["d0"]["counters"])
        os.killpg(sink.pid, signal.SIGCONT)
        subprocess.run(["ip", "-n", self.space, "link", "set", f"{self.cable}b", "down"], check=True)
        relay.until("the other one takes over", lambda: self.sinks[1].total > 1000, 30)
        self.assertEqual(relay.destinations()["d0"]["counters"]["silent_peers"], 1)
        sent = feeder.end()
        subprocess.run(["ip", "-n", self.space, "link", "set", f"{self.cable}b", "up"], check=True)
        relay.until("what waits for the first one is sent", lambda: relay.destinations()["d0"]["held"] == 0, 60)
        self.assertEqual(sum(each["received"] for each in relay.destinations().values()), sent)
        self.assertEqual(relay.unbalanced(), {})
        until("the second one has all of its lines", lambda: self.sinks[1].total == relay.destinations()["d1"]["out"])
