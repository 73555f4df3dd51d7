"""Tests of `cadtwist.routing.shardmap`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.routing.shardmap import Move, ShardMap, backend_key, hasher_line, plan_moves, spread_shards
from tests.routing.recordings import recording


class ShardMapTests(unittest.SynchronousTestCase):
    def test_shards_are_as_recorded(self) -> None:
        vectors = recording("statsrelay", "hash_vectors.json")["vectors"]
        sizes = [int(size) for size in vectors[0]["shard"]]
        self.assertEqual(sizes, [2, 3, 4, 5, 7, 8, 16, 64, 100, 1000, 4096])
        for size in sizes:
            shards = ShardMap([f"h:{shard}" for shard in range(size)])
            for vector in vectors:
                name = vector["key"].encode()
                self.assertEqual(shards.shard(name), vector["shard"][str(size)])
                self.assertEqual(shards.backend(name), f"h:{vector['shard'][str(size)]}")
                if size == 16:
                    self.assertEqual(shards.shard(name), vector["observed_backend_of_16"])

    def test_one_shard_and_none(self) -> None:
        self.assertEqual(ShardMap(["h:1"]).shard(b"whatever"), 0)
        self.assertRaises(ValueError, ShardMap([]).shard, b"a")

    def test_backend_keys(self) -> None:
        for text, key in (("h:1", "h:1:tcp"), ("h:1:udp", "h:1:udp"), ("h:1:tcp", "h:1:tcp"), ("h:1:x:y", "h:1:x:y")):
            self.assertEqual(backend_key(text), key)
        for text in ("h", "", ":1", "h:"):
            self.assertRaises(ValueError, backend_key, text)

    def test_the_lines_of_stathasher(self) -> None:
        two = ShardMap(["127.0.0.1:3000", "127.0.0.1:3001"])
        one = ShardMap(["127.0.0.1:8128"])
        eight = ShardMap([f"127.0.0.1:{8128 if shard in (1, 5) else 1}" for shard in range(8)])
        for key, shards, health, line in (
            ("foo\n", two, False, "key=foo statsd=127.0.0.1:3001 statsd_shard=1 send_health_metrics=false"),
            ("bar\n", two, False, "key=bar statsd=127.0.0.1:3001 statsd_shard=1 send_health_metrics=false"),
            ("foo and more", one, False, "key=foo statsd=127.0.0.1:8128 statsd_shard=0 send_health_metrics=false"),
            ("foo", eight, True, "key=foo statsd=127.0.0.1:8128 statsd_shard=5 send_health_metrics=true"),
            ("bar", eight, True, "key=bar statsd=127.0.0.1:8128 statsd_shard=1 send_health_metrics=true"),
            ("foo", None, False, "key=foo"),
            ("foo", ShardMap([]), True, "key=foo"),
            (" foo", None, False, "key="),
            ("", None, False, "key="),
        ):
            self.assertEqual(hasher_line(key, shards, health), line)


class SpreadTests(unittest.SynchronousTestCase):
    def test_stretches(self) -> None:
        self.assertEqual(spread_shards(["a:1", "b:1"], 4), ("a:1", "a:1", "b:1", "b:1"))
        self.assertEqual(spread_shards(["a", "b", "c"], 7), ("a", "a", "a", "b", "b", "c", "c"))
        for backends, count in (([], 4), (["a", "a"], 4), (["a", "b"], 1), (["a"], 1 << 21)):
            self.assertRaises(ValueError, spread_shards, backends, count)

    @settings(max_examples=100, deadline=None, database=None, print_blob=True)
    @given(st.integers(1, 30), st.integers(0, 200))
    def test_is_even(self, backends: int, more: int) -> None:
        names = [f"h{number}" for number in range(backends)]
        shards = spread_shards(names, backends + more)
        counts = [shards.count(name) for name in names]
        self.assertLessEqual(max(counts) - min(counts), 1)
        self.assertEqual(list(shards), sorted(shards, key=names.index))


class PlanTests(unittest.SynchronousTestCase):
    def test_moves_from_the_loaded_to_the_idle(self) -> None:
        plan = plan_moves(["a", "a", "a", "b"], [50, 30, 20, 0])
        self.assertEqual(plan.moves, (Move(0, "a", "b", 50),))
        self.assertEqual(plan.shards, ("b", "a", "a", "b"))
        self.assertEqual((plan.before, plan.after), ({"a": 100, "b": 0}, {"a": 50, "b": 50}))

    def test_leaves_well_alone(self) -> None:
        self.assertEqual(plan_moves(["a", "b"], [105, 95]).moves, ())
        self.assertEqual(plan_moves(["a", "b"], [0, 0]).moves, ())
        self.assertEqual(plan_moves(["a", "a", "b"], [60, 50, 90], tolerance=0.2).moves, ())

    def test_a_shard_that_is_too_heavy_stays_and_others_are_still_moved(self) -> None:
        plan = plan_moves(["a", "b", "b", "b", "c"], [1000, 400, 300, 200, 10], tolerance=0)
        self.assertEqual(plan.shards[0], "a")
        self.assertEqual((plan.after["b"], plan.after["c"]), (500, 410))

    def test_new_backends_get_shards(self) -> None:
        plan = plan_moves(["a"] * 4 + ["b"] * 4, [10] * 8, added=["c", "d"])
        self.assertEqual(plan.after, {"a": 20, "b": 20, "c": 20, "d": 20})
        self.assertEqual(len(plan.moves), 4)

    def test_who_leaves_loses_all(self) -> None:
        plan = plan_moves(["a", "a", "b", "c"], [5, 0, 20, 5], leaving=["a"], max_moves=0)
        self.assertEqual(plan.shards, ("c", "c", "b", "c"))
        self.assertEqual(plan.after, {"a": 0, "b": 20, "c": 10})

    def test_at_most_so_many_moves(self) -> None:
        shards, lines = ["a"] * 10 + ["b"] * 10, [10] * 10 + [0] * 10
        self.assertEqual([len(plan_moves(shards, lines, max_moves=limit).moves) for limit in (0, 2, 99)], [0, 2, 5])

    def test_faults(self) -> None:
        for shards, lines, options in (
            ([], [], {}),
            (["a"], [1, 2], {}),
            (["a"], [-1], {}),
            (["a"], [1], {"tolerance": -1}),
            (["a"], [1], {"leaving": ["a"]}),
            (["a"], [1], {"leaving": ["b"]}),
        ):
            self.assertRaises(ValueError, plan_moves, shards, lines, **options)

    @settings(max_examples=150, deadline=None, database=None, print_blob=True)
    @given(
        st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 1000)), min_size=1, max_size=60),
        st.sets(st.sampled_from("ab")),
        st.floats(0, 1),
    )
    def test_no_load_is_lost_and_the_worst_gets_no_worse(
        self, assigned: list[tuple[str, int]], leaving: set[str], tolerance: float
    ) -> None:
        shards, lines = [name for name, _ in assigned], [count for _, count in assigned]
        leaving &= set(shards)
        plan = plan_moves(shards, lines, added=["e"], leaving=leaving, tolerance=tolerance)
        self.assertEqual(sum(plan.after.values()), sum(lines))
        for name, load in plan.after.items():
            self.assertEqual(load, sum(n for owner, n in zip(plan.shards, lines, strict=True) if owner == name))
        applied = list(shards)
        for move in plan.moves:
            self.assertEqual((applied[move.shard], lines[move.shard]), (move.source, move.lines))
            self.assertNotEqual(move.source, move.target)
            applied[move.shard] = move.target
        self.assertEqual(tuple(applied), plan.shards)
        self.assertFalse(leaving & set(plan.shards))
        if not leaving:
            self.assertLessEqual(max(plan.after.values()), max(plan.before.values()))
            self.assertTrue(all(move.lines for move in plan.moves))
