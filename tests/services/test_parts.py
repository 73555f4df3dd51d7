"""The small services: order of stopping, turns, logs, own metrics, host statistics."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from cadtwist.interfaces import ISink
from cadtwist.model.batch import NO_ID, Batch
from cadtwist.services.localstats import LocalStats
from cadtwist.services.logs import CarbonLogs
from cadtwist.services.selfstats import AgentStats, Emitter, account_metrics, metric_part
from cadtwist.services.sequence import Sequence, Step
from cadtwist.services.turn import Turn
from cadtwist.telemetry import Account, Telemetry


class SequenceTests(SynchronousTestCase):
    """Children stop last first, each waited for."""

    def test_stops_in_reverse_order_and_waits(self) -> None:
        events: list[str] = []
        slow: Deferred[None] = Deferred()

        def stop_second() -> Deferred[None]:
            events.append("second stops")
            return slow

        sequence = Sequence()
        Step("first", lambda: events.append("first starts"), lambda: events.append("first stops")).setServiceParent(
            sequence
        )
        Step("second", lambda: events.append("second starts"), stop_second).setServiceParent(sequence)
        sequence.startService()
        stopped = sequence.stopService()
        self.assertEqual(events, ["first starts", "second starts", "second stops"])
        self.assertNoResult(stopped)
        slow.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(events[-1], "first stops")

    def test_a_child_that_fails_stops_no_other(self) -> None:
        class Broken(Service):
            def stopService(self) -> None:
                raise ValueError("broken")

        events: list[str] = []
        sequence = Sequence()
        Step("first", None, lambda: events.append("first stops")).setServiceParent(sequence)
        Broken().setServiceParent(sequence)
        sequence.startService()
        self.successResultOf(sequence.stopService())
        self.assertEqual(events, ["first stops"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class TurnTests(SynchronousTestCase):
    """Jobs at the end of a busy turn."""

    def test_runs_once_per_turn_in_order(self) -> None:
        clock, ran = Clock(), []
        turn = Turn(clock)
        turn.add(lambda: ran.append("journal"))
        turn.add(lambda: ran.append("recycle"))
        turn.begin()
        turn.begin()
        clock.advance(0)
        clock.advance(0)
        self.assertEqual(ran, ["journal", "recycle"])

    def test_a_failing_job_stops_no_other(self) -> None:
        clock, ran = Clock(), []
        turn = Turn(clock)
        turn.add(lambda: 1 // 0)
        turn.add(lambda: ran.append("recycle"))
        turn.begin()
        clock.advance(0)
        self.assertEqual(ran, ["recycle"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class CarbonLogsTests(SynchronousTestCase):
    """Files and formats of carbon's logs."""

    def logged(self, rotate: bool) -> dict[str, str]:
        folder = self.mktemp()
        publisher = LogPublisher()
        logs = CarbonLogs(folder, rotate, publisher)
        logs.startService()
        Logger("cadtwist.protocols.line", observer=publisher).info("invalid line {line!r}", line="x")
        Logger("cadtwist.services.writer", observer=publisher).info("created {name}", name="a.b", log_file="creates")
        Logger("elsewhere", observer=publisher).info("hello")
        Logger("elsewhere", observer=publisher).debug("unseen")
        logs.stopService()
        return {name: open(os.path.join(folder, name), encoding="utf-8").read() for name in sorted(os.listdir(folder))}

    def test_events_go_to_their_files(self) -> None:
        for rotate in (True, False):
            found = self.logged(rotate)
            self.assertEqual(sorted(found), ["console.log", "creates.log", "listener.log"])
            self.assertRegex(found["creates.log"], r"^\d\d/\d\d/\d{4} \d\d:\d\d:\d\d :: created a\.b\n$")

    def test_a_file_that_was_moved_away_is_opened_anew(self) -> None:
        folder, publisher = self.mktemp(), LogPublisher()
        logs = CarbonLogs(folder, False, publisher)
        logs.startService()
        log = Logger("elsewhere", observer=publisher)
        log.info("one")
        os.rename(os.path.join(folder, "console.log"), os.path.join(folder, "console.log.1"))
        log.info("two")
        logs.stopService()
        with open(os.path.join(folder, "console.log"), encoding="utf-8") as reopened:
            self.assertIn("two", reopened.read())


