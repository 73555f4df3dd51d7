"""Statistics of this host, read through psutil: `<prefix>.<host>.cpu.user`, `.memory.used`, `.net.eth0.rx_bytes` ...

Counters of the kernel are told as rates per second, percentages and levels as they are.  A reading that this
host does not offer is left out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from cadtwist.services.selfstats import Metrics, metric_part

__all__ = ["LocalStats"]

Reader = Callable[[float], Iterator[tuple[str, float]]]
_MEMORY = ("total", "available", "used", "free", "active", "inactive", "buffers", "cached", "shared", "percent")
_NET = {
    "bytes_recv": "rx_bytes",
    "bytes_sent": "tx_bytes",
    "packets_recv": "rx_packets",
    "packets_sent": "tx_packets",
    "errin": "rx_errors",
    "errout": "tx_errors",
    "dropin": "rx_dropped",
    "dropout": "tx_dropped",
}
_DISK = ("read_count", "write_count", "read_bytes", "write_bytes", "read_time", "write_time")


class LocalStats:
    """Reads the host on `collect(now)`; the first call tells levels only, later ones rates too.

    `source` is the psutil module or a stand-in with its functions.
    """

    def __init__(self, prefix: str, source: Any = psutil) -> None:
        self._prefix = prefix
        self._source = source
        self._last: dict[str, tuple[float, float]] = {}

    def collect(self, now: float) -> Metrics:
        """Return (name, value) of everything that this host tells at `now`."""
        readers = (self._cpu, self._memory, self._load, self._net, self._disks, self._filesystems, self._host)
        return [metric for read in readers for metric in self._told_by(read, now)]

    def _told_by(self, read: Reader, now: float) -> Metrics:
        with contextlib.suppress(OSError, AttributeError, NotImplementedError, RuntimeError):
            return [(f"{self._prefix}.{name}", float(value)) for name, value in read(now)]
        return []  # this host does not tell it

    def _rates(self, stem: str, counters: Any, names: dict[str, str], now: float) -> Iterator[tuple[str, float]]:
        for attribute, name in names.items():
            total = getattr(counters, attribute, None)
            if total is None:
                continue
            key = f"{stem}.{name}"
            before = self._last.get(key)
            self._last[key] = (now, float(total))
            if before is not None and now > before[0] and total >= before[1]:
                yield key, (total - before[1]) / (now - before[0])

    def _cpu(self, now: float) -> Iterator[tuple[str, float]]:
        times = self._source.cpu_times()
        cores = self._source.cpu_count() or 1
        for name, seconds_per_second in self._rates("cpu", times, {f: f for f in times._fields}, now):
            yield name, 100.0 * seconds_per_second / cores
        yield "cpu.count", cores
        stats = self._source.cpu_stats()
        yield from self._rates("cpu", stats, {"ctx_switches": "context_switches", "interrupts": "interrupts"}, now)

    def _memory(self, now: float) -> Iterator[tuple[str, float]]:
        del now
        for stem, level in (("memory", self._source.virtual_memory()), ("swap", self._source.swap_memory())):
            for name in _MEMORY:
                value = getattr(level, name, None)
                if value is not None:
                    yield f"{stem}.{name}", value

    def _load(self, now: float) -> Iterator[tuple[str, float]]:
        del now
        yield from zip(("load.1m", "load.5m", "load.15m"), self._source.getloadavg(), strict=True)

    def _net(self, now: float) -> Iterator[tuple[str, float]]:
        for interface, counters in self._source.net_io_counters(pernic=True).items():
            yield from self._rates(f"net.{metric_part(interface)}", counters, _NET, now)

    def _disks(self, now: float) -> Iterator[tuple[str, float]]:
        for device, counters in (self._source.disk_io_counters(perdisk=True) or {}).items():
            yield from self._rates(f"disk.{metric_part(device)}", counters, {name: name for name in _DISK}, now)

    def _filesystems(self, now: float) -> Iterator[tuple[str, float]]:
        del now
        for partition in self._source.disk_partitions(all=False):
            usage = self._source.disk_usage(partition.mountpoint)
            stem = f"filesystem.{metric_part(partition.mountpoint.strip(os.sep)) or 'root'}"
            yield f"{stem}.total", usage.total
            yield f"{stem}.used", usage.used
            yield f"{stem}.free", usage.free
            yield f"{stem}.percent", usage.percent

    def _host(self, now: float) -> Iterator[tuple[str, float]]:
        yield "uptime", now - self._source.boot_time()
        yield "processes", len(self._source.pids())
