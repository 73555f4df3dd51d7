"""Where statsd's values go: Graphite over a destination with a queue, the console; and the packets, to repeaters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from cadtwist.interfaces import IDestination
from cadtwist.model.batch import Ids
from cadtwist.model.told import Told
from cadtwist.stages.statsd import Teller
from cadtwist.telemetry import Account

if TYPE_CHECKING:
    from cadtwist.kernels.active import table as tables

__all__ = ["CROWDED_POINTS", "ConsoleTeller", "GraphiteOutput", "Repeater", "Tellers"]


CROWDED_POINTS = 100_000
"""A flush waits while so many are queued for a peer that takes them: some ten megabytes."""

MOST_DATAGRAM_BYTES = 65507
"""What IPv4 lets a datagram have."""


class GraphiteOutput:
    """Queues what a flush tells; knows how the last flush went.  Without a destination it only counts.

    `seconds` gives the time by which flushes are timed.
    """

    def __init__(
        self, destination: IDestination | None, account: Account, seconds: Callable[[], float]
    ) -> None:
        self._destination = destination
        self._account = account
        self._seconds = seconds
        self._begun = 0.0
        self._length = 0
        self._told = {"last_flush": seconds(), "last_exception": 0.0, "flush_time": 0.0, "flush_length": 0.0}

    def send(self, data: bytes, points: int) -> None:
        """Queue values of a flush."""
        self._account.received += points
        if self._destination is None:
            self._account.drop("no_graphite_host", points)
            return
        self._length += len(data)
        self._account.out += points
        self._destination.send(data, points)

    def crowded(self) -> bool:
        """Tell whether so much waits for a peer that is there that more would only queue."""
        destination = self._destination
        return destination is not None and destination.connected and destination.queued_points >= CROWDED_POINTS

    def begin(self) -> None:
        """A flush begins."""
        self._begun = self._seconds()
        self._length = 0

    def end(self) -> None:
        """A flush has been queued."""
        now = self._seconds()
        took = round((now - self._begun) * 1000.0)
        self._told |= {"last_flush": now, "flush_time": took, "flush_length": self._length}

    def failed(self) -> None:
        """A connection was lost or could not be made."""
        self._told["last_exception"] = self._seconds()

    def status(self) -> dict[str, float]:
        """Return how the last flush went: last_flush, last_exception (epoch seconds), flush_time (ms), flush_length."""
        return {what: float(int(value)) for what, value in self._told.items()}


class Tellers:
    """Tells several; what the first one makes counts."""

    def __init__(self, tellers: Sequence[Teller], output: GraphiteOutput | None = None) -> None:
        self._first, *self._others = tellers
        self._output = output

    def begin(self, series: dict[str, int]) -> None:
        """A flush begins."""
        if self._output is not None:
            self._output.begin()
        for teller in (self._first, *self._others):
            teller.begin(series)

    def tell(self, told: Told, timestamp: float) -> int:
        """Pass values on."""
        for teller in self._others:
            teller.tell(told, timestamp)
        return self._first.tell(told, timestamp)

    def end(self, timestamp: float, counts: dict[str, float]) -> int:
        """End a flush."""
        for teller in self._others:
            teller.end(timestamp, counts)
        made = self._first.end(timestamp, counts)
        if self._output is not None:
            self._output.end()
        return made

    def forget(self, ids: Ids) -> None:
        """Series are gone."""
        for teller in (self._first, *self._others):
            teller.forget(ids)


class ConsoleTeller:
    """Prints each flush as JSON; `pretty` over several lines."""

    _ROOMS = {"c": "counters", "ms": "timer_data", "g": "gauges", "s": "sets"}

    def __init__(self, source: tables.MetricTable, out: TextIO, pretty: bool, date: Callable[[float], str]) -> None:
        self._source = source
        self._out = out
        self._pretty = pretty
        self._date = date
        self._shown: dict[str, dict[str, Any]] = {}

    def begin(self, series: dict[str, int]) -> None:  # noqa: ARG002 (nothing is to be prepared)
        """A flush begins."""
        self._shown = {room: {} for room in ("counters", "counter_rates", "timer_data", "gauges", "sets")}

    def tell(self, told: Told, timestamp: float) -> int:  # noqa: ARG002 (the end has it)
        """Note values."""
        names = [name.rpartition(b"|")[0].decode() for name in self._source.names(told.ids)]
        room = self._shown[self._ROOMS[told.kind]]
        for name, row in zip(names, told.values.tolist(), strict=True):
            fields = dict(zip(told.fields, row, strict=True))
            if told.kind == "c":
                self._shown["counter_rates"][name] = fields["rate"]
            named = {field: value for field, value in fields.items() if field and value == value}
            room[name] = named if told.kind == "ms" else row[-1]
        return 0

    def end(self, timestamp: float, counts: dict[str, float]) -> int:  # noqa: ARG002 (shown by graphite's names)
        """Print."""
        text = json.dumps(self._shown, indent=2 if self._pretty else None)
        self._out.write(f"Flushing stats at  {self._date(timestamp)}\n{text}\n")
        self._out.flush()
        return 0

    def forget(self, ids: Ids) -> None:
        """Nothing is kept of series."""


class Repeater:
    """Sends each packet, as it came, to all destinations; over TCP with a LF behind it.

    What a connection brought and no datagram holds goes in several of whole lines.
    """

    def __init__(self, destinations: Sequence[IDestination], lines: bool) -> None:
        self._destinations = tuple(destinations)
        self._end = b"\n" if lines else b""

    def packet(self, data: bytes) -> None:
        """Repeat one packet."""
        while not self._end and len(data) > MOST_DATAGRAM_BYTES:
            cut = data.rfind(b"\n", 0, MOST_DATAGRAM_BYTES) + 1 or MOST_DATAGRAM_BYTES
            self._send(data[:cut])
            data = data[cut:]
        self._send(data + self._end)

    def _send(self, data: bytes) -> None:
        for destination in self._destinations:
            destination.send(data, 1)
