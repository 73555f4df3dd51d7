"""Events by time and tags."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.events import ALL, ANY, Event, EventLog


class EventTests(SynchronousTestCase):
    def setUp(self):
        self.log = EventLog()
        for when, what, tags in ((30, "c", ["x"]), (10, "a", ["x", "y"]), (20, "b", ["y", "z"]), (20, "d", [])):
            self.log.add(when, what, tags, "")

    def names(self, *arguments):
        return "".join(event.what for event in self.log.select(*arguments))

    def test_order_and_ranges(self):
        self.assertEqual(self.names(0, 99), "abdc")
        self.assertEqual([self.names(10, 20), self.names(11, 29), self.names(31, 99)], ["abd", "bd", ""])
        self.assertEqual([event.number for event in self.log.select(0, 99)], [2, 3, 4, 1])

    def test_tags(self):
        self.assertEqual(self.names(0, 99, ["x", "y"], ANY), "abc")
        self.assertEqual(self.names(0, 99, ["x", "y"], ALL), "a")
        self.assertEqual(self.names(0, 99, ["x", "nobody"], ALL), "")
        self.assertEqual(self.names(0, 99, ["x", "nobody"]), "ac", "tags that nobody has do not count")
        self.assertEqual(self.names(0, 99, ["nobody"]), "")
        self.assertEqual(self.log.times(0, 99, ["y"]), [10, 20])
        self.assertEqual(self.log.times(0, 99, ["y", "nowhere"]), [10, 20])
        self.assertEqual(self.log.times(0, 99, ["nowhere"]), [])
        self.assertEqual(self.log.times(0, 99, []), [10, 20, 20, 30])

    def test_numbers(self):
        self.assertEqual((self.log.get(2).what, self.log.get(9)), ("a", None))
        self.log.restore(Event(5, 40, "old", ()))
        self.assertEqual(self.log.add(6, "new", ["t", "t"], "d"), Event(6, 41, "new", ("t",), "d"))

    def test_bound(self):
        log = EventLog(2)
        for when in (3, 1, 2):
            log.add(when, str(when), [], "")
        self.assertEqual(([event.what for event in log.select(0, 9)], log.dropped, len(log)), (["2", "3"], 1, 2))
        self.assertIsNone(log.get(2))
