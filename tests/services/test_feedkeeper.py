"""Tests of `cadtwist.services.feedkeeper` and `.journal.feedlog`: lives of an aggregator tell what one life tells."""

from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import WalConfig
from cadtwist.journal.feedlog import KEPT, OUTPUTS, FeedLog, replay_feeds
from cadtwist.journal.rowlog import NAMES
from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.wal import POINTS
from cadtwist.model.aggregationrules import AGGREGATE_METHODS, AggregateRule
from cadtwist.model.batch import Batch
from cadtwist.services.feedkeeper import FeedKeeper
from cadtwist.services.space import Space
from cadtwist.stages.aggregate import Window, WindowPolicy
from cadtwist.telemetry import Account, Telemetry
from tests.journal.test_segments import FullDisk

RULES = tuple(AggregateRule(f"{method}.<x>", 20, method, "in.*.<x>") for method in AGGREGATE_METHODS)
POLICY = WindowPolicy(max_intervals=10**6, forward_all=False)
Values = dict[tuple[str, float], float]
Point = tuple[str, float, float]


class House:
    """One life of a process with a window and its log; `values` gets what is told, the last one counts."""

    def __init__(self, values: Values, clock: Clock, folder: str, rules: tuple[AggregateRule, ...] = RULES) -> None:
        self.values = values
        self.telemetry = Telemetry()
        self.space = Space("metric names", 0, self.telemetry)
        self.account = self.telemetry.account("aggregator")
        self.clock = clock
        self.window = Window(rules, self.space.table, self, self.account, clock.seconds, float, POLICY)
        self.space.keys.hold(self.window)
        self.keeper = FeedKeeper(clock, WalConfig(directory=folder, segment_bytes=8192), self.space, self.telemetry)
        if folder:
            self.keeper._open({("cache",): self.window})
            log = self.log
            log._most_bytes = log._least_bytes = 4096
            log._slice_rows = 2

    @property
    def log(self) -> FeedLog:
        return self.keeper._logs[("cache",)]

    def accept(self, batch: Batch) -> None:
        names = [name.decode() for name in self.space.table.names(batch.ids)]
        self.values.update(zip(zip(names, batch.timestamps.tolist(), strict=True), batch.values.tolist(), strict=True))

    def feed(self, *points: Point) -> None:
        ids = np.array([self.space.table.intern(name.encode(), 1) for name, _, _ in points], np.uint32)
        columns = [np.array(column, np.float64) for column in list(zip(*points, strict=True))[1:]]
        self.window.accept(Batch(ids, *columns))
        self.keeper.turn_ended()

    def end(self) -> None:
        self.window.finish(self.clock.seconds())

    def die(self) -> None:
        self.log.log.close()


POINT = st.tuples(
    st.sampled_from(["in.a.x", "in.b.x", "in.a.y", "other"]),
    st.integers(0, 99).map(float),
    st.integers(-9, 9).map(float),
)
STEP = st.one_of(st.lists(POINT, min_size=1, max_size=30), st.sampled_from(["die", "wait", "make room"]))


