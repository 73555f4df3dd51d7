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
        self.workers = WebWorkers(real_reactor, [door], local, WebConfig(workers=1), storage)
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

    async def test_answers_and_comes_again(self):
        query = "/render?target=hot.*&from=30&until=90&now=120&format=raw"
        self.assertEqual(await self.ask(query), b"hot.one,60,120,60|1.5\n")
        (first,) = self.workers.processes
        os.kill(first, 9)
        while self.workers.processes in ([], [first]):
            await deferLater(real_reactor, 0.02, lambda: None)
        self.assertEqual(await self.ask(query), b"hot.one,60,120,60|1.5\n")
