"""A small number for each metric (of its schema, of its route): decided by name once, kept in 2 bytes or 4."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder
from cadtwist.model.batch import Ids
from cadtwist.stages.decisions import FIRST_ROW, Decisions

__all__ = ["NameNumbers"]


@implementer(IHolder)
class NameNumbers:
    """Asks `decide(name)`, which answers 0 or more, the first time an id is looked up.  Reactor thread.

    `name(id)` is the metric table's.  A reload of the rules calls `ask_again`.
    """

    def __init__(self, name: Callable[[int], bytes], decide: Callable[[str], int]) -> None:
        self._name = name
        self._decide = decide
        self._decisions = Decisions(self._number)

    def __call__(self, ids: Ids) -> npt.NDArray[np.int32]:
        """Return the number of each id."""
        numbers: npt.NDArray[np.int32] = self._decisions.lookup(ids) - np.int32(FIRST_ROW)
        return numbers

    def ask_again(self) -> None:
        """Forget every decision: the rules have changed."""
        self._decisions = Decisions(self._number)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Nothing here must not be lost."""
        return np.zeros(len(ids), np.bool_)

    def forget(self, ids: Ids) -> None:
        """The ids may come back as other metrics."""
        self._decisions.forget(ids)

    def _number(self, metric: int) -> int:
        return FIRST_ROW + self._decide(self._name(metric).decode("utf-8"))
