"""Tests of `cadtwist.routing.routes`."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from cadtwist.routing.routes import Choice, RouteTable, shown, targets


class TargetsTests(unittest.SynchronousTestCase):
    def test_the_first_that_live(self) -> None:
        route = (Choice(("a", "b", "c"), 2),)
        for live, wanted in ((None, "ab"), ("abc", "ab"), ("bc", "bc"), ("ca", "ac"), ("c", "c")):
            self.assertEqual("".join(targets(route, live)), wanted)

    def test_where_nobody_lives_the_queue_holds_or_nobody_gets_it(self) -> None:
        route = (Choice(("a", "b")), Choice(("c",)))
        self.assertEqual(targets(route, ""), ("a", "c"))
        self.assertEqual(targets(route, "", hold=False), ())
        self.assertEqual(targets(route, "c", hold=False), ("c",))
        self.assertEqual(targets(()), ())

    def test_each_once(self) -> None:
        self.assertEqual(targets((Choice(("a", "b")), Choice(("b", "a")), Choice(("a",)))), ("a", "b"))
        self.assertEqual(targets((Choice(("a", "b")), Choice(("b",))), "b"), ("b",))

    def test_no_host_twice(self) -> None:
        route = (Choice(("a1", "a2", "b1", "c1"), 2, ("a", "a", "b", "c")),)
        self.assertEqual(targets(route), ("a1", "b1"))
        self.assertEqual(targets(route, ("a2", "c1")), ("a2", "c1"))
        self.assertEqual(targets(route, ("a2", "a1")), ("a1",))

    def test_the_least_loaded(self) -> None:
        route = (Choice(("a", "b", "c"), balanced=True),)
        self.assertEqual(targets(route), ("a",))
        self.assertEqual(targets(route, loads={"a": 5, "b": 2, "c": 2}), ("b",))
        self.assertEqual(targets(route, "ac", {"a": 5, "b": 2}), ("c",))

    @settings(max_examples=100, deadline=None, database=None, print_blob=True)
    @given(st.permutations("abcdef"), st.integers(1, 7), st.sets(st.sampled_from("abcdef")))
    def test_takes_live_ones_in_order(self, candidates: list[str], copies: int, live: set[str]) -> None:
        found = targets((Choice(tuple(candidates), copies),), live, hold=False)
        self.assertEqual(found, tuple(key for key in candidates if key in live)[:copies])


class ShownTests(unittest.SynchronousTestCase):
    def test_for_people(self) -> None:
        for route, text in (
            ((), "nobody"),
            ((Choice(("a",)),), "a"),
            ((Choice(("a",)), Choice(("b",))), "a and b"),
            ((Choice(("a", "b")),), "the first live of a, b"),
            ((Choice(("a", "b", "c"), 2),), "the first 2 live of a, b, c"),
            ((Choice(("a", "b"), 2, ("x", "y")),), "the first 2 live of a, b, each on a host of its own"),
            ((Choice(("a", "b"), balanced=True),), "the least loaded of a, b"),
            ((Choice(("a", "b", "c"), 2, balanced=True),), "the 2 least loaded of a, b, c"),
        ):
            self.assertEqual(shown(route), text)


class RouteTableTests(unittest.SynchronousTestCase):
    def test_equal_routes_have_one_number(self) -> None:
        table = RouteTable()
        routes = [(Choice(("a", "b")),), (), (Choice(("b",)),)]
        self.assertEqual([table.number(route) for route in (*routes, *routes[::-1])], [0, 1, 2, 2, 1, 0])
        self.assertEqual(table.number((Choice(("a", "b")),)), 0)
        self.assertEqual(([table.route(number) for number in range(3)], len(table)), (routes, 3))
        self.assertRaises(IndexError, table.route, 3)

    def test_resolves_to_the_numbers_of_destinations(self) -> None:
        table, numbers = RouteTable(), {"a": 7, "b": 3}
        for route in ((Choice(("a", "b")),), (), (Choice(("b",)), Choice(("unknown",)))):
            table.number(route)
        self.assertEqual(table.resolved(numbers), [(7,), (), (3,)])
        self.assertEqual(table.resolved(numbers, live="b"), [(3,), (), (3,)])
        self.assertEqual(table.resolved(numbers, live="a", hold=False, since=1), [(), ()])
        self.assertEqual(table.resolved(numbers, loads={"a": 1}), [(7,), (), (3,)])
