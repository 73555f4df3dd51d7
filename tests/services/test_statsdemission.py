"""A relay's own counters to a statsd: names, packets, what they count."""

from __future__ import annotations

import os
import random
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.accumulatormodel import AccumulatorConfig, AccumulatorWriterConfig, BinConfig, DriverConfig
from cadtwist.config.model import Config
from cadtwist.config.relaymodel import FilterRule, LineConfig, RelayConfig, StatsdEmissionConfig
from cadtwist.services.statsdemission import url_part
from cadtwist.services.stopwatch import Stopwatch
from tests.services.daemons import reactor, until
from tests.services.test_relay import LINES, RelayCase


class StopwatchTests(SynchronousTestCase):
    def test_takes_the_time_of_calls(self) -> None:
        times = iter([1.0, 1.5, 2.0, 2.25])
        watch, called = Stopwatch(lambda: next(times)), []
        call = watch.timed(lambda: called.append(1))
        call()
        call()
        self.assertEqual((watch.take(), called), (([500.0, 250.0], 2), [1, 1]))
        self.assertEqual(watch.take(), ([], 0))

    def test_keeps_a_fair_sample_of_very_many(self) -> None:
        watch = Stopwatch(dice=random.Random(1))
        for n in range(10_000):
            watch.add(float(n))
        values, seen = watch.take()
        self.assertEqual((len(values), seen), (100, 10_000))
        self.assertTrue(3500 < sum(values) / 100 < 6500)


class NamesTests(SynchronousTestCase):
    def test_urls(self) -> None:
        self.assertEqual(url_part("tcp://127.0.0.1:6002"), "tcp-127-0-0-1-6002")


