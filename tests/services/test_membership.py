"""Servers that join and leave: what the configuration is like afterwards."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.checks import faults
from cadtwist.config.model import Config
from cadtwist.config.relaymodel import (
    DestinationConfig,
    GroupConfig,
    HealthConfig,
    HealthMetricsConfig,
    QueueConfig,
    RelayConfig,
    RouteRule,
)
from cadtwist.errors import ConfigError
from cadtwist.services.membership import with_server, without_server
from cadtwist.services.routers import router_of

URLS = [f"tcp://10.0.0.{n}:200{n}" for n in range(4)]


def made(method: Any = "cadent", urls: list[str] | None = None, keys: tuple[str, ...] = (), **values: Any) -> Config:
    """Return a Config of one section `s` with one replica set."""
    urls = URLS[:2] if urls is None else urls
    destinations = tuple(
        DestinationConfig(
            name=f"s/{url}",
            host=url[6:].partition(":")[0],
            port=int(url.rpartition(":")[2]),
            connections=3,
            queue=QueueConfig(max_bytes=1000),
            health=HealthConfig(interval_s=7.0),
        )
        for url in urls
    )
    group = GroupConfig(method=method, members=tuple(each.name for each in destinations), hash_keys=keys, **values)
    return Config(relays=(RelayConfig(name="s", groups=(group,)),), destinations=destinations)


def join(config: Config, server: str, check: str = "", hashkey: str = "", replica: int = 0) -> Config:
    return with_server(config, "s", replica, server, check or server, hashkey or server)


def leave(config: Config, server: str, replica: int = 0) -> Config:
    return without_server(config, "s", replica, server)


class JoinTests(SynchronousTestCase):
    def test_is_like_the_first_member_but_for_its_place(self) -> None:
        new = join(made(), URLS[2])
        first, _, last = new.destinations
        self.assertEqual(last, replace(first, name=f"s/{URLS[2]}", host="10.0.0.2", port=2002))
        self.assertEqual(new.relays[0].groups[0].members, tuple(f"s/{url}" for url in URLS[:3]))
        self.assertEqual(list(faults(new)), [])

    def test_keys_on_the_ring(self) -> None:
        self.assertEqual(join(made(keys=("a", "b")), URLS[2]).relays[0].groups[0].hash_keys, ("a", "b", URLS[2]))
        self.assertEqual(join(made(), URLS[2], hashkey="c").relays[0].groups[0].hash_keys, (*URLS[:2], "c"))
        self.assertEqual(join(made("carbon"), URLS[2], hashkey="c").relays[0].groups[0].hash_keys, ())

    def test_present_ones_stay(self) -> None:
        config = made()
        self.assertIs(join(config, URLS[1]), config)
        self.assertIs(join(config, f"{URLS[1]}/"), config)

    def test_checks(self) -> None:
        self.assertEqual(join(made(), URLS[2]).destinations[-1].check, "")
        self.assertEqual(join(made(), "udp://h:1", "tcp://h:2").destinations[-1].check, "tcp://h:2")
        self.assertEqual(join(made(), "http://h/lines").destinations[-1].check, "http://h/lines")

    def test_every_transport(self) -> None:
        for url, transport in (("udp://h:1", "udp"), ("unix:///run/x", "unix"), ("https://h/x", "http")):
            added = join(made(), url, "tcp://h:9").destinations[-1]
            self.assertEqual((added.transport, added.address), (transport, url))

    def test_another_replica_set_takes_the_same_server(self) -> None:
        config = made()
        group = GroupConfig(method="cadent", members=(f"s/{URLS[0]}",))
        config = replace(config, relays=(replace(config.relays[0], groups=(*config.relays[0].groups, group)),))
        new = join(config, URLS[1], replica=1)
        self.assertEqual(new.destinations, config.destinations)
        self.assertEqual(new.relays[0].groups[1].members, tuple(f"s/{url}" for url in URLS[:2]))

    def refused(self, config: Config, server: str, **given: Any) -> str:
        return str(self.assertRaises(ConfigError, join, config, server, **given))

    def test_refusals(self) -> None:
        self.assertIn("hashkey", self.refused(made(keys=("a", "b")), URLS[2], hashkey="b"))
        self.assertIn("already configured", self.refused(made("carbon"), "tcp://10.0.0.1:7"))
        self.assertIn("shards", self.refused(made("shards"), URLS[2]))
        rules = made("rules", rules=(RouteRule(name="d", destinations=(f"s/{URLS[0]}",)),))
        self.assertIn("rules", self.refused(rules, URLS[2]))
        self.assertIn("not the URL", self.refused(made(), "ftp://h:1"))
        self.assertRaises(ConfigError, with_server, made(), "other", 0, URLS[2], URLS[2], URLS[2])

    def test_what_the_new_place_cannot_do(self) -> None:
        config = made()
        pickles = tuple(replace(each, protocol="pickle") for each in config.destinations)
        text = self.refused(replace(config, destinations=pickles), "udp://h:1", check="tcp://h:1")
        self.assertIn("pickle is not spoken over udp", text)


class LeaveTests(SynchronousTestCase):
    def test_with_its_key(self) -> None:
        new = leave(made(keys=("a", "b")), URLS[0])
        self.assertEqual(
            (new.relays[0].groups[0].members, new.relays[0].groups[0].hash_keys), ((f"s/{URLS[1]}",), ("b",))
        )
        self.assertEqual([each.name for each in new.destinations], [f"s/{URLS[1]}"])

    def test_who_is_not_there(self) -> None:
        config = made()
        self.assertIs(leave(config, URLS[3]), config)
        self.assertIs(leave(config, "no url"), config)

    def test_the_last_one(self) -> None:
        empty = leave(leave(made(), URLS[0]), URLS[1])
        self.assertEqual((empty.relays[0].groups[0].members, empty.destinations), ((), ()))
        self.assertEqual(router_of(empty.relays[0].groups[0], {}).route("a"), ())
        again = join(empty, URLS[2])
        self.assertEqual(again.relays[0].groups[0].members, (f"s/{URLS[2]}",))

    def test_a_destination_that_others_send_to_stays(self) -> None:
        config = replace(made(), health_metrics=HealthMetricsConfig(group=GroupConfig(members=(f"s/{URLS[0]}",))))
        self.assertEqual(len(leave(config, URLS[0]).destinations), 2)

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=12))
    def test_members_are_those_that_came_and_did_not_leave(self, steps: list[tuple[bool, int]]) -> None:
        config, wanted = made(), [0, 1]
        for joins, number in steps:
            config = (join if joins else leave)(config, URLS[number])
            wanted = [n for n in wanted if joins or n != number]
            wanted += [number] if joins and number not in wanted else []
        group = config.relays[0].groups[0]
        self.assertEqual(group.members, tuple(f"s/{URLS[n]}" for n in wanted))
        self.assertEqual({each.name for each in config.destinations}, set(group.members))
        router_of(group, {each.name: each for each in config.destinations})
