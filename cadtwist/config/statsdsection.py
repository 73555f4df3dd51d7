"""statsd as a part of the Config: what its lines are summed up to, and under which names that goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

from cadtwist.config.optionrow import Option
from cadtwist.model.statsdstyle import (
    MOST_HISTOGRAMS,
    STATSITE_TIMER_FIELDS,
    GraphiteNaming,
    Histogram,
    StatsdStyle,
    StatsiteNaming,
    StatsiteStyle,
)

__all__ = ["STATSD_OPTIONS", "HistogramConfig", "StatsdSection", "section_faults"]

_YEAR_S = 366 * 86400.0


class HistogramConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bins for timers whose key contains `metric`: ascending limits, each exclusive; inf takes the rest."""

    metric: str
    bins: tuple[float, ...] = ()


class StatsdSection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A statsd whose values go into this process's cache or relays; its doors are listeners of protocol `statsd`.

    `to` names the relays, or `cache`; empty = the cache where there is one, else the first relay.  `family` statsite:
    its lines, and series that forget everything at a flush; then `quantiles`, `timers_include`, `aligned`,
    `extended_counters`, `legacy_extended_counters`, `use_type_prefix` and the two errors count, and not what only
    statsd has.
    """

    to: tuple[str, ...] = ()
    family: Literal["statsd", "statsite"] = "statsd"
    dogstatsd: bool = False
    flush_interval_s: float = 10.0
    log_inputs: Literal["tcp", "all", "none"] = "tcp"
    sanitise_keys: bool = True
    percent_thresholds: tuple[float, ...] = (90.0,)
    histograms: tuple[HistogramConfig, ...] = ()
    calculated_timer_metrics: tuple[str, ...] = ()
    delete_counters: bool = False
    delete_timers: bool = False
    delete_sets: bool = False
    delete_gauges: bool = False
    gauges_max_ttl: int = 1
    legacy_namespace: bool = True
    flush_counts: bool = True
    global_prefix: str = "stats"
    prefix_counter: str = "counters"
    prefix_timer: str = "timers"
    prefix_gauge: str = "gauges"
    prefix_set: str = "sets"
    prefix_stats: str = "statsd"
    global_suffix: str = ""
    quantiles: tuple[float, ...] = (0.5, 0.95, 0.99)
    timers_include: tuple[str, ...] = STATSITE_TIMER_FIELDS
    aligned: bool = False
    extended_counters: bool = False
    legacy_extended_counters: bool = True
    use_type_prefix: bool = True
    timer_error: float = 0.01
    set_error: float = 0.02

    @property
    def style(self) -> StatsdStyle:
        """What statsd tells at a flush."""
        return StatsdStyle(
            self.flush_interval_s, self.percent_thresholds,
            tuple(Histogram(each.metric, each.bins) for each in self.histograms), self.calculated_timer_metrics,
            self.delete_counters, self.delete_timers, self.delete_sets, self.delete_gauges, self.gauges_max_ttl,
            self.prefix_stats or None,
        )  # fmt: skip

    @property
    def naming(self) -> GraphiteNaming:
        """Where statsd puts it."""
        return GraphiteNaming(
            self.legacy_namespace, self.global_prefix, self.prefix_counter, self.prefix_timer, self.prefix_gauge,
            self.prefix_set, self.global_suffix or None, self.prefix_stats, self.flush_counts,
        )  # fmt: skip

    @property
    def statsite_style(self) -> StatsiteStyle:
        """What statsite tells at a flush."""
        return StatsiteStyle(
            self.flush_interval_s, self.aligned, self.quantiles, self.timers_include, self.extended_counters,
            self.legacy_extended_counters,
        )  # fmt: skip

    @property
    def statsite_naming(self) -> StatsiteNaming:
        """Where statsite puts it."""
        prefix = f"{self.global_prefix}." if self.global_prefix else ""
        return StatsiteNaming(prefix, self.use_type_prefix)


def section_faults(section: StatsdSection) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield (where, what) of each value that cannot be."""
    for histogram in section.histograms:
        if list(histogram.bins) != sorted(set(histogram.bins)):
            yield ("histograms",), f"the bins of {histogram.metric!r} do not ascend"
    if len(section.histograms) > MOST_HISTOGRAMS:
        yield ("histograms",), f"more than {MOST_HISTOGRAMS}"
    if any(not -100 <= percent <= 100 for percent in section.percent_thresholds):
        yield ("percent_thresholds",), "a percentage is from -100 to 100"
    if any(not 0 < q < 1 for q in section.quantiles):
        yield ("quantiles",), "a quantile is between 0 and 1"
    unknown = sorted(set(section.timers_include) - set(STATSITE_TIMER_FIELDS))
    if unknown:
        yield ("timers_include",), f"{unknown[0]!r} is none of {', '.join(STATSITE_TIMER_FIELDS)}"


