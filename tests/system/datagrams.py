"""Datagrams of one line each at a steady rate, from a process of their own; and what the kernel dropped of them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["FIRST", "DatagramFeed", "kernel_drops"]

FIRST = 100_000_000
"""The value of the first line; the next one has the next value."""
_PAUSE_S = 0.005
_DROPS, _ADDRESS = 12, 1


class DatagramFeed:
    """Sends `udp.m<n mod names> <FIRST + n> 1` for n = 0, 1, 2 ... to a port of this machine until ended."""

    def __init__(self, port: int, per_s: int, names: int = 500) -> None:
        command = [sys.executable, "-m", __name__, str(port), str(per_s), str(names)]
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)

    def end(self) -> tuple[int, float]:
        """Stop; return how many were sent, and how many a second."""
        self._process.send_signal(signal.SIGTERM)
        told, _ = self._process.communicate(timeout=30)
        sent, seconds = json.loads(told)
        return sent, sent / seconds

    def kill(self) -> None:
        """Be gone, whatever happened."""
        self._process.kill()
        self._process.communicate()


def _sockets(port: int) -> list[list[str]]:
    rows = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return [row for row in rows if int(row[_ADDRESS].rpartition(":")[2], 16) == port]


def kernel_drops(port: int) -> int:
    """Return how many datagrams the kernel dropped at the sockets bound to `port` that are open now."""
    return sum(int(row[_DROPS]) for row in _sockets(port))


def main() -> None:
    port, per_s, names = (int(word) for word in sys.argv[1:])
    end: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: end.append(1))
    sent, began = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.connect(("127.0.0.1", port))
        while not end:
            due = int((time.monotonic() - began) * per_s) - sent
            for number in range(sent, sent + min(due, per_s // 50)):
                wire.send(b"udp.m%d %d 1\n" % (number % names, FIRST + number))
                sent += 1
            time.sleep(_PAUSE_S)
    print(json.dumps([sent, time.monotonic() - began]))


if __name__ == "__main__":
    main()
