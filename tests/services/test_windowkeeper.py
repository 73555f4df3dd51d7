"""Tests of `cadtwist.services.windowkeeper`: whenever a process dies, it and the next one tell what one would have."""

from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.windowlog import WindowLog
from cadtwist.model.batch import Batch, Ids
from cadtwist.model.statsdstyle import StatsdStyle
from cadtwist.model.told import Told
from cadtwist.services.space import Space
from cadtwist.services.windowkeeper import (
    NOTHING,
    Hands,
    Keep,
    LoggedSink,
    WindowKeeper,
    backlog_of,
    keeper_of,
    recall,
)
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.stages.statsdsums import Etsy, OwnCounts
from cadtwist.telemetry import Telemetry

START = 1_700_000_000.0
STYLE = StatsdStyle(prefix_stats=None, delete_counters=True, delete_timers=True, delete_sets=True)
Values = dict[tuple[str, str, float], float]


class Recorder:
    """Keeps what is told, by name, field and timestamp; what is told twice must be the same."""

    def __init__(self, case: SynchronousTestCase, names: Any, values: Values) -> None:
        self.told = 0
        self.safe = 0
        self._case = case
        self._names = names
        self._values = values

    def begin(self, series: dict[str, int]) -> None:
        """Nothing is to be prepared."""

    def tell(self, told: Told, timestamp: float) -> int:
        for name, row in zip(self._names(told.ids), told.values.tolist(), strict=True):
            for field, value in zip(told.fields, row, strict=True):
                if value == value:
                    key = (name.decode(), field, timestamp)
                    self._case.assertEqual(self._values.setdefault(key, value), value, key)
        self.told += told.values.size
        return told.values.size

    def end(self, timestamp: float, counts: dict[str, float]) -> int:
        return 0

    def forget(self, ids: Ids) -> None:
        """Nothing is kept of series."""


class House:
    """One life of a process with a window and, with a folder, its log."""

    def __init__(self, case: SynchronousTestCase, values: Values, now: float, folder: str = "") -> None:
        self.telemetry = Telemetry()
        self.space = Space("statsd names", 0, self.telemetry)
        self.recorder = Recorder(case, self.space.table.names, values)
        etsy = Etsy(STYLE, START, lambda: OwnCounts(0, 0, 0))
        self.account = self.telemetry.account("statsd")
        self.clock = Clock()
        self.window = StatsdWindow(self.space.table, etsy, self.recorder, self.account, self.clock.seconds, now)
        self.space.keys.hold(self.window)
        self.sink: Any = self.window
        self.keeper: WindowKeeper | None = None
        if folder:
            log = WindowLog(SegmentLog(folder, 4096), self.space.table, self.telemetry.account("window log"))
            hands = Hands(lambda: self.recorder.told, lambda: self.recorder.safe)
            self.keeper = WindowKeeper(log, self.window, self.space, self.telemetry, hands)
            self.keeper.replay(now)
            self.sink = LoggedSink(log, self.window)

    def add(self, rows: list[tuple[str, float, float]]) -> None:
        ids = np.array([self.space.table.intern(name.encode(), 0) for name, _, _ in rows], np.uint32)
        columns = [np.array(column, np.float64) for column in list(zip(*rows, strict=True))[1:]]
        self.sink.accept(Batch(ids, np.zeros(len(rows)), *columns))
        if self.keeper is not None:
            self.keeper.log.turn_ended()

    def die(self) -> None:
        assert self.keeper is not None
        self.keeper.log.log.close()


NUMBER = st.integers(-20, 20).map(float)
ROW = st.one_of(
    st.tuples(st.sampled_from(["a|c", "b|c"]), NUMBER, st.sampled_from([1.0, 2.0])),
    st.tuples(st.sampled_from(["t|ms", "u|ms"]), st.integers(0, 50).map(float), st.just(1.0)),
    st.tuples(st.sampled_from(["g|g", "h|g"]), NUMBER, st.sampled_from([1.0, 0.0])),
    st.tuples(st.just("s|s"), st.integers(1, 5).map(float), st.just(1.0)),
)
STEP = st.one_of(
    st.lists(ROW, min_size=1, max_size=4), st.sampled_from(["flush", "begin a flush", "die", "all is safe"])
)


