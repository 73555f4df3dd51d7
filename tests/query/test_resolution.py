"""What patterns mean, in pieces and put together."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.query.resolution import METRICS_AT_ONCE, HotMetric, Piece, Resolution, SchemaInfo, assembled, cut

SCHEMAS = [SchemaInfo(((60, 10),), "average", 0.5), SchemaInfo(((600, 10),), "sum", 0.0)]
POINTS = st.lists(st.floats(allow_nan=False), max_size=3).map(lambda some: np.array(some, np.float64).tobytes())
METRIC = st.builds(lambda schema, points: HotMetric("m", schema, points, points), st.integers(0, 1), POINTS)
METRICS = st.lists(METRIC, max_size=9)


def pieces_of(resolution: Resolution) -> tuple[list[Piece], bool]:
    """Return what `cut` tells, and whether it was quiet."""
    pieces: list[Piece] = []
    return pieces, cut(resolution, pieces.append)


class ResolutionTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None, database=None)
    @given(st.lists(METRICS, max_size=4), st.booleans())
    def test_cut_and_put_together(self, patterns: list[list[HotMetric]], quiet: bool) -> None:
        whole = Resolution(patterns, SCHEMAS, quiet)
        again = assembled(len(patterns), *pieces_of(whole))
        self.assertEqual((again.patterns, again.quiet), (patterns, quiet))
        if any(patterns):
            self.assertEqual(again.schemas, SCHEMAS)

    def test_many_metrics(self) -> None:
        metrics = [HotMetric(f"m{number:05d}", number % 2) for number in range(METRICS_AT_ONCE + 1)]
        pieces, _ = pieces_of(Resolution([[], metrics], SCHEMAS))
        self.assertEqual([(piece.pattern, len(piece.names)) for piece in pieces], [(1, METRICS_AT_ONCE), (1, 1)])
        self.assertEqual(assembled(2, pieces, False), Resolution([[], metrics], SCHEMAS))

    def test_pieces_of_other_schemas(self) -> None:
        fine, coarse = SCHEMAS
        pieces = [Piece(0, ["a"], [fine]), Piece(0, ["b"], [fine]), Piece(1, ["c"], [coarse]), Piece(2, [], [])]
        found = assembled(3, pieces, True)
        kept = [[(metric.name, found.schemas[metric.schema]) for metric in metrics] for metrics in found.patterns]
        self.assertEqual(kept, [[("a", fine), ("b", fine)], [("c", coarse)], []])
        self.assertEqual(found.schemas, [fine, coarse])
