"""What Cadent's accumulators send on: lines with six decimals, for Graphite or for statsd."""

from __future__ import annotations

from collections.abc import Callable

from zope.interface import implementer

from cadtwist.interfaces import ISink
from cadtwist.kernels import active
from cadtwist.model.batch import Batch

__all__ = ["CadentLines"]


@implementer(ISink)
class CadentLines:
    """Encodes Batches of the key space `table` and gives them to `write(lines, datapoints)`.  Reactor thread.

    `as_statsd`: names are `NAME|TYPE`, lines `NAME:value|TYPE`, two for a gauge below zero.
    """

    def __init__(
        self, table: active.table.MetricTable, as_statsd: bool, write: Callable[[bytes, int], object]
    ) -> None:
        self._table = table
        self._as_statsd = as_statsd
        self._write = write

    def accept(self, batch: Batch) -> None:
        """Encode what an accumulator tells."""
        lines = active.statsdparse.fixed_lines(
            self._table, batch.ids, batch.timestamps, batch.values, self._as_statsd
        )
        self._write(lines, len(batch))
