"""statsd's config.js to a `StatsdConfig`: every option, each fault with its file and line."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cadtwist.config.errors import Problems
from cadtwist.config.jsobject import Node, read_object
from cadtwist.config.statsdmodel import KeyFlush, Peer, StatsdConfig, StatsdLog, StatsdServer
from cadtwist.kernels.jstext import js_text
from cadtwist.model.statsdstyle import MOST_HISTOGRAMS, GraphiteNaming, Histogram, StatsdStyle

__all__ = ["read_statsd"]

_PORT_MOST = 65535
_FLUSH_MS = 10000.0
_NAMING = {
    "legacyNamespace": "legacy", "globalPrefix": "global_prefix", "prefixCounter": "prefix_counter",
    "prefixTimer": "prefix_timer", "prefixGauge": "prefix_gauge", "prefixSet": "prefix_set",
    "globalSuffix": "global_suffix",
}  # fmt: skip
_DELETES = {
    "deleteCounters": "delete_counters", "deleteTimers": "delete_timers", "deleteSets": "delete_sets",
    "deleteGauges": "delete_gauges",
}  # fmt: skip
_BACKENDS = ("graphite", "console", "repeater")
_LEVELS = tuple(f"LOG_{name}" for name in ("EMERG", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG"))
_FLAGS = {
    "keyNameSanitize": "sanitise_keys", "debug": "debug", "dumpMessages": "dump_messages",
    "automaticConfigReload": "reload",
}  # fmt: skip
_ELSEWHERE = (
    "servers", "server", "address", "address_ipv6", "port", "socket", "socket_mod", "backends", "graphite",
    "flushInterval", "percentThreshold", "flush_counts", "histogram", "calculatedTimerMetrics", "deleteIdleStats",
    "gaugesMaxTTL", "prefixStats", "keyFlush", "graphiteHost", "graphitePort", "graphitePicklePort",
    "graphiteProtocol", "mgmt_address", "mgmt_port", "healthStatus", "title", "console", "log", "repeater",
    "repeaterProtocol",
)  # fmt: skip
_KNOWN = frozenset((*_ELSEWHERE, *_DELETES, *_FLAGS))


def read_statsd(text: str, path: str, problems: Problems) -> StatsdConfig:
    """Return what `text` says; faults are noted under `path`, and their options have their defaults."""
    node = read_object(text, path, problems)
    if node is None or not isinstance(node.value, dict):
        return StatsdConfig()
    top = _Options(node.value, path, problems)
    for key, unknown in node.value.items():
        if key not in _KNOWN:
            problems.warning(path, unknown.line, key, "is no option of statsd")
    found: dict[str, Any] = {field: top.flag(key) for key, field in _FLAGS.items() if key in top}
    style = _style(top)
    found |= _graphite(top, style)
    found |= _surroundings(top)
    return StatsdConfig(servers=_servers(top), style=style, shown=_shown(node.value, style), **found)


class _Options:
    """The members of one object, taken by type; a wrong type is noted, and None returned."""

    def __init__(self, members: dict[str, Node], path: str, problems: Problems, prefix: str = "") -> None:
        self._members = members
        self._path = path
        self._problems = problems
        self._prefix = prefix

    def __contains__(self, key: str) -> bool:
        return key in self._members and self._members[key].value is not None

    def error(self, key: str, text: str) -> None:
        """Note a fault of an option."""
        self._problems.error(self._path, self._members[key].line, self._prefix + key, text)

    def notice(self, key: str, text: str) -> None:
        """Note that an option has no effect."""
        self._problems.notice(self._path, self._members[key].line, self._prefix + key, text)

    def warning(self, key: str, text: str) -> None:
        """Note what is probably not meant."""
        self._problems.warning(self._path, self._members[key].line, self._prefix + key, text)

    def flag(self, key: str, default: bool = False) -> bool:
        """Return whether an option is on, as JavaScript takes any value."""
        if key not in self:
            return default
        value = self._members[key].value
        return bool(value) if not isinstance(value, (list, dict)) else True

    def text(self, key: str, default: str, choices: tuple[str, ...] = ()) -> str:
        """Return a string, one of `choices` if there are any."""
        if key not in self:
            return default
        value = self._members[key].value
        if not isinstance(value, str):
            self.error(key, "a string is expected")
        elif choices and value not in choices:
            self.error(key, f"{value!r} is none of {', '.join(choices)}")
        else:
            return value
        return default

    def number(self, key: str, default: float, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a number, which may stand in a string."""
        if key not in self:
            return default
        found = _as_number(self._members[key].value)
        if found is None or not low <= found <= high:
            limits = f" from {low:.15g} to {high:.15g}" if low > -math.inf else ""
            self.error(key, f"a number{limits} is expected")
            return default
        return found

    def port(self, key: str, default: int) -> int:
        """Return a port number."""
        found = self.number(key, default, 0, _PORT_MOST)
        if found != int(found):
            self.error(key, "a whole number is expected")
            return default
        return int(found)

    def section(self, key: str) -> _Options:
        """Return the options of an object; it may be missing."""
        value = self._members[key].value if key in self else {}
        if not isinstance(value, dict):
            self.error(key, "an object in { } is expected")
            value = {}
        return _Options(value, self._path, self._problems, f"{self._prefix}{key}.")

    def items(self, key: str) -> list[Node]:
        """Return the items of a list; a single value is a list of one."""
        if key not in self:
            return []
        node = self._members[key]
        return node.value if isinstance(node.value, list) else [node]

    def is_list(self, key: str) -> bool:
        """Tell whether an option is a list, even an empty one."""
        return key in self and isinstance(self._members[key].value, list)

    def sections(self, key: str) -> list[_Options]:
        """Return the objects of a list."""
        found = []
        for number, item in enumerate(self.items(key)):
            if isinstance(item.value, dict):
                found.append(_Options(item.value, self._path, self._problems, f"{self._prefix}{key}[{number}]."))
            else:
                self._problems.error(self._path, item.line, self._prefix + key, "an object in { } is expected")
        return found

    def typed(self, key: str, read: Callable[[Any], Any], what: str) -> list[Any]:
        """Return the items of a list that `read` understands; another (None) is a fault."""
        found = []
        for item in self.items(key):
            value = read(item.value)
            if value is None:
                self._problems.error(self._path, item.line, self._prefix + key, f"{what} is expected")
            else:
                found.append(value)
        return found