@implementer(ISink)
class Recorder:
    def __init__(self) -> None:
        self.points: list[tuple[int, float, float]] = []

    def accept(self, batch: Batch) -> None:
        self.points += zip(batch.ids.tolist(), batch.timestamps.tolist(), batch.values.tolist(), strict=True)


class SelfStatsTests(SynchronousTestCase):
    """carbon's names and our ledger as metrics."""

    def test_counters_are_told_as_differences(self) -> None:
        totals: dict[str, float] = {"creates": 0, "updateOperations": 0, "committedPoints": 0, "cpu": 1.0, "s": 0.0}
        stats = AgentStats(
            "carbon.agents.h-a",
            {name: (lambda name=name: totals[name]) for name in ("creates", "updateOperations", "committedPoints")},
            {"cache.size": lambda: 7},
            lambda: totals["cpu"],
            lambda: totals["s"],
            lambda: 0,
        )
        first = dict(stats.collect(100.0))
        self.assertNotIn("carbon.agents.h-a.cpuUsage", first)
        totals.update(creates=3, updateOperations=2, committedPoints=10, cpu=7.0, s=0.5)
        second = dict(stats.collect(160.0))
        self.assertEqual(second["carbon.agents.h-a.creates"], 3)
        self.assertEqual(second["carbon.agents.h-a.cache.size"], 7)
        self.assertEqual(second["carbon.agents.h-a.pointsPerUpdate"], 5)
        self.assertEqual(second["carbon.agents.h-a.avgUpdateTime"], 0.25)
        self.assertAlmostEqual(second["carbon.agents.h-a.cpuUsage"], 10.0)
        third = dict(stats.collect(220.0))
        self.assertEqual(third["carbon.agents.h-a.creates"], 0)
        self.assertNotIn("carbon.agents.h-a.pointsPerUpdate", third)

    def test_accounts_become_metrics_with_safe_names(self) -> None:
        telemetry = Telemetry()
        account = telemetry.account("line tcp:0.0.0.0:2003")
        account.received = 5
        account.drop("cache full", 2)
        found = dict(account_metrics("p", telemetry))
        self.assertEqual(found["p.ledger.line_tcp:0_0_0_0:2003.received"], 5)
        self.assertEqual(found["p.ledger.line_tcp:0_0_0_0:2003.dropped.cache_full"], 2)
        self.assertEqual(metric_part("/mnt/a b"), "_mnt_a_b")

    def test_the_emitter_balances(self) -> None:
        account, sink = Account("own"), Recorder()
        emitter = Emitter(account, sink, lambda name, now: NO_ID if name == b"refused" else len(name))
        emitter.emit([("a", 1.0), ("bb", 2.0), ("refused", 3.0), ("nan", float("nan"))], 100.0)
        self.assertEqual(sink.points, [(1, 100.0, 1.0), (2, 100.0, 2.0)])
        self.assertEqual(account.balance(), 0)
        self.assertEqual(account.dropped, {"table_full": 1})


class LocalStatsTests(SynchronousTestCase):
    """Host statistics over a stand-in of psutil, and once over the real one."""

    def test_rates_need_two_readings_and_missing_readings_are_left_out(self) -> None:
        class Times(SimpleNamespace):
            _fields = ("user",)

        user = [10.0]

        def missing(*_: Any, **__: Any) -> Any:
            raise OSError("not here")

        source = SimpleNamespace(
            cpu_times=lambda: Times(user=user[0]),
            cpu_count=lambda: 2,
            cpu_stats=lambda: SimpleNamespace(ctx_switches=1, interrupts=2),
            virtual_memory=lambda: SimpleNamespace(total=4),
            swap_memory=lambda: SimpleNamespace(total=1),
            getloadavg=lambda: (1.0, 2.0, 3.0),
            net_io_counters=missing,
            disk_io_counters=lambda perdisk: None,
            disk_partitions=missing,
            boot_time=lambda: 5.0,
            pids=lambda: [1, 2],
        )
        stats = LocalStats("local.h", source)
        first = dict(stats.collect(100.0))
        self.assertNotIn("local.h.cpu.user", first)
        self.assertEqual(first["local.h.memory.total"], 4)
        user[0] = 15.0
        second = dict(stats.collect(110.0))
        self.assertAlmostEqual(second["local.h.cpu.user"], 25.0)
        self.assertEqual(second["local.h.uptime"], 105.0)

    def test_this_host_tells_something(self) -> None:
        self.assertIn("local.memory.total", dict(LocalStats("local").collect(1.0)))
