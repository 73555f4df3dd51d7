"""The queue of one destination: order, bounds, what survives, what is sent twice."""

from __future__ import annotations

import errno
import os
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.flow import Gate
from cadtwist.journal.backlog import Backlog, SpoolBudget
from cadtwist.journal.disk import Disk
from cadtwist.journal.flight import Flight
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.journal.spool import LATE_S, Spool
from cadtwist.telemetry import Account

QUICK = settings(max_examples=150, deadline=None, database=None)


class FullDisk(Disk):
    full = False

    def write(self, fd: int, data: Any, offset: int) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "no space")
        super().write(fd, data, offset)


def lines(first: int, count: int = 1, size: int = 20) -> bytes:
    return b"".join((b"%d " % n).ljust(size - 1, b".") + b"\n" for n in range(first, first + count))


def numbers(data: bytes) -> list[int]:
    return [int(line.split()[0]) for line in data.splitlines()]


def written(flight: Flight, most: int, now: float = 0.0) -> bytes:
    """Write up to `most` bytes, as a socket would take them."""
    data = b"".join(flight.fill(most, now))[:most]
    flight.wrote(len(data))
    return data


class SpoolCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.account = Account("destination")
        self.gate = Gate()

    def spool(self, on_disk: bool = False, disk: Disk | None = None, divisible: bool = True, **limits: Any) -> Spool:
        backlog = None
        if on_disk:
            limits.setdefault("spool_bytes", 1 << 30)
            backlog = Backlog(self.folder, 4096, disk)
        return Spool(self.account, QueueLimits(**limits), divisible, backlog, None, self.gate, "queue d")

    def drained(self, spool: Spool, now: float = 0.0) -> list[int]:
        """Deliver everything that may go now over one connection."""
        flight = spool.flight()
        got = b""
        while data := written(flight, 1 << 20, now):
            got += data
        flight.finished()
        flight.lost(now)
        return numbers(got)

    def balanced(self) -> None:
        self.assertEqual(self.account.balance(), 0)


