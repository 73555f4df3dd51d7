"""Tests of `cadtwist.services.dattss`: the server within a daemon, over real sockets, alone and among others."""

from __future__ import annotations

import itertools
import json
import os
import socket
from typing import Any

import treq
from msgspec.structs import replace
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.trial.unittest import SynchronousTestCase, TestCase

from cadtwist.codec.dattss import AuthError, DattssKeys, error_body, read_put
from cadtwist.config.dattssmodel import DattssConfig, DattssNode
from cadtwist.config.model import Config, Listener
from cadtwist.model.partial import partial_of
from cadtwist.net.httpask import HttpAnswer
from cadtwist.services.build import Daemon
from cadtwist.services.dattss import DattssGraph, Neighbours
from cadtwist.telemetry import Telemetry
from tests.dattssrig import body, partial
from tests.services.daemons import reactor, until

KEYS = DattssKeys("secret")


def free_port() -> int:
    with socket.socket() as probe, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        other.bind(("127.0.0.1", port))
        return port


def users_of(daemon: Daemon, count: int) -> list[str]:
    """Return so many users whose home is this node, and as many who have another: who that is depends on the ports."""
    assert daemon.dattss is not None
    assert daemon.dattss.neighbours is not None
    homes: dict[bool, list[str]] = {True: [], False: []}
    for user in (f"user{n}" for n in itertools.count()):
        homes[daemon.dattss.neighbours.belongs_here(user)].append(user)
        if min(map(len, homes.values())) >= count:
            break
    return homes[True][:count] + homes[False][:count]


class DaemonTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        self.daemons: list[Daemon] = []

    def tearDown(self) -> Any:
        return ensureDeferred(self.stop_all())

    async def stop_all(self) -> None:
        for daemon in self.daemons:
            await daemon.service.stopService()

    async def start(self, port: int, name: str = "one", **changes: Any) -> Daemon:
        doors = [Listener(protocol="dattss", interface="127.0.0.1", port=port)]
        doors.append(replace(doors[0], transport="udp"))
        dattss = DattssConfig(secret="secret", directory=os.path.join(self.folder, name), **changes)
        daemon = Daemon(reactor, Config(listeners=tuple(doors), dattss=dattss))
        daemon.service.startService()
        self.daemons.append(daemon)
        return daemon

    async def stop(self, daemon: Daemon) -> None:
        self.daemons.remove(daemon)
        await daemon.service.stopService()

    async def ask(self, method: str, port: int, path: str, data: bytes = b"") -> tuple[int, Any]:
        url = f"http://127.0.0.1:{port}{path}"
        response = await treq.request(method, url, data=data, persistent=False, timeout=30)
        return response.code, json.loads(await response.content())

    def balanced(self, daemon: Daemon) -> None:
        unbalanced = {a.name: a.snapshot() for a in daemon.telemetry.accounts.values() if a.balance()}
        self.assertEqual(unbalanced, {})

    def test_http_udp_and_a_restart(self) -> Any:
        async def run() -> None:
            port = free_port()
            daemon = await self.start(port)
            key = KEYS.key("user1")
            wanted = (200, {"ok": True})
            self.assertEqual(await self.ask("PUT", port, f"/agg?auth={key}", body(c=[partial("a", 5)])), wanted)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(f"{key}:p:s:7c\n{key}:p:s:1c".encode(), ("127.0.0.1", port))
            await until(lambda: daemon.telemetry.account("dattss values").received == 2)
            self.balanced(daemon)
            await self.stop(daemon)
            self.assertEqual(daemon.telemetry.account("dattss").held(), 0)
            daemon = await self.start(port)
            code, status = await self.ask("GET", port, f"/s/status?auth={key}")
            sums = [(each["pth"], each["sum"]) for each in status["c"]]
            self.assertEqual((code, sums), (200, [("a", 5), ("p.s", 8)]))
            code, curves = await self.ask("GET", port, f"/s/stats/p.s/c/0/2?auth={key}")
            self.assertEqual([each["sum"] for each in curves["current"]], [8])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_own_statistics(self) -> Any:
        async def run() -> None:
            port = free_port()
            daemon = await self.start(port, own_user="self")
            self.assertIn("dattss", {each["name"] for each in daemon.telemetry.ledger()})
            self.assertTrue(daemon.status()["ready"])
            await self.ask("GET", port, f"/s/status?auth={KEYS.key('x')}")
            assert daemon.dattss is not None
            daemon.dattss._push(reactor.seconds())
            _, status = await self.ask("GET", port, f"/s/status?auth={KEYS.key('self')}")
            self.assertEqual([each["pth"] for each in status["c"]], ["routes.s.ok"])
            self.assertEqual([each["pth"] for each in status["g"]], ["environment.active", "environment.stats"])
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_two_nodes(self) -> Any:
        """Whichever node is asked, each user's home answers: partials, single values, processes and kills."""

        async def run() -> None:
            ports = [free_port(), free_port()]
            nodes = tuple(DattssNode(host="127.0.0.1", port=port) for port in ports)
            found = [
                await self.start(port, str(port), nodes=nodes, node=f"127.0.0.1:{port}", known_users_only=False)
                for port in ports
            ]
            for user in users_of(found[0], 6):
                for port in ports:
                    code, _ = await self.ask("PUT", port, f"/agg?auth={KEYS.key(user)}", body(c=[partial("a", 1)]))
                    self.assertEqual(code, 200)
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                        sender.sendto(f"{KEYS.key(user)}:p:s:1c".encode(), ("127.0.0.1", port))
            for daemon in found:
                await until(lambda d=daemon: d.telemetry.account("dattss values").received == 12)
                assert daemon.dattss is not None
                daemon.dattss._push(reactor.seconds())
            homes = [set(daemon.dattss.node.users) for daemon in found if daemon.dattss is not None]
            self.assertEqual((homes[0] & homes[1], len(homes[0] | homes[1])), (set(), 12))
            self.assertTrue(homes[0] and homes[1])
            for user in homes[0] | homes[1]:
                for port in ports:
                    await self.totals(port, user, [("a", 2), ("p.s", 2)])
            for daemon in found:
                self.balanced(daemon)

        return ensureDeferred(run())

    def test_news_come_from_another_node(self) -> Any:
        async def run() -> None:
            ports = [free_port(), free_port()]
            nodes = tuple(DattssNode(host="127.0.0.1", port=port) for port in ports)
            daemons = [await self.start(port, str(port), nodes=nodes, node=f"127.0.0.1:{port}") for port in ports]
            user = users_of(daemons[0], 1)[1]
            key, found = KEYS.key(user), bytearray()
            response = await treq.get(f"http://127.0.0.1:{ports[0]}/s/live?auth={key}", persistent=False)
            reading = treq.collect(response, found.extend)
            await until(lambda: found.count(b"event: status:update") == 1)
            await self.ask("PUT", ports[1], f"/agg?auth={key}", body(c=[partial("a", 5)]))
            await until(lambda: b'"pth":"a"' in found)
            await self.stop(daemons[1])
            await reading
            await self.stop(daemons[0])
            await until(lambda: not [each for each in reactor.getReaders() if isinstance(each, Connection)])

        return ensureDeferred(run())

    async def totals(self, port: int, user: str, wanted: list[tuple[str, int]]) -> None:
        for _ in range(200):
            _, status = await self.ask("GET", port, f"/s/status?auth={KEYS.key(user)}")
            found = [(each["pth"], each["sum"]) for each in status["c"]]
            if found == wanted:
                return
        self.assertEqual(found, wanted)

    def test_a_kill_reaches_a_process_at_another_node(self) -> Any:
        async def run() -> None:
            ports = [free_port(), free_port()]
            nodes = tuple(DattssNode(host="127.0.0.1", port=port) for port in ports)
            for port in ports:
                await self.start(port, str(port), nodes=nodes, node=f"127.0.0.1:{port}")
            key = KEYS.key("user1")
            data = json.dumps({"auth": key, "process": "web"}).encode()
            url = "http://127.0.0.1:{}/process?auth={}"
            held = [treq.put(url.format(port, key), data=data, persistent=False) for port in ports]
            homes = [daemon.dattss.node for daemon in self.daemons if daemon.dattss is not None]
            await until(lambda: sum(len(home.processes("user1")) for home in homes) == 1)
            (home,) = (each for each in homes if each.users)
            await until(lambda: len(home.users["user1"].processes._processes["web"].buttons) == 2)
            self.assertEqual(await self.ask("DELETE", ports[0], f"/s/process/web?auth={key}"), (200, {"ok": True}))
            for each in held:
                response = await each
                self.assertEqual(await response.content(), f"{key}-web".encode())

        return ensureDeferred(run())


