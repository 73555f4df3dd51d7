"""How Cadent's accumulators sum up and name what they tell: pure functions of names and of the pairs of its options.

Rates are per flush interval, medians and thresholds are true ones; a threshold's name is its decimal text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from cadtwist.model.statsdstyle import StatsdStyle, TreeLevels, timer_fields

__all__ = [
    "STORED_PATTERNS",
    "CadentNaming",
    "GuessedRule",
    "cadent_style",
    "guessed_rules",
    "method_named",
    "read_method",
    "reduce_method",
    "statsd_name",
    "stored_method",
    "told_names",
]

_THRESHOLDS = "0.90,0.95,0.99"
_REDUCED: tuple[tuple[tuple[str, ...], str], ...] = (
    ((".lower", ".min"), "min"),
    ((".upper", ".max"), "max"),
    ((".sum",), "sum"),
    ((".gauges", ".abs", ".absolute"), "last"),
    ((".counters", ".count", ".errors"), "sum"),
)
STORED_PATTERNS = (
    (r"(?:mean|avg)[^.]*\Z", "average"),
    (r"count|requests\Z", "sum"),
    (r"(?:sum|errors)[^.]*\Z", "sum"),
    (r"(?:std|average)[^.]*\Z", "average"),
    (r"(?:upper|max)[^.]*\Z", "max"),
    (r"(?:min|lower)[^.]*\Z", "min"),
)
"""What is looked for in a name, and which value of a summary is stored then; the first match counts, else the average.

All but `count` is looked for in the last part of the name.
"""

_READ_WORDS = {
    **dict.fromkeys(("min", "lower"), "min"),
    **dict.fromkeys(("max", "upper"), "max"),
    **dict.fromkeys(("rawcount", "numstats", "count", "counts", "sum", "hit", "hits", "set", "sets", "ok"), "sum"),
    **dict.fromkeys(("request", "requests", "error", "errors", "select", "selects", "selected"), "sum"),
    **dict.fromkeys(("insert", "inserts", "inserted", "update", "updates", "updated"), "sum"),
    **dict.fromkeys(("delete", "deletes", "deleted", "consume", "consumed", "consumes"), "sum"),
    **dict.fromkeys(("add", "adds", "added", "remove", "removes", "removed"), "sum"),
    **dict.fromkeys(("gauge", "last", "abs", "absolute"), "last"),
    **dict.fromkeys(("median", "middle", "std", "mean"), "average"),
}
_READ_PATTERNS = (
    (re.compile(r"(?:stats_count|stats\.count|stats\.set)|.*count_[0-9]+\Z", re.DOTALL).match, "sum"),
    (re.compile(r"stats\.gauge").match, "last"),
    (re.compile(r"(?:upper|max)_[0-9]+").search, "max"),
    (re.compile(r"(?:lower|min)_[0-9]+").search, "min"),
)
_STORED_SEARCHES = tuple((re.compile(pattern).search, method) for pattern, method in STORED_PATTERNS)
_TOP = re.compile(r"_top([0-9_]+)$")
_STRIPPED = ("stats.counters.", "stats.gauges.", "stats.timers.")
_IDLE = ("count", "count_ps", "lower", "upper", "sum", "mean", "std", "median")


def reduce_method(name: str) -> str:
    """Return how Cadent's graphite accumulator makes one line of a bin, by what the name contains."""
    for marks, method in _REDUCED:
        if any(mark in name for mark in marks):
            return method
    return "avg"


def stored_method(name: str) -> str:
    """Return which value of a summary is stored, by the name: average, sum, max or min."""
    return next((method for search, method in _STORED_SEARCHES if search(name)), "average")


def method_named(word: str) -> str | None:
    """Return how values of what a word names are combined in time: average, sum, max, min or last; None for none."""
    return _READ_WORDS.get(word.strip().lower())


def read_method(name: str) -> str:
    """Return the same for a metric as versions since 0.4 read it: its tag `stat` counts, else its name."""
    plain, _, tags = name.partition(";")
    stat = next((tag[5:] for tag in tags.split(";") if tag.startswith("stat=")), "")
    found = method_named(stat) or method_named(plain.rpartition(".")[2])
    return found or next((method for matches, method in _READ_PATTERNS if matches(plain)), "average")