class LifeTests(SynchronousTestCase):
    def run_steps(self, steps: list[Any], folder: str) -> tuple[Values, House]:
        values: Values = {}
        now = START
        house = House(self, values, now, folder)
        for step in steps:
            if isinstance(step, list):
                house.add(step)
            elif step == "flush":
                house.window.flush(now)
                now += 10.0
                while not house.window.flush(now, 0.0):
                    pass
            elif step == "begin a flush":
                house.window.flush(now)
                now += 10.0
                house.window.flush(now, 0.0)
            elif step == "all is safe":
                house.recorder.safe = house.recorder.told
                if house.keeper is not None:
                    house.keeper.tend()
            elif folder:
                house.die()
                house = House(self, values, now, folder)
            self.assertEqual(house.account.balance(), 0)
        while not house.window.flush(now, 0.0):
            pass
        house.window.flush(now + 10.0)
        return values, house

    def test_lives_tell_what_one_life_tells(self) -> None:
        folder = self.mktemp()

        @settings(max_examples=150, deadline=None)
        @given(st.lists(STEP, max_size=25))
        def same(steps: list[Any]) -> None:
            shutil.rmtree(folder, ignore_errors=True)
            wanted, _ = self.run_steps(steps, "")
            found, house = self.run_steps(steps, folder)
            house.die()
            self.assertEqual(found, wanted)

        same()

    def test_the_log_goes_when_all_is_out_of_our_hands(self) -> None:
        folder = self.mktemp()
        _, house = self.run_steps([[("a|c", 1.0, 1.0)], "flush", [("a|c", 1.0, 1.0)], "flush"], folder)
        assert house.keeper is not None
        first = house.keeper.log.log.serials[0]
        house.keeper.tend()
        self.assertEqual(house.keeper.log.log.serials[0], first)
        house.recorder.safe = house.recorder.told
        house.keeper.tend()
        self.assertEqual(house.keeper.log.log.serials, [house.keeper.log.log.serial])
        house.keeper.close()
        self.assertEqual([name for name in os.listdir(folder) if name.endswith(".seg")], [])

    def test_what_could_not_be_given_away_stays(self) -> None:
        folder, values = self.mktemp(), Values()
        _, house = self.run_steps([[("a|c", 1.0, 1.0)]], folder)
        assert house.keeper is not None
        house.keeper.close()
        House(self, values, START + 99.0, folder).die()
        self.assertEqual(values, {("a|c", "rate", START + 10.0): 0.1, ("a|c", "count", START + 10.0): 1.0})


    def test_what_is_safe_whoever_asks_goes_and_levels_stay(self) -> None:
        folder, values = self.mktemp(), Values()
        _, house = self.run_steps([[("a|c", 1.0, 1.0), ("g|g", 5.0, 1.0)]], folder)
        assert house.keeper is not None
        house.keeper.keep = True
        house.keeper.close(safe=True)
        again = House(self, values, START + 99.0, folder)
        self.assertEqual((values, again.window.open_values("g")), ({}, {"g": 5.0}))
        again.die()

    def test_a_stop_in_the_second_of_a_flush_tells_another_second(self) -> None:
        values = Values()
        house = House(self, values, START)
        for value, stop in ((1.0, False), (2.0, True)):
            house.add([("a|c", value, 1.0)])
            if stop:
                house.window.finish(START + 10.3)
            else:
                house.window.flush(START + 10.0)
        counts = {stamp: value for (_, field, stamp), value in values.items() if field == "count"}
        self.assertEqual(counts, {START + 10.0: 1.0, START + 11.0: 2.0})

    def test_a_stop_in_the_second_of_the_start_tells_another_second(self) -> None:
        """A former process may have told that second when it left."""
        values = Values()
        house = House(self, values, START)
        house.add([("a|c", 1.0, 1.0)])
        house.window.finish(START + 0.3)
        counts = {stamp: value for (_, field, stamp), value in values.items() if field == "count"}
        self.assertEqual(counts, {START + 1.0: 1.0})

    def test_a_full_log_lacks_values_until_the_window_closes(self) -> None:
        house = House(self, Values(), START, self.mktemp())
        assert house.keeper is not None
        house.keeper.log._most_bytes = 0
        house.add([("a|c", 1.0, 1.0)])
        self.assertTrue(house.keeper.lacks)
        house.window.flush(START + 10.0)
        self.assertFalse(house.keeper.lacks)

    def test_a_log_that_is_no_more_wanted_is_read_and_goes(self) -> None:
        folder = self.mktemp()
        keep = Keep(folder)
        for is_first in (True, False):
            house = House(self, Values(), START)
            if is_first:
                keeper = keeper_of(keep, house.window, house.space, house.telemetry, Hands(int, int))
                assert keeper is not None
                house.sink = LoggedSink(keeper.log, house.window)
                house.add([("a|c", 2.0, 1.0)])
                keeper.log.log.close()
                continue
            recall(keep, house.window, house.space, house.telemetry, START)
            self.assertEqual(house.window.open_values("c"), {"a": 2.0})
            self.assertIsNone(house.window.journal)
            self.assertEqual([name for name in os.listdir(os.path.join(folder, "window")) if ".seg" in name], [])
        recall(NOTHING, house.window, house.space, house.telemetry, START)


class KeepTests(SynchronousTestCase):
    def test_whose_values_are_logged(self) -> None:
        self.assertFalse(NOTHING.logs("tcp"))
        for inputs, wanted in (("tcp", [True, True, False]), ("all", [True] * 3), ("none", [False] * 3)):
            keep = Keep("folder", inputs)  # type: ignore[arg-type]
            self.assertEqual([keep.logs(transport) for transport in ("tcp", "unix", "udp")], wanted)

    def test_a_folder_that_cannot_be_had_costs_only_the_log(self) -> None:
        house = House(self, {}, START)
        path = self.mktemp()
        with open(path, "w", encoding="utf-8"):
            pass
        hands = Hands(int, int)
        for folder in ("", path):
            found = keeper_of(Keep(folder), house.window, house.space, house.telemetry, hands)
            self.assertIsNone(found)
            self.assertIsNone(backlog_of(Keep(folder), "graphite"))
        self.assertIsNone(keeper_of(Keep(self.mktemp(), "none"), house.window, house.space, house.telemetry, hands))
