"""Counters about this machine, as lines of istatd's protocol: they are stored and forwarded like any other."""

from __future__ import annotations

from typing import Any

__all__ = ["LocalCounters", "suffix_of"]

_STATES = {"running": "running", "sleeping": "sleeping", "idle": "sleeping", "disk-sleep": "sleeping"}
_STATES |= {"stopped": "stopped", "tracing-stop": "stopped", "zombie": "zombie"}
_NET = {
    "tx": "bytes_sent", "rx": "bytes_recv", "ipackets": "packets_recv", "opackets": "packets_sent",
    "ierrors": "errin", "oerrors": "errout",
}  # fmt: skip


def suffix_of(text: str) -> str:
    """Return what is put behind each name: it begins with a dot, or a caret that stands for several."""
    return text if text.startswith((".", "^")) else f".{text}"


class LocalCounters:
    """Reads the machine's figures with `psutil`, or what stands for it.

    Amounts of disks and networks are those since the last reading.  Time never goes back: a reading that is not later
    than the last one says nothing.
    """

    def __init__(self, suffix: str, psutil: Any) -> None:
        self._suffix = suffix_of(suffix)
        self._psutil = psutil
        self._last = 0
        self._totals: dict[str, float] = {}

    def lines(self, now: float) -> bytes:
        """Return the lines of one reading at `now` (epoch seconds); numbers have six digits."""
        time = int(now)
        if time <= self._last:
            return b""
        self._last = time
        figures = {**self._machine(), **self._since_last(), **self._processes()}
        text = "".join(f"localstat.{name}{self._suffix} {time} {value:.6g}\n" for name, value in figures.items())
        return text.encode("utf-8", "replace")

    def _machine(self) -> dict[str, float]:
        psutil = self._psutil
        cpu, memory, swap = psutil.cpu_times_percent(None), psutil.virtual_memory(), psutil.swap_memory()
        found = {f"load.min{minutes}": load for minutes, load in zip((1, 5, 15), psutil.getloadavg(), strict=True)}
        found |= {f"cpu.{name}": getattr(cpu, name, 0.0) for name in ("user", "idle", "iowait", "nice")}
        found |= {"cpu.kernel": getattr(cpu, "system", 0.0), "cpu.swap": 0.0}
        found |= {f"mem.{name}": getattr(memory, name) for name in ("total", "free", "used")}
        found |= {"mem.cache": getattr(memory, "cached", 0)}
        found |= {f"swap.{name}": getattr(swap, name) for name in ("total", "used", "free")}
        return found

    def _since_last(self) -> dict[str, float]:
        """Return the amounts since the last reading; a total that fell began anew."""
        totals: dict[str, float] = {}
        for device, disk in (self._psutil.disk_io_counters(perdisk=True) or {}).items():
            totals[f"disk.{_level(device)}.read"] = disk.read_bytes
            totals[f"disk.{_level(device)}.write"] = disk.write_bytes
        for interface, net in self._psutil.net_io_counters(pernic=True).items():
            for name, field in _NET.items():
                totals[f"net.{_level(interface)}.{name}"] = getattr(net, field)
        before, self._totals = self._totals, totals
        return {name: total - before[name] for name, total in totals.items() if 0 <= before.get(name, -1) <= total}

    def _processes(self) -> dict[str, float]:
        found = dict.fromkeys(("total", "running", "sleeping", "stopped", "zombie"), 0)
        for process in self._psutil.process_iter(["status"]):
            found["total"] += 1
            state = _STATES.get(process.info["status"])
            if state is not None:
                found[state] += 1
        return {f"process.{name}": amount for name, amount in found.items()}


def _level(name: str) -> str:
    """Return a device's name as one level of a counter's."""
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in name)
