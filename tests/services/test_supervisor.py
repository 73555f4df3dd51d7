"""Parts of running several processes, without any: the link, added books, spools that nobody uses any more."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import ProcessesConfig
from cadtwist.errors import CadtwistError
from cadtwist.journal.backlog import Backlog, Chunk
from cadtwist.services.orphans import Orphans, orphaned, worker_folder
from cadtwist.services.supervisor import Supervisor, _Place, added_ledgers
from cadtwist.services.worker import worker_config
from cadtwist.services.workerlink import WorkerLink
from cadtwist.telemetry import Account


class PlaceTests(SynchronousTestCase):
    """What the supervisor knows of a worker's connections."""

    def test_those_under_way_count(self) -> None:
        """A worker tells of five of the seven that it was given, and that one of them is closed."""
        place = _Place(0, Supervisor(MemoryReactorClock(), Config(processes=ProcessesConfig(workers=2))))
        place.open = place.given = 7
        place._opened([4, 5])
        self.assertEqual(place.open, 6)
        place._opened([6, 7])
        self.assertEqual(place.open, 6)


class LinkTests(SynchronousTestCase):
    """Questions and answers between two ends."""

    def setUp(self) -> None:
        self.asked: list[Any] = []
        self.later: Deferred[Any] = Deferred()
        self.ours = WorkerLink({})
        self.theirs = WorkerLink(
            {
                "double": lambda value: value * 2,
                "later": lambda _: self.later,
                "broken": lambda _: fail(CadtwistError("no such thing")),
                "note": self.asked.append,
            }
        )
        for link in (self.ours, self.theirs):
            link.makeConnection(StringTransport())

    def carry(self) -> None:
        """Carry what each end wrote to the other, in small pieces."""
        for sender, receiver in ((self.ours, self.theirs), (self.theirs, self.ours)):
            transport: Any = sender.transport
            data = transport.value()
            transport.clear()
            for place in range(0, len(data), 7):
                receiver.dataReceived(data[place : place + 7])

    def test_answers_come_to_who_asked(self) -> None:
        later = self.ours.call("later")
        double = self.ours.call("double", 21)
        self.carry()
        self.assertEqual(self.successResultOf(double), 42)
        self.assertNoResult(later)
        self.later.callback({"names": [1, 2.5, None]})
        self.carry()
        self.assertEqual(self.successResultOf(later), {"names": [1, 2.5, None]})

    def test_faults_are_told(self) -> None:
        broken, unknown = self.ours.call("broken"), self.ours.call("unknown")
        self.carry()
        self.assertEqual(str(self.failureResultOf(broken, CadtwistError).value), "no such thing")
        self.failureResultOf(unknown, CadtwistError)

    def test_telling_wants_no_answer(self) -> None:
        self.ours.tell("note", [1, "two"])
        self.carry()
        self.assertEqual(self.asked, [[1, "two"]])
        self.assertEqual(self.theirs.transport.value(), b"")  # type: ignore[union-attr]

    def test_the_end_fails_what_waits(self) -> None:
        waiting = self.ours.call("later")
        self.ours.connectionLost()
        self.failureResultOf(waiting, ConnectionLost)
        self.failureResultOf(self.ours.call("double", 1), ConnectionLost)
        self.successResultOf(self.ours.gone)
        self.ours.tell("note", 1)


class LedgerTests(SynchronousTestCase):
    """Books of several processes."""

    def test_they_are_added_by_name(self) -> None:
        one = {"name": "line", "received": 2, "dropped": {"a": 1}, "counters": {}, "gauges": {"open": 1.0}}
        two = {"name": "line", "received": 3, "dropped": {"a": 1, "b": 4}, "counters": {"x": 1}, "gauges": {}}
        other = {"name": "names", "received": 7}
        found = added_ledgers([[one], [other, two]])
        self.assertEqual([account["name"] for account in found], ["line", "names"])
        self.assertEqual(found[0]["received"], 5)
        self.assertEqual(found[0]["dropped"], {"a": 2, "b": 4})
        self.assertEqual((found[0]["counters"], found[0]["gauges"]), ({"x": 1}, {"open": 1.0}))
        self.assertEqual(one["dropped"], {"a": 1}, "nobody's books are changed")

    def test_workers_share_no_folder_and_no_pages(self) -> None:
        config = Config(
            listeners=(Listener(protocol="line", port=1), Listener(protocol="http", port=2)),
            processes=ProcessesConfig(workers=2),
        )
        first, second = worker_config(config, 0), worker_config(config, 1)
        self.assertEqual([door.protocol for door in first.listeners], ["line"])
        self.assertNotEqual(first.spool.directory, second.spool.directory)
        self.assertEqual((first.instance, second.instance), ("a-0", "a-1"))


class Taker:
    """A destination that keeps what it gets; `spool.level` is how full it is."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.spool = self
        self.level = 0.0

    def send(self, chunk: bytes, points: int) -> None:
        self.got.append(chunk)
        self.points = points


class OrphanTests(SynchronousTestCase):
    """Spools of another number of workers."""

    def setUp(self) -> None:
        self.folder = self.mktemp()
        self.clock = Clock()
        self.account = Account("orphaned spools")

    def spool(self, folder: str, *chunks: bytes) -> str:
        path = os.path.join(folder, "a")
        backlog = Backlog(path)
        backlog.append([Chunk(chunk, chunk.count(b"\n"), 0.0) for chunk in chunks])
        backlog.close()
        return path

    def test_which_are_orphaned(self) -> None:
        self.assertEqual(orphaned(self.folder, 1), [])
        for number in range(3):
            os.makedirs(worker_folder(self.folder, number))
        self.assertEqual(orphaned(self.folder, 3), [])
        self.assertEqual(orphaned(self.folder, 2), [worker_folder(self.folder, 2)])
        self.assertEqual(len(orphaned(self.folder, 1)), 3)
        os.makedirs(os.path.join(self.folder, "a"))
        self.assertEqual(orphaned(self.folder, 2), [worker_folder(self.folder, 2), self.folder])

    def test_their_lines_go_on_and_the_folder_goes(self) -> None:
        taker = Taker()
        path = self.spool(self.folder, b"a 1 1\nb 1 1\n", b"c 1 1\n")
        orphans = Orphans(self.clock, [self.folder], {"d": "a"}, {"d": taker}, self.account)  # type: ignore[dict-item]
        orphans.startService()
        self.clock.pump([0.1] * 5)
        self.assertEqual(taker.got, [b"a 1 1\nb 1 1\n", b"c 1 1\n"])
        self.assertFalse(os.path.exists(path))
        self.assertEqual((self.account.made, self.account.balance()), (3, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_full_queue_is_waited_for_and_a_stop_keeps_the_rest(self) -> None:
        taker = Taker()
        taker.level = 1.0
        line = b"x" * (1 << 19) + b"\n"
        self.spool(self.folder, *[line] * 6)
        for _ in range(2):
            orphans = Orphans(self.clock, [self.folder], {"d": "a"}, {"d": taker}, self.account)  # type: ignore[dict-item]
            orphans.startService()
            self.clock.pump([0.1] * 5)
            orphans.stopService()
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(taker.got), 4, "two at each start, then the queue was full")
        taker.level = 0.0
        last = Orphans(self.clock, [self.folder], {"d": "a"}, {"d": taker}, self.account)  # type: ignore[dict-item]
        last.startService()
        self.clock.pump([0.1] * 5)
        self.assertEqual(len(taker.got), 6)
