"""Tests of `cadtwist.routing.routers`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.model.aggregationrules import outputs, parse_rule
from cadtwist.model.prereg import PreReg, PreRegFilter
from cadtwist.routing.hashes import relay_fnv1a_32
from cadtwist.routing.ring import CadentRing, CarbonRing, FastList, JumpList, KetamaRing, Member, Placement
from cadtwist.routing.routers import (
    AggregatedRouter,
    AnyOfRouter,
    BalanceRouter,
    ConstantRouter,
    FailoverRouter,
    HashRouter,
    PoolRouter,
    Router,
    Rule,
    RuleRouter,
    SectionRouter,
    ShardRouter,
    UnionRouter,
    carbon_rules,
)
from cadtwist.routing.routes import RouteTable, targets
from cadtwist.routing.shardmap import ShardMap
from tests.routing.recordings import DATA, carbon_members, indexes, parsed_destinations, recording

FEW = settings(max_examples=25, deadline=None, database=None, print_blob=True)
NAMES = [f"servers.web{number:03d}.cpu;host=h{number % 7}" for number in range(300)]


def went(router: Router, name: str | bytes, live: str | None = None) -> str:
    return "".join(targets(router.route(name), live))


class FixedTests(unittest.SynchronousTestCase):
    def test_constant(self) -> None:
        router = ConstantRouter(["a", "b", "a"])
        self.assertEqual((router.targets, went(router, "x"), went(router, "x", "b")), (("a", "b"), "ab", "ab"))
        self.assertEqual(router.explain("x"), "all: a and b")
        self.assertEqual((ConstantRouter([]).route("x"), ConstantRouter([]).explain("x")), ((), "all: nobody"))

    def test_failover(self) -> None:
        router = FailoverRouter(["a", "b", "c"])
        self.assertEqual([went(router, "x", live) for live in ("abc", "cb", "c", "")], ["a", "b", "c", "a"])
        self.assertEqual(router.explain("x"), "failover: the first live of a, b, c")

    def test_balance(self) -> None:
        router = BalanceRouter(["a", "b"])
        self.assertEqual(targets(router.route("x"), None, {"a": 3}), ("b",))
        self.assertEqual(router.explain("x"), "load balance: the least loaded of a, b")


class AnyOfTests(unittest.SynchronousTestCase):
    def test_the_hash_modulo_their_number(self) -> None:
        router = AnyOfRouter("abc")
        for name in NAMES:
            self.assertEqual(went(router, name), "abc"[relay_fnv1a_32(name.encode()) % 3])
            self.assertEqual(router.route(name), router.route(name.encode()))

    def test_names_of_the_dead_are_spread_and_the_others_stay(self) -> None:
        router = AnyOfRouter("abcd")
        moved = Counter[str]()
        for name in NAMES:
            before, after = went(router, name), went(router, name, "bcd")
            if before == "a":
                moved[after] += 1
            else:
                self.assertEqual(after, before)
        self.assertEqual(set(moved), set("bcd"))

    def test_without_tags(self) -> None:
        router = AnyOfRouter("abcdefg", tagless=True)
        self.assertEqual(len({went(router, f"name;tag={number}") for number in range(50)}), 1)

    def test_one_and_none(self) -> None:
        self.assertEqual((went(AnyOfRouter("a"), "x"), AnyOfRouter("").route("x")), ("a", ()))
        self.assertIn("any of 1: a", AnyOfRouter("a").explain("x"))


class HashTests(unittest.SynchronousTestCase):
    def test_diverse_replicas_are_as_recorded(self) -> None:
        recorded = recording("carbon", "ring_vectors.json")
        names = recording("carbon", "metric_names.json")
        kinds: dict[str, type[CarbonRing | FastList]] = {"consistent-hashing": CarbonRing, "fast-hashing": FastList}
        for wanted in recorded["routes"]:
            members = carbon_members(recorded["destinations"][wanted["list"]]["parsed"])
            placement: Placement = kinds[wanted["method"]](members, wanted["hash"])
            routers = [
                HashRouter(placement, wanted["rf"], diverse=wanted["diverse"], stand_in=stand_in)
                for stand_in in (False, True)
            ]
            for name, dest in zip(names, wanted["dest"], strict=True):
                expected = indexes(map(str, dest)) if isinstance(dest, list) else dest
                for router in routers:
                    self.assertEqual(indexes(targets(router.route(name))), expected)

    def test_the_queue_of_a_dead_member_waits_unless_others_stand_in(self) -> None:
        ring = CarbonRing([Member(key, key, 1) for key in "abc"])
        waiting, standing = HashRouter(ring, 2), HashRouter(ring, 2, stand_in=True)
        for name in NAMES:
            self.assertEqual(went(waiting, name, "a"), "".join(ring.lookup(name.encode(), 2)))
            self.assertEqual(went(standing, name, "a"), "a")

    def test_hashes_tags_unless_told_otherwise(self) -> None:
        ring = CarbonRing([Member(key, key, 1) for key in "abcdef"])
        whole = {went(HashRouter(ring), f"name;tag={number}") for number in range(50)}
        bare = {went(HashRouter(ring, tagless=True), f"name;tag={number}") for number in range(50)}
        self.assertEqual((len(whole), bare), (6, {went(HashRouter(ring), "name")}))

    def test_few_routes_for_many_names(self) -> None:
        members = [Member(f"k{number}", f"h{number}", 1, str(number)) for number in range(8)]
        bounds = ((CarbonRing(members), 800), (FastList(members), 8), (JumpList(members), 8 * 7))
        for placement, bound in bounds:
            table, router = RouteTable(), HashRouter(placement, stand_in=True)
            for number in range(3000):
                table.number(router.route(f"some.name.{number}"))
            self.assertLessEqual(len(table), bound)

    def test_explains(self) -> None:
        ring = CarbonRing([Member("10.0.0.1:2004", "10.0.0.1", 2004)])
        entry = next(position for position, _ in ring.entries if position >= 3265)
        self.assertEqual(HashRouter(ring).explain("a"), f"carbon_ch position 3265, entry at {entry}: 10.0.0.1:2004")
        self.assertIn("of an empty ring: nobody", HashRouter(CarbonRing()).explain("a"))

    def test_a_replica_at_least(self) -> None:
        self.assertRaises(ValueError, HashRouter, CarbonRing(), 0)

    @FEW
    @given(st.integers(2, 6), st.integers(1, 3), st.data())
    def test_standing_in_is_what_the_ring_without_the_dead_says(
        self, size: int, count: int, data: st.DataObject
    ) -> None:
        members = [Member(f"k{i}", f"host{i % 4}", 2000 + i, f"i{i}") for i in range(size)]
        live = data.draw(st.sets(st.sampled_from([member.key for member in members]), min_size=1))
        diverse = data.draw(st.booleans())
        for ring in (CarbonRing(members), CarbonRing(members, "mmh3_ch"), CadentRing(members), KetamaRing(members)):
            router = HashRouter(ring, count, diverse=diverse, stand_in=True)
            left = ring
            for member in members:
                if member.key not in live:
                    left = left.removing(member.key)
            rest = HashRouter(left, count, diverse=diverse)
            for name in NAMES[:40]:
                self.assertEqual(targets(router.route(name), live), targets(rest.route(name)))


class UnionTests(unittest.SynchronousTestCase):
    def test_replica_sets_of_cadent(self) -> None:
        sets = [CadentRing([Member(key, hashkey=key) for key in keys]) for keys in ("abc", "de")]
        router = UnionRouter([HashRouter(ring, 2) for ring in sets])
        self.assertEqual(router.targets, tuple("abcde"))
        for name in NAMES[:50]:
            wanted = [*sets[0].lookup(name.encode(), 2), *sets[1].lookup(name.encode(), 2)]
            self.assertEqual(went(router, name), "".join(wanted))
        self.assertEqual(router.explain("x").count("mmh3/simple/4"), 2)

    def test_groups_of_statsrelay(self) -> None:
        router = UnionRouter(
            [
                ShardRouter(ShardMap(["h:1", "h:2"]), {"h:1": "h:1:tcp", "h:2": "h:2:tcp"}),
                ShardRouter(ShardMap([])),
                ShardRouter(ShardMap(["h:2"]), {"h:2": "h:2:tcp"}),
            ]
        )
        self.assertEqual(router.targets, ("h:1:tcp", "h:2:tcp"))
        self.assertEqual(targets(router.route("foo")), ("h:2:tcp",))
        self.assertEqual(targets(router.route("apple")), ("h:1:tcp", "h:2:tcp"))
        self.assertEqual(router.explain("foo"), "shard 1 of 2: h:2:tcp + no shards: nobody + shard 0 of 1: h:2:tcp")


class ShardTests(unittest.SynchronousTestCase):
    def test_the_affixes_of_the_group_are_not_hashed(self) -> None:
        shards = ShardMap([str(number) for number in range(100)])
        router = ShardRouter(shards, prefix=b"p.", suffix=b".s")
        for vector in recording("statsrelay", "hash_vectors.json")["vectors"]:
            self.assertEqual(went(router, f"p.{vector['key']}.s"), str(vector["shard"]["100"]))


class AggregatedTests(unittest.SynchronousTestCase):
    def test_as_recorded(self) -> None:
        recorded = recording("carbon", "aggregated_hashing_vectors.json")
        with open(os.path.join(DATA, "carbon", recorded["rules_file"]), encoding="utf-8") as file:
            rules = [parse_rule(line) for line in file if line.strip() and not line.startswith("#")]
        self.assertEqual(len(recorded["vectors"]), 12)
        for wanted in recorded["vectors"]:
            members = carbon_members(parsed_destinations(recorded["destinations"][wanted["list"]]))
            slow = wanted["method"] == "aggregated-consistent-hashing"
            inner = HashRouter(CarbonRing(members) if slow else FastList(members), wanted["rf"], diverse=True)
            router = AggregatedRouter(inner, partial(outputs, rules))
            for name, dests in zip(wanted["metrics"], wanted["dest_sets"], strict=True):
                found = sorted(int(key) for key in targets(router.route(name)))
                self.assertEqual(found, dests, (wanted["list"], wanted["method"], wanted["rf"], name))

    def test_explains(self) -> None:
        router = AggregatedRouter(ConstantRouter("a"), lambda name: ["sum"] * 2 if name == "x" else [])
        self.assertEqual(router.explain("x"), "aggregate sum, all: a")
        self.assertEqual(router.explain("y"), "no aggregate, all: a")
        self.assertEqual(router.targets, ("a",))


class RuleTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.router = carbon_rules(
            [("^mail\\.", ["a"], False), ("cpu", ["b", "gone"], True), ("^Servers", ["c", "a"], False)], ["d"], "abcd"
        )

    def test_the_first_match_ends_unless_it_goes_on(self) -> None:
        wanted = {"mail.cpu": "a", "x.cpu": "bd", "servers.cpu": "bca", "SERVERS.mem": "ca", "other": "d", "": "d"}
        self.assertEqual({name: went(self.router, name) for name in wanted}, wanted)
        self.assertEqual(self.router.targets, ("a", "b", "c", "d"))

    def test_takes_bytes(self) -> None:
        self.assertEqual(went(self.router, b"mail.\xff"), "a")

    def test_a_rule_without_known_destinations_sends_to_nobody(self) -> None:
        self.assertEqual(carbon_rules([("a", ["gone"], False)], ["d"], "d").route("a"), ())

    def test_explains(self) -> None:
        self.assertEqual(self.router.explain("x.cpu"), "rule cpu, all: b + default rule, all: d")

    def test_faults(self) -> None:
        self.assertRaises(ValueError, carbon_rules, [("(", ["a"], False)], ["a"], "a")

    def test_rules_of_clusters_without_tags(self) -> None:
        rules = [Rule(re.compile("b$"), FailoverRouter("xy"), True), Rule(re.compile("^drop"), ConstantRouter(()))]
        router = RuleRouter(rules, ConstantRouter("z"), tagless=True)
        self.assertEqual([went(router, name, "yz") for name in ("a.b;t=1", "a;t=b", "drop")], ["yz", "z", ""])
        self.assertEqual(router.targets, ("x", "y", "z"))


class SectionTests(unittest.SynchronousTestCase):
    filters = (PreRegFilter("prefix", "no.", reject=True), PreRegFilter("prefix", "to.", "other"))

    def test_rejects_redirects_and_keeps(self) -> None:
        router = SectionRouter(PreReg(self.filters, "main"), "here")
        found = [targets(router.route(name)) for name in ("no.x", "to.x", "x")]
        self.assertEqual(found, [(), ("other",), ("main",)])
        self.assertEqual(router.targets, ("here", "main", "other"))

    def test_what_no_filter_matches_is_accumulated_here(self) -> None:
        router = SectionRouter(PreReg(self.filters, "main"), "here", accumulates=True)
        self.assertEqual([targets(router.route(name)) for name in ("no.x", "to.x", "x")], [(), ("other",), ("here",)])

    def test_explains(self) -> None:
        router = SectionRouter(PreReg(self.filters, "here"), "here")
        self.assertEqual(router.explain("no.x"), "prefix no.: rejected")
        self.assertEqual(router.explain("to.x"), "prefix to.: redirected to other")
        self.assertEqual(router.explain("x"), "no filter: stays")


class PoolTests(unittest.SynchronousTestCase):
    def test_the_least_loaded_of_the_pool(self) -> None:
        router = PoolRouter(ConstantRouter(["p", "q"]), {"p": ["a", "b"]})
        self.assertEqual(router.targets, ("a", "b", "q"))
        self.assertEqual(targets(router.route("x"), None, {"a": 1}), ("b", "q"))
        self.assertEqual(targets(router.route("x"), ("a", "q"), {"a": 1}), ("a", "q"))
        self.assertEqual(router.explain("x"), "all: p and q: the least loaded of a, b and q")

    def test_who_stands_in_shares_its_load_as_well(self) -> None:
        members = [Member(key, host, 1, key) for key, host in (("a", "h"), ("b", "h"), ("c", "i"), ("d", "i"))]
        pools = {key: ["ab", "cd"][key in "cd"] for key in "abcd"}
        ring = CarbonRing(members)
        router = PoolRouter(HashRouter(ring, stand_in=True), pools)
        for name in map("m.{}".format, range(50)):
            first, *others = ring.ranked(name.encode())
            pool = pools[first]
            self.assertEqual(targets(router.route(name), "abcd", {pool[0]: 1}), (pool[1],))
            self.assertEqual(targets(router.route(name), None), (pool[0],))
            (other,) = {pools[each] for each in others} - {pool}
            self.assertEqual(targets(router.route(name), other, {other[0]: 1}), (other[1],))
            self.assertIn(", or of its pool the least loaded", router.explain(name))


class SameEverywhereTests(unittest.SynchronousTestCase):
    def test_the_seed_of_python_changes_nothing(self) -> None:
        script = (
            "from cadtwist.routing.ring import *\n"
            "from cadtwist.routing.routers import *\n"
            "ms = [Member(f'k{i}', f'h{i}', i, str(i)) for i in range(9)]\n"
            "ps = [kind(ms) for kind in (CarbonRing, RelayRing, FastList, JumpList, KetamaRing, CadentRing)]\n"
            "rs = [HashRouter(p, 2, stand_in=True) for p in ps] + [AnyOfRouter(m.key for m in ms)]\n"
            "print([r.route(f'a.{n}') for r in rs for n in range(200)])\n"
        )
        root = os.path.dirname(os.path.dirname(DATA))
        found = {
            subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
                check=True,
                capture_output=True,
            ).stdout
            for seed in ("1", "2")
        }
        self.assertEqual(len(found), 1)
