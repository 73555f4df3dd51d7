"""Timers, descriptors, writers and looks at files: small services on a clock of the test."""

from __future__ import annotations

import math
import os
import resource
from types import SimpleNamespace
from typing import Any

import numpy as np
from msgspec.structs import replace
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cadtwist.config.load import Loaded
from cadtwist.config.model import Config, Listener, ReloadConfig, StagesConfig
from cadtwist.config.relaymodel import DestinationConfig, GroupConfig, RelayConfig
from cadtwist.model.writejob import WRITTEN, WriteJob
from cadtwist.services.descriptors import file_limit, files_to_keep, raise_file_limit
from cadtwist.services.reload import Reloader, file_states
from cadtwist.services.sequence import Every
from cadtwist.services.writer import WriterService
from cadtwist.telemetry import Account, Telemetry


class EveryTests(SynchronousTestCase):
    """A timer that does not drift."""

    def test_it_keeps_to_multiples_of_the_interval(self) -> None:
        clock = Clock()
        clock.rightNow = 1003.7
        told: list[float] = []

        def slow(now: float) -> None:
            told.append(now)
            clock.rightNow += 2.5

        timer = Every("slow", clock, 10.0, slow)
        timer.startService()
        clock.pump([0.1] * 500)
        self.assertEqual([int(now) for now in told], [1010, 1020, 1030, 1040, 1050, 1060])
        timer.stopService()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_clock_that_is_a_little_behind_tells_nothing_twice(self) -> None:
        class Early(Clock):
            """Calls a moment too early."""

            def callLater(self, delay: float, *call: Any, **more: Any) -> Any:
                return super().callLater(delay - 1e-7, *call, **more)

        clock = Early()
        told: list[float] = []
        timer = Every("early", clock, 10.0, told.append)
        timer.startService()
        clock.pump([1.0 - 1e-9] * 31)
        self.assertEqual(told, [10.0, 20.0, 30.0])
        timer.stopService()

    def test_a_job_that_takes_longer_than_the_interval_misses_some(self) -> None:
        clock = Clock()
        told: list[float] = []

        def slow(now: float) -> None:
            told.append(now)
            clock.rightNow += 12

        timer = Every("slow", clock, 10.0, slow)
        timer.startService()
        clock.advance(10)
        clock.advance(8)
        self.assertEqual(told, [10.0, 30.0])
        timer.stopService()

    def test_a_failing_job_is_called_again(self) -> None:
        clock = Clock()
        timer = Every("broken", clock, 10.0, lambda _: 1 // 0)
        timer.startService()
        clock.pump([10, 10])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        timer.stopService()


class DescriptorTests(SynchronousTestCase):
    """How many files the store may keep open."""

    def test_connections_have_theirs(self) -> None:
        self.assertEqual(files_to_keep(20_000, math.inf, math.inf), 20_000)
        self.assertEqual(files_to_keep(20_000, 100_000, math.inf), 20_000)
        self.assertEqual(files_to_keep(20_000, 20_000, 5_000), 13_976)
        self.assertEqual(files_to_keep(20_000, 20_000, math.inf), 13_976)
        self.assertEqual(files_to_keep(20_000, 1024, math.inf), 512)
        self.assertEqual(files_to_keep(20_000, 1024, 5000), 16)
        self.assertEqual(files_to_keep(4, 64, 60), 4)

    def test_the_soft_limit_becomes_the_hard_one(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        self.assertEqual(raise_file_limit(), math.inf if hard == resource.RLIM_INFINITY else hard)
        self.assertEqual(file_limit(), raise_file_limit())


def job(points: int) -> WriteJob:
    """Return a job of one metric."""
    columns = np.arange(float(points))
    bounds = np.array([0, 1], np.uint32)
    return WriteJob(
        np.array([0], np.uint32), b"a", bounds, np.zeros(1, np.int32), bounds * points, columns, columns, 0, 1
    )


class Source:
    """Jobs without end, until `jobs` are gone."""

    def __init__(self, jobs: int) -> None:
        self.left, self.settled = jobs, []  # type: ignore[var-annotated]

    def next_job(self, now: float, lane: int) -> WriteJob | None:
        self.left -= 1
        return job(5) if self.left >= 0 else None

    def wait_s(self, now: float) -> float:
        return 0.001

    def confirm(self, job: WriteJob, statuses: Any, now: float, late: int) -> None:
        self.settled.append(late)

    @property
    def is_empty(self) -> bool:
        return len(self.settled) >= 10


class WriterTests(TestCase):
    """Late points and stops in a hurry; a real thread writes."""

    timeout = 30

    def start(self, jobs: int) -> tuple[WriterService, Source]:
        source = Source(jobs)
        late = [0]

        def write(job: WriteJob) -> Any:
            late[0] += 2
            return np.full(len(job), WRITTEN, np.uint8)

        writer = WriterService(
            real_reactor, source, SimpleNamespace(write=write), Account("w"), late_points=lambda _: late[0]
        )
        writer.startService()
        return writer, source

    def test_each_job_has_its_own_late_points(self) -> Deferred[None]:
        writer, source = self.start(10)
        return writer.stopService().addCallback(lambda _: self.assertEqual(source.settled, [2] * 10))

    def test_lanes_without_work_leave_no_timer(self) -> Deferred[None]:
        source = Source(0)
        source.settled = [0] * 10
        writer = WriterService(real_reactor, source, SimpleNamespace(write=None), Account("w"), 3)
        writer.startService()
        return writer.stopService()

    def test_leaving_ends_a_drain_that_would_not_end(self) -> Deferred[None]:
        writer, source = self.start(3)
        stopped = writer.stopService()
        real_reactor.callLater(0.02, writer.leave)  # type: ignore[attr-defined]
        return stopped.addCallback(lambda _: self.assertEqual(source.settled, [2] * 3))


class LookTests(SynchronousTestCase):
    """Schemas and lists are looked at on their own intervals, and read only when a file has changed."""

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.touch("one")
        self.clock = Clock()
        self.config = Config(reload=ReloadConfig(schemas_s=60, lists_s=10))
        self.loads: list[float] = []
        daemon = SimpleNamespace(config=self.config, telemetry=Telemetry())
        self.reloader = Reloader(self.clock, daemon, self.load)  # type: ignore[arg-type]
        self.applied: list[Config] = []
        self.reloader.apply = self.applied.append  # type: ignore[method-assign]
        self.reloader.running = 1
        self.reloader._schedule()

    def touch(self, text: str) -> None:
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(text)

    def load(self) -> Loaded:
        self.loads.append(self.clock.seconds())
        new = replace(self.config, stages=StagesConfig(blacklist=("new",)))
        return Loaded(new, (), (), "x", "native", (self.path,))

    def test_each_has_its_interval(self) -> None:
        for _ in range(12):
            self.clock.advance(10)
        self.assertEqual(self.loads, [10.0, 20.0, 60.0], "once to know the files, then once for each kind")
        self.assertEqual([config.stages.blacklist for config in self.applied], [("new",), ("new",), ()])
        self.touch("changed")
        for _ in range(6):
            self.clock.advance(10)
        self.assertEqual(self.loads[3:], [130.0, 180.0])
        os.unlink(self.path)
        self.assertEqual(file_states((self.path,)), (None,))
        self.clock.advance(10)
        self.assertEqual(self.loads[5:], [190.0])

    def test_no_interval_no_look(self) -> None:
        self.reloader._daemon.config = replace(self.config, reload=ReloadConfig(schemas_s=0, lists_s=0))
        self.reloader._schedule()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_does_not_fit_what_stays_changes_nothing(self) -> None:
        """A file that was just being written, say: the relay would go, and its listener stay."""
        relay = RelayConfig(name="a", groups=(GroupConfig(members=("a",)),))
        door = Listener(protocol="line", port=1)
        old = Config(relays=(relay,), destinations=(DestinationConfig(name="a", host="h", port=1),), listeners=(door,))
        changed: list[Config] = []
        daemon = SimpleNamespace(config=old, telemetry=Telemetry(), change=changed.append)
        reloader = Reloader(self.clock, daemon, lambda: Loaded(Config(), (), (), "x", "native", ()))
        self.assertFalse(reloader.reload_all())
        self.assertEqual((changed, daemon.telemetry.account("configuration").counters["failed_reloads"]), ([], 1))
