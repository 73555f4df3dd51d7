"""Health checks of a running relay: who is checked, what a dead destination means, and the proxy's fail-over."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import DatagramProtocol, Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.codec.proxyadmin import proxy_reply
from cadtwist.config.errors import Problems
from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import DestinationConfig, HealthConfig, RelayConfig
from cadtwist.config.statsdproxy import load_statsd_proxy
from cadtwist.protocols.statsdadmin import StatsdAdminFactory
from cadtwist.services.health import RelayHealth, check_url
from cadtwist.services.proxyadmin import ProxyFacts
from cadtwist.telemetry import Account, Telemetry
from tests.services.daemons import DaemonCase, reactor, until
from tests.services.test_relay import LINES, RelayCase

RECORDED = json.loads((Path(__file__).parents[1] / "data/statsd/proxy_repeater_robustness.json").read_text())
QUICK = HealthConfig(interval_s=0.05, timeout_s=5.0, failures=1, retry_checks=3)


def tcp(name: str, **values: Any) -> DestinationConfig:
    return DestinationConfig(name=name, host="127.0.0.1", port=1, **values)


class WhoIsCheckedTests(SynchronousTestCase):
    def made(self, config: Config) -> RelayHealth:
        self.changes: list[tuple[str, bool]] = []
        return RelayHealth(Clock(), config, Telemetry(), lambda name, alive: self.changes.append((name, alive)))

    def test_urls(self) -> None:
        self.assertEqual(check_url(tcp("a")), "tcp://127.0.0.1:1")
        self.assertEqual(check_url(tcp("a", check="http://h/alive")), "http://h/alive")
        for path, url in (("/run/x", "unix:///run/x"), ("run/x", "unix:run/x"), ("/a%b#c", "unix:///a%25b%23c")):
            self.assertEqual(check_url(DestinationConfig(name="u", transport="unix", path=path)), url)
        self.assertEqual(check_url(DestinationConfig(name="h", transport="http", path="http://h/")), "http://h/")
        self.assertEqual(check_url(tcp("a", transport="udp")), "")
        self.assertEqual(check_url(tcp("a", transport="udp", check="tcp://h:2")), "tcp://h:2")

    def test_nobody_unless_asked_for(self) -> None:
        self.assertEqual(self.made(Config(destinations=(tcp("a"),))).checks, {})

    def test_their_own_rhythm_or_that_of_all(self) -> None:
        never = HealthConfig()
        destinations = (tcp("a"), tcp("b", health=QUICK), tcp("c", health=never), tcp("u", transport="udp"))
        health = self.made(Config(health=HealthConfig(interval_s=30.0), destinations=destinations))
        self.assertEqual(set(health.checks), {"a", "b"})

    def test_a_reload(self) -> None:
        slow = HealthConfig(interval_s=30.0)
        config = Config(health=slow, destinations=(tcp("a"), tcp("b")))
        health = self.made(config)
        health.startService()
        health.change(replace(config, destinations=(tcp("b"), tcp("c", check="tcp://h:9"))))
        self.assertEqual(health.checks, {"b": "tcp://127.0.0.1:1", "c": "tcp://h:9"})
        health.change(replace(config, health=HealthConfig(interval_s=60.0)))
        self.assertEqual(set(health.checks), {"a", "b"})
        health.change(replace(config, health=HealthConfig()))
        self.assertEqual(health.checks, {})
        health.stopService()
        self.assertEqual(self.changes, [])


class DeadDestinationTests(RelayCase):
    def config_of(self, policy: str, health: HealthConfig = QUICK) -> Config:
        group = self.group(method="cadent", down_policy=policy)
        return self.relay(RelayConfig(groups=(group,)), health=health)

    def test_leaves_the_ring_and_comes_back(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.config_of("remove_node"))
            assert daemon.relayed is not None
            relayed = daemon.relayed
            await self.sinks["d1"].close()
            await until(lambda: "d1" in relayed.down)
            self.assertEqual(relayed.ring, ["d0", "d2"])
            await self.send(LINES)
            await until(lambda: self.total() == 300)
            self.assertEqual(self.sinks["d1"].lines, [])
            self.sinks["d1"].open()
            await until(lambda: not relayed.down)
            self.assertEqual(relayed.ring, ["d0", "d2", "d1"])
            await self.send(LINES)
            await until(lambda: self.total() == 600)
            wanted = self.placed(daemon.config, daemon.config.relays[0].groups[0])
            self.assertEqual(self.sinks["d1"].lines, wanted["d1"])
            counters = daemon.telemetry.account("relay").counters
            self.assertEqual(counters, {"removed_servers": 1, "added_servers": 1})
            self.balanced(daemon)

        return ensureDeferred(run())

    def test_stays_where_it_is_by_default(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.config_of("keep"))
            assert daemon.relayed is not None
            relayed = daemon.relayed
            await self.sinks["d1"].close()
            await until(lambda: "d1" in relayed.down)
            await self.send(LINES)
            wanted = self.placed(daemon.config, daemon.config.relays[0].groups[0])
            await until(lambda: relayed.destinations["d1"].queued_points == len(wanted["d1"]))
            self.sinks["d1"].open()
            await until(lambda: self.total() == 300)
            self.assertEqual(self.sinks["d1"].lines, wanted["d1"])

        return ensureDeferred(run())

    def test_is_alive_when_nobody_checks_any_more(self) -> Any:
        async def run() -> None:
            config = self.config_of("remove_node")
            daemon = await self.start(config)
            assert daemon.relayed is not None
            relayed = daemon.relayed
            await self.sinks["d1"].close()
            await until(lambda: "d1" in relayed.down)
            daemon.change(replace(config, health=HealthConfig()))
            self.assertEqual((relayed.down, relayed.health.checks), (frozenset(), {}))

        return ensureDeferred(run())


class Node:
    """A statsd: datagrams in, and the management port that tells its health."""

    def __init__(self) -> None:
        self.healthy = True
        self.lines: list[bytes] = []
        protocol = DatagramProtocol()
        protocol.datagramReceived = lambda datagram, addr: self.lines.append(datagram)  # type: ignore[method-assign]
        self.port = reactor.listenUDP(0, protocol, interface="127.0.0.1")
        self.admin = reactor.listenTCP(0, StatsdAdminFactory(self, Account("n"), reply=proxy_reply), 5, "127.0.0.1")

    def nodes(self) -> Iterable[str]:
        return ()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port.getHost().port}"

    def text(self) -> str:
        return f"{{host: '127.0.0.1', port: {self.port.getHost().port}, adminport: {self.admin.getHost().port}}}"


class ProxyTests(DaemonCase):
    """The recorded fail-over of statsd's cluster proxy."""

    def setUp(self) -> None:
        super().setUp()
        self.nodes = [Node(), Node()]
        self.management = os.path.join(self.folder, "admin.sock")

    def tearDown(self) -> Any:
        async def end() -> None:
            await self.stop_all()
            for node in self.nodes:
                await node.port.stopListening()
                await node.admin.stopListening()

        return ensureDeferred(end())

    def proxy(self) -> Config:
        problems = Problems()
        text = f"{{nodes: [{self.nodes[0].text()}, {self.nodes[1].text()}], checkInterval: 1000}}"
        config = load_statsd_proxy(text, "p.js", problems)
        self.assertEqual(problems.texts("error"), [])
        doors = (
            Listener(protocol="line", transport="unix", path=self.door),
            Listener(protocol="proxyadmin", transport="unix", path=self.management),
        )
        return replace(config, listeners=doors, health=replace(config.health, interval_s=0.05))

    def normal(self, told: str) -> str:
        """Write a reply as the recordings do."""
        for number, node in enumerate(self.nodes):
            told = told.replace(node.address, f"127.0.0.1:NODE{number}")
        return told.replace("uptime: 0", "uptime: N")

    def test_a_node_goes_and_comes_back(self) -> Any:
        async def run() -> None:
            daemon = await self.start(self.proxy())
            assert daemon.relayed is not None
            relayed = daemon.relayed
            facts = ProxyFacts(reactor, lambda: daemon.config, lambda: relayed.ring)

            def said(command: str) -> str:
                return self.normal((proxy_reply(command.encode(), facts) or b"").decode())

            self.assertEqual(said("status\n"), RECORDED["proxy_mgmt"]["status\n"])
            self.nodes[0].healthy = False
            await until(lambda: relayed.down)
            self.assertEqual(said("status\n"), RECORDED["status_node0_down"])
            await self.send(b"".join(b"k%d:1|c\n" % n for n in range(10)))
            await until(lambda: len(self.nodes[1].lines) == 10)
            self.assertEqual([len(node.lines) for node in self.nodes], RECORDED["node0_down_received"])
            self.nodes[0].healthy = True
            await until(lambda: not relayed.down)
            self.assertEqual(said("status\n"), RECORDED["status_back"])
            await self.send(b"k2:1|c\nk2:2|ms\n")
            await until(lambda: sum(len(node.lines) for node in self.nodes) == 12)
            shown = "".join(f"{line}\n" for line in facts.shown())
            self.assertIn("nodes > 0: [object Object]\nnodes > 1: [object Object]\n", shown)
            self.assertIn("checkInterval: 50\nforkCount: 0\n", shown)

        return ensureDeferred(run())

    def test_over_its_management_port(self) -> Any:
        async def run() -> None:
            await self.start(self.proxy())
            told: list[bytes] = []
            client = Protocol()
            client.dataReceived = told.append  # type: ignore[method-assign]
            await connectProtocol(UNIXClientEndpoint(reactor, self.management), client)
            wire: Any = client.transport
            for command, reply in RECORDED["proxy_mgmt"].items():
                told.clear()
                wire.write(command.encode())
                await until(lambda: told)
                self.assertEqual(self.normal(b"".join(told).decode()), reply)
            wire.write(b"quit\n")
            await until(lambda: wire.disconnected)

        return ensureDeferred(run())
