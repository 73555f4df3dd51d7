"""An aggregator in one process: unix sockets in, unix sockets out."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.aggregatormodel import AggregatorConfig
from cadtwist.config.model import Config, StagesConfig
from cadtwist.model.aggregationrules import AggregateRule
from cadtwist.model.rules import RewriteRule
from cadtwist.services.aggregatorstats import AggregatorStats
from cadtwist.services.build import Daemon
from cadtwist.telemetry import Telemetry
from tests.services.daemons import until
from tests.services.test_relay import RelayCase

RULE = AggregateRule("all.<app>.requests", 3600, "sum", "servers.*.<app>.requests")


class AggregatorTests(RelayCase):
    """What is made, what goes on, and what a reload and the end keep."""

    def aggregator(self, *rules: AggregateRule, **changes: Any) -> Config:
        stages = StagesConfig(
            rewrite=(RewriteRule("^old\\.", "servers."),), post_rewrite=(RewriteRule("^all", "ALL"),)
        )
        base = replace(self.relay(), aggregator=AggregatorConfig(), aggregate_rules=rules or (RULE,), stages=stages)
        return replace(base, **changes)

    def data(self) -> bytes:
        """Return datapoints of one interval, told of two servers."""
        self.start_of_interval = int(time.time()) // 3600 * 3600
        return b"".join(
            b"%b.s%d.shop.requests %d %d\n" % (room, n, n + 1, self.start_of_interval + n)
            for n, room in ((0, b"servers"), (1, b"old"))
        )

    def lines(self) -> Counter[bytes]:
        return Counter(line for sink in self.sinks.values() for line in sink.lines)

    async def stopped(self, daemon: Daemon) -> None:
        await self.stop_all()
        self.assertEqual(daemon.telemetry.account("aggregator").held(), 0)

    def test_aggregates_are_rewritten_and_sent_like_what_they_are_made_of(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.aggregator())
            await self.send(self.data())
            await until(lambda: self.total() == 2)
            self.assertEqual(daemon.telemetry.account("aggregator").held(), 2)
            self.balanced(daemon)
            await self.stopped(daemon)
            when = self.start_of_interval
            self.assertEqual(
                self.lines(),
                Counter({
                    b"servers.s0.shop.requests 1 %d" % when: 1,
                    b"servers.s1.shop.requests 2 %d" % (when + 1): 1,
                    b"ALL.shop.requests 3 %d" % when: 1,
                }),
            )  # fmt: skip

        return ensureDeferred(run())

    def test_only_aggregates_without_forwarding(self) -> Any:
        async def run() -> None:
            config = self.aggregator(aggregator=AggregatorConfig(forward_all=False))
            daemon = await self.start(config)
            await self.send(self.data())
            await until(lambda: daemon.telemetry.account("aggregator").held() == 2)
            await self.stopped(daemon)
            self.assertEqual(list(self.lines()), [b"ALL.shop.requests 3 %d" % self.start_of_interval])

        return ensureDeferred(run())

    def test_a_reload_keeps_open_buffers(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.aggregator())
            await self.send(self.data())
            await until(lambda: self.total() == 2)
            before = daemon.chains
            more = AggregateRule("most.<app>", 3600, "max", "servers.*.<app>.requests")
            daemon.change(self.aggregator(RULE, more))
            await until(lambda: daemon.chains is not before)
            await self.send(self.data())
            await until(lambda: self.total() == 4)
            self.balanced(daemon)
            await self.stopped(daemon)
            lines = self.lines()
            self.assertEqual(lines[b"ALL.shop.requests 6 %d" % self.start_of_interval], 1)
            self.assertEqual(lines[b"most.shop 2 %d" % self.start_of_interval], 1)

        return ensureDeferred(run())

    def test_without_an_aggregator_what_is_open_is_told(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.aggregator())
            await self.send(self.data())
            await until(lambda: self.total() == 2)
            daemon.change(self.aggregator(aggregator=None))
            await until(lambda: self.total() == 3)
            self.assertEqual(self.lines()[b"ALL.shop.requests 3 %d" % self.start_of_interval], 1)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_the_end_comes_by_time_too(self) -> Any:
        async def run() -> None:
            rule = AggregateRule("all.<app>.requests", 1, "count", "servers.*.<app>.requests")
            daemon = await self.start(self.aggregator(rule))
            await self.send(self.data())
            await until(lambda: self.total() == 4)
            self.balanced(daemon)

        return ensureDeferred(run())


class AggregatorStatsTests(SynchronousTestCase):
    def test_what_carbon_tells_of_itself(self) -> None:
        telemetry = Telemetry()
        account = telemetry.account("aggregator")
        account.gauge("allocated_buffers", lambda: 3)
        account.held = lambda: 7
        account.count("aggregates", 5)
        telemetry.account("names")
        stats = AggregatorStats("carbon.aggregator.h-a", telemetry)
        wanted = [("allocatedBuffers", 3), ("bufferedDatapoints", 7), ("aggregateDatapointsSent", 5)]
        self.assertEqual(stats.collect(), [(f"carbon.aggregator.h-a.{name}", value) for name, value in wanted])
        self.assertEqual(stats.collect()[2][1], 0.0)
