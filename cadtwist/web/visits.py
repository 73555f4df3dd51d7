"""What requests cost: told in a log, of slow ones always, and counted for histograms."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from math import inf
from time import perf_counter

from twisted.logger import Logger

__all__ = ["BOUNDS_S", "COUNTED", "HTTP_ACCOUNT", "Cost", "Visits"]

HTTP_ACCOUNT = "http"
"""The account that keeps the counts."""

COUNTED = "http "
"""What the names of all counts begin with, on their way to it."""

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, inf)
"""Upper ends of the histograms' buckets."""

_BUCKETS = tuple(f" le {bound:g}" for bound in BOUNDS_S)
_SHOWN = 1000
_PHASES = ("names", "read", "encode")


class Cost:
    """What one request costs: series and points read, files that could not be (`faults`), and seconds by phase.

    Phases: `names` (the owner tells names and hot points), `read` (files), `encode` (the body); what is left of the
    whole is computing.  `timer` counts seconds; `door` is the name of what was asked for.
    """

    __slots__ = ("door", "faults", "phases", "points", "series", "since", "timer")

    def __init__(self, timer: Callable[[], float] = perf_counter) -> None:
        self.door = "other"
        self.timer = timer
        self.since = timer()
        self.series = 0
        self.points = 0
        self.faults = 0
        self.phases: dict[str, float] = {}

    def spent(self, name: str, began: float) -> None:
        """Add the time since `began`, of our `timer`, to a phase."""
        self.phases[name] = self.phases.get(name, 0.0) + self.timer() - began


class Visits:
    """Takes every request when it is answered.  Reactor thread.

    `count(what, amount)` counts; `log_all` logs each request, `slow_s` the ones that take longer (0: none).
    """

    _log = Logger()

    def __init__(
        self, count: Callable[[str, int], object] | None = None, log_all: bool = False, slow_s: float = 0.0
    ) -> None:
        self._count = count
        self._log_all = log_all
        self._slow_s = slow_s

    def done(self, asked: bytes, status: int, size: int, cost: Cost, kept: bool = False) -> None:
        """Take a request: its URI, the answer's status and bytes; `kept`: given again."""
        seconds = cost.timer() - cost.since
        if self._count is not None:
            self._tally(self._count, status, seconds, cost)
        is_slow = 0 < self._slow_s <= seconds
        if not self._log_all and not is_slow:
            return
        names, read, encode = (cost.phases.get(phase, 0.0) * 1e3 for phase in _PHASES)
        tell = self._log.warn if is_slow else self._log.info
        tell(
            "{kind} request: {status} {size} bytes in {ms:.1f} ms (names {names:.1f}, read {read:.1f}, compute "
            "{compute:.1f}, encode {encode:.1f}), {series} series, {points} points{kept}: {asked}",
            kind="slow" if is_slow else "answered", status=status, size=size, ms=seconds * 1e3, names=names,
            read=read, encode=encode, compute=max(seconds * 1e3 - names - read - encode, 0.0), series=cost.series,
            points=cost.points, kept=", given again" if kept else "", asked=_shown(asked),
        )  # fmt: skip

    def _tally(self, count: Callable[[str, int], object], status: int, seconds: float, cost: Cost) -> None:
        what = f"{COUNTED}{cost.door} {status}"
        count(what + _BUCKETS[bisect_left(BOUNDS_S, seconds)], 1)
        count(what + " us", int(seconds * 1e6))
        if cost.series:
            count(f"{COUNTED}{cost.door} series", cost.series)
            count(f"{COUNTED}{cost.door} points", cost.points)
        if cost.faults:
            count(f"{COUNTED}{cost.door} faults", cost.faults)


def _shown(asked: bytes) -> str:
    """Return the beginning of a request as printable text."""
    text = asked[:_SHOWN].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
