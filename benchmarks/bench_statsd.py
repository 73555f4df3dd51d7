"""statsd without sockets: read, sum up, flush in slices.  `python -m benchmarks.bench_statsd [timers ...]`."""

from __future__ import annotations

import resource
import sys
import time

import numpy as np

from cadtwist.codec.statsd import StatsdCodec, StatsdColumns
from cadtwist.codec.statsdoutput import StatsdEncoder
from cadtwist.kernels import active
from cadtwist.kernels.statsdline import SANITISE
from cadtwist.model.badinput import BadInput
from cadtwist.model.statsdstyle import GraphiteNaming, StatsdStyle
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.stages.statsdlines import LineTeller
from cadtwist.stages.statsdnames import Telling
from cadtwist.stages.statsdsums import Etsy, OwnCounts
from cadtwist.telemetry import Account

DATAGRAM = 1400
START = 1_700_000_000.0


class Counter:
    points = 0

    def send(self, data: bytes, points: int) -> None:
        self.points += points


def memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def lines_of(timers: int) -> list[bytes]:
    texts = [b"app.host%d.service%d.latency:%d|ms\n" % (i % 997, i, i % 1000) for i in np.random.permutation(timers)]
    return [b"".join(texts[at : at + 1000]) for at in range(0, timers, 1000)]


def ignore(bad: BadInput, items: int) -> None:
    raise AssertionError(bad)


def measure(timers: int) -> None:
    table, account, sink = active.table.MetricTable(1), Account("s"), Counter()
    teller = LineTeller(Telling(table, GraphiteNaming()), StatsdEncoder("text"), sink.send, account)
    etsy = Etsy(StatsdStyle(), START, lambda: OwnCounts(0, 0, 0))
    window = StatsdWindow(table, etsy, teller, account, time.perf_counter, START)
    codec = StatsdCodec(table, StatsdColumns(), window.accept, SANITISE)
    chunks, before = lines_of(timers), memory_mib()
    for turn in (1, 2, 3):
        begin = time.process_time()
        for chunk in chunks:
            codec.datagram(chunk, START, ignore)
        codec.flush()
        took = time.process_time() - begin
        if turn == 1:
            print(f"{timers} timers: {(memory_mib() - before) * 1048576 / timers:.0f} bytes each at first")
        now, pauses, begin = START + 10.0 * turn, [], time.process_time()
        done = False
        while not done:
            slice_begin = time.perf_counter()
            done = window.flush(now, 0.02)
            pauses.append(time.perf_counter() - slice_begin)
        spent = time.process_time() - begin
        print(
            f"  flush {turn}: read and add {took / timers * 1e9:.0f} ns a value; tell {spent / timers * 1e6:.2f} us a "
            f"timer ({sink.points} datapoints), {len(pauses)} slices, the longest {max(pauses) * 1000:.0f} ms"
        )
        sink.points = 0
    print(f"  {(memory_mib() - before) * 1048576 / timers:.0f} bytes each at most, with name, values and text")


def main() -> None:
    for timers in [int(each) for each in sys.argv[1:]] or [10_000, 100_000, 1_000_000]:
        measure(timers)


if __name__ == "__main__":
    main()
