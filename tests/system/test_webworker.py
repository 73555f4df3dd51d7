"""A real web process: it answers from memory, and comes again when it dies."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from unittest import SkipTest

import numpy as np
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from cadtwist.config.model import StorageConfig, WebConfig
from cadtwist.services.sharedcount import SharedCount
from cadtwist.services.webworker import WebWorkers, listening_socket
from tests.query.test_owner import owner
from tests.twins import native_twin


class RealProcessTests(TestCase):
    timeout = 30

    def setUp(self):
        if os.environ.get("CADTWIST_SYSTEM") != "1":
            raise SkipTest("real processes run in the system lane")
        door = listening_socket("127.0.0.1", 0)
        self.port = door.getsockname()[1]
        changes = self.changes = SharedCount()
        local = self.answers([], {b"hot.one": [(60.0, 1.5)]})
        root = self.mktemp()
        os.mkdir(root)
        storage = StorageConfig(root=root)
        self.index = local.index
        self.index.names.changes = changes.names
        self.workers = WebWorkers(real_reactor, [door], local, WebConfig(workers=1), storage, changes=changes)
        self.workers.startService()
        self.addCleanup(self.workers.stopService)

    def answers(self, names, points):
        """Return the owner."""
        return owner(names, points)

    def ask(self, path: str) -> Deferred[bytes]:
        def blocking():
            with socket.create_connection(("127.0.0.1", self.port), 10) as peer:
                peer.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                found = b""
                while piece := peer.recv(65536):
                    found += piece
                return found.partition(b"\r\n\r\n")[2]

        return deferToThread(blocking)

    async def test_new_names_are_seen_at_once(self):
        found = []
        for name in (b"hot.two", b"hot.three"):
            found += [await self.ask("/metrics/find?query=hot.*&format=nodelist") for _ in range(2)]
            self.index.add(name)
        found.append(await self.ask("/metrics/find?query=hot.*&format=nodelist"))
        self.assertEqual(found[0], found[1])
        self.assertEqual(found[2], found[3])
        self.assertEqual([b"two" in one for one in found], [False, False, True, True, True])
        self.assertEqual([b"three" in one for one in found], [False, False, False, False, True])

    async def test_answers_and_comes_again(self):
        query = "/render?target=hot.*&from=30&until=90&now=120&format=raw"
        self.assertEqual(await self.ask(query), b"hot.one,60,120,60|1.5\n")
        (first,) = self.workers.processes
        os.kill(first, 9)
        while self.workers.processes in ([], [first]):
            await deferLater(real_reactor, 0.02, lambda: None)
        self.assertEqual(await self.ask(query), b"hot.one,60,120,60|1.5\n")


class _Asked:
    """An owner that counts what it is asked for points."""

    def __init__(self, owner):
        self._owner = owner
        self.times = 0

    def pieces(self, *arguments):
        self.times += 1
        return self._owner.pieces(*arguments)

    def __getattr__(self, name):
        return getattr(self._owner, name)


class SharedPointsTests(RealProcessTests):
    """The same with points that the web process can see."""

    def answers(self, names, points):
        native = native_twin("points")
        if native is None:
            raise SkipTest("no native kernels: nothing is shared")
        self.store = native.PointStore()
        self.changes.points_fd = self.store.share()
        local = owner(names, points)
        for number, some in enumerate(points.values()):
            self.append(number, *some)
        self.local = _Asked(replace(local, hot=self.store.peek_within, waiting=lambda: self.store.points))
        return self.local

    def append(self, number, *points):
        self.store.appended = self.changes.points
        times, values = zip(*points, strict=True)
        self.store.append(np.full(len(points), number, np.uint32), np.array(times), np.array(values), 1, 1000)

    async def test_points_are_seen_without_asking(self):
        query = "/render?target=hot.*&from=30&until=150&now=180&format=raw"
        self.assertEqual(await self.ask(query), b"hot.one,60,180,60|1.5,None\n")
        self.append(0, (120.0, 2.5))
        self.assertEqual(await self.ask(query), b"hot.one,60,180,60|1.5,2.5\n")
        self.append(0, (120.0, 3.5))
        self.assertEqual(await self.ask(query), b"hot.one,60,180,60|1.5,3.5\n")
        self.assertEqual(self.local.times, 1)
        self.store.take(np.array([0], np.uint32))
        self.assertEqual(await self.ask(query), b"hot.one,60,180,60|1.5,3.5\n")
        self.assertEqual(self.local.times, 2)
        self.store.confirm(np.array([0], np.uint32))
        self.assertEqual(await self.ask(query), b"", "it has no file")
        self.assertEqual(self.local.times, 2)
