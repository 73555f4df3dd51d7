"""statsite's ini file to a `StatsiteConfig`: every option, each fault with its file and line.

The grammar is inih's: `[section]`, `name = value` or `name: value`, comments behind `;` or `#` at the beginning of a
line and behind ` ;` anywhere; names are taken regardless of case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from cadtwist.config.errors import Problems
from cadtwist.config.statsdmodel import StatsiteConfig
from cadtwist.model.statsdstyle import (
    MOST_HISTOGRAMS,
    STATSITE_TIMER_FIELDS,
    StatsiteHistogram,
    StatsiteNaming,
    StatsiteStyle,
)

__all__ = ["read_statsite"]

_LEVELS = ("DEBUG", "INFO", "WARN", "ERROR", "CRITICAL")
_FACILITIES = ("user", "daemon", *(f"local{number}" for number in range(8)))
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")
_INLINE = re.compile(r"\s+;.*$")
_MOST_BINS = 1024
_SLOW_FLUSH_S = 600
_SHORTEST_FIELD = 3


_IDLE = {
    "daemonize": "twistd goes to the background, unless it is told -n",
    "pid_file": "twistd's --pidfile names it",
    "log_level": "twistd's log has what is wrong, and when doors open",
    "log_facility": "twistd's log goes to its --logfile, or with --syslog to the facility user",
}
"""What twistd's own options say."""


class _Entry(NamedTuple):
    section: str
    name: str
    value: str
    line: int


def read_statsite(text: str, path: str, problems: Problems) -> StatsiteConfig:
    """Return what `text` says; faults are noted under `path`, and their options have their defaults."""
    plain: dict[str, Any] = {}
    style: dict[str, Any] = {}
    naming: dict[str, Any] = {}
    histograms: dict[str, dict[str, _Entry]] = {}
    for entry in _entries(text, path, problems):
        if entry.section.startswith("histogram"):
            histograms.setdefault(entry.section, {})[entry.name] = entry
        elif entry.section != "statsite":
            problems.error(path, entry.line, f"[{entry.section}]", "sections are [statsite] and [histogram...]")
        elif entry.name not in _OPTIONS:
            problems.warning(path, entry.line, entry.name, "is no option of statsite")
        else:
            where, field, read = _OPTIONS[entry.name]
            try:
                {"": plain, "style": style, "naming": naming}[where][field] = read(entry.value)
            except ValueError as fault:
                problems.error(path, entry.line, entry.name, str(fault))
            if entry.name in _IDLE and plain.get(field, default := getattr(StatsiteConfig(), field)) != default:
                problems.notice(path, entry.line, entry.name, f"has no effect: {_IDLE[entry.name]}")
            if entry.name == "flush_interval" and style.get(field, 0) >= _SLOW_FLUSH_S:
                problems.warning(path, entry.line, entry.name, f"{_SLOW_FLUSH_S} s or more is very long")
    found = (_histogram(name, entries, path, problems) for name, entries in histograms.items())
    style["histograms"] = tuple(histogram for histogram in found if histogram is not None)[:MOST_HISTOGRAMS]
    if len(histograms) > MOST_HISTOGRAMS:
        problems.error(path, 0, "", f"more than {MOST_HISTOGRAMS} histograms")
    return StatsiteConfig(style=StatsiteStyle(**style), naming=StatsiteNaming(**naming), **plain)


def _entries(text: str, path: str, problems: Problems) -> list[_Entry]:
    section, found = "", list[_Entry]()
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in ";#":
            continue
        if stripped[0] == "[":
            if "]" not in stripped:
                problems.error(path, number, "", f"the section is not closed: {stripped[:40]!r}")
                continue
            section = stripped[1 : stripped.index("]")].strip()
            continue
        cut = _INLINE.sub("", stripped)
        marks = [place for place in (cut.find("="), cut.find(":")) if place > 0]
        if not marks:
            problems.error(path, number, "", f"neither [section] nor name = value: {stripped[:40]!r}")
            continue
        found.append(_Entry(section, cut[: min(marks)].strip().lower(), cut[min(marks) + 1 :].strip(), number))
    return found


