"""Steady load whose every datapoint can be found again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.system.slots import points

__all__ = ["Feed"]

_CHUNK = 250


class Feed:
    """Sends datapoint 0, 1, 2 ... over one TCP connection in a thread of its own, until stopped or cut off.

    Datapoint n goes to metric `<prefix>.m<n mod metrics>`, at `ts0 + n div metrics`, with the value n: no two share
    metric and time, and the peer sees them in this order.
    """

    def __init__(self, port: int, prefix: str, ts0: int, metrics: int = 100, rate: float = 20_000.0) -> None:
        self.port, self.prefix, self.ts0, self.metrics, self.rate = port, prefix, ts0, metrics, rate
        self.sent = 0
        self.cut_off = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed {prefix}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> int:
        """Stop sending; return how many datapoints were given to the kernel."""
        self._end.set()
        self._thread.join(60)
        return self.sent

    def lines(self, first: int, last: int) -> bytes:
        """Return datapoints `first` to `last` - 1 as graphite lines."""
        return "".join(
            f"{self.prefix}.m{n % self.metrics} {n} {self.ts0 + n // self.metrics}\n" for n in range(first, last)
        ).encode()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
                while not self._end.is_set():
                    connection.sendall(self.lines(self.sent, self.sent + _CHUNK))
                    self.sent += _CHUNK
                    ahead = self.sent / self.rate - (time.monotonic() - began)
                    self._end.wait(max(0.0, ahead))
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
        except OSError:
            self.cut_off = True

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