class MemoryTests(SpoolCase):
    def test_first_in_first_out(self) -> None:
        spool = self.spool()
        self.assertEqual(spool.push(lines(0, 2), 2, 0.0), 2)
        spool.push(lines(2), 1, 0.0)
        self.assertEqual((spool.waiting_bytes, spool.waiting_points), (60, 3))
        self.assertEqual(self.account.held(), 3)
        self.assertEqual(self.drained(spool), [0, 1, 2])
        self.assertEqual((self.account.out, self.account.held()), (3, 0))
        self.assertTrue(spool.idle)
        self.balanced()

    def test_its_memory_is_what_waits_and_what_has_not_passed(self) -> None:
        spool = self.spool(window_s=1.0, window_bytes=30)
        for i in range(5):
            spool.push(lines(i), 1, 0.0)
        self.assertEqual(spool.memory_bytes, 100)
        flight = spool.flight()
        flight.fill(60, 0.0)
        flight.wrote(50)
        self.assertEqual((spool.waiting_bytes, flight.held_bytes, spool.memory_bytes), (40, 60, 100))
        flight.acknowledged(50, 0.0, False)
        self.assertEqual((flight.held_bytes, spool.memory_bytes), (40, 80))
        flight.lost(0.0)
        self.assertEqual((spool.waiting_bytes, spool.memory_bytes), (80, 80))
        self.drained(spool)
        self.assertEqual(spool.memory_bytes, 0)

    def test_a_byte_passes_when_acknowledged_and_old(self) -> None:
        spool = self.spool(window_s=1.0, window_bytes=1 << 20)
        flight = spool.flight()
        for i in range(4):
            spool.push(lines(i), 1, 0.0)
        written(flight, 60)
        flight.acknowledged(40, 10.0, True)
        self.assertEqual(self.account.out, 0)
        flight.acknowledged(60, 10.5, True)
        flight.acknowledged(60, 11.0, True)
        self.assertEqual(self.account.out, 2)
        flight.acknowledged(60, 11.5, True)
        self.assertEqual((self.account.out, flight.unsafe_bytes), (3, 0))
        self.balanced()

    def test_a_byte_passes_when_much_was_acknowledged_after_it(self) -> None:
        spool = self.spool(window_s=1.0, window_bytes=30)
        flight = spool.flight()
        for i in range(4):
            spool.push(lines(i), 1, 0.0)
        written(flight, 80)
        flight.acknowledged(80, 0.0, False)
        self.assertEqual(self.account.out, 2)

    def test_age_does_not_count_while_the_peer_takes_less_than_is_sent(self) -> None:
        spool = self.spool(window_s=1.0)
        flight = spool.flight()
        spool.push(lines(0, 3), 3, 0.0)
        written(flight, 60)
        flight.acknowledged(60, 0.0, True)
        flight.acknowledged(60, 5.0, False)
        flight.acknowledged(60, 5.5, True)
        self.assertEqual(self.account.out, 0)
        flight.acknowledged(60, 6.5, True)
        self.assertEqual(self.account.out, 3)

    def test_a_clock_that_is_set_back(self) -> None:
        spool = self.spool(window_s=1.0)
        flight = spool.flight()
        spool.push(lines(0), 1, 1000.0)
        written(flight, 20)
        flight.acknowledged(20, 1000.0, True)
        for now in (10.0, 10.5, 11.0):
            self.assertEqual(self.account.out, 0)
            flight.acknowledged(20, now, True)
        self.assertEqual(self.account.out, 1)

    def test_what_the_peer_has_not_read_does_not_pass(self) -> None:
        spool = self.spool(window_s=1.0, window_bytes=20)
        flight = spool.flight()
        spool.push(lines(0, 1), 1, 0.0)
        for i in range(1, 5):
            spool.push(lines(i), 1, 0.0)
        written(flight, 100)
        flight.acknowledged(80, 0.0, True, 60)
        flight.acknowledged(100, 1.0, True, 60)
        self.assertEqual(self.account.out, 2)
        flight.acknowledged(100, 2.0, True, 60)
        self.assertEqual(self.account.out, 2)
        flight.acknowledged(100, 3.0, True, 60)
        self.assertEqual(self.account.out, 5)

    def test_a_lost_connection_repeats_the_window_in_whole_lines(self) -> None:
        spool = self.spool(window_s=1.0)
        flight = spool.flight()
        spool.push(lines(0, 5), 5, 0.0)
        spool.push(lines(5, 5), 5, 0.0)
        written(flight, 130)
        flight.acknowledged(50, 0.0, True)
        flight.acknowledged(130, 1.0, True)
        flight.lost(1.0)
        flight.lost(1.0)
        self.assertEqual(self.account.out, 2)
        self.assertEqual(self.account.counters["resent"], 4)
        spool.push(lines(10), 1, 1.0)
        self.assertEqual(self.drained(spool, 1.0), [*range(2, 11)])
        self.balanced()

    def test_without_a_window_nothing_is_sent_twice_and_no_line_is_cut(self) -> None:
        spool = self.spool(window_s=0.0)
        flight = spool.flight()
        spool.push(lines(0, 5), 5, 0.0)
        written(flight, 50)
        flight.lost(0.0)
        self.assertEqual(self.account.counters["resent"], 0)
        self.assertEqual(self.drained(spool), [2, 3, 4])
        self.balanced()

    def test_frames_are_never_cut(self) -> None:
        spool = self.spool(divisible=False, window_s=0.0)
        flight = spool.flight()
        spool.push(b"\n" * 50, 5, 0.0)
        spool.push(b"\n" * 30, 3, 0.0)
        written(flight, 70)
        self.assertEqual(self.account.out, 5)
        flight.lost(0.0)
        self.assertEqual(b"".join(spool.flight().fill(100, 0.0)), b"\n" * 30)

    def test_several_connections_share_the_queue(self) -> None:
        spool = self.spool()
        flights = [spool.flight(), spool.flight()]
        for i in range(4):
            spool.push(lines(i), 1, 0.0)
        self.assertEqual(numbers(written(flights[0], 20)), [0])
        self.assertEqual(numbers(written(flights[1], 20)), [1])
        flights[0].lost(0.0)
        self.assertEqual(numbers(written(flights[1], 40)), [0, 2])
        flights[1].finished()
        self.assertEqual(self.account.out, 3)
        self.balanced()

    def test_new_lines_are_dropped_when_full(self) -> None:
        """An item is taken as long as the queue was below its bound before it (recorded of statsrelay)."""
        spool = self.spool(max_bytes=50)
        kept = [spool.push(lines(i, 1, 10), 1, 0.0) for i in range(20)]
        self.assertEqual(kept, [1] * 5 + [0] * 15)
        self.assertEqual(self.account.dropped, {"queue_full": 15})
        self.assertEqual(self.drained(spool), [0, 1, 2, 3, 4])
        whole = self.spool(max_bytes=45)
        self.assertEqual(whole.push(lines(0, 20, 10), 20, 0.0), 5)
        self.assertEqual(self.drained(whole), [0, 1, 2, 3, 4])
        points = self.spool(max_points=3)
        self.assertEqual(points.push(lines(0, 20), 20, 0.0), 3)
        self.assertEqual(points.push(lines(0, 20), 20, 0.0), 0)
        self.balanced()

    def test_frames_are_taken_or_dropped_whole(self) -> None:
        spool = self.spool(max_points=3, divisible=False)
        self.assertEqual([spool.push(b"\n" * 40, 2, 0.0) for _ in range(3)], [2, 2, 0])

    def test_old_chunks_are_dropped_when_full(self) -> None:
        spool = self.spool(max_bytes=60, policy="drop_oldest")
        for i in range(0, 10, 2):
            self.assertEqual(spool.push(lines(i, 2), 2, 0.0), 2)
        self.assertEqual(self.account.dropped, {"queue_full_oldest": 8})
        self.assertEqual(self.drained(spool), [8, 9])
        self.balanced()

    def test_block_shuts_the_gate_and_drops_beyond_the_hard_limit(self) -> None:
        spool = self.spool(max_points=4, policy="block", hard_share=1.5, low_watermark=0.5)
        flight = spool.flight()
        spool.push(lines(0, 3), 3, 0.0)
        self.assertTrue(self.gate.open)
        spool.push(lines(3), 1, 0.0)
        self.assertEqual(self.gate.reasons, {"queue d"})
        self.gate.pause("another")
        self.assertEqual([spool.push(lines(i), 1, 0.0) for i in (4, 5, 6)], [1, 1, 0])
        self.assertEqual(self.account.dropped, {"queue_full": 1})
        written(flight, 60)
        self.assertIn("queue d", self.gate.reasons)
        written(flight, 40)
        self.assertEqual(self.gate.reasons, {"another"})
        self.balanced()

    def test_what_was_given_back_takes_no_room_from_what_comes(self) -> None:
        """A lost connection that had more than the bound must not make `block` drop."""
        for policy in ("block", "drop_new"):
            self.account, self.gate = Account("destination"), Gate()
            spool = self.spool(max_bytes=100, policy=policy, hard_share=1.2, low_watermark=0.5)
            flight = spool.flight()
            for first in range(0, 40, 5):
                spool.push(lines(first, 5), 5, 0.0)
                written(flight, 100)
            flight.lost(0.0)
            self.assertEqual(spool.waiting_points, 40)
            taken = [spool.push(lines(number), 1, 0.0) for number in range(40, 47)]
            self.assertEqual(sum(taken), 6 if policy == "block" else 5)
            self.assertEqual(self.gate.open, policy != "block")
            again = spool.flight()
            self.assertEqual(numbers(written(again, 400)), list(range(20)))
            again.lost(0.0)
            self.assertEqual(spool.push(lines(47), 1, 0.0), 0)
            self.assertEqual(self.drained(spool), list(range(40 + sum(taken))))
            self.assertTrue(self.gate.open)
            self.assertEqual(spool.push(lines(48, 7), 7, 0.0), 6 if policy == "block" else 5)
            self.balanced()

    def test_closing_counts_what_is_lost(self) -> None:
        spool = self.spool(policy="block", max_points=2, hard_share=1.0)
        flight = spool.flight()
        spool.push(lines(0, 2), 2, 0.0)
        spool.push(lines(2), 1, 0.0)
        written(flight, 20)
        spool.close(0.0)
        self.assertEqual(self.account.dropped, {"stopped": 2, "queue_full": 1})
        self.assertTrue(self.gate.open)
        self.balanced()

    def test_what_waits_can_be_given_to_others(self) -> None:
        spool = self.spool()
        spool.push(lines(0, 2), 2, 0.0)
        spool.push(lines(2), 1, 0.0)
        self.assertEqual(spool.surrender(), [(lines(0, 2), 2), (lines(2), 1)])
        self.assertTrue(spool.idle)
        self.balanced()


