"""Pages for operators over a running relay: they tell what really happens, and change it."""

from __future__ import annotations

import json
import os
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from treq.client import HTTPClient
from twisted.internet.defer import ensureDeferred, fail, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import Agent
from zope.interface.verify import verifyObject

from cadtwist.config.model import Config, Listener, StagesConfig
from cadtwist.config.relaymodel import FilterRule, GroupConfig, LineConfig, OpsConfig, RelayConfig
from cadtwist.errors import CadtwistError
from cadtwist.model.rules import RewriteRule
from cadtwist.routing.groups import group_router
from cadtwist.routing.ring import Member
from cadtwist.services.ops import JoinedOps, position_of
from cadtwist.services.sectionstats import COUNTS, SectionStats
from cadtwist.web.errors import RefusedError
from cadtwist.web.ops import IOps
from tests.services.daemons import reactor, until
from tests.services.test_relay import LINES, RelayCase, Sink
from tests.services.test_sectionstats import STATE

KEYS = LineConfig(format="statsd")


class Endpoints:
    """Leads every request to one unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path

    def endpointForURI(self, uri: object) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(reactor, self._path)


class OpsCase(RelayCase):
    def setUp(self) -> None:
        super().setUp()
        self.pages = os.path.join(self.folder, "ops.sock")
        self.client = HTTPClient(Agent.usingEndpointFactory(reactor, Endpoints(self.pages)))

    def ops_config(self, *relays: RelayConfig, **changes: Any) -> Config:
        config = self.relay(*relays, **changes)
        door = Listener(protocol="ops", transport="unix", path=self.pages)
        return replace(config, listeners=(*config.listeners, door))

    async def get(self, path: str, **params: str) -> tuple[int, str]:
        response = await self.client.get(f"http://relay{path}", params=params)
        return response.code, await response.text()

    async def json(self, path: str, **params: str) -> Any:
        code, text = await self.get(path, **params)
        self.assertEqual(code, 200, text)
        return json.loads(text)


class StatsTests(OpsCase):
    def test_every_line_is_in_a_count(self) -> Any:
        async def run() -> None:
            filters = (
                FilterRule(kind="prefix", pattern="bad.", action="reject"),
                FilterRule(kind="prefix", pattern="away.", action="redirect", relay="other"),
            )
            front = RelayConfig(name="front", filters=filters, groups=(self.group(members=("d0", "d1")),))
            other = RelayConfig(name="other", groups=(self.group(members=("d2",)), self.group(members=("d2",))))
            daemon = await self.start(self.ops_config(front, other))
            assert daemon.ops is not None
            verifyObject(IOps, daemon.ops)
            self.assertEqual(await self.json("/front/stats"), (await self.json("/stats"))["front"])
            before = (await self.json("/front"))["ticks_list"]
            data = LINES + b"bad.a 1 1\nbad.b 1 1\n\naway.a 1 1700000000\n  \nnothing\n"
            await self.send(data)
            await until(lambda: self.total() == 302)
            daemon.ops.tick(1_700_000_000.0)
            told = await self.json("/stats")
            one, two = told["front"], told["other"]
            counts = {key: one[key] for key in one if key.endswith("_count") and not key.startswith("current_")}
            self.assertEqual(
                counts,
                {
                    "all_lines_count": 304, "valid_line_count": 303, "invalid_line_count": 1, "worker_line_count": 300,
                    "success_send_count": 300, "fail_send_count": 0, "unsendable_send_count": 0,
                    "unknown_send_count": 0, "rejected_lines_count": 2, "redirected_lines_count": 1,
                },
            )  # fmt: skip
            self.assertEqual((one["bytes_read"], one["bytes_written"]), (len(data), len(LINES)))
            self.assertEqual((two["all_lines_count"], two["valid_line_count"], two["worker_line_count"]), (1, 1, 2))
            self.assertEqual(len(one["ticks_list"]), len(before or []) + 1)
            self.assertEqual(sum(one["valid_line_count_list"]), 303)
            self.assertEqual((one["listening"], two["listening"]), (f"unix://{self.door}", "BACKEND-ONLY"))
            self.assertEqual(len(one["servers_up"]), 2)
            self.assertEqual((one["servers_down"], one["servers_checking"], one["shards"]), (None, [], []))
            self.assertEqual(one["max_read_buffer_size"], 2 * (8 << 20))
            self.assertEqual((await self.get("/readyz"))[1], "ready\n")
            self.assertIn('cadtwist_points_out_total{part="router front"} 300.0', (await self.get("/metrics"))[1])
            names = [each["name"] for each in (await self.json("/ledger"))["accounts"]]
            self.assertIn("destination d0", names)

        return ensureDeferred(run())

    def test_lines_of_each_shard(self) -> Any:
        async def run() -> None:
            group = self.group(method="shards", members=("d0", "d1", "d0", "d2"))
            config = self.ops_config(RelayConfig(name="statsd", lines=KEYS, groups=(group,)))
            daemon = await self.start(config)
            lines = b"".join(b"k.%d:1|c\n" % n for n in range(200))
            await self.send(lines)
            await until(lambda: self.total() == 200)
            (told,) = (await self.json("/statsd"))["shards"]
            self.assertEqual((told["group"], told["shard_map"]), ("statsd", ["d0", "d1", "d0", "d2"]))
            self.assertEqual(sum(told["lines"]), 200)
            self.assertEqual(told["lines"][1], len(self.sinks["d1"].lines))
            moved = self.group(method="shards", members=("d0", "d1", "d1", "d2"))
            relay = RelayConfig(name="statsd", lines=KEYS, groups=(moved,))
            old = daemon.chains
            daemon.change(replace(config, relays=(relay,)))
            await until(lambda: daemon.chains is not old)
            (after,) = (await self.json("/statsd"))["shards"]
            self.assertEqual(after["lines"], told["lines"])
            self.assertEqual(after["shard_map"], list(moved.members))

        return ensureDeferred(run())

    def test_a_group_without_shards_keeps_nothing_from_those_behind_it(self) -> Any:
        async def run() -> None:
            groups = self.group(method="shards", members=()), self.group(method="shards", members=("d0", "d1"))
            await self.start(self.ops_config(RelayConfig(name="statsd", lines=KEYS, groups=groups)))
            await self.send(b"".join(b"k.%d:1|c\n" % n for n in range(20)))
            await until(lambda: self.total() == 20)
            empty, whole = (await self.json("/statsd"))["shards"]
            self.assertEqual((empty["shard_map"], empty["lines"], sum(whole["lines"])), ([], [], 20))

        return ensureDeferred(run())

    def test_the_log(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.ops_config(ops=OpsConfig(log_stats_s=3600.0)))
            assert daemon.ops is not None
            names = [getattr(each, "name", "") for each in daemon.service]
            self.assertIn("logged statistics", names)
            daemon.ops.log(1.0)

        return ensureDeferred(run())

    def test_a_page_of_the_operators_own(self) -> Any:
        async def run() -> None:
            with open(os.path.join(self.folder, "index.html"), "wb") as file:
                file.write(b"<p>mine</p>")
            await self.start(self.ops_config(ops=OpsConfig(page_directory=self.folder)))
            self.assertEqual((await self.get("/"))[1], "<p>mine</p>")

        return ensureDeferred(run())

    def test_no_page_of_the_operators_own(self) -> Any:
        async def run() -> None:
            await self.start(self.ops_config(ops=OpsConfig(page_directory=os.path.join(self.folder, "missing"))))
            self.assertIn("<h1>Relay</h1>", (await self.get("/"))[1])

        return ensureDeferred(run())


class HashcheckTests(OpsCase):
    def test_agrees_with_where_random_names_really_go(self) -> Any:
        async def run() -> None:
            relays = RelayConfig(
                groups=(
                    self.group(method="cadent", replication=2, hash="crc32", vnodes=20),
                    self.group(method="carbon", members=("d0", "d2")),
                )
            )
            config = self.ops_config(relays)
            daemon = await self.start(config)
            dice = random.Random(3)
            names = {f"{dice.choice('abc')}.{dice.randrange(1 << 40):x}.{n}" for n in range(2000)}
            await self.send("".join(f"{name} 1 1700000000\n" for name in sorted(names)).encode())
            await until(lambda: self.total() == 3 * len(names))
            addresses = {each.name: each.address for each in config.destinations}
            got: dict[str, list[str]] = {name: [] for name in names}
            for key, sink in self.sinks.items():
                for line in sink.lines:
                    got[line.split()[0].decode()].append(addresses[key])
            assert daemon.ops is not None
            for name, found in got.items():
                told = daemon.ops.hashcheck(name)["relay"]
                self.assertEqual(sorted(told["to_servers"]), sorted(found), name)
                self.assertEqual(len(told["hash_value"]), 3)
            self.assertEqual(await self.json("/hashcheck", key=name), daemon.ops.hashcheck(name))

        return ensureDeferred(run())

    def test_of_names_that_are_dropped_or_rewritten(self) -> Any:
        """It tells where the line goes, not where the name would go if it were another one."""

        async def run() -> None:
            relays = RelayConfig(groups=(self.group(method="carbon", replication=1),))
            stages = StagesConfig(blacklist=("dropped",), rewrite=(RewriteRule("^old", "new"),))
            daemon = await self.start(self.ops_config(relays, stages=stages))
            assert daemon.ops is not None
            names = [f"old.m{number}" for number in range(50)]
            told = {name: daemon.ops.hashcheck(name)["relay"] for name in names}
            self.assertEqual(
                [each["to_servers"] for each in told.values()],
                [daemon.ops.hashcheck(name.replace("old", "new"))["relay"]["to_servers"] for name in names],
            )
            self.assertEqual({each["hash_key"] for each in told.values()}, set(names))
            nobody = {"to_servers": None, "hash_key": "a.dropped", "hash_value": None}
            self.assertEqual(daemon.ops.hashcheck("a.dropped"), {"relay": nobody})
            await self.send("".join(f"{name} 1 1700000000\n" for name in [*names, "a.dropped"]).encode())
            await until(lambda: self.total() == len(names))
            addresses = {each.name: each.address for each in daemon.config.destinations}
            for key, sink in self.sinks.items():
                for line in sink.lines:
                    name = "old" + line.split()[0].decode().removeprefix("new")
                    self.assertEqual(told[name]["to_servers"], [addresses[key]])

        return ensureDeferred(run())

    def test_those_that_are_down(self) -> Any:
        async def run() -> None:
            group = self.group(method="cadent", down_policy="remove_node")
            daemon = await self.start(self.ops_config(RelayConfig(groups=(group,))))
            assert daemon.ops is not None
            assert daemon.relayed is not None
            first = daemon.ops.hashcheck("a.b")["relay"]["to_servers"]
            gone = next(name for name, sink in self.sinks.items() if f"unix://{sink.path}" in first)
            daemon.relayed.health_changed(gone, False)
            second = daemon.ops.hashcheck("a.b")["relay"]["to_servers"]
            self.assertNotEqual(second, first)
            self.assertEqual((await self.json("/relay"))["servers_down"], first)
            self.assertEqual((await self.get("/relay/ping"))[0], 200)
            for name in self.sinks:
                daemon.relayed.health_changed(name, False)
            nobody = {"to_servers": None, "hash_key": "a.b", "hash_value": None}
            self.assertEqual(daemon.ops.hashcheck("a.b"), {"relay": nobody})
            self.assertEqual(await self.get("/relay/ops/status"), (503, "all servers down"))
            self.assertEqual(await self.get("/ops/status"), (200, "ok"))
            daemon.relayed.health_changed(gone, True)
            self.assertEqual(daemon.ops.hashcheck("a.b")["relay"]["to_servers"], first)
            self.assertEqual((await self.get("/relay/ops/status"))[0], 200)

        return ensureDeferred(run())


class MembershipTests(OpsCase):
    def test_a_server_joins_and_leaves_while_lines_come(self) -> Any:
        async def run() -> None:
            group = self.group(method="cadent", members=("d0", "d1"), hash_keys=("0", "1"))
            config = self.ops_config(RelayConfig(groups=(group,)))
            daemon = await self.start(config)
            extra = Sink(os.path.join(self.folder, "extra.sock"))
            extra.open()
            self.sinks["extra"] = extra
            await self.send(LINES)
            await until(lambda: self.total() == 300)
            chains = daemon.chains
            url = f"unix://{extra.path}"
            params = {"server": url, "check_server": "tcp://127.0.0.1:1", "hashkey": "x"}
            self.assertEqual(await self.get("/relay/addserver", **params), (200, "Server URL Added"))
            await until(lambda: daemon.chains is not chains)
            for sink in self.sinks.values():
                sink.lines.clear()
            await self.send(LINES)
            await until(lambda: self.total() == 300)
            name = f"relay/{url}"
            router = group_router(
                "cadent", [Member("d0", hashkey="0"), Member("d1", hashkey="1"), Member(name, hashkey="x")]
            )
            wanted = [line for line in LINES.splitlines() if router.route(line.split()[0])[0].candidates == (name,)]
            self.assertEqual(extra.lines, wanted)
            self.assertGreater(len(wanted), 20)
            self.assertEqual((await self.json("/relay"))["servers_up"], ["0", "1", "x"])
            chains = daemon.chains
            self.assertEqual(await self.get("/relay/purgeserver", server=url), (200, "Server URL Purged"))
            await until(lambda: daemon.chains is not chains)
            self.assertEqual(daemon.config, config)
            await until(lambda: not any(each.transport.connected for each in extra.connections))
            sent = (await self.json("/relay"))["success_send_count"]
            self.assertEqual(sent, 600)
            self.assertEqual((await self.get("/relay/purgeserver", server=url))[0], 200)
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_what_waits_is_kept(self) -> Any:
        async def run() -> None:
            await self.sinks["d0"].close()
            group = self.group(method="cadent", members=("d0",))
            daemon = await self.start(self.ops_config(RelayConfig(groups=(group,))))
            await self.send(LINES)
            assert daemon.relayed is not None
            await until(lambda: daemon.relayed.destinations["d0"].queued_points == 300)
            chains = daemon.chains
            url = f"unix://{self.sinks['d1'].path}"
            self.assertEqual((await self.get("/relay/addserver", server=url, check_server="http://h/"))[0], 200)
            await until(lambda: daemon.chains is not chains)
            self.sinks["d0"].open()
            await until(lambda: len(self.sinks["d0"].lines) == 300)

        return ensureDeferred(run())

    def test_what_a_section_cannot_do(self) -> Any:
        async def run() -> None:
            group = self.group(method="shards", members=("d0", "d1"))
            await self.start(self.ops_config(RelayConfig(groups=(group,))))
            code, text = await self.get("/relay/addserver", server="tcp://h:1")
            self.assertEqual(code, 400)
            self.assertIn("shards", text)
            self.assertEqual((await self.get("/relay/purgeserver", server="tcp://h:1", replica="1"))[0], 400)

        return ensureDeferred(run())


class DebugTests(OpsCase):
    def test_off_unless_asked_for(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.ops_config())
            assert daemon.ops is not None
            self.assertIsNone(daemon.ops.debug("stacks", 0.0, -1))

        return ensureDeferred(run())

    def test_on(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.ops_config(ops=OpsConfig(debug=True)))
            assert daemon.ops is not None
            self.assertIn("thread MainThread", str(daemon.ops.debug("stacks", 0.0, -1)))
            profiled: Any = daemon.ops.debug("profile", 0.01, -1)
            self.assertIn("cumulative", await profiled)
            self.assertRaises(CadtwistError, daemon.ops.debug, "stacks", 0.0, 0)
            self.assertEqual((await self.get("/debug/stacks"))[0], 404)  # a unix socket is not loopback

        return ensureDeferred(run())


class FakeSupervisor:
    """Workers that answer what they are told to."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.reactor = reactor
        self.answers: list[Any] = []
        self.asked: list[tuple[Any, ...]] = []

    def ask_all(self, method: str, *arguments: object) -> Any:
        self.asked.append((method, *arguments))
        return succeed(list(self.answers))

    def ask(self, worker: int, method: str, *arguments: object) -> Any:
        self.asked.append((worker, method, *arguments))
        return succeed("text") if worker == 0 else fail(CadtwistError(f"there is no worker {worker}"))

    def change(self, new: Config) -> None:
        self.config = new


