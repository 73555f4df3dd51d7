"""carbon-relay by a clock of our own, without sockets; run by the Python that has carbon 1.1.10.

    python relayclock.py CASES ANSWERS FOLDER

CASES is a JSON list of {start, conf, files, steps}: the text of carbon.conf, texts by the names of further files, which
are written to FOLDER, and steps: ["up", n], ["down", n], ["refused", n] of the n-th destination, ["line", base64], one
line, ["udp", base64], ["pickle", base64] and ["protobuf", base64], frames without their length, ["wait", seconds] and
["stats"].
ANSWERS gets for each case {sent, told, refused}: by destination what it was sent, (name, value, timestamp) each, own
metrics at each "stats", and why carbon did not start.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import carbon.events
import carbon.instrumentation
from carbon import client, conf, log, pipeline, protobuf, protocols, regexlist, routers, state, util
from carbon.aggregator import rules
from carbon.conf import settings
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.task import Clock, LoopingCall
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

CASES, ANSWERS, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
TICK_S = 0.25
FILES = ("relay-rules.conf", "aggregation-rules.conf", "whitelist.conf", "blacklist.conf")


class Connector:
    """Connects when a step says so."""

    state = "connecting"

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    def connect(self) -> None:
        """Wait for the step."""


class Reactor(Clock):
    """A clock that connects."""

    def connectTCP(self, host: str, port: int, factory: Any) -> Connector:
        return Connector(host, port)


class Now:
    """The time."""

    reactor = Reactor()

    @staticmethod
    def time() -> float:
        return Now.reactor.seconds()


class Once(LoopingCall):
    """Reads a file no more than once."""

    def start(self, interval: float, now: bool = True) -> Any:
        return None


def ready(case: Any) -> None:
    """Put carbon into the state before its start."""
    Now.reactor = client.reactor = client.CarbonClientFactory.clock = Reactor()
    Now.reactor.advance(case["start"])
    for event in (carbon.events.resumeReceivingMetrics, carbon.events.pauseReceivingMetrics):
        event.handlers[1:] = []
    state.metricReceiversPaused = state.cacheTooFull = False
    carbon.instrumentation.stats.clear()
    carbon.instrumentation.prior_stats.clear()
    rules.RuleManager.rules, rules.RuleManager.rules_last_read = [], 0.0
    for patterns in (protocols.WhiteList, protocols.BlackList):
        patterns.regex_list, patterns.rules_last_read = [], 0.0
    for name in FILES:
        (FOLDER / name).unlink(missing_ok=True)
    for name, text in {**case["files"], "carbon.conf": case["conf"]}.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def configure() -> None:
    """Read carbon.conf as carbon-relay does."""
    options = {"config": str(FOLDER / "carbon.conf"), "instance": "a", "pidfile": None, "logdir": None}
    found = conf.read_config("carbon-relay", options, ROOT_DIR=str(FOLDER))
    settings.clear()
    settings.update(found, program="carbon-relay")
    for name, file in (("relay-rules", "RELAY_RULES"), ("aggregation-rules", "AGGREGATION_RULES")):
        settings[name] = str(FOLDER / settings[file])
    if settings.USE_WHITELIST:
        protocols.WhiteList.read_from(str(FOLDER / "whitelist.conf"))
        protocols.BlackList.read_from(str(FOLDER / "blacklist.conf"))


class Relay:
    """carbon-relay with its destinations."""

    def __init__(self) -> None:
        manager = client.CarbonClientManager(routers.DatapointRouter.plugins[settings.RELAY_METHOD](settings))
        state.client_manager = manager
        keys = [tuple(each) for each in util.parseDestinations(settings.DESTINATIONS)]
        for key in keys:
            manager.startClient(key)
        for factory in manager.client_factories.values():
            factory.startConnecting()
        manager.running = 1
        self.factories = [manager.client_factories[key] for key in keys]
        self.sent: list[list[Any]] = [[] for _ in keys]
        self.wires = [StringTransport() for _ in keys]
        state.pipeline_processors[:] = state.pipeline_processors_generated[:] = [client.RelayProcessor()]
        self.doors = {
            "line": protocols.MetricLineReceiver(), "udp": protocols.MetricDatagramReceiver(),
            "pickle": protocols.MetricPickleReceiver(), "protobuf": protobuf.MetricProtobufReceiver(),
        }  # fmt: skip
        for door in self.doors.values():
            door.peerName = "peer"
        self.doors["pickle"].unpickler = util.get_unpickler()
        self.told: list[Any] = []

    def step(self, kind: str, value: Any = None) -> None:
        """Do what a step says."""
        if kind in self.doors:
            with contextlib.suppress(Exception):  # it would end the connection, and no more than that
                self.given(kind, base64.b64decode(value))
        elif kind == "wait":
            Now.reactor.pump([TICK_S] * round(value / TICK_S))
        elif kind == "stats":
            self.told.append({n: v for n, v in carbon.instrumentation.stats.items() if isinstance(v, (int, float))})
            carbon.instrumentation.recordMetrics()
        else:
            getattr(self, kind)(value)
        Now.reactor.advance(0.0)

    def given(self, kind: str, data: bytes) -> None:
        door = self.doors[kind]
        if kind == "udp":
            door.datagramReceived(data, ("peer", 1))
        else:
            (door.lineReceived if kind == "line" else door.stringReceived)(data)

    def up(self, number: int) -> None:
        self.factories[number].buildProtocol(None).makeConnection(self.wires[number])

    def down(self, number: int) -> None:
        factory, why = self.factories[number], Failure(ConnectionDone())
        factory.connectedProtocol.connectionLost(why)
        factory.clientConnectionLost(factory.connector, why)

    def refused(self, number: int) -> None:
        factory = self.factories[number]
        factory.clientConnectionFailed(factory.connector, Failure(ConnectError()))


def points(data: bytes) -> list[tuple[str, str, str]]:
    """Return what a destination was sent."""
    if settings.DESTINATION_PROTOCOL == "line":
        return [tuple(line.split(" ")) for line in data.decode("utf-8").split("\r\n")[:-1]]  # type: ignore[misc]
    found = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        found += message(data[4:end])
        data = data[end:]
    return found


def message(data: bytes) -> list[tuple[str, str, str]]:
    """Return the points of a frame."""
    if settings.DESTINATION_PROTOCOL == "pickle":
        return [(name, repr(value), repr(when)) for name, (when, value) in pickle.loads(data)]
    metrics = protobuf.Payload.FromString(data).metrics
    return [(each.metric, repr(point.value), repr(point.timestamp)) for each in metrics for point in each.points]


def replay(case: Any) -> Any:
    """Return what carbon does."""
    ready(case)
    try:
        configure()
        relay = Relay()
    except BaseException as fault:  # noqa: BLE001 (whatever ends carbon's start)
        return {"sent": [], "told": [], "refused": repr(fault)}
    for step in case["steps"]:
        relay.step(*step)
    return {"sent": [points(wire.value()) for wire in relay.wires], "told": relay.told, "refused": None}


def main() -> None:
    """Replay all cases."""
    builtins.instance = "a"  # type: ignore[attr-defined]
    log.err = log.msg = log.debug = log.listener = log.aggregator = log.clients = lambda *what, **named: None
    pipeline.log.err = log.err
    client.time, protocols.time, carbon.instrumentation.time = Now.time, Now, Now
    carbon.instrumentation.HOSTNAME = "host"
    client.setUpRandomResolver = lambda reactor: None
    client.CarbonClientFactory.jitter = 0
    protocols.MetricReceiver.resetTimeout = lambda self: None
    regexlist.WhiteList.read_task = regexlist.BlackList.read_task = Once(lambda: None)
    rules.RuleManager.read_task = Once(lambda: None)
    state.events, state.instrumentation = carbon.events, carbon.instrumentation
    carbon.events.metricReceived.addHandler(pipeline.run_pipeline)
    carbon.events.metricGenerated.addHandler(pipeline.run_pipeline_generated)
    cases = json.loads(Path(CASES).read_text(encoding="utf-8"))
    Path(ANSWERS).write_text(json.dumps([replay(case) for case in cases]), encoding="utf-8")


main()
