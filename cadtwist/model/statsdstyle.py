"""How statsd sums up and names what it tells: the settings of both families as plain values.  Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from cadtwist.kernels.jstext import js_text

__all__ = [
    "MOST_HISTOGRAMS",
    "STATSITE_TIMER_FIELDS",
    "GraphiteNaming",
    "Histogram",
    "StatsdStyle",
    "StatsiteHistogram",
    "StatsiteNaming",
    "StatsiteStyle",
    "TreeLevels",
    "percent_text",
    "timer_fields",
]

MOST_HISTOGRAMS = 250
"""So many different ones can be told apart."""

STATSITE_TIMER_FIELDS = ("sum", "sum_sq", "mean", "lower", "upper", "count", "stdev", "median", "rate", "sample_rate")
"""What `timers_include` may name; quantiles and histograms are always told."""

_PERCENT_FIELDS = ("count", "mean", "upper", "sum", "sum_squares")
_OWN_FIELDS = ("std", "upper", "lower", "count", "count_ps", "sum", "sum_squares", "mean", "median")
_PERCENT = re.compile(r"_(?:top)?[0-9]+$")


def percent_text(percent: float) -> str:
    """Return how a threshold stands in a field's name: `90`, `99_9`, `top10` for -10."""
    return js_text(percent).replace(".", "_", 1).replace("-", "top", 1)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bins for timers whose key contains `metric`: ascending limits, each exclusive; inf takes the rest."""

    metric: str
    bins: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TreeLevels:
    """The levels of Graphite's tree among which statsd puts its series."""

    legacy: bool = True
    global_prefix: str = "stats"
    prefix_counter: str = "counters"
    prefix_timer: str = "timers"
    prefix_gauge: str = "gauges"
    prefix_set: str = "sets"

    def room(self, kind: str) -> str:
        """Return the level of a kind's series."""
        rooms = {"c": self.prefix_counter, "ms": self.prefix_timer, "g": self.prefix_gauge, "s": self.prefix_set}
        return rooms[kind]


@dataclass(frozen=True, slots=True)
class GraphiteNaming(TreeLevels):
    """Where statsd puts a series in Graphite's tree; in the legacy tree the prefixes do not count.

    `global_suffix` follows a dot, an empty one too; None: nothing does.
    """

    global_suffix: str | None = None
    prefix_stats: str = "statsd"
    flush_counts: bool = True

    def affixes(self, kind: str, field: str) -> tuple[str, str] | None:
        """Return what stands before and after the key in the name of a field; None where it is not told."""
        if kind == "c" and field == "count" and not self.flush_counts:
            return None
        after = self._after
        if self.legacy:
            if kind == "c":
                return ("stats." if field == "rate" else "stats_counts."), after
            room = {"ms": "timers", "g": "gauges", "s": "sets"}[kind]
            return f"stats.{room}.", (f".{field}" if kind != "g" else "") + after
        before = "".join(f"{level}." for level in (self.global_prefix, self.room(kind)) if level)
        return before, (f".{field}" if kind != "g" else "") + after

    def own(self, field: str) -> str:
        """Return the name of a series in which statsd tells of itself."""
        after = self._after
        if not self.legacy:
            return f"{f'{self.global_prefix}.' if self.global_prefix else ''}{self.prefix_stats}.{field}{after}"
        return f"{'' if field == 'numStats' else 'stats.'}{self.prefix_stats}.{field}{after}"

    @property
    def _after(self) -> str:
        return "" if self.global_suffix is None else f".{self.global_suffix}"


@dataclass(frozen=True, slots=True)
class StatsdStyle:
    """What Etsy's statsd tells at a flush.

    `prefix_stats` None: nothing about itself.  `idle_fields` of a timer are told as 0 while it has no values.
    """

    flush_interval_s: float = 10.0
    percent_thresholds: tuple[float, ...] = (90.0,)
    histograms: tuple[Histogram, ...] = ()
    calculated: tuple[str, ...] = ()
    delete_counters: bool = False
    delete_timers: bool = False
    delete_sets: bool = False
    delete_gauges: bool = False
    gauges_max_ttl: int = 1
    prefix_stats: str | None = "statsd"
    idle_fields: tuple[str, ...] = ("count", "count_ps")

    def histogram_of(self, key: str) -> int:
        """Return 1 + the number of the histogram that a timer has, 0 for none."""
        for number, histogram in enumerate(self.histograms):
            if histogram.metric in key:
                return number + 1 if histogram.bins else 0
        return 0


