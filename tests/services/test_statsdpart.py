"""statsd as a part of the daemon: unix sockets in, files out."""

from __future__ import annotations

import os
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred

from cadtwist.config.model import Config, Listener
from cadtwist.config.statsdsection import HistogramConfig, StatsdSection
from cadtwist.services.build import Daemon
from tests.services.daemons import DaemonCase, until

SECTION = StatsdSection(flush_interval_s=3600.0, prefix_stats="", legacy_namespace=False)


class StatsdPartTests(DaemonCase):
    """What is summed up goes where datapoints go."""

    def statsd(self, section: StatsdSection = SECTION, **changes: Any) -> Config:
        door = Listener(protocol="statsd", transport="unix", path=self.door)
        return replace(self.config(listeners=(door,), statsd=section), **changes)

    def pending(self, daemon: Daemon) -> dict[str, float]:
        """Return the values that wait for their files."""
        assert daemon.kept is not None
        found = {}
        for number in daemon.kept.points.pending()[0].tolist():
            _, values = daemon.kept.points.peek(number)
            found[daemon.kept.table.name(number).decode()] = float(values[-1])
        return found

    async def taken(self, daemon: Daemon, values: int) -> None:
        assert daemon.statsd is not None
        account = daemon.telemetry.account("statsd")
        await until(lambda: account.received >= values)

    def told(self, daemon: Daemon) -> None:
        assert daemon.statsd is not None
        daemon.statsd.window.finish(daemon.reactor.seconds())

    def test_values_go_into_the_cache(self) -> Any:
        async def run() -> None:
            section = replace(SECTION, histograms=(HistogramConfig(metric="t", bins=(5.0, float("inf"))),))
            daemon = await self.start(self.statsd(section, writer=self.slow()))
            await self.send(b"a:1|c\na:2|c\nt:4|ms\ng:7|g\nbad\nh:3|h\n")
            await self.taken(daemon, 5)
            self.told(daemon)
            found = self.pending(daemon)
            self.assertEqual(found["stats.counters.a.count"], 3.0)
            self.assertEqual(found["stats.timers.t.histogram.bin_5"], 1.0)
            self.assertEqual((found["stats.gauges.g"], found["stats.counters.h.count"]), (7.0, 3.0))
            self.balanced(daemon)

        return ensureDeferred(run())

    def slow(self) -> Any:
        """Return how files are written as good as never, until the end."""
        return replace(
            self.config().writer, max_updates_per_second=0.001, max_creates_per_minute=0.0,
            on_shutdown_updates_per_second=1e9,
        )  # fmt: skip

    def test_what_was_open_is_there_again(self) -> Any:
        async def run() -> None:
            config = self.statsd(writer=self.slow())
            daemon = await self.start(config)
            await self.send(b"a:1|c\n" * 5)
            await self.taken(daemon, 5)
            daemon.turn.end()
            daemon.leave()
            await self.stop_all()
            again = await self.start(config)
            assert again.statsd is not None
            self.assertEqual(again.statsd.window.open_values("c"), {"a": 5.0})
            await self.send(b"a:2|c\n")
            await self.taken(again, 1)
            self.told(again)
            self.assertEqual(self.pending(again)["stats.counters.a.count"], 7.0)
            self.balanced(again)

        return ensureDeferred(run())

    def test_a_stop_tells_what_is_open_and_leaves_no_log(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.statsd())
            await self.send(b"a:1|c\n")
            await self.taken(daemon, 1)
            await self.stop_all()
            files = [name for _, _, names in os.walk(os.path.join(self.folder, "whisper")) for name in names]
            self.assertIn("count.wsp", files)
            left = os.listdir(os.path.join(self.folder, "wal", "statsd", "window"))
            self.assertLessEqual(len([name for name in left if name.endswith(".seg")]), 1)

        return ensureDeferred(run())

    def test_settings_change_while_it_runs(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.statsd(writer=self.slow()))
            await self.send(b"t:1|ms\n")
            await self.taken(daemon, 1)
            section = replace(SECTION, percent_thresholds=(50.0,), global_prefix="g")
            daemon.change(replace(daemon.config, statsd=section))
            self.told(daemon)
            found = self.pending(daemon)
            self.assertEqual(found["g.timers.t.upper_50"], 1.0)
            self.assertNotIn("g.timers.t.upper_90", found)

        return ensureDeferred(run())

    def test_statsites_lines_and_records(self) -> Any:
        async def run() -> None:
            section = replace(SECTION, family="statsite", quantiles=(0.5,), timers_include=("mean",))
            daemon = await self.start(self.statsd(section, writer=self.slow()))
            record = b"\xaa\x02\x02\x00" + b"\x00\x00\x00\x00\x00\x00\x08\x40" + b"b\x00"
            await self.send(b"a:1|c\nt:4|h\n" + record)
            await self.taken(daemon, 3)
            self.told(daemon)
            self.assertEqual(
                self.pending(daemon),
                {"stats.counts.a": 1.0, "stats.counts.b": 3.0, "stats.timers.t.mean": 4.0, "stats.timers.t.p50": 4.0},
            )
            self.balanced(daemon)

        return ensureDeferred(run())
