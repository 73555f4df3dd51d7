"""Minutes of statistics: as partials, and as the columns of a SummaryBatch that stores keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from cadtwist.model.partial import Partial
from cadtwist.model.summary import SummaryBatch
from cadtwist.model.summaryjob import StatisticKey

__all__ = ["partials_of", "summaries_of"]


def summaries_of(minutes: Sequence[Partial], start: float) -> SummaryBatch:
    """Return minutes that begin at `start`, epoch seconds, as summaries; row i has the id i.

    Sums of squares are not sent: they are those of values that are all the mean.
    """

    def column(name: str) -> Any:
        return np.array([getattr(each, name) for each in minutes], np.float64)

    rows = len(minutes)
    counts, sums = column("cnt"), column("sum")
    squares = np.divide(sums * sums, counts, out=np.zeros(rows), where=counts > 0)
    return SummaryBatch(
        np.arange(rows, dtype=np.uint32), np.full(rows, start, np.float64), counts, sums, squares, column("min"),
        column("max"), column("fst"), column("lst"), column("top"), column("bot"), column("pct"),
    )  # fmt: skip


def partials_of(batch: SummaryBatch, keys: Iterable[StatisticKey]) -> Iterator[Partial]:
    """Yield the rows as partials, each of its key: what `summaries_of` made summaries of."""
    columns = (
        batch.shares, batch.sums, batch.counts, batch.maxima, batch.minima, batch.firsts, batch.lasts, batch.tops,
        batch.bottoms,
    )  # fmt: skip
    lists = [[] if column is None else column.tolist() for column in columns]
    for key, (share, total, count, most, least, first, last, top, bottom) in zip(
        keys, zip(*lists, strict=True), strict=False
    ):
        yield Partial(
            typ=key.kind, pth=key.path, pct=share, sum=total, cnt=count, max=most, min=least, fst=first, lst=last,
            top=top, bot=bottom,
        )  # fmt: skip