class LifeTests(SynchronousTestCase):
    def run_steps(self, steps: list[Any], folder: str) -> tuple[Values, House]:
        values: Values = {}
        clock = Clock()
        house = House(values, clock, folder)
        for step in steps:
            if isinstance(step, list):
                house.feed(*step)
            elif step == "wait":
                clock.advance(20.0)
                house.window.flush(clock.seconds())
            elif folder and step == "make room":
                house.log.make_room()
                house.keeper.turn_ended()
            elif folder and step == "die":
                house.die()
                house = House(values, clock, folder)
            self.assertEqual(house.account.balance(), 0, house.account.snapshot())
        house.end()
        self.assertEqual((house.account.held(), house.account.balance()), (0, 0))
        return values, house

    def test_lives_tell_what_one_life_tells(self) -> None:
        folder = self.mktemp()

        @settings(max_examples=120, deadline=None)
        @given(st.lists(STEP, max_size=14))
        def same(steps: list[Any]) -> None:
            shutil.rmtree(folder, ignore_errors=True)
            wanted, _ = self.run_steps(steps, "")
            found, house = self.run_steps(steps, folder)
            house.die()
            self.assertEqual(found.keys(), wanted.keys(), steps)
            for key, value in wanted.items():
                self.assertAlmostEqual(found[key], value, msg=str(key))

        same()

    def test_the_log_stays_short(self) -> None:
        house = House({}, Clock(), self.mktemp(), RULES[:5])
        for number in range(2000):
            house.feed(("in.a.x", float(number % 40), 1.0), ("in.b.y", 5.0, 2.0))
            if number % 100 == 99:
                house.clock.advance(20.0)
                house.window.flush(house.clock.seconds())
        self.assertGreater(house.log.account.counters["rounds"], 2)
        self.assertLess(house.log.log.used_bytes, 40_000)
        house.die()
        again = House({}, house.clock, self.folder_of(house), RULES[:5])
        again.end()
        self.assertEqual(again.values["count.x", 0.0], 1000.0)
        self.assertEqual(again.values["sum.y", 0.0], 4000.0)
        again.die()

    def folder_of(self, house: House) -> str:
        return os.path.dirname(house.log.log.folder)

    def test_a_clean_end_leaves_no_log(self) -> None:
        house = House({}, Clock(), self.mktemp())
        house.feed(("in.a.x", 1.0, 1.0))
        house.end()
        folder = house.log.log.folder
        house.keeper._close()
        self.assertEqual(list(folder.glob("*.seg")), [])

    def test_the_next_process_goes_on_with_what_is_open(self) -> None:
        house = House({}, Clock(), self.mktemp())
        house.feed(("in.a.x", 1.0, 1.0))
        windows = {("cache",): house.window, ("relay",): house.window}
        folder = self.folder_of(house)
        house.keeper.leave(windows)
        self.assertEqual(list(windows), [("relay",)])
        house.keeper._close()
        again = House({}, Clock(), folder)
        again.feed(("in.a.x", 2.0, 1.0))
        again.end()
        self.assertEqual(again.values["sum.x", 0.0], 2.0)
        again.die()

    def test_windows_that_are_gone_lose_their_log(self) -> None:
        house = House({}, Clock(), self.mktemp())
        folder = house.log.log.folder
        house.keeper.join({})
        self.assertEqual((house.keeper._logs, list(folder.glob("*.seg"))), ({}, []))

    def test_a_folder_that_cannot_be_had_costs_only_the_log(self) -> None:
        path = self.mktemp()
        with open(path, "w", encoding="utf-8"):
            pass
        telemetry = Telemetry()
        space = Space("metric names", 0, telemetry)
        window = Window(RULES, space.table, space, Account("a"), float, float, POLICY)  # type: ignore[arg-type]
        keeper = FeedKeeper(Clock(), WalConfig(directory=path), space, telemetry)
        keeper._open({("cache",): window})
        self.assertIsNone(window.journal)

    def test_other_rules_let_the_open_ones_end(self) -> None:
        house = House({}, Clock(), self.mktemp())
        house.feed(*(("in.a.x", 1.0, 1.0) for _ in range(300)))
        while not house.log.account.counters.get("rounds"):
            house.log.make_room()
        folder = self.folder_of(house)
        house.die()
        rules = (AggregateRule("sum.<x>", 10, "sum", "in.*.<x>"), AggregateRule("max.<x>", 20, "max", "in.*.<x>"))
        again = House({}, Clock(), folder, rules)
        again.feed(("in.a.x", 12.0, 5.0))
        again.end()
        self.assertEqual(again.values["max.x", 0.0], 5.0)
        self.assertEqual(again.values["count.x", 0.0], 300.0)
        again.die()


class FeedLogTests(SynchronousTestCase):
    def test_frames_that_contradict_themselves_are_counted(self) -> None:
        house = House({}, Clock(), self.mktemp())
        house.feed(("in.a.x", 1.0, 1.0))
        wrong = (
            (OUTPUTS, b"\1"),
            (OUTPUTS, b"\1" + bytes(7)),
            (POINTS, b"x"),
            (KEPT, b"\1" + bytes(9)),
            (NAMES, b""),
            (77, b""),
        )
        for kind, payload in wrong:
            house.log.log.append(kind, payload)
        house.log.log.append(POINTS, b"\1\0\0\0\0\0\0\0" + bytes(16) + b"\x77\0\0\0")
        house.keeper.turn_ended()
        folder = house.log.log.folder
        house.die()
        log, account = SegmentLog(str(folder)), Account("log")
        found = list(replay_feeds(log, house.space.table, account, 0))
        log.close()
        self.assertEqual([len(each) for each in found if isinstance(each, Batch)], [1, 0])
        self.assertEqual((account.counters["unreadable_frames"], account.counters["unreadable"]), (6, 1))

    def test_a_disk_that_refuses_keeps_the_old_segments(self) -> None:
        disk = FullDisk()
        telemetry = Telemetry()
        space = Space("metric names", 0, telemetry)
        window = Window(RULES, space.table, space, Account("a"), float, float, POLICY)  # type: ignore[arg-type]
        log = FeedLog(SegmentLog(self.mktemp(), disk=disk), space.table, Account("log"), lambda: window.outputs)
        self.addCleanup(log.log.close)
        window.journal = log
        ids = np.array([space.table.intern(b"in.a.x", 1)], np.uint32)
        window.accept(Batch(ids, np.ones(1), np.ones(1)))
        log.turn_ended()
        disk.full = True
        log.make_room()
        log.turn_ended()
        self.assertEqual((log.log.serials[0], log.account.counters.get("rounds", 0)), (1, 0))
        disk.full = False
        log.sync()
        log.turn_ended()
        log.make_room()
        self.assertEqual((log.account.counters["rounds"], log.log.serials), (1, [log.log.serial]))
