"""Regular expressions of clients."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.find import QueryError
from cadtwist.query.search import compiled


class SearchTests(SynchronousTestCase):
    def test_search_and_replace(self):
        self.assertTrue(compiled("b+").found("abbc"))
        self.assertFalse(compiled("^b").found("abbc"))
        self.assertEqual(compiled(r"(\w)\.(\w)").replaced("a.b c.d", r"\2-\1"), "b-a d-c")

    def test_refusals(self):
        for text in ("(", "[", "*", "x" * 1001, "(?P<a>x)(?P<a"):
            with self.assertRaises(QueryError):
                compiled(text)
        for by in ("\\9", "\\g<no>"):
            with self.assertRaises(QueryError):
                compiled("(a)").replaced("a", by)

    def test_what_would_take_too_long_is_refused(self):
        name = "a" * 60 + "!"
        slow = compiled(r"^(?:(a|aa)+)$")
        for work in (lambda: slow.found(name), lambda: slow.replaced(name, "")):
            with self.assertRaises(QueryError) as caught:
                work()
            self.assertIn("takes too long", str(caught.exception))