def timer_fields(style: StatsdStyle, group: int) -> tuple[str, ...]:
    """Return all fields of a timer, "" for those that are not told, in the order in which they are computed."""
    fields = [
        f"{'lower' if field == 'upper' and percent <= 0 else field}_{percent_text(percent)}"
        for percent in style.percent_thresholds
        for field in _PERCENT_FIELDS
    ]
    fields += _OWN_FIELDS
    wanted = frozenset(style.calculated)
    told = [field if not wanted or _PERCENT.sub("_percent", field) in wanted else "" for field in fields]
    bins = style.histograms[group - 1].bins if group else ()
    shown = not wanted or "histogram" in wanted
    names = ("inf" if math.isinf(limit) else js_text(limit).replace(".", "_", 1) for limit in bins)
    return (*told, *(f"histogram.bin_{name}" if shown else "" for name in names))


@dataclass(frozen=True, slots=True)
class StatsiteHistogram:
    """Bins of equal width for timers whose key begins with `prefix`; the longest prefix decides."""

    prefix: str
    minimum: float
    maximum: float
    width: float

    @property
    def edges(self) -> tuple[float, ...]:
        """The lower edges of the bins between minimum and maximum."""
        return tuple(self.minimum + i * self.width for i in range(self._count))

    @property
    def limits(self) -> tuple[float, ...]:
        """The upper limits of all bins, each exclusive: a value is in the bin of how many widths it is above minimum.

        What is above the last whole width belongs to the last bin, which begins at maximum otherwise.
        """
        return _limits(self.minimum, self.maximum, self.width)

    @property
    def _count(self) -> int:
        return int((self.maximum - self.minimum) / self.width)


@lru_cache(MOST_HISTOGRAMS)
def _limits(minimum: float, maximum: float, width: float) -> tuple[float, ...]:
    """Return the limits of `StatsiteHistogram.limits`: the least values so many widths above minimum, as floats divide.

    A multiple of the width may be a little beyond them, or below.
    """
    found = [minimum]
    for number in range(1, int((maximum - minimum) / width) + 1):
        below, above = minimum + (number - 0.5) * width, minimum + (number + 0.5) * width
        while below < (middle := below / 2 + above / 2) < above:
            if (middle - minimum) / width < number:
                below = middle
            else:
                above = middle
        found.append(min(above, maximum))
    return (*found, math.inf)


@dataclass(frozen=True, slots=True)
class StatsiteNaming:
    """What statsite puts before a key."""

    global_prefix: str = ""
    use_type_prefix: bool = True
    kv: str = "kv."
    gauges: str = "gauges."
    counts: str = "counts."
    timers: str = "timers."
    sets: str = "sets."

    def prefix(self, kind: str) -> str:
        """Return the text before the keys of a kind."""
        room = {"kv": self.kv, "g": self.gauges, "c": self.counts, "ms": self.timers, "s": self.sets}[kind]
        return self.global_prefix + (room if self.use_type_prefix else "")

    def affixes(self, kind: str, field: str) -> tuple[str, str] | None:
        """Return what stands before and after the key in the name of a field."""
        return self.prefix(kind), f".{field}" if field else ""


@dataclass(frozen=True, slots=True)
class StatsiteStyle:
    """What statsite tells at a flush."""

    flush_interval_s: float = 10.0
    aligned: bool = False
    quantiles: tuple[float, ...] = (0.5, 0.95, 0.99)
    timers_include: tuple[str, ...] = STATSITE_TIMER_FIELDS
    extended_counters: bool = False
    legacy_extended_counters: bool = True
    histograms: tuple[StatsiteHistogram, ...] = ()
    input_counter: str = ""

    def histogram_of(self, key: str) -> int:
        """Return 1 + the number of the histogram that a timer has, 0 for none."""
        matching = [(len(h.prefix), number) for number, h in enumerate(self.histograms) if key.startswith(h.prefix)]
        return max(matching)[1] + 1 if matching else 0