def _row(name: str, doc: str, unit: str = "", low: float = -1e308, high: float = 1e308, fixed: bool = False) -> Option:
    if unit or low > -1e308:
        return Option(f"statsd.{name}", doc, unit, low, high, reloadable=not fixed)
    return Option(f"statsd.{name}", doc, reloadable=not fixed)


STATSD_OPTIONS: tuple[Option, ...] = (
    _row(
        "to", "names of the relays that get the values, or cache; empty = the cache, else the first relay", fixed=True
    ),
    _row("family", "statsd, or statsite: its lines, and nothing outlives a flush", fixed=True),
    _row("dogstatsd", "read DogStatsD's histograms and distributions, as timers", fixed=True),
    _row("flush_interval_s", "seconds between flushes", "s", 0.1, _YEAR_S),
    _row("log_inputs", "whose values are logged until they are told: tcp (and unix), all, none", fixed=True),
    _row("sanitise_keys", "blanks become _, slashes -, and other characters than a-zA-Z_-0-9.;= go", fixed=True),
    _row("percent_thresholds", "percentages of the values of timers that are told apart; negative = the greatest"),
    _row("histograms.metric", "timers whose key contains this have the bins; the first match counts"),
    _row("histograms.bins", "upper limits, ascending; inf takes the rest"),
    _row("calculated_timer_metrics", "fields of timers that are told (..._percent: of all percentages); empty = all"),
    _row("delete_counters", "counters without data are not told, else as 0"),
    _row("delete_timers", "timers without data are not told, else their count as 0"),
    _row("delete_sets", "sets without data are not told, else as 0"),
    _row("delete_gauges", "gauges without data go, else are told with their last value"),
    _row("gauges_max_ttl", "flushes that a gauge outlives without data", "", 1, 1_000_000),
    _row("legacy_namespace", "names as stats.KEY and stats_counts.KEY; off = by the prefixes"),
    _row("flush_counts", "tell the counts of counters, not only their rates"),
    _row("global_prefix", "first part of all names (statsd: without legacy_namespace)"),
    _row("prefix_counter", "second part of counters' names"),
    _row("prefix_timer", "second part of timers' names"),
    _row("prefix_gauge", "second part of gauges' names"),
    _row("prefix_set", "second part of sets' names"),
    _row("prefix_stats", "name of what statsd tells of itself; empty = nothing"),
    _row("global_suffix", "last part of all names"),
    _row("quantiles", "statsite: the quantiles of timers"),
    _row("timers_include", "statsite: fields of timers"),
    _row("aligned", "statsite: flush at whole multiples of the interval"),
    _row("extended_counters", "statsite: counters have .count and .rate"),
    _row("legacy_extended_counters", "statsite: that .count is the number of samples, not the sum"),
    _row("use_type_prefix", "statsite: counts., timers., gauges., sets. and kv. before the keys"),
    _row("timer_error", "statsite: error that ranks of many values may have", "", 0.0001, 0.5, fixed=True),
    _row("set_error", "statsite: relative error that the size of large sets may have", "", 0.002, 0.3, fixed=True),
)
