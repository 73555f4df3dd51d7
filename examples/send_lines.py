#!/usr/bin/env python3
"""Send datapoints as Graphite lines: python examples/send_lines.py [host [port]]."""

from __future__ import annotations

import socket
import sys
import time


def main(host: str = "127.0.0.1", port: str = "2003") -> None:
    """Send three datapoints over one connection."""
    now = int(time.time())
    lines = [f"example.lines.{name} {value} {now}" for name, value in (("one", 1), ("half", 0.5), ("many", 1e6))]
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall("".join(f"{line}\n" for line in lines).encode())
    print("\n".join(lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
