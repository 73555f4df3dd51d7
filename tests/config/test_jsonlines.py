"""JSON with the lines of its keys."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.jsonlines import read_json

_VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=12,
)


class ReadJsonTests(SynchronousTestCase):
    def test_lines_of_keys_and_entries(self) -> None:
        problems = Problems()
        text = '{"a": 1,\n "b": {"c:": "x,y{",\n\n"d": [1, [\n2], {"e": "}"}\n]},\n"f\\"": []}'
        value, lines = read_json(text, "x", problems)
        self.assertEqual(problems.reports, [])
        self.assertEqual(value["b"]["d"], [1, [2], {"e": "}"}])
        self.assertEqual(
            lines,
            {
                ("a",): 1,
                ("b",): 2,
                ("b", "c:"): 2,
                ("b", "d"): 4,
                ("b", "d", 0): 4,
                ("b", "d", 1): 4,
                ("b", "d", 1, 0): 5,
                ("b", "d", 2): 5,
                ("b", "d", 2, "e"): 5,
                ('f"',): 7,
            },
        )

    @settings(max_examples=150, deadline=None, database=None)
    @given(_VALUES)
    def test_every_key_has_its_line(self, value: object) -> None:
        text = json.dumps(value, indent=1)
        found, lines = read_json(text, "x", Problems())
        self.assertEqual(found, value)
        rows = text.split("\n")
        for path, line in lines.items():
            if isinstance(path[-1], str):
                self.assertTrue(rows[line - 1].lstrip().startswith(json.dumps(path[-1])), path)

    def test_faults(self) -> None:
        for text, expected in (
            ('{"a":\n1,}', "x:2: not JSON"),
            ("", "x:1: not JSON"),
            ('{"a": "NaN",\n "b": [1,\n -Infinity]}', "x:3: not JSON: -Infinity is no number"),
            ("[" * 100_000, "x: nested too deeply"),
            ('{"a": 1} x', "x:1: not JSON"),
        ):
            problems = Problems()
            self.assertEqual(read_json(text, "x", problems), (None, {}))
            self.assertTrue(problems.texts("error")[0].startswith(expected), problems.reports)

    def test_a_key_that_is_there_twice_is_told(self) -> None:
        problems = Problems()
        value, _ = read_json('\ufeff{"a": 1, "a": 2}', "x", problems)
        self.assertEqual((value, len(problems.texts("warning"))), ({"a": 2}, 1))
