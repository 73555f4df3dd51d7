#!/usr/bin/env python3
"""Count something, time it, and let the client send it: python examples/clients/count.py [PATH]."""

from __future__ import annotations

import sys
import time

from cadtwist.client.threads import ThreadedClient


def main(path: str = "example.count") -> None:
    """Count a hundred things; what is left is sent at the end.  DATTSS_* in the environment say where to."""
    client = ThreadedClient(process="count.py")
    for number in range(100):
        started = time.perf_counter()
        client.agg(path, "1c")
        client.agg(f"{path}.number", f"{number}g")
        client.agg(f"{path}.time", f"{round(1000 * (time.perf_counter() - started))}ms")
    client.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
