"""StreamTeller: the values of a flush as statsite writes them to its stream command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cadtwist.codec.statsitestream import binary_records, text_lines
from cadtwist.model.batch import Ids
from cadtwist.model.statsdstyle import StatsiteNaming, StatsiteStyle
from cadtwist.model.told import Told

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["StreamTeller"]


class StreamTeller:
    """Gives `write` the text lines or the binary records of each flush, and `end` its end.

    Use `style` for the calculation: the binary form has count and rate of counters, whatever the settings.
    """

    def __init__(
        self,
        source: tables.MetricTable,
        naming: StatsiteNaming,
        write: Callable[[bytes], None],
        binary: bool,
        prefix_binary: bool,
        style: StatsiteStyle,
        ended: Callable[[], object] = bool,
    ) -> None:
        self.style = replace(style, extended_counters=True, legacy_extended_counters=True) if binary else style
        self._source = source
        self._naming = naming
        self._write = write
        self._binary = binary
        self._prefixed = prefix_binary or not binary
        self._ended = ended

    def begin(self, series: dict[str, int]) -> None:
        """Nothing is to be prepared."""

    def tell(self, told: Told, timestamp: float) -> int:
        """Write values; return how many datapoints that made."""
        keys = [name.rpartition(b"|")[0] for name in self._source.names(told.ids)]
        prefix = self._naming.prefix(told.kind) if self._prefixed else ""
        if self._binary:
            data = binary_records(told, keys, prefix, timestamp)
        else:
            data = text_lines(told, keys, prefix, timestamp, not self.style.legacy_extended_counters)
        if data:
            self._write(data)
        return told.values.size

    def end(self, timestamp: float, counts: dict[str, float]) -> int:  # noqa: ARG002 (statsite tells nothing of itself)
        """End a flush."""
        self._ended()
        return 0

    def forget(self, ids: Ids) -> None:
        """Nothing is kept of series."""
