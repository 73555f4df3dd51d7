"""Parts of running several processes, without any: the link, added books, spools that nobody uses any more."""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import ProcessesConfig, RelayConfig
from cadtwist.errors import CadtwistError
from cadtwist.journal.backlog import Backlog, Chunk
from cadtwist.net.handover import FdChannel, Passed, receive_one
from cadtwist.services.orphans import Orphans, former_folders, orphaned, worker_folder
from cadtwist.services.supervisor import Supervisor, _Place, added_ledgers
from cadtwist.services.worker import Worker, worker_config
from cadtwist.services.workerlink import WorkerLink
from cadtwist.telemetry import Account
from tests.services.watched import WatchedReactor


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


class Stub:
    """A daemon, its doors and its service in one."""

    def __init__(self) -> None:
        self.taken: list[Passed] = []
        self.doors = self.service = self

    def take_up(self, passed: Passed) -> None:
        self.taken.append(passed)

    def pass_on(self) -> list[Passed]:
        return self.taken

    def remains(self) -> list[Passed]:
        return [Passed(kind="chunk", key="d", data=b"x\n", points=1)]

    def leave(self) -> None:
        """Nothing is slow."""

    def stopService(self) -> Deferred[None]:
        return succeed(None)


class ChannelTests(SynchronousTestCase):
    """Connections on their way to a worker and back."""

    def setUp(self) -> None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.ours, self.theirs = FdChannel(near), FdChannel(far)
        self.ours.blocking = False
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)
        self.reactor = WatchedReactor()
        self.worker = Worker(self.reactor, self.theirs)
        self.daemon = Stub()
        self.worker.daemon = self.daemon  # type: ignore[assignment]
        self.reactor.addReader(self.worker._watch)
        self.supervisor = Supervisor(
            self.reactor, Config(relays=(RelayConfig(),), processes=ProcessesConfig(workers=2))
        )
        self.place = self.supervisor._places[0]
        self.place.channel = self.ours
        self.place.ready = True

    def give(self, count: int) -> None:
        for _ in range(count):
            read, write = os.pipe()
            os.close(write)
            self.assertTrue(self.place.give(Passed(kind="connection", key="line", fd=read)))

    def close(self, things: list[Passed]) -> None:
        for thing in things:
            if thing.fd >= 0:
                os.close(thing.fd)

    def test_what_was_given_before_a_hand_over_comes_back(self) -> None:
        """Also what the worker had not taken yet."""
        self.give(30)
        found: list[Passed] = []
        self.place.collect(found)
        self.worker.pass_on(None)
        self.assertEqual(len(self.reactor.readers), 1, "only the supervisor reads")
        self.place.finish_collecting()
        self.assertEqual([thing.kind for thing in found], ["connection"] * 30 + ["chunk"])
        self.assertEqual(self.reactor.readers, [])
        self.close(found)

    def test_a_loud_connection_goes_to_another_worker(self) -> None:
        """With the bytes that were read; to any worker where that one takes none, and nowhere where it has ended."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(near.close)
        other, channel = self.supervisor._places[1], FdChannel(far)
        self.addCleanup(channel.close)
        other.channel = FdChannel(near)
        self.supervisor.running = 1
        for ready in (True, False):
            other.ready = ready
            link = self.place.link = WorkerLink({})
            link.makeConnection(StringTransport())
            gone = [(5, Passed(kind="connection", key="line", data=b"a:", fd=os.dup(0)))]
            self.worker._loudest.let_go = lambda _, gone=gone: gone  # type: ignore[method-assign]
            moved = self.supervisor._move(0, {3: 1, 5: 1})
            self.worker.link.makeConnection(StringTransport())
            self.worker.link.dataReceived(link.transport.value())  # type: ignore[union-attr]
            self.assertEqual(len(self.reactor.readers), 2)
            link.dataReceived(self.worker.link.transport.value())  # type: ignore[union-attr]
            self.successResultOf(moved)
            self.assertEqual(len(self.reactor.readers), 1, "only the worker reads")
            if ready:
                (passed,) = [receive_one(channel)]
            else:
                self.worker._take()
                (passed,) = self.daemon.taken
            assert passed is not None
            self.assertEqual((passed.key, passed.data), ("line", b"a:"))
            self.close([passed])
        self.assertEqual(self.supervisor.telemetry.account("workers").counters["connections_moved"], 2)

    def test_what_was_given_before_a_stop_is_read(self) -> None:
        self.give(3)
        self.successResultOf(self.worker.stop())
        self.assertEqual((len(self.daemon.taken), self.reactor.readers), (3, []))
        self.close(self.daemon.taken)

    def test_a_worker_watches_no_channel_that_has_ended(self) -> None:
        self.ours.close()
        self.reactor.readers[0].doRead()
        self.assertEqual(self.reactor.readers, [])

    def test_a_worker_that_dies_at_a_hand_over_is_not_waited_for(self) -> None:
        self.place.collect([])
        self.theirs.close()
        self.reactor.readers[-1].doRead()
        self.assertEqual(len(self.reactor.readers), 1, "the worker's own")

    def test_too_many_connections_wait_in_the_kernel(self) -> None:
        """While no worker takes any, the doors are shut; when all that waited are given they open."""
        limit = self.supervisor._limit
        self.supervisor.running = 1
        self.place.ready = False
        for _ in range(256):
            self.assertTrue(limit.admits)
            self.supervisor._give(Passed(kind="connection", key="line", fd=os.dup(0)))
        self.assertFalse(limit.admits)
        self.supervisor._places[1].ready = True
        self.place.ready = True
        while not limit.admits:
            self.supervisor._give_waiting()
            self.worker._take()
        self.assertEqual(len(self.supervisor.remains()), 0)
        self.worker._take()
        self.assertEqual(len(self.daemon.taken), 256)
        self.close(self.daemon.taken)

    def test_nothing_is_given_to_a_worker_that_was_told_to_stop(self) -> None:
        self.supervisor.running = 0
        waiting = Passed(kind="connection", key="line", fd=os.dup(0))
        self.supervisor._give(waiting)
        self.assertEqual(self.supervisor.remains(), [waiting])
        self.close([waiting])

    def test_a_worker_that_does_not_begin_is_replaced_and_its_chunks_stay(self) -> None:
        link = self.place.link = WorkerLink({})
        transport = StringTransport()
        link.makeConnection(transport)
        chunk = Passed(kind="chunk", key="d", data=b"x\n", points=1)
        self.place.chunks.append(chunk)
        self.supervisor.begun(self.place)
        self.assertEqual(self.place.chunks, [])
        other = WorkerLink({"begin": lambda _: fail(CadtwistError("no spool"))})
        other.makeConnection(StringTransport())
        other.dataReceived(transport.value())
        link.dataReceived(other.transport.value())  # type: ignore[union-attr]
        self.assertTrue(transport.disconnecting)
        self.assertEqual((self.place.chunks, self.supervisor.remains()), ([chunk], [chunk]))


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

    def test_a_destination_that_goes_meanwhile_leaves_the_rest_there(self) -> None:
        taker = Taker()
        path = self.spool(self.folder, *[b"x" * (1 << 20) + b"\n"] * 3)
        present: dict[str, Any] = {"d": taker}
        orphans = Orphans(self.clock, [self.folder], {"d": "a"}, present, self.account)
        orphans.startService()
        del present["d"]
        self.clock.pump([0.1] * 5)
        self.assertEqual((len(taker.got), os.path.isdir(path), self.clock.getDelayedCalls()), (1, True, []))

    def test_folders_that_followed_are_moved_as_well(self) -> None:
        taker = Taker()
        os.rename(self.spool(self.folder, b"a 1 1\n"), os.path.join(self.folder, "a~2"))
        self.spool(self.folder, b"b 1 1\n")
        os.makedirs(os.path.join(self.folder, "a~x"))
        self.assertEqual(former_folders(self.folder, "a"), ["a~2"])
        self.assertEqual(former_folders(os.path.join(self.folder, "none"), "a"), [])
        orphans = Orphans(self.clock, [self.folder], {"d": "a"}, {"d": taker}, self.account, all_former=True)  # type: ignore[dict-item]
        orphans.startService()
        self.clock.pump([0.1] * 5)
        self.assertEqual((taker.got, os.listdir(self.folder)), ([b"b 1 1\n", b"a 1 1\n"], ["a~x"]))
