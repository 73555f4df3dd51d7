from __future__ import annotations

from types import SimpleNamespace as Some
from typing import Any

import psutil
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.localcounters import LocalCounters, suffix_of


class FakeMachine:
    """Figures that a test sets."""

    def __init__(self) -> None:
        self.written = 1000
        self.sent = 10

    def cpu_times_percent(self, _interval: None) -> Any:
        return Some(user=10.5, system=2.0, idle=80.0, iowait=1.0, nice=0.5)

    def virtual_memory(self) -> Any:
        return Some(total=8_000_000_000, free=1, used=2, cached=3)

    def swap_memory(self) -> Any:
        return Some(total=4, used=5, free=6)

    def getloadavg(self) -> tuple[float, float, float]:
        return (0.1, 0.2, 0.3)

    def disk_io_counters(self, perdisk: bool) -> Any:
        return {"sda": Some(read_bytes=7, write_bytes=self.written)} if perdisk else None

    def net_io_counters(self, pernic: bool) -> Any:
        net = Some(bytes_sent=self.sent, bytes_recv=1, packets_recv=1, packets_sent=1, errin=0, errout=0)
        return {"eth0.5": net} if pernic else None

    def process_iter(self, _fields: list[str]) -> Any:
        return [Some(info={"status": status}) for status in ("running", "sleeping", "idle", "zombie", "odd")]


class LocalCountersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = FakeMachine()
        self.counters = LocalCounters("^host.web1^class.web^", self.machine)

    def read(self, now: float) -> dict[str, str]:
        rows = (line.split() for line in self.counters.lines(now).decode().splitlines())
        return {name.removeprefix("localstat.").partition("^")[0]: value for name, _time, value in rows}

    def test_figures(self) -> None:
        found = self.read(1000.9)
        expected = {"cpu.kernel": "2", "mem.total": "8e+09", "load.min15": "0.3", "swap.free": "6"}
        expected |= {"process.total": "5", "process.sleeping": "2", "process.zombie": "1", "cpu.swap": "0"}
        self.assertEqual({name: found[name] for name in expected}, expected)
        line = LocalCounters("x", self.machine).lines(5.5).splitlines()[0]
        self.assertEqual(line, b"localstat.load.min1.x 5 0.1")

    def test_amounts_are_those_since_the_last_reading(self) -> None:
        self.assertNotIn("disk.sda.write", self.read(1000))
        self.machine.written, self.machine.sent = 1500, 5
        found = self.read(1005)
        self.assertEqual((found["disk.sda.write"], found["disk.sda.read"]), ("500", "0"))
        self.assertNotIn("net.eth0_5.tx", found)
        self.assertEqual(found["net.eth0_5.rx"], "0")

    def test_time_never_goes_back(self) -> None:
        self.assertTrue(self.read(1000))
        for now in (1000.5, 995, 0):
            self.assertEqual(self.counters.lines(now), b"")
        self.assertTrue(self.read(1001))

    def test_suffixes(self) -> None:
        self.assertEqual([suffix_of(text) for text in ("a", ".a", "^a")], [".a", ".a", "^a"])

    def test_reads_this_machine(self) -> None:
        lines = LocalCounters("here", psutil).lines(5).decode().splitlines()
        self.assertTrue(all(len(line.split()) == 3 for line in lines))
        self.assertIn("localstat.mem.total.here", lines[0] + "".join(lines))
