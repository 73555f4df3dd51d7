"""Our own counter daemon as a process, and a client that sends it numbered samples."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from cadtwist.model.statretention import parse_stat_retentions
from cadtwist.storage.statfile import StatStore
from tests.system.counterd import Counterd
from tests.system.loads import Load

__all__ = ["CounterFeed", "Istatd"]

STEP_S = 10


class Istatd(Counterd):
    """A counter daemon whose files hold only what is sent: nothing of itself, no levels above."""

    def __init__(self, folder: Path, flush_s: int) -> None:
        self.retention = f"{STEP_S}s:1d,5m:2d"
        options = {"retention": self.retention, "flush": flush_s, "no-self-counters": None}
        super().__init__("istatd", folder, {**options, "dont-recursively-create-counters": None})

    def stop(self, seconds: float = 60.0) -> int:
        """Stop it; 0 when it shut down in order (twistd then ends by the signal that asked it to)."""
        code = super().stop(seconds)
        return 0 if code == -signal.SIGTERM and "Server Shut Down" in self.tail() else code

    def logged(self) -> int:
        """Return how many samples are in the log, or were, since the start."""
        return int(self.ledger()["istat log"]["counters"].get("logged", 0))

    def cells(self, counter: str) -> dict[int, tuple[int, float]]:
        """Return count and sum of each cell of a counter's finest file, by time; the daemon must have ended."""
        store = StatStore(str(self.store), parse_stat_retentions(self.retention))
        with store.reader(counter.encode()) as reader:
            head = reader.headers()[0]
            if head is None:
                return {}
            cells = reader.cells(0, head.first_bucket, head.last_bucket - head.first_bucket + 1)
        return {int(c["time"]): (int(c["count"]), float(c["sum"])) for c in cells if c["time"] > 0}


class CounterFeed(Load[int]):
    """Sends sample n with the value n to counter n % `counters`, each into a cell of its own, over one connection."""

    def __init__(self, port: int, name: str, since: int, counters: int) -> None:
        super().__init__()
        self.port = port
        self.name_ = name
        self.since = since - since % STEP_S
        self.counters = counters
        self.sent = 0

    def load(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 10) as link:
            while self.goes_on(0.002):
                lines = [self._line(self.sent + n) for n in range(50)]
                link.sendall("".join(lines).encode())
                self.sent += len(lines)

    def _line(self, number: int) -> str:
        return f"{self.name_}.c{number % self.counters} {self.time(number)} {number}\n"

    def time(self, number: int) -> int:
        """Return the time of a sample."""
        return self.since + number // self.counters * STEP_S

    def check(self, daemon: Istatd, kept: int) -> list[str]:
        """Return what is wrong: of the first `kept` samples one that is missing; a cell that has not its one sample."""
        wrong = []
        for row in range(self.counters):
            cells = daemon.cells(f"{self.name_}.c{row}")
            for number in range(row, kept, self.counters):
                if self.time(number) not in cells:
                    wrong.append(f"sample {number} is missing")
            for when, (count, total) in cells.items():
                number = (when - self.since) // STEP_S * self.counters + row
                if (count, total) != (1, number):
                    wrong.append(f"sample {number}: {count} samples, sum {total}")
        return wrong
