"""What a reader need not ask again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.quiet import QuietAnswers
from cadtwist.query.resolution import HotMetric, Resolution, SchemaInfo

SCHEMA = SchemaInfo(((60, 60),), "average", 0.5)


def answer(metrics: int = 1, quiet: bool = True) -> Resolution:
    return Resolution([[HotMetric(f"m{n}", 0) for n in range(metrics)]], [SCHEMA], quiet)


class QuietAnswersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.kept = QuietAnswers()

    def put(self, patterns: list[str], version: tuple[int, int], what: Resolution) -> None:
        self.kept.get(patterns, version)
        self.assertIs(self.kept.put(patterns, version, what), what)

    def test_as_long_as_nothing_comes(self) -> None:
        what = answer()
        self.put(["a.*"], (1, 5), what)
        self.assertIs(self.kept.get(["a.*"], (1, 5)), what)
        self.assertIsNone(self.kept.get(["b.*"], (1, 5)))
        for version in ((2, 5), (1, 6)):
            self.put(["a.*"], (1, 5), what)
            self.assertIsNone(self.kept.get(["a.*"], version))
            self.assertEqual(len(self.kept), 0)

    def test_an_answer_of_another_version(self) -> None:
        self.kept.get(["a.*"], (1, 5))
        self.kept.get(["b.*"], (2, 5))
        self.kept.put(["a.*"], (1, 5), answer())
        self.assertIsNone(self.kept.get(["a.*"], (2, 5)))

    def test_what_is_not_remembered(self) -> None:
        for patterns, what in (
            (["a"], answer(quiet=False)), (["a"], answer(101)), (["a"] * 11, answer()), (["a" * 1001], answer()),
            (["seriesByTag('a=b')"], answer()),
        ):  # fmt: skip
            self.put(patterns, (1, 1), what)
            self.assertIsNone(self.kept.get(patterns, (1, 1)))

    def test_bounded(self) -> None:
        for number in range(4200):
            self.put([f"p{number}"], (1, 1), answer())
            self.assertIsNotNone(self.kept.get(["p0"], (1, 1)))
        self.assertEqual(len(self.kept), 4096)
        self.assertIsNone(self.kept.get(["p1"], (1, 1)))
