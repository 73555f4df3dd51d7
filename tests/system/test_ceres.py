"""`DATABASE = ceres`: what our daemon writes, and what carbon, graphite-web and ceres' own reader make of it.

ceres is on no package index: a folder that holds its `ceres.py` is named in CADTWIST_CERES.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from tests.system.cadtwistd import Cadtwistd
from tests.system.case import SystemTestCase
from tests.system.environment import program
from tests.system.neighbours import CarbonCache, GraphiteWeb

RETENTIONS = "10s:1h,60s:1d"
_READ = """
import json, sys
import ceres
tree = ceres.CeresTree(sys.argv[1])
series = tree.fetch(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
print(json.dumps([series.startTime, series.timeStep, series.values]))
"""
_WRITE = """
import sys
import ceres
tree = ceres.CeresTree(sys.argv[1])
tree.store(sys.argv[2], [(int(sys.argv[3]), float(sys.argv[4]))])
"""


class CeresTests(SystemTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start = self.now - self.now % 60 - 600
        self.daemon = Cadtwistd(self.folder / "cadtwist", {"DATABASE": "ceres", "WRITER_THREADS": 2}, RETENTIONS)

    def lines(self, name: str, steps: range) -> str:
        return "".join(f"{name} {n} {self.start + 10 * n}\n" for n in steps)

    def slices(self, name: str) -> dict[str, int]:
        folder = self.daemon.whisper / name.replace(".", "/")
        return {path.name: path.stat().st_size for path in folder.glob("*.slice")}

    def written(self, points: int) -> None:
        self.daemon.until(f"{points} points are in slices", lambda: self.daemon.written() >= points)

    def test_written_found_and_rendered(self) -> None:
        """Nodes appear; they are found, rendered with what is pending, also after a restart that reads the folders."""
        daemon = self.started(self.daemon)
        daemon.send("".join(self.lines(f"servers.web{n}.load", range(30)) for n in range(20)))
        self.written(600)
        self.assertEqual(self.slices("servers.web7.load"), {f"{self.start}@10.slice": 240})
        self.assertTrue((daemon.whisper / ".ceres-tree").is_dir())
        expected = {self.start + 10 * n: float(n) for n in range(30)}
        self.assertEqual(daemon.datapoints("servers.web7.load", self.start, self.now), expected)
        self.assertEqual(daemon.stop(), 0)
        daemon.write_conf(MAX_UPDATES_PER_SECOND=0.001)
        daemon.start()
        daemon.until("all names are found", lambda: daemon.indexed() >= 20)
        found = daemon.json("/metrics/find", query="servers.*.load", format="completer")["metrics"]
        self.assertEqual(len(found), 20)
        daemon.send(self.lines("servers.web7.load", range(30, 33)) + self.lines("servers.new", range(3)))
        daemon.until("it is received", lambda: daemon.received() >= 6)
        expected.update({self.start + 10 * n: float(n) for n in range(30, 33)})
        self.assertEqual(daemon.datapoints("servers.web7.load", self.start, self.now), expected)
        self.assertEqual(len(daemon.datapoints("servers.new", self.start, self.now)), 3)
        self.assertEqual(daemon.unbalanced(), {})

    def test_a_change_of_the_database_loses_no_history(self) -> None:
        """Points of whisper files are rendered together with those that now go to nodes of the same names."""
        self.daemon.write_conf(DATABASE="whisper")
        daemon = self.started(self.daemon)
        daemon.send(self.lines("a.b", range(10)))
        self.written(10)
        self.assertEqual(daemon.stop(), 0)
        daemon.write_conf(DATABASE="ceres")
        daemon.start()
        daemon.send(self.lines("a.b", range(10, 20)))
        self.written(10)
        self.assertEqual(self.slices("a.b"), {f"{self.start + 100}@10.slice": 80})
        found = daemon.datapoints("a.b", self.start - 10, self.now)
        self.assertEqual(found, {self.start + 10 * n: float(n) for n in range(20)})

    def test_killed_while_writing(self) -> None:
        """After kill -9 every slice is whole, and the log brings what was not written."""
        daemon = self.started(self.daemon)
        for first in range(0, 40, 8):
            daemon.send("".join(self.lines(f"m.n{n}", range(first, first + 8)) for n in range(200)))
        daemon.until("all is in the log", lambda: daemon.logged() >= 8000)
        daemon.kill()
        self.assertEqual({size % 8 for n in range(200) for size in self.slices(f"m.n{n}").values()} - {0}, set())
        daemon.start()
        daemon.until("nothing is pending", lambda: daemon.pending() == 0)
        for n in (0, 99, 199):
            found = daemon.datapoints(f"m.n{n}", self.start, self.now)
            self.assertEqual(found, {self.start + 10 * step: float(step) for step in range(40)})


class RealCeresTests(SystemTestCase):
    """With ceres itself beside us."""

    library = os.environ.get("CADTWIST_CERES", "")
    if not library and os.environ.get("CADTWIST_SYSTEM") == "1":
        skip = "ceres is on no package index: name a folder with its ceres.py in CADTWIST_CERES"

    def setUp(self) -> None:
        super().setUp()
        self.needs("carbon")
        self.start = self.now - self.now % 60 - 1200
        self.environ = {**os.environ, "PYTHONPATH": self.library}

    def ask(self, script: str, *words: object) -> str:
        command = [program("carbon", "python"), "-W", "ignore", "-c", script, *map(str, words)]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=True)
        return done.stdout

    def sent(self) -> list[str]:
        """Return points in order, out of order, with gaps small and large, and twice."""
        steps = [1, 2, 3, 9, 6, 100, 101, 50, 16]
        return [f"a.b {n} {self.start + 10 * n}\n" for n in steps]

    def test_each_reads_and_goes_on_with_what_the_other_wrote(self) -> None:
        daemon = self.started(Cadtwistd(self.folder / "ours", {"DATABASE": "ceres"}, RETENTIONS))
        daemon.send("".join(self.sent()))
        daemon.until("all is written", lambda: daemon.pending() == 0)
        end = self.start + 1200
        first, step, values = json.loads(self.ask(_READ, daemon.whisper, "a.b", self.start, end))
        known = {first + step * n: value for n, value in enumerate(values) if value is not None}
        self.assertEqual(daemon.datapoints("a.b", self.start, end), known)
        self.assertEqual(known[self.start + 1010], 101.0)
        self.ask(_WRITE, daemon.whisper, "a.b", self.start + 1020, 4711)
        self.ask(_WRITE, daemon.whisper, "a.b", self.start + 50, 4712)
        known.update({self.start + 1020: 4711.0, self.start + 50: 4712.0})
        daemon.send(f"a.b 4713 {self.start + 1030}\n")
        daemon.until("it is written", lambda: daemon.pending() == 0)
        known[self.start + 1030] = 4713.0
        self.assertEqual(daemon.datapoints("a.b", self.start, end), known)

    def test_the_same_files_as_carbon(self) -> None:
        """Carbon with its own ceres makes the same nodes and slices of the same points, sent one after the other."""
        theirs = CarbonCache(self.folder / "theirs", {"DATABASE": "ceres"}, RETENTIONS)
        theirs.environ["PYTHONPATH"] = self.library
        self.started(theirs)
        ours = self.started(Cadtwistd(self.folder / "ours", {"DATABASE": "ceres"}, RETENTIONS))
        for line in self.sent():
            with socket.create_connection(("127.0.0.1", theirs.line), 10) as connection:
                connection.sendall(line.encode())
            ours.send(line)
            value = struct.pack("!d", float(line.split()[1]))
            ours.until(f"both have {line}", lambda value=value: all(map(partial(self.has, value), (theirs, ours))))
            self.assertEqual(self.tree(theirs.whisper), self.tree(ours.whisper))

    def test_graphite_web_renders_the_same(self) -> None:
        """Its finder for ceres reads our nodes; a roll-up has left coarser slices before them."""
        self.needs("graphite-web")
        daemon = self.started(Cadtwistd(self.folder / "ours", {"DATABASE": "ceres"}, RETENTIONS))
        daemon.send("".join(self.sent()))
        daemon.until("all is written", lambda: daemon.pending() == 0)
        coarse = daemon.whisper / "a" / "b" / f"{self.start - 600}@60.slice"
        coarse.write_bytes(struct.pack("!10d", *range(10)))
        web = self.started(GraphiteWeb(self.folder / "web", ceres=daemon.whisper, path=self.library))
        for first, last in ((0, 1200), (-1200, 600), (-600, 1000), (95, 135), (-3000, -300)):
            query = {"target": "a.b", "from": self.start + first, "until": self.start + last, "format": "json"}
            (ours,) = daemon.json("/render", **query)
            (theirs,) = json.loads(web.ask(f"/render?{urlencode({**query, 'noCache': 1})}"))
            self.assertEqual(ours["datapoints"], theirs["datapoints"], (first, last))

    def has(self, value: bytes, daemon: Cadtwistd | CarbonCache) -> bool:
        slices = [data for name, data in self.tree(daemon.whisper).items() if name.endswith(".slice")]
        return any(value == data[at : at + 8] for data in slices for at in range(0, len(data), 8))

    def tree(self, root: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.name == ".ceres-node" or path.suffix == ".slice"
        }
