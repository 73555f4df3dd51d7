"""Tests of `cadtwist.routing.alike`: names on one arc have one route, whatever router it is."""

from __future__ import annotations

import random
import re

from twisted.trial import unittest

from cadtwist.kernels import active
from cadtwist.routing.alike import Likeness, alike, arcs_of
from cadtwist.routing.ring import CadentRing, CarbonRing, FastList, JumpList, KetamaRing, Member, RelayRing
from cadtwist.routing.routers import (
    AnyOfRouter,
    BalanceRouter,
    ConstantRouter,
    FailoverRouter,
    HashRouter,
    PoolRouter,
    Router,
    Rule,
    RuleRouter,
    ShardRouter,
    UnionRouter,
)
from cadtwist.routing.routes import Route
from cadtwist.routing.shardmap import ShardMap

SOME = [Member(f"m{n}", f"10.0.0.{n % 3}", 2000 + n, f"i{n}") for n in range(7)]
ALIKE: dict[str, Router] = {
    "constant": ConstantRouter("ab"),
    "failover": FailoverRouter("ab"),
    "balance": BalanceRouter("ab"),
    "any of": AnyOfRouter("abcde"),
    "any of one": AnyOfRouter("a"),
    "any of none": AnyOfRouter(""),
    "an empty ring": HashRouter(CarbonRing()),
    "an empty list": HashRouter(FastList((), "fnv1a_ch")),
    "a list": HashRouter(FastList(SOME, "fnv1a_ch"), 2),
    "a list by md5": HashRouter(FastList(SOME, "carbon_ch")),
    "carbon_ch": HashRouter(CarbonRing(SOME)),
    "carbon_ch, copies": HashRouter(CarbonRing(SOME), 3),
    "carbon_ch, diverse": HashRouter(CarbonRing(SOME), 2, diverse=True),
    "carbon_ch, standing in": HashRouter(CarbonRing(SOME), 2, stand_in=True),
    "carbon's fnv1a_ch": HashRouter(CarbonRing(SOME, "fnv1a_ch"), 2),
    "carbon-c-relay's carbon_ch": HashRouter(RelayRing(SOME), tagless=True),
    "carbon-c-relay's fnv1a_ch": HashRouter(RelayRing(SOME, "fnv1a_ch"), 2, stand_in=True, tagless=True),
    "Cadent's md5": HashRouter(CadentRing(SOME, "md5", "graphite", 9), 2),
    "Cadent's fnva": HashRouter(CadentRing(SOME, "fnva", "simple", 50)),
    "pools": PoolRouter(HashRouter(CarbonRing(SOME[:2])), {"m0": ["a", "b"]}),
}
ASKED: dict[str, Router] = {
    "mmh3_ch": HashRouter(CarbonRing(SOME, "mmh3_ch")),
    "a list by mmh3": HashRouter(FastList(SOME)),
    "jump": HashRouter(JumpList(SOME)),
    "ketama": HashRouter(KetamaRing(SOME)),
    "Cadent's mmh3": HashRouter(CadentRing(SOME)),
    "rules": RuleRouter([Rule(re.compile("x"), ConstantRouter("a"))], ConstantRouter("b")),
    "several": UnionRouter([ConstantRouter("a")]),
    "shards": ShardRouter(ShardMap(["a", "b"])),
    "far too many": AnyOfRouter([f"d{n}" for n in range(1100)]),
}


class AlikeTests(unittest.SynchronousTestCase):
    def test_names_on_an_arc_have_one_route(self) -> None:
        made = random.Random(3)
        names = [f"s.{made.randrange(10**9)}.{'x' * made.randrange(90)}".encode() for _ in range(4000)]
        for title, router in ALIKE.items():
            arcs = arcs_of(router, active.table.MetricTable(1))
            assert arcs is not None, title
            routes: dict[int, Route] = {}
            for name in names:
                self.assertEqual(routes.setdefault(arcs.arc(name), router.route(name)), router.route(name), title)
            self.assertNotIn(-1, routes)
            self.assertGreaterEqual(len(routes), len(set(routes.values())))

    def test_few_names_are_asked_about(self) -> None:
        table = active.table.MetricTable(1)
        arcs = arcs_of(ALIKE["carbon_ch"], table, 100)
        assert arcs is not None
        for number in range(5000):
            arcs.intern(b"name.%d" % number, 1)
        self.assertLessEqual(len(table), 100 + len(arcs))

    def test_who_has_to_be_asked(self) -> None:
        for title, router in ASKED.items():
            self.assertIsNone(alike(router), title)
            self.assertIsNone(arcs_of(router, active.table.MetricTable(1)), title)

    def test_all_are_alike_to_who_does_not_look(self) -> None:
        for title in ("constant", "failover", "balance", "any of none", "an empty ring", "an empty list"):
            self.assertEqual(alike(ALIKE[title]), Likeness(), title)
