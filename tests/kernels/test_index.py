"""The contract of NameIndex on both twins, and both against a brute-force model."""

from __future__ import annotations

import random
from fnmatch import fnmatchcase
from unittest import SkipTest

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.pattern import parse_pattern
from tests.twins import native_twin, python_twin

UNBOUNDED = 10**12


def blob_of(names):
    offsets = np.cumsum([0, *map(len, names)]).astype(np.uint32)
    return b"".join(names), offsets


def listed(index, budget=3):
    names, cursor = index.leaves(0, budget)
    while cursor:
        more, cursor = index.leaves(cursor, budget)
        names += more
    return sorted(names)


class IndexContract:
    def make(self, max_bytes=0):
        return self.twin.NameIndex(1234, max_bytes)

    def find(self, index, query, matches=1000):
        found, outcome, _ = index.find(parse_pattern(query), matches, UNBOUNDED)
        self.assertEqual(outcome, 0)
        self.assertEqual(len(found), len({path for path, _ in found}))
        return sorted((path.decode(), kind) for path, kind in found)

    def test_leaf_and_branch(self):
        index = self.make()
        self.assertTrue(index.add(b"a.b"))
        self.assertTrue(index.add(b"a.b.c", 2))
        self.assertFalse(index.add(b"a.b", 2))
        self.assertEqual(self.find(index, "*"), [("a", 2)])
        self.assertEqual(self.find(index, "a.*"), [("a.b", 3)])
        self.assertEqual(self.find(index, "a.b.c"), [("a.b.c", 1)])
        self.assertEqual((index.flags(b"a.b"), index.flags(b"a.b.c"), index.flags(b"a")), (3, 2, 0))
        self.assertIn(b"a.b", index)
        self.assertNotIn(b"a", index)
        self.assertEqual(len(index), 2)

    def test_remove_prunes_branches(self):
        index = self.make()
        for name in (b"a.b.c.d", b"a.b", b"x"):
            index.add(name)
        self.assertFalse(index.remove(b"a.b.c"))
        self.assertTrue(index.remove(b"a.b.c.d"))
        self.assertEqual(self.find(index, "**"), [("a", 2), ("a.b", 1), ("x", 1)])
        self.assertTrue(index.remove(b"a.b"))
        self.assertFalse(index.remove(b"a.b"))
        self.assertEqual(self.find(index, "**"), [("x", 1)])
        self.assertEqual(index.nodes_in_use, 1)

    def test_remove_one_flag(self):
        index = self.make()
        index.add(b"a", 3)
        self.assertFalse(index.remove(b"a", 2))
        self.assertEqual(index.flags(b"a"), 1)
        self.assertTrue(index.remove(b"a", 1))
        self.assertEqual(len(index), 0)

    def test_globs(self):
        index = self.make()
        for name in (b"s.web01.cpu", b"s.web02.cpu", b"s.db01.cpu.user", b"s.x[1].cpu", "s.ünï.cpu".encode()):
            index.add(name)
        expected = {
            "s.*.cpu": ["s.db01.cpu", "s.web01.cpu", "s.web02.cpu", "s.x[1].cpu", "s.ünï.cpu"],
            "s.web0?.cpu": ["s.web01.cpu", "s.web02.cpu"],
            "s.[!a-w]*.cpu": ["s.x[1].cpu", "s.ünï.cpu"],
            "s.???.cpu": ["s.ünï.cpu"],
            "s.[ü]n?.cpu": ["s.ünï.cpu"],
            "s.{web,db}01.cpu": ["s.db01.cpu", "s.web01.cpu"],
            "s.{web01,db01,w*}.cpu": ["s.db01.cpu", "s.web01.cpu", "s.web02.cpu"],
            "s.x[[]1].cpu": ["s.x[1].cpu"],
            "**.user": ["s.db01.cpu.user"],
            "s.**.cpu": ["s.db01.cpu", "s.web01.cpu", "s.web02.cpu", "s.x[1].cpu", "s.ünï.cpu"],
            "**.**.user": ["s.db01.cpu.user"],
            "s.web[": [],
            "s.[z-a]*": [],
            "S.*": [],
        }
        for query, paths in expected.items():
            self.assertEqual([path for path, _ in self.find(index, query)], sorted(paths), query)

    def test_limits(self):
        index = self.make()
        for i in range(100):
            index.add(b"a.%d" % i)
        found, outcome, _ = index.find(((b"a",), (b"*",)), 10, UNBOUNDED)
        self.assertEqual((len(found), outcome), (10, 1))
        found, outcome, _ = index.find(((b"a",), (b"*",)), 1000, 64 * 50)
        self.assertEqual(outcome, 2)
        for wrong in ((), ((),), ((b"a",),) * 64):
            with self.assertRaises(ValueError):
                index.find(wrong, 1, 1)

    def test_odd_names(self):
        index = self.make()
        for name in (b".", b"a..b", b".a", b"a."):
            self.assertTrue(index.add(name), name)
        self.assertEqual(listed(index), sorted([b".", b"a..b", b".a", b"a."]))
        for wrong in (b"", b"x" * 16385, b"." * 600):
            self.assertFalse(index.add(wrong))
            self.assertEqual(index.flags(wrong), 0)
        self.assertEqual(index.refused, 3)
        deep = b".".join([b"d"] * 512)
        self.assertTrue(index.add(deep))
        self.assertEqual(len(self.find(index, "d.**")), 511)
        self.assertTrue(index.remove(deep))

    def test_paths_below_empty_components(self):
        index = self.make()
        index.add(b"..a")
        found, _, _ = index.find(((b"",), (b"",), (b"*",)), 10, UNBOUNDED)
        self.assertEqual(found, [(b"..a", 1)])

    def test_add_many(self):
        index = self.make()
        names = [b"a.b", b"a.c", b"a.b", b""]
        self.assertEqual(index.add_many(*blob_of(names)), 2)
        self.assertEqual(listed(index), [b"a.b", b"a.c"])
        with self.assertRaises(ValueError):
            index.add_many(b"ab", np.array([0, 5], np.uint32))
        with self.assertRaises(ValueError):
            index.add_many(b"ab", np.array([2, 1], np.uint32))
        with self.assertRaises(ValueError):
            index.add(b"x", 0)

    def test_counts_what_comes_and_goes(self):
        index, counts = self.make(), []
        for step in (
            lambda: index.add(b"a.b"), lambda: index.add(b"a.b", 2), lambda: index.add(b"a"), lambda: index.add(b""),
            lambda: index.add_many(b"xya.b", [0, 1, 2, 5]), lambda: index.remove(b"a.b", 1),
            lambda: index.remove(b"a.b", 2), lambda: index.remove(b"a.b"), lambda: index.remove(b"nosuch"),
        ):  # fmt: skip
            step()
            counts.append(int(index.changes[0]))
        self.assertEqual(counts, [1, 1, 2, 2, 4, 4, 5, 5, 5])
        elsewhere = np.array([70], np.uint64)
        index.changes = elsewhere
        index.add(b"new")
        self.assertEqual((elsewhere.tolist(), index.changes.tolist()), ([71], [71]))
        with self.assertRaises(ValueError):
            index.changes = np.zeros(2, np.uint64)

    def test_memory_is_bounded(self):
        index = self.make(200_000)
        for i in range(20_000):
            index.add(b"metric.number.%d" % i)
        self.assertLess(index.used_bytes, 200_001)
        self.assertGreater(index.refused, 0)
        self.assertGreater(len(index), 100)
        self.assertEqual(len(listed(index, 500)), len(index))

    def test_churn_uses_memory_again(self):
        index = self.make()
        sizes = []
        for turn in range(6):
            names = [b"churn.%d.%d" % (turn, i) for i in range(2000)]
            for name in names:
                index.add(name)
            sizes.append(index.used_bytes)
            for name in names:
                self.assertTrue(index.remove(name))
        self.assertEqual((len(index), index.nodes_in_use), (0, 0))
        self.assertEqual(sizes[1], sizes[-1])

    def test_leaves_in_slices(self):
        index = self.make()
        names = sorted(b"n.%d" % i for i in range(50))
        for name in names:
            index.add(name)
        self.assertEqual(listed(index, 7), names)
        self.assertEqual(self.make().leaves(0, 10), ([], 0))

    def slices(self, search, budget=1):
        """Run a search to its end; return its matches."""
        while not search.run(budget):
            pass
        return sorted(search.matches())

    def test_a_search_in_slices_finds_the_same(self):
        index = self.make()
        for i in range(300):
            index.add(b"s.%d.%d.x" % (i % 7, i))
        for query in ("**", "s.*.*.x", "s.[0-3].1*.x", "s.3.{3,10}.x", "none.*"):
            parts = parse_pattern(query)
            whole = sorted(index.find(parts, 1000, UNBOUNDED)[0])
            for budget in (1, 100, 10_000):
                search = index.search(parts, 1000, UNBOUNDED)
                self.assertEqual(self.slices(search, budget), whole)
                self.assertEqual((search.outcome, len(search)), (0, len(whole)))
                self.assertTrue(search.run(1))

    def test_limits_hold_in_slices(self):
        index = self.make()
        for i in range(100):
            index.add(b"a.%d" % i)
        search = index.search(((b"a",), (b"*",)), 10, UNBOUNDED)
        self.assertEqual((len(self.slices(search)), search.outcome), (10, 1))
        search = index.search(((b"a",), (b"*",)), 1000, 64 * 50)
        self.assertLess(len(self.slices(search)), 51)
        self.assertEqual(search.outcome, 2)
        self.assertTrue(search.run(1))
        self.assertEqual(search.outcome, 2)

    def test_columns_of_a_search(self):
        index = self.make()
        for name in (b"a.b", b"a.b.c", b"a.longer"):
            index.add(name)
        search = index.search(((b"a",), (b"*",)), 10, UNBOUNDED)
        self.assertEqual(search.columns(), (b"", b"", b""))
        matches = self.slices(search)
        texts, ends, kinds = search.columns()
        ends = [0, *np.frombuffer(ends, np.uint32).tolist()]
        found = [(texts[a:b], kind) for a, b, kind in zip(ends, ends[1:], kinds, strict=False)]
        self.assertEqual(sorted(found), matches)
        self.assertEqual(matches, [(b"a.b", 3), (b"a.longer", 1)])

    def test_nodes_that_went_during_a_search_are_used_again_after_it(self):
        index = self.make()
        names = [b"a.b%d.c" % i for i in range(40)]
        for name in names:
            index.add(name)
        full = index.used_bytes
        search = index.search(((b"**",),), 1000, UNBOUNDED)
        search.run(64 * 3)
        for _turn in range(30):
            for name in names:
                self.assertTrue(index.remove(name))
            for name in names:
                index.add(name)
        self.slices(search)
        del search
        before = index.used_bytes
        for name in names:
            index.remove(name)
        for _turn in range(30):
            for name in names:
                index.add(name)
            for name in names:
                index.remove(name)
        self.assertLessEqual(index.used_bytes, before)
        self.assertGreaterEqual(before, full)
        self.assertEqual(index.nodes_in_use, 0)

    def test_wide_families(self):
        index = self.make()
        names = [b"w.%d" % i for i in range(1000)]
        for name in names:
            index.add(name)
        for name in names[::-1][::2] + names[::2][5:] + names[:10:2]:
            self.assertTrue(index.remove(name), name)
        self.assertEqual((len(index), index.nodes_in_use, listed(index)), (0, 0, []))
        index.add(b"w.1")
        self.assertEqual(self.find(index, "w.*"), [("w.1", 1)])


