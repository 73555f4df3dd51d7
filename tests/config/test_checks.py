"""Faults between values."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.aggregatormodel import AggregatorConfig
from cadtwist.config.checks import faults
from cadtwist.config.clustermodel import ClusterConfig
from cadtwist.config.model import Config, Listener, StagesConfig, StorageConfig, TagsConfig, TlsConfig, WalConfig
from cadtwist.config.relaymodel import ProcessesConfig
from cadtwist.model.retention import AggregationRule


class FaultsTests(SynchronousTestCase):
    def _texts(self, *listeners: Listener) -> list[str]:
        return [text for _, text in faults(Config(listeners=listeners))]

    def test_listeners_need_their_address(self) -> None:
        for transport, needed in (("tcp", "port"), ("udp", "port"), ("unix", "path"), ("endpoint", "endpoint")):
            listener = Listener(protocol="line", transport=transport)  # type: ignore[arg-type]
            self.assertEqual(self._texts(listener), [f"a listener of transport {transport} needs {needed}"])

    def test_udp_speaks_lines_without_tls(self) -> None:
        self.assertEqual(
            self._texts(Listener(protocol="http", transport="udp", port=1)), ["http is not spoken over udp"]
        )
        tls = TlsConfig(certificate="x")
        self.assertEqual(len(self._texts(Listener(protocol="line", transport="udp", port=1, tls=tls))), 1)

    def test_tcp_and_udp_share_a_number_and_tcp_twice_does_not(self) -> None:
        tcp, udp = Listener(protocol="line", port=1), Listener(protocol="line", transport="udp", port=1)
        self.assertEqual(self._texts(tcp, udp), [])
        self.assertEqual(len(self._texts(tcp, udp, Listener(protocol="line", port=1))), 1)

    def test_patterns_and_urls(self) -> None:
        stages = StagesConfig(blacklist=("a", "("), whitelist=(")",))
        found = list(faults(Config(stages=stages, tags=TagsConfig(url="example.net"))))
        self.assertEqual(
            [place for place, _ in found], [("stages", "blacklist"), ("stages", "whitelist"), ("tags", "url")]
        )
        self.assertEqual(list(faults(Config(tags=TagsConfig(enabled=False, url="")))), [])

    def test_servers_of_a_cluster(self) -> None:
        good = ("h:80", "http://h/prefix/?format=pickle&local=0&noTags=1", "[::1]:8080?format=carbonapi_v3_pb", "h")
        self.assertEqual(list(faults(Config(cluster=ClusterConfig(servers=good, forward_headers=("X-Token",))))), [])
        bad = ("", ":80", "h:x", "http://u:p@", "h?format=json", "h?color=red", "h#x", "h:99999")
        found = list(faults(Config(cluster=ClusterConfig(servers=bad, forward_headers=("a b", "X:y")))))
        places = [("cluster", "servers")] * 8 + [("cluster", "forward_headers")] * 2
        self.assertEqual([place for place, _ in found], places)

    def test_ceres_knows_fewer_methods(self) -> None:
        rules = tuple(AggregationRule(str(method), re.compile(""), None, method) for method in ("max", None, "absmax"))
        (fault,) = faults(Config(storage=StorageConfig(kind="ceres"), aggregation=rules))
        known = "average, sum, last, max, min"
        self.assertEqual(fault, (("aggregation", 2), f"[absmax]: ceres has no method 'absmax'; known are {known}"))
        self.assertEqual(list(faults(Config(aggregation=rules))), [])

    def test_one_process_has_all_values_of_an_interval(self) -> None:
        config = Config(aggregator=AggregatorConfig(), processes=ProcessesConfig(workers=2))
        self.assertEqual([place for place, _ in faults(config)], [("processes", "workers")])
        self.assertEqual(list(faults(Config(processes=ProcessesConfig(workers=2)))), [])

    def test_the_log_holds_two_segments(self) -> None:
        small = WalConfig(segment_bytes=1 << 20, max_bytes=1 << 20)
        self.assertEqual([place for place, _ in faults(Config(wal=small))], [("wal", "max_bytes")])
        off = WalConfig(enabled=False, segment_bytes=1 << 20, max_bytes=1 << 20)
        self.assertEqual(list(faults(Config(wal=off))), [])
