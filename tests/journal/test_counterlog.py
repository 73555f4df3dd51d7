from __future__ import annotations

import os
import struct
from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.journal.counterlog import REDO, SAMPLES, CounterLog, Recovery
from cadtwist.journal.rowlog import NAMES
from cadtwist.journal.segments import SegmentLog
from cadtwist.kernels import active
from cadtwist.model.summary import SummaryBatch
from cadtwist.telemetry import Account


def batch(ids: list[int], *sums: float) -> SummaryBatch:
    column = np.array(sums, np.float64)
    return SummaryBatch(np.array(ids, np.uint32), column, column, column, column, column, column)


class CounterLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.table = active.table.MetricTable(1)
        self.ids = [self.table.intern(name, 5) for name in (b"a", b"b.c", b"e")]
        self.account = Account("log")
        self.log = self.opened()

    def opened(self, segment_bytes: int = 1 << 20) -> CounterLog:
        return CounterLog(SegmentLog(self.folder, segment_bytes), self.table, self.account)

    def append(self, ids: list[int], *sums: float, events: bool = False) -> None:
        self.log.append(batch(ids, *sums), np.full(len(ids), events))
        self.log.turn_ended()

    def recovered(self) -> tuple[Recovery, list[tuple[bytes, float]], list[bytes]]:
        """Reopen the log as a later process, with other ids, does."""
        self.log.close(keep=True)
        table = active.table.MetricTable(2)
        table.intern(b"something else", 1)
        applied: list[bytes] = []

        def apply(redo: bytes) -> dict[bytes, bytes]:
            applied.append(redo)
            name, _, state = redo.partition(b"=")
            return {name: state}

        recovery = Recovery(SegmentLog(self.folder), table, self.account, 7)
        recovery.restore(apply)
        found = []
        for part in recovery.samples():
            found += zip(table.names(part.ids), part.sums.tolist(), strict=True)
        self.table = table
        return recovery, found, applied

    def test_samples_come_back_in_order(self) -> None:
        a, b, e = self.ids
        self.append([a, b, a], 1, 2, 3)
        self.append([e, a], 4, 5, events=True)
        recovery, found, _ = self.recovered()
        self.assertEqual(found, [(b"a", 1), (b"b.c", 2), (b"a", 3), (b"e", 4), (b"a", 5)])
        self.assertEqual(recovery.events[self.table.lookup(b"e")], True)
        self.assertEqual(self.account.counters["logged"], 5)

    def test_a_record_covers_what_was_taken_before(self) -> None:
        a, b, _ = self.ids
        self.append([a, b], 1, 2)
        taken_at = self.log.place
        self.append([a, b], 3, 4)
        self.log.append_redo(taken_at, b"a=window")
        self.append([a], 5)
        recovery, found, applied = self.recovered()
        self.assertEqual(found, [(b"b.c", 2), (b"a", 3), (b"b.c", 4), (b"a", 5)])
        self.assertEqual((applied, recovery.windows), ([b"a=window"], {b"a": b"window"}))

    def test_a_later_life_covers_an_earlier_one(self) -> None:
        self.append(self.ids[:2], 1, 2)
        self.log.close(keep=True)
        self.log = self.opened()
        self.log.append_redo(self.log.place, b"a=")
        self.assertEqual(self.recovered()[1], [(b"b.c", 2)])

    def test_segments_go_when_a_round_is_done(self) -> None:
        self.log.close(keep=False)
        self.log = self.opened(4096)
        for number in range(200):
            self.append(self.ids[:1], number)
        segments = len(self.log.log.serials)
        self.assertGreater(segments, 3)
        self.log.round_begins()
        self.log.round_done()
        self.assertEqual(len(self.log.log.serials), 1)
        sums = [value for _name, value in self.recovered()[1]]
        self.assertEqual(sums, [float(n) for n in range(200 - len(sums), 200)])

    def test_names_are_told_in_every_segment(self) -> None:
        self.log.close(keep=False)
        self.log = self.opened(4096)
        for number in range(200):
            self.append(self.ids, number, number, number)
        self.assertEqual(len(self.recovered()[1]), 600)

    def test_damaged_frames_lose_nothing_else(self) -> None:
        a = self.ids[0]
        self.append([a], 1)
        log = self.log.log
        for kind, payload in (
            (NAMES, b""), (NAMES, struct.pack("<I4x", 1 << 30)), (NAMES, struct.pack("<I4x2I", 0, 9, 9)),
            (SAMPLES, b"xx"), (SAMPLES, struct.pack("<I4x", 5)), (SAMPLES, struct.pack("<I4x6dI", 1, *[0.0] * 6, 99)),
            (REDO, b"short"), (77, b"unknown"),
        ):  # fmt: skip
            log.append(kind, payload)
        self.append([a], 2)
        _recovery, found, applied = self.recovered()
        self.assertEqual((found, applied), ([(b"a", 1), (b"a", 2)], []))
        self.assertEqual(self.account.counters["unreadable_frames"], 5)
        self.assertEqual(self.account.counters["unreadable"], 1)

    def test_a_log_that_is_not_needed_goes(self) -> None:
        self.append(self.ids, 1, 2, 3)
        self.log.close(keep=False)
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".seg")], [])

    def test_a_disk_that_refuses_is_counted(self) -> None:
        class FullDisk:
            """Takes nothing."""

            def __getattr__(self, name: str) -> Any:
                raise AttributeError(name)

            def open(self, *_arguments: object) -> int:
                raise OSError(28, "no space")

            def unlink(self, path: object) -> None:
                """Nothing is there."""

        self.log.close(keep=False)
        self.log = CounterLog(SegmentLog(self.folder, disk=FullDisk()), self.table, self.account)  # type: ignore[arg-type]
        self.append(self.ids, 1, 2, 3)
        self.assertEqual(self.account.counters["unlogged"], 3)
