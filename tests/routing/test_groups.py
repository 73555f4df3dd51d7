"""Tests of `cadtwist.routing.groups`."""

from __future__ import annotations

from typing import Any

from twisted.trial import unittest

from cadtwist.routing.groups import group_router, placement
from cadtwist.routing.ring import CadentRing, CarbonRing, FastList, JumpList, KetamaRing, Member, RelayRing, Ring
from cadtwist.routing.routes import targets

MEMBERS = [Member(key, f"h{number % 2}", 2000 + number % 2, key) for number, key in enumerate("abcd")]
NAMES = [f"some.metric.{number};tag={number}" for number in range(60)]


def went(router: Any, name: str, live: str | None = None) -> str:
    return "".join(targets(router.route(name), live))


class PlacementTests(unittest.SynchronousTestCase):
    def test_methods_and_their_hashes(self) -> None:
        for method, hash_type, wanted in (
            ("carbon", "", CarbonRing(MEMBERS)),
            ("carbon", "fnv1a_ch", CarbonRing(MEMBERS, "fnv1a_ch")),
            ("c_relay", "", RelayRing(MEMBERS)),
            ("c_relay", "fnv1a_ch", RelayRing(MEMBERS, "fnv1a_ch")),
            ("cadent", "", CadentRing(MEMBERS)),
            ("cadent", "md5", CadentRing(MEMBERS, "md5")),
            ("hashring", "", KetamaRing(MEMBERS)),
        ):
            found = placement(method, MEMBERS, hash_type)
            assert isinstance(found, Ring)
            self.assertEqual((type(found), found.entries), (type(wanted), wanted.entries), method)
        for method, hash_type, listed in (
            ("carbon_fast", "", FastList(MEMBERS)),
            ("carbon_fast", "carbon_ch", FastList(MEMBERS, "carbon_ch")),
            ("c_relay", "jump_fnv1a_ch", JumpList(MEMBERS)),
        ):
            found = placement(method, MEMBERS, hash_type)
            self.assertEqual(
                [found.lookup(name.encode(), 4) for name in NAMES], [listed.lookup(n.encode(), 4) for n in NAMES]
            )

    def test_vnodes_and_elter(self) -> None:
        found = placement("cadent", MEMBERS, "crc32", "graphite", 20)
        assert isinstance(found, CadentRing)
        self.assertEqual(found.entries, CadentRing(MEMBERS, "crc32", "graphite", 20).entries)

    def test_faults(self) -> None:
        self.assertRaises(ValueError, placement, "rules", MEMBERS)
        self.assertRaises(ValueError, placement, "carbon", MEMBERS, "md5")
        self.assertRaises(ValueError, placement, "carbon", [*MEMBERS, MEMBERS[0]._replace(key="z")])


class GroupTests(unittest.SynchronousTestCase):
    def test_fixed_methods(self) -> None:
        self.assertEqual(went(group_router("constant", MEMBERS), "x", "b"), "abcd")
        self.assertEqual(went(group_router("failover", MEMBERS), "x", "cb"), "b")
        self.assertEqual(targets(group_router("balance", MEMBERS).route("x"), None, {"a": 1}), ("b",))

    def test_hashing(self) -> None:
        ring = CarbonRing(MEMBERS)
        plain = group_router("carbon", MEMBERS, copies=2)
        standing = group_router("carbon", MEMBERS, stand_in=True)
        diverse = group_router("carbon", MEMBERS, copies=2, diverse=True)
        for name in NAMES:
            every = ring.lookup(name.encode(), 4)
            self.assertEqual(went(plain, name, ""), "".join(every[:2]))
            self.assertEqual(went(standing, name, every[2]), every[2])
            self.assertEqual({MEMBERS["abcd".index(key)].host for key in went(diverse, name)}, {"h0", "h1"})

    def test_carbon_c_relay_leaves_tags_out(self) -> None:
        for method, hash_type in (("c_relay", ""), ("c_relay", "jump_fnv1a_ch"), ("any_of", "")):
            router = group_router(method, MEMBERS, hash_type=hash_type)
            self.assertEqual(went(router, "a.b;t=1"), went(router, "a.b"))

    def test_shards_repeat(self) -> None:
        router = group_router("shards", [MEMBERS[0], MEMBERS[0], MEMBERS[1], MEMBERS[1]])
        self.assertEqual([went(router, name) for name in ("foo", "apple", "banana", "orange")], ["a", "b", "b", "a"])

    def test_aggregates(self) -> None:
        router = group_router(
            "carbon", MEMBERS, aggregates=lambda name: ["some.total"] if name.startswith("some") else []
        )
        total = CarbonRing(MEMBERS).lookup(b"some.total")
        self.assertEqual({targets(router.route(name)) for name in NAMES}, {total})
        self.assertEqual(targets(router.route("other")), CarbonRing(MEMBERS).lookup(b"other"))

    def test_pools(self) -> None:
        router, ring = group_router("carbon", MEMBERS, pools=True), CarbonRing(MEMBERS)
        for name in NAMES:
            chosen = ring.lookup(name.encode())[0]
            pool = "ac" if chosen in "ac" else "bd"
            self.assertEqual(targets(router.route(name), None, {pool[0]: 1}), (pool[1],))
        alone = group_router("carbon", MEMBERS[:2], pools=True)
        self.assertEqual(alone.route("x"), group_router("carbon", MEMBERS[:2]).route("x"))

    def test_rules(self) -> None:
        rules = [("^a", ["b", "gone"], False), (None, ["d"], False), ("B$", ["c"], True)]
        router = group_router("rules", MEMBERS, rules=rules)
        self.assertEqual([went(router, name) for name in ("ab", "xb", "x")], ["b", "cd", "d"])
        for wrong in ([("a", ["b"], False)], [(None, ["a"], False)] * 2, [("(", ["a"], False), (None, ["a"], False)]):
            self.assertRaises(ValueError, group_router, "rules", MEMBERS, rules=wrong)