@dataclass(frozen=True)
class GuessedRule:
    """Feeds each name whose guessed method is this one into itself."""

    method: str
    frequency: float

    def output_of(self, name: str) -> str | None:
        """Return the name under which a bin is told; None where another rule is meant."""
        return name if reduce_method(name) == self.method else None


def guessed_rules(flush_s: float) -> tuple[GuessedRule, ...]:
    """Return the rules of a graphite accumulator."""
    return tuple(GuessedRule(method, flush_s) for method in ("min", "max", "sum", "last", "avg"))


def statsd_name(name: str) -> str:
    """Return `NAME|TYPE` for a bin that is told to a statsd: a counter where it is a sum, else a gauge."""
    return f"{_stripped(name)}|{'c' if reduce_method(name) == 'sum' else 'g'}"


@dataclass(frozen=True)
class CadentNaming(TreeLevels):
    """Where a statsd accumulator puts a series; the suffix is a level before the key.

    `as_statsd`: names are `NAME|TYPE`, without the levels that a statsd accumulator would add again.
    """

    global_suffix: str = ""
    as_statsd: bool = False

    def affixes(self, kind: str, field: str) -> tuple[str, str] | None:
        """Return what stands before and after the key in the name of a field; None where it is not told."""
        if "sum_squares" in field:
            return None
        levels = self.global_prefix, self.room(kind), self.global_suffix
        before = "".join(f"{level}." for level in levels if level)
        after = ""
        if kind == "c" and self.legacy:
            before = "stats_counts." if field == "count" else before
        elif kind == "c":
            before += f"{field}."
        elif kind == "ms":
            after = "." + _TOP.sub(r"_\1", field)
        if self.as_statsd:
            return _stripped(before), f"{after}|{'c' if kind == 'c' else 'g'}"
        return before, after


def _stripped(name: str) -> str:
    for level in _STRIPPED:
        name = name.replace(level, "", 1)
    return name


def cadent_style(
    options: Mapping[str, str], flush_s: float, keep_keys: bool, as_statsd: bool
) -> tuple[StatsdStyle, CadentNaming]:
    """Return how a statsd accumulator with these options sums up and names.

    ValueError for a threshold that is no number.
    """
    naming = CadentNaming(
        legacy=options.get("legacyNamespace", "true").lower() not in ("false", "0", "f"),
        global_prefix=options.get("globalPrefix", "stats"),
        prefix_counter=options.get("prefixCounter", "counters"),
        prefix_timer=options.get("prefixTimer", "timers"),
        prefix_gauge=options.get("prefixGauge", "gauges"),
        prefix_set=options.get("prefixSet", "sets"),
        global_suffix=options.get("globalSuffix", ""),
        as_statsd=as_statsd,
    )
    style = StatsdStyle(
        flush_interval_s=flush_s,
        percent_thresholds=tuple(_percent(text) for text in options.get("percentThreshold", _THRESHOLDS).split(",")),
        delete_counters=not keep_keys,
        delete_timers=not keep_keys,
        delete_sets=not keep_keys,
        delete_gauges=not keep_keys,
        prefix_stats=None,
        idle_fields=_IDLE,
    )
    return style, naming


def _percent(text: str) -> float:
    try:
        found = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a threshold") from None
    return float(found * 100 if abs(found) < 1 else found)


def told_names(key: str, kind: str, style: StatsdStyle, naming: CadentNaming) -> tuple[str, ...]:
    """Return all names under which a statsd accumulator tells of a series of a `kind` (c, ms, g or s)."""
    fields = {"c": ("rate", "count"), "g": ("",), "s": ("count",), "ms": timer_fields(style, 0)}[kind]
    found = (naming.affixes(kind, field) for field in fields)
    return tuple(dict.fromkeys(f"{affixes[0]}{key}{affixes[1]}" for affixes in found if affixes is not None))
