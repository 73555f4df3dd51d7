"""Tests of `cadtwist.model.partial`: vectors of the original client and server."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.partial import Partial, PartialPath, merged, minute, partial_of, read_value

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "dattss")


def recording(name: str) -> Any:
    with open(os.path.join(DATA, f"{name}.json"), encoding="utf-8") as file:
        return json.load(file)


class ClientTests(SynchronousTestCase):
    def test_values(self) -> None:
        for text, wanted in {
            "1c": (1, "c", False), "2c!": (2, "c", True), "-4g": (-4, "g", False), "12msXYZ": (12, "ms", False),
            "1.5c": None, "abc": None, "1h": None, "3!c": None, "": None, "c": None, "+1c": None, "1 c": None,
            "9" * 400 + "c": None, "\u0661c": None,
        }.items():  # fmt: skip
            self.assertEqual(read_value(text), wanted, text)

    def test_partials_as_the_client_makes_them(self) -> None:
        recorded = recording("client_put")
        gathered: dict[tuple[str, str], tuple[list[int], list[bool]]] = {}
        for path, text in recorded["calls"]:
            value = read_value(text)
            if value is not None and PartialPath.fullmatch(path):
                values, marks = gathered.setdefault((value[1], path), ([], []))
                values.append(value[0])
                marks.append(value[2])
        found = {key: partial_of(*key, values, any(marks)) for key, (values, marks) in gathered.items()}
        wanted = recorded["requests"][1]["body"]["prt"]
        compared = 0
        for kind, partials in wanted.items():
            for given_partial in partials:
                if "!" in given_partial["pth"]:
                    continue
                mine = msgspec.structs.asdict(found[kind, given_partial["pth"]])
                if given_partial["pth"] == "z":  # the original takes 0 for nothing
                    given_partial |= {"min": 0, "fst": 0}
                self.assertEqual(mine, given_partial)
                compared += 1
        self.assertEqual(compared, 7)
        self.assertIn(("c", "col:on"), found)


class MinuteTests(SynchronousTestCase):
    def test_as_the_server_makes_them(self) -> None:
        for case in recording("server_vectors")["agg_partials"]:
            found = msgspec.structs.asdict(minute([Partial(**each) for each in case["in"]]))
            wanted = case["out"]
            if case["in"][0]["typ"] == "g":  # the original takes 0 for nothing
                values = case["in"]
                wanted |= {"max": max(v["max"] for v in values), "min": min(v["min"] for v in values), "fst": 0}
            self.assertEqual({name: found[name] for name in wanted}, wanted)

    def test_merging_keeps_what_is_exact(self) -> None:
        values = st.lists(st.integers(-999, 999), min_size=1, max_size=30)

        @given(values, values)
        def exact(one: list[int], two: list[int]) -> None:
            found = merged(partial_of("ms", "a", one), partial_of("ms", "a", two, True))
            whole = partial_of("ms", "a", one + two, True)
            for name in ("sum", "cnt", "max", "min", "fst", "lst", "emp"):
                self.assertEqual(getattr(found, name), getattr(whole, name), name)
            self.assertTrue(whole.min <= found.bot <= whole.max)

        exact()
