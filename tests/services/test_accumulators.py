"""Cadent's accumulators in a running daemon: unix sockets in, unix sockets out."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from datetime import datetime
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred

from cadtwist.config.accumulatormodel import AccumulatorConfig
from cadtwist.config.model import Config, SelfMetricsConfig, WalConfig
from cadtwist.config.relaymodel import FilterRule, LineConfig, RelayConfig
from cadtwist.services.build import Daemon
from cadtwist.services.ops import RelayOps
from tests.services.daemons import until
from tests.services.test_relay import RelayCase

HOUR = 3600.0
STATSD, GRAPHITE = LineConfig(format="statsd", validate=False), LineConfig(cleaning="cadent")


def accumulator(**values: Any) -> AccumulatorConfig:
    """Return an accumulator whose hour begins with it, whatever the clock says."""
    base = {"name": "x", "relay": "in", "backend": "out", "flush_s": HOUR, "aligned": False}
    return AccumulatorConfig(**{**base, **values})


class AccumulatorCase(RelayCase):
    """Lines come in at the relay `in` (sink d0); what is made of them goes to `out` (d1), or filtered to `far` (d2)."""

    def accumulating(self, *accumulators: AccumulatorConfig, lines: LineConfig = STATSD, out: LineConfig = GRAPHITE,
                     filters: tuple[FilterRule, ...] = (), **changes: Any) -> Config:  # fmt: skip
        relays = (
            RelayConfig(name="in", lines=lines, filters=filters, groups=(self.group(members=("d0",)),)),
            RelayConfig(
                name="out", lines=out, groups=(self.group(members=("d1",)),),
                filters=(FilterRule(kind="substring", pattern="far", action="redirect", relay="far"),
                         FilterRule(kind="substring", pattern="_95", action="reject")),
            ),
            RelayConfig(name="far", lines=out, groups=(self.group(members=("d2",)),)),
        )  # fmt: skip
        changes.setdefault("wal", WalConfig(directory=os.path.join(self.folder, "wal")))
        changes.setdefault("self_metrics", SelfMetricsConfig(interval_s=0.0))
        return replace(self.relay(*relays), accumulators=accumulators or (accumulator(),), **changes)

    def lines(self, name: str = "d1") -> Counter[bytes]:
        return Counter(self.sinks[name].lines)

    def held(self, daemon: Daemon, points: int, name: str = "x") -> Any:
        return until(lambda: daemon.telemetry.account(f"accumulator {name}").held() == points)

    def taken(self, daemon: Daemon, points: int, name: str = "x") -> Any:
        """Wait until an accumulator has got so many datapoints, told meanwhile or not."""
        return until(lambda: daemon.telemetry.account(f"accumulator {name}").received == points)

    def named(self, name: str = "d1") -> dict[str, str]:
        """Return the values that a sink has got by name, whatever their time."""
        return {line.split()[0].decode(): line.split()[1].decode() for line in self.sinks[name].lines}

    async def stopped(self, daemon: Daemon) -> None:
        await self.stop_all()
        self.balanced(daemon)


class AccumulatorTests(AccumulatorCase):
    """What goes in, and what comes out."""

    def test_statsd_to_graphite(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.accumulating())
            await self.send(b"c:3|c\nc:2|c|@0.5\ng.far:1|g\ng.far:+4|g\nt:10|ms\nt:20|ms\nnoline\nbad:x|c\nq:1|q\nd\n")
            await self.held(daemon, 6)
            self.balanced(daemon)
            begun = int(time.time())
            await self.stopped(daemon)
            self.assertEqual(self.lines("d0"), Counter())
            told = self.named()
            self.assertEqual((told["stats_counts.c"], told["stats.counters.c"]), ("7.000000", f"{7 / HOUR:.6f}"))
            self.assertEqual(
                {field: told[f"stats.timers.t.{field}"] for field in ("count", "mean", "upper", "upper_90")},
                {"count": "2.000000", "mean": "15.000000", "upper": "20.000000", "upper_90": "20.000000"},
            )
            self.assertEqual([name for name in told if "_95" in name], [])
            self.assertEqual(self.named("d2"), {"stats.gauges.g.far": "5.000000"})
            self.assertTrue(all(begun <= int(line.split()[2]) <= time.time() + 1 for line in self.sinks["d1"].lines))
            read = daemon.telemetry.account("accumulator x input")
            self.assertEqual((read.received, read.dropped), (8, {"bad.value": 1, "bad.type": 1}))

        return ensureDeferred(run())

    def test_graphite_to_graphite(self) -> Any:
        async def run() -> None:
            config = self.accumulating(accumulator(input_format="graphite", flush_s=10.0), lines=GRAPHITE)
            daemon = await self.start(config)
            await self.send(b"a.sum 1 1001\na.sum 2 1009\na.sum 4 1010\nm.max 1 1000\nm.max 9 1000\n")
            await self.send(b"m.far 1 0\nm.far 2 0\n")
            await self.taken(daemon, 7)
            await self.stopped(daemon)
            self.assertEqual(
                self.lines(),
                Counter([b"a.sum 3.000000 1000", b"a.sum 4.000000 1010", b"m.max 9.000000 1000"]),
            )
            self.assertEqual(self.lines("d2"), Counter([b"m.far 1.500000 0"]))

        return ensureDeferred(run())

    def test_statsd_to_statsd(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.accumulating(accumulator(output_format="statsd"), out=STATSD))
            await self.send(b"c:3|c\nc:4|c\ng:7|g\nlow:-1|g\n")
            await self.held(daemon, 4)
            await self.stopped(daemon)
            rate, low = b"c:%.6f|c" % (7 / HOUR), [b"low:0|g", b"low:-1.000000|g"]
            self.assertEqual(self.lines(), Counter([b"stats_counts.c:7.000000|c", rate, b"g:7.000000|g", *low]))

        return ensureDeferred(run())

    def test_graphite_to_statsd(self) -> Any:
        async def run() -> None:
            made = accumulator(input_format="graphite", output_format="statsd", flush_s=10.0)
            daemon = await self.start(self.accumulating(made, lines=GRAPHITE, out=STATSD))
            await self.send(b"stats.counters.a 1 1001\nstats.counters.a 2 1002\nb 3 1001\nb 4 1001\n")
            await self.taken(daemon, 4)
            await self.stopped(daemon)
            self.assertEqual(self.lines(), Counter([b"a:3.000000|c", b"b:3.500000|g"]))

        return ensureDeferred(run())

    def test_lines_of_any_shape_are_read_as_the_accumulator_says(self) -> Any:
        async def run() -> None:
            regex = LineConfig(format="regex", regex=r"(?P<Key>\S+)")
            daemon = await self.start(self.accumulating(accumulator(input_format="graphite"), lines=regex))
            await self.send(b"a.sum 1 1001\n \na.sum 2 1002\nb\n")
            await self.held(daemon, 2)
            self.assertEqual(daemon.telemetry.account("accumulator x input").dropped, {"bad.fields": 1})
            await self.stopped(daemon)
            self.assertEqual(self.lines(), Counter([b"a.sum 3.000000 0"]))

        return ensureDeferred(run())

    def test_filters_come_before(self) -> Any:
        async def run() -> None:
            filters = (
                FilterRule(kind="prefix", pattern="bad.", action="reject"),
                FilterRule(kind="prefix", pattern="away.", action="redirect", relay="far"),
                FilterRule(kind="prefix", pattern="a"),
            )
            daemon = await self.start(self.accumulating(filters=filters, out=STATSD))
            await self.send(b"bad.a:1|c\naway.a:1|c\na:1|c\nb:1|c\n")
            await self.held(daemon, 2)
            await until(lambda: self.total() == 1)
            self.assertEqual(self.lines("d2"), Counter([b"away.a:1|c"]))
            await self.stopped(daemon)

        return ensureDeferred(run())

    def test_what_is_made_passes_no_other_accumulator(self) -> Any:
        async def run() -> None:
            second = accumulator(name="y", relay="out", backend="far", input_format="graphite")
            daemon = await self.start(self.accumulating(accumulator(), second))
            await self.send(b"c:3|c\n")
            await self.held(daemon, 1)
            await self.stopped(daemon)
            self.assertEqual(daemon.telemetry.account("accumulator y").received, 0)
            self.assertEqual(self.named()["stats_counts.c"], "3.000000")

        return ensureDeferred(run())

    def test_what_is_made_may_come_back_to_its_own_relay(self) -> Any:
        async def run() -> None:
            made = accumulator(backend="in", input_format="graphite", flush_s=10.0)
            daemon = await self.start(self.accumulating(made, lines=GRAPHITE))
            await self.send(b"a 1 1000\na 3 1000\n")
            await self.taken(daemon, 2)
            await self.stopped(daemon)
            self.assertEqual(self.lines("d0"), Counter([b"a 2.000000 1000"]))

        return ensureDeferred(run())

    def test_a_black_hole(self) -> Any:
        async def run() -> None:
            for made, lines, data in (
                (accumulator(backend="", input_format="graphite"), GRAPHITE, b"a 1 1000\na 3 1000\n"),
                (accumulator(backend=""), STATSD, b"a:1|c\na:2|c\n"),
            ):
                daemon = await self.start(self.accumulating(made, lines=lines))
                await self.send(data)
                await self.held(daemon, 2)
                await self.stopped(daemon)
                self.assertEqual((self.total(), daemon.telemetry.account("accumulator x").merged), (0, 2))

        return ensureDeferred(run())

    def test_by_time_and_what_is_kept(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.accumulating(accumulator(flush_s=1.0, aligned=True, keep_keys=True)))
            await self.send(b"c:3|c\ng:5|g\n")
            await until(lambda: len(self.sinks["d1"].lines) >= 6)
            self.balanced(daemon)
            await self.stopped(daemon)
            told = [line.rpartition(b" ")[0] for line in self.sinks["d1"].lines]
            self.assertEqual(
                set(told),
                {b"stats_counts.c 3.000000", b"stats.counters.c 3.000000", b"stats_counts.c 0.000000",
                 b"stats.counters.c 0.000000", b"stats.gauges.g 5.000000"},
            )  # fmt: skip
            stamps = sorted({int(line.split()[2]) for line in self.sinks["d1"].lines[:6]})
            self.assertEqual(stamps, list(range(stamps[0], stamps[-1] + 1)))

        return ensureDeferred(run())

    def test_a_reload_keeps_what_is_open(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.accumulating())
            await self.send(b"c:3|c\n")
            await self.held(daemon, 1)
            before = daemon.chains
            filters = (FilterRule(kind="prefix", pattern="bad.", action="reject"),)
            daemon.change(self.accumulating(filters=filters))
            await until(lambda: daemon.chains is not before)
            await self.send(b"c:4|c\nbad.c:1|c\n")
            await self.held(daemon, 2)
            self.balanced(daemon)
            await self.stopped(daemon)
            self.assertEqual(self.named()["stats_counts.c"], "7.000000")

        return ensureDeferred(run())

    def test_a_reload_tells_what_a_changed_one_has(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.accumulating())
            await self.send(b"c:3|c\n")
            await self.held(daemon, 1)
            before = daemon.chains
            daemon.change(self.accumulating(accumulator(options=(("globalPrefix", "p"),))))
            self.balanced(daemon)
            await until(lambda: daemon.chains is not before)
            await self.held(daemon, 0)
            await until(lambda: len(self.lines()) == 2)
            await self.send(b"c:4|c\n")
            await self.held(daemon, 1)
            self.balanced(daemon)
            await self.stopped(daemon)
            told = self.named()
            self.assertEqual((told["stats.counters.c"], told["p.counters.c"]), (f"{3 / HOUR:.6f}", f"{4 / HOUR:.6f}"))

        return ensureDeferred(run())

    def test_a_reload_may_bring_the_first_and_take_the_last(self) -> Any:
        async def run() -> None:
            config = self.accumulating()
            daemon = await self.start(replace(config, accumulators=()))
            await self.send(b"c:1|c\n")
            await until(lambda: self.total() == 1)
            for accumulators in (config.accumulators, ()):
                before = daemon.chains
                daemon.change(replace(config, accumulators=accumulators))
                await until(lambda before=before: daemon.chains is not before)
                await self.send(b"c:1|c\n")
                await self.held(daemon, len(accumulators))
            await until(lambda: self.total() == 4)
            self.assertEqual((len(self.lines("d0")), len(self.lines())), (1, 2))
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_what_operators_see(self) -> Any:
        async def run() -> None:
            second = accumulator(name="y", relay="out", backend="", input_format="graphite")
            door = replace(self.relay().listeners[0], path=f"{self.folder}/more.sock", to=("out",))
            config = self.accumulating(accumulator(), second)
            daemon = await self.start(replace(config, listeners=(replace(config.listeners[0], to=("in",)), door)))
            ops = RelayOps(daemon, daemon.relayed)  # type: ignore[arg-type]
            self.assertIsNone(ops.accumulator("far"))
            empty = {"min_time": "0001-01-01T00:00:00Z", "max_time": "0001-01-01T00:00:00Z", "stats": None}
            self.assertEqual(ops.accumulator("in"), empty)
            await self.send(b"c:3|c\nc:5|c\ns:x|s\n")
            await self.held(daemon, 3)
            found = ops.accumulator("in")
            assert found is not None
            stat, of_set = found["stats"]
            when = datetime.fromisoformat(stat.pop("time_ns").replace("Z", "+00:00")).timestamp()
            self.assertLess(abs(time.time() - when), 60)
            self.assertEqual(stat, {
                "key": "c", "stat_key": "c|c", "min": 3.0, "max": 5.0, "sum": 8.0, "mean": 4.0, "first": 3.0,
                "last": 5.0, "count": 2, "resolution": 5.0, "ttl": 315360000,
            })  # fmt: skip
            self.assertEqual((of_set["stat_key"], of_set["min"], of_set["count"]), ("s|s", 0.0, 1))
            json.dumps(found)
            self.door = f"{self.folder}/more.sock"
            await self.send(b"a.b 1 3600\na.b 2 7211\n")
            await self.held(daemon, 2, "y")
            found = ops.accumulator("out")
            assert found is not None
            self.assertEqual(
                (found["min_time"], found["max_time"]), ("1970-01-01T01:00:00Z", "1970-01-01T02:00:00Z")
            )
            self.assertEqual([stat["key"] for stat in found["stats"]], ["a.b", "a.b"])
            daemon.chains.finish()
            stats = ops.stats()
            self.assertEqual([stats[name]["valid_line_count"] for name in ("in", "out", "far")], [3, 5, 0])
            self.balanced(daemon)

        return ensureDeferred(run())
