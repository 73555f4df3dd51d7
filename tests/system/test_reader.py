"""`twistd graphite`: a read-only API over files that another process writes."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from tests.system.cadtwistd import ROOT, RUN_TWISTD, Cadtwistd, get
from tests.system.case import SystemTestCase
from tests.system.counterd import Counterd
from tests.system.process import Process, free_ports, until
from tests.system.slots import points

MINUTES = 10


class Reader(Process):
    """`twistd graphite` with some configuration, on a port of its own."""

    def __init__(self, folder: Path, config: Path, *arguments: str) -> None:
        (self.http,) = free_ports(1)
        folder.mkdir(parents=True)
        command = [*RUN_TWISTD, "-n", "--pidfile=", "graphite", f"--config={config}", *arguments]
        command += ["--interface=127.0.0.1", f"--port={self.http}"]
        super().__init__("reader", command, folder, {}, (self.http,), cwd=ROOT)

    def ask(self, path: str, **fields: object) -> object:
        """Return the JSON of an answer."""
        text = urlencode(fields, doseq=True)
        return json.loads(get(f"http://127.0.0.1:{self.http}{path}?{text}"))


class ReaderTests(SystemTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.end = self.now - self.now % 60

    def lines(self, *names: str) -> str:
        return "".join(f"{name} {n}.5 {self.end - 60 * n}\n" for name in names for n in range(MINUTES))

    def written(self, writer: Cadtwistd, count: int) -> None:
        until("all is written", lambda: writer.written() == MINUTES * count)

    def test_the_writers_own_configuration(self) -> None:
        """Both run over one tree, from one carbon.conf; the reader says what the writer says, and writes nothing."""
        writer = self.started(Cadtwistd(self.folder / "writer", {"FILES_RESCAN_INTERVAL": 1}))
        writer.send(self.lines("a.x", "a.y", "cpu;host=a", "cpu;host=b"))
        self.written(writer, 4)
        until("tags are kept", (writer.whisper / ".catalog.sqlite").exists)
        reader = self.started(Reader(self.folder / "reader", writer.conf, f"--logdir={self.folder / 'reader'}"))
        window = {"from": self.end - 60 * MINUTES - 60, "until": self.end, "format": "json"}
        until("files are listed", lambda: len(reader.ask("/metrics/index.json")) == 4)
        until("tags are read", lambda: reader.ask("/tags/autoComplete/values", tag="host") == ["a", "b"])
        for path, fields in (
            ("/metrics/find", {"query": "*"}),
            ("/metrics/expand", {"query": "a.*"}),
            ("/render", {"target": ["sumSeries(a.*)", "a.x"], **window}),
            ("/render", {"target": "seriesByTag('name=cpu')", **window}),
            ("/tags/findSeries", {"expr": "host=a"}),
        ):
            said = reader.ask(path, **fields)
            self.assertTrue(said)
            self.assertEqual(said, writer.json(path, **fields), path)
        writer.send(self.lines("a.late"))
        self.written(writer, 5)
        until("a new file is noticed", lambda: "a.late" in reader.ask("/metrics/index.json"))
        (writer.whisper / "a" / "x.wsp").unlink()
        until("so is one that went", lambda: "a.x" not in reader.ask("/metrics/index.json"))
        for path, fields in (("/tags/tagSeries", {"path": "x;y=z"}), ("/tags/delSeries", {"path": "cpu;host=a"})):
            with self.assertRaises(OSError) as caught:
                get(f"http://127.0.0.1:{reader.http}{path}", urlencode(fields).encode())
            self.assertIn("only reads", str(caught.exception))
        self.assertEqual(json.loads(get(f"http://127.0.0.1:{reader.http}/ops/status"))["program"], "graphite")
        self.assertEqual(reader.stop() in (0, -15), True)
        self.assertEqual(len(points(writer.whisper, "a.y")), MINUTES)

    def test_a_tree_that_may_not_be_written(self) -> None:
        """Native TOML, with a folder that nobody writes any more; nothing in it changes."""
        writer = self.started(Cadtwistd(self.folder / "writer"))
        writer.send(self.lines("a.x", "cpu;host=a"))
        self.written(writer, 2)
        self.assertEqual(writer.stop(), 0)
        config = self.folder / "reader.toml"
        config.write_text(f'[storage]\nread_only = true\nroot = "{writer.whisper}"\n[web]\nworkers = 0\n')
        before = self._state(writer.whisper)
        reader = self.started(Reader(self.folder / "reader", config))
        until("files are listed", lambda: len(reader.ask("/metrics/index.json")) == 2)
        (series,) = reader.ask("/render", target="a.x", format="json", **{"from": self.end - 60 * MINUTES - 60})  # type: ignore[misc]
        self.assertEqual([value for value, _ in series["datapoints"] if value is not None][-1], 0.5)
        until("tags are read", lambda: reader.ask("/tags/autoComplete/tags") == ["host", "name"])
        with self.assertRaises(urllib.error.HTTPError):
            event = json.dumps({"what": "x"}).encode()
            urllib.request.urlopen(f"http://127.0.0.1:{reader.http}/events/", event, timeout=10)
        self.assertEqual(self._state(writer.whisper), before)

    def test_counters_of_istatd(self) -> None:
        """By istatd.cfg alone, and beside the whisper files of another: what the daemon says, and events of its own."""
        daemon = self.started(Counterd("counters", self.folder / "counters", {"flush": 1}))
        begun = self.now - self.now % 10 - 60
        daemon.send(f"hits {begun + 10 * n} {n + 1}" for n in range(4))
        event = json.dumps({"what": "deployed", "tags": "x", "when": begun}).encode()
        urllib.request.urlopen(f"{daemon.url}/events/", event, timeout=10).close()
        window = {"from": begun - 10, "until": begun + 40, "format": "json"}
        until("all is kept", lambda: len(daemon.get(f"/hits?start={begun}&end={begun + 40}")["buckets"]) == 4)
        said = daemon.get(f"/render?{urlencode({'target': 'hits.{sum,count}', **window}, doseq=True)}")
        self.assertEqual(daemon.stop() in (0, -15), True)
        before = self._state(daemon.store)
        writer = self.started(Cadtwistd(self.folder / "writer"))
        writer.send(self.lines("a.x"))
        self.written(writer, 1)
        joined = self.folder / "joined.toml"
        folders = f'root = "{writer.whisper}"\nread_also = ["{daemon.store}"]\n'
        joined.write_text(f"[storage]\nread_only = true\n{folders}[web]\nworkers = 1\n")
        for name, config, count in (("alone", daemon.conf, 6), ("joined", joined, 7)):
            reader = self.started(Reader(self.folder / name, config))
            names = partial(reader.ask, "/metrics/index.json")
            until("files are listed", lambda names=names, count=count: len(names()) >= count)  # type: ignore[misc]
            told = reader.ask("/render", target=["hits.{sum,count}"], **window)
            self.assertEqual(told, said, name)
            until("events are read", partial(reader.ask, "/events/get_data"))
            reader.stop()
        self.assertEqual(self._state(daemon.store), before)

    @staticmethod
    def _state(root: Path) -> dict[str, tuple[int, int]]:
        found = {}
        for where, _, names in os.walk(root):
            for name in names:
                told = os.stat(os.path.join(where, name))
                found[os.path.join(where, name)] = (told.st_mtime_ns, told.st_size)
        return found
