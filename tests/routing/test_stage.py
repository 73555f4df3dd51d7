"""Lines by route to destinations: placement, health, names that change, forms, counting."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from cadtwist.codec.protobuf import decode_payload
from cadtwist.codec.relayline import RelayCodec, RelayTail, graphite_lines, statsd_lines
from cadtwist.interfaces import IHolder, ISink
from cadtwist.kernels import active
from cadtwist.model.batch import Batch, Columns
from cadtwist.model.rules import RewriteRule
from cadtwist.routing.groups import group_router
from cadtwist.routing.ring import Member
from cadtwist.routing.routers import ConstantRouter, FailoverRouter, Router, ShardRouter
from cadtwist.routing.routes import Choice, Route
from cadtwist.routing.shardmap import ShardMap
from cadtwist.routing.stage import MAX_DESTINATIONS, RouterStage, Taker
from cadtwist.stages.names import BlacklistRule, NameMap, Rewrite
from cadtwist.stages.relaynames import IngressFilter
from cadtwist.telemetry import Account


class Kept:
    """A destination that keeps what it is given."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.text = b""
        self.points: list[int] = []
        self.asked: list[int] = []

    def send(self, chunk: bytes, points: int, asked_bytes: int = 0) -> None:
        self.text += chunk
        self.points.append(points)
        self.asked.append(asked_bytes)


class FirstLetter:
    """A router by the first letter; counts how often it is asked."""

    def __init__(self, routes: dict[str, Route]) -> None:
        self.routes = routes
        self.asked: list[bytes] = []
        choices = [choice for route in routes.values() for choice in route]
        self.targets = tuple(dict.fromkeys(key for choice in choices for key in choice.candidates))

    def route(self, name: str | bytes) -> Route:
        raw = name if isinstance(name, bytes) else name.encode()
        self.asked.append(raw)
        return self.routes.get(raw[:1].decode("latin-1"), ())

    def explain(self, name: str | bytes) -> str:
        return "by its letter"