class Asked:
    """Stands for the other nodes: `answer` is given, raised, or a Deferred."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes, bytes]] = []
        self.answer: Any = OSError("away")

    def __call__(self, method: bytes, url: bytes, headers: Any, data: bytes) -> Deferred[HttpAnswer]:
        del headers
        self.asked.append((method, url, data))
        if isinstance(self.answer, Deferred):
            return self.answer
        return fail(self.answer) if isinstance(self.answer, Exception) else succeed(self.answer)

    def stream(self, method: bytes, url: bytes, headers: Any, take: Any) -> Deferred[None]:
        del headers, take
        self.asked.append((method, url, b""))
        return succeed(None)

    def close(self) -> Deferred[Any]:
        return succeed(None)


class NeighbourTests(SynchronousTestCase):
    """What belongs elsewhere, when elsewhere is away."""

    def setUp(self) -> None:
        self.there = Asked()
        nodes = (DattssNode(host="h", port=1), DattssNode(host="h", port=2))
        config = DattssConfig(secret="secret", directory=os.path.abspath(self.mktemp()), node="h:1", nodes=nodes)
        self.graph = DattssGraph(Clock(), config, Telemetry(), self.there)
        self.addCleanup(self.graph._close)
        found = self.graph.neighbours
        assert found is not None
        self.neighbours: Neighbours = found
        self.other = next(user for user in "abcdefghij" if self.neighbours.home_of(user) == "h:2")

    def test_all_nodes_agree(self) -> None:
        mirror = replace(self.graph._settings, node="h:2")
        other = Neighbours(mirror, self.graph.node, self.there)
        for user in (f"user{n}" for n in range(200)):
            self.assertNotEqual(self.neighbours.belongs_here(user), other.belongs_here(user))

    def test_what_cannot_be_passed_on_waits_put_together(self) -> None:
        for value in (1, 2, 3):
            self.neighbours.pass_on(self.other, [partial_of("c", "a", [value])])
        self.assertEqual(self.graph.node.account.counters, {"nodes_unreachable": 3})
        self.there.answer = HttpAnswer(200, {}, b"{}")
        self.neighbours.retry()
        method, url, data = self.there.asked[-1]
        self.assertEqual((method, url), (b"PUT", f"http://h:2/agg?auth={KEYS.key(self.other)}".encode()))
        (one,) = read_put(data).partials["c"]
        self.assertEqual((one.sum, one.cnt, one.fst, one.lst), (6, 3, 1, 3))
        before = len(self.there.asked)
        self.neighbours.retry()
        self.assertEqual(len(self.there.asked), before)

    def test_one_request_at_a_time(self) -> None:
        self.there.answer = under_way = Deferred()
        self.neighbours.pass_on(self.other, [partial_of("c", "a", [1])])
        self.neighbours.pass_on(self.other, [partial_of("c", "a", [2])])
        self.assertEqual(len(self.there.asked), 1)
        self.there.answer = HttpAnswer(200, {}, b"{}")
        under_way.callback(HttpAnswer(500, {}, b""))
        self.neighbours.retry()
        (one,) = read_put(self.there.asked[-1][2]).partials["c"]
        self.assertEqual((one.sum, one.cnt), (3, 2))

    def test_a_user_who_may_not_put_costs_no_further_request(self) -> None:
        self.there.answer = HttpAnswer(500, {}, error_body(AuthError("Authentication Error")))
        self.neighbours.pass_on(self.other, [partial_of("c", "a", [1, 2])])
        self.neighbours.retry()
        self.assertEqual((len(self.there.asked), self.graph.node.account.counters), (1, {"values_lost": 2}))

    def test_bounds(self) -> None:
        small = Neighbours(self.graph._settings, self.graph.node, self.there, most_users=0)
        small.pass_on(self.other, [partial_of("c", "a", [1, 2])])
        self.assertEqual((self.there.asked, self.graph.node.account.counters), ([], {"values_lost": 2}))
