"""The log of aggregation windows: what feeds outputs, and from time to time all that is open of them.

Payloads of the frames (little-endian, columns; `segments` tells how frames stand in files)::

    NAMES   = 1    as in `rowlog`: ids and names, of inputs and outputs
    POINTS  = 2    as in `wal`: datapoints that feed outputs
    OUTPUTS = 9    count u32 | 4 zeros | 11 columns f64[count]: frequency, method, start (NaN: nothing, or only
                   values are open), samples, count, sum, sumsq, min, max, first, last | ids u32[count]
    KEPT    = 10   count u32 | 4 zeros | starts f64[count] | values f64[count] | ids u32[count]

An OUTPUTS frame says all that is open of its outputs, whatever stood before; the values behind percentiles follow it in
KEPT frames.  When the log has grown, all outputs are logged so, some at each turn; then what was logged before that
began may go.  A replay in order has, in the end, the cells that were open: those of intervals that were told and let
go of since may be there again, complete, and are told again with the same value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from cadtwist.journal.rowlog import NAMES, Interned, Numbers, RowLog
from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.wal import POINTS
from cadtwist.model.batch import BATCH_POINTS, Batch, Floats, Ids
from cadtwist.model.opencells import OpenCells
from cadtwist.model.table import Names
from cadtwist.telemetry import Account

__all__ = ["KEPT", "OUTPUTS", "FeedLog", "Kept", "StateSource", "replay_feeds"]

OUTPUTS, KEPT = 9, 10
_COLUMNS = 11
_FACTOR = 2


class StateSource(Protocol):
    """What is asked of the outputs of a window."""

    @property
    def rows(self) -> int:
        """Rows have numbers below this one."""

    def open_cells(self, first: int, count: int, /) -> tuple[OpenCells, Batch]:
        """Return all that is open of some rows, and the values behind percentiles."""


class FeedLog(RowLog):
    """Logs what feeds the outputs `source()`, and what is open of them when the log has more than `most_bytes`.

    That bound grows with what is open: it is at least twice of it.
    """

    def __init__(
        self,
        log: SegmentLog,
        names: Names,
        account: Account,
        source: Callable[[], StateSource],
        most_bytes: int = 64 << 20,
        slice_rows: int = 1024,
    ) -> None:
        super().__init__(log, names, account)
        self._source = source
        self._least_bytes = most_bytes
        self._most_bytes = most_bytes
        self._slice_rows = slice_rows
        self._begun_in = 0
        self._next_row = 0
        self._open_bytes = 0

    def append(self, batch: Batch) -> None:
        """Log lent datapoints."""
        self._turn_values += len(batch)
        self._rows(POINTS, (batch.timestamps, batch.values), batch.ids)

    def turn_ended(self) -> None:
        """Write what the turn logged; where the log is long, log some of what is open."""
        if self._begun_in or self.log.used_bytes > self._most_bytes:
            self.make_room()
        super().turn_ended()

    def make_room(self) -> None:
        """Log what is open of some more outputs; after the last of them let go of what was logged before."""
        if not self._begun_in:
            self._settle(self.log.roll())
            self._begun_in, self._next_row, self._open_bytes = self.log.serial, 0, 0
        source, refused = self._source(), self.log.lost_frames
        self._log_open(*source.open_cells(self._next_row, self._slice_rows))
        if not self.log.write() or self.log.lost_frames != refused:
            self._begun_in = 0
            return
        self._next_row += self._slice_rows
        if self._next_row >= source.rows:
            self.log.release(self._begun_in)
            self._begun_in = 0
            self._most_bytes = max(self._least_bytes, _FACTOR * self._open_bytes)
            self.account.count("rounds")

    def cells(self, found: OpenCells) -> None:
        """Log what is open of some outputs; the rows of each stand together."""
        at, ids = 0, found.ids
        while at < len(ids):
            end = min(at + BATCH_POINTS, len(ids))
            while end < len(ids) and ids[end] == ids[end - 1]:  # an output is told whole
                end += 1
            self._log_slice(OUTPUTS, slice(at, end), found.columns, ids)
            at = end

    def whole(self) -> None:
        """Log all that is open, at once."""
        source = self._source()
        for first in range(0, source.rows, self._slice_rows):
            self._log_open(*source.open_cells(first, self._slice_rows))

    def _log_open(self, found: OpenCells, kept: Batch) -> None:
        self.cells(found)
        for at in range(0, len(kept), BATCH_POINTS):
            self._log_slice(KEPT, slice(at, at + BATCH_POINTS), (kept.timestamps, kept.values), kept.ids)

    def _log_slice(self, kind: int, part: slice, columns: tuple[Floats, ...], ids: Ids) -> None:
        self._open_bytes += (8 * len(columns) + 4) * len(ids[part])
        self._rows(kind, tuple(column[part] for column in columns), ids[part])


class Kept(NamedTuple):
    """Values behind percentiles, which come to what an OUTPUTS frame said."""

    values: Batch


def replay_feeds(log: SegmentLog, table: Interned, account: Account, now: int) -> Iterator[Batch | OpenCells | Kept]:
    """Yield what was logged before `log` was opened, in order, in the ids of `table`.

    `account` counts `replayed` datapoints, and what `Numbers` cannot read.
    """
    numbers = Numbers(table, account)
    for frame in numbers.frames(log, now):
        if frame.kind == OUTPUTS:
            outputs = numbers.rows(frame.payload, _COLUMNS)
            if outputs is not None:
                yield OpenCells.of(*outputs)
        elif frame.kind in (POINTS, KEPT):
            found = numbers.rows(frame.payload, 2)
            if found is None:
                continue
            ids, (timestamps, values) = found
            batch = Batch(ids, timestamps, values)
            if frame.kind == POINTS:
                account.count("replayed", len(batch))
            yield batch if frame.kind == POINTS else Kept(batch)
        elif frame.kind != NAMES:
            numbers.unreadable()
