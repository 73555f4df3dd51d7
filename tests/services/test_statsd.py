"""Tests of `cadtwist.services.statsd`, `.statsite` and `.statsdtap`: the graph, without sockets."""

from __future__ import annotations

import json
import os
from typing import Any

from msgspec.structs import replace
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from cadtwist.codec.line import Tail
from cadtwist.config.errors import Problems
from cadtwist.config.statsd import read_statsd
from cadtwist.config.statsdmodel import StatsdConfig, StatsiteConfig
from cadtwist.interfaces import IDestination
from cadtwist.services.statsd import StatsdDaemon
from cadtwist.services.statsdbackends import Repeater
from cadtwist.services.statsdtap import Options, makeService, read_either, topics_of
from cadtwist.services.statsdtaps import MessageLog
from cadtwist.services.statsite import StatsiteDaemon, StreamCommand
from cadtwist.telemetry import Account
from tests.stages.statsdreplay import recording

START = 1_700_000_000.0
_OWN = ("bad_lines_seen", "packets_received", "metrics_received")


def config_of(**options: Any) -> StatsdConfig:
    return read_statsd(json.dumps(options), "config.js", Problems())


class Heard:
    """Keeps the packets that came."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def packet(self, data: bytes) -> None:
        self.packets.append(data)


@implementer(IDestination)
class Chunks:
    """A destination that keeps what it is sent."""

    key, connected, queued_points = "chunks", True, 0

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def send(self, chunk: bytes, points: int) -> None:
        self.chunks.append(chunk)


class StatsdDaemonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.advance(START)
        self.daemon = self.make(graphiteHost="127.0.0.1", servers=[{"server": "udp"}, {"server": "./servers/tcp"}])

    def make(self, **options: Any) -> StatsdDaemon:
        return StatsdDaemon(self.reactor, config_of(**options), clock=lambda: 0.0)

    def send(self, *packets: bytes) -> None:
        for packet in packets:
            end = len(packet) + 1
            self.daemon.intakes.all[0].datagrams(packet + b"\n", lambda at: "peer", lambda at, end=end: end)
        self.reactor.advance(0.001)

    def sent(self) -> str:
        """Return what waits for graphite."""
        destination = self.daemon._destination
        assert destination is not None
        return f"{destination.queued_points}"

    def test_the_management_sees_what_comes(self) -> None:
        self.send(b"a:1|c\nbad", b"t:5|ms")
        self.reactor.advance(2.0)
        stats = dict(self.daemon.stats())
        self.assertEqual(
            [stats[f"{what}"] for what in ("uptime", "messages.last_msg_seen", "messages.bad_lines_seen")], [2, 2, 1]
        )
        self.assertEqual(self.daemon.table("c"),
                         {"statsd.bad_lines_seen": 1.0, "statsd.packets_received": 0.0, "statsd.metrics_received": 3.0,
                          "a": 1.0})  # fmt: skip
        self.assertEqual(self.daemon.table("ms"), {"t": [5.0]})
        self.daemon.delete("ms", ["t"])
        self.assertEqual(self.daemon.table("ms"), {})
        self.daemon.delete("c", ["statsd.packets_received", "a"])
        self.assertEqual(list(self.daemon.table("c")), [f"statsd.{own}" for own in _OWN])

    def test_a_flush_goes_to_the_destination(self) -> None:
        self.daemon.flusher.startService()
        self.send(b"a:1|c")
        self.reactor.advance(10.0)
        self.assertGreater(int(self.sent()), 8)
        self.assertEqual(self.daemon.telemetry.accounts["statsd"].balance(), 0)
        self.assertEqual(dict(self.daemon.stats())["graphite.last_flush"], 0)

    def test_stopping_flushes_what_was_read(self) -> None:
        self.daemon.flusher.startService()
        self.daemon.intakes.all[0].feed(Tail(), b"a:1|c\n", "peer")
        self.daemon.intakes.flush()
        self.daemon.flusher.stopService()
        self.assertGreater(int(self.sent()), 8)
        self.assertEqual(self.daemon.telemetry.accounts["statsd"].held(), 0)

    def test_a_changed_configuration_is_taken(self) -> None:
        other = [config_of(percentThreshold=50)]
        daemon = StatsdDaemon(self.reactor, config_of(), reread=lambda: other[0], clock=lambda: 0.0)
        daemon.reload(START)
        self.assertEqual(daemon.config.style.percent_thresholds, (50.0,))
        self.assertIn("percentThreshold: 50", daemon.shown())

    def test_dogstatsd_types(self) -> None:
        self.daemon = StatsdDaemon(self.reactor, config_of(), dog=True, clock=lambda: 0.0)
        self.send(b"h:3|h|#a:b", b"_e{1,1}:a|b")
        self.assertEqual(self.daemon.table("ms"), {"h;a=b": [3.0]})
        self.assertEqual(self.daemon.intakes.counts().wrong, 1)

    def test_frequent_keys(self) -> None:
        path = self.mktemp()
        self.daemon = self.make(keyFlush={"interval": 1000, "percent": 50, "log": path})
        self.send(b"a:1|c\nb:1|c\nb:1|ms")
        self.daemon._tell_keys(50.0, path, START)
        with open(path, encoding="utf-8") as file:
            self.assertEqual([line.partition(") ")[2] for line in file], ["count=2 key=b\n"])

    def test_packets_are_repeated_as_recorded(self) -> None:
        recorded = recording("proxy_repeater_robustness")
        for protocol, wanted in (("udp4", recorded["repeater_udp"]), ("tcp", recorded["repeater_tcp"])):
            peers = [{"host": "127.0.0.1", "port": 9}]
            self.daemon = self.make(backends=["repeater"], repeater=peers, repeaterProtocol=protocol)
            self.daemon.taps[:] = [Repeater([heard := Chunks()], protocol == "tcp")]
            packets = wanted.encode().splitlines(keepends=True)
            self.send(*packets if protocol == "udp4" else (packet[:-1] for packet in packets))
            self.assertEqual(b"".join(heard.chunks), wanted.encode())
            self.assertEqual(self.daemon.intakes.counts().wrong, b"bad line" in b"".join(heard.chunks))

    def test_recorded_rates_are_bad_or_count(self) -> None:
        """What ends the original, or means another rate there, is a bad line; docs/compatibility.md has them."""
        lines = [key.removeprefix("rate_") for key in recording("proxy_repeater_robustness") if key[:5] == "rate_"]
        self.assertEqual(len(lines), 5)
        for line in lines:
            before = self.daemon.intakes.counts().wrong
            self.send(line.encode())
            self.assertEqual(self.daemon.intakes.counts().wrong - before, not line.endswith("@.5"), line)
        self.assertEqual(self.daemon.table("c")["a"], 2.0)

    def test_packets_are_repeated(self) -> None:
        self.daemon = self.make(backends=["repeater"], repeater=[{"host": "127.0.0.1", "port": 9}])
        self.send(b"a:1|c\nbad")
        (destination,) = self.daemon._repeats
        self.assertEqual(destination.queued_points, 1)

    def test_complete_lines_of_a_connection_are_repeated_and_logged(self) -> None:
        tcp = {"server": "./servers/tcp", "address": "127.0.0.1"}
        self.daemon = self.make(servers=[tcp], backends=["repeater"], dumpMessages=True, repeater=[{"port": 9}])
        (intake,), heard, state = self.daemon.intakes.all, Heard(), Tail()
        self.assertEqual([type(tap) for tap in intake.taps], [MessageLog, Repeater])
        intake.taps = [heard]
        for data in (b"a:1|", b"c\nb:2|c\nx:", b"3|c\n"):
            intake.feed(state, data, "peer")
        self.assertEqual(heard.packets, [b"a:1|c\nb:2|c\n", b"x:3|c\n"])
        self.daemon.intakes.flush()
        self.assertEqual(self.daemon.table("c"), {**self.daemon.table("c"), "a": 1.0, "b": 2.0, "x": 3.0})

    def test_stats_of_each_backend(self) -> None:
        self.daemon = self.make(backends=["./backends/console"])
        names = [name for name, _ in self.daemon.stats()]
        self.assertEqual(names[3:], ["console.lastFlush", "console.lastException"])


class StatsiteDaemonTests(SynchronousTestCase):
    def test_each_flush_starts_a_command(self) -> None:
        reactor = MemoryReactorClock()
        reactor.advance(START)
        daemon = StatsiteDaemon(reactor, replace(StatsiteConfig(), stream_command="cat"), clock=lambda: 0.0)
        started: list[Any] = []
        reactor.spawnProcess = lambda *args, **named: started.append(args)  # type: ignore[attr-defined]
        daemon.intakes.all[0].datagrams(b"c:1|c\n", lambda at: "peer", lambda at: 6)
        reactor.advance(0.01)
        daemon.flusher.startService()
        reactor.advance(10.0)
        ((protocol, shell, arguments),) = started
        self.assertEqual((shell, arguments), ("/bin/sh", ["/bin/sh", "-c", "cat"]))
        self.assertEqual(b"".join(protocol._pieces), b"counts.c|1.000000|1700000010\n")
        reactor.advance(10.0)
        self.assertEqual([each[0]._pieces for each in started[1:]], [[]])


class StreamCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.started: list[Any] = []
        self.reactor.spawnProcess = lambda protocol, *args, **named: self.started.append(protocol)
        self.account = Account("statsite")
        self.command = StreamCommand(self.reactor, "cat", self.account, most=2)

    def flush(self) -> None:
        self.command.write(b"x")
        self.command.flushed()

    def test_commands_are_bounded(self) -> None:
        for _ in range(3):
            self.flush()
        self.command.flushed()
        self.assertEqual((len(self.started), self.account.counters), (2, {"commands": 2, "commands_busy": 2}))
        self.started[0]._ended(0)
        self.flush()
        self.assertEqual(len(self.started), 3)

    def test_statuses_are_counted(self) -> None:
        self.flush()
        self.started[0]._ended(3)
        self.assertEqual(self.account.counters["commands_failed"], 1)

    def test_waiting_for_commands(self) -> None:
        self.assertIsNone(self.successResultOf(self.command.wait()))
        self.flush()
        waiting = self.command.wait()
        self.assertNoResult(waiting)
        self.started[0]._ended(0)
        self.assertIsNone(self.successResultOf(waiting))

    def test_no_longer_than_patience_allows(self) -> None:
        self.flush()
        waiting = self.command.wait()
        self.reactor.advance(11.0)
        self.assertIsNone(self.successResultOf(waiting))
        self.started[0]._ended(0)


class TapTests(SynchronousTestCase):
    def test_what_can_be_asked_over_http(self) -> None:
        reactor = MemoryReactorClock()
        for daemon, program in (
            (StatsdDaemon(reactor, StatsdConfig(), clock=lambda: 0.0), "statsd"),
            (StatsiteDaemon(reactor, StatsiteConfig(), clock=lambda: 0.0), "statsite"),
        ):
            topics = topics_of(daemon)
            status: Any = topics["status"]()
            self.assertEqual((status["program"], status["unbalanced"], topics["waits"]()), (program, {}, []))
            ledger: Any = topics["ledger"]()
            self.assertIn(program, [account["name"] for account in ledger])

    def test_a_port_for_reports(self) -> None:
        options = Options()
        options.parseOptions(["--config=x", "--http-port=8080"])
        self.assertEqual(options["http-port"], 8080)

    def test_both_families_are_told_apart(self) -> None:
        for text, kind in {
            "[statsite]\nport = 1\n": StatsiteConfig,
            "; comment\n [statsite]\n": StatsiteConfig,
            "{backends: [\n['x']]}": StatsdConfig,
            "/* [a] */ {port: 1}": StatsdConfig,
            "// x\n{\n  percentThreshold:\n  [90]\n}": StatsdConfig,
        }.items():
            self.assertIsInstance(read_either(text, "f", Problems()), kind, text)

    def test_a_file_is_needed(self) -> None:
        self.assertRaises(UsageError, Options().parseOptions, [])

    def test_toml_says_what_options_say_elsewhere(self) -> None:
        Options().parseOptions(["--config=x.toml"])
        for given in ("--http-port=1", "--state-dir=x", "--log-inputs=all", "--dogstatsd"):
            self.assertRaises(UsageError, Options().parseOptions, ["--config=x.toml", given])

    def test_toml_without_statsd_ends_the_process(self) -> None:
        path = f"{self.mktemp()}.toml"
        with open(path, "w", encoding="utf-8") as file:
            file.write("[cache]\n")
        options = Options()
        options.parseOptions([f"--config={path}"])
        self.assertEqual(self.assertRaises(SystemExit, makeService, options).code, 2)

    def test_faults_end_the_process(self) -> None:
        path = self.mktemp()
        for text in (None, "{port: 'x'}"):
            if text is not None:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
            options = Options()
            options.parseOptions([f"--config={path}"])
            self.assertEqual(self.assertRaises(SystemExit, makeService, options).code, 1)

    def test_a_file_that_changes_is_read_again(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write("{}")
        options = Options()
        options.parseOptions([f"--config={path}"])
        service: Any = makeService(options)
        self.assertIsNone(service._reread())
        for text, wanted in (("{port: 7}", 7), ("{port: 'x'}", None)):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.utime(path, (0, len(text)))
            found = service._reread()
            self.assertEqual(None if found is None else found.servers[0].port, wanted)
