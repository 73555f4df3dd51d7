#!/usr/bin/env python3
"""Send datapoints as one pickle frame: python examples/send_pickle.py [host [port]]."""

from __future__ import annotations

import pickle
import socket
import struct
import sys
import time


def main(host: str = "127.0.0.1", port: str = "2004") -> None:
    """Send ten datapoints of one metric, ten seconds apart."""
    now = int(time.time()) // 10 * 10
    points = [("example.pickle.seconds", (now - 10 * age, float(age))) for age in range(10)]
    body = pickle.dumps(points, protocol=2)
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(struct.pack("!L", len(body)) + body)
    print(f"{len(points)} datapoints sent")


if __name__ == "__main__":
    main(*sys.argv[1:])