class DiskTests(SpoolCase):
    def test_a_destination_that_keeps_up_touches_no_disk(self) -> None:
        spool = self.spool(on_disk=True)
        flight = spool.flight()
        for i in range(100):
            spool.push(lines(i), 1, i / 10)
            written(flight, 1000, i / 10)
            flight.acknowledged(flight.written, i / 10, True)
            spool.tick(i / 10)
        self.assertNotIn("spooled_out", self.account.counters)
        self.assertEqual(sorted(os.listdir(self.folder)), ["lock"])

    def test_late_chunks_go_to_the_disk_and_come_back_behind_live_ones(self) -> None:
        spool = self.spool(on_disk=True, replay_bytes_per_s=float("inf"))
        spool.push(lines(0), 1, 0.0)
        spool.tick(LATE_S / 2)
        self.assertEqual(spool.waiting_points, 1)
        spool.tick(LATE_S)
        self.assertEqual((spool.waiting_points, self.account.gauges["spooled_points"]()), (0, 1))
        spool.push(lines(1), 1, LATE_S)
        self.assertEqual((spool.waiting_points, self.account.gauges["spooled_points"]()), (0, 2))
        self.assertEqual(self.account.held(), 2)
        flight = spool.flight()
        spool.push(lines(2), 1, 2.0)
        self.assertEqual(spool.waiting_points, 1)
        self.assertEqual(numbers(written(flight, 1000, 2.0)), [2, 0, 1])
        flight.finished()
        self.assertEqual(self.account.out, 3)
        self.assertTrue(spool.idle)
        self.balanced()

    def test_a_clock_that_is_set_back_delays_a_little(self) -> None:
        spool = self.spool(on_disk=True, replay_bytes_per_s=1000.0)
        spool.push(lines(0, 5), 5, 1000.0)
        spool.tick(10.0)
        spool.tick(11.0)
        self.assertEqual(spool.waiting_points, 0)
        spool.tick(5.0)
        spool.tick(5.5)
        self.assertEqual(self.drained(spool, 5.5), [0, 1, 2, 3, 4])

    def test_the_backlog_is_paced(self) -> None:
        spool = self.spool(on_disk=True, replay_bytes_per_s=100)
        for i in range(50):
            spool.push(lines(i), 1, 0.0)
        spool.tick(2.0)
        flight = spool.flight()
        got = len(written(flight, 1 << 20, 2.0))
        for tenth in range(1, 51):
            spool.tick(2.0 + tenth / 10)
            got += len(written(flight, 1 << 20, 2.0 + tenth / 10))
        self.assertTrue(400 <= got <= 600, got)

    def test_a_slow_destination_gets_fresh_lines_and_the_rest_waits_on_the_disk(self) -> None:
        spool = self.spool(on_disk=True, replay_bytes_per_s=1e9)
        flight = spool.flight()
        latest = []
        for i in range(100):
            spool.push(lines(i), 1, i / 10)
            spool.tick(i / 10)
            if i % 10 == 9:
                latest.append(numbers(written(flight, 20, i / 10))[0])
        self.assertTrue(all(i * 10 + 9 - n <= 11 for i, n in enumerate(latest)), latest)
        got = sorted([*latest, *numbers(written(flight, 1 << 20, 11.0))])
        self.assertEqual(got, list(range(100)))

    def test_memory_beyond_its_bound_goes_to_the_disk(self) -> None:
        spool = self.spool(on_disk=True, max_points=10, max_bytes=1 << 20)
        for i in range(100):
            self.assertEqual(spool.push(lines(i), 1, 0.0), 1)
            self.assertLessEqual(spool.waiting_points, 10)
        self.assertGreaterEqual(self.account.gauges["spooled_points"](), 90)
        self.balanced()

    def test_a_few_megabytes_at_a_time_go_to_the_disk(self) -> None:
        spool = self.spool(on_disk=True, max_bytes=24 << 20)
        assert spool.backlog is not None
        most, chunk = 0, bytes((1 << 20) - 1) + b"\n"
        for _ in range(40):
            before = spool.backlog.used_bytes
            spool.push(chunk, 1, 0.0)
            most = max(most, spool.backlog.used_bytes - before)
            self.assertLessEqual(spool.waiting_bytes, 24 << 20)
        self.assertTrue(4 << 20 <= most <= 6 << 20, most)
        self.balanced()

    def test_a_kill_loses_only_what_did_not_count_as_spooled(self) -> None:
        spool = self.spool(on_disk=True)
        spool.push(lines(0, 3), 3, 0.0)
        spool.tick(LATE_S)
        spool.push(lines(3), 1, LATE_S)
        assert spool.backlog is not None
        os.close(spool.backlog._log._lock_fd)
        self.account = Account("next")
        after = self.spool(on_disk=True, replay_bytes_per_s=float("inf"))
        after.tick(0.0)
        self.assertFalse(after.idle)
        self.assertEqual(self.drained(after), [0, 1, 2, 3])
        self.assertEqual((self.account.made, self.account.out), (4, 4))
        self.balanced()

    def test_closing_leaves_all_on_the_disk(self) -> None:
        spool = self.spool(on_disk=True)
        flight = spool.flight()
        spool.push(lines(0, 3), 3, 0.0)
        spool.push(lines(3, 3), 3, 0.0)
        written(flight, 30)
        spool.close(0.0)
        self.assertEqual(self.account.dropped, {})
        self.balanced()
        self.account = Account("next")
        after = self.spool(on_disk=True, replay_bytes_per_s=float("inf"))
        after.tick(0.0)
        self.assertEqual(self.drained(after), [0, 1, 2, 3, 4, 5])

    def test_another_queue_of_the_same_account_takes_over(self) -> None:
        """A reload may close a destination and make it anew: the ledger goes on."""
        spool = self.spool(on_disk=True)
        spool.push(lines(0, 5), 5, 0.0)
        spool.close(0.0)
        self.balanced()
        after = self.spool(on_disk=True, replay_bytes_per_s=float("inf"))
        self.balanced()
        after.push(lines(5), 1, 0.0)
        after.tick(0.0)
        self.assertEqual(sorted(self.drained(after)), list(range(6)))
        self.assertEqual((self.account.received, self.account.made, self.account.out), (6, 0, 6))
        self.balanced()

    def test_both_full_is_full(self) -> None:
        spool = self.spool(on_disk=True, max_points=5, spool_bytes=2000)
        kept = sum(spool.push(lines(i), 1, 0.0) for i in range(100))
        self.assertTrue(5 < kept < 100, kept)
        self.assertEqual(self.account.dropped, {"queue_full": 100 - kept})
        assert spool.backlog is not None
        self.assertLessEqual(spool.backlog.used_bytes, 2000)
        self.balanced()

    def test_what_a_predecessor_had_is_never_too_much(self) -> None:
        spool = self.spool(max_bytes=100, policy="block", hard_share=1.2, low_watermark=0.5)
        spool.push(lines(20, 2), 2, 0.0)
        spool.adopt([(lines(0, 10), 10), (lines(10, 10), 10)], 0.0)
        self.assertEqual([spool.push(lines(number), 1, 0.0) for number in (22, 23)], [1, 0])
        self.assertFalse(self.gate.open)
        self.assertEqual(self.drained(spool), list(range(23)))
        self.assertTrue(self.gate.open)
        self.assertEqual(self.account.received, 24)
        self.balanced()

    def test_block_with_a_disk(self) -> None:
        spool = self.spool(on_disk=True, max_points=5, spool_bytes=1500, policy="block", replay_bytes_per_s=1e9)
        count = 0
        while self.gate.open:
            spool.push(lines(count), 1, 0.0)
            count += 1
        self.assertNotIn("queue_full", self.account.dropped)
        self.assertGreater(self.account.gauges["spooled_points"](), 5)
        spool.tick(0.1)
        spool.tick(0.2)
        self.assertEqual(sorted(self.drained(spool, 0.2)), list(range(count)))
        spool.tick(0.2)
        self.assertTrue(self.gate.open)
        self.balanced()

    def test_the_oldest_on_the_disk_go_when_both_are_full(self) -> None:
        spool = self.spool(on_disk=True, max_points=5, spool_bytes=9000, policy="drop_oldest", replay_bytes_per_s=1e9)
        for i in range(1000):
            self.assertEqual(spool.push(lines(i, 1, 100), 1, 0.0), 1)
        dropped = self.account.dropped["queue_full_oldest"]
        self.assertGreater(dropped, 500)
        spool.tick(0.1)
        spool.tick(0.5)
        self.assertEqual(sorted(self.drained(spool, 0.5)), list(range(dropped, 1000)))
        self.balanced()

    def test_a_disk_that_refuses_leaves_the_chunks_in_memory(self) -> None:
        disk = FullDisk()
        spool = self.spool(on_disk=True, disk=disk, max_points=50)
        disk.full = True
        for i in range(60):
            spool.push(lines(i), 1, i / 10)
            spool.tick(i / 10)
        self.assertEqual(self.account.dropped, {"queue_full": 10})
        self.assertEqual(spool.waiting_points, 50)
        self.assertEqual(self.drained(spool, 6.0), list(range(50)))
        self.balanced()

    def test_destinations_share_a_budget(self) -> None:
        budget = SpoolBudget(1500)
        spools = []
        for name in "ab":
            limits = QueueLimits(max_points=2, spool_bytes=1 << 20)
            backlog = Backlog(f"{self.folder}.{name}", 4096)
            spools.append(Spool(Account(name), limits, True, backlog, budget))
        for i in range(200):
            spools[i % 2].push(lines(i), 1, 0.0)
        self.assertLessEqual(budget.used_bytes, 1500)
        self.assertGreater(sum(spool.account.dropped["queue_full"] for spool in spools), 50)
        spools[0].close(0.0)
        self.assertEqual(budget.used_bytes, spools[1].backlog.used_bytes)  # type: ignore[union-attr]


