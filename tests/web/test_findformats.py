"""The bodies of find."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.batch import NO_ID
from cadtwist.query.find import Match
from cadtwist.query.index import BRANCH, LEAF, MetricIndex
from cadtwist.query.owner import LocalOwner
from cadtwist.query.resolution import SchemaInfo
from cadtwist.storage.memory import MemoryStore
from cadtwist.storage.schemas import SchemaTable
from cadtwist.web.context import WebContext
from cadtwist.web.findformats import find_answer
from cadtwist.web.params import Params
from cadtwist.web.site import ApiSite
from tests.query.hotpoints import every_has
from tests.web.wire import ask

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

    @settings(max_examples=60, deadline=None, database=None)
    @given(HOSTS, FLAGS)
    def test_through_the_door(self, hosts: dict[str, int], flags: tuple[str, str]) -> None:
        """What needs no look at each name is answered as what does."""
        index = MetricIndex(3)
        for host, kind in hosts.items():
            names = {LEAF: f"{host}.same", BRANCH: f"{host}.same.x"}
            index.add_all(name.encode() for of, name in names.items() if kind & of)
        local = LocalOwner(index, lambda _: NO_ID, every_has(), lambda _: SchemaInfo(((60, 60),), "average", 0.5))
        clock = Clock()
        site = ApiSite(WebContext(local, MemoryStore(SchemaTable()), lambda: 1_700_000_000.0), 1000, clock)
        answers = [
            ask(site, clock, "GET", "/metrics/find",
                [("query", query), ("leavesOnly", flags[0]), ("wildcards", flags[1])]).body
            for query in ("*.same", "*.[s]ame")
        ]  # fmt: skip
        self.assertEqual(*answers)

    def test_nodes_are_told_as_json_does(self) -> None:
        """Written by hand, letter by letter what the encoder gives."""
        matches = [(f"a.{name}", kind) for name, kind in (
            ('"q"\\', LEAF), ("ü\U0001f600", BRANCH), ("x%41+y", LEAF | BRANCH), ("\x01", LEAF),
        )]  # fmt: skip
        for accept in (None, "text/html"):
            body, indented = (
                find_answer("treejson", "a.*", matches, Params(fields, accept), 0).body
                for fields in ([], [("pretty", "1")])
            )
            self.assertEqual(body.decode(), json.dumps(json.loads(indented), ensure_ascii=accept is None))
            self.assertEqual(len(json.loads(body)), 4)

    def test_kinds(self) -> None:
        both, leaf, branch = (("a.x", LEAF | BRANCH), ("a.y", LEAF), ("b.x", BRANCH))
        named = [(node["text"], node["leaf"]) for node in tree("*.*", [both, leaf, branch])]
        self.assertEqual(named, [("x", 0), ("y", 1)])
        named = [(node["text"], node["leaf"]) for node in tree("*.*", [both, leaf, branch], "1", "1")]
        self.assertEqual(named, [("*", 1), ("x", 1), ("y", 1)])
        self.assertEqual(tree("*.x", [branch, ("c.x", LEAF)], "1")[0]["leaf"], 1)
        self.assertEqual([node["text"] for node in tree("a.", [("a.", BRANCH)])], [""])
