"""A destination over a clock and transports in memory; what needs a kernel is in `test_outlets`."""

from __future__ import annotations

import os
import shutil
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.flow import Gate
from cadtwist.interfaces import IDestination
from cadtwist.journal.backlog import Backlog
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.net.client import Retry
from cadtwist.net.destination import POLL_S, Destination, DestinationOptions, RatioReset
from cadtwist.telemetry import Account
from tests.net.destinations import SilentSocket, ToldEndpoint, Transport, lines, numbers

RETRY = Retry(1.0, 2.0, 5.0, 0.0)


class DestinationCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = ToldEndpoint()
        self.gate = Gate()
        self.account = Account("d")
        self.folder = self.mktemp()

    def made(self, spool: bool = False, started: bool = True, **options: Any) -> Destination:
        limits = {name: options.pop(name) for name in list(options) if name in QueueLimits.__slots__}
        backlog = Backlog(self.folder, 4096) if spool else None
        if spool:
            limits.setdefault("spool_bytes", 1 << 20)
        wanted = DestinationOptions(limits=QueueLimits(**limits), **{"retry": RETRY, **options})
        made = Destination(
            self.clock, "127.0.0.1:2003:a", wanted, self.account, self.gate, backlog, endpoint=self.endpoint,
            buffered=True,
        )  # fmt: skip
        if started:
            made.start()
        return made

    def endpoint_after(self, seconds: float) -> Transport:
        """Let time pass, then the next attempt to connect succeed."""
        self.wait(seconds)
        return self.endpoint.succeed()

    def wait(self, seconds: float) -> None:
        self.clock.pump([POLL_S] * round(seconds / POLL_S))

    def balanced(self) -> None:
        self.assertEqual(self.account.balance(), 0)