class PythonIndexTests(IndexContract, SynchronousTestCase):
    twin = python_twin("index")


class NativeIndexTests(IndexContract, SynchronousTestCase):
    twin = native_twin("index")

    def setUp(self):
        if self.twin is None:
            raise SkipTest("the native twin of index is not built")


COMPONENTS = st.text("ab1-é*[]!?", min_size=1, max_size=4)
PATTERN_PARTS = st.one_of(
    st.text("ab1-é*?[]!", min_size=1, max_size=5), st.just("**"), st.just("*"), st.sampled_from(["a", "b", "1"])
)


def model_matches(parts, path):
    """The meaning of a pattern, spelled out."""
    if not parts:
        return not path
    if parts[0] == "**":
        if len(parts) == 1:
            return len(path) >= 1
        return any(model_matches(parts[1:], path[i:]) for i in range(len(path) + 1))
    return bool(path) and fnmatchcase(path[0], parts[0]) and model_matches(parts[1:], path[1:])


class ModelTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None, database=None, print_blob=True)
    @given(
        st.lists(st.lists(COMPONENTS, min_size=1, max_size=4).map(".".join), max_size=12),
        st.lists(PATTERN_PARTS, min_size=1, max_size=4),
    )
    def test_globs_as_fnmatch(self, names, parts):
        prefixes = {".".join(name.split(".")[:n]) for name in names for n in range(1, name.count(".") + 2)}
        wanted = sorted(path for path in prefixes if model_matches(parts, path.split(".")))
        for twin in filter(None, (python_twin("index"), native_twin("index"))):
            index = twin.NameIndex(5)
            for name in names:
                index.add(name.encode())
            found, outcome, _ = index.find([(part.encode(),) for part in parts], UNBOUNDED, UNBOUNDED)
            self.assertEqual(outcome, 0)
            self.assertEqual(sorted(path.decode() for path, _ in found), wanted)
            for path, kind in found:
                self.assertEqual(bool(kind & 1), path.decode() in names)
                self.assertEqual(bool(kind & 2), any(p.startswith(path.decode() + ".") for p in prefixes))

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(st.tuples(st.sampled_from("aruf"), st.binary(max_size=6), st.integers(1, 3)), max_size=60))
    def test_twins_agree(self, steps):
        native = native_twin("index")
        if native is None:
            raise SkipTest("the native twin of index is not built")
        twins = python_twin("index").NameIndex(1), native.NameIndex(1)
        for what, name, flags in steps:
            name = name.replace(b"c", b".")
            if what == "a":
                answers = [twin.add(name, flags) for twin in twins]
            elif what == "r":
                answers = [twin.remove(name, flags) for twin in twins]
            elif what == "u":
                answers = [(len(twin), twin.refused, twin.nodes_in_use, listed(twin)) for twin in twins]
            else:
                answers = [twin.flags(name) for twin in twins]
            self.assertEqual(*answers)
        parts = [(b"**",)]
        self.assertEqual(*(sorted(twin.find(parts, 999, UNBOUNDED)[0]) for twin in twins))

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.data())
    def test_a_search_finds_what_stays(self, data):
        dice = random.Random(data.draw(st.integers(0, 1 << 32)))
        components = [b"%d" % i for i in range(data.draw(st.sampled_from([3, 40])))]

        def some(n):
            return {b".".join(dice.choices(components, k=dice.randint(1, 4))) for _ in range(n)}

        stay = some(data.draw(st.integers(0, 60)))
        for twin in filter(None, (python_twin("index"), native_twin("index"))):
            index, coming = twin.NameIndex(7), some(30) - stay
            for name in stay | coming:
                index.add(name)
            search = index.search([(b"**",)], UNBOUNDED, UNBOUNDED)
            while not search.run(64 * dice.randint(1, 5)):
                for name in dice.sample(sorted(coming), min(5, len(coming))):
                    index.remove(name)
                for name in some(4) - stay:
                    coming.add(name)
                    index.add(name)
            found = [path for path, _ in search.matches()]
            self.assertEqual(len(found), len(set(found)))
            self.assertLessEqual(stay, set(found))
            possible = {b".".join(name.split(b".")[:n]) for name in stay | coming for n in range(1, 5)}
            self.assertLessEqual(set(found), possible)
            del search
            for name in stay | coming:
                index.remove(name)
            self.assertEqual((len(index), index.nodes_in_use), (0, 0))

    def test_random_growth_and_decay(self):
        native = native_twin("index")
        if native is None:
            raise SkipTest("the native twin of index is not built")
        dice = random.Random(99)
        index, alive = native.NameIndex(77), set()
        for _ in range(30_000):
            name = b"%d.%d.%d" % (dice.randrange(5), dice.randrange(60), dice.randrange(60))
            if dice.random() < 0.5:
                self.assertEqual(index.add(name), name not in alive)
                alive.add(name)
            else:
                self.assertEqual(index.remove(name), name in alive)
                alive.discard(name)
        self.assertEqual(listed(index, 1000), sorted(alive))
        self.assertEqual(sorted(p for p, k in index.find([(b"*",)] * 3, 10**6, UNBOUNDED)[0]), sorted(alive))
