from __future__ import annotations

import os
import shutil
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.journal.rowlog import NAMES
from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.windowlog import LEVELS, VALUES, Closed, Levels, Values, WindowLog, replay_window
from cadtwist.kernels import active
from cadtwist.telemetry import Account
from tests.journal.test_segments import FullDisk

Row = tuple[str, float, float]


class WindowLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()

    def open(self, **options: Any) -> WindowLog:
        self.table = active.table.MetricTable(5)
        self.account = Account("window log")
        segments = SegmentLog(self.folder, options.pop("segment_bytes", 1 << 20), disk=options.pop("disk", None))
        self.addCleanup(segments.close)
        return WindowLog(segments, self.table, self.account, **options)

    def ids(self, *names: str) -> Any:
        return np.array([self.table.intern(name.encode(), 1) for name in names], np.uint32)

    def add(self, log: WindowLog, *rows: Row) -> None:
        names, values, weights = zip(*rows, strict=True)
        log.append(self.ids(*names), np.array(values), np.array(weights))

    def replayed(self, old: WindowLog) -> list[Any]:
        """Return what a next process reads, with names."""
        old.log.close()
        log, found = self.open(), list[Any]()
        self.table.intern(b"first", 1)
        for each in replay_window(log.log, self.table, self.account, 9):
            if isinstance(each, Closed):
                found.append(each.timestamp)
                continue
            names = [name.decode() for name in self.table.names(each.ids)]
            if isinstance(each, Levels):
                found.append(list(zip(names, each.levels.tolist(), each.moved.tolist(), strict=True)))
            else:
                weights = [1.0] * len(names) if each.weights is None else each.weights.tolist()
                found.append(list(zip(names, each.values.tolist(), weights, strict=True)))
        return found

    def test_what_was_logged_is_read_in_order(self) -> None:
        log = self.open()
        self.add(log, ("a|c", 1.0, 1.0), ("b|g", 2.0, 0.0))
        log.turn_ended()
        log.closed(1700000010.0)
        self.add(log, ("b|g", 3.0, 1.0))
        log.levels(self.ids("b|g", "d|g"), np.array([3.0, 4.0]), np.array([True, False]))
        log.turn_ended()
        self.assertEqual(self.account.counters["logged"], 3)
        self.assertEqual(
            self.replayed(log),
            [[("a|c", 1.0, 1.0), ("b|g", 2.0, 0.0)], 1700000010.0, [("b|g", 3.0, 1.0)],
             [("b|g", 3.0, True), ("d|g", 4.0, False)]],
        )  # fmt: skip
        self.assertEqual(self.account.counters["replayed"], 3)

    def test_members_of_sets_keep_all_their_bits(self) -> None:
        log = self.open()
        hashes = np.array([0x7FF0000000000001, 0xFFF8000000000123, 1, 0], np.uint64)
        log.append(self.ids(*["s|s"] * 4), hashes.view(np.float64), np.ones(4))
        log.log.close()
        log = self.open()
        (found,) = replay_window(log.log, self.table, self.account, 9)
        assert isinstance(found, Values)
        self.assertEqual(found.values.view(np.uint64).tolist(), hashes.tolist())
        self.assertIsNone(found.weights)

    def test_released_windows_are_not_read(self) -> None:
        log = self.open()
        self.add(log, ("a|c", 1.0, 1.0))
        begin = log.closed(10.0)
        self.add(log, ("a|c", 2.0, 1.0))
        log.turn_ended()
        log.release(begin)
        self.assertEqual(self.replayed(log), [[("a|c", 2.0, 1.0)]])

    def test_names_are_told_again_in_each_segment(self) -> None:
        log = self.open(segment_bytes=4096)
        for number in range(300):
            self.add(log, ("a|c", float(number), 1.0), (f"n{number % 7}|ms", 0.5, 0.5))
            log.turn_ended()
        self.assertGreater(log.log.serial, 2)
        log.release(log.log.serial)
        rows = [row for frame in self.replayed(log) for row in frame]
        self.assertEqual(rows[-2:], [("a|c", 299.0, 1.0), ("n5|ms", 0.5, 0.5)])

    def test_ids_may_come_back_with_other_names(self) -> None:
        log = self.open()
        self.add(log, ("a|c", 1.0, 1.0))
        ids = self.ids("a|c")
        log.forget(ids)
        self.table.retire(ids)
        self.table.recycle(ids)
        self.add(log, ("b|c", 2.0, 1.0))
        log.turn_ended()
        self.assertEqual(self.replayed(log), [[("a|c", 1.0, 1.0)], [("b|c", 2.0, 1.0)]])

    def test_a_window_has_a_bound(self) -> None:
        log = self.open(most_bytes=4096)
        for _ in range(200):
            self.add(log, ("a|c", 1.0, 1.0))
        log.turn_ended()
        self.assertGreater(self.account.counters["unlogged"], 50)
        self.assertEqual(self.account.counters["unlogged"] + self.account.counters["logged"], 200)
        log.closed(10.0)
        self.add(log, ("a|c", 1.0, 1.0))
        log.turn_ended()
        self.assertEqual(self.account.counters["unlogged"] + self.account.counters["logged"], 201)
        self.assertLess(self.account.counters["unlogged"], 200)

    def test_a_disk_that_refuses_is_counted(self) -> None:
        disk = FullDisk()
        log = self.open(disk=disk)
        self.add(log, ("a|c", 1.0, 1.0))
        log.turn_ended()
        disk.full = True
        self.add(log, ("a|c", 2.0, 1.0))
        log.turn_ended()
        self.assertEqual((self.account.counters["logged"], self.account.counters["unlogged"]), (1, 1))
        self.assertEqual(self.account.gauges["failing"](), 1.0)
        disk.full = False
        log.sync()
        log.turn_ended()
        self.add(log, ("a|c", 3.0, 1.0))
        log.turn_ended()
        self.assertEqual(self.replayed(log), [[("a|c", 1.0, 1.0)], [("a|c", 3.0, 1.0)]])

    def test_frames_that_contradict_themselves_are_counted(self) -> None:
        log = self.open()
        self.add(log, ("a|c", 1.0, 1.0))
        for kind, payload in (
            (VALUES, b"x"),
            (VALUES, bytes(8) + b"x"),
            (LEVELS, b"\xff" * 8),
            (NAMES, b"\1"),
            (7, b""),
            (99, b""),
        ):
            log.log.append(kind, payload)
        log.log.append(VALUES, b"\1\0\0\0\0\0\0\0" + bytes(8) + b"\x09\0\0\0")
        log.turn_ended()
        self.assertEqual(self.replayed(log), [[("a|c", 1.0, 1.0)], []])
        self.assertEqual((self.account.counters["unreadable_frames"], self.account.counters["unreadable"]), (6, 1))

    def test_closing_keeps_the_log_or_not(self) -> None:
        log = self.open()
        self.add(log, ("a|c", 1.0, 1.0))
        log.close(keep=True)
        log = self.open()
        self.assertEqual(len(list(replay_window(log.log, self.table, self.account, 1))), 1)
        log.close(keep=False)
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".seg")], [])

    def test_any_order_of_things_is_read_as_it_was_written(self) -> None:
        name = st.sampled_from(["a|c", "b|ms", "c|g", "d|s"])
        number = st.floats(-1e9, 1e9)
        values = st.lists(st.tuples(name, number, st.sampled_from([1.0, 0.0, 2.0])), min_size=1, max_size=4)
        levels = st.lists(st.tuples(name, number, st.booleans()), min_size=1, max_size=3)
        things = st.lists(
            st.one_of(
                st.tuples(st.just("add"), values),
                st.tuples(st.just("levels"), levels),
                st.tuples(st.just("close"), number),
            )
        )

        @settings(max_examples=60, deadline=None)
        @given(things, st.sampled_from([1 << 12, 1 << 20]))
        def same(steps: list[tuple[str, Any]], segment_bytes: int) -> None:
            shutil.rmtree(self.folder, ignore_errors=True)
            log, wanted = self.open(segment_bytes=segment_bytes), list[Any]()
            for what, given_ in steps:
                wanted.append(given_)
                if what == "add":
                    self.add(log, *given_)
                elif what == "close":
                    log.closed(given_)
                else:
                    names, numbers, moved = zip(*given_, strict=True)
                    log.levels(self.ids(*names), np.array(numbers), np.array(moved))
                log.turn_ended()
            self.assertEqual(self.replayed(log), wanted)

        same()
