"""What is open of the outputs of an aggregation window, as logs keep it."""

from __future__ import annotations

from typing import NamedTuple

from cadtwist.model.batch import Floats, Ids

__all__ = ["OpenCells"]


class OpenCells(NamedTuple):
    """Outputs and what is open of them, a row each.

    `methods` are places in `stages.outputs.METHODS`; `summaries` are counts, sums, sumsqs, minima, maxima, firsts and
    lasts.  A row whose start is NaN has no cell: its output has nothing open, or `samples` values, which stand apart.
    """

    ids: Ids
    frequencies: Floats
    methods: Floats
    starts: Floats
    samples: Floats
    summaries: tuple[Floats, ...]

    @property
    def columns(self) -> tuple[Floats, ...]:
        """All but the ids."""
        return (self.frequencies, self.methods, self.starts, self.samples, *self.summaries)

    @classmethod
    def of(cls, ids: Ids, columns: list[Floats]) -> OpenCells:
        """Return those of such columns."""
        frequencies, methods, starts, samples, *summaries = columns
        return cls(ids, frequencies, methods, starts, samples, tuple(summaries))
