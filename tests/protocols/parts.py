"""What the tests of receivers are built of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from cadtwist.codec.line import LineCodec
from cadtwist.flow import Gate
from cadtwist.interfaces import ISink
from cadtwist.kernels import active
from cadtwist.model.batch import Batch, Columns
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.factory import Connection, ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Codec, Intake
from cadtwist.protocols.line import LineConnection
from cadtwist.telemetry import Telemetry

NOW = 1_700_000_000.5


@implementer(ISink)
class NamingSink:
    """Keeps (name, timestamp, value) of everything, and how many Batches there were."""

    def __init__(self, table: active.table.MetricTable) -> None:
        self.table = table
        self.points: list[tuple[str, float, float]] = []
        self.batches = 0
        self.then: Callable[[], object] = lambda: None

    def accept(self, batch: Batch) -> None:
        self.batches += 1
        names = [name.decode() for name in self.table.names(batch.ids)]
        self.points += zip(names, batch.timestamps.tolist(), batch.values.tolist(), strict=True)
        self.then()


class Receiving:
    """One listener with all its parts, on a Clock; a turn ends when the clock moves."""

    def __init__(
        self,
        make_codec: Callable[..., Codec] = LineCodec,
        connection: Callable[[Intake], Connection] = LineConnection,
        intake: type[Intake] = Intake,
        most: float = math.inf,
        idle_timeout_s: float = math.inf,
        rows: int = 64,
        **logs: bool,
    ) -> None:
        self.clock = Clock()
        self.table = active.table.MetricTable(1)
        self.sink = NamingSink(self.table)
        self.gate = Gate()
        self.telemetry = Telemetry()
        self.account = self.telemetry.account("receiver.test")
        self.due = False
        self.intake = intake(
            "line",
            lambda emit: make_codec(self.table, Columns(rows), emit),
            sink=self.sink,
            gate=self.gate,
            account=self.account,
            bad_log=BadInputLog(self.clock.seconds),
            now=lambda: NOW,
            begin=self.begin,
            settle=self.telemetry.settle,
        )
        self.limit = ConnectionLimit(most)
        self.factory = ReceiverFactory(
            self.intake, connection, clock=self.clock, limit=self.limit, idle_timeout_s=idle_timeout_s, **logs
        )

    def begin(self) -> None:
        if not self.due:
            self.due = True
            self.clock.callLater(0, self.end)

    def end(self) -> None:
        self.due = False
        self.intake.flush()

    def connect(self, host: str = "192.0.2.7") -> tuple[Any, StringTransport]:
        transport = StringTransport(peerAddress=IPv4Address("TCP", host, 4711))
        connection: Any = self.factory.buildProtocol(transport.getPeer())
        if connection is not None:
            connection.makeConnection(transport)
        return connection, transport

    def turn(self) -> None:
        self.clock.advance(0)
