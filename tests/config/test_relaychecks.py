"""Faults between the values of relays; `data/native/relays.bad.toml` has one of each kind."""

from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.model import CacheConfig, Config, Listener
from cadtwist.config.relaychecks import host_and_port, relay_faults, url_fault
from cadtwist.config.relaymodel import (
    DestinationConfig,
    FilterRule,
    GroupConfig,
    HealthMetricsConfig,
    RelayConfig,
)


def _redirect(name: str, to: str) -> RelayConfig:
    return RelayConfig(name=name, filters=(FilterRule(kind="noop", action="redirect", relay=to),))


class RelayFaultsTests(SynchronousTestCase):
    def _texts(self, *relays: RelayConfig) -> list[str]:
        return [text for _, text in relay_faults(Config(relays=relays))]

    def test_redirects_may_meet_but_not_return(self) -> None:
        end = RelayConfig(name="end")
        self.assertEqual(self._texts(_redirect("a", "end"), _redirect("b", "end"), end), [])
        self.assertEqual(len(self._texts(_redirect("a", "b"), _redirect("b", "c"), _redirect("c", "a"))), 3)
        self.assertEqual(len(self._texts(_redirect("a", "a"))), 1)
        self.assertEqual(len(self._texts(RelayConfig(name="a", default_relay="b"), _redirect("b", "a"))), 2)

    def test_a_listener_may_feed_cache_and_relays(self) -> None:
        door = Listener(protocol="line", port=1, to=("cache", "relay"))
        both = Config(listeners=(door,), cache=CacheConfig(), relays=(RelayConfig(),))
        self.assertEqual(list(relay_faults(both)), [])
        found = list(relay_faults(Config(listeners=(door,))))
        self.assertEqual([place for place, _ in found], [("listeners", 0, "to")] * 2)

    def test_members_that_a_ring_cannot_tell_apart(self) -> None:
        one = DestinationConfig(name="a", host="h", port=1)
        for method, other, faults in (
            ("carbon", {"port": 2}, 1),
            ("carbon_fast", {"port": 2}, 1),
            ("carbon", {"port": 2, "instance": "b"}, 0),
            ("c_relay", {"port": 2}, 0),
            ("cadent", {"port": 2}, 0),
            ("cadent", {"port": 1}, 1),
        ):
            two = DestinationConfig(name="b", **{"host": "h", **other})  # type: ignore[arg-type]
            group = GroupConfig(method=method, members=("a", "b"))  # type: ignore[arg-type]
            for keys in ((), ("x", "y")):
                made = replace(group, hash_keys=keys)
                found = list(relay_faults(Config(destinations=(one, two), relays=(RelayConfig(groups=(made,)),))))
                self.assertEqual(len(found), faults if method != "cadent" or not keys else 0, (method, keys))
                self.assertEqual([place for place, _ in found], [("relays", 0, "groups", 0, "members")] * len(found))
                health = HealthMetricsConfig(group=made)
                found = list(relay_faults(Config(destinations=(one, two), health_metrics=health)))
                self.assertEqual(len(found), faults if method != "cadent" or not keys else 0, (method, keys))

    def test_what_is_put_around_names_breaks_no_line(self) -> None:
        for prefix, suffix, faults in ((" a:", "b", 0), ("a\n", "", 1), ("\r", "x\n", 2)):
            group = GroupConfig(method="shards", prefix=prefix, suffix=suffix)
            self.assertEqual(len(self._texts(RelayConfig(groups=(group,)))), faults)

    def test_only_a_map_of_shards_repeats_members(self) -> None:
        destination = DestinationConfig(name="a", host="h", port=1)
        for method, faults in (("shards", 0), ("failover", 1)):
            group = GroupConfig(method=method, members=("a", "a"))  # type: ignore[arg-type]
            config = Config(destinations=(destination,), relays=(RelayConfig(groups=(group,)),))
            self.assertEqual(len(list(relay_faults(config))), faults)


class AddressTests(SynchronousTestCase):
    def test_host_and_port(self) -> None:
        self.assertEqual(host_and_port("h:1"), ("h", 1))
        self.assertEqual(host_and_port("[::1]:65535"), ("::1", 65535))
        for text in ("a b:1", " h:1", "h\0:1", "h\n:1", "u@h:1", "h/x:1"):
            self.assertIsNone(host_and_port(text), text)
        for text in ("", "h", "h:", ":1", "h:0", "h:65536", "::1:1", "h:x", "h:123456", "[]:1"):
            self.assertIsNone(host_and_port(text), text)

    def test_urls(self) -> None:
        for good in ("http://h", "https://h:1/x", "tcp://[::1]:1", "unix:///x", "statsd://h:8126"):
            self.assertIsNone(url_fault(good, ("http", "https", "tcp", "unix", "statsd")), good)
        for bad in ("", "h", "http://", "tcp://h", "tcp://h:0", "tcp://h:x", "unix://", "udp://h:1", "http://[::1"):
            self.assertIsNotNone(url_fault(bad, ("http", "https", "tcp", "unix", "statsd")), bad)
