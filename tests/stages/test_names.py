"""Tests of `cadtwist.stages.names`."""

from __future__ import annotations

import json
import os
from types import ModuleType

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest
from zope.interface import implementer
from zope.interface.verify import verifyObject

from cadtwist.interfaces import ISink, IStage
from cadtwist.model.batch import BATCH_POINTS, Batch, Spans
from cadtwist.model.rules import RewriteRule
from cadtwist.model.table import KeySpace
from cadtwist.stages.names import BlacklistRule, NameMap, NormaliseTags, Outcome, Rewrite, WhitelistRule
from cadtwist.telemetry import Account
from tests.twins import native_twin, python_twin

DATA = os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "carbon")


@implementer(ISink)
class FakeSink:
    """Keeps what it was lent."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def accept(self, batch: Batch) -> None:
        self.batches.append(batch)


class Duplicate:
    label = "duplicate"

    def __call__(self, name: str) -> Outcome:
        return Outcome((name, "copy." + name)) if name.startswith("two") else Outcome((name,))


class RuleTests(unittest.SynchronousTestCase):
    def test_lists(self) -> None:
        black, white = BlacklistRule(("^a", "z$")), WhitelistRule(("b",))
        self.assertEqual((black("ab"), black("yz"), black("bc")), (Outcome((), "blacklist"),) * 2 + (None,))
        self.assertEqual((white("ab"), white("cd")), (None, Outcome((), "whitelist")))
        self.assertIsNone(WhitelistRule(())("cd"))

    def test_tags(self) -> None:
        rule = NormaliseTags()
        self.assertEqual(rule("m;b=2;a=1"), Outcome(("m;a=1;b=2",)))
        self.assertEqual(rule("m;a"), Outcome(("m;a",), "unparsable_tags"))

    def test_substitutions_are_as_recorded(self) -> None:
        with open(os.path.join(DATA, "rewrite-rules.conf"), encoding="utf-8") as file:
            sections = file.read().split("[")
        with open(os.path.join(DATA, "rewrite_results.json"), encoding="utf-8") as file:
            results = json.load(file)["results"]
        for section in ("pre", "post"):
            text = next(part.split("]\n")[1] for part in sections if part.startswith(section))
            pairs = [line.partition("=") for line in text.splitlines() if line]
            rules = [RewriteRule(pattern.strip(), replacement.strip()) for pattern, _, replacement in pairs]
            for result in results:
                wanted = Outcome((result[section],)) if result[section] else Outcome((), "name")
                self.assertEqual(Rewrite(rules)(result["in"]) or Outcome((result["in"],)), wanted)


class NameMapContract:
    kernel: ModuleType

    def setUp(self) -> None:
        self.table = self.kernel.MetricTable(4)
        self.sink = FakeSink()
        self.account = Account("names")

    def stage(self, *rules: object, **options: object) -> NameMap:
        return NameMap(rules, self.table, self.sink, self.account, **options)  # type: ignore[arg-type]

    def batch(self, *names: str) -> Batch:
        ids = np.array([self.table.intern(name.encode(), 50) for name in names], np.uint32)
        return Batch(ids, np.arange(len(names), dtype=np.float64), np.arange(len(names)) * 10.0)

    def points(self) -> list[tuple[str, float, float]]:
        return [
            (name.decode(), when, value)
            for batch in self.sink.batches
            for name, when, value in zip(
                self.table.names(batch.ids), batch.timestamps.tolist(), batch.values.tolist(), strict=True
            )
        ]

    def test_is_a_stage(self) -> None:
        verifyObject(IStage, self.stage())

    def test_passes_a_whole_batch_on_untouched(self) -> None:
        batch = self.batch("a", "b", "a")
        self.stage(BlacklistRule(("x",)), NormaliseTags()).accept(batch)
        self.assertIs(self.sink.batches[0], batch)
        self.assertEqual((self.account.received, self.account.out, self.account.balance()), (3, 3, 0))

    def test_counts_what_it_drops_by_reason(self) -> None:
        stage = self.stage(BlacklistRule(("^x",)), WhitelistRule(("a",)))
        stage.accept(self.batch("a", "xa", "b", "xa", "aa", "c"))
        self.assertEqual(self.points(), [("a", 0.0, 0.0), ("aa", 4.0, 40.0)])
        self.assertEqual(self.account.dropped, {"blacklist": 2, "whitelist": 2})
        self.assertEqual(self.account.balance(), 0)

    def test_names_need_not_be_utf8(self) -> None:
        stage = self.stage(Rewrite([RewriteRule("^b", "a")]))
        ids = [self.table.intern(name, 50) for name in (b"b\xff\xc3", b"\xe9")]
        stage.accept(Batch(np.array(ids, np.uint32), np.zeros(2), np.zeros(2)))
        self.assertEqual(self.table.names(self.sink.batches[0].ids), [b"a\xff\xc3", b"\xe9"])

    def test_a_rule_may_make_what_no_text_has(self) -> None:
        self.stage(Rewrite([RewriteRule("^b", "\ud800")])).accept(self.batch("b"))
        self.assertEqual(self.table.names(self.sink.batches[0].ids), [b"?"])

    def test_sends_nothing_when_all_is_dropped(self) -> None:
        self.stage(BlacklistRule(("",))).accept(self.batch("a", "b"))
        self.assertEqual((self.sink.batches, self.account.balance()), ([], 0))

    def test_renames_and_fans_out_in_order(self) -> None:
        stage = self.stage(NormaliseTags(), Duplicate(), BlacklistRule(("bad",)))
        stage.accept(self.batch("two;b=1;a=2", "one", "bad", "two.x", "one", "two.bad"))
        self.assertEqual(
            [(name, when) for name, when, _ in self.points()],
            [
                ("two;a=2;b=1", 0.0),
                ("copy.two;a=2;b=1", 0.0),
                ("one", 1.0),
                ("two.x", 3.0),
                ("copy.two.x", 3.0),
                ("one", 4.0),
            ],
        )
        self.assertEqual((self.account.made, self.account.dropped, self.account.balance()), (2, {"blacklist": 2}, 0))

    def test_bounds_the_batches_that_it_makes(self) -> None:
        stage, batch = self.stage(Duplicate()), self.batch(*["two"] * 6000)
        stage.accept(batch)
        self.assertEqual([len(each) for each in self.sink.batches], [BATCH_POINTS, 12_000 - BATCH_POINTS])
        self.assertEqual(self.account.balance(), 0)

    def test_spans_follow_their_rows(self) -> None:
        batch = self.batch("bad", "a")
        batch.spans = Spans(b"bad 0 0\na 1 10\n", np.array([[0, 3, 7], [8, 9, 14]], np.uint32))
        self.stage(BlacklistRule(("bad",))).accept(batch)
        spans = self.sink.batches[0].spans
        assert spans is not None
        self.assertEqual(spans.table.tolist(), [[8, 9, 14]])

    def test_counts_remarks_once_a_metric(self) -> None:
        stage = self.stage(NormaliseTags())
        stage.accept(self.batch("m;a", "m;a", "m"))
        stage.accept(self.batch("m;a"))
        self.assertEqual((self.account.counters, len(self.points())), ({"unparsable_tags": 1}, 4))

    def test_asks_whom_to_admit_last(self) -> None:
        asked = []

        def admit(number: int, name: str) -> str:
            asked.append((number, name))
            return "cardinality" if len(asked) > 2 else ""

        stage = self.stage(BlacklistRule(("bad",)), admit=admit)
        stage.accept(self.batch("a", "bad", "b", "c", "a", "c"))
        self.assertEqual(asked, [(0, "a"), (2, "b"), (3, "c")])
        self.assertEqual(self.account.dropped, {"blacklist": 1, "cardinality": 2})

    def test_claims_targets_until_their_sources_are_forgotten(self) -> None:
        stage = self.stage(NormaliseTags())
        space = KeySpace(self.table, [stage])
        stage.accept(self.batch("m;b=1;a=1"))
        source, target = self.table.lookup(b"m;b=1;a=1"), self.table.lookup(b"m;a=1;b=1")
        self.assertEqual(stage.holds(np.array([source, target], np.uint32)).tolist(), [False, True])
        self.assertEqual(self.table.seen(target), 50)
        self.assertEqual(space.sweep(1000.0, 60, 100), 1)
        self.assertEqual(space.sweep(1000.0, 60, 100), 1)
        self.assertEqual(len(self.table), 0)

    def test_a_full_table_loses_no_metric_for_ever(self) -> None:
        self.table = self.kernel.MetricTable(4, 2 * (32 + 16))
        stage = self.stage(NormaliseTags())
        other = self.table.intern(b"other.name", 1)
        stage.accept(self.batch("m;b=1;a=1"))
        self.assertEqual((self.points(), self.account.dropped), ([], {"table_full": 1}))
        self.table.retire([other])
        self.table.recycle([other])
        stage.accept(self.batch("m;b=1;a=1"))
        self.assertEqual(self.points(), [("m;a=1;b=1", 0.0, 0.0)])
        self.assertEqual((self.account.dropped, self.account.balance()), ({"table_full": 1}, 0))

    def test_is_replaced_with_its_neighbours_kept(self) -> None:
        old = self.stage(BlacklistRule(("a",)))
        old.accept(self.batch("a", "b"))
        fresh = old.replaced([BlacklistRule(("b",))])
        self.assertEqual([fresh.prime(self.table.live(), 1) for _ in range(3)], [1, 0, 0])
        fresh.accept(self.batch("a", "b"))
        self.assertEqual([name for name, _, _ in self.points()], ["b", "a"])
        self.assertEqual((self.account.dropped, self.account.balance()), ({"blacklist": 2}, 0))

    def test_explains(self) -> None:
        stage = self.stage(BlacklistRule(("bad",)), NormaliseTags(), Duplicate())
        self.assertEqual(stage.explain("a"), "a: passed unchanged")
        self.assertEqual(stage.explain("bad"), "bad: dropped (blacklist)")
        self.assertEqual(stage.explain("two;b=1;a=1"), "two;b=1;a=1: becomes two;a=1;b=1, copy.two;a=1;b=1")
        self.assertEqual(stage.explain("m;a"), "m;a: passed unchanged (unparsable_tags)")


class PythonNameMapTests(NameMapContract, unittest.SynchronousTestCase):
    kernel = python_twin("table")


class NativeNameMapTests(NameMapContract, unittest.SynchronousTestCase):
    kernel = native_twin("table")  # type: ignore[assignment]
    if kernel is None:
        skip = "the native twin is not built"


class RandomTests(unittest.SynchronousTestCase):
    @settings(max_examples=80, deadline=None, database=None, print_blob=True)
    @given(st.lists(st.lists(st.text("abt;=w", max_size=6), max_size=30), max_size=5), st.integers(0, 30))
    def test_columns_and_names_tell_the_same(self, turns: list[list[str]], forgotten: int) -> None:
        kernel, sink, account = python_twin("table"), FakeSink(), Account("n")
        table = kernel.MetricTable(1)
        stage = NameMap([BlacklistRule(("aa",)), NormaliseTags(), Duplicate()], table, sink, account)
        for names in turns:
            ids = np.array([table.intern(name.encode(), 1) for name in names], np.uint32)
            sink.batches.clear()
            stage.accept(Batch(ids, np.arange(len(names)) * 1.0, np.zeros(len(names))))
            found = [name for batch in sink.batches for name in table.names(batch.ids)]
            self.assertEqual(found, [each.encode() for name in names for each in stage.decide(name).names])
            self.assertEqual(account.balance(), 0)
            stage.forget(np.unique(ids[:forgotten]))
