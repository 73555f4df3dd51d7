"""The socket between the owner and a web process."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.errors import CadtwistError
from cadtwist.net.directsocket import DirectSocket
from cadtwist.query.find import FindLimits, Found, QueryError
from cadtwist.query.near import NearPoints
from cadtwist.query.owner import IOwner, QueryLimits
from cadtwist.query.resolution import METRICS_AT_ONCE
from cadtwist.services.frames import MAX_FRAME_BYTES
from cadtwist.services.resolve import OwnerSide, RemoteOwner
from tests.query.test_owner import owner

GREETING = b"hello"


class Pair:
    """Both ends, and the bytes between them."""

    def __init__(self, local):
        self.here, self.there = RemoteOwner(), OwnerSide(local, GREETING)
        self.here.makeConnection(StringTransport())
        self.there.makeConnection(StringTransport())

    def pump(self, cut=None):
        """Carry everything there and back, in pieces of `cut` bytes."""
        while self.here.transport.value() or self.there.transport.value():
            for source, target in ((self.here, self.there), (self.there, self.here)):
                data = source.transport.value()
                source.transport.clear()
                for at in range(0, len(data), cut or len(data) or 1):
                    target.dataReceived(data[at : at + (cut or len(data))])


class ResolveTests(SynchronousTestCase):
    def setUp(self):
        self.local = owner([b"a.b", b"a.c"], {b"hot": [(60.0, 1.5)]}, QueryLimits(find=FindLimits(matches=6)))
        self.pair = Pair(self.local)

    def test_greeting(self):
        verifyObject(IOwner, self.pair.here)
        self.pair.pump(1)
        self.assertEqual(self.successResultOf(self.pair.here.greeted), GREETING)

    def test_answers_equal_the_local_ones(self):
        for cut in (1, 7, None):
            here = self.pair.here
            asked = [
                (here.find(["*", "a.*"]), self.local.find(["*", "a.*"])),
                (here.resolve(["a.*", "hot"], 0, 99), self.local.resolve(["a.*", "hot"], 0, 99)),
                (here.leaves(0, 2), self.local.leaves(0, 2)),
                (here.report("status"), self.local.report("status")),
                (here.report("nothing"), None),
            ]
            self.pair.pump(cut)
            for answer, expected in asked:
                self.assertEqual(self.successResultOf(answer), expected)

    def test_a_process_that_is_to_end_answers_first(self):
        self.pair.pump()
        answered, there = Deferred(), self.pair.there
        self.pair.here.end = lambda: answered
        ended = there.end()
        self.pair.pump()
        self.assertNoResult(ended)
        answered.callback(None)
        self.pair.pump()
        self.successResultOf(ended)
        ended = there.end()
        there.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(ended)
        self.successResultOf(there.end())

    def test_what_readers_count_is_told(self):
        counted = []
        pair = Pair(replace(self.local, count=lambda what, amount: counted.append((what, amount))))
        told = pair.here.tell({"partial_answers": 2, "other": 1})
        pair.pump()
        self.assertIsNone(self.successResultOf(told))
        self.assertEqual(counted, [("partial_answers", 2), ("other", 1)])
        self.local.tell({"nobody": 1})

    def test_faults(self):
        broad, wrong = self.pair.here.find(["**", "**"]), self.pair.here.resolve(None, 0, 1)
        self.pair.pump()
        self.failureResultOf(broad, QueryError)
        self.failureResultOf(wrong, CadtwistError)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_what_takes_longer_is_answered_later(self):
        class Slow:
            def __init__(self):
                self.asked = []

            def found(self, queries):
                self.asked.append(Deferred())
                return self.asked[-1]

        slow = Slow()
        pair = Pair(slow)
        first, second, third = (pair.here.find([query]) for query in ("a", "b", "c"))
        pair.pump()
        self.assertNoResult(first)
        slow.asked[1].callback([Found(b"bz.yb", b"\x03\0\0\0\x05\0\0\0", b"\x01\x02")])
        slow.asked[2].errback(QueryError("c"))
        pair.pump()
        self.assertEqual(self.successResultOf(second), [[("bz.", 1), ("yb", 2)]])
        self.failureResultOf(third, QueryError)
        self.assertNoResult(first)
        pair.there.connectionLost(Failure(ConnectionDone()))
        slow.asked[0].callback([])

    def test_pieces_of_a_large_answer_come_before_its_end(self):
        names = [b"a.%05d" % number for number in range(3 * METRICS_AT_ONCE)]
        local = owner([], {name: [(float(number), 1.0)] for number, name in enumerate(names)})
        working = []

        def cooperate(slices):
            working.append((slices, Deferred()))
            return working[-1][1]

        pair = Pair(replace(local, cooperate=cooperate))
        answer, given_up = (pair.here.resolve(["a.*", "a.00001"], 0, 9999) for _ in range(2))
        given_up.cancel()
        self.failureResultOf(given_up)
        pair.pump()
        carried = []
        for slices, ended in working:
            with self.assertRaises(StopIteration) as end:
                while True:
                    carried.append(len(pair.there.transport.value()))
                    pair.pump(1000)
                    next(slices)
            pair.pump()
            self.assertEqual(answer.called, slices is not working[0][0])
            ended.callback(end.exception.value)
        self.assertEqual([size > 10_000 for size in carried], [False, True, True] * 2, "each piece goes at once")
        pair.pump()
        self.assertEqual(self.successResultOf(answer), local.resolve(["a.*", "a.00001"], 0, 9999))

    def test_a_large_answer_that_ends_in_a_fault(self):
        local = owner([], {b"a.%05d" % number: [(1.0, 1.0)] for number in range(2000)}, QueryLimits(points=1500))
        slices = []
        ended = Deferred()
        pair = Pair(replace(local, cooperate=lambda work: slices.append(work) or ended))
        answer = pair.here.resolve(["a.*"], 0, 9)
        pair.pump()
        try:
            while True:
                next(slices[0])
        except QueryError:
            ended.errback(Failure())
        pair.pump()
        self.failureResultOf(answer, QueryError)

    def test_unknown_method(self):
        odd = self.pair.here._ask(object, "__init__")
        self.pair.pump()
        self.failureResultOf(odd, CadtwistError)
        self.flushLoggedErrors(CadtwistError)

    def test_cancelled_question(self):
        answer, other = self.pair.here.find(["*"]), self.pair.here.find(["a"])
        answer.cancel()
        self.failureResultOf(answer)
        self.pair.pump()
        self.successResultOf(other)

    def test_owner_goes(self):
        waiting = self.pair.here.find(["*"])
        self.pair.here.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(waiting, ConnectionLost)
        self.failureResultOf(self.pair.here.find(["*"]), ConnectionLost)
        self.assertIsNone(self.successResultOf(self.pair.here.gone))

    def test_too_long_a_frame(self):
        self.pair.there.dataReceived((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
        self.assertTrue(self.pair.there.transport.disconnecting)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.binary(max_size=60), st.integers(0, 2**32))
    def test_hostile_frames(self, data, seed):
        pair = Pair(self.local)
        stream = len(data).to_bytes(4, "big") + data + msgspec.msgpack.encode((1, "found", [["*"]]))
        at, dice = 0, random.Random(seed)
        while at < len(stream):
            step = dice.randint(1, 20)
            pair.there.dataReceived(stream[at : at + step])
            at += step
        self.flushLoggedErrors()


class Line(DirectSocket):
    """A link over which the answers of `there` come when `here` waits, or never while it is `cut`."""

    def __init__(self, here, there):
        self.here, self.there, self.connected, self.cut, self.waited = here, there, True, False, 0
        self.unread = []

    def write(self, data):
        self.unread.append(data)

    def writeSequence(self, iovec):
        self.write(b"".join(iovec))

    def wait(self, seconds):
        self.waited += 1
        if self.cut:
            return False
        self.deliver()
        return True

    def deliver(self):
        """Carry what was written there, and the answers back."""
        unread, self.unread = self.unread, []
        for data in unread:
            self.there.dataReceived(data)
        answers = self.there.transport.value()
        self.there.transport.clear()
        self.here.dataReceived(answers)


class DirectTests(SynchronousTestCase):
    """Answers that are waited for."""

    def setUp(self):
        self.local = owner([b"a.b", b"a.c"], {b"hot": [(60.0, 1.5)]}, QueryLimits(find=FindLimits(matches=6)))
        self.here, there = RemoteOwner(Clock()), OwnerSide(self.local, GREETING)
        there.makeConnection(StringTransport())
        self.line = Line(self.here, there)
        self.here.makeConnection(self.line)
        self.line.deliver()

    def test_answers_come_at_once(self):
        self.assertEqual(self.here.find(["*", "a.*"]), self.local.find(["*", "a.*"]))
        self.assertEqual(self.here.resolve(["a.*", "hot"], 0, 99), self.local.resolve(["a.*", "hot"], 0, 99))
        self.assertEqual(self.line.waited, 2)

    def test_faults_come_at_once(self):
        self.assertRaises(QueryError, self.here.find, ["**", "**"])
        self.assertRaises(CadtwistError, self.here.resolve, None, 0, 1)
        self.flushLoggedErrors(TypeError)

    def test_a_busy_owner_is_not_waited_for_again_at_once(self):
        self.line.cut = True
        waits = []
        for _ in range(12):
            before = self.line.waited
            answer = self.here.find(["a.*"])
            waits.append(self.line.waited - before)
            self.assertNoResult(answer)
            self.line.deliver()
            self.assertEqual(self.successResultOf(answer), self.local.find(["a.*"]))
        self.assertEqual(waits, [1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0])
        for _ in range(2):
            self.assertNoResult(self.here.find(["a.*"]))
            self.line.deliver()
        self.line.cut = False
        for _ in range(3):
            self.assertEqual(self.here.find(["a.*"]), self.local.find(["a.*"]), "waited for again from now on")

    def test_nothing_is_asked_again_while_nothing_comes(self):
        waiting = []
        self.local = replace(self.local, waiting=lambda: len(waiting))
        self.line.there._owner = self.local
        self.here.changes = np.zeros(3, np.uint64)
        self.local.index.names.changes = self.here.changes[:1]

        def asks():
            before = self.line.waited
            found = self.here.resolve(["a.*"], 0, 99)
            self.assertEqual([metric.name for metric in found.patterns[0]], names)
            return self.line.waited - before

        names = ["a.b", "a.c"]
        self.assertEqual([asks(), asks(), asks()], [1, 0, 0])
        self.here.changes[1] += np.uint64(1)
        waiting.append("a point")
        self.assertEqual([asks(), asks()], [1, 1], "points wait")
        waiting.clear()
        self.assertEqual([asks(), asks()], [1, 0], "they are in their files")
        self.local.index.add(b"a.d")
        names = ["a.b", "a.c", "a.d"]
        self.assertEqual([asks(), asks()], [1, 0])

    def test_what_can_be_seen_is_not_asked(self):
        self.here.changes = np.zeros(3, np.uint64)
        self.local.index.names.changes = self.here.changes[:1]
        seen = []

        def look(*asked):
            seen.append(asked)
            return looks.pop(0)(*asked) if looks else self.local.hot(*asked)

        self.here.near, looks = NearPoints(look, lambda: 1, self.local.limits), []

        def asks(*patterns):
            before = self.line.waited
            self.assertEqual(self.here.resolve(list(patterns), 0, 99), self.local.resolve(list(patterns), 0, 99))
            return self.line.waited - before

        self.assertEqual([asks("a.*", "hot"), asks("a.*", "hot"), asks("hot"), asks("a.*")], [1, 0, 0, 0])
        self.assertEqual(len(seen), 2, "of others no points wait")
        looks.append(lambda *_: None)
        self.assertEqual([asks("hot"), asks("hot")], [1, 0], "the owner tells what cannot be seen")
        self.here.changes[1] += np.uint64(5)
        self.assertEqual(asks("hot"), 0, "datapoints came")
        self.here.changes[2] += np.uint64(1)
        self.assertEqual([asks("hot"), asks("hot")], [1, 0], "an id got a metric")
        self.local.index.add(b"hot.ter")
        self.assertEqual([asks("hot"), asks("hot")], [1, 0], "a name came")

        def meanwhile(*asked):
            self.here.changes[2] += np.uint64(1)
            return self.local.hot(*asked)

        looks.append(meanwhile)
        self.assertEqual([asks("hot"), asks("hot"), asks("hot")], [1, 1, 0], "an id got another metric while we looked")

    def test_who_waits_already_is_not_kept_waiting(self):
        self.line.cut = True
        first = self.here.find(["a.*"])
        self.line.cut = False
        second = self.here.find(["*"])
        self.assertEqual(self.line.waited, 1)
        self.line.deliver()
        self.assertEqual(self.successResultOf(first), self.local.find(["a.*"]))
        self.assertEqual(self.successResultOf(second), self.local.find(["*"]))
