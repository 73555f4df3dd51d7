"""Chunks on the disk, their cursor, and what a crash leaves of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.journal.backlog import Backlog, Chunk, Place, SpoolBudget
from cadtwist.journal.disk import Disk

QUICK = settings(max_examples=60, deadline=None, database=None)


class BadDisk(Disk):
    """Refuses to write while `full`, after writing the first `room` bytes."""

    def __init__(self) -> None:
        self.full = False
        self.room = 0
        self.writes: list[str] = []

    def write(self, fd: int, data: Any, offset: int) -> None:
        if self.full:
            os.pwrite(fd, memoryview(data)[: self.room], offset)
            raise OSError(errno.ENOSPC, "no space")
        self.writes.append(os.readlink(f"/proc/self/fd/{fd}"))
        super().write(fd, data, offset)


def chunk(number: int, size: int = 100) -> Chunk:
    return Chunk((b"%d " % number).ljust(size - 1, b"x") + b"\n", 1, 0.0)


def number_of(found: Chunk | None) -> int:
    assert found is not None
    return int(found.data.split()[0])


def place_of(found: Chunk | None) -> Place:
    assert found is not None
    assert found.place is not None
    return found.place


class BacklogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()

    def open(self, **options: Any) -> Backlog:
        backlog = Backlog(self.folder, **options)
        self.addCleanup(backlog.close)
        return backlog

    def killed(self, backlog: Backlog, **options: Any) -> Backlog:
        """Return what the next process finds when this one ends without a word."""
        os.close(backlog._log._lock_fd)
        backlog._log._lock_fd = -1
        return self.open(**options)

    def all_of(self, backlog: Backlog) -> list[Chunk]:
        found = []
        while (each := backlog.next(0.0)) is not None:
            found.append(each)
        return found

    def test_gives_what_was_appended(self) -> None:
        backlog = self.open()
        self.assertTrue(backlog.empty)
        self.assertIsNone(backlog.next(0.0))
        self.assertTrue(backlog.append([chunk(1), chunk(2)]))
        self.assertTrue(backlog.append([chunk(3)]))
        self.assertEqual(backlog.points, 3)
        self.assertEqual(number_of(backlog.next(0.0)), 1)
        self.assertTrue(backlog.append([chunk(4)]))
        self.assertEqual([number_of(each) for each in self.all_of(backlog)], [2, 3, 4])
        self.assertEqual((backlog.points, backlog.open_points, backlog.spooled_points), (0, 4, 4))
        self.assertTrue(backlog.append([chunk(5)]))
        self.assertEqual([number_of(each) for each in self.all_of(backlog)], [5])

    def test_a_killed_process_leaves_all_that_was_not_delivered(self) -> None:
        backlog = self.open()
        backlog.append([chunk(i) for i in range(10)])
        first, second, third = (backlog.next(0.0) for _ in range(3))
        self.assertEqual(number_of(second), 1)
        backlog.passed(place_of(first))
        backlog.passed(place_of(third))
        backlog.write_cursor()
        after = self.killed(backlog)
        found = self.all_of(after)
        self.assertEqual([number_of(each) for each in found], list(range(1, 10)))
        self.assertTrue(all(after.is_old(each) for each in found))
        after.append([chunk(10)])
        self.assertFalse(after.is_old(self.all_of(after)[0]))

    def test_what_is_delivered_leaves_the_disk(self) -> None:
        backlog = self.open(segment_bytes=4096)
        for i in range(200):
            backlog.append([chunk(i, 500)])
        most = backlog.used_bytes
        self.assertGreater(most, 100_000)
        for i in range(200):
            found = backlog.next(0.0)
            self.assertEqual(number_of(found), i)
            backlog.passed(place_of(found))
        self.assertIsNone(backlog.next(0.0))
        self.assertLess(backlog.used_bytes, 200)
        self.assertEqual(len(list(Path(self.folder).glob("*.seg"))), 0)
        backlog.append([chunk(7)])
        after = self.killed(backlog)
        self.assertEqual([number_of(each) for each in self.all_of(after)], [7])

    def test_serials_that_start_anew_are_not_taken_for_delivered(self) -> None:
        backlog = self.open(segment_bytes=4096)
        for i in range(50):
            backlog.append([chunk(i, 500)])
        for each in self.all_of(backlog):
            backlog.passed(place_of(each))
        backlog.close()
        again = self.open(segment_bytes=4096)
        again.append([chunk(1)])
        last = self.killed(again)
        self.assertEqual([number_of(each) for each in self.all_of(last)], [1])

    def test_a_cursor_of_a_later_epoch_counts_for_nothing(self) -> None:
        backlog = self.open()
        for i in range(3):
            backlog.append([chunk(i)])
        found = backlog.next(0.0)
        backlog.passed(place_of(found))
        backlog.close()
        for name in [*Path(self.folder).glob("*.seg"), Path(self.folder) / "lock"]:
            name.unlink()
        again = self.open()
        again.append([chunk(5)])
        after = self.killed(again)
        self.assertEqual([number_of(each) for each in self.all_of(after)], [5])

    def test_a_torn_cursor_leaves_the_one_before(self) -> None:
        backlog = self.open()
        backlog.append([chunk(i) for i in range(4)])
        for _ in range(2):
            found = backlog.next(0.0)
            backlog.passed(place_of(found))
            backlog.write_cursor()
        path = Path(self.folder) / "cursor"
        for at in range(64):
            broken = bytearray(path.read_bytes())
            broken[at] ^= 0x55
            Path(self.folder, "cursor").write_bytes(broken)
            backlog = self.killed(backlog)
            self.assertIn(number_of(backlog.next(0.0)), (1, 2))
            broken[at] ^= 0x55
            Path(self.folder, "cursor").write_bytes(broken)

    def test_a_disk_that_refuses_takes_none_of_the_chunks(self) -> None:
        for room in (0, 100, 400):
            disk = BadDisk()
            self.folder = self.mktemp()
            backlog = self.open(disk=disk)
            backlog.append([chunk(1)])
            disk.full, disk.room = True, room
            self.assertFalse(backlog.append([chunk(2), chunk(3)]))
            self.assertTrue(backlog.failing)
            self.assertFalse(backlog.append([chunk(4)]))
            disk.full = False
            backlog.sync()
            for _ in range(300):
                if backlog.append([chunk(5)]):
                    break
            self.assertEqual([number_of(each) for each in self.all_of(backlog)], [1, 5])
            self.assertEqual(backlog.points, 0)

    def test_a_cursor_that_cannot_be_written_is_counted_and_tried_again(self) -> None:
        disk = BadDisk()
        backlog = self.open(disk=disk)
        backlog.append([chunk(1), chunk(2)])
        found = backlog.next(0.0)
        backlog.passed(place_of(found))
        disk.full = True
        backlog.write_cursor()
        self.assertEqual(backlog.cursor_failures, 1)
        disk.full = False
        backlog.write_cursor()
        after = self.killed(backlog)
        self.assertEqual([number_of(each) for each in self.all_of(after)], [2])

    def test_the_oldest_segment_can_be_dropped(self) -> None:
        backlog = self.open(segment_bytes=4096)
        for i in range(40):
            backlog.append([chunk(i, 500)])
        self.assertEqual(number_of(backlog.next(0.0)), 0)
        held = backlog.spooled_points
        in_hand = held - backlog.points
        ours, former = backlog.drop_oldest()
        self.assertEqual(former, 0)
        rest = [number_of(each) for each in self.all_of(backlog)]
        self.assertEqual(len(rest) + 1, 40 - ours)
        self.assertEqual(rest[-1], 39)
        self.assertEqual(in_hand, 40)

    def test_dropping_counts_what_a_former_process_left(self) -> None:
        backlog = self.open(segment_bytes=4096)
        for i in range(40):
            backlog.append([chunk(i, 500)])
        after = self.killed(backlog, segment_bytes=4096)
        ours, former = after.drop_oldest()
        self.assertEqual(ours, 0)
        self.assertGreater(former, 0)
        self.assertEqual([number_of(each) for each in self.all_of(after)], list(range(former, 40)))
        while after.used_bytes > 200:
            before = after.used_bytes
            after.drop_oldest()
            self.assertLess(after.used_bytes, before)

    def test_dropping_all_that_is_written_leaves_room(self) -> None:
        backlog = self.open()
        backlog.append([chunk(1), chunk(2)])
        self.assertEqual(backlog.drop_oldest(), (2, 0))
        self.assertEqual(self.all_of(backlog), [])
        self.assertEqual(backlog.points, 0)

    def test_a_budget_counts_all_members(self) -> None:
        budget = SpoolBudget(1 << 20)
        backlogs = [self.open()]
        self.folder = self.mktemp()
        backlogs.append(self.open())
        for each in backlogs:
            budget.join(each)
            each.append([chunk(1, 1000)])
        self.assertEqual(budget.used_bytes, sum(each.used_bytes for each in backlogs))
        budget.leave(backlogs[0])
        budget.leave(backlogs[0])
        self.assertEqual(budget.used_bytes, backlogs[1].used_bytes)

    def test_two_processes_never_share_a_folder(self) -> None:
        self.open()
        self.assertRaises(StorageError, Backlog, self.folder)

    def test_nothing_is_synced_before_something_is_written(self) -> None:
        backlog = self.open()
        backlog.sync()
        self.assertEqual(list(Path(self.folder).glob("*.spare")), [])
        backlog.append([chunk(1)])
        backlog.sync()
        self.assertEqual(len(list(Path(self.folder).glob("*.spare"))), 1)

    @QUICK
    @given(st.lists(st.sampled_from(["append", "next", "next", "pass", "cursor", "kill", "refuse"]), max_size=60))
    def test_nothing_is_lost_whatever_happens(self, steps: list[str]) -> None:
        """Chunks come in order; after a kill all that was not delivered comes again, of the rest at most a cursor."""
        folder, disk = self.mktemp(), BadDisk()
        backlog = Backlog(folder, 2048, disk)
        accepted, waiting, delivered = list[int](), list[int](), set[int]()
        given: dict[int, Chunk] = {}
        made = floor = 0
        for step in steps:
            if step in ("append", "refuse"):
                disk.full = step == "refuse"
                if backlog.append([chunk(made, 300), chunk(made + 1, 40)]):
                    accepted += [made, made + 1]
                    waiting += [made, made + 1]
                made += 2
                disk.full = False
                backlog.sync()
            elif step == "next":
                found = backlog.next(0.0)
                self.assertEqual([number_of(found)] if found else [], waiting[:1])
                if found is not None:
                    given[waiting.pop(0)] = found
            elif step == "pass" and given:
                number = max(given) if len(given) % 2 else min(given)
                backlog.passed(place_of(given.pop(number)))
                delivered.add(number)
            elif step == "cursor":
                backlog.write_cursor()
                floor = next((number for number in accepted if number not in delivered), made)
            elif step == "kill":
                os.close(backlog._log._lock_fd)
                backlog = Backlog(folder, 2048, disk)
                given = {number_of(each): each for each in self.all_of(backlog)}
                self.assertEqual(list(given), sorted(given))
                self.assertEqual(set(accepted) - delivered - set(given), set())
                self.assertTrue(all(number >= floor for number in given))
                delivered -= set(given)
                waiting = []
        backlog.close()
