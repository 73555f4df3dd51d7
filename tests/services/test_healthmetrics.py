"""statsrelay's health metrics, as recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.relayline import statsd_lines
from cadtwist.config.errors import Problems
from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import HealthMetricsConfig
from cadtwist.config.statsrelay import load_statsrelay
from cadtwist.model.batch import Batch
from cadtwist.protocols.relayline import DestinationStatus, GroupStatus, RelayStatus
from cadtwist.services.healthmetrics import HealthMetrics
from cadtwist.services.space import Space
from cadtwist.telemetry import Telemetry
from tests.services.daemons import until
from tests.services.test_relay import QUICK, RelayCase

SCENARIOS = {
    each["name"]: each
    for each in json.loads((Path(__file__).parents[1] / "data/statsrelay/scenarios.json").read_text())
}


class HealthLinesTests(SynchronousTestCase):
    def test_every_line_in_order(self) -> None:
        status = RelayStatus(
            udp_bytes=1,
            tcp_bytes=2,
            connections=3,
            malformed=4,
            invalid_recent=5,
            invalid=6,
            groups=[GroupStatus(7, 8, 9, 10), GroupStatus()],
            destinations=[DestinationStatus("k", 11, 12, 13, 14, True)],
        )
        self.assertEqual(
            b"\n".join(status.health_lines(["127_0_0_1_8125_udp.udp"])).decode().split("\n"),
            [
                "global.bytes_recv_tcp:2|g", "global.total_connections:3|g", "global.bytes_recv_udp:1|g",
                "global.total_connections:3|g", "global.last_reload.timestamp:0|g", "global.malformed_lines:4|g",
                "global.invalid_lines:5|c", "global.invalid_lines_monotonic:6|g", "group_0.flagged_lines:8|g",
                "group_0.filtered_lines:7|g", "group_0.relayed_lines:9|g", "group_0.rejected_lines:10|g",
                "group_1.filtered_lines:0|g", "group_1.relayed_lines:0|g", "group_1.rejected_lines:0|g",
                "backend_127_0_0_1_8125_udp.udp.bytes_queued:11|g", "backend_127_0_0_1_8125_udp.udp.bytes_sent:12|g",
                "backend_127_0_0_1_8125_udp.udp.relayed_lines:13|g",
                "backend_127_0_0_1_8125_udp.udp.dropped_lines:14|g",
                "backend_127_0_0_1_8125_udp.udp.failing.boolean:1|c",
            ],
        )  # fmt: skip


class Recording:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.rows = 0

    def accept(self, batch: Batch) -> None:
        assert batch.spans is not None
        self.rows += len(batch)
        self.lines += batch.spans.data.split(b"\n")[:-1]


class TimesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.sink = Clock(), Recording()
        telemetry = Telemetry()
        self.account = telemetry.account("health metrics")
        self.lines = [b"a:1|c", b"b:2|g"]
        space = Space("keys", 1 << 20, telemetry)
        self.service = HealthMetrics(
            self.clock, HealthMetricsConfig, lambda: self.lines, statsd_lines(), space, lambda: self.sink, self.account
        )
        self.service.startService()

    def test_after_a_second_and_then_every_thirty(self) -> None:
        self.clock.advance(0.9)
        self.assertEqual(self.sink.lines, [])
        self.clock.advance(0.1)
        self.assertEqual(self.sink.lines, self.lines)
        self.clock.advance(29.9)
        self.assertEqual(len(self.sink.lines), 2)
        self.clock.pump([0.1, 30.0])
        self.assertEqual(len(self.sink.lines), 6)
        self.service.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lines_are_checked_like_any(self) -> None:
        self.lines = [b"a:1|c", b"no line", b"b:2|?"]
        self.clock.advance(1.0)
        self.assertEqual(self.sink.rows, 1)
        self.assertEqual((self.account.made, self.account.out, self.account.balance()), (3, 1, 0))
        self.assertEqual(sum(self.account.dropped.values()), 2)
        self.service.stopService()

    def test_a_fault_does_not_end_them(self) -> None:
        def broken() -> list[bytes]:
            raise ZeroDivisionError

        self.service._lines = broken
        self.clock.advance(1.0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.service._lines = lambda: self.lines
        self.clock.advance(30.0)
        self.assertEqual(len(self.sink.lines), 2)
        self.service.stopService()


class RecordedTests(RelayCase):
    """Whole relays made of the recorded configurations; destinations are our sinks."""

    def scenario(self, name: str) -> Config:
        text = json.dumps(SCENARIOS[name]["config"]).replace("BACK0", "1001").replace("BACK1", "1002")
        problems = Problems()
        config = load_statsrelay(text.replace("BIND", "1000"), "s.json", problems)
        self.assertEqual(problems.texts("error"), [])
        destinations = tuple(
            replace(each, transport="unix", path=self.sinks[sink].path, reconnect=QUICK)
            for each, sink in zip(config.destinations, ("d0", "d1"), strict=True)
        )
        door = Listener(protocol="line", transport="unix", path=self.door)
        assert config.health_metrics is not None
        health = replace(config.health_metrics, first_s=0.3, interval_s=0.3)
        return replace(config, listeners=(door,), destinations=destinations, health_metrics=health)

    def told(self, count: int) -> str:
        return "".join(f"{line.decode()}\n" for line in self.sinks["d1"].lines[:count]).replace("1001", "BACK0")

    def test_all_of_them(self) -> Any:
        async def run() -> None:
            recorded = SCENARIOS["health_metrics"]
            daemon = await self.start(self.scenario("health_metrics"))
            sent = recorded["steps"][0]["send"].encode()
            await self.send(sent)
            await until(lambda: self.sinks["d0"].lines)
            wanted = recorded["backend_received"][1]
            await until(lambda: len(self.sinks["d1"].lines) >= 15)
            if f"bytes_recv_tcp.hs:{len(sent)}|g" not in self.told(1):  # told before the line came
                self.sinks["d1"].lines.clear()
                await until(lambda: len(self.sinks["d1"].lines) >= 15)
            self.assertEqual(self.told(15), wanted)
            status = daemon.relayed.answer(b"status").decode() if daemon.relayed else ""
            self.assertNotIn("1002", status)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_through_the_filter_of_their_group(self) -> Any:
        async def run() -> None:
            await self.start(self.scenario("health_metrics_filter"))
            await until(lambda: self.sinks["d1"].lines)
            self.assertEqual(self.told(1), SCENARIOS["health_metrics_filter"]["backend_received"][1])

        return ensureDeferred(run())

    def test_invalid_lines_begin_anew(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.scenario("health_metrics"))
            assert daemon.relayed is not None
            relayed = daemon.relayed
            await self.send(b"a:x|c\n")
            await until(lambda: any(b"invalid_lines.hs:1|c" in line for line in self.sinks["d1"].lines))
            await until(lambda: b"invalid_lines counter 0\n" in relayed.answer(b"status"))
            self.assertIn(b"invalid_lines gauge 1\n", relayed.answer(b"status"))
            self.assertEqual(sum(b"invalid_lines.hs" in line for line in self.sinks["d1"].lines), 1)

        return ensureDeferred(run())

    def test_after_a_reload_of_their_group(self) -> Any:
        async def run() -> None:
            config = self.scenario("health_metrics")
            daemon = await self.start(config)
            await until(lambda: self.sinks["d1"].lines)
            assert config.health_metrics is not None
            group = replace(config.health_metrics.group, prefix="new.")
            chains = daemon.chains
            daemon.change(replace(config, health_metrics=replace(config.health_metrics, group=group)))
            await until(lambda: daemon.chains is not chains)
            await until(lambda: any(line.startswith(b"new.global.") for line in self.sinks["d1"].lines))

        return ensureDeferred(run())