class Server(DatagramProtocol):
    """A statsd that adds up counters and keeps the last gauges."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.packets.append(datagram)

    def counters(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, value in self.told("c"):
            found[name] = found.get(name, 0) + int(value)
        return found

    def told(self, kind: str) -> list[tuple[str, str]]:
        lines = [line for packet in self.packets for line in packet.decode().split("\n") if line]
        parts = [line.partition(":") for line in lines]
        return [(name, rest.split("|")[0]) for name, _, rest in parts if rest.split("|")[1] == kind]


class EmissionTests(RelayCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = Server()
        self.port: Any = reactor.listenUDP(0, self.server, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    def emitting(self, *relays: RelayConfig, **values: Any) -> Config:
        emission = StatsdEmissionConfig(
            server=f"127.0.0.1:{self.port.getHost().port}", prefix="cad", interval_s=0.1, **values
        )
        return replace(self.relay(*relays), statsd_emission=emission)

    def counters(self) -> dict[str, int]:
        return {name.split(".", 2)[2]: value for name, value in self.server.counters().items()}

    def test_names_and_counts(self) -> Any:
        async def run() -> None:
            filters = (
                FilterRule(kind="prefix", pattern="bad.", action="reject"),
                FilterRule(kind="prefix", pattern="away.", action="redirect", relay="other"),
            )
            front = RelayConfig(name="front", filters=filters, groups=(self.group(members=("d0", "d1")),))
            other = RelayConfig(name="other", groups=(self.group(members=("d2",)),))
            daemon = await self.start(self.emitting(front, other))
            assert daemon.relayed is not None
            await self.send(LINES + b"bad.a 1 1\naway.a 1 1700000000\nnothing\n")
            await until(lambda: self.total() == 301)
            daemon.relayed.health_changed("d1", False)
            size = sum(len(line) + 1 for sink in self.sinks.values() for line in sink.lines)
            wanted = {
                "incoming.tcp.lines": 303, "incoming.tcp.invalidlines": 1, "incoming.backend.lines": 1,
                "incoming.backend.other.lines": 1, "prereg.backend.redirect.other": 1,
                "prereg.backend.reject.front": 1, "success.valid-lines": 303,
                "success.valid-lines-sent-to-workers": 301,
                "success.send": 301, "success.sent-bytes": size,
                "worker.queue.isfull": 0, "worker.front.queue.isfull": 0, "worker.other.queue.isfull": 0,
                "front.tcp.incoming.connections": 1, "worker.front.tcp.connection.open": 1,
                "worker.front.tcp.connection.close": 1, "hasher.removed-server": 1,
            }  # fmt: skip
            for name, sink in self.sinks.items():
                path = daemon.relayed.config.destinations[int(name[1])].address
                wanted[f"hashserver.{url_part(path)}.used"] = len(sink.lines)
            await until(lambda: self.counters() == wanted)
            stem = self.server.told("c")[0][0].split(".", 2)[:2]
            self.assertEqual(stem[0], "cad")
            gauges = dict(self.server.told("g"))
            names = {name.removeprefix(".".join(stem) + ".") for name in gauges}
            self.assertLessEqual(
                {"hasher.up-servers", "front.inputqueue.length", "front.workqueue.length", "front.readbuffer.length",
                 "front.lrucache.length", "front.lrucache.size", "front.lrucache.capacity", "worker.queue.length",
                 "worker.other.queue.length"},
                names,
            )  # fmt: skip
            await until(lambda: any(name.endswith("worker.process-time-ns") for name, _ in self.server.told("ms")))
            self.assertTrue(all(len(packet) < 512 for packet in self.server.packets))
            self.assertTrue(any(len(packet) > 300 for packet in self.server.packets))
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_sampled(self) -> Any:
        async def run() -> None:
            await self.start(self.emitting(sample_rate=0.5))
            await self.send(LINES)
            await until(lambda: 80 < self.counters().get("success.valid-lines", 0) < 220)
            self.assertTrue(any(b"valid-lines:" in p and b"|c|@0.500000" in p for p in self.server.packets))

        return ensureDeferred(run())

    def test_accumulators(self) -> Any:
        async def run() -> None:
            folder = os.path.join(self.folder, "whisper")
            os.mkdir(folder)
            metrics = DriverConfig(driver="whisper", dsn=folder)
            writer = AccumulatorWriterConfig(metrics=metrics, indexer=DriverConfig(driver="noop"))
            bins = (BinConfig(resolution_s=1.0, ttl_s=60.0),)
            made = AccumulatorConfig(name="x", relay="in", backend="out", flush_s=1.0, bins=bins, writer=writer)
            statsd = RelayConfig(name="in", lines=LineConfig(format="statsd"), groups=(self.group(members=("d0",)),))
            out = RelayConfig(name="out", groups=(self.group(members=("d1",)),))
            config = replace(self.emitting(statsd, out), accumulators=(made,))
            daemon = await self.start(config)
            await self.send(b"a.b:1|c\na.b:2|c\na.c:5|g\nbad:x|c\n")
            counts = {
                "prereg.accumulated.in": 3, "accumulator.lines.incoming": 3, "accumulator.lines.processed": 3,
                "accumulator.stats.outgoing": 3, "incoming.backend.out.lines": 3,
                "writer.whisper.metric-creates": 2, "writer.whisper.update-metric-errors": 0,
            }  # fmt: skip
            await until(lambda: counts.items() <= self.counters().items())
            counters = self.counters()
            for name in ("accumulator.flushes", "accumulator.flushesposts", "aggregator.1s.writesloops"):
                self.assertGreater(counters[name], 0, name)
            self.assertGreater(counters["writer.whisper.write.send-to-writers"], 0)
            gauges = {name.split(".", 2)[2] for name, _ in self.server.told("g")}
            self.assertLessEqual(
                {"cacher.metrics", "cacher.points", "cacher.bytes", "cacher.add.ave-points-per-metric",
                 "writer.metricsqueue.1s.length", "writer.indexerqueue.1s.length", "writer.whisper.points-per-update"},
                gauges,
            )  # fmt: skip
            timers = {name.split(".", 2)[2] for name, _ in self.server.told("ms")}
            self.assertLessEqual(
                {"accumulator.flush-time-ns", "accumulator.flushpost-time-ns", "aggregator.postwrite-time-ns",
                 "writer.whisper.update-time-ns"},
                timers,
            )  # fmt: skip
            self.balanced(daemon)

        return ensureDeferred(run())
