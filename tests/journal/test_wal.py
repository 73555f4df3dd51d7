from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.journal.rowlog import NAMES
from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.wal import POINTS, Wal, replay
from cadtwist.kernels import active
from cadtwist.model.batch import Batch
from cadtwist.telemetry import Account
from tests.journal.test_segments import FullDisk

ROOM = 1 << 40


def batch(*points: tuple[int, float, float]) -> Batch:
    ids, ts, values = zip(*points, strict=True)
    return Batch(np.array(ids, np.uint32), np.array(ts, np.float64), np.array(values, np.float64))


class House:
    """A table, points and a log of `folder`, as a cache process has them."""

    def __init__(self, folder: str, names: int = 0, segment_bytes: int = 1 << 20, **options: Any) -> None:
        self.table = active.table.MetricTable(3)
        for number in range(names):
            self.table.intern(b"name.%d" % number, 0)
        self.points = active.points.PointStore()
        self.account = Account("wal")
        self.log = SegmentLog(folder, segment_bytes, disk=options.pop("disk", None))
        self.wal = Wal(self.log, self.table, self.points, self.account, **options)

    def accept(self, lent: Batch) -> None:
        segment = self.wal.append(lent)
        self.points.append(lent.ids, lent.timestamps, lent.values, segment, ROOM)

    def write_out(self, *ids: int) -> None:
        self.points.confirm(self.points.take(np.array(ids, np.uint32))[0])

    def replay(self) -> int:
        def deliver(lent: Batch, segment: int) -> None:
            self.points.append(lent.ids, lent.timestamps, lent.values, segment, ROOM)

        return sum(replay(self.log, self.table, deliver, self.account, 0))

    def content(self) -> dict[str, dict[float, float]]:
        found = {}
        for one in self.points.pending()[0].tolist():
            ts, values = self.points.peek(one)
            found[self.table.name(one).decode()] = dict(zip(ts.tolist(), values.tolist(), strict=True))
        return found


class WalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()

    def open(self, names: int = 0, **options: Any) -> House:
        house = House(self.folder, names, **options)
        self.addCleanup(house.log.close)
        return house

    def again(self, old: House, **options: Any) -> House:
        old.log.close()
        house = self.open(0, **options)
        house.replay()
        return house

    def test_what_was_logged_is_there_again(self) -> None:
        house = self.open(5)
        house.accept(batch((3, 10.0, 1.0), (1, 10.0, 2.0), (3, 20.5, 3.0)))
        house.wal.turn_ended()
        house.accept(batch((3, 10.0, 9.0)))
        house.wal.turn_ended()
        self.assertEqual(house.account.counters["logged"], 4)
        new = self.again(house)
        self.assertEqual(new.content(), {"name.1": {10.0: 2.0}, "name.3": {10.0: 9.0, 20.5: 3.0}})
        self.assertEqual(new.account.counters["replayed"], 4)

    def test_what_was_not_written_is_not_counted(self) -> None:
        house = self.open(5)
        house.accept(batch((3, 10.0, 1.0)))
        self.assertEqual(house.account.counters.get("logged", 0), 0)

    def test_names_stand_once_in_each_segment(self) -> None:
        house = self.open(50, segment_bytes=4000)
        for t in range(40):
            house.accept(batch(*[(i, float(t), 0.0) for i in range(20)]))
            house.wal.turn_ended()
        kinds: dict[int, list[int]] = {}
        for frame in house.log.read():
            kinds.setdefault(frame.after.serial, []).append(frame.kind)
        self.assertGreater(len(kinds), 2)
        for serial, found in kinds.items():
            self.assertEqual(found, [NAMES] + [POINTS] * (len(found) - 1), serial)

    def test_a_number_with_a_new_name_in_the_same_segment(self) -> None:
        house = self.open(5)
        house.accept(batch((3, 10.0, 1.0)))
        house.write_out(3)
        ids = np.array([3], np.uint32)
        house.table.retire(ids)
        house.table.recycle(ids)
        house.wal.forget(ids)
        self.assertEqual(house.table.intern(b"other", 0), 3)
        house.accept(batch((3, 11.0, 2.0)))
        house.wal.turn_ended()
        self.assertEqual(self.again(house).content(), {"name.3": {10.0: 1.0}, "other": {11.0: 2.0}})

    def test_replay_twice_changes_nothing(self) -> None:
        house = self.open(5)
        house.accept(batch((1, 1.0, 1.0), (1, 2.0, 2.0)))
        house.wal.turn_ended()
        house.accept(batch((1, 1.0, 3.0)))
        house.wal.turn_ended()
        new = self.again(house)
        before = new.content()
        new.replay()
        self.assertEqual(new.content(), before)

    def test_a_table_without_room_costs_only_its_own(self) -> None:
        house = self.open(50)
        house.accept(batch(*[(i, 1.0, 1.0) for i in range(50)]))
        house.wal.turn_ended()
        house.log.close()
        new = self.open()
        new.table = active.table.MetricTable(3, 900)
        new.replay()
        kept = new.account.counters["replayed"]
        self.assertTrue(0 < kept < 50, kept)
        self.assertEqual(new.account.counters["unreadable"], 50 - kept)

    def test_segments_go_when_nothing_needs_them(self) -> None:
        house = self.open(50, segment_bytes=4000)
        for t in range(100):
            house.accept(batch(*[(i, float(t), 0.0) for i in range(20)]))
            house.wal.turn_ended()
            house.write_out(*range(20))
        house.wal.make_room()
        self.assertEqual(house.log.serials, [house.log.serial])

    def test_a_segment_goes_only_after_a_sync_where_somebody_syncs(self) -> None:
        house = self.open(50, segment_bytes=4000)
        house.wal.sync()
        for t in range(30):
            house.accept(batch(*[(i, float(t), 0.0) for i in range(20)]))
            house.wal.turn_ended()
            house.write_out(*range(20))
        house.wal.make_room()
        self.assertIn(1, house.log.serials)
        house.wal.sync()
        house.wal.make_room()
        self.assertEqual(house.log.serials, [house.log.serial])

    def test_update_limits_and_cold_metrics_keep_the_log_bounded(self) -> None:
        house = self.open(400, segment_bytes=20_000, min_bytes=50_000, slice_points=300)
        house.accept(batch((399, 1.0, 1.0)))
        most = 0
        for t in range(600):
            house.accept(batch(*[((t * 50 + i) % 398, float(t), 0.0) for i in range(50)]))
            house.wal.turn_ended()
            house.write_out(*[(t * 30 + i) % 398 for i in range(30)])
            most = max(most, house.log.used_bytes - house.wal.bound_bytes)
        self.assertLess(most, 3 * house.log.segment_bytes)
        self.assertGreater(house.account.counters["relogged"], 0)
        expected = house.content()
        house.wal.turn_ended()
        new = self.again(house)
        found = new.content()
        for name, points in expected.items():
            self.assertEqual({**found[name], **points}, found[name], name)
        self.assertEqual(found["name.399"], {1.0: 1.0})

    def many_points_of_one(self) -> House:
        """A metric with ten times the points of a slice, in the oldest segments."""
        house = self.open(40, segment_bytes=8192, min_bytes=1000, slice_points=100)
        for at in range(0, 1000, 100):
            house.accept(batch(*[(0, float(t * 7919 % 1000), 1.0) for t in range(at, at + 100)]))
            house.wal.turn_ended()
        return house

    def press(self, house: House, turns: range) -> int:
        """Overwrite points, so that the log outgrows what is pending; return the most logged again in a turn."""
        most = 0
        for turn in turns:
            before = house.account.counters.get("relogged", 0)
            rows = [(one, 5.0, float(turn)) for one in range(1, 40)]
            house.accept(batch((0, float(turn * 37 % 1000), 2.0 + turn), *rows))
            house.wal.turn_ended()
            most = max(most, house.account.counters.get("relogged", 0) - before)
        return most

    def test_a_metric_of_many_points_is_logged_again_in_slices(self) -> None:
        house = self.many_points_of_one()
        self.assertEqual(self.press(house, range(200)), 100)
        self.assertGreater(house.account.counters["relogged"], 1000)
        self.assertLess(house.log.used_bytes, house.wal.bound_bytes + 3 * house.log.segment_bytes)
        expected = house.content()
        self.assertEqual(self.again(house).content(), expected)

    def test_a_crash_between_slices_brings_no_old_value_back(self) -> None:
        house = self.many_points_of_one()
        turn = 0
        while not house.account.counters.get("relogged"):
            self.press(house, range(turn, turn + 1))
            turn += 1
        for later in range(turn, turn + 9):
            self.press(house, range(later, later + 1))
            house.log.write()
            folder = self.mktemp()
            shutil.copytree(self.folder, folder)
            copy = House(folder)
            copy.replay()
            self.assertEqual(copy.content(), house.content())
            copy.log.close()

    def test_a_series_that_changes_wholly_between_slices_begins_again(self) -> None:
        house = self.many_points_of_one()
        turn = 0
        while not house.account.counters.get("relogged"):
            self.press(house, range(turn, turn + 1))
            turn += 1
        house.accept(batch(*[(0, float(t), -1.0) for t in range(1000)]))
        house.accept(batch(*[(0, float(t), -2.0) for t in range(1000)]))
        house.wal.turn_ended()
        self.press(house, range(turn, turn + 100))
        expected = house.content()
        self.assertEqual(self.again(house).content(), expected)

    def test_a_number_that_goes_between_slices_takes_its_series_with_it(self) -> None:
        house = self.many_points_of_one()
        turn = 0
        while not house.account.counters.get("relogged"):
            self.press(house, range(turn, turn + 1))
            turn += 1
        ids = np.array([0], np.uint32)
        house.points.forget(ids)
        house.table.retire(ids)
        house.wal.forget(ids)
        house.table.recycle(ids)
        self.assertEqual(house.table.intern(b"another", 0), 0)
        house.accept(batch((0, 1.0, 1.0)))
        for later in range(turn, turn + 30):
            house.accept(batch(*[(one, 5.0, float(later)) for one in range(1, 40)]))
            house.wal.turn_ended()
        self.assertEqual(self.again(house).content()["another"], {1.0: 1.0})

    def test_points_in_flight_are_logged_again_too(self) -> None:
        house = self.open(10, segment_bytes=2000, min_bytes=4000)
        house.accept(batch((9, 1.0, 1.0)))
        house.points.take(np.array([9], np.uint32))
        house.accept(batch((9, 2.0, 2.0)))
        for t in range(200):
            house.accept(batch(*[(i, float(t), 0.0) for i in range(5)]))
            house.wal.turn_ended()
            house.write_out(*range(5))
        self.assertNotIn(1, house.log.serials)
        self.assertEqual(self.again(house).content()["name.9"], {1.0: 1.0, 2.0: 2.0})

    def test_a_full_disk_is_counted_and_recovered(self) -> None:
        disk = FullDisk()
        house = self.open(10, disk=disk)
        house.accept(batch((1, 1.0, 1.0)))
        house.wal.turn_ended()
        disk.full = True
        for t in range(5):
            house.accept(batch((2, float(t), 1.0)))
            house.wal.turn_ended()
        self.assertEqual(house.account.counters, {"logged": 1, "unlogged": 5})
        self.assertEqual(house.account.gauges["failing"](), 1.0)
        disk.full = False
        house.wal.sync()
        house.wal.turn_ended()
        for t in range(10, 14):
            house.accept(batch((1, float(t), 1.0)))
            house.wal.turn_ended()
        self.assertEqual(house.account.gauges["failing"](), 0.0)
        self.assertGreaterEqual(house.account.counters["relogged"], 6)
        self.assertEqual(
            self.again(house).content(),
            {"name.1": {1.0: 1.0, **dict.fromkeys((10.0, 11.0, 12.0, 13.0), 1.0)},
             "name.2": dict.fromkeys((0.0, 1.0, 2.0, 3.0, 4.0), 1.0)},
        )  # fmt: skip

    def test_another_table_with_other_numbers_reads_the_log(self) -> None:
        house = self.open(5)
        house.accept(batch((4, 1.0, 1.0), (0, 1.0, 2.0)))
        house.wal.turn_ended()
        house.log.close()
        other = House(self.folder)
        self.addCleanup(other.log.close)
        for name in (b"x", b"name.4", b"y"):
            other.table.intern(name, 0)
        other.replay()
        self.assertEqual(other.content(), {"name.4": {1.0: 1.0}, "name.0": {1.0: 2.0}})

    def test_killed_at_any_byte_of_the_last_turn(self) -> None:
        house = self.open(6)
        house.accept(batch((1, 1.0, 1.0)))
        house.wal.turn_ended()
        path = Path(self.folder) / "000000000001.seg"
        whole = house.log.size
        house.accept(batch((2, 1.0, 1.0), (1, 2.0, 2.0)))
        house.wal.turn_ended()
        house.log.close()
        data = path.read_bytes()
        for size in range(whole, len(data) + 1):
            shutil.rmtree(self.folder)
            Path(self.folder).mkdir()
            path.write_bytes(data[:size])
            new = House(self.folder)
            new.replay()
            found = new.content()
            new.log.close()
            self.assertEqual(found["name.1"][1.0], 1.0)
            self.assertIn(len(found), (1, 2))

    @settings(max_examples=25, deadline=None, database=None)
    @given(st.lists(st.tuples(st.sampled_from("aaawrk"), st.integers(0, 1 << 30)), max_size=60))
    def test_never_loses_what_is_pending(self, steps: list[tuple[str, int]]) -> None:
        folder = self.mktemp()
        house = House(folder, 30, segment_bytes=1500, min_bytes=4000, slice_points=20)
        written: dict[str, dict[float, float]] = {}
        latest: dict[str, dict[float, float]] = {}
        clock = 0
        for what, seed in steps:
            rng = np.random.default_rng(seed)
            if what == "a":
                clock += 1
                n = int(rng.integers(1, 9))
                rows = [(int(rng.integers(12)), float(rng.integers(40)), float(clock)) for _ in range(n)]
                names = {one: house.table.name(one).decode() for one, _, _ in rows}
                house.accept(batch(*rows))
                house.wal.turn_ended()
                for one, t, v in rows:
                    latest.setdefault(names[one], {})[t] = v
            elif what == "w":
                for one in house.points.pending()[0][: int(rng.integers(1, 6))].tolist():
                    name = house.table.name(one).decode()
                    ts, values = house.points.peek(one)
                    written.setdefault(name, {}).update(zip(ts.tolist(), values.tolist(), strict=True))
                    house.write_out(one)
            elif what == "k":
                house.log.close()
                house = House(folder, 0, segment_bytes=1500, min_bytes=4000, slice_points=20)
                house.replay()
                for number in range(12 - house.table.capacity):
                    house.table.intern(b"more.%d.%d" % (clock, number), 0)
        house.log.close()
        house = House(folder)
        house.replay()
        house.log.close()
        files = {name: dict(points) for name, points in written.items()}
        for name, points in house.content().items():
            files.setdefault(name, {}).update(points)
        self.assertEqual(files, latest)
