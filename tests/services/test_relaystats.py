"""carbon's own metrics of a relay: every name, counters by interval, and their way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import SelfMetricsConfig, StagesConfig
from cadtwist.config.relaymodel import QueueConfig, RatioResetConfig, RelayConfig
from cadtwist.model.rules import RewriteRule
from cadtwist.services.relaystats import RelayStats, destination_part
from cadtwist.telemetry import Telemetry
from tests.services.daemons import until
from tests.services.test_relay import LINES, RelayCase

PREFIX = "carbon.relays.host-a"
ALWAYS = {"metricsReceived", "blacklistMatches", "whitelistRejects", "activeConnections", "memUsage"}
NOTHING: dict[str, float] = dict.fromkeys(
    ("attempted", "sent", "batches", "full_queue_drops", "queued_until_connected", "most_queued"), 0
) | {"most_queued_until_ready": 0}


class FakeDestination:
    def __init__(self) -> None:
        self.told: dict[str, float] = dict(NOTHING)

    def figures(self) -> dict[str, float]:
        return self.told


class RelayStatsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.telemetry = Telemetry()
        self.destinations: dict[str, FakeDestination] = {}
        self.stats = RelayStats(PREFIX, self.telemetry, lambda: self.destinations)

    def collect(self, now: float) -> dict[str, float]:
        found = self.stats.collect(now)
        self.assertTrue(all(name.startswith(f"{PREFIX}.") for name, _ in found))
        return {name.removeprefix(f"{PREFIX}."): value for name, value in found}

    def test_an_idle_relay(self) -> None:
        self.destinations["127_0_0_1:2004:a"] = FakeDestination()
        self.assertEqual(set(self.collect(60.0)), ALWAYS)
        self.assertEqual(set(self.collect(120.0)), ALWAYS | {"cpuUsage"})

    def test_counters_are_those_of_the_interval(self) -> None:
        door, names = self.telemetry.account("line tcp:a"), self.telemetry.account("names")
        door.received = 10
        names.drop("blacklist", 3)
        names.drop("whitelist", 2)
        first = self.collect(60.0)
        self.assertEqual((first["metricsReceived"], first["blacklistMatches"], first["whitelistRejects"]), (5, 3, 2))
        door.received += 5
        second = self.collect(120.0)
        self.assertEqual((second["metricsReceived"], second["blacklistMatches"], second["whitelistRejects"]), (5, 0, 0))
        self.assertGreaterEqual(second["cpuUsage"], 0.0)
        self.assertGreater(second["memUsage"], 1e6)

    def test_open_connections(self) -> None:
        self.telemetry.account("line tcp:a").gauge("connections_open", lambda: 3.0)
        self.telemetry.account("pickle tcp:b").gauge("connections_open", lambda: 2.0)
        self.telemetry.account("http tcp:c").gauge("connections_open", lambda: 9.0)
        self.assertEqual(self.collect(1.0)["activeConnections"], 5.0)

    def of(self, told: Mapping[str, float]) -> dict[str, float]:
        stem = "destinations.127_0_0_1:2004:a."
        return {name.removeprefix(stem): value for name, value in told.items() if name.startswith(stem)}

    def test_destinations_tell_what_is_not_zero(self) -> None:
        destination = self.destinations["127_0_0_1:2004:a"] = FakeDestination()
        destination.told = {
            "attempted": 10, "sent": 7, "batches": 2, "full_queue_drops": 1, "queued_until_connected": 4,
            "most_queued": 6, "most_queued_until_ready": 5,
        }  # fmt: skip
        wanted = {
            "attemptedRelays": 10, "sent": 7, "batchesSent": 2, "fullQueueDrops": 1, "queuedUntilConnected": 4,
            "relayMaxQueueLength": 6, "queuedUntilReady": 5,
        }  # fmt: skip
        self.assertEqual(self.of(self.collect(60.0)), wanted)
        destination.told = {**destination.told, "attempted": 12, "most_queued": 2, "most_queued_until_ready": 0}
        self.assertEqual(self.of(self.collect(120.0)), {"attemptedRelays": 2, "relayMaxQueueLength": 2})

    def test_resets_are_told_as_zero_where_there_may_be_some(self) -> None:
        destination = self.destinations["127_0_0_1:2004:a"] = FakeDestination()
        destination.told["slow_connection_resets"] = 0
        self.assertEqual(self.of(self.collect(60.0)), {"slowConnectionReset": 0})
        destination.told["slow_connection_resets"] = 2
        self.assertEqual(self.of(self.collect(60.0)), {"slowConnectionReset": 2})

    def test_a_destination_that_comes_later(self) -> None:
        self.collect(60.0)
        self.destinations["127_0_0_1:2004:a"] = FakeDestination()
        self.destinations["127_0_0_1:2004:a"].told["sent"] = 3
        self.assertEqual(self.of(self.collect(120.0)), {"sent": 3})

    def test_parts_of_names(self) -> None:
        self.assertEqual(destination_part("127.0.0.1", 2004, "a"), "127_0_0_1:2004:a")
        self.assertEqual(destination_part("relay.example", 2004, None), "relay_example:2004:None")


class OwnMetricsTests(RelayCase):
    def test_no_list_or_rule_is_about_them(self) -> Any:
        async def run() -> None:
            group = self.group(method="constant", members=("d0",))
            stages = StagesConfig(whitelist=("^m",), blacklist=("carbon",), rewrite=(RewriteRule("carbon", "x"),))
            own = SelfMetricsConfig(interval_s=0.1, host="h")
            daemon = await self.start(self.relay(RelayConfig(groups=(group,)), self_metrics=own, stages=stages))
            await self.send(LINES)
            await self.send(b"carbon.x 1 1700000000\nn 1 1700000000\n")
            await until(lambda: any(b".blacklistMatches 1 " in line for line in self.sinks["d0"].lines))
            found = [line.split() for line in self.sinks["d0"].lines if line.startswith(b"carbon.relays.h-a.")]
            for what, wanted in (("metricsReceived", 300), ("blacklistMatches", 1), ("whitelistRejects", 1)):
                name = b"carbon.relays.h-a." + what.encode()
                self.assertEqual(sum(float(value) for each, value, _ in found if each == name), wanted)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_are_routed_like_any_point(self) -> Any:
        async def run() -> None:
            group = self.group(method="constant", members=("d0",))
            own = SelfMetricsConfig(interval_s=0.2, host="a.b")
            config = self.relay(RelayConfig(groups=(group,)), self_metrics=own)
            destinations = tuple(
                replace(each, ratio_reset=RatioResetConfig(enabled=True)) for each in config.destinations
            )
            daemon = await self.start(replace(config, destinations=destinations))
            await self.send(LINES)

            def told() -> dict[bytes, list[float]]:
                found: dict[bytes, list[float]] = {}
                for line in self.sinks["d0"].lines:
                    name, value, _ = line.split()
                    if name.startswith(b"carbon.relays.a_b-a."):
                        found.setdefault(name.removeprefix(b"carbon.relays.a_b-a."), []).append(float(value))
                return found

            await until(lambda: sum(told().get(b"metricsReceived", ())) == 300)
            stem = b"destinations.10_0_0_1:0:d0."
            await until(lambda: sum(told().get(stem + b"attemptedRelays", ())) > 300)
            await until(lambda: stem + b"slowConnectionReset" in told())
            await until(lambda: b"cpuUsage" in told())
            self.assertLessEqual({name.decode() for name in told() if b"." not in name}, ALWAYS | {"cpuUsage"})
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_of_a_queue_that_is_full(self) -> Any:
        async def run() -> None:
            await self.sinks["d1"].close()
            group, lost = self.group(method="constant", members=("d0",)), self.group(method="constant", members=("d1",))
            own = SelfMetricsConfig(interval_s=0.2, host="h")
            relays = RelayConfig(name="relay", groups=(group, lost))
            config = self.relay(relays, queue=QueueConfig(max_points=100), self_metrics=own)
            await self.start(config)
            await self.send(LINES)
            stem = b"carbon.relays.h-a.destinations.10_0_0_1:0:d1."

            def told(name: bytes) -> list[float]:
                lines = [line.split() for line in self.sinks["d0"].lines]
                return [float(value) for found, value, _ in lines if found == stem + name]

            await until(lambda: sum(told(b"fullQueueDrops")) >= 200)
            self.assertGreaterEqual(sum(told(b"queuedUntilConnected")), 100)
            self.assertEqual(max(told(b"relayMaxQueueLength")), 100.0)

        return ensureDeferred(run())