def _as_number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, float) and value == value else None


def _as_text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _servers(top: _Options) -> tuple[StatsdServer, ...]:
    given = top.sections("servers")
    return tuple(_server(one) for one in given or [top])


def _server(options: _Options) -> StatsdServer:
    kind = options.text("server", "./servers/udp").rstrip("/").rpartition("/")[2].removesuffix(".js")
    if kind not in ("udp", "tcp"):
        options.error("server", "the servers here are ./servers/udp and ./servers/tcp")
    is_tcp = kind == "tcp"
    if "socket" in options and not is_tcp:
        options.warning("socket", "has an effect with ./servers/tcp only")
    mode = options.number("socket_mod", -1.0, 0, 0o7777)
    ipv6 = options.flag("address_ipv6")
    return StatsdServer(
        transport="tcp" if is_tcp else "udp",
        address=options.text("address", "::" if ipv6 else "0.0.0.0"),  # noqa: S104 (statsd's default)
        ipv6=ipv6,
        port=options.port("port", 8125),
        socket=options.text("socket", "") if is_tcp else "",
        socket_mode=int(mode),
    )


def _style(top: _Options) -> StatsdStyle:
    idle = top.flag("deleteIdleStats")
    thresholds = tuple(dict.fromkeys(top.typed("percentThreshold", _as_number, "a number")))
    if not any(thresholds) and not top.is_list("percentThreshold"):
        thresholds = (90.0,)
    ttl = top.number("gaugesMaxTTL", 1.0)
    interval_ms = top.number("flushInterval", _FLUSH_MS, 1.0, 86400e3) if top.flag("flushInterval", True) else _FLUSH_MS
    histograms = tuple(_histogram(one) for one in top.sections("histogram"))
    if len(histograms) > MOST_HISTOGRAMS:
        top.error("histogram", f"more than {MOST_HISTOGRAMS} histograms")
    deletes: dict[str, Any] = {field: top.flag(key, idle) for key, field in _DELETES.items()}
    return StatsdStyle(
        flush_interval_s=interval_ms / 1000.0,
        percent_thresholds=thresholds,
        histograms=histograms[:MOST_HISTOGRAMS],
        calculated=tuple(top.typed("calculatedTimerMetrics", _as_text, "a string")),
        gauges_max_ttl=int(ttl) if ttl == int(ttl) and ttl > 1 else 1,
        prefix_stats=top.text("prefixStats", "statsd"),
        **deletes,
    )


