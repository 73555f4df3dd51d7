"""The index of names at a million: microseconds per added name, bytes per leaf, how long globs take, longest steps.

`python -m benchmarks.bench_index [names]`
"""

from __future__ import annotations

import gc
import sys
import time
from typing import Any

import numpy as np

from cadtwist.kernels import active
from cadtwist.model.pattern import parse_pattern
from cadtwist.query.find import FindLimits, Slices, matched, searching
from cadtwist.query.index import HAS_FILE, MetricIndex
from cadtwist.services.footprint import settle_allocator

QUERIES = (
    "servers.web-0042.cpu.core3.user",
    "servers.web-0042.*",
    "servers.web-0042.*.*.*",
    "servers.*.cpu.core3.user",
    "servers.web-0[0-4]*.{cpu,disk}.core1.*",
    "servers.*0042.**.user",
    "*.*.*.core0.*",
    "**.idle9",
)


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def names(total: int) -> list[bytes]:
    """A million as 2,000 machines of 5 kinds of things with 10 parts and 10 measures each."""
    measures = [b"user", b"system", b"idle", b"wait", b"steal", b"nice", b"irq", b"softirq", b"guest", b"idle9"]
    kinds = [b"cpu", b"disk", b"net", b"mem", b"app"]
    machines = max(total // (len(kinds) * 10 * len(measures)), 1)
    return [
        b"servers.web-%04d.%s.core%d.%s" % (machine, kind, part, measure)
        for machine in range(machines)
        for kind in kinds
        for part in range(10)
        for measure in measures
    ]


def steps(slices: Slices[Any]) -> tuple[Any, list[float]]:
    """Run to the end; return the result and the CPU milliseconds of each step."""
    spent = []
    while True:
        began = time.process_time()
        try:
            next(slices)
        except StopIteration as end:
            return end.value, [*spent, (time.process_time() - began) * 1e3]
        spent.append((time.process_time() - began) * 1e3)


def growing(what: str, every: list[bytes], batch: int = 8192) -> None:
    """Show the longest turn in which a Batch of new names is added."""
    index, spent = active.index.NameIndex(20261121), []
    for first in range(0, len(every), batch):
        some = every[first : first + batch]
        offsets = np.cumsum([0, *map(len, some)]).astype(np.uint32)
        began = time.process_time()
        index.add_many(b"".join(some), offsets)
        spent.append((time.process_time() - began) * 1e3)
    median = sorted(spent)[len(spent) // 2]
    print(f"{batch} new names at a time, {what}: longest {max(spent):.1f} ms, median {median:.1f} ms")


def main(total: int) -> None:
    settle_allocator()  # as the daemon does
    every = names(total)
    blob = b"".join(every)
    offsets = np.zeros(len(every) + 1, np.uint32)
    np.cumsum([len(name) for name in every], out=offsets[1:])
    print(f"{len(every)} names of {len(blob) / len(every):.1f} bytes, native: {active.NATIVE}")

    gc.collect()
    before = resident()
    index = MetricIndex(20261121)
    began = time.process_time()
    index.names.add_many(blob, offsets, HAS_FILE)
    spent = time.process_time() - began
    grown = resident() - before
    print(f"add_many          {spent / len(every) * 1e6:8.3f} us per name")
    print(f"memory            {index.names.used_bytes / len(every):8.1f} bytes per leaf allocated, "
          f"{grown / len(every):.1f} resident")
    again = active.index.NameIndex(1)
    began = time.process_time()
    for name in every:
        again.add(name)
    print(f"add one by one    {(time.process_time() - began) / len(every) * 1e6:8.3f} us per name")
    began = time.process_time()
    for name in every:
        again.remove(name)
    print(f"remove            {(time.process_time() - began) / len(every) * 1e6:8.3f} us per name")

    unique = active.index.NameIndex(1)
    began = time.process_time()
    for i in range(len(every)):
        unique.add(b"random.names.%016x.value" % (i * 2654435761))
    print(f"add unique texts  {(time.process_time() - began) / len(every) * 1e6:8.3f} us per name, "
          f"{unique.used_bytes / len(every):.1f} bytes per leaf")
    del unique, again

    growing("as above", every)
    growing("unique", [b"random.names.%016x.value" % (i * 2654435761) for i in range(2 * len(every))])
    for query in QUERIES[-2:]:
        found, search = steps(searching(index, query, FindLimits().budget()))
        matches, sort = steps(matched(found))
        print(f"{query} in steps: {len(matches)} matches, longest {max(search):.1f} ms of {len(search)} to search, "
              f"{max(sort):.1f} ms of {len(sort)} to sort")

    limits = FindLimits(nodes=50_000_000, matches=10**9)
    for query in QUERIES:
        times = []
        until = time.perf_counter() + 0.7
        while len(times) < 3 or (len(times) < 300 and time.perf_counter() < until):
            began = time.perf_counter()
            found, _, _ = index.names.find(parse_pattern(query), limits.matches, limits.nodes * 64)
            times.append(time.perf_counter() - began)
        times.sort()
        print(f"{query:42} {len(found):8} matches  median {times[len(times) // 2] * 1e3:8.3f} ms  "
              f"p99 {times[int(len(times) * 0.99)] * 1e3:8.3f} ms")
    began = time.perf_counter()
    cursor, count = 0, 0
    while True:
        some, cursor = index.leaves(cursor, 20_000)
        count += len(some)
        if not cursor:
            break
    print(f"leaves in slices of 20,000 nodes: {count} in {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
