"""The value that render functions take and give: a named column of equally spaced values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cadtwist.model.metricname import parse_name

__all__ = ["Floats", "SeriesLists", "TimeSeries", "Window", "name_tags"]

Floats = npt.NDArray[np.float64]
_CALL_LIKE = re.compile(r"[a-z]+\(.+\)\Z", re.IGNORECASE | re.ASCII)
_NO_OPTIONS: Mapping[str, object] = {}


def name_tags(name: str) -> dict[str, str]:
    """Return the tags that a name carries, its own under `name`; a name that cannot be read is its only tag."""
    if ";" not in name and "{" not in name and not name.startswith("~"):
        return {"name": name}
    if _CALL_LIKE.match(name):
        return {"name": name}
    try:
        return parse_name(name)
    except ValueError:
        return {"name": name}


class TimeSeries:
    """Values at `start`, `start + step` ... (epoch seconds); float64, NaN where nothing is known.

    Nobody changes a TimeSeries or its array: `but` gives another one.  `expression` is the text that brought it about
    (the pattern that was fetched, or the call), by which later functions name their results.  `consolidation` and
    `xff` say how neighbours are combined when fewer points are wanted.  `whole`: the values are whole numbers, and
    shown as such.  `options` are for drawing.
    """

    __slots__ = (
        "_tags", "consolidation", "end", "expression", "name", "options", "start", "step", "values", "whole", "xff",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        start: int,
        end: int,
        step: int,
        values: Floats,
        *,
        expression: str | None = None,
        tags: dict[str, str] | None = None,
        consolidation: str = "average",
        xff: float = 0.0,
        whole: bool = False,
    ) -> None:
        self.name = name
        self.start = start
        self.end = end
        self.step = step
        self.values = values
        self.expression = name if expression is None else expression
        self._tags = tags
        self.consolidation = consolidation
        self.xff = xff
        self.whole = whole
        self.options = _NO_OPTIONS

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"<{self.name!r} {self.start}..{self.end}/{self.step} {len(self.values)} values>"

    @property
    def tags(self) -> dict[str, str]:
        """The tags; not to be changed."""
        if self._tags is None:
            self._tags = name_tags(self.name)
        return self._tags

    def copy(self) -> TimeSeries:
        """Return one that is alike, to be changed by whoever asked for it before anybody else sees it."""
        other = TimeSeries.__new__(TimeSeries)
        other.name = self.name
        other.start = self.start
        other.end = self.end
        other.step = self.step
        other.values = self.values
        other.expression = self.expression
        other._tags = self.tags if self._tags is None else self._tags
        other.consolidation = self.consolidation
        other.xff = self.xff
        other.whole = self.whole
        other.options = self.options
        return other

    def named(self, name: str, expression: str | None = None, /, **tags: object) -> TimeSeries:
        """Return the same values under another name, with further tags (`str` is taken of their values)."""
        other = self.copy()
        other.name = name
        if expression is not None:
            other.expression = expression
        if "unlabelled" in other.options and name != self.name:
            other.options = {**other.options, "unlabelled": False}
        if tags:
            other._tags = {**self.tags, **{tag: str(value) for tag, value in tags.items()}}
        return other

    def tagged(self, tags: Mapping[str, str]) -> TimeSeries:
        """Return the series with these tags and no others."""
        other = self.copy()
        other._tags = dict(tags)
        return other

    def made(
        self,
        name: str,
        values: Floats,
        /,
        *,
        start: int | None = None,
        end: int | None = None,
        step: int | None = None,
        whole: bool = False,
        **tags: Any,
    ) -> TimeSeries:
        """Return what a function made of this series: the new name is its expression, too."""
        other = self.named(name, name, **tags)
        other.values = values
        other.whole = whole
        if start is not None:
            other.start = start
        if end is not None:
            other.end = end
        if step is not None:
            other.step = step
        return other

    @property
    def label(self) -> str | None:
        """The name as answers show it: None where a function was to name it and was told nothing."""
        return None if self.options.get("unlabelled") else self.name

    def drawn(self, **options: object) -> TimeSeries:
        """Return the series with options for whoever draws it."""
        other = self.copy()
        other.options = {**self.options, **options}
        return other

    def in_ticks(self, ticks: int) -> TimeSeries:
        """Return the series with its times in so many parts of a second."""
        other = self.copy()
        other.start, other.end, other.step = self.start * ticks, self.end * ticks, self.step * ticks
        return other

    def shown_length(self) -> int:
        """Return how many of the values answers with timestamps show: none is labelled later than `end`."""
        if self.step <= 0:
            return len(self.values)
        return min(len(self.values), max((self.end - self.start) // self.step + 1, 0))


SeriesLists = Sequence[Sequence[TimeSeries]]
"""Several lists of series, as functions with any number of lists take them."""


class Window(NamedTuple):
    """A range of epoch seconds that is asked for; not aligned to anything."""

    start: int
    end: int