def _histogram(options: _Options) -> Histogram:
    def limit(value: object) -> float | None:
        return math.inf if value == "inf" else _as_number(value)

    bins = tuple(options.typed("bins", limit, "a number or 'inf'"))
    if list(bins) != sorted(set(bins)):
        options.error("bins", "the limits are to ascend")
        bins = ()
    return Histogram(options.text("metric", ""), bins)


def _graphite(top: _Options, style: StatsdStyle) -> dict[str, Any]:
    section = top.section("graphite")
    naming: dict[str, Any] = {
        field: section.flag(key) if field == "legacy" else section.text(key, "")
        for key, field in _NAMING.items()
        if key in section
    }
    return {
        "naming": GraphiteNaming(
            prefix_stats=style.prefix_stats or "", flush_counts=top.flag("flush_counts", True), **naming
        ),
        "graphite_host": top.text("graphiteHost", ""),
        "graphite_port": top.port("graphitePort", 2003),
        "graphite_pickle_port": top.port("graphitePicklePort", 2004),
        "graphite_protocol": top.text("graphiteProtocol", "text", ("text", "pickle")),
    }


def _surroundings(top: _Options) -> dict[str, Any]:
    """Return what concerns backends, management, logs and the repeater."""
    backends = []
    for name in top.typed("backends", _as_text, "a string"):
        short = name.rstrip("/").rpartition("/")[2].removesuffix(".js")
        if short in _BACKENDS:
            backends.append(short)
        else:
            top.error("backends", f"{name!r} is none of ./backends/{', ./backends/'.join(_BACKENDS)}")
    keys, log = top.section("keyFlush"), top.section("log")
    if top.flag("debug"):
        top.notice("debug", "has no effect: what is wrong is in the log anyway, and dumpMessages shows what comes")
    peers = tuple(Peer(one.text("host", "127.0.0.1"), one.port("port", 8125)) for one in top.sections("repeater"))
    return {
        "backends": tuple(dict.fromkeys(backends)) if "backends" in top else ("graphite",),
        "management_address": top.text("mgmt_address", "0.0.0.0"),  # noqa: S104 (statsd's default)
        "management_port": top.port("mgmt_port", 8126),
        "healthy": top.text("healthStatus", "up", ("up", "down")) == "up",
        "title": top.text("title", "statsd") if top.flag("title", True) else "",
        "console_prettyprint": top.section("console").flag("prettyprint", True),
        "key_flush": KeyFlush(
            interval_s=keys.number("interval", 0.0, 0.0, 86400e3) / 1000.0,
            percent=keys.number("percent", 100.0, 0.0, 100.0),
            path=keys.text("log", ""),
        ),
        "log": StatsdLog(
            backend="syslog" if log.text("backend", "stdout", ("stdout", "syslog")) == "syslog" else "stdout",
            application=log.text("application", "statsd"),
            level=log.text("level", "LOG_INFO", _LEVELS),
        ),
        "repeater": peers,
        "repeater_protocol": top.text("repeaterProtocol", "udp4", ("udp4", "udp6", "tcp")),
    }


def _shown(members: dict[str, Node], style: StatsdStyle) -> tuple[str, ...]:
    """Return the lines of the management command `config`: what the file says, and what statsd makes of it."""
    deletes = {key: getattr(style, field) for key, field in _DELETES.items()}
    idle = members.get("deleteIdleStats", Node(False, 0))
    interval = {"flushInterval": style.flush_interval_s * 1000.0}
    taken = {"gaugesMaxTTL": float(style.gauges_max_ttl), "deleteIdleStats": idle.value or False}
    taken |= {**deletes, **interval} if idle.value else {**interval, **deletes}
    lines = []
    for key, value in {**{key: node.value for key, node in members.items()}, **taken}.items():
        if isinstance(value, list):
            lines += [f"{key} > {number}: {_js(item.value)}" for number, item in enumerate(value)]
        elif isinstance(value, dict):
            lines += [f"{key} > {name}: {_js(item.value)}" for name, item in value.items()]
        elif value is not None:
            lines.append(f"{key}: {_js(value)}")
    return tuple(lines)


def _js(value: object) -> str:
    """Return a value as JavaScript turns it into text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return js_text(value)
    if isinstance(value, list):
        return ",".join(_js(item.value) for item in value)
    return "[object Object]" if isinstance(value, dict) else "null" if value is None else str(value)
