"""Where the bytes of all connections of one listener become Batches for one sink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

from cadtwist.flow import Gate
from cadtwist.interfaces import ISink
from cadtwist.model.badinput import BadInput
from cadtwist.model.batch import Batch
from cadtwist.protocols.badlog import BadInputLog
from cadtwist.telemetry import Account

__all__ = ["Bad", "Codec", "Intake", "Pausable"]

Bad = Callable[[BadInput, int], None]


class Codec(Protocol):
    """What an intake needs of a codec; `state` is what a connection keeps between two reads."""

    @property
    def pending(self) -> int:
        """Rows that wait for `flush`."""

    def feed(self, state: Any, data: bytes, now: float, bad: Bad) -> None:
        """Read what a connection sent."""

    def flush(self) -> None:
        """Emit the rows that wait."""


class Pausable(Protocol):
    """A connection that stops reading while the gate is shut."""

    def resume(self) -> None:
        """Read again."""


class Intake:
    """The common part of a listener's connections; reactor thread.

    Many small reads fill one Batch: `begin` is called when rows wait or were passed on, and whoever gave it calls
    `flush` once at the end of that turn (and once more when the listener stops).  Counters of the account: `received`
    and `out` are the good datapoints; `bytes`, `lines` (items of any kind), `bad.<kind>`, `connections`.  A part
    further on that fails costs what it had of the Batch, never the connection: `settle(reason)`, the telemetry's, then
    counts that in the part which lost it, and returns how many datapoints.  For each part counts as received first
    what it is given.
    """

    log = Logger()

    def __init__(
        self,
        protocol: str,
        make_codec: Callable[[Callable[[Batch], None]], Codec],
        *,
        sink: ISink,
        gate: Gate,
        account: Account,
        bad_log: BadInputLog,
        now: Callable[[], float],
        begin: Callable[[], object],
        settle: Callable[[str], int],
    ) -> None:
        self.protocol = protocol
        self.gate = gate
        self.account = account
        self.codec = make_codec(self._emit)
        self.flush = self.codec.flush
        self._sink = sink
        self._bad_log = bad_log
        self._now = now
        self._begin = begin
        self._settle = settle
        self._peer: Callable[[BadInput], str] | str = ""
        self._paused: set[Pausable] = set()
        self._forget_gate = gate.listen(self._gate_moved)

    def feed(self, state: Any, data: bytes, peer: str) -> int:
        """Read `data` of a connection; return how many datapoints it completed."""
        return self._read(peer, len(data), lambda now: self.codec.feed(state, data, now, self._bad))

    def replace_sink(self, sink: ISink) -> None:
        """Send everything that comes from now on to `sink`; what waits goes to the old one first."""
        self.flush()
        self._sink = sink

    def wait(self, connection: Pausable) -> None:
        """Resume `connection` when the gate opens."""
        self._paused.add(connection)

    def wait_no_more(self, connection: Pausable) -> None:
        """Forget a connection that may wait."""
        self._paused.discard(connection)

    def stop(self) -> None:
        """Emit what waits and let go of the gate."""
        self.flush()
        self._forget_gate()
        self._paused.clear()

    def _read(self, peer: Callable[[BadInput], str] | str, size: int, read: Callable[[float], None]) -> int:
        """Run one read of the codec for `peer` (or who tells it); return how many datapoints it completed."""
        account, codec = self.account, self.codec
        before = account.received + codec.pending
        self._peer = peer
        counters = account.counters
        counters["bytes"] = counters.get("bytes", 0) + size
        read(self._now())
        waiting = codec.pending
        accepted = account.received + waiting - before
        counters["lines"] = counters.get("lines", 0) + accepted
        if accepted or waiting:  # what was passed on at once has work to do at the end of the turn as well
            self._begin()
        return accepted

    def _emit(self, batch: Batch) -> None:
        points = len(batch)
        self.account.received += points
        self.account.out += points
        try:
            self._sink.accept(batch)
        except Exception:  # noqa: BLE001 (a fault further on must not close the connections of everybody)
            lost = self._settle("internal_error")
            self.log.failure(
                "{protocol}: a batch of {points} datapoints failed further on, {lost} are lost",
                protocol=self.protocol,
                points=points,
                lost=lost,
            )

    def _bad(self, bad: BadInput, items: int) -> None:
        self.account.count("lines", items)
        self.account.count(f"bad.{bad.kind}", items)
        peer = self._peer
        self._bad_log(self.protocol, peer if isinstance(peer, str) else peer(bad), bad, items)

    def _gate_moved(self, is_open: bool) -> None:
        if is_open:
            waiting, self._paused = self._paused, set()
            for connection in waiting:
                connection.resume()
