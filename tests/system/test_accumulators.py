"""`twistd cadent` with accumulators: what it sends on and writes; nothing is lost at a reload or a stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cadtwist.storage.schemas import SchemaTable
from cadtwist.storage.whisper import WhisperStore
from tests.system.cadentconf import cadent_conf
from tests.system.cadtwistd import RUN_TWISTD, get
from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.loads import Repeater
from tests.system.process import Process, free_ports, until

PREREG = """
[sums]
listen_server = "stats"
default_backend = "stats"
{filters}
[sums.accumulator]
backend = "out"
input_format = "statsd"
output_format = "graphite"
accumulate_flush = "{flush}"
random_ticker_start = true
times = ["1s:1h", "4s:4h"]
[sums.accumulator.writer.metrics]
driver = "whisper"
dsn = "{folder}/whisper"
xFilesFactor = "0.2"
[sums.accumulator.writer.metrics.options]
write_workers = 2
[sums.accumulator.writer.indexer]
driver = "whisper"
dsn = "{folder}/whisper"
[sums.accumulator.api]
listen = "127.0.0.1:{api}"
base_path = "/graphite/"
log_file = "{folder}/access.log"
[bins]
listen_server = "metrics"
default_backend = "metrics"
[bins.accumulator]
backend = "BLACKHOLE"
input_format = "graphite"
output_format = "graphite"
times = ["1s", "2s:1h"]
[bins.accumulator.writer]
driver = "file"
dsn = "{folder}/lines"
[bins.accumulator.writer.options]
max_file_size = "1000000"
"""

MANY = 200_000
REJECT = '[[sums.map]]\nprefix = "no."\nreject = true'


class AccumulatorTests(SystemTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.sink = LineSink()
        self.addCleanup(self.sink.close)
        self.stats, self.metrics, self.ops, self.api = free_ports(4)
        doors = {
            "stats": (f"tcp://127.0.0.1:{self.stats}", "statsd"),
            "metrics": (f"tcp://127.0.0.1:{self.metrics}", "graphite"),
        }
        self.conf = self.folder / "cadent.toml"
        self.conf.write_text(cadent_conf(self.folder, self.ops, self.sink.port, doors))
        self.prereg = self.folder / "prereg.toml"
        (self.folder / "whisper").mkdir()
        (self.folder / "access.log").touch()

    def begin(self, flush: str, filters: str = REJECT, environ: Mapping[str, str] | None = None) -> Process:
        self.write_prereg(flush, filters)
        words: list[str | Path] = [*RUN_TWISTD, "-n", "--pidfile=", "cadent", f"--config={self.conf}"]
        words.append(f"--prereg={self.prereg}")
        ports = (self.stats, self.metrics, self.ops, self.api)
        return self.started(Process("cadent", words, self.folder, environ, ports))

    def write_prereg(self, flush: str, filters: str) -> None:
        self.prereg.write_text(PREREG.format(folder=self.folder, flush=flush, filters=filters, api=self.api))

    def send(self, port: int, data: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.sendall(data)

    def values(self) -> dict[str, float]:
        """Return the sum of what the sink was told of each name."""
        found: dict[str, float] = {}
        for line in list(self.sink.order):
            name, value, _ = line.decode().split()
            found[name] = found.get(name, 0.0) + float(value)
        return found

    def counted(self, what: str) -> int:
        """Return how many datapoints an accumulator has taken."""
        ledger = json.loads(get(f"http://127.0.0.1:{self.ops}/ledger"))
        accounts = {each["name"]: each for each in ledger.get("accounts", ledger)}
        self.assertEqual([each for each in accounts.values() if each["balance"]], [])
        return int(accounts[f"accumulator {what}"]["received"])

    def lines(self, step: int) -> list[list[str]]:
        path = self.folder / f"lines_{step}s"
        return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []

    def test_what_is_added_up_is_sent_and_written(self) -> None:
        process = self.begin("1s")
        now = int(time.time())
        self.send(self.stats, b"c.count:3|c\nc.count:2|c|@0.5\nt:10|ms\nt:20|ms\nno.way:1|c\n")
        self.send(self.metrics, b"".join(b"m.max %d %d\n" % (value, now) for value in (1, 9, 4)))
        process.until("the sums arrive", lambda: "stats_counts.c.count" in self.values())
        values = self.values()
        self.assertEqual((values["stats_counts.c.count"], values["stats.counters.c.count"]), (7.0, 7.0))
        self.assertEqual((values["stats.timers.t.count"], values["stats.timers.t.mean"]), (2.0, 15.0))
        self.assertFalse([name for name in values if "no.way" in name or name.startswith("m.")])
        store = WhisperStore(str(self.folder / "whisper"), SchemaTable())

        def stored(name: str, since_s: int) -> float:
            at = int(time.time())
            series = store.fetch(name, at - since_s, at, at)
            return 0.0 if series is None else float(np.nansum(series.values))

        process.until("a file has the sum", lambda: stored("c.count", 60) == 7.0)
        info = store.info("c.count")
        self.assertEqual((info.archives, round(info.xff, 6), info.method), (((1, 3600), (4, 3600)), 0.2, "sum"))
        process.until("the coarse archive has it", lambda: stored("c.count", 5000) == 7.0)
        process.until("a file has the mean", lambda: stored("t", 60) == 15.0)
        process.until("the files of lines are there", lambda: self.lines(1) and self.lines(2))
        for step, ttl in ((1, "315360000"), (2, "3600")):
            start = str((now - now % step) * 10**9)
            wanted = ["m.max", "14.000000", "4.666667", "1.000000", "9.000000", "3", f"{step}.00", start, ttl]
            self.assertEqual(self.lines(step), [wanted])
        self.assertEqual((self.counted("sums"), self.counted("bins")), (4, 3))

    def test_nothing_is_lost_at_a_reload_and_at_the_end(self) -> None:
        process = self.begin("1h", filters="")
        self.send(self.stats, b"c:3|c\nno.way:1|c\n")
        process.until("they are taken", lambda: self.counted("sums") == 2)
        self.write_prereg("1h", REJECT)
        process.signal(signal.SIGHUP)

        def rejected() -> bool:
            self.send(self.stats, b"no.way:1|c\n")
            stats = json.loads(get(f"http://127.0.0.1:{self.ops}/stats/stats"))
            return bool(stats["rejected_lines_count"])

        process.until("the new filter is in force", rejected)
        before = self.counted("sums")
        self.send(self.stats, b"c:4|c\n")
        process.until("it is taken", lambda: self.counted("sums") == before + 1)
        self.assertEqual(self.sink.total, 0)
        process.signal(signal.SIGTERM)
        until("it ends", lambda: not process.alive())
        self.sink.settle()
        self.assertEqual(process.exit_code(), 0, process.tail())
        self.assertEqual(self.values()["stats_counts.c"], 7.0)
        store = WhisperStore(str(self.folder / "whisper"), SchemaTable())
        at = int(time.time()) + 2  # in the second of the start the stop tells as of the next one
        series = store.fetch("c", at - 60, at, at)
        assert series is not None
        self.assertEqual(np.nansum(series.values), 3.5)  # no word of the name asks for the sum: it is the mean

    def test_what_is_written_is_read_over_http(self) -> None:
        process = self.begin("1s")
        self.send(self.stats, b"c.count:3|c\nt:10|ms\nt:20|ms\n")
        base = f"http://127.0.0.1:{self.api}/graphite"

        def asked(path: str) -> Any:
            return json.loads(get(f"{base}/{path}"))

        def summed(form: str) -> float:
            series = asked(f"metrics?target=c.count&from=-30s{form}")["series"].get("c.count", [])
            pairs = series["data"] if isinstance(series, dict) else series
            return float(sum(value for value, _ in pairs if value is not None))

        for form in ("", "&format=json"):
            process.until("the sum is shown", lambda form=form: summed(form) == 3.0)
        self.assertEqual([node["path"] for node in asked("find?query=c.count")], ["c.count"])
        self.assertEqual(asked("expand?query=c.*"), {"results": ["c.count"]})
        with self.assertRaises(OSError) as caught:
            get(f"http://127.0.0.1:{self.api}/")
        self.assertIn("Nothing here .. try /graphite//find", str(caught.exception))
        self.assertEqual(process.stop(), 0)
        self.assertIn('"GET /graphite/expand?query=c.* HTTP/1.1" 200 ', (self.folder / "access.log").read_text())

    def test_nothing_is_lost_by_kill_9(self) -> None:
        process = self.begin("1h")
        self.send(self.stats, b"c:3|c\ng:5|g\n")
        process.until("they are taken", lambda: self.counted("sums") == 2)
        process.kill()
        process = self.begin("1h")
        self.send(self.stats, b"c:4|c\ng:+1|g\n")
        process.until("they are taken", lambda: self.counted("sums") == 2)
        process.signal(signal.SIGTERM)
        until("it ends", lambda: not process.alive())
        self.sink.settle()
        values = self.values()
        self.assertEqual((values["stats_counts.c"], values["stats.gauges.g"]), (7.0, 6.0))

    def test_a_file_without_a_word_of_logs_loses_nothing_that_was_read(self) -> None:
        self.conf.write_text(self.conf.read_text().replace(f'wal_dir = "{self.folder}/wal"\n', ""))
        environ = {"STATE_DIRECTORY": str(self.folder / "state")}
        process = self.begin("1h", environ=environ)
        sender = Repeater(self.stats, b"".join(b"c.n%d:1|c\n" % number for number in range(100)))
        sender.start()
        process.until("many are taken", lambda: self.counted("sums") > MANY)
        taken = self.counted("sums")
        process.kill()
        until("the connection is gone", lambda: sender.faults)
        process = self.begin("1h", environ=environ)
        process.signal(signal.SIGTERM)
        until("it ends", lambda: not process.alive())
        self.sink.settle()
        self.assertEqual(os.listdir(self.folder / "state"), [f"cadent-tcp-127.0.0.1-{self.stats}"])
        values = [value for name, value in self.values().items() if name.startswith("stats_counts.c.")]
        self.assertEqual(len(values), 100)
        self.assertGreaterEqual(sum(values), taken)
        self.assertLessEqual(sum(values), 100 * sender.sent)
