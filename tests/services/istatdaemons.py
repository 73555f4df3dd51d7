"""Counter daemons within the test's own process: lines in, files and answers out, at a clock that stands still."""

from __future__ import annotations

import json
import os
from typing import Any

from msgspec.structs import replace
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from cadtwist.config.istatmodel import IstatConfig
from cadtwist.net.listeners import Listener
from cadtwist.protocols.istat import StatConnection
from cadtwist.protocols.istatadmin import answer
from cadtwist.services.istat import IstatDaemon
from cadtwist.storage.statfile import StatStore
from cadtwist.web.answers import Answer
from cadtwist.web.istat import StatRequest, respond
from tests.services.daemons import until
from tests.web.wire import Client, Reply, request_bytes

__all__ = ["FakeAgent", "IstatCase", "reactor"]

reactor: Any = real_reactor
SINGLE = {"retention": "10s:1h,5m:2h,1h:3h", "fake_time": 1325395000, "self_counters": False}


class FakeAgent:
    """Where a daemon forwards to: keeps what it is sent."""

    def __init__(self) -> None:
        self.sent = b""

    def send(self, chunk: bytes, _points: int) -> None:
        self.sent += chunk

    def start(self) -> None:
        """Nothing is to be connected."""

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


class IstatCase(TestCase):
    """Each test starts daemons in a folder of its own; none listens anywhere."""

    timeout = 20

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(self.folder)
        self.daemons: list[IstatDaemon] = []

    def tearDown(self) -> Any:
        return ensureDeferred(self.stop_all())

    async def stop_all(self) -> None:
        for daemon in list(self.daemons):
            await self.stop(daemon)

    def start(self, name: str = "one", store: bool = True, open_doors: bool = True, **changes: Any) -> IstatDaemon:
        base = IstatConfig(
            stat_port=0, http_port=0, settings=os.path.join(self.folder, f"{name}.settings"), allocation="sparse",
            store=os.path.join(self.folder, name) if store else "",
        )  # fmt: skip
        daemon = IstatDaemon(reactor, replace(base, **{**SINGLE, **changes}), lambda _daemon: FakeAgent())  # type: ignore[arg-type, return-value]
        if not open_doors:
            for part in list(daemon.service):
                if isinstance(part, Listener):
                    part.disownServiceParent()
        daemon.service.startService()
        self.daemons.append(daemon)
        return daemon

    async def stop(self, daemon: IstatDaemon) -> None:
        self.daemons.remove(daemon)
        for connection in list(daemon.lines.connections):
            connection.connectionLost()
        await daemon.service.stopService()

    def connect(self, daemon: IstatDaemon) -> StatConnection:
        connection = daemon.lines.buildProtocol(None)
        assert isinstance(connection, StatConnection)
        connection.makeConnection(StringTransport())
        return connection

    def send(self, daemon: IstatDaemon, *lines: str) -> StatConnection:
        """Send lines over a connection of their own, which stays open."""
        connection = self.connect(daemon)
        connection.dataReceived("".join(f"{line}\n" for line in lines).encode())
        daemon.turn.end()
        return connection

    async def admin(self, daemon: IstatDaemon, command: str) -> list[str]:
        return await answer(command, daemon.orders) or []

    async def get(self, daemon: IstatDaemon, target: str, **headers: str) -> Answer:
        return await respond(StatRequest("GET", target, {"host": "x", **headers}), daemon.answers)

    async def post(self, daemon: IstatDaemon, target: str, body: object) -> Answer:
        data = json.dumps(body).encode()
        return await respond(StatRequest("POST", target, {"host": "x"}, data), daemon.answers)

    async def ask(
        self, daemon: IstatDaemon, method: str, target: str, body: bytes = b"", site: Any = None
    ) -> Reply:
        """Ask at the HTTP door, where Graphite's paths are too, or at another site."""
        client = Client(site or daemon.api.site(daemon.http), reactor)  # type: ignore[arg-type]
        client.send(request_bytes(method, target, body=body))
        await until(client.transport.value)
        reply = client.reply()
        client.channel.connectionLost(Failure(ConnectionDone()))
        return reply

    async def json(self, daemon: IstatDaemon, target: str) -> Any:
        return json.loads((await self.get(daemon, target)).body)

    def sums(self, daemon: IstatDaemon, name: str, file: str = "10s") -> list[float]:
        """Return the sums of a file as istatd's dump shows them."""
        store: StatStore = daemon.store
        number = [retention.name for retention in store.retentions].index(file)
        with store.reader(name.encode()) as reader:
            head = reader.headers()[number]
            assert head is not None, (name, file)
            cells = reader.cells(number, head.first_bucket, head.last_bucket - head.first_bucket + 1)
        return [float(cell["sum"]) for cell in cells if cell["time"] > 0]

    def carry(self, source: IstatDaemon, connection: StatConnection, target: IstatDaemon) -> None:
        """Forward what a daemon has gathered."""
        agent: Any = source.agents[0]
        source.forward()
        data, agent.sent = agent.sent, b""
        connection.dataReceived(data)
        target.turn.end()
