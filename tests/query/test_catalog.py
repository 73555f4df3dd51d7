"""Questions about tags and events."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.catalog import Catalog
from cadtwist.query.events import Event
from cadtwist.query.find import QueryError


class CatalogTests(SynchronousTestCase):
    def setUp(self):
        self.changes = []
        self.catalog = Catalog(lambda *change: self.changes.append(change))

    def test_series(self):
        ask = self.catalog.answer
        self.assertEqual(ask("add", [["a;y=2;x=1", "b;x=1", "a;x=1;y=2"]]), ["a;x=1;y=2", "b;x=1", "a;x=1;y=2"])
        self.assertEqual(ask("series", [["x=1", "y!=2"]]), ["b;x=1"])
        self.assertEqual(ask("tags", ["", 9]), ["name", "x", "y"])
        self.assertEqual(ask("tags", ["[xy]", 1]), ["x"])
        self.assertEqual(ask("values", ["name", "", 9]), [("a", 1), ("b", 1)])
        self.assertEqual(ask("values", ["name", "b", 9]), [("b", 1)])
        self.assertIsNone(ask("values", ["z", "", 9]))
        self.assertEqual(ask("complete tags", [[], "", 9]), ["name", "x", "y"])
        self.assertEqual(ask("complete values", [[], "y", "", 9]), ["2"])
        self.assertTrue(ask("remove", [["b;x=1", "nobody;x=1"]]))
        self.assertEqual(self.changes, [("series", "a;x=1;y=2"), ("series", "b;x=1"), ("gone", "b;x=1")])

    def test_met(self):
        for name in ("a;x=1", "a;x=1", "bad;"):
            self.catalog.met(name)
        self.catalog.restore(["b;x=2", ";"])
        self.assertEqual(self.changes, [("series", "a;x=1")])
        self.assertEqual(self.catalog.answer("series", [["x!="]]), ["a;x=1", "b;x=2"])

    def test_events(self):
        ask = self.catalog.answer
        self.assertEqual(ask("new event", [7, "w", ["t"], "d"]), 1)
        self.assertEqual(self.changes, [("event", Event(7, 1, "w", ("t",), "d"))])
        self.assertEqual((ask("event", [1]), ask("event", [2])), ((7, 1, "w", ("t",), "d"), None))
        self.assertEqual(ask("events", [0, 9, ["t"], ""]), [(7, 1, "w", ("t",), "d")])
        self.assertEqual(ask("event times", [0, 9, ["t"]]), [7])

    def test_refusals(self):
        for question, arguments in (
            ("what", []), ("add", [["a;"]]), ("add", [["a;x=" + "1" * 5000]]), ("add", [["a;x=1"] * 100_001]),
            ("tags", ["(", 1]), ("values", ["name", "x" * 2000, 1]), ("series", [["x"]]),
        ):  # fmt: skip
            if question == "values":
                self.catalog.met("a;x=1")
            with self.assertRaises(QueryError, msg=question):
                self.catalog.answer(question, arguments)