class Relay:
    """A codec, a stage and destinations."""

    def __init__(
        self, router: Router, keys: str = "xyz", dialect: Any = None, numbers: bool = False,
        takers: dict[str, Taker] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        self.table = active.table.MetricTable(3)
        self.kept = {key: Kept(key) for key in keys}
        self.account = Account("relay")
        found = {key: Taker(self.kept[key]) for key in keys} if takers is None else takers
        self.stage = RouterStage(router, found, self.table, self.account, **options)
        self.sink: Any = self.stage
        self.bad: list[str] = []
        dialect = dialect or statsd_lines()
        self.codec = RelayCodec(self.table, Columns(16, True), self.emit, dialect, numbers=numbers)
        self.tail = RelayTail()

    def emit(self, batch: Batch) -> None:
        self.sink.accept(batch)

    def feed(self, *chunks: bytes) -> Relay:
        for chunk in chunks:
            self.codec.feed(self.tail, chunk, 1.7e9, lambda bad, _: self.bad.append(bad.kind))
        self.codec.flush()
        return self

    def texts(self) -> dict[str, bytes]:
        return {key: kept.text for key, kept in self.kept.items()}


def one(key: str) -> Route:
    return (Choice((key,)),)


class RouterStageTests(SynchronousTestCase):
    def test_gives_each_destination_its_lines_unchanged_and_in_order(self) -> None:
        router = FirstLetter({"a": one("x"), "b": one("y"), "c": (Choice(("x",)), Choice(("z",)))})
        relay = Relay(router).feed(b"a1:1|c\nb1:2.50|ms\nc1:3|g\na1:4|c|@0.10\nd1:5|c\n")
        first = b"a1:1|c\nc1:3|g\na1:4|c|@0.10\n"
        self.assertEqual(relay.texts(), {"x": first, "y": b"b1:2.50|ms\n", "z": b"c1:3|g\n"})
        self.assertEqual([kept.points for kept in relay.kept.values()], [[3], [1], [1]])
        account = relay.account
        self.assertEqual((account.received, account.out, account.made), (5, 5, 1))
        self.assertEqual((account.dropped, account.balance()), ({"no_destination": 1}, 0))

    def test_asks_once_about_each_name(self) -> None:
        router = FirstLetter({"a": one("x")})
        relay = Relay(router).feed(b"a1:1|c\na1:1|c\n", b"a1:1|c\na2:1|c\n")
        self.assertEqual(router.asked, [b"a1", b"a2"])
        relay.stage.forget(np.array([1], np.uint32))
        relay.feed(b"a1:1|c\na2:1|c\n")
        self.assertEqual(router.asked, [b"a1", b"a2", b"a2"])
        self.assertFalse(relay.stage.holds(np.array([0], np.uint32)).any())

    def test_health_changes_destinations_at_once_and_decides_nothing_again(self) -> None:
        router = FailoverRouter(("x", "y", "z"))
        relay = Relay(router).feed(b"a:1|c\n")
        relay.stage.settle({"y", "z"})
        relay.feed(b"a:2|c\nb:2|c\n")
        relay.stage.settle({"z"})
        relay.feed(b"a:3|c\n")
        relay.stage.settle(set())
        relay.feed(b"a:4|c\n")
        relay.stage.settle(None)
        relay.feed(b"a:5|c\n")
        self.assertEqual(relay.texts(), {"x": b"a:1|c\na:4|c\na:5|c\n", "y": b"a:2|c\nb:2|c\n", "z": b"a:3|c\n"})

    def test_nobody_holds_where_nobody_shall(self) -> None:
        relay = Relay(FailoverRouter(("x",)), hold=False)
        relay.stage.settle(set())
        relay.feed(b"a:1|c\n")
        self.assertEqual((relay.account.dropped, relay.account.balance()), ({"no_destination": 1}, 0))

    def test_prefix_suffix_and_filters(self) -> None:
        shards = ShardRouter(ShardMap(["x"]))
        relay = Relay(
            shards, prefix=b"p1.", suffix=b".s1", refuse=IngressFilter("^(?=keep)|o", "drop"),
        ).feed(b"keep.me:1|c\ndrop.me:2|ms\nother:3|g\nkeep.drop:4|c|@0.5\ncol:on:5|c\nx:1|c\n")  # fmt: skip
        self.assertEqual(relay.kept["x"].text, b"p1.keep.me.s1:1|c\np1.other.s1:3|g\np1.col.s1:on:5|c\n")
        self.assertEqual(relay.account.dropped, {"rejected_lines": 2, "filtered_lines": 1})
        self.assertEqual(relay.account.balance(), 0)
        sent = relay.stage.sent["x"]
        self.assertEqual((sent.lines, sent.bytes), (3, len(b"keep.me:1|c\nother:3|g\ncol:on:5|c\n")))
        self.assertEqual(relay.kept["x"].asked, [sent.bytes])
        self.assertEqual(relay.stage.decide("drop"), "rejected_lines")
        self.assertIn("dropped (rejected_lines)", relay.stage.explain("drop"))
        self.assertIn("shard 0 of 1", relay.stage.explain("keep"))

    def test_counts_lines_of_each_shard(self) -> None:
        shards = ShardMap(["x", "y", "x", "x"])
        relay = Relay(ShardRouter(shards), label=shards.shard)
        names = [b"name%d" % number for number in range(200)]
        relay.feed(b"".join(name + b":1|c\n" for name in names))
        expected: dict[int, int] = {}
        for name in names:
            expected[shards.shard(name)] = expected.get(shards.shard(name), 0) + 1
        self.assertEqual(relay.stage.lines_by_label(), expected)
        self.assertEqual(relay.stage.sent["y"].lines, expected[1])

    def test_places_as_its_router_does(self) -> None:
        members = [Member(key, "127.0.0.1", 2000 + number, key) for number, key in enumerate("xyz")]
        router = group_router("carbon", members, copies=2)
        relay = Relay(router, dialect=graphite_lines())
        names = [b"servers.web%d.cpu" % number for number in range(300)]
        relay.feed(b"".join(name + b" 1 2\n" for name in names))
        for key, kept in relay.kept.items():
            placed = [name for name in names if any(key in choice.candidates for choice in router.route(name))]
            self.assertEqual(kept.text, b"".join(name + b" 1 2\n" for name in placed))
        self.assertEqual((relay.account.out, relay.account.made, relay.account.balance()), (600, 300, 0))

    def test_renamed_lines_have_their_old_tails(self) -> None:
        relay = Relay(ConstantRouter(("x",)), dialect=graphite_lines())
        rules = [BlacklistRule(["bad"]), Rewrite([RewriteRule("^old", "brand.new")])]
        relay.sink = NameMap(rules, relay.table, relay.stage, Account("names"))
        relay.feed(b"old.a 1.50 17\nb 2 18\nbad 3 19\r\nold.c  4e0\t20\r\n")
        self.assertEqual(relay.kept["x"].text, b"brand.new.a 1.50 17\nb 2 18\nbrand.new.c  4e0\t20\n")

    def test_names_that_are_no_utf8(self) -> None:
        relay = Relay(ConstantRouter(("x",)))
        relay.sink = NameMap([Rewrite([RewriteRule("^old", "new")])], relay.table, relay.stage, Account("names"))
        relay.feed(b"old.\xff:1|c\n\xfe:1|c\n")
        self.assertEqual(relay.kept["x"].text, b"new.\xff:1|c\n\xfe:1|c\n")

    def test_times_that_protobuf_cannot_tell_are_dropped(self) -> None:
        kept = Kept("b")
        relay = Relay(ConstantRouter("b"), "", graphite_lines(), True, {"b": Taker(kept, "protobuf")})
        relay.feed(b"a 1 -0.5\na 2 -2\nb 3 4294967295.5\na 4 4294967296\n")
        self.assertEqual(decode_payload(kept.text[4:]), [(b"a", [(0.0, 1.0)]), (b"b", [(4294967295.0, 3.0)])])
        relay.feed(b"a 5 1e12\n")
        self.assertEqual((relay.account.dropped, relay.account.out), ({"timestamp": 3}, 2))
        self.assertEqual(relay.account.balance(), 0)

    def test_every_form(self) -> None:
        kept = {key: Kept(key) for key in "lcpb"}
        takers = {
            "l": Taker(kept["l"]), "c": Taker(kept["c"], crlf=True), "p": Taker(kept["p"], "pickle", message_points=2),
            "b": Taker(kept["b"], "protobuf"),
        }  # fmt: skip
        relay = Relay(ConstantRouter("lcpb"), "", graphite_lines(), True, takers)
        relay.feed(b"a 1.5 17\nb 2 18\na 3 -1\n")
        self.assertEqual(kept["l"].text, b"a 1.5 17\nb 2 18\na 3 1700000000\n")
        self.assertEqual(kept["c"].text, b"a 1.5 17\r\nb 2 18\r\na 3 1700000000\r\n")
        first = int.from_bytes(kept["p"].text[:4], "big")
        self.assertEqual(pickle.loads(kept["p"].text[4 : 4 + first]), [("a", (17.0, 1.5)), ("b", (18.0, 2.0))])
        self.assertEqual(pickle.loads(kept["p"].text[8 + first :]), [("a", (1.7e9, 3.0))])
        self.assertEqual(
            decode_payload(kept["b"].text[4:]), [(b"a", [(17.0, 1.5), (1.7e9, 3.0)]), (b"b", [(18.0, 2.0)])]
        )
        self.assertEqual((kept["p"].points, kept["b"].points), ([2, 1], [3]))
        account = relay.account
        self.assertEqual((account.received, account.out, account.made, account.balance()), (3, 12, 9, 0))
        self.assertEqual(relay.stage.sent["c"].bytes, len(kept["l"].text))

    def test_what_only_one_form_reaches_is_not_homeless(self) -> None:
        kept = {"l": Kept("l"), "p": Kept("p")}
        takers = {"l": Taker(kept["l"]), "p": Taker(kept["p"], "pickle")}
        router = FirstLetter({"a": one("l"), "b": one("p")})
        relay = Relay(router, "", graphite_lines(), True, takers, refuse=IngressFilter(None, "^r"))
        relay.feed(b"a 1 1\nb 1 1\nc 1 1\nr 1 1\n")
        self.assertEqual(relay.account.dropped, {"no_destination": 1, "rejected_lines": 1})
        self.assertEqual((relay.account.out, relay.account.balance()), (2, 0))

    def test_no_destinations_at_all(self) -> None:
        relay = Relay(ConstantRouter(()), "").feed(b"a:1|c\n")
        self.assertEqual((relay.account.dropped, relay.account.balance()), ({"no_destination": 1}, 0))
        with self.assertRaises(ValueError):
            Relay(ConstantRouter(()), "", takers=dict.fromkeys(map(str, range(MAX_DESTINATIONS + 1)), Taker(Kept("k"))))

    def test_datapoints_without_lines_are_written(self) -> None:
        relay = Relay(ConstantRouter("xy"), "xy")
        ids = np.array([relay.table.intern(name, 1) for name in (b"a.b", b"c")], np.uint32)
        relay.stage.accept(Batch(ids, np.array([17.0, 18.0]), np.array([1.5, 2.0])))
        self.assertEqual(relay.texts(), dict.fromkeys("xy", b"a.b 1.5 17\nc 2 18\n"))
        self.assertEqual((relay.account.out, relay.account.made, relay.account.balance()), (4, 2, 0))

    def test_prefixes_are_for_lines_as_they_came(self) -> None:
        relay = Relay(ConstantRouter("x"), prefix=b"p.")
        ids = np.array([relay.table.intern(b"a", 1)], np.uint32)
        with self.assertRaises(TypeError):
            relay.stage.accept(Batch(ids, np.zeros(1), np.zeros(1)))
        with self.assertRaises(ValueError):
            Relay(ConstantRouter("x"), takers={"x": Taker(Kept("x"), "pickle")}, suffix=b".s")

    def test_a_reload_primes_the_next_stage(self) -> None:
        router = FirstLetter({"a": one("x")})
        relay = Relay(router).feed(b"a1:1|c\na2:1|c\na3:1|c\n")
        fresh = RouterStage(router, {"x": Taker(relay.kept["x"])}, relay.table, relay.account)
        ids = relay.table.live()
        self.assertEqual([fresh.prime(ids, 2), fresh.prime(ids, 2)], [1, 0])
        self.assertEqual(len(router.asked), 6)
        relay.sink = fresh
        relay.feed(b"a2:2|c\n")
        self.assertEqual(len(router.asked), 6)
        self.assertTrue(relay.kept["x"].text.endswith(b"a2:2|c\n"))

    def test_interfaces(self) -> None:
        stage = Relay(ConstantRouter(("x",))).stage
        self.assertTrue(verifyObject(ISink, stage) and verifyObject(IHolder, stage))
