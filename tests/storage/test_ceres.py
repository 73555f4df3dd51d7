from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.errors import StorageError
from cadtwist.model.retention import SchemaRule, parse_retentions
from cadtwist.model.writejob import CREATED, QUARANTINED, WRITTEN
from cadtwist.storage.ceres import CeresOptions, CeresStore, is_ceres_tree
from cadtwist.storage.reports import FileReport
from cadtwist.storage.schemas import SchemaTable
from tests.contracts.test_store import NOW, job

DATA = Path(__file__).parent.parent / "data" / "ceres"
RECORDED = json.loads((DATA / "sequence.json").read_text())
LATER = 1_700_010_180


class RecordedTreeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = CeresStore(str(DATA / "tree"), SchemaTable())

    def test_it_is_a_tree(self) -> None:
        self.assertTrue(is_ceres_tree(self.store.root))
        self.assertFalse(is_ceres_tree(str(DATA)))

    def test_names(self) -> None:
        names = sorted(name for some in self.store.walk() for name in some)
        self.assertEqual(names, ["del.me", "plain", "servers.web01.cpu", "sub.metric"])

    def test_fetches(self) -> None:
        """As recorded, but what lies behind the end of both data and time is not there, and nothing is no answer."""
        for case in RECORDED["fetches"]:
            if case["node"] == "nope":
                self.assertIsNone(self.store.fetch("nope", case["from"], case["until"], LATER))
            elif "error" in case:
                self.assertRaises(ValueError, self.store.fetch, case["node"], case["from"], case["until"], LATER)
            else:
                expected = case["result"]
                series = self.store.fetch(case["node"], case["from"], case["until"], LATER)
                if series is None:
                    self.assertEqual(set(expected["values"]), {None} if expected["values"] else set())
                    continue
                values = [None if value != value else value for value in series.values.tolist()]
                self.assertEqual((series.start, series.step), (expected["startTime"], expected["timeStep"]))
                self.assertEqual(values, expected["values"][: len(values)])
                self.assertLessEqual(set(expected["values"][len(values) :]), {None})
                self.assertEqual(series.end, series.start + len(series) * series.step)

    def test_which_nodes_have_something_in_a_range(self) -> None:
        for case in RECORDED["find"]:
            if "from" in case:
                found = self.store.fetch("sub.metric", case["from"], case["until"], LATER)
                self.assertEqual(found is not None, bool(case["nodes"]))

    def test_what_a_series_says_of_itself(self) -> None:
        series = self.store.fetch("sub.metric", NOW, NOW + 60, LATER)
        assert series is not None
        self.assertEqual((series.consolidation, series.xff), ("max", 0.5))

    def test_one_step_alone(self) -> None:
        series = self.store.fetch("sub.metric", NOW - 300, NOW + 120, LATER, 60)
        assert series is not None
        self.assertEqual((series.step, series.values.tolist()[:5]), (60, [55.0, 56.0, 57.0, 58.0, 59.0]))
        self.assertRaises(ValueError, self.store.fetch, "sub.metric", NOW, NOW + 120, LATER, 7)
        self.assertIsNone(self.store.fetch("servers.web01.cpu", NOW, NOW + 600, LATER, 300))

    def test_a_long_range_begins_where_points_may_be(self) -> None:
        series = self.store.fetch("servers.web01.cpu", 0, LATER, LATER)
        assert series is not None
        self.assertEqual(series.start, LATER - 300 * 2016 - (LATER - 300 * 2016) % 60)
        series = self.store.fetch("sub.metric", 0, 2**40, LATER)
        assert series is not None
        self.assertEqual((series.start, series.end), (1699996440 - 1699996440 % 10, LATER))


class CeresStoreTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.schemas = SchemaTable()
        self.root = self.mktemp()
        self.store = CeresStore(self.root, self.schemas)
        self.addCleanup(self.store.close)

    def write(self, *names: str, now: int = NOW) -> list[int]:
        return self.store.write(job(self.schemas, {name: [(now, 1.0)] for name in names}, now)).tolist()

    def test_the_first_write_makes_a_tree(self) -> None:
        self.assertFalse(is_ceres_tree(self.root))
        self.write("a")
        self.assertTrue(is_ceres_tree(self.root))
        node = (Path(self.root) / "a" / ".ceres-node").read_text()
        expected = '{"retentions": [[60, 10080]], "timeStep": 60, "xFilesFactor": 0.5, "aggregationMethod": "average"}'
        self.assertEqual(node, expected)

    def test_tagged_metrics_are_found_under_either_path(self) -> None:
        plain = CeresStore(self.root, self.schemas, CeresOptions(hash_tagged=False))
        plain.write(job(self.schemas, {"m.x;a=b": [(NOW, 1.0)]}))
        self.assertTrue(self.store.exists("m.x;a=b"))
        self.assertEqual(self.store.fetch("m.x;a=b", NOW, NOW + 60, NOW).values.tolist(), [1.0])
        self.assertEqual(list(self.store.walk()), [["m.x;a=b"]])
        self.assertTrue(self.store.delete("m.x;a=b"))

    def test_hashed_metrics_are_walked_by_their_path(self) -> None:
        self.write("m.x;a=b")
        path = self.store.path_of("m.x;a=b").removeprefix(self.store.root + "/")
        self.assertEqual(list(self.store.walk()), [[path.replace("/", ".")]])
        self.assertTrue(path.startswith("_tagged/"))

    def test_a_mismatch_is_told_once_and_listed(self) -> None:
        self.write("a")
        self.schemas.reload([SchemaRule("all", re.compile(""), parse_retentions("10s:1h"))], [])
        for _again in range(2):
            self.assertEqual(self.write("a"), [WRITTEN])
            self.store.close()
        self.assertEqual(self.store.reports(), [FileReport("retention_mismatch", "a", "")])
        self.assertEqual(self.store.mismatched(), ["a"])
        self.store.tell_again()
        self.assertEqual(self.store.mismatched(), ["a"])

    def test_a_damaged_node_is_told_and_cannot_be_fetched(self) -> None:
        self.write("a")
        (Path(self.root) / "a" / ".ceres-node").write_text("{")
        self.store.close()
        self.assertEqual(self.write("a", "b"), [QUARANTINED, CREATED])
        self.assertEqual(self.store.reports(), [FileReport("quarantined", "a", "")])
        self.assertRaises(StorageError, self.store.fetch, "a", NOW, NOW + 60, NOW)
        self.assertRaises(StorageError, self.store.get_metadata, "a", "timeStep")

    def test_each_lane_writes_its_own(self) -> None:
        store = CeresStore(self.root, self.schemas, lanes=2)
        for number in range(8):
            store.write(job(self.schemas, {f"m{number}": [(NOW, 1.0)]}, ids=[number]))
        self.assertEqual(store.counters()["created"], 8)
        self.assertEqual(store.writer(0).counters()["created"], 4)

    def test_any_property_of_a_node(self) -> None:
        """Carbonlink may read and change all that a node says of itself."""
        self.write("a")
        self.assertEqual(self.store.get_metadata("a", "retentions"), "[[60, 10080]]")
        self.assertEqual(self.store.set_metadata("a", "colour", "green"), "")
        self.assertEqual(self.store.set_metadata("a", "colour", "NaN"), "green")
        self.assertEqual(self.store.set_metadata("a", "xFilesFactor", "0.25"), "0.5")
        self.assertEqual(self.store.node("a").xff, 0.25)
        self.assertRaises(ValueError, self.store.set_metadata, "a", "timeStep", "often")
        self.assertRaises(ValueError, self.store.set_metadata, "a", "timeStep", "0")
        self.assertEqual(os.listdir(os.path.join(self.root, "a")).count(".ceres-node"), 1)
        self.assertEqual(len(os.listdir(os.path.join(self.root, "a"))), 2)

    def test_deleting_leaves_what_lies_below(self) -> None:
        self.write("a", "a.b")
        self.assertTrue(self.store.delete("a"))
        self.assertEqual((self.store.exists("a"), self.store.exists("a.b")), (False, True))
        self.assertFalse(self.store.delete("a"))
        self.assertTrue(self.store.delete("a.b"))
        self.assertFalse(os.path.exists(self.store.path_of("a.b")))

    def test_ranges_that_are_too_long(self) -> None:
        self.write("a", now=60)
        self.assertRaises(ValueError, self.store.fetch, "a", 0, 2**40, 2**40)

    def test_a_file_in_the_place_of_a_folder(self) -> None:
        Path(self.root).mkdir()
        (Path(self.root) / "a").touch()
        self.assertIsNone(self.store.fetch("a.b", 0, 60, NOW))
        self.assertFalse(self.store.exists("a.b"))

    def test_writing_goes_on_where_others_wrote(self) -> None:
        shutil.copytree(DATA / "tree", self.root)
        self.assertEqual(self.write("sub.metric", now=1700000450), [WRITTEN])
        series = self.store.fetch("sub.metric", 1700000440, 1700000460, NOW + 460)
        assert series is not None
        self.assertEqual((series.step, series.values.tolist()), (10, [140.0, 1.0]))
