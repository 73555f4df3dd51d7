"""Workers with uneven work: what is moved, when, and that nothing of a connection is left behind."""

from __future__ import annotations

import os
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.net.handover import close_all
from cadtwist.services.balance import LOOK_S, Balance, Load, Loudest, Move, moves
from tests.protocols.test_relayline import receiving

MIB = 1 << 20
EVEN = [[50 * MIB, [50 * MIB]], [50 * MIB, [50 * MIB]]]
UNEVEN = [[60 * MIB, [30 * MIB, 30 * MIB]], [MIB, [MIB]]]


class MovesTests(SynchronousTestCase):
    """Which connections change their workers."""

    def test_loud_ones_are_shared(self) -> None:
        loads = [Load(61 * MIB, [30 * MIB, 29 * MIB, 2 * MIB]), Load(MIB, [MIB])]
        self.assertEqual(moves(loads), [Move(0, 1, 0)])
        three = [Load(2, [1, 1]), Load(90 * MIB, [30 * MIB] * 3), Load(0, [])]
        self.assertEqual(moves(three), [Move(1, 2, 0), Move(1, 0, 1)])

    def test_one_that_is_loud_alone_stays(self) -> None:
        """It would only keep another worker busy; those beside it go."""
        self.assertEqual(moves([Load(90 * MIB, [90 * MIB]), Load(0, [])]), [])
        beside = Load(100 * MIB, [80 * MIB, 20 * MIB])
        self.assertEqual(moves([beside, Load(0, [])]), [Move(0, 1, 1)])

    def test_little_work_need_not_be_shared(self) -> None:
        self.assertEqual(moves([Load(3 * MIB, [MIB] * 3), Load(0, [])]), [])
        self.assertEqual(moves([Load(52 * MIB, [MIB] * 32), Load(48 * MIB, [MIB] * 32)]), [])
        self.assertEqual(moves([Load(52 * MIB, [MIB] * 32)]), [])

    @given(st.lists(st.lists(st.integers(0, 1 << 30), max_size=40), min_size=1, max_size=5))
    def test_nobody_ends_with_more_than_the_busiest_had(self, rates: list[list[int]]) -> None:
        loads = [Load(sum(each), sorted(each, reverse=True)[:32]) for each in rates]
        totals = [load.total for load in loads]
        found = moves(loads)
        for source, target, number in found:
            totals[source] -= loads[source].loud[number]
            totals[target] += loads[source].loud[number]
        self.assertEqual(len({(source, number) for source, _, number in found}), len(found))
        self.assertLessEqual(max(totals), max(load.total for load in loads))
        self.assertLessEqual(len(found), 8)


class _Wire(StringTransport):
    """The end of a connection with a descriptor, of which nothing is read here."""

    connected = True
    dataBuffer = b""

    def __init__(self) -> None:
        super().__init__()
        self.socket, self.client = socket.socketpair()

    def fileno(self) -> int:
        return self.socket.fileno()

    def stopReading(self) -> None:
        """Nobody reads."""


class LoudestTests(SynchronousTestCase):
    """A worker's connections."""

    def setUp(self) -> None:
        self.made, self.sink = receiving()
        self.door = self.made.factory
        self.loudest = Loudest({"line": self.door, "http": object()})

    def connect(self) -> tuple[Any, _Wire]:
        wire = _Wire()
        self.addCleanup(wire.client.close)
        self.addCleanup(wire.socket.close)
        connection = self.door.buildProtocol(None)
        connection.makeConnection(wire)
        return connection, wire

    def test_tells_what_was_heard_since_the_last_look(self) -> None:
        (quiet, _), (loud, _), _ = self.connect(), self.connect(), self.connect()
        quiet.dataReceived(b"q:1|c\n")
        loud.dataReceived(b"l:1|c\n" * 9)
        self.assertEqual(self.loudest.look(), Load(60, [54, 6]))
        self.assertEqual(self.loudest.look(), Load(0, []))
        for _ in range(40):
            self.connect()[0].dataReceived(b"x:1|c\n")
        self.assertEqual(self.loudest.look(), Load(240, [6] * 32))

    def test_lets_go_with_what_was_read_of_a_line(self) -> None:
        (first, wire), (second, answered), (third, _) = self.connect(), self.connect(), self.connect()
        first.dataReceived(b"a:1|c\nb:")
        second.dataReceived(b"c:1|c\n")
        third.dataReceived(b"d:1")
        self.assertEqual(self.loudest.look(), Load(17, [8, 6, 3]))
        answered.dataBuffer = b"an answer"
        third.connectionLost()
        found = self.loudest.let_go([0, 1, 2])
        self.addCleanup(close_all, [passed for _, passed in found])
        ((number, passed),) = found
        self.assertEqual((number, passed.kind, passed.key), (0, "connection", "line"))
        self.assertEqual((passed.data, passed.skipping), (b"b:", False))
        self.assertEqual(self.door.connections, {second})
        wire.client.sendall(b"1|c\n")
        self.assertEqual(os.read(passed.fd, 9), b"1|c\n")
        self.made.turn()
        self.assertEqual(self.sink.lines, [b"a:1|c", b"c:1|c"])


class BalanceTests(SynchronousTestCase):
    """When it looks, and when it moves."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[Any] = []
        self.moved: list[tuple[int, dict[int, int]]] = []
        self.moving: Deferred[Any] = succeed(None)
        self.balance = Balance(self.clock, lambda: succeed(self.told), self.move)
        self.balance.startService()

    def move(self, source: int, targets: dict[int, int]) -> Deferred[Any]:
        self.moved.append((source, targets))
        return self.moving

    def test_what_is_uneven_twice_is_moved(self) -> None:
        for self.told in (UNEVEN, EVEN, UNEVEN, [None, UNEVEN[1]], UNEVEN[::-1]):
            self.clock.advance(LOOK_S)
        self.assertEqual(self.moved, [])
        self.clock.advance(LOOK_S)
        self.assertEqual(self.moved, [(1, {0: 0})])
        self.clock.advance(LOOK_S)
        self.assertEqual(len(self.moved), 1, "what was moved is heard again first")
        self.successResultOf(self.balance.stopService())
        self.successResultOf(self.balance.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_stop_waits_for_what_is_on_its_way_but_not_for_ever(self) -> None:
        for ends in (True, False):
            self.setUp()
            self.moving, self.told = Deferred(), UNEVEN
            self.clock.pump([LOOK_S, LOOK_S])
            stopped = self.balance.stopService()
            self.assertNoResult(stopped)
            if ends:
                self.moving.callback(None)
            else:
                self.clock.advance(2.0)
            self.successResultOf(stopped)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_fault_does_not_end_it(self) -> None:
        self.told = [[1], [2]]
        self.clock.advance(LOOK_S)
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.told = UNEVEN
        self.clock.pump([LOOK_S, LOOK_S])
        self.assertEqual(len(self.moved), 1)
