"""The bodies of find."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.find import Match
from cadtwist.query.index import BRANCH, LEAF
from cadtwist.web.findformats import find_answer
from cadtwist.web.params import Params

KINDS = st.sampled_from([LEAF, BRANCH, LEAF | BRANCH])
HOSTS = st.dictionaries(st.sampled_from("abcdef"), KINDS, max_size=6)
FLAGS = st.tuples(st.sampled_from("01"), st.sampled_from("01"))


def tree(query: str, matches: list[Match], leaves_only: str = "0", wildcards: str = "0") -> list[dict[str, object]]:
    """Return the nodes that the answer has."""
    params = Params([("leavesOnly", leaves_only), ("wildcards", wildcards)])
    nodes: list[dict[str, object]] = json.loads(find_answer("treejson", query, matches, params, 0).body)
    return nodes


class TreeTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None, database=None)
    @given(HOSTS, FLAGS)
    def test_of_one_component_the_first_path_counts(self, hosts: dict[str, int], flags: tuple[str, str]) -> None:
        """What is known beforehand to be one component is found as what turns out to be one."""
        matches = sorted((f"{host}.same", kind) for host, kind in hosts.items())
        self.assertEqual(tree("*.same", matches, *flags), tree("*.[s]ame", matches, *flags))

    def test_kinds(self) -> None:
        both, leaf, branch = (("a.x", LEAF | BRANCH), ("a.y", LEAF), ("b.x", BRANCH))
        named = [(node["text"], node["leaf"]) for node in tree("*.*", [both, leaf, branch])]
        self.assertEqual(named, [("x", 0), ("y", 1)])
        named = [(node["text"], node["leaf"]) for node in tree("*.*", [both, leaf, branch], "1", "1")]
        self.assertEqual(named, [("*", 1), ("x", 1), ("y", 1)])
        self.assertEqual(tree("*.x", [branch, ("c.x", LEAF)], "1")[0]["leaf"], 1)
        self.assertEqual([node["text"] for node in tree("a.", [("a.", BRANCH)])], [""])
