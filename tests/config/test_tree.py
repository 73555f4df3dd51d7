"""Typed values of a tree whose author wrote them loosely."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.config.errors import Problems
from cadtwist.config.tree import Source, Table


def table(tree: dict[str, Any], parent: dict[str, Any] | None = None) -> tuple[Table, Problems]:
    problems = Problems()
    source = Source("f", {("a",): 3, ("up", "a"): 9}, problems)
    above = None if parent is None else Table(source, parent, ("up",))
    return Table(source, tree, (), above), problems


class TableTests(SynchronousTestCase):
    def test_spellings_without_doubt(self) -> None:
        tree = {"a": "5", "b": 5.0, "c": "true", "d": 0, "e": "2.5", "f": "No", "g": "1e3", "h": True, "i": 7}
        found, problems = table(tree)
        self.assertEqual((found.whole("a", 1), found.whole("b", 1), found.whole("g", 1)), (5, 5, 1000))
        self.assertEqual([found.flag(name) for name in "cdfh"], [True, False, False, True])
        self.assertEqual((found.number("e", 1.0), found.number("i", 1.0), found.number("z", 4.0)), (2.5, 7.0, 4.0))
        self.assertEqual(problems.reports, [])

    def test_misfits_are_errors_with_their_line_and_count_as_not_given(self) -> None:
        for read, expected in (
            (lambda found: found.whole("a", 7), "expected: a whole number"),
            (lambda found: found.number("a", 7), "expected: a number"),
            (lambda found: found.flag("a", True), "expected: true or false"),
            (lambda found: found.text("a", "x"), "expected: a text"),
            (lambda found: found.table("a"), "expected: a table"),
        ):
            found, problems = table({"a": ["x"]})
            read(found)
            (text,) = problems.texts("error")
            self.assertTrue(text.startswith("f:3: a: ") and text.endswith(expected), text)
        for value in (1.5, "x", "inf", "nan", True, {}):
            found, problems = table({"a": value})
            self.assertEqual((found.whole("a", 7), problems.failed), (7, True))
        found, problems = table({"a": "nan"})
        self.assertEqual((found.number("a", 7), problems.failed), (7, True))

    def test_ranges_are_those_of_the_option(self) -> None:
        found, problems = table({"a": 70000})
        self.assertEqual(found.whole("a", 1, "destinations.port"), 1)
        self.assertEqual(problems.texts("error"), ["f:3: a: 70000 is out of range, 0 to 65535"])

    def test_lists(self) -> None:
        found, problems = table({"a": ["x", 1], "b": "x", "t": {"k": 1}, "u": [{}, 5]})
        self.assertEqual((found.texts("a"), found.texts("b", ("y",)), found.texts("c")), (("x",), ("y",), ()))
        self.assertEqual([len(found.tables(name)) for name in "tubc"], [1, 1, 0, 0])
        self.assertEqual(len(problems.texts("error")), 4)

    def test_texts_that_nobody_can_use(self) -> None:
        for text, why in (("x\0y", "'x\\x00y' has a zero byte"), ("\ud800", "'\\ud800' has half of a character")):
            found, problems = table({"a": text, "b": ["x", text]})
            self.assertEqual((found.text("a", "z"), found.texts("b")), ("z", ("x",)))
            self.assertEqual(problems.texts("error"), [f"f: b[1]: {why}", f"f:3: a: {why}"])

    def test_the_parent_gives_what_is_not_here(self) -> None:
        found, problems = table({"b": None}, {"a": "x", "b": 5})
        self.assertEqual((found.whole("b", 1), found.text("a", inherit=False)), (5, ""))
        found.whole("a", 1)
        self.assertEqual(problems.texts("error"), ["f:9: up.a: 'x' does not fit, expected: a whole number"])

    def test_choices(self) -> None:
        found, problems = table({"a": "x", "b": "y"})
        self.assertEqual((found.choice("a", ("x",)), found.choice("b", ("x",), "x")), ("x", "x"))
        self.assertEqual(len(problems.texts("error")), 1)

    def test_unknown_and_idle_keys(self) -> None:
        found, problems = table({"a": 1, "b": 2, "idle": 3, "calm": 0, "alpha": 1})
        found.whole("a", 1)
        found.ask("alphas")
        found.has_no_effect("idle", "why")
        found.has_no_effect("calm", "why", 0)
        found.note_unknown("b")
        self.assertEqual(problems.texts("notice"), ["f: idle: has no effect: why"])
        self.assertEqual(problems.texts("warning"), ["f: alpha: unknown key, not used; did you mean alphas?"])