class SendingTests(DestinationCase):
    def test_is_a_destination(self) -> None:
        verifyObject(IDestination, self.made())

    def test_what_comes_before_the_connection_is_sent_when_it_is_there(self) -> None:
        d = self.made()
        d.send(lines(0, 2), 2)
        d.send(lines(2), 1)
        self.assertFalse(d.connected)
        self.assertEqual(self.account.counters["queued_until_connected"], 3)
        transport = self.endpoint.succeed()
        self.assertTrue(d.connected)
        self.assertEqual(transport.value(), lines(0, 3))
        self.assertEqual(self.account.counters["sent"], 3)
        self.assertEqual(self.account.counters["bytes_sent"], 60)
        self.balanced()

    def test_chunks_of_one_turn_are_written_together(self) -> None:
        d = self.made(defer_s=0.001)
        transport = self.endpoint.succeed()
        before = self.account.counters.get("batches", 0)
        for i in range(10):
            d.send(lines(i), 1)
        self.assertEqual(transport.value(), b"")
        self.clock.advance(0.001)
        self.assertEqual(transport.value(), lines(0, 10))
        self.assertEqual(self.account.counters["batches"], before + 1)

    def test_many_bytes_are_written_at_once(self) -> None:
        d = self.made()
        transport = self.endpoint.succeed()
        d.send(lines(0, 10_000), 10_000)
        self.assertEqual(len(transport.value()), 200_000)

    def test_flush(self) -> None:
        d = self.made()
        transport = self.endpoint.succeed()
        d.send(lines(0), 1)
        d.flush()
        d.flush()
        self.assertEqual(numbers(transport.value()), [0])

    def test_a_written_line_counts_as_out_when_it_is_safe(self) -> None:
        d = self.made()
        self.endpoint.succeed()
        d.send(lines(0), 1)
        self.wait(0.5)
        self.assertEqual((self.account.out, self.account.held()), (0, 1))
        self.wait(1.0)
        self.assertEqual((self.account.out, self.account.held()), (1, 0))

    def test_what_was_confirmed_goes_to_a_file_beside_the_spool(self) -> None:
        d = self.made(spool=True, window_s=60.0)
        transport = self.endpoint.succeed()
        for i in range(4):
            d.send(lines(i * 10_000, 10_000), 10_000)
            self.wait(0.2)
        self.assertEqual(self.account.gauges["window_file_bytes"](), 800_000)
        self.assertEqual((d.spool.memory_bytes, os.listdir(self.folder)), (0, ["lock"]))
        transport.end()
        self.assertEqual(numbers(self.endpoint_after(1.0).value()), list(range(40_000)))
        self.balanced()

    def test_a_disk_that_does_not_take_the_window_is_told_of(self) -> None:
        d = self.made(spool=True, window_s=60.0)
        self.endpoint.succeed()
        shutil.rmtree(self.folder)
        with capturedLogs() as logs:
            for i in range(4):
                d.send(lines(i * 20_000, 20_000), 20_000)
                self.wait(0.2)
        told = [each["text"] for each in logs if each["log_level"].name == "warn"]
        self.assertEqual(len(told), 1)
        self.assertIn("the resend window stays in memory", told[0])
        self.assertEqual((d.spool.memory_bytes, self.account.gauges["window_file_failures"]()), (1_600_000, 1))

    def test_the_timer_rests_when_there_is_nothing_to_do(self) -> None:
        d = self.made()
        self.endpoint.succeed()
        d.send(lines(0), 1)
        self.wait(2.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        d.send(lines(1), 1)
        self.wait(2.0)
        self.assertEqual(self.account.out, 2)

    def test_a_paused_transport_is_left_alone(self) -> None:
        d = self.made()
        transport = self.endpoint.succeed()
        transport.producer.pauseProducing()
        d.send(lines(0), 1)
        self.wait(3.0)
        self.assertEqual(transport.value(), b"")
        self.assertEqual(d.take_peaks(), (1, 1))
        self.assertEqual(d.take_peaks()[0], 0)
        transport.producer.resumeProducing()
        self.assertEqual(numbers(transport.value()), [0])

    def test_what_the_peer_says_is_thrown_away(self) -> None:
        self.made()
        transport = self.endpoint.succeed()
        transport.protocol.dataReceived(b"hello\n")
        self.assertTrue(transport.connected)

    def test_a_pool_shares_the_lines(self) -> None:
        d = self.made(connections=3)
        transports = [self.endpoint.succeed() for _ in range(3)]
        for i in range(30):
            d.send(lines(i), 1)
            self.clock.advance(0.01)
        got = [numbers(each.value()) for each in transports]
        self.assertTrue(all(8 <= len(each) <= 12 for each in got), got)
        self.assertEqual(sorted(n for each in got for n in each), list(range(30)))
        transports[0].end()
        self.assertTrue(d.connected)
        self.wait(3.0)
        self.balanced()

    def test_counters_of_a_full_queue(self) -> None:
        d = self.made(max_points=3)
        d.send(lines(0, 2), 2, asked_bytes=7)
        self.assertFalse(d.failing)
        d.send(lines(2, 2), 2)
        self.assertTrue(d.failing)
        self.assertEqual(self.account.dropped, {"queue_full": 1})
        self.assertEqual(self.account.counters["bytes_queued"], 47)
        self.endpoint.succeed()
        d.send(lines(4), 1)
        self.assertFalse(d.failing)
        self.balanced()

    def test_a_blocking_queue_shuts_the_gate_while_it_is_full(self) -> None:
        d = self.made(max_points=2, policy="block")
        d.send(lines(0, 2), 2)
        self.assertEqual(self.gate.reasons, {"queue of d"})
        self.endpoint.succeed()
        self.assertTrue(self.gate.open)

    def test_a_full_queue_that_goes_leaves_the_gate_shut_for_its_full_successor(self) -> None:
        old = self.made(max_points=2, policy="block")
        self.account = Account("destination d at elsewhere")
        new = self.made(max_points=2, policy="block")
        for each in (old, new):
            each.send(lines(0, 2), 2)
        self.successResultOf(old.close(0.0))
        self.assertEqual(self.gate.reasons, {"queue of d at elsewhere"})
        self.successResultOf(new.close(0.0))
        self.assertTrue(self.gate.open)

    def test_what_waits_can_be_given_away(self) -> None:
        d = self.made()
        d.send(lines(0), 1)
        self.assertEqual(d.surrender(), [(lines(0), 1)])
        self.assertEqual(d.queued_points, 0)


class ReconnectTests(DestinationCase):
    def test_attempts_with_back_off_and_their_listeners(self) -> None:
        d = self.made()
        told: list[tuple[bool, int]] = []
        forget = d.listen(lambda it: told.append((it.connected, it.failed_attempts)))
        waits = []
        for _ in range(4):
            self.endpoint.refuse()
            begun = self.clock.seconds()
            while not self.endpoint.attempts:
                self.clock.advance(0.25)
            waits.append(self.clock.seconds() - begun)
        self.assertEqual(waits, [1.0, 2.0, 4.0, 5.0])
        self.assertEqual(self.account.counters["failed_connects"], 4)
        transport = self.endpoint.succeed()
        transport.end()
        self.assertEqual(told, [(False, 1), (False, 2), (False, 3), (False, 4), (True, 0), (False, 0)])
        forget()
        forget()
        self.clock.advance(1.0)
        self.endpoint.succeed()
        self.assertEqual(len(told), 6)
        self.assertEqual(self.account.counters["connects"], 2)
        self.assertEqual(self.account.counters["disconnects"], 1)

    def test_a_lost_connection_repeats_what_is_not_safe(self) -> None:
        d = self.made()
        first = self.endpoint.succeed()
        d.send(lines(0, 3), 3)
        self.clock.advance(0.01)
        self.assertEqual(numbers(first.value()), [0, 1, 2])
        first.end()
        self.clock.advance(1.0)
        second = self.endpoint.succeed()
        self.assertEqual(numbers(second.value()), [0, 1, 2])
        self.assertEqual(self.account.counters["resent"], 3)
        self.balanced()

    def test_without_a_window_nothing_is_repeated(self) -> None:
        d = self.made(window_s=0.0)
        first = self.endpoint.succeed()
        d.send(lines(0, 3), 3)
        self.clock.advance(0.01)
        first.end()
        d.send(lines(3), 1)
        self.clock.advance(1.0)
        self.assertEqual(numbers(self.endpoint.succeed().value()), [3])
        self.balanced()

    def test_connections_are_recycled_without_a_loss(self) -> None:
        d = self.made(recycle_s=5.0, window_s=0.0)
        first = self.endpoint.succeed()
        for i in range(200):
            d.send(lines(i), 1)
            self.wait(0.1)
            if self.endpoint.attempts:
                self.endpoint.succeed()
        got = [n for each in self.endpoint.transports for n in numbers(each.value())]
        self.assertEqual(got, list(range(200)))
        self.assertFalse(first.connected)
        self.assertEqual(len(self.endpoint.transports), 4)
        self.assertEqual(self.account.counters.get("resent", 0), 0)

    def test_a_long_queue_gives_the_connection_up_once(self) -> None:
        d = self.made(max_bytes=100, reconnect_share=0.5)
        first = self.endpoint.succeed()
        first.producer.pauseProducing()
        for i in range(5):
            d.send(lines(i), 1)
        self.assertFalse(first.connected)
        self.assertTrue(d.failing)
        self.assertEqual(self.account.dropped, {"reconnecting": 2})
        self.clock.advance(1.0)
        second = self.endpoint.succeed()
        self.assertEqual(numbers(second.value()), [0, 1, 2])
        d.send(lines(9), 1)
        self.assertFalse(d.failing)
        self.balanced()

    def test_a_connection_that_takes_too_little_is_made_again(self) -> None:
        d = self.made(ratio_reset=RatioReset(10, 0.9, 121.0, 60.0))
        first = self.endpoint.succeed()
        first.producer.pauseProducing()
        for second in range(185):
            d.send(lines(second), 1)
            self.wait(1.0)
            if second < 120:
                self.assertTrue(first.connected, second)
        self.assertFalse(first.connected)
        self.assertEqual(self.account.counters["slow_resets"], 1)

    def sent_to(self, **options: Any) -> tuple[SilentSocket, Destination]:
        """Return the socket of a connection to a destination that sent something."""
        self.endpoint.handle = SilentSocket(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(self.endpoint.handle.close)
        d = self.made(window_s=60.0, **options)
        self.endpoint.succeed()
        d.send(lines(0), 1)
        self.wait(2.0)
        return self.endpoint.handle, d

    def test_a_peer_that_is_gone_without_a_word_is_given_up_and_loses_nothing(self) -> None:
        silent, d = self.sent_to(unanswered_s=70.0)
        silent.repeated, silent.last_answer_s = 3, 69.9
        self.wait(2.0)
        self.assertNotIn("silent_peers", self.account.counters)
        self.assertTrue(d.connected)
        silent.last_answer_s = 70.0
        self.wait(2.0)
        self.assertEqual((self.account.counters["silent_peers"], d.connected), (1, False))
        self.wait(2.0)
        self.endpoint.handle = None
        self.assertEqual(numbers(self.endpoint.succeed().value()), [0])
        self.balanced()

    def test_one_whose_kernel_answers_is_not_given_up_however_long_it_reads_nothing(self) -> None:
        silent, d = self.sent_to(unanswered_s=70.0)
        silent.last_answer_s = 1e6
        self.wait(5.0)
        self.assertEqual((self.account.counters.get("silent_peers"), d.connected), (None, True))

    def test_without_a_patience_the_system_decides(self) -> None:
        silent, d = self.sent_to(unanswered_s=0.0)
        silent.repeated, silent.last_answer_s = 15, 900.0
        self.wait(5.0)
        self.assertEqual((self.account.counters.get("silent_peers"), d.connected), (None, True))

    def test_one_that_takes_enough_is_not(self) -> None:
        d = self.made(ratio_reset=RatioReset(10, 0.9, 121.0, 60.0))
        first = self.endpoint.succeed()
        for second in range(200):
            d.send(lines(second), 1)
            self.wait(1.0)
        self.assertTrue(first.connected)
        self.assertNotIn("slow_resets", self.account.counters)


class SpoolTests(DestinationCase):
    def test_an_outage_goes_to_the_disk_and_comes_back(self) -> None:
        d = self.made(spool=True)
        for i in range(30):
            d.send(lines(i), 1)
            self.wait(0.1)
        self.assertGreaterEqual(self.account.gauges["spooled_points"](), 20)
        self.endpoint.refuse()
        self.clock.advance(1.0)
        transport = self.endpoint.succeed()
        self.wait(3.0)
        self.assertEqual(sorted(numbers(transport.value())), list(range(30)))
        self.assertEqual(self.account.out, 30)
        self.balanced()

    def test_another_process_finds_what_was_spooled(self) -> None:
        d = self.made(spool=True)
        d.send(lines(0, 5), 5)
        self.wait(1.2)
        assert d.spool.backlog is not None
        os.close(d.spool.backlog._log._lock_fd)
        self.account = Account("next")
        self.made(spool=True)
        self.endpoint.attempts.pop(0)
        transport = self.endpoint.succeed()
        self.wait(2.0)
        self.assertEqual(numbers(transport.value()), list(range(5)))
        self.assertEqual((self.account.made, self.account.out), (5, 5))

    def test_live_lines_are_not_late_while_the_backlog_drains(self) -> None:
        d = self.made(spool=True, replay_bytes_per_s=500.0)
        for i in range(200):
            d.send(lines(i), 1)
        self.wait(2.0)
        transport = self.endpoint.succeed()
        for i in range(200, 250):
            d.send(lines(i), 1)
            self.clock.advance(0.02)
            self.assertEqual(numbers(transport.value())[-1], i)
            self.wait(0.1)
        got = numbers(transport.value())
        backlog = [n for n in got if n < 200]
        self.assertTrue(100 <= len(backlog) <= 200, len(backlog))
        self.assertEqual(backlog, list(range(len(backlog))))


class ClosingTests(DestinationCase):
    def closed(self, d: Destination, drain_s: float | None = None) -> list[object]:
        done: list[object] = []
        closing: Deferred[None] = d.close(drain_s)
        closing.addCallback(done.append)
        return done

    def test_closes_when_all_is_written(self) -> None:
        d = self.made()
        transport = self.endpoint.succeed()
        d.send(lines(0), 1)
        done = self.closed(d)
        self.assertEqual(numbers(transport.value()), [0])
        self.wait(0.3)
        self.assertEqual(done, [None])
        self.assertFalse(transport.connected)
        self.assertEqual((self.account.out, self.account.held()), (1, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        d.send(lines(1), 1)
        self.assertEqual(self.account.dropped, {"stopped": 1})
        self.assertEqual(self.closed(d), [None])
        self.balanced()

    def test_waits_for_a_connection_and_gives_up(self) -> None:
        d = self.made()
        d.send(lines(0, 2), 2)
        done = self.closed(d, 2.0)
        again = self.closed(d)
        self.wait(1.5)
        self.assertEqual(done, [])
        self.wait(1.0)
        self.assertEqual((done, again), ([None], [None]))
        self.assertEqual(self.account.dropped, {"stopped": 2})
        self.balanced()

    def test_a_connection_within_the_patience_takes_all(self) -> None:
        d = self.made()
        d.send(lines(0, 2), 2)
        done = self.closed(d, 2.0)
        self.wait(1.0)
        transport = self.endpoint.succeed()
        self.assertEqual(numbers(transport.value()), [0, 1])
        self.wait(0.5)
        self.assertEqual(done, [None])
        self.assertEqual((self.account.out, self.account.dropped), (2, {}))

    def test_with_a_spool_it_does_not_wait_for_a_connection(self) -> None:
        d = self.made(spool=True)
        d.send(lines(0, 2), 2)
        self.assertEqual(self.closed(d), [None])
        self.assertEqual(self.account.dropped, {})
        self.balanced()

    def test_a_peer_that_does_not_read_is_left(self) -> None:
        d = self.made()
        transport = self.endpoint.succeed()
        transport.producer.pauseProducing()
        d.send(lines(0), 1)
        done = self.closed(d, 1.0)
        self.wait(1.5)
        self.assertEqual(done, [None])
        self.assertFalse(transport.connected)
        self.assertEqual(self.account.dropped, {"stopped": 1})
        self.balanced()


    def test_leaving_gives_what_was_not_delivered_to_the_next_process(self) -> None:
        d = self.made(connections=2)
        first, second = self.endpoint.succeed(), self.endpoint.succeed()
        for each in (first, second):
            each.producer.pauseProducing()
        d.send(lines(0, 2), 2)
        second.producer.resumeProducing()
        second.producer.pauseProducing()
        d.send(lines(2), 1)
        left = self.successResultOf(d.leave())
        self.assertEqual(sorted(numbers(b"".join(chunk for chunk, _ in left))), [0, 1, 2])
        self.assertEqual(sum(points for _, points in left), 3)
        self.assertEqual(self.account.dropped, {})
        self.balanced()

    def test_leaving_with_a_spool_leaves_all_there(self) -> None:
        d = self.made(spool=True)
        d.send(lines(0, 2), 2)
        self.assertEqual(self.successResultOf(d.leave()), [])
        self.assertEqual(self.account.held(), 2)


class ReloadTests(DestinationCase):
    def test_changed_bounds_apply(self) -> None:
        d = self.made(max_points=2)
        self.assertTrue(d.update(DestinationOptions(limits=QueueLimits(max_points=5), retry=RETRY)))
        d.send(lines(0, 6), 6)
        self.assertEqual(d.queued_points, 5)

    def test_another_place_is_another_destination(self) -> None:
        d = self.made(host="a", port=1)
        self.assertFalse(d.update(DestinationOptions(host="a", port=2, retry=RETRY)))
        self.assertFalse(d.update(DestinationOptions(host="a", port=1, divisible=False, retry=RETRY)))
        self.assertTrue(d.update(DestinationOptions(host="a", port=1, retry=RETRY, drain_s=1.0)))
