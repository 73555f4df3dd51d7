#!/usr/bin/env python3
"""Send datapoints as Graphite lines: python examples/send_lines.py [host [port]]."""

from __future__ import annotations

import socket
import sys
import time


def main(host: str = "127.0.0.1", port: str = "2003") -> None:
    """Send three datapoints over one connection: a name, a value, the time in epoch seconds, a line feed."""
    values = {"one": 1, "half": 0.5, "many": 1e6}
    lines = "".join(f"example.lines.{name} {value} {int(time.time())}\n" for name, value in values.items())
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(lines.encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
