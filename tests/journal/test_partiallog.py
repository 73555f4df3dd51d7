"""Tests of `cadtwist.journal.partiallog`."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.journal.partiallog import LoggedPut, PartialLog
from cadtwist.journal.segments import SegmentLog
from cadtwist.model.partial import partial_of
from cadtwist.model.summaryjob import NOWHERE, Place
from cadtwist.telemetry import Account

NOW = 1_000_000.0


def put(number: int, now: float = NOW, **more: str) -> LoggedPut:
    return LoggedPut("user", now, more.get("process", ""), None, [partial_of("c", f"m{number}", [1.0])])


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.log = self.opened()

    def opened(self) -> PartialLog:
        self.account = Account("log")
        self.segments = SegmentLog(self.folder, 4096)
        log = PartialLog(self.segments, self.account, 60.0)
        self.addCleanup(log.close)
        return log

    def again(self) -> None:
        self.log.close()
        self.log = self.opened()

    def replayed(self, stored: Place = NOWHERE) -> list[tuple[str, bool]]:
        return [(each.partials[0].pth, known) for each, known in self.log.replay(stored)]

    def test_everything_comes_back_in_order(self) -> None:
        first = LoggedPut("user", NOW, "process", 5.5, [partial_of("ms", "a", [1.5, 2.5], True)])
        self.log.append(first)
        self.log.append(put(1))
        self.again()
        (one, _), _ = self.log.replay(NOWHERE)
        self.assertEqual(one, first)
        self.assertEqual(self.replayed(), [("a", False), ("m1", False)])

    def test_a_frame_is_written_when_append_returns(self) -> None:
        self.log.append(put(1))
        with open(os.path.join(self.folder, "000000000001.seg"), "rb") as file:
            self.assertIn(b"m1", file.read())
        self.assertEqual(self.account.counters, {"logged": 1})

    def test_what_is_stored_is_known(self) -> None:
        self.log.append(put(1))
        place = self.log.place
        self.log.append(put(2))
        self.again()
        self.assertEqual(self.replayed(place), [("m1", True), ("m2", False)])

    def test_segments_go_when_stored_and_older_than_the_window(self) -> None:
        for number in range(200):
            self.log.append(put(number, NOW + number))
        self.assertGreater(len(self.segments.serials), 3)
        before = len(self.segments.serials)
        self.log.stored(Place(self.segments.epoch, 50), NOW + 1000)
        after = len(self.segments.serials)
        self.assertTrue(1 < after < before)
        self.log.stored(self.log.place, NOW + 150)
        self.assertTrue(1 < len(self.segments.serials) < after)
        self.again()
        names = [name for name, _ in self.replayed()]
        self.assertEqual(names[-1], "m199")
        self.assertIn("m91", names)
        self.log.append(put(7, NOW + 5000))
        self.log.stored(self.log.place, NOW + 5000)
        self.assertEqual(len(self.segments.serials), 1, "a former life's go as well")

    def test_it_is_bounded(self) -> None:
        small = PartialLog(self.segments, self.account, 60.0, 10_000)
        for number in range(200):
            small.append(put(number))
        self.assertLess(self.segments.used_bytes, 11_000)
        logged, unlogged = self.account.counters["logged"], self.account.counters["unlogged"]
        self.assertEqual(logged + unlogged, 200)
        small.stored(small.place, NOW + 1000)
        small.append(put(7))
        self.assertEqual(self.account.counters["logged"], logged + 1)

    def test_frames_that_are_none_are_counted(self) -> None:
        self.segments.append(1, b"\xc1")
        self.log.append(put(3))
        self.again()
        self.assertEqual((self.replayed(), self.account.counters), ([("m3", False)], {"damaged": 1}))

    def test_a_disk_that_refuses_is_counted(self) -> None:
        os.rename(self.folder, self.folder + ".gone")
        self.log.append(put(1))
        self.assertEqual(self.account.counters, {"unlogged": 1})
        os.rename(self.folder + ".gone", self.folder)
