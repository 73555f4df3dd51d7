"""Every recorded scenario of statsrelay without sampling, from the listener's bytes to what each backend gets."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.relayline import POINT_TAGS, RelayCodec, statsd_lines
from cadtwist.kernels import active
from cadtwist.model.batch import Columns
from cadtwist.protocols.relayline import DestinationStatus, GroupStatus, RelayConnection, RelayStatus, shards_reply
from cadtwist.protocols.udp import DatagramIntake
from cadtwist.routing.routers import ShardRouter
from cadtwist.routing.shardmap import ShardMap, backend_key
from cadtwist.routing.stage import RouterStage, Taker
from cadtwist.stages.relaynames import IngressFilter
from cadtwist.stages.switch import Tee
from cadtwist.telemetry import Telemetry
from tests.protocols.parts import Receiving

SCENARIOS = json.loads((Path(__file__).parents[1] / "data/statsrelay/scenarios.json").read_text())
REPLAYED = [
    each for each in SCENARIOS
    if not any("sampling" in key for group in [each["config"]["statsd"].get("duplicate_to") or {}]
               for one in (group if isinstance(group, list) else [group]) for key in one)
    and "health_metrics_to" not in each["config"]["statsd"]
]  # fmt: skip


class Backend:
    """A backend that takes everything; those without BACK in their keys were unreachable when it was recorded."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.text = b""
        self.lines = self.queued = 0

    def send(self, chunk: bytes, points: int, asked_bytes: int = 0) -> None:
        self.text += chunk
        self.lines += points
        self.queued += asked_bytes


class StatsRelay:
    """The graph that a statsrelay configuration asks for, in memory; strict, as the recorded daemon was."""

    def __init__(self, config: dict[str, Any]) -> None:
        given = config.get("duplicate_to") or []
        groups = [{"shard_map": config["shard_map"]}] if "shard_map" in config else []
        groups += given if isinstance(given, list) else [given]
        self.shards = [[backend_key(each) for each in group.get("shard_map", ())] for group in groups]
        self.backends = {key: Backend(key) for keys in self.shards for key in keys}
        self.telemetry = Telemetry()
        self.table = active.table.MetricTable(3)
        self.stages = [self.stage(number, group) for number, group in enumerate(groups)]
        tags = config.get("validate_tags", True), config.get("point_tag_regex", POINT_TAGS)
        dialect = statsd_lines(config.get("validate", True), *tags, strict=True)
        sink = Tee(self.stages, self.telemetry.account("groups"))
        self.validates = config.get("validate", True)
        self.listeners = []
        for kind in (RelayConnection, DatagramIntake):
            is_udp = kind is DatagramIntake
            made = Receiving(
                lambda _table, _, emit: RelayCodec(self.table, Columns(64, True), emit, dialect),
                RelayConnection if is_udp else partial(RelayConnection, answers=self.answer),
                **({"intake": DatagramIntake} if is_udp else {}),
            )
            made.intake.replace_sink(sink)
            self.listeners.append(made)
        self.tcp, self.udp = self.listeners
        self.udp_bytes = 0

    def stage(self, number: int, group: dict[str, Any]) -> RouterStage:
        keys = self.shards[number]
        return RouterStage(
            ShardRouter(ShardMap(keys)),
            {key: Taker(self.backends[key]) for key in dict.fromkeys(keys)},
            self.table,
            self.telemetry.account(f"group {number}"),
            refuse=IngressFilter(group.get("input_filter"), group.get("input_blacklist")),
            prefix=group.get("prefix", "").encode(),
            suffix=group.get("suffix", "").encode(),
        )

    def send(self, step: dict[str, Any]) -> tuple[str, bool]:
        """Send what a step says; return the reply and whether the connection was closed."""
        data = step["send"].encode()
        if step["proto"] == "udp":
            intake: Any = self.udp.intake
            self.udp_bytes += len(data)
            intake.datagrams(data if data.endswith(b"\n") else data + b"\n", lambda _: "", lambda _: 1 << 30)
            self.udp.turn()
            return "", False
        connection, transport = self.tcp.connect()
        connection.dataReceived(data)
        self.tcp.turn()
        return transport.value().decode(), transport.disconnecting

    def bad(self, *kinds: str) -> int:
        """Return how many bad lines of these kinds came in."""
        counters = [made.account.counters for made in self.listeners]
        return sum(each.get(f"bad.{kind}", 0) for each in counters for kind in kinds)

    def answer(self, command: bytes) -> bytes:
        if command == b"shards":
            return shards_reply(self.shards)
        missing, wrong = ("fields", "name", "empty"), ("value", "nan", "type", "rate", "tag")
        invalid = self.bad("fields", "empty", *wrong) if self.validates else 0
        accounts = [self.telemetry.accounts[f"group {number}"] for number in range(len(self.stages))]
        return RelayStatus(
            self.udp_bytes,
            self.tcp.account.counters["bytes"],
            self.tcp.account.counters["connections"],
            self.bad("name") if self.validates else self.bad(*missing),
            invalid,
            invalid,
            [
                GroupStatus(each.dropped.get("filtered_lines", 0), 0, each.out, each.dropped.get("rejected_lines", 0))
                for each in accounts
            ],
            [
                DestinationStatus(each.key, each.queued, len(each.text) if "BACK" in each.key else 0, each.lines)
                for each in self.backends.values()
            ],
        ).reply()


class RecordedScenarioTests(SynchronousTestCase):
    def test_there_are_some(self) -> None:
        self.assertGreaterEqual(len(REPLAYED), 9)

    def test_every_one(self) -> None:
        for scenario in REPLAYED:
            name, relay = scenario["name"], StatsRelay(scenario["config"]["statsd"])
            for step in scenario["steps"]:
                reply, closed = relay.send(step)
                self.assertEqual(reply, step.get("reply", ""), name)
                self.assertEqual(closed, step.get("server_closed", False), (name, step))
            got = [backend.text.decode() for key, backend in relay.backends.items() if "BACK" in key]
            self.assertEqual(got, scenario["backend_received"], name)
            status, _ = relay.send({"proto": "tcp", "send": "status\n"})
            self.assertEqual(status, scenario["status_after"], name)
            for account in relay.telemetry.accounts.values():
                self.assertEqual(account.balance(), 0, (name, account))
