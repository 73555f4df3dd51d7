"""A new process takes the place of a statsd, or of Cadent, under load: each value is told once, none is lost."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.system.cadentconf import cadent_conf
from tests.system.cadtwistd import ROOT, RUN_TWISTD, serving_at
from tests.system.case import SystemTestCase
from tests.system.linesink import LineSink
from tests.system.loads import BothWays
from tests.system.process import Process, end_serving, free_ports, hand_over, until
from tests.system.statsdd import Statsdd

OPTIONS = "  flushInterval: {ms}, graphite: {{legacyNamespace: false}},"
LONG_MS = 3_600_000
_NATIVE = """
[[listeners]]
protocol = "statsd"
interface = "127.0.0.1"
port = {line}
[[listeners]]
protocol = "statsd"
transport = "udp"
interface = "127.0.0.1"
port = {line}
[[listeners]]
protocol = "http"
interface = "127.0.0.1"
port = {http}
[wal]
directory = "{folder}/wal"
[spool]
directory = "{folder}/spool"
[self_metrics]
interval_s = 0.0
[statsd]
flush_interval_s = {flush_s}
legacy_namespace = false
log_inputs = "{inputs}"
[[relays]]
name = "out"
[[relays.groups]]
method = "constant"
members = ["sink"]
[[destinations]]
name = "sink"
host = "127.0.0.1"
port = {sink}
"""
_INI = """
[statsite]
port = {line}
udp_port = {line}
bind_address = 127.0.0.1
flush_interval = {flush_s}
stream_cmd = cat >> {folder}/told
"""
_PREREG = """
[{section}]
listen_server = "{section}"
default_backend = "{section}"
[{section}.accumulator]
backend = "out"
input_format = "statsd"
output_format = "graphite"
accumulate_flush = "1s"
times = ["1s", "1h"]
[{section}.accumulator.writer]
driver = "file"
dsn = "{folder}/{section}"
"""


def line(kind: str, _number: int) -> bytes:
    """Return a counter of 1."""
    return b"hand.%s:1|c\n" % kind.encode()


class _Told(SystemTestCase):
    """What the sink was told, by name and timestamp."""

    def setUp(self) -> None:
        super().setUp()
        self.sink = LineSink()
        self.addCleanup(self.sink.close)
        self.pid = 0
        self.addCleanup(self.end)

    def end(self) -> None:
        """End whoever serves: after a hand-over it is no child of ours."""
        if self.pid:
            end_serving(lambda: self.pid)
            self.sink.settle()
            self.pid = 0

    def told(self) -> dict[str, float]:
        """Return the sums by name; a name and a timestamp that come twice must not differ."""
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for line in list(self.sink.order):
            name, value, stamp = line.decode().split()
            self.assertEqual(found[name].setdefault(stamp, float(value)), float(value), line)
        return {name: sum(values.values()) for name, values in found.items()}

    def sent_over(self, port: int, serving: Callable[[], int], times: int) -> dict[str, int]:
        """Let other processes follow so often under load, the last one end; return what was sent.

        `serving()` is the process that serves.
        """
        load = BothWays(port, line)
        load.start()
        for _ in range(times):
            time.sleep(0.7)
            self.pid = hand_over(serving)
        time.sleep(0.5)
        sent = load.end()
        self.assertEqual(load.faults, [])
        self.end()
        return sent

    def assert_counted(self, sent: dict[str, int]) -> None:
        """Every counter was told with what was sent of it."""
        for kind, count in sent.items():
            self.assertEqual(self.told().get(f"stats.counters.hand.{kind}.count"), count, kind)


class ConfigJsTests(_Told):
    def begin(self, flush_ms: int, *arguments: str, more: str = "") -> Statsdd:
        daemon = self.started(Statsdd(self.folder, self.sink.port, OPTIONS.format(ms=flush_ms) + more, arguments))
        self.pid = daemon.pid
        return daemon

    def test_datagrams_and_streams(self) -> None:
        daemon = self.begin(1000)
        times = self.number("CADTWIST_SYSTEM_HANDOVERS", 3)
        self.assert_counted(self.sent_over(daemon.line, daemon.serving, times))

    def test_what_is_logged_stays_open_and_gauges_keep_their_levels(self) -> None:
        daemon = self.begin(LONG_MS, "--log-inputs=all")
        load = BothWays(daemon.line, line)
        load.start()
        with socket.create_connection(("127.0.0.1", daemon.line)) as stream:
            stream.sendall(b"level:5|g\n")
            time.sleep(0.5)
            self.pid = hand_over(daemon.serving)
            stream.sendall(b"level:+2|g\n")
            time.sleep(0.5)
            sent = load.end()
            self.assertEqual((load.faults, self.sink.order), ([], []))
            self.end()
        self.assertEqual(self.told()["stats.gauges.level"], 7.0)
        self.assert_counted(sent)

    def test_gauges_of_datagrams_keep_their_levels(self) -> None:
        daemon = self.begin(1000, more="  title: 'our statsd',")
        self.assertEqual(Path(f"/proc/{daemon.pid}/comm").read_text(), "our statsd\n")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.connect(("127.0.0.1", daemon.line))
            datagrams.send(b"level:5|g")
            time.sleep(0.2)
            self.pid = hand_over(daemon.serving)
            datagrams.send(b"level:+2|g")
            name = b"stats.gauges.level 7 "
            until("it moves from where it was", lambda: any(line.startswith(name) for line in list(self.sink.order)))

    def test_a_hang_up_reads_the_configuration_again(self) -> None:
        daemon = self.begin(1000, more="  automaticConfigReload: false,")
        conf = self.folder / "config.js"
        conf.write_text(conf.read_text().replace("graphite: {", "graphite: {globalPrefix: 'ours', "))
        os.utime(conf, (0, 0))
        with socket.create_connection(("127.0.0.1", daemon.line)) as stream:
            stream.sendall(b"a:3|c\n")
            until("the old names are told", lambda: self.told().get("stats.counters.a.count") == 3.0)
            os.kill(daemon.pid, signal.SIGHUP)
            stream.sendall(b"a:4|c\n")
            until("the new names are told", lambda: self.told().get("ours.counters.a.count") == 4.0)

    def test_a_stop_while_it_waits_for_the_end_of_the_interval(self) -> None:
        daemon = self.begin(LONG_MS)
        load = BothWays(daemon.line, line)
        load.start()
        os.kill(daemon.pid, signal.SIGUSR2)
        daemon.until("the next one waits", lambda: "until intervals end" in daemon.tail())
        sent = load.end()
        self.assertEqual(load.faults, [])
        self.end()
        self.assertEqual(daemon.stop(), 0)
        self.sink.settle()
        self.assert_counted(sent)
        self.assertEqual(daemon.serving(), 0)


class NativeTests(_Told):
    """`[statsd]` in native TOML."""

    def begin(self, flush_s: float, inputs: str) -> Process:
        self.line, self.http = free_ports(2)
        conf = self.folder / "statsd.toml"
        conf.write_text(
            _NATIVE.format(
                line=self.line, http=self.http, sink=self.sink.port, folder=self.folder, flush_s=flush_s, inputs=inputs
            )
        )
        command = [*RUN_TWISTD, "-n", "--pidfile=", "statsd", f"--config={conf}"]
        process = self.started(Process("native", command, self.folder, {}, (self.line, self.http), cwd=ROOT))
        self.pid = process.pid
        return process

    def run_over(self, flush_s: float, inputs: str, times: int) -> None:
        self.begin(flush_s, inputs)
        self.assert_counted(self.sent_over(self.line, lambda: serving_at(self.http), times))

    def test_datagrams_and_streams(self) -> None:
        self.run_over(1.0, "tcp", self.number("CADTWIST_SYSTEM_HANDOVERS", 3))

    def test_what_is_logged_stays_open(self) -> None:
        self.run_over(3600.0, "all", 2)
        self.assertEqual(len([line for line in self.sink.order if b".hand.tcp.count" in line]), 1)


class StatsiteTests(_Told):
    def test_datagrams_and_streams(self) -> None:
        (line,), http = free_ports(1), free_ports(1)[0]
        conf = self.folder / "statsite.ini"
        conf.write_text(_INI.format(line=line, folder=self.folder, flush_s=1))
        command = [*RUN_TWISTD, "-n", "--pidfile=", "statsd", f"--config={conf}", f"--http-port={http}"]
        command.append(f"--state-dir={self.folder / 'state'}")
        process = self.started(Process("statsite", command, self.folder, {}, (line, http), cwd=ROOT))
        self.pid = process.pid
        sent = self.sent_over(line, lambda: serving_at(http), 2)
        sums: dict[str, float] = defaultdict(float)
        for name, value, _ in (line.split("|") for line in (self.folder / "told").read_text().splitlines()):
            sums[name] += float(value)
        self.assertEqual({kind: sums[f"counts.hand.{kind}"] for kind in sent}, sent)


class CadentTests(_Told):
    """Accumulators: streams are logged, datagrams are not; bins of an hour go on in the next process."""

    def named(self) -> int:
        """Return the process that the pid file names, 0 for none."""
        path = self.folder / "pid"
        return int(path.read_text() or 0) if path.exists() else 0

    def test_datagrams_and_streams(self) -> None:
        line, http = free_ports(2)
        conf, prereg = self.folder / "cadent.toml", self.folder / "prereg.toml"
        doors = {
            "streams": (f"tcp://127.0.0.1:{line}", "statsd"),
            "datagrams": (f"udp://127.0.0.1:{line}", "statsd"),
        }
        pid_file = f'pid_file = "{self.folder}/pid"\n'
        conf.write_text(cadent_conf(self.folder, http, self.sink.port, doors, pid_file))
        sections = {"tcp": "streams", "udp": "datagrams"}
        prereg.write_text("".join(_PREREG.format(section=each, folder=self.folder) for each in sections.values()))
        command = [*RUN_TWISTD, "-n", "--pidfile=", "cadent", f"--config={conf}", f"--prereg={prereg}"]
        self.pid = self.started(Process("cadent", command, self.folder, {}, (line, http), cwd=ROOT)).pid
        sent = self.sent_over(line, self.named, self.number("CADTWIST_SYSTEM_HANDOVERS", 3))
        for kind, count in sent.items():
            self.assertEqual(self.told().get(f"stats_counts.hand.{kind}"), count, kind)
            for step in (1, 3600):
                rows = [row.split("\t") for row in (self.folder / f"{sections[kind]}_{step}s").read_text().splitlines()]
                self.assertEqual(sum(float(row[1]) for row in rows), count, (kind, step))
                if step == 3600:
                    self.assertLessEqual(len(rows), 2, "one bin, two where an hour ends")