class ModelTests(SpoolCase):
    """Random lives of a queue: what the ledger counted arrives, what arrives twice is within the window."""

    steps = st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(1, 6)),
            st.tuples(st.just("write"), st.integers(1, 150)),
            st.tuples(st.just("ack"), st.integers(0, 150)),
            st.tuples(st.sampled_from(["connect", "lose", "tick", "wait", "kill", "close"]), st.just(0)),
        ),
        min_size=20,
        max_size=80,
    )

    @QUICK
    @example([("push", 2), ("close", 0), ("connect", 0), ("write", 20), ("close", 0)], True, 0.0)
    @given(steps, st.booleans(), st.sampled_from([0.0, 1.0]))
    def test_counted_lines_arrive(self, steps: list[tuple[str, int]], on_disk: bool, window_s: float) -> None:
        self.folder = self.mktemp()
        world = _World(self, on_disk, window_s)
        for what, size in steps:
            getattr(world, what)(size)
            self.balanced()
        world.end()


class _World:
    """A queue, one connection at a time, and a peer that reads whatever its kernel got, whole lines only."""

    WINDOW_BYTES = 60
    PIECE = 20

    def __init__(self, case: SpoolCase, on_disk: bool, window_s: float) -> None:
        self.case = case
        self.on_disk = on_disk
        self.options = {"window_s": window_s, "window_bytes": self.WINDOW_BYTES, "replay_bytes_per_s": 1e9}
        self.now = 0.0
        self.next = 0
        self.arrived: list[int] = []
        self.may_repeat = 0
        self.lossy = False
        self._begin()

    def _begin(self) -> None:
        self.case.account = Account("a life")
        self.spool = self.case.spool(on_disk=self.on_disk, **self.options)
        self.flight: Flight | None = None
        self.stream = b""
        self.acked = 0
        self.life: list[int] = []

    def push(self, count: int) -> None:
        self.spool.push(lines(self.next, count, self.PIECE), count, self.now)
        self.next += count

    def connect(self, _: int) -> None:
        if self.flight is None:
            self.flight, self.stream, self.acked = self.spool.flight(), b"", 0

    def write(self, most: int) -> None:
        if self.flight is not None:
            self.stream += written(self.flight, most, self.now)

    def ack(self, more: int) -> None:
        if self.flight is not None:
            self.acked = min(self.acked + more, len(self.stream))
            self.flight.acknowledged(self.acked, self.now, more % 2 == 0)

    def wait(self, _: int) -> None:
        self.now += 0.6
        self.ack(0)

    def tick(self, _: int) -> None:
        self.spool.tick(self.now)

    def lose(self, _: int) -> None:
        if self.flight is not None:
            self._read()
            self.flight.lost(self.now)
            self.flight = None

    def _read(self) -> None:
        if self.flight is not None:
            self.may_repeat += -(-self.flight.unsafe_bytes // self.PIECE)
            read = numbers(self.stream[: self.stream.rfind(b"\n") + 1])
            self.life += read
            self.arrived += read

    def close(self, _: int) -> None:
        self._read()
        self.lossy = self.lossy or not self.on_disk
        self.spool.close(self.now)
        self._begin()

    def kill(self, _: int) -> None:
        """The process ends at once: what it had counted has arrived, or waits on the disk."""
        self.lossy = True
        account = self.case.account
        counted = account.out + int(account.gauges["spooled_points"]())
        self._read()
        safe = set(self.life)
        self.may_repeat += len(self.life)
        for look in (True, False):
            if self.spool.backlog is not None:
                os.close(self.spool.backlog._log._lock_fd)
            self._begin()
            while look and self.spool.backlog is not None and (chunk := self.spool.backlog.next(0.0)):
                safe |= set(numbers(chunk.data))
        self.case.assertGreaterEqual(len(safe), counted)

    def end(self) -> None:
        """All that is still held arrives in the end, and little of it twice."""
        self.lose(0)
        for _ in range(2):
            self.now += 0.1
            self.spool.tick(self.now)
        self.arrived += self.case.drained(self.spool, self.now)
        self.case.assertEqual(self.case.account.held(), 0)
        self.case.balanced()
        if not self.lossy:
            self.case.assertEqual(set(self.arrived), set(range(self.next)))
        self.case.assertLessEqual(len(self.arrived) - len(set(self.arrived)), self.may_repeat)
