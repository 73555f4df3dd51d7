"""The parts of a cluster, made of a configuration."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.clustermodel import ClusterConfig
from cadtwist.config.model import Listener
from cadtwist.net.clusterhttp import Reply
from cadtwist.services.clusterparts import Tally, cluster_of, others_only


class OthersTests(SynchronousTestCase):
    def others(self, *servers, interface="0.0.0.0", exclude=True):
        cluster = ClusterConfig(servers=servers, exclude_local=exclude)
        doors = [Listener(protocol="http", port=80, interface=interface), Listener(protocol="line", port=81)]
        return others_only(cluster, doors, ("me", "me.example")).servers

    def test_what_is_ourselves_is_left_out(self):
        own = ("localhost:80", "me", "http://me.example/", "127.0.0.1:80", "[::1]:80")
        others = ("me:81", "you:80", "127.0.0.1:8080", "https://me")
        self.assertEqual(self.others(*own, *others), others)
        self.assertEqual(self.others(*own, exclude=False), own)
        self.assertEqual(self.others("10.0.0.1:80", "me:80", interface="10.0.0.1"), ("me:80",))


class PartsTests(SynchronousTestCase):
    def test_no_servers_no_cluster(self):
        self.assertIsNone(cluster_of(Clock(), ClusterConfig(), lambda: 0.0, print))

    def test_servers_are_asked_counted_and_left_alone(self):
        clock, asked, counts = Clock(), [], []

        def ask(question, timeout_s):
            asked.append((question.url, timeout_s))
            answer = Deferred()
            answer.callback(Reply(500, "", b""))
            return answer

        config = ClusterConfig(servers=("a:80", "b:80", "a:80"), find_timeout_s=2.0, retry_delay_s=4.0)
        service = cluster_of(clock, config, clock.seconds, counts.append, ask)
        self.assertEqual([server.name for server in service.cluster.servers], ["a:80", "b:80"])
        service.startService()
        url = "http://{}:80/_internal/capabilities/?format=json"
        self.assertEqual(asked, [(url.format("a"), 2.0), (url.format("b"), 2.0)])
        self.assertEqual(counts, ["a:80 failures", "b:80 failures"])
        for _ in range(200):
            clock.advance(0.1)
        self.assertTrue(8 <= len(asked) <= 20, len(asked))
        self.assertIsNone(service.stopService())
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_ways(self):
        config = ClusterConfig(servers=("a",), merge=False, fail_on_error=True, forward_headers=("X",), https=True)
        cluster = cluster_of(Clock(), config, lambda: 0.0, print, lambda question, timeout_s: Deferred()).cluster
        self.assertEqual((cluster.options.merge, cluster.options.fail_on_error), (False, True))
        self.assertEqual(cluster.options.forward_headers, ("X",))
        self.assertEqual(cluster.servers[0].server.url, "https://a")


class TallyTests(SynchronousTestCase):
    def test_counts_are_told_together(self):
        clock, told = Clock(), []
        tally = Tally(clock, told.append)
        for what in ("a", "b", "a"):
            tally.count(what)
        self.assertEqual(told, [])
        clock.advance(1)
        self.assertEqual((told, clock.getDelayedCalls()), ([{"a": 2, "b": 1}], []))
        tally.count("c")
        clock.advance(1)
        self.assertEqual(told[1:], [{"c": 1}])