def _histogram(name: str, entries: dict[str, _Entry], path: str, problems: Problems) -> StatsiteHistogram | None:
    line = min(entry.line for entry in entries.values())
    numbers: dict[str, float] = {}
    for key in ("min", "max", "width"):
        if key not in entries:
            problems.error(path, line, f"[{name}]", f"{key} is missing")
            continue
        try:
            numbers[key] = _number(entries[key].value)
        except ValueError as fault:
            problems.error(path, entries[key].line, key, str(fault))
    if "prefix" not in entries:
        problems.error(path, line, f"[{name}]", "prefix is missing")
    if len(numbers) < 3 or "prefix" not in entries:
        return None
    low, high, width = numbers["min"], numbers["max"], numbers["width"]
    if not low < high or not width > 0:
        problems.error(path, line, f"[{name}]", "min is to be less than max, and width above 0")
    elif (high - low) / width + 2 > _MOST_BINS:
        problems.error(path, line, f"[{name}]", f"more than {_MOST_BINS} bins")
    else:
        return StatsiteHistogram(entries["prefix"].value, low, high, width)
    return None


def _flag(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() in _TRUE


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{text!r} is not a number")
    return found


def _within(low: float, high: float, whole: bool = False, beyond: bool = False) -> Callable[[str], Any]:
    """Return a reader of numbers from `low` to `high`; `beyond`: the limits themselves are not allowed."""

    def read(text: str) -> float:
        found = _number(text)
        inside = low < found < high if beyond else low <= found <= high
        if not inside or (whole and found != int(found)):
            kind = "a whole number" if whole else "a number"
            between = f"between {low:g} and {high:g}" if beyond else f"from {low:.15g} to {high:.15g}"
            raise ValueError(f"{kind} {between} is expected")
        return int(found) if whole else found

    return read


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        raise ValueError(f"{text!r} is none of {', '.join(choices)}")

    return read


def _timer_fields(text: str) -> tuple[str, ...]:
    wanted = []
    for token in (each.strip() for each in text.split(",")):
        matching = [field for field in STATSITE_TIMER_FIELDS if field == token]
        if not matching and len(token) >= _SHORTEST_FIELD:
            matching = [field for field in STATSITE_TIMER_FIELDS if field.startswith(token)][:1]
        if not matching:
            raise ValueError(f"{token!r} is none of {', '.join(STATSITE_TIMER_FIELDS)}")
        wanted += matching
    return tuple(field for field in STATSITE_TIMER_FIELDS if field in wanted)


def _quantiles(text: str) -> tuple[float, ...]:
    read = _within(0.0, 1.0, beyond=True)
    return tuple(read(each.strip()) for each in text.split(","))


_PORT = _within(0, 65535, whole=True)
_OPTIONS: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "port": ("", "tcp_port", _PORT),
    "tcp_port": ("", "tcp_port", _PORT),
    "udp_port": ("", "udp_port", _PORT),
    "udp_rcvbuf": ("", "udp_receive_bytes", _within(0, 1 << 30, whole=True)),
    "bind_address": ("", "bind_address", str),
    "parse_stdin": ("", "parse_stdin", _flag),
    "log_level": ("", "log_level", _one_of(_LEVELS)),
    "log_facility": ("", "log_facility", _one_of(_FACILITIES)),
    "flush_interval": ("style", "flush_interval_s", _within(1, 86400 * 365, whole=True)),
    "aligned_flush": ("style", "aligned", _flag),
    "timer_eps": ("", "timer_error", _within(0.0, 0.5, beyond=True)),
    "set_eps": ("", "set_error", _within(0.0, 1.0, beyond=True)),
    "stream_cmd": ("", "stream_command", str),
    "daemonize": ("", "daemonize", _flag),
    "pid_file": ("", "pid_file", str),
    "binary_stream": ("", "binary_stream", _flag),
    "prefix_binary_stream": ("", "prefix_binary_stream", _flag),
    "input_counter": ("style", "input_counter", str),
    "use_type_prefix": ("naming", "use_type_prefix", _flag),
    "global_prefix": ("naming", "global_prefix", str),
    "kv_prefix": ("naming", "kv", str),
    "gauges_prefix": ("naming", "gauges", str),
    "counts_prefix": ("naming", "counts", str),
    "timers_prefix": ("naming", "timers", str),
    "sets_prefix": ("naming", "sets", str),
    "extended_counters": ("style", "extended_counters", _flag),
    "legacy_extended_counters": ("style", "legacy_extended_counters", _flag),
    "timers_include": ("style", "timers_include", _timer_fields),
    "quantiles": ("style", "quantiles", _quantiles),
}
