"""Sending: the kernels that encode and that write datagrams beside their twins, destinations beside plain transports.

`python -m benchmarks.bench_sending`; CPU-seconds per million datapoints of this process, the sinks excluded.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from cadtwist.kernels import active, encode_py, table_py, udpsend_py
from cadtwist.net.destination import Destination, DestinationOptions
from cadtwist.telemetry import Account

SINKS = 3
LINE = b"servers.dc1.rack00.web-00042.example_com.cpu.idle 57356.21 1795216800\n"
POINTS = 8192


def cost(call: Callable[[], object], points: int, seconds: float = 1.0) -> float:
    """Return the CPU-seconds of a million points, `points` each call."""
    begin, calls = time.process_time(), 0
    while time.process_time() - begin < seconds:
        call()
        calls += 1
    return (time.process_time() - begin) / calls / points * 1e6


def encoders() -> None:
    if not active.NATIVE:
        print("the native kernels are not built; the twins alone")
    rng = np.random.default_rng(1)
    names = [b"servers.dc1.rack%02d.web-%05d.example_com.cpu.idle" % (i % 7, i) for i in range(10_000)]
    values = np.round(rng.random(POINTS) * 1e5, 2)
    stamps = np.full(POINTS, 1.7e9)
    for kernel, tables in dict.fromkeys(((active.encode, active.table), (encode_py, table_py))):
        table = tables.MetricTable(1)
        ids = rng.choice(np.array([table.intern(name, 0) for name in names], np.uint32), POINTS).astype(np.uint32)
        columns = table, ids, stamps, values, None
        for what, more in (("lines", True), ("pickle_frames", 500), ("protobuf_frames", 500)):
            write = getattr(kernel, what)
            print(f"{kernel.__name__}.{what}: {cost(lambda: write(*columns, more), POINTS):.3f}")  # noqa: B023


def datagrams() -> None:
    kind = socket.AF_INET, socket.SOCK_DGRAM
    with socket.socket(*kind) as sink, socket.socket(*kind) as ours:
        sink.bind(("127.0.0.1", 0))
        ours.setblocking(False)
        ours.connect(sink.getsockname())
        data = LINE * 1000
        for most in (0, 1400):
            for kernel in dict.fromkeys((active.udpsend, udpsend_py)):
                spent = cost(lambda: kernel.send_lines(ours.fileno(), data, most), 1000)  # noqa: B023
                print(f"{kernel.__name__}, {f'{most} bytes' if most else 'one line'} a datagram: {spent:.3f}")


def sinks() -> tuple[int, list[int]]:
    """Start a process that reads and forgets; return its id and ports."""
    listening = []
    for _ in range(SINKS):
        one = socket.socket()
        one.bind(("127.0.0.1", 0))
        one.listen()
        listening.append(one)
    ports = [one.getsockname()[1] for one in listening]
    child = os.fork()
    if child:
        for one in listening:
            one.close()
        return child, ports
    chosen = selectors.DefaultSelector()
    for one in listening:
        chosen.register(one, selectors.EVENT_READ, True)
    buffer = bytearray(1 << 18)
    while True:
        for key, _ in chosen.select():
            peer: Any = key.fileobj
            if key.data:
                chosen.register(peer.accept()[0], selectors.EVENT_READ, False)
            elif not peer.recv_into(buffer):
                chosen.unregister(peer)


def stream(chunk_bytes: int, plain: bool, lines: int = 3_000_000) -> float:
    """Send `lines` in chunks to three sinks; return the cost of a million."""
    from twisted.internet import reactor as running  # noqa: PLC0415 (each process has a reactor of its own)

    reactor: Any = running
    child, ports = sinks()
    chunk = LINE * (chunk_bytes // len(LINE))
    each = chunk.count(b"\n")
    transports: list[Any] = []
    destinations = []
    for port in ports:
        if plain:
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
            endpoint.connect(Factory.forProtocol(Protocol)).addCallback(lambda p: transports.append(p.transport))
        else:
            made = Destination(reactor, str(port), DestinationOptions(host="127.0.0.1", port=port), Account(str(port)))
            made.start()
            destinations.append(made)
    sent, begin = 0, 0.0

    def turn() -> None:
        nonlocal sent
        if plain and all(len(one.dataBuffer) + one._tempDataLen < 4 << 20 for one in transports):
            for one in transports:
                one.write(chunk)
            sent += SINKS * each
        elif not plain and all(one.spool.waiting_bytes < 4 << 20 for one in destinations):
            for one in destinations:
                one.send(chunk, each)
            sent += SINKS * each
        reactor.callLater(0, turn) if sent < lines else reactor.callLater(0.3, reactor.stop)

    def start() -> None:
        nonlocal begin
        begin = time.process_time()
        turn()

    reactor.callLater(0.3, start)
    reactor.run()
    spent = time.process_time() - begin
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return spent / sent * 1e6


def streams() -> None:
    """Measure in processes of their own: a reactor runs once."""
    for chunk_bytes in (7_000, 100_000):
        for plain in (False, True):
            sys.stdout.flush()
            child = os.fork()
            if not child:
                what = "transport.write" if plain else "a destination"
                print(f"{what}, chunks of {chunk_bytes} bytes: {stream(chunk_bytes, plain):.3f}", flush=True)
                os._exit(0)
            os.waitpid(child, 0)


def main() -> None:
    encoders()
    datagrams()
    streams()


if __name__ == "__main__":
    main()
