#!/usr/bin/env python3
"""The stages of a relay with nothing around them: lines in, three sinks out; for measuring what the path itself costs.

`relaychain.py '{"port": 2003, "sinks": [1, 2, 3], "method": "carbon_ch"}'`; method is a hash of carbon's, or `shards`
for statsd lines; `protocol` line | pickle, `udp` true, `receive_bytes` of its socket.  SIGTERM prints the ledger.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twisted.internet import epollreactor
from twisted.internet.protocol import Factory, Protocol

from cadtwist.codec.relayline import RelayCodec, graphite_lines, statsd_lines
from cadtwist.flow import Gate
from cadtwist.journal.spool import QueueLimits
from cadtwist.kernels import active
from cadtwist.model.batch import Columns
from cadtwist.net.destination import Destination, DestinationOptions
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.protocols.factory import ConnectionLimit, ReceiverFactory
from cadtwist.protocols.intake import Intake
from cadtwist.protocols.relayline import RelayConnection
from cadtwist.protocols.udp import DatagramIntake, DatagramReader
from cadtwist.routing.groups import group_router
from cadtwist.routing.ring import Member
from cadtwist.routing.stage import RouterStage, Taker
from cadtwist.services.allocator import settle_allocator
from cadtwist.services.turn import Turn
from cadtwist.telemetry import Telemetry

SHARDS = 12


def destination(reactor: Any, port: int, gate: Gate, telemetry: Telemetry, is_lines: bool) -> Destination:
    """Return a destination that pauses the receivers when it is full."""
    limits = QueueLimits(max_bytes=4 << 20, policy="block")
    options = DestinationOptions("tcp", "127.0.0.1", port, divisible=is_lines, limits=limits)
    key = f"127.0.0.1:{port}"
    return Destination(reactor, key, options, telemetry.account(f"destination {key}"), gate)


def main() -> None:
    asked = json.loads(sys.argv[1])
    settle_allocator()
    reactor: Any = epollreactor.EPollReactor()
    gate, telemetry, turn, table = Gate(), Telemetry(), Turn(reactor), active.table.MetricTable(12345)
    protocol = asked.get("protocol", "line")
    sending = [destination(reactor, port, gate, telemetry, protocol == "line") for port in asked["sinks"]]
    takers = {each.key: Taker(each, protocol) for each in sending}
    if asked["method"] == "shards":
        router = group_router("shards", [Member(sending[i % len(sending)].key) for i in range(SHARDS)])
        dialect = statsd_lines()
    else:
        members = [
            Member(each.key, "127.0.0.1", port, chr(97 + i))
            for i, (each, port) in enumerate(zip(sending, asked["sinks"], strict=True))
        ]
        router, dialect = group_router("carbon", members, hash_type=asked["method"]), graphite_lines()
    stage = RouterStage(router, takers, table, telemetry.account("route"))

    def codec(emit: Any) -> RelayCodec:
        return RelayCodec(table, Columns(keep_spans=True), emit, dialect, numbers=protocol == "pickle")

    kind = DatagramIntake if asked.get("udp") else Intake
    intake: Any = kind(
        "lines", codec, sink=stage, gate=gate, account=telemetry.account("in"), bad_log=BadInputLog(reactor.seconds),
        now=reactor.seconds, begin=turn.begin, settle=telemetry.settle,
    )  # fmt: skip
    turn.add(intake.flush)
    for each in sending:
        turn.add(each.flush)
        each.start()
    factory: Any = ReceiverFactory(intake, RelayConnection, clock=reactor, limit=ConnectionLimit())
    if asked.get("udp"):
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, asked.get("receive_bytes", 4 << 20))
        bound.bind(("127.0.0.1", asked["port"]))
        DatagramReader(reactor, bound, intake).start()
        factory = Factory.forProtocol(Protocol)
    reactor.listenTCP(asked["port"], factory, backlog=512, interface="127.0.0.1")
    reactor.addSystemEventTrigger("before", "shutdown", lambda: print(json.dumps(telemetry.ledger()), flush=True))
    reactor.run()


if __name__ == "__main__":
    main()
