"""proxyConfig.js into a Config."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.model import Config, Listener
from cadtwist.config.relaymodel import DestinationConfig, GroupConfig, HealthConfig, QueueConfig
from cadtwist.config.statsdproxy import load_statsd_proxy
from tests.config.reading import bad_cases
from tests.config.test_toml import read_back

_DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "statsd-proxy")
_NODES = "nodes: [{host: 'h', port: 1, adminport: 2}, {host: '::1', port: 3, adminport: 4}]"


def load(text: str) -> tuple[Config, Problems]:
    problems = Problems()
    return load_statsd_proxy(f"{{{_NODES}, {text}}}", "p.js", problems), problems


def good(text: str) -> Config:
    config, problems = load(text)
    assert problems.reports == [], [str(report) for report in problems.reports]
    assert read_back(config) == (config, [])
    return config


class LoadTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        config = good("")
        self.assertEqual(
            config.listeners,
            (
                Listener(protocol="line", transport="udp", port=8125),
                Listener(protocol="proxyadmin", port=8126),
            ),
        )
        queue = QueueConfig(resend_window_s=0.0, resend_window_bytes=0)
        self.assertEqual(
            config.destinations,
            (
                DestinationConfig(
                    name="h:1", transport="udp", host="h", port=1, datagram_bytes=0, check="statsd://h:2", queue=queue
                ),
                DestinationConfig(
                    name="::1:3",
                    transport="udp",
                    host="::1",
                    port=3,
                    datagram_bytes=0,
                    check="statsd://[::1]:4",
                    queue=queue,
                ),
            ),
        )
        (group,) = config.relays[0].groups
        expected = GroupConfig(name="nodes", method="hashring", members=("h:1", "::1:3"), down_policy="remove_node")
        self.assertEqual(group, expected)
        self.assertEqual((config.relays[0].lines.format, config.relays[0].lines.validate), ("statsd", False))
        self.assertEqual(config.health, HealthConfig(interval_s=10.0, timeout_s=10.0, failures=0, retry_checks=1))
        self.assertEqual(config.processes.workers, 1)

    def test_every_key(self) -> None:
        config = good(
            "server: './servers/tcp', host: '127.0.0.1', port: 9, mgmt_address: '127.0.0.2', mgmt_port: 10, "
            "checkInterval: 2500, forkCount: 3"
        )
        self.assertEqual([door.address for door in config.listeners], ["tcp:127.0.0.1:9", "tcp:127.0.0.2:10"])
        self.assertEqual((config.health.interval_s, config.processes.workers), (2.5, 3))
        self.assertEqual(good("address_ipv6: true").listeners[0].interface, "::")
        self.assertEqual(len(good("mgmt_port: 0").listeners), 1)
        self.assertEqual(good("forkCount: 0").processes.workers, 1)
        self.assertGreaterEqual(good("forkCount: 'auto'").processes.workers, 1)
        self.assertEqual(good("server: 'tcp'").listeners[0].transport, "tcp")

    def test_the_cache_has_no_effect(self) -> None:
        config, problems = load("cacheSize: 5")
        self.assertEqual((config, len(problems.texts("notice"))), (good(""), 1))

    def test_bad_files_tell_their_faults(self) -> None:
        cases = list(bad_cases(_DATA))
        self.assertTrue(cases)
        for name, text, expected in cases:
            problems = Problems()
            load_statsd_proxy(text, name, problems)
            self.assertEqual([f"{report.weight}: {report}" for report in problems.reports], expected, name)
