"""What stands around the sums of an accumulator: raw lines go in, and what it tells comes back as lines of a relay."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from zope.interface import implementer

from cadtwist.codec.cadentlines import CadentLines
from cadtwist.codec.line import BadSink
from cadtwist.codec.relayline import Dialect, RelayCodec, RelayTail
from cadtwist.interfaces import IHolder, ISink
from cadtwist.kernels import active
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch, Columns, Ids
from cadtwist.model.cadentstyle import statsd_name
from cadtwist.model.statsdstyle import StatsdStyle
from cadtwist.model.told import Told
from cadtwist.stages.decisions import FIRST_ROW
from cadtwist.stages.names import Outcome
from cadtwist.stages.statsdsums import Etsy, OwnCounts
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["AccumulatedSums", "Blackhole", "LineReader", "Loopback", "RawLines", "Silence", "StatsdNames"]

_ALL = np.array([0, 1], np.uint32)
_FIRST = np.zeros(1, np.uint16)
_NEARLY = 1e-9
"""Of an interval: so much may a clock's arithmetic be short of a multiple."""


class LineReader(Protocol):
    """A codec of whole lines, made for one sink of Batches."""

    def feed(self, tail: RelayTail, data: bytes, now: float, bad: BadSink) -> None:
        """Read lines."""

    def flush(self) -> None:
        """Emit what was read."""


class AccumulatedSums(Etsy):
    """statsd's sums, told at every multiple of the flush interval since the second that `start` is in."""

    def __init__(self, style: StatsdStyle, start: float, counts: Callable[[], OwnCounts]) -> None:
        super().__init__(style, math.floor(start), counts)

    def due(self, now: float) -> float:
        """Return the first multiple of the interval after `now`."""
        interval = self.style.flush_interval_s
        return self._start + (math.floor((now - self._start) / interval + _NEARLY) + 1) * interval

    def stamp(self, now: float) -> float:
        """Return the second that `now` is in: a bin that has not begun is nobody's yet."""
        return float(math.floor(now))


@implementer(ISink)
class RawLines:
    """Has the lines of Batches read as a whole by a codec, where their names alone were looked at before.

    `codec(emit)` makes the codec; what it reads goes to `downstream`.  `table` has the names of lines that were
    renamed.  Dropped are lines that it refuses (`bad.<kind>`) and those that hold nothing (`blank`).  Datapoints that
    came without a line (from pickles, or made here) go on as they are where they are `plain`, else they are dropped
    (`no_line`).  Reactor thread.
    """

    def __init__(
        self,
        codec: Callable[[Callable[[Batch], None]], LineReader],
        table: tables.MetricTable,
        downstream: ISink,
        account: Account,
        now: Callable[[], float],
        plain: bool = False,
    ) -> None:
        self.downstream = downstream
        self._plain = plain
        self.codec = codec(self._pass_on)
        self._table = table
        self._account = account
        self._now = now
        self._numbers: npt.NDArray[np.int16] = np.zeros(0, np.int16)
        self._counted = np.zeros(1, np.uint64), np.zeros(0, np.int64)
        self._read = 0

    def accept(self, batch: Batch) -> None:
        """Read a lent Batch of lines."""
        account, spans = self._account, batch.spans
        account.received += len(batch)
        if spans is None:
            self._without_lines(batch)
            return
        if len(self._numbers) <= int(batch.ids.max(initial=0)):
            self._numbers = np.full(int(batch.ids.max()) * 5 // 4 + 1024, FIRST_ROW, np.int16)
        made = active.scatter.scatter(
            spans.data, spans.table, batch.ids, self._numbers, _ALL, _FIRST, 1, *self._counted, b"", b"", b"\n",
            self._table, spans.renamed,
        )  # fmt: skip
        self._read = 0
        if made is not None and made[0][0] is not None:
            self.codec.feed(RelayTail(), made[0][0], self._now(), self._refused)
            self.codec.flush()
        if self._read < len(batch):
            account.drop("blank", len(batch) - self._read)

    def _without_lines(self, batch: Batch) -> None:
        if self._plain:
            self._pass_on(batch)
        else:
            self._account.drop("no_line", len(batch))

    def _pass_on(self, batch: Batch) -> None:
        self._read += len(batch)
        self._account.out += len(batch)
        self.downstream.accept(batch)

    def _refused(self, bad: BadInput, lines: int) -> None:
        self._read += lines
        self._account.drop(f"bad.{bad.kind}", lines)


@implementer(ISink, IHolder)
class Loopback:
    """Takes datapoints that were made here into a relay, as if their lines had come from outside.  Reactor thread.

    The datapoints are of `source`; `as_statsd`: their names are `NAME|TYPE`.  Their lines are read by `dialect`, and go
    to `sink` as Batches of `table`; `numbers`: with timestamps and values.  An IHolder of `table`.
    """

    def __init__(
        self,
        source: tables.MetricTable,
        as_statsd: bool,
        table: tables.MetricTable,
        dialect: Dialect,
        numbers: bool,
        sink: ISink,
        account: Account,
        now: Callable[[], float],
    ) -> None:
        self._sink = sink
        self._account = account
        self._now = now
        self._codec = RelayCodec(table, Columns(keep_spans=True), self._pass_on, dialect, numbers=numbers)
        self._lines = CadentLines(source, as_statsd, self._write)

    def accept(self, batch: Batch) -> None:
        """Take a lent Batch in."""
        self._account.received += len(batch)
        self._lines.accept(batch)

    def holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        """Nothing here must not be lost."""
        return self._codec.holds(ids)

    def forget(self, ids: Ids) -> None:
        """The ids may come back as other names."""
        self._codec.forget(ids)

    def _write(self, lines: bytes, points: int) -> None:
        self._account.made += lines.count(b"\n") - points  # a gauge below zero takes two
        self._codec.feed(RelayTail(), lines, self._now(), self._refused)
        self._codec.flush()

    def _pass_on(self, batch: Batch) -> None:
        self._account.out += len(batch)
        self._sink.accept(batch)

    def _refused(self, bad: BadInput, lines: int) -> None:
        self._account.drop(f"bad.{bad.kind}", lines)


@implementer(ISink)
class Blackhole:
    """Where datapoints go that nobody wants but a writer of summaries; they are counted as dropped, `blackhole`."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def accept(self, batch: Batch) -> None:
        """Count them."""
        self._account.received += len(batch)
        self._account.drop("blackhole", len(batch))


class Silence:
    """A Teller that names and tells nothing."""

    def begin(self, series: dict[str, int]) -> None:
        """Nothing is to be prepared."""

    def tell(self, told: Told, timestamp: float) -> int:  # noqa: ARG002 (nobody wants it)
        """Make no datapoints."""
        return 0

    def end(self, timestamp: float, counts: dict[str, float]) -> int:  # noqa: ARG002
        """Make no datapoints."""
        return 0

    def forget(self, ids: Ids) -> None:
        """Nothing is kept of series."""


class StatsdNames:
    """Names what a graphite accumulator tells to a statsd."""

    label = "statsd name"

    def __call__(self, name: str) -> Outcome | None:
        """Return `NAME|TYPE`."""
        return Outcome((statsd_name(name),))
