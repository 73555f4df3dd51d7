"""Steady load whose every datapoint can be found again."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tests.system.loads import Load, leave
from tests.system.slots import points

__all__ = ["Feed"]

_CHUNK = 250


class Feed(Load[int]):
    """Sends datapoint 0, 1, 2 ... over one TCP connection.

    Datapoint n goes to metric `<prefix>.m<n mod metrics>`, at `ts0 + n div metrics`, with the value n: no two share
    metric and time, and the peer sees them in this order.
    """

    def __init__(self, port: int, prefix: str, ts0: int, metrics: int = 100, rate: float = 20_000.0) -> None:
        super().__init__()
        self.port, self.prefix, self.ts0, self.metrics, self.rate = port, prefix, ts0, metrics, rate
        self.sent = 0

    def lines(self, first: int, last: int) -> bytes:
        """Return datapoints `first` to `last` - 1 as graphite lines."""
        return "".join(
            f"{self.prefix}.m{n % self.metrics} {n} {self.ts0 + n // self.metrics}\n" for n in range(first, last)
        ).encode()

    def load(self) -> None:
        began, ahead = time.monotonic(), 0.0
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            while self.goes_on(max(0.0, ahead)):
                connection.sendall(self.lines(self.sent, self.sent + _CHUNK))
                self.sent += _CHUNK
                ahead = self.sent / self.rate - (time.monotonic() - began)
            leave(connection)

    def metric_points(self, first: int, last: int) -> Iterator[tuple[str, dict[int, float]]]:
        """Yield each metric with the {timestamp: value} of its datapoints `first` to `last` - 1."""
        for k in range(self.metrics):
            start = first + (k - first) % self.metrics
            yield (
                f"{self.prefix}.m{k}",
                {self.ts0 + n // self.metrics: float(n) for n in range(start, last, self.metrics)},
            )

    def missing(self, whisper: Path, first: int, last: int) -> list[str]:
        """Return what is wrong with datapoints `first` to `last` - 1 in the files under `whisper`, as texts."""
        wrong: list[str] = []
        for metric, wanted in self.metric_points(first, last):
            found = points(whisper, metric)
            for ts, value in wanted.items():
                if found.get(ts) != value:
                    wrong.append(f"{metric} {ts}: {found.get(ts)} not {value}")
        return wrong

    def strange(self, whisper: Path, last: int) -> list[str]:
        """Return datapoints in the files that were never among the first `last` sent, as texts."""
        wrong: list[str] = []
        for metric, wanted in self.metric_points(0, last):
            found = points(whisper, metric)
            wrong += [f"{metric} {ts}: {value}" for ts, value in found.items() if wanted.get(ts) != value]
        return wrong