class JoinedOpsTests(SynchronousTestCase):
    def setUp(self) -> None:
        group = GroupConfig(method="cadent")
        self.supervisor = FakeSupervisor(Config(relays=(RelayConfig(name="s", groups=(group,)),)))
        self.ops = JoinedOps(self.supervisor)

    def stats(self, valid: int) -> dict[str, Any]:
        totals = {**dict.fromkeys(COUNTS, 0), "valid_line_count": valid}
        return {"s": SectionStats(3, 0.0).told(1.0, totals, STATE)}

    def test_it_is_one(self) -> None:
        verifyObject(IOps, self.ops)
        self.assertEqual(self.ops.sections(), {"s": 1})
        self.assertIsNone(self.ops.accumulator("s"))

    def test_counts_of_all_workers(self) -> None:
        self.supervisor.answers = [self.stats(3), None, self.stats(4)]
        self.assertEqual(self.successResultOf(self.ops.stats())["s"]["valid_line_count"], 7)

    def test_one_worker_is_enough_for_the_rest(self) -> None:
        self.supervisor.answers = [None, {"s": 1}]
        self.assertEqual(self.successResultOf(self.ops.hashcheck("k")), {"s": 1})
        self.supervisor.answers = [0, 2]
        self.assertEqual(self.successResultOf(self.ops.servers_up("s")), 0)
        self.assertEqual(self.supervisor.asked, [("hashcheck", "k"), ("servers_up", "s")])

    def test_nobody_answers(self) -> None:
        self.supervisor.answers = [None, None]
        for asked in (self.ops.stats(), self.ops.hashcheck("k"), self.ops.servers_up("s")):
            self.assertEqual(self.failureResultOf(asked, RefusedError).value.status, 503)

    def test_debug(self) -> None:
        self.assertIsNone(self.ops.debug("heap", 1.0, 0))
        self.supervisor.config = replace(self.supervisor.config, ops=OpsConfig(debug=True))
        self.assertEqual(self.successResultOf(self.ops.debug("heap", 1.0, 0)), "text")
        self.failureResultOf(self.ops.debug("heap", 1.0, 7), CadtwistError)
        self.assertIn("MainThread", self.ops.debug("stacks", 1.0, -1))


class PositionTests(SynchronousTestCase):
    MEMBERS = [Member(f"d{n}", f"h{n}", 2003, "a") for n in range(3)]

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.text("ab.c", min_size=1, max_size=20))
    def test_is_that_of_the_ring(self, name: str) -> None:
        for method in ("carbon", "cadent", "hashring", "c_relay"):
            router: Any = group_router(method, self.MEMBERS)
            self.assertEqual(position_of(router, name), router.placement.position(name.encode()))
            wrapped = group_router(method, self.MEMBERS, aggregates=lambda _: (), pools=True)
            self.assertEqual(position_of(wrapped, name), position_of(router, name))

    def test_shards_and_others(self) -> None:
        shards: Any = group_router("shards", [Member("d0:1:tcp"), Member("d1:1:tcp")])
        self.assertEqual(position_of(shards, "a.b"), shards.shard("a.b"))
        self.assertEqual(position_of(group_router("constant", self.MEMBERS), "a.b"), 0)
        self.assertEqual(position_of(group_router("carbon_fast", self.MEMBERS), "a.b"), 0)
