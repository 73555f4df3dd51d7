"""Web processes come, come again, and go; real ones are in tests.system.test_webworker."""

from __future__ import annotations

import json
import os
import socket
from types import SimpleNamespace

import msgspec
from twisted.internet.error import ConnectionDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from cadtwist.config.model import StorageConfig, WebConfig
from cadtwist.services.httpdoors import HttpDoor
from cadtwist.services.sharedcount import SharedCount
from cadtwist.services.webworker import OWNER_FD, WebWorkers, WorkerConfig, end_in_order, reporting_site
from cadtwist.web.answers import Answer, CrossOrigin, send
from cadtwist.web.requests import BoundedSite, DirectRequest
from tests.query.test_owner import owner
from tests.web.wire import get, request_bytes

ASKED = request_bytes("GET", "/x")


class FakeProcess:
    def __init__(self, pid, protocol):
        self.pid, self.protocol, self.signals = pid, protocol, []

    def signalProcess(self, signal):
        self.signals.append(signal)


class FakeReactor(MemoryReactorClock):
    """Spawns nothing; `sides` are the ends that the processes would have."""

    def __init__(self):
        super().__init__()
        self.processes, self.sides, self.children = [], [], []

    def spawnProcess(self, protocol, executable, args, env, childFDs):
        self.children.append(childFDs)
        self.sides.append(socket.socket(fileno=os.dup(childFDs[OWNER_FD])))
        self.processes.append(FakeProcess(100 + len(self.processes), protocol))
        return self.processes[-1]

    def end(self, number):
        self.processes[number].protocol.processEnded(Failure(ProcessTerminated(1)))


class FakeDoor:
    family = socket.AF_INET

    def __init__(self, number):
        self.number, self.closed = number, False

    def fileno(self):
        return self.number

    def close(self):
        self.closed = True


class SiteTests(SynchronousTestCase):
    def test_it_tells_the_name_of_its_host(self):
        clock = Clock()
        site = reporting_site(clock, {}, WebConfig(url_prefix="/g"))
        told = json.loads(get(site, clock, "/g/_internal/capabilities").body)
        self.assertEqual(told["name"], socket.gethostname())


class _Page(Resource):
    isLeaf = True

    def render(self, request):
        self.asked = request
        return NOT_DONE_YET


class EndTests(SynchronousTestCase):
    """A web process that is to end."""

    def test_it_answers_and_closes_who_is_silent(self):
        clock, page, stopped = Clock(), _Page(), []
        door = HttpDoor(BoundedSite(page, reactor=clock, request=DirectRequest), clock, direct=True)
        wires = [StringTransport() for _ in range(3)]
        channels = [door.buildProtocol(None) for _ in wires]
        for channel, wire in zip(channels, wires, strict=True):
            channel.makeConnection(wire)
        silent, late, busy = channels
        busy.dataReceived(ASKED)
        asked = page.asked
        ended = end_in_order(clock, door, [SimpleNamespace(stopListening=lambda: stopped.append(1))])
        self.assertEqual(stopped, [1])
        late.dataReceived(ASKED)
        for request in (asked, page.asked):
            send(request, Answer(b"x", "text/plain"), CrossOrigin())
        self.assertEqual([wire.disconnecting for wire in wires], [False, True, True])
        self.assertTrue(all(b"\r\nConnection: close\r\n" in wire.value() for wire in wires[1:]))
        for channel in (late, busy):
            channel.connectionLost(Failure(ConnectionDone()))
        clock.advance(0.2)
        self.assertTrue(wires[0].disconnecting)
        self.assertNoResult(ended)
        silent.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(ended)


class WorkersTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = FakeReactor()
        self.doors = [FakeDoor(50), FakeDoor(51)]
        web, storage = WebConfig(workers=2, cors_origins=("*",)), StorageConfig(root="x")
        self.changes = SharedCount()
        self.changes.points_fd = 77
        self.workers = WebWorkers(
            self.reactor, self.doors, owner([], {}), web, storage, changes=self.changes
        )
        self.workers.startService()
        self.addCleanup(self.close)

    def close(self):
        for link in self.reactor.sides:
            link.close()
        for link in self.reactor.getReaders() + self.reactor.getWriters():
            link.connectionLost(Failure(ConnectionDone()))

    def test_start(self):
        self.assertEqual(self.workers.processes, [100, 101])
        children = self.reactor.children[0]
        self.assertEqual(
            (children[3], children[5], children[6], children[7]), (50, 51, self.changes.fileno(), 77)
        )
        greeting = self.reactor.sides[0].recv(1 << 16)[4:]
        config = msgspec.msgpack.decode(greeting, type=WorkerConfig)
        self.assertEqual(config.listeners, ((3, socket.AF_INET), (5, socket.AF_INET)))
        self.assertEqual((config.changes, config.points), (6, 7))
        self.assertEqual((config.storage.root, config.web.cors_origins), ("x", ("*",)))

    def test_points_that_are_not_shared(self):
        self.changes.points_fd = None
        self.reactor.end(0)
        self.reactor.advance(0.2)
        config = msgspec.msgpack.decode(self.reactor.sides[2].recv(1 << 16)[4:], type=WorkerConfig)
        self.assertEqual((config.changes, config.points), (6, None))
        self.assertNotIn(7, self.reactor.children[2])

    def test_restart_with_growing_delay(self):
        for number, delay in ((0, 0.1), (2, 0.2), (3, 0.4)):
            self.reactor.end(number)
            self.assertEqual(self.workers.processes, [101])
            self.reactor.advance(delay - 0.01)
            self.assertEqual(len(self.workers.processes), 1)
            self.reactor.advance(0.02)
            self.assertEqual(len(self.workers.processes), 2)
        self.reactor.advance(100)
        self.reactor.end(4)
        self.reactor.advance(0.9)
        self.reactor.end(5)
        self.reactor.advance(0.21)
        self.assertEqual(len(self.workers.processes), 2)

    def test_stop(self):
        """Each is asked to answer what it was asked; one that does not say that it has is not waited for."""
        ended = self.workers.stopService()
        self.assertFalse(any(door.closed for door in self.doors))
        self.reactor.advance(2.0)
        for link in list(self.reactor.getWriters()):
            link.connectionLost(Failure(link.doWrite()))
        for side in self.reactor.sides:
            self.assertNotEqual(side.recv(1 << 16), b"")
            self.assertEqual(side.recv(1), b"")
        self.assertTrue(all(door.closed for door in self.doors))
        self.reactor.end(0)
        self.assertNoResult(ended)
        self.reactor.advance(5.1)
        self.assertEqual([process.signals for process in self.reactor.processes], [[], ["KILL"]])
        self.reactor.end(1)
        self.successResultOf(ended)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.processes), 2)

    def test_stop_while_waiting_to_restart(self):
        self.reactor.end(0)
        self.reactor.end(1)
        for link in list(self.reactor.getWriters()):
            link.connectionLost(Failure(ConnectionDone()))
        self.successResultOf(self.workers.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
