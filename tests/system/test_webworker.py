"""A real web process: it answers from memory, and comes again when it dies."""

from __future__ import annotations

import os
import socket
from unittest import SkipTest

from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from cadtwist.config.model import StorageConfig, WebConfig
from cadtwist.services.sharedcount import SharedCount
from cadtwist.services.webworker import WebWorkers, listening_socket
from tests.query.test_owner import owner


class RealProcessTests(TestCase):
    timeout = 30

    def setUp(self):
        if os.environ.get("CADTWIST_SYSTEM") != "1":
            raise SkipTest("real processes run in the system lane")
        door = listening_socket("127.0.0.1", 0)
        self.port = door.getsockname()[1]
        local = owner([], {b"hot.one": [(60.0, 1.5)]})
        root = self.mktemp()
        os.mkdir(root)
        storage = StorageConfig(root=root)
        self.index, changes = local.index, SharedCount()
        self.index.names.changes = changes.names
        self.workers = WebWorkers(real_reactor, [door], local, WebConfig(workers=1), storage, changes=changes)
        self.workers.startService()
        self.addCleanup(self.workers.stopService)

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
