"""A master and its replica within the test's process, joined by transports in memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from cadtwist.codec.replica import Greeting, Kind, pdu
from cadtwist.errors import StorageError
from cadtwist.protocols.replica import ReplicaConnection, ReplicaFactory
from cadtwist.services.istat import IstatDaemon
from cadtwist.services.replica import Replica
from cadtwist.services.replicamark import NOBODY, ReplicaMark
from tests.protocols.test_replica import Wire
from tests.services.istatdaemons import IstatCase, reactor

T = 1325394000


class Pipe(Wire):
    """A transport whose bytes reach the other end in a later turn; none while `held`."""

    other: ReplicaConnection

    def __init__(self) -> None:
        super().__init__()
        self.gone = False
        self.queue: list[bytes] = []
        self.stopped = False

    def write(self, data: bytes) -> None:
        self.queue.append(data)
        reactor.callLater(0, self.carry)

    def carry(self) -> None:
        while self.queue and not self.gone and not self.stopped:
            self.other.dataReceived(self.queue.pop(0))

    def abortConnection(self) -> None:
        self.loseConnection()

    def loseConnection(self) -> None:
        if not self.gone:
            self.gone = True
            reactor.callLater(0, self.other.connectionLost, Failure(ConnectionDone()))


class ReplicationCase(IstatCase):
    def setUp(self) -> None:
        super().setUp()
        self.pipes: list[Pipe] = []

    async def stop_all(self) -> None:
        self.part(self.pipes)
        await deferLater(reactor, 0, lambda: None)
        await super().stop_all()

    def files(self, daemon: IstatDaemon) -> dict[str, bytes]:
        found = {}
        for folder, _folders, files in os.walk(daemon.store.root):
            for name in files:
                with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, name), "rb") as file:
                    found[os.path.relpath(os.path.join(folder, name), daemon.store.root)] = file.read()
        return found

    def master(self) -> IstatDaemon:
        master = self.start("master", replica_port=1)
        assert master.feed is not None
        self.factory = ReplicaFactory(master.feed, reactor)
        return master

    def replica(self) -> IstatDaemon:
        """Start a replica that never reaches anybody by itself."""
        replica = self.start("replica", replica_of="127.0.0.1:1")
        assert isinstance(replica.writer, Replica)
        replica.writer._link.stop()
        return replica

    def join(self, replica: IstatDaemon) -> tuple[Pipe, Pipe]:
        ours: Any = replica.writer._build()  # type: ignore[union-attr]
        theirs = self.factory.buildProtocol(None)
        assert theirs is not None
        down, up = Pipe(), Pipe()
        down.other, up.other = ours, theirs
        theirs.makeConnection(down)
        ours.makeConnection(up)
        self.pipes += (down, up)
        return down, up

    def part(self, pipes: Iterable[Pipe]) -> None:
        for pipe in pipes:
            pipe.loseConnection()

    async def until(self, look: Any, what: str) -> None:
        for _ in range(2000):
            if look():
                return
            await deferLater(reactor, 0.005, lambda: None)
        self.fail(what)

    async def wait_equal(self, master: IstatDaemon, replica: IstatDaemon) -> None:
        writer: Any = replica.writer
        await self.until(lambda: writer.in_step, "never in step")
        await self.admin(master, "flush")
        await self.until(lambda: self.files(master) == self.files(replica), "never equal")
        self.assertTrue(self.files(master))


class ReplicationTests(ReplicationCase):
    def test_follows(self) -> Any:
        return ensureDeferred(self.follows())

    async def follows(self) -> None:
        master = self.master()
        self.send(master, f"a.b {T} 5", f"*a.e {T + 900} 7", f"old {T - 9000} 1")
        await self.admin(master, "flush")
        self.send(master, f"a.b {T + 10} 6", f"*a.e {T + 990} 8")
        replica = self.replica()
        self.join(replica)
        await self.wait_equal(master, replica)
        self.send(master, f"a.b {T + 20} 9", f"new.one {T} 1", f"*new.event {T + 995} 1")
        asked = f"/a.b?start={T}&end={T + 60}"
        writer: Any = replica.writer
        await self.until(lambda: len(replica.cache.samples) == len(master.cache.samples), "samples are not told")
        self.assertEqual((await self.get(replica, asked)).body, (await self.get(master, asked)).body)
        listed = "/?q=*"
        self.assertEqual((await self.get(replica, listed)).body, (await self.get(master, listed)).body)
        await self.wait_equal(master, replica)
        self.assertEqual(len(replica.cache.samples), 0)
        stats = await self.admin(replica, "stats")
        self.assertIn("replicaOf.connected=1", stats)
        self.assertIn("replicaOf.inStep=1", stats)
        self.assertIn("replicaServer.current=1", await self.admin(master, "stats"))
        self.assertEqual(writer.waiting, 0)

    def test_comes_again(self) -> Any:
        return ensureDeferred(self.comes_again())

    async def comes_again(self) -> None:
        master = self.master()
        replica = self.replica()
        self.send(master, f"a {T} 5", f"gone {T} 1")
        pipes = self.join(replica)
        await self.wait_equal(master, replica)
        self.part(pipes)
        self.send(master, f"a {T + 10} 6", f"b.c {T} 1")
        await self.admin(master, "flush")
        await self.admin(master, "delete.ctr gone")
        self.join(replica)
        await self.wait_equal(master, replica)
        counters = master.account("replicas").counters
        self.assertEqual((counters["compared"], counters["resumed"]), (1, 1))
        self.assertNotIn("gone", replica.tree)
        self.assertIn("b.c", replica.tree)

    def test_who_was_away_for_long_compares(self) -> Any:
        return ensureDeferred(self.away_for_long())

    async def away_for_long(self) -> None:
        master = self.master()
        assert master.feed is not None
        master.feed._most_kept = 3000
        replica = self.replica()
        self.send(master, f"a {T} 5")
        pipes = self.join(replica)
        await self.wait_equal(master, replica)
        self.part(pipes)
        for turn in range(8):
            self.send(master, f"a {T + 10 * turn} 6", f"b{turn} {T} 1")
            await self.admin(master, "flush")
        self.assertLessEqual(master.account("replicas").gauges["kept_bytes"](), 3000)
        self.join(replica)
        await self.wait_equal(master, replica)
        self.assertEqual(master.account("replicas").counters["compared"], 2)

    def test_changes_while_files_are_compared(self) -> Any:
        return ensureDeferred(self.changes_meanwhile())

    async def changes_meanwhile(self) -> None:
        master = self.master()
        replica = self.replica()
        self.send(master, *(f"c.n{number} {T} {number}" for number in range(40)))
        await self.admin(master, "flush")
        down, up = self.join(replica)
        for turn in range(25):
            up.stopped = down.stopped = turn % 2 == 0
            self.send(master, *(f"c.n{number} {T + 10 * turn} 1" for number in range(turn, 40 + turn)))
            await self.admin(master, "flush")
            up.stopped = down.stopped = False
            up.carry()
            down.carry()
        await self.wait_equal(master, replica)
        self.assertEqual(master.account("replicas").counters["compared"], 1)

    def test_a_replica_takes_no_samples_and_deletes_nothing(self) -> Any:
        return ensureDeferred(self.takes_nothing())

    async def takes_nothing(self) -> None:
        master = self.master()
        replica = self.replica()
        self.send(master, f"a {T} 5")
        self.join(replica)
        await self.wait_equal(master, replica)
        self.send(replica, f"own {T} 1", f"a {T} 1")
        await self.admin(replica, "flush")
        await self.admin(replica, "delete.ctr a")
        self.assertEqual(self.files(master), self.files(replica))
        self.assertEqual(replica.account("replica refuses").dropped, {"replica": 2})

    def test_what_is_no_replica(self) -> Any:
        return ensureDeferred(self.no_replica())

    async def no_replica(self) -> None:
        self.master()
        for said in (
            pdu(Kind.ASK_FOLDER, b"\0\0"),
            pdu(Kind.CONNECT, b"\1\0\0\0" + bytes(16)),
            pdu(Kind.CONNECT, Greeting(NOBODY, 0).pack(False)) + pdu(Kind.REDO, b""),
            pdu(Kind.CONNECT, Greeting(NOBODY, 0).pack(False)) + pdu(Kind.ASK_SUMS, b"\0\0\0\0../../etc/passwd"),
        ):
            connection, wire = self.factory.buildProtocol(None), Wire()
            assert connection is not None
            connection.makeConnection(wire)
            connection.dataReceived(said)
            await self.until(lambda wire=wire: wire.disconnecting, f"{said!r} was taken")
            self.assertIn(b"\5\0\0\0", wire.value())
            connection.connectionLost()

    def test_a_store_that_goes_its_own_way_forgets_its_master(self) -> Any:
        return ensureDeferred(self.own_way())

    async def own_way(self) -> None:
        master = self.master()
        replica = self.replica()
        self.send(master, f"a {T} 5")
        pipes = self.join(replica)
        await self.wait_equal(master, replica)
        self.part(pipes)
        await self.stop(replica)
        mark = os.path.join(self.folder, "replica.replica")
        self.assertTrue(os.path.exists(mark))
        heir = self.start("replica")
        self.assertFalse(os.path.exists(mark))
        self.send(heir, f"a {T} 3")
        await self.admin(heir, "flush")
        self.assertEqual(self.sums(heir, "a"), [8.0])


class MarkTests(IstatCase):
    def test_is_kept_until_the_machine_starts_anew(self) -> None:
        path = os.path.join(self.folder, "mark")
        mark = ReplicaMark(path, "boot 1")
        mark.life, mark.number, mark.complete, mark.trust_times = b"x" * 16, 7, True, True
        mark.write()
        same, later = ReplicaMark(path, "boot 1"), ReplicaMark(path, "boot 2")
        for each in (same, later):
            each.read()
        self.assertEqual((same.life, same.number, same.complete, same.trust_times), (b"x" * 16, 7, True, True))
        self.assertEqual((later.life, later.number, later.complete), (NOBODY, 0, False))
        self.assertFalse(same.remove())
        self.assertFalse(os.path.exists(path))

    def test_damage_says_nothing(self) -> None:
        path = os.path.join(self.folder, "mark")
        for text in ("", "{}", "[]", '{"life": 3}', '{"life":"00","number":1,"boot":"b","complete":true,"times":true}'):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            mark = ReplicaMark(path, "b")
            mark.read()
            self.assertEqual((mark.life, mark.complete), (NOBODY, False), text)
        with self.assertRaises(StorageError):
            ReplicaMark(os.path.join(self.folder, "no", "mark"), "b").write()
