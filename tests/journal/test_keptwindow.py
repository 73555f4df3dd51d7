"""The resend window in a file: the ring, faults of the disk, and that nothing else changes."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from resource import RLIMIT_FSIZE, getrlimit, setrlimit
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.flow import Gate
from cadtwist.journal.backlog import Backlog, Chunk
from cadtwist.journal.disk import Disk
from cadtwist.journal.flight import Flight
from cadtwist.journal.keptwindow import KEEP_BYTES, RETRY_S, KeptWindow, WindowFolder
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.journal.spool import Spool
from cadtwist.telemetry import Account

QUICK = settings(max_examples=200, deadline=None, database=None)


class FaultyDisk(Disk):
    """Does what is asked until told otherwise; `opened` are the descriptors of unnamed files."""

    def __init__(self) -> None:
        self.full = False
        self.unreadable: set[int] = set()
        self.writes: list[tuple[int, int]] = []
        self.opened: list[int] = []

    def unnamed(self, folder: str | None) -> int:
        self.opened.append(super().unnamed(folder))
        return self.opened[-1]

    def write_all(self, fd: int, buffers: Sequence[bytes], offset: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "no space")
        self.writes.append((offset, sum(map(len, buffers))))
        super().write_all(fd, buffers, offset)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        if offset in self.unreadable:
            raise OSError(errno.EIO, "broken")
        return super().read(fd, size, offset)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def line(number: int, size: int) -> bytes:
    return (b"%d " % number).ljust(size - 1, b".") + b"\n"


def chunk(number: int, size: int) -> Chunk:
    return Chunk(line(number, size), 1, 0.0)


class KeptCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = self.mktemp()
        os.mkdir(self.place)
        self.disk = FaultyDisk()
        self.told: list[str] = []

    def folder(self, keep_bytes: int = 100, slack_bytes: int = 50) -> WindowFolder:
        return WindowFolder(self.place, self.told.append, self.disk, keep_bytes, slack_bytes)


class DiskTests(KeptCase):
    def test_an_unnamed_file_leaves_no_name(self) -> None:
        for folder in (self.place, None):
            fd = Disk().unnamed(folder)
            self.addCleanup(os.close, fd)
            self.assertEqual(os.fstat(fd).st_nlink, 0)
            self.assertFalse(os.get_inheritable(fd))
        self.assertEqual(os.listdir(self.place), [])

    def test_a_short_write_is_gone_on_with(self) -> None:
        """The kernel takes what fits below the largest size of a file, and refuses the rest."""

        class ShortDisk(Disk):
            rest: tuple[bytes, int] | None = None

            def write(self, fd: int, data: Any, offset: int) -> None:
                self.rest = bytes(data), offset
                super().write(fd, data, offset)

        disk = ShortDisk()
        fd = disk.unnamed(self.place)
        self.addCleanup(os.close, fd)
        soft, hard = getrlimit(RLIMIT_FSIZE)
        self.addCleanup(setrlimit, RLIMIT_FSIZE, (soft, hard))
        setrlimit(RLIMIT_FSIZE, (16, hard))
        error = self.assertRaises(OSError, disk.write_all, fd, [b"0123456789", b"abcdefghij"], 0)
        setrlimit(RLIMIT_FSIZE, (soft, hard))
        self.assertEqual((error.errno, disk.rest), (errno.EFBIG, (b"ghij", 16)))
        disk.write_all(fd, [b"0123456789", b"abcdefghij"], 0)
        self.assertEqual(disk.read(fd, 20, 0), b"0123456789abcdefghij")

    def test_fewer_bytes_than_asked_for_are_an_error(self) -> None:
        disk = Disk()
        fd = disk.unnamed(self.place)
        self.addCleanup(os.close, fd)
        disk.write_all(fd, [b"abc"], 0)
        self.assertEqual(disk.read(fd, 2, 1), b"bc")
        self.assertEqual(self.assertRaises(OSError, disk.read, fd, 3, 1).errno, errno.EIO)


class RingTests(KeptCase):
    def take(self, kept: KeptWindow, sizes: list[int], window_bytes: int = 300, now: float = 0.0) -> deque[Chunk]:
        """Offer chunks of these sizes, all confirmed; return those that stayed in memory."""
        chunks = deque(chunk(i, size) for i, size in enumerate(sizes))
        kept.take(chunks, sum(sizes), window_bytes, now)
        return chunks

    def test_much_goes_with_one_write_and_little_stays(self) -> None:
        kept = KeptWindow(self.folder())
        self.assertEqual(len(self.take(kept, [60])), 1)
        self.assertEqual((self.disk.opened, kept.size), ([], 0))
        left = self.take(kept, [60, 60, 60])
        self.assertEqual((self.disk.writes, kept.size, kept.points), ([(0, 120)], 120, 2))
        self.assertEqual([len(each.data) for each in left], [60])
        self.assertEqual([len(each.data) for each, _ in kept.recall()], [60, 60])

    def test_only_whole_chunks_within_what_is_confirmed_go(self) -> None:
        kept = KeptWindow(self.folder())
        chunks = deque([chunk(0, 150), chunk(1, 60), chunk(2, 60)])
        kept.take(chunks, 149, 300, 0.0)
        self.assertEqual(len(chunks), 3)
        kept.take(chunks, 269, 300, 0.0)
        self.assertEqual(len(chunks), 2)
        kept.recall()

    def test_a_write_has_no_more_buffers_than_the_kernel_takes(self) -> None:
        kept = KeptWindow(self.folder(keep_bytes=10_000))
        left = self.take(kept, [6] * 2500, 100_000)
        self.assertEqual(self.disk.writes, [(0, 6144)])
        self.assertEqual(len(left), 1476)
        self.assertEqual(len(kept.recall()), 1024)

    def test_the_ring_begins_anew_where_there_is_room(self) -> None:
        """Writes are whole, freed places are used again, and what is kept is never written over."""
        kept = KeptWindow(self.folder())
        self.take(kept, [100, 100, 100])
        self.assertEqual([at for at, _ in self.disk.writes], [0, 100, 200])
        self.assertEqual(len(self.take(kept, [100])), 1)
        self.assertEqual(len(kept.free(99)), 0)
        self.assertEqual(len(kept.free(100)), 1)
        self.assertEqual(len(self.take(kept, [101])), 1)
        self.assertEqual(len(self.take(kept, [100])), 0)
        self.assertEqual(self.disk.writes[-1], (0, 100))
        self.assertEqual(len(self.take(kept, [100])), 1)
        self.assertEqual(len(kept.free(200)), 2)
        self.assertEqual(len(self.take(kept, [100])), 0)
        self.assertEqual(self.disk.writes[-1], (100, 100))
        self.assertEqual([each.data[:2] for each, _ in kept.recall()], [b"0 ", b"0 "])

    def test_an_empty_ring_begins_at_its_begin(self) -> None:
        kept = KeptWindow(self.folder())
        for _ in range(3):
            self.take(kept, [100, 100])
            self.assertEqual(len(kept.free(200)), 2)
        self.assertEqual(self.disk.writes, [(0, 100), (100, 100)] * 3)
        kept.recall()

    def test_another_bound_of_the_window_counts_from_the_next_turn(self) -> None:
        kept = KeptWindow(self.folder())
        self.take(kept, [100] * 3)
        self.assertEqual(len(self.take(kept, [100] * 3, window_bytes=600)), 0)
        kept.free(300)
        self.take(kept, [100], window_bytes=300)
        self.assertEqual(self.disk.writes[-1], (0, 100))
        kept.recall()

    @QUICK
    @given(st.lists(st.tuples(st.integers(1, 250), st.integers(0, 300)), min_size=10, max_size=60))
    def test_it_gives_back_what_it_took(self, turns: list[tuple[int, int]]) -> None:
        kept, wanted = KeptWindow(self.folder(keep_bytes=1)), deque[bytes]()
        for number, (size, freed) in enumerate(turns):
            data = chunk(number, max(size, 5))
            chunks = deque([data])
            whole = data.data
            kept.take(chunks, len(whole), 400, 0.0)
            if not chunks:
                wanted.append(whole)
            for _ in kept.free(freed):
                wanted.popleft()
            self.assertEqual(kept.size, sum(map(len, wanted)))
            self.assertLessEqual(kept.size, 450)
        self.assertEqual([each.data for each, _ in kept.recall()], list(wanted))

    def test_its_file_is_of_the_begun_size_at_most_and_goes_with_it(self) -> None:
        kept = KeptWindow(self.folder())
        for _ in range(20):
            self.take(kept, [130, 110], 300)
            kept.free(150)
        (fd,) = self.disk.opened
        self.assertLessEqual(os.fstat(fd).st_size, 350)
        kept.recall()
        self.assertFalse(is_open(fd))
        self.assertEqual((kept.size, kept.recall()), (0, []))


class FaultTests(KeptCase):
    def test_a_full_disk_is_told_once_and_tried_again(self) -> None:
        folder = self.folder()
        kept, chunks = KeptWindow(folder), deque([chunk(0, 100), chunk(1, 100)])
        self.disk.full = True
        for now in (10.0, 11.0, 10.0 + RETRY_S - 1):
            kept.take(chunks, 200, 300, now)
        self.assertEqual((folder.failures, len(chunks), len(chunks[0].data)), (1, 2, 100))
        self.assertFalse(is_open(self.disk.opened[0]))
        kept.take(chunks, 200, 300, 10.0 + RETRY_S)
        self.assertEqual(folder.failures, 2)
        self.assertEqual(self.told, ["the resend window stays in memory: [Errno 28] no space"])
        self.disk.full = False
        kept.take(chunks, 200, 300, 5.0)  # the clock was set back
        self.assertEqual((len(chunks), kept.size), (0, 200))
        self.disk.full = True
        self.assertEqual(len(kept.free(200)), 2)
        kept.take(deque([chunk(0, 100)]), 100, 300, 6.0)
        self.assertEqual((folder.failures, len(self.told)), (3, 2))
        kept.recall()

    def test_a_disk_that_gets_full_keeps_what_it_has(self) -> None:
        kept = KeptWindow(self.folder())
        kept.take(deque([chunk(0, 100)]), 100, 300, 0.0)
        self.disk.full = True
        chunks = deque([chunk(1, 100)])
        kept.take(chunks, 100, 300, 1.0)
        self.assertEqual(len(chunks), 1)
        self.assertEqual([each.data for each, _ in kept.recall()], [line(0, 100)])

    def test_no_folder(self) -> None:
        folder = WindowFolder(self.place + "/none", self.told.append, None, 100)
        kept, chunks = KeptWindow(folder), deque([chunk(0, 100)])
        kept.take(chunks, 100, 300, 0.0)
        self.assertEqual((len(chunks), folder.failures, len(self.told)), (1, 1, 1))
        self.assertEqual(kept.recall(), [])

    def test_what_cannot_be_read_is_told(self) -> None:
        kept = KeptWindow(self.folder())
        kept.take(deque([chunk(0, 100), chunk(1, 110), chunk(2, 120)]), 330, 300, 0.0)
        self.disk.unreadable = {0, 210}
        found = [(each.data[:2], size) for each, size in kept.recall()]
        self.assertEqual(found, [(b"", 100), (b"1 ", 110), (b"", 120)])
        self.assertEqual(
            self.told, ["220 bytes of the resend window cannot be read, and are not sent again: [Errno 5] broken"]
        )


class QueueCase(KeptCase):
    def queue(self, in_file: bool = True, backlog: Backlog | None = None, **limits: Any) -> Spool:
        self.account = Account("destination")
        given = QueueLimits(window_in_file=in_file, **limits)
        return Spool(self.account, given, True, backlog, None, Gate(), "queue d", self.folder())

    def sent(self, spool: Spool, sizes: Sequence[int], acknowledged: int, now: float = 0.0) -> Flight:
        """Return a connection that has sent a chunk of one line for each size."""
        flight = spool.flight()
        for number, size in enumerate(sizes):
            spool.push(line(number, size), 1, now)
        flight.wrote(len(b"".join(flight.fill(sum(sizes), now))))
        flight.acknowledged(acknowledged, now, True)
        return flight

    def waiting(self, spool: Spool, now: float = 0.0) -> list[int]:
        data = b"".join(spool.flight().fill(1 << 30, now))
        return [int(each.split()[0]) for each in data.splitlines()]


class QueueTests(QueueCase):
    def test_memory_does_not_hold_what_is_in_the_file(self) -> None:
        spool = self.queue()
        flight = self.sent(spool, [60] * 10, 350)
        self.assertEqual((flight.kept_bytes, flight.held_bytes, spool.memory_bytes), (240, 360, 360))
        self.assertEqual(self.account.gauges["window_file_bytes"](), 240)
        self.assertEqual((flight.points, self.account.held(), self.account.out), (10, 10, 0))
        flight.acknowledged(350, 1.0, True)
        self.assertEqual((flight.kept_bytes, self.account.out, flight.points), (0, 5, 5))
        flight.lost(1.0)
        self.assertEqual(self.waiting(spool), [5, 6, 7, 8, 9])

    def test_a_lost_connection_gets_it_back_in_order(self) -> None:
        spool = self.queue()
        flight = self.sent(spool, [60] * 10, 350)
        flight.lost(0.0)
        self.assertEqual((spool.waiting_bytes, spool.memory_bytes, self.account.counters["resent"]), (600, 600, 10))
        self.assertEqual(self.account.gauges["window_file_bytes"](), 0)
        self.assertEqual(self.waiting(spool), list(range(10)))
        self.assertFalse(is_open(self.disk.opened[0]))

    def test_closing_gets_it_back(self) -> None:
        backlog = Backlog(self.place, 4096)
        spool = self.queue(backlog=backlog, spool_bytes=1 << 30)
        self.sent(spool, [60] * 10, 350)
        self.sent(spool, [60] * 10, 350)
        spool.close(0.0)
        self.assertEqual([is_open(fd) for fd in self.disk.opened], [False, False])
        self.assertEqual((self.account.counters["spooled_out"], self.account.balance()), (20, 0))

    def test_a_file_stands_beside_the_backlog(self) -> None:
        backlog = Backlog(self.place, 4096)
        spool = Spool(Account("d"), QueueLimits(), True, backlog)
        self.assertEqual(spool.window.folder, self.place)
        self.assertIsNone(Spool(Account("d"), QueueLimits()).window.folder)
        spool.close(0.0)

    def test_quiet_traffic_makes_no_file(self) -> None:
        disk = FaultyDisk()
        spool = Spool(Account("d"), QueueLimits(), window=WindowFolder(self.place, None, disk))
        flight = spool.flight()
        for second in range(100):
            spool.push(line(second, KEEP_BYTES // 3), 1, float(second))
            flight.wrote(len(b"".join(flight.fill(1 << 20, float(second)))))
            flight.acknowledged(flight.written, float(second), True)
        self.assertEqual(disk.opened, [])
        spool.push(line(1, KEEP_BYTES), 1, 100.0)
        flight.wrote(len(b"".join(flight.fill(1 << 20, 100.0))))
        flight.acknowledged(flight.written, 100.0, True)
        self.assertEqual(len(disk.opened), 1)
        flight.lost(100.0)

    def test_without_a_window_or_a_file_all_is_in_memory(self) -> None:
        for options in ({"window_s": 0.0}, {"window_in_file": False}):
            self.account = Account("d")
            spool = Spool(self.account, QueueLimits(**options), window=self.folder())  # type: ignore[arg-type]
            flight = self.sent(spool, [60] * 10, 350)
            self.assertEqual((self.disk.opened, flight.kept_bytes), ([], 0))
            flight.lost(0.0)

    def test_a_change_of_the_bounds(self) -> None:
        """What is in the file passes as it would have; nothing new comes there."""
        spool = self.queue()
        flight = self.sent(spool, [60] * 10, 350)
        spool.limits = QueueLimits(window_in_file=False)
        flight.acknowledged(600, 0.5, True)
        self.assertEqual(flight.kept_bytes, 240)
        spool.limits = QueueLimits(window_s=0.0)
        spool.push(line(10, 60), 1, 0.6)
        flight.fill(60, 0.6)
        flight.wrote(60)
        self.assertEqual((flight.kept_bytes, self.account.out, spool.memory_bytes), (0, 11, 0))
        flight.lost(1.0)

    def test_a_chunk_that_has_passed_in_part_is_cut(self) -> None:
        spool = self.queue(window_bytes=160)
        spool.push(b"".join(line(n, 20) for n in range(10)), 10, 0.0)
        flight = spool.flight()
        flight.wrote(len(b"".join(flight.fill(200, 0.0))))
        flight.acknowledged(200, 0.0, False)
        self.assertEqual(flight.kept_bytes, 200)
        flight.lost(0.0)
        self.assertEqual((self.account.out, self.account.counters["resent"]), (2, 8))
        self.assertEqual(self.waiting(spool), list(range(2, 10)))

    def test_what_cannot_be_read_is_dropped_and_the_rest_sent_again(self) -> None:
        for gone, left in (({0}, [1, 2, 3, 4, 5, 6]), ({60}, [0, 2, 3, 4, 5, 6]), ({0, 60, 180}, [2, 4, 5, 6])):
            self.disk = FaultyDisk()
            spool = self.queue()
            flight = self.sent(spool, [60] * 7, 250)
            self.disk.unreadable = gone
            flight.lost(0.0)
            self.assertEqual(self.account.dropped, {"window_unreadable": len(gone)})
            self.assertEqual(self.account.counters["resent"], len(left))
            self.assertEqual((spool.waiting_bytes, self.account.balance()), (60 * len(left), 0))
            self.assertEqual(self.waiting(spool), left)
            self.assertEqual(self.account.gauges["window_file_failures"](), 1)

    def test_what_had_passed_in_part_and_cannot_be_read(self) -> None:
        """The chunk behind it is not cut."""
        spool = self.queue(window_bytes=200)
        for number in range(2):
            spool.push(b"".join(line(6 * number + n, 20) for n in range(6)), 6, 0.0)
        flight = self.sent(spool, [], 0)
        flight.wrote(len(b"".join(flight.fill(240, 0.0))))
        flight.acknowledged(240, 0.0, False)
        self.assertEqual((flight.kept_bytes, flight.unsafe_bytes), (240, 200))
        self.disk.unreadable = {0}
        flight.lost(0.0)
        self.assertEqual((self.account.dropped, self.account.out), ({"window_unreadable": 6}, 0))
        self.assertEqual((self.waiting(spool), self.account.balance()), ([6, 7, 8, 9, 10, 11], 0))

    def test_what_came_from_the_backlog_and_cannot_be_read_is_settled_there(self) -> None:
        backlog = Backlog(self.place, 4096)
        spool = self.queue(backlog=backlog, spool_bytes=1 << 30, replay_bytes_per_s=inf)
        for number in range(4):
            spool.push(line(number, 60), 1, 0.0)
        spool.tick(2.0)
        flight = self.sent(spool, [], 0, 2.0)
        flight.wrote(len(b"".join(flight.fill(240, 2.0))))
        flight.acknowledged(240, 2.0, True)
        self.assertEqual((flight.kept_bytes, backlog.open_points), (240, 4))
        self.disk.unreadable = {0, 60, 120, 180}
        flight.lost(2.0)
        self.assertEqual((self.account.dropped, backlog.open_points), ({"window_unreadable": 4}, 0))
        self.assertTrue(spool.idle)
        spool.close(2.0)


class TwinTests(QueueCase):
    """A window in a file does what one in memory does."""

    steps = st.lists(
        st.one_of(
            st.tuples(st.sampled_from(["turn", "turn_held"]), st.integers(10, 150)),
            st.tuples(st.just("turn_held"), st.integers(10, 80)),
            st.tuples(st.sampled_from(["push", "write", "ack", "ack_held", "unread"]), st.integers(1, 400)),
            st.tuples(st.sampled_from(["wait", "tick", "turn_held", "lose", "full", "limits"]), st.integers(0, 3)),
        ),
        min_size=30,
        max_size=150,
    )

    @QUICK
    @given(steps, st.sampled_from([30, 200, 400]), st.booleans(), st.booleans(), st.integers(1, 100))
    def test_both_give_the_same(
        self, steps: list[tuple[str, int]], window_bytes: int, divisible: bool, on_disk: bool, keep_bytes: int
    ) -> None:
        lives = []
        for in_file in (True, False):
            self.disk = FaultyDisk()
            folder = self.folder(keep_bytes)
            backlog = Backlog(self.mktemp(), 4096) if on_disk else None
            limits = QueueLimits(
                window_bytes=window_bytes,
                replay_bytes_per_s=1e9,
                spool_bytes=on_disk << 30,
                window_in_file=in_file,
            )
            life = _Life(limits, divisible, backlog, folder, self.disk)
            for what, size in steps:
                getattr(life, what)(size)
                life.note()
            life.end()
            lives.append(life.notes)
            self.assertFalse(any(map(is_open, self.disk.opened)))
        self.assertEqual(*lives)


class _Life:
    """A queue and two connections; `notes` is all that can be seen of it, save where bytes are kept."""

    def __init__(
        self, limits: QueueLimits, divisible: bool, backlog: Backlog | None, folder: WindowFolder, disk: FaultyDisk
    ) -> None:
        self.account = Account("a life")
        self.spool = Spool(self.account, limits, divisible, backlog, window=folder)
        self.disk = disk
        self.notes: list[object] = []
        self.now = 0.0
        self.number = 0
        self.flights = [self.spool.flight(), self.spool.flight()]
        self.acked = [0, 0]

    def push(self, size: int) -> None:
        data = b"".join(line(self.number + n, 10 + size % 30) for n in range(1 + size // 40))
        self.spool.push(data, data.count(b"\n"), self.now)
        self.number += data.count(b"\n")

    def write(self, most: int) -> None:
        flight = self.flights[most % 2]
        data = b"".join(flight.fill(most, self.now))[:most]
        flight.wrote(len(data))
        self.notes.append(data)

    def ack(self, more: int, keeps_up: bool = True, unread: int = 0) -> None:
        which = more % 2
        self.acked[which] = min(self.acked[which] + more, self.flights[which].written)
        self.flights[which].acknowledged(self.acked[which], self.now, keeps_up, unread)

    def turn(self, size: int) -> None:
        """Send some lines, and let them be confirmed."""
        self.push(size)
        self.write(2 * size)
        self.ack(2 * size)

    def turn_held(self, size: int) -> None:
        """So, while the peer takes less than is meant for it: then age does not count."""
        self.push(size)
        self.write(2 * size)
        self.ack(2 * size, False)

    def ack_held(self, more: int) -> None:
        self.ack(more, False)

    def unread(self, size: int) -> None:
        self.ack(size, True, size)

    def wait(self, tenths: int) -> None:
        self.now += tenths / 3
        self.ack(0)
        self.ack(1)

    def tick(self, _: int) -> None:
        self.spool.tick(self.now)

    def full(self, which: int) -> None:
        self.disk.full = which == 0
        self.now += 61 * (which == 1)

    def limits(self, which: int) -> None:
        self.spool.limits = replace(self.spool.limits, window_bytes=(30, 200, 400, 500)[which])

    def lose(self, which: int) -> None:
        which %= 2
        self.flights[which].lost(self.now)
        self.flights[which], self.acked[which] = self.spool.flight(), 0

    def note(self) -> None:
        account, spool = self.account, self.spool
        ledger = (account.received, account.made, account.out, account.held(), dict(account.dropped))
        memory = spool.memory_bytes + sum(flight.kept_bytes for flight in spool.flights)
        flights = [(each.points, each.unsafe_bytes, each.unwritten_bytes) for each in self.flights]
        self.notes.append((ledger, account.balance(), dict(account.counters), memory, flights, spool.waiting_bytes))

    def end(self) -> None:
        self.spool.take_back(self.now)
        self.spool.tick(self.now + 0.1)
        self.notes.append(b"".join(self.spool.flight().fill(1 << 30, self.now + 0.1)))
        self.note()
        self.spool.close(self.now + 0.2)
