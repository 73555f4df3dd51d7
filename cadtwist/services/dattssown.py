"""A DaTtSs server's own statistics, told to itself as its user `own_user` sees them."""

from __future__ import annotations

from collections.abc import Callable

from cadtwist.model.partial import Partial, partial_of
from cadtwist.telemetry import Account

__all__ = ["OwnStatistics"]

_GAUGES = ("users", "statistics")
_NAMES = {"users": "environment.active", "statistics": "environment.stats"}
_COMMITS = ("minutes_stored", "commits_failed", "commits_late")


class OwnStatistics:
    """Counters as what they grew since the last telling; gauges once a minute.  `put(partials)` takes them."""

    def __init__(self, http: Account, node: Account, put: Callable[[list[Partial]], object]) -> None:
        self._http = http
        self._node = node
        self._put = put
        self._told: dict[str, int] = {}
        self._minute = 0.0

    def tell(self, now: float) -> None:
        """Tell what is new."""
        totals = {f"routes.{name}": count for name, count in self._http.counters.items()}
        totals.update((f"environment.{name}", self._node.counters.get(name, 0)) for name in _COMMITS)
        found = []
        for name, total in totals.items():
            grown, self._told[name] = total - self._told.get(name, 0), total
            if grown:
                found.append(_counter(name, grown))
        if now - self._minute >= 60.0:
            self._minute = now
            gauges = self._node.gauges
            found += [partial_of("g", _NAMES[name], [int(gauges[name]())]) for name in _GAUGES]
        if found:
            self._put(found)


def _counter(path: str, times: int) -> Partial:
    return Partial(typ="c", pth=path, sum=times, cnt=times, max=1, min=1, fst=1, lst=1, top=1, bot=1)
