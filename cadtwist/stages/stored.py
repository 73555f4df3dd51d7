"""StoredValues: of each summary the one value that is kept, as Cadent guesses it from the name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.interfaces import IHolder, ISink
from cadtwist.model.batch import BATCH_POINTS, Batch, Ids
from cadtwist.model.cadentstyle import stored_method
from cadtwist.model.summary import SummaryBatch
from cadtwist.stages.numbers import NameNumbers
from cadtwist.stages.resolutions import Resolution
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["StoredValues"]

_METHODS = ("average", "sum", "max", "min")


@implementer(IHolder)
class StoredValues:
    """Takes the bins of one resolution (ids of `table`); gives `downstream` a datapoint of each.  Reactor thread."""

    def __init__(self, table: tables.MetricTable, downstream: ISink, account: Account) -> None:
        self._downstream = downstream
        self._account = account
        self._methods = NameNumbers(table.name, lambda name: _METHODS.index(stored_method(name)))

    def accept_summaries(self, batch: SummaryBatch, resolution: Resolution) -> None:  # noqa: ARG002 (it has one)
        """Pass on the datapoints of a lent SummaryBatch."""
        self._account.received += len(batch)
        methods = self._methods(batch.ids)
        values = np.choose(methods, (batch.means(), batch.sums, batch.maxima, batch.minima))
        for start in range(0, len(batch), BATCH_POINTS):
            part = slice(start, start + BATCH_POINTS)
            made = Batch(batch.ids[part], batch.timestamps[part], values[part])
            self._account.out += len(made)
            self._downstream.accept(made)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Nothing here must not be lost."""
        return self._methods.holds(ids)

    def forget(self, ids: Ids) -> None:
        """The ids may come back as other names."""
        self._methods.forget(ids)
