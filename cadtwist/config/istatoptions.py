"""Every option of istatd's configuration and command line, and where its value belongs."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Literal

from msgspec import Struct
from msgspec.structs import fields

from cadtwist.config.istatmodel import IstatConfig
from cadtwist.config.optionrow import PORT_MAX, Option

__all__ = ["ISTATD_OPTIONS", "ISTAT_OPTIONS", "PROCESS", "IstatdOption", "option_named"]

PROCESS = "process."
"""Before the fields that are those of IstatdProcess."""

_MANY = 2_000_000_000
_YEAR_S = 86400 * 365


class IstatdOption(Struct, frozen=True):
    """One option: its name without dashes, the field of IstatConfig (or `process.` and one of IstatdProcess), its text.

    `native` is the meaning of the field where it is not that of the option. A `flag` stands alone and sets `sets`.
    `texts` may be given several times, and all of them count. `low` and `high` bound numbers, `factor` turns them
    into the field's unit. An option without a field is known and has no effect, for the reason that its text tells.
    `reloadable`: a running daemon takes a new value.
    """

    name: str
    field: str
    doc: str
    kind: Literal["text", "texts", "number", "flag", "names"] = "text"
    low: int = 0
    high: int = _MANY
    factor: int = 1
    sets: bool = True
    unit: str = ""
    reloadable: bool = False
    aliases: tuple[str, ...] = ()
    native: str = ""


def _number(name: str, field: str, doc: str, low: int = 0, high: int = _MANY, unit: str = "") -> IstatdOption:
    return IstatdOption(name, field, doc, "number", low, high, unit=unit)


def _port(name: str, field: str, doc: str) -> IstatdOption:
    return IstatdOption(name, field, f"{doc}; 0 = closed", "number", 0, PORT_MAX)


ISTATD_OPTIONS: tuple[IstatdOption, ...] = (
    IstatdOption("listen-address", "listen_address", "IP address of all doors; empty = every IPv4 one"),
    _port("stat-port", "stat_port", "TCP and UDP port for lines"),
    _port("http-port", "http_port", "port for HTTP"),
    _port("admin-port", "admin_port", "port for administration"),
    _port("replica-port", "replica_port", "port for replicas"),
    _port("prometheus-port", "prometheus_port", "port for Prometheus"),
    _number("listen-overflow-backlog", "listen_backlog", "connections that may wait at each door", 1, 1 << 20),
    IstatdOption(
        "udp-buffer-size", "udp_buffer_bytes", "receive buffer of UDP", "number", 1, 1 << 21, 1024, unit="KiB"
    ),
    IstatdOption("store", "store", "folder of the counters' files; empty = none"),
    IstatdOption("retention", "retention", "interval:retention[:name[:lambda]],... of new counters"),
    _number("flush", "flush_s", "time in which every counter is written once", 1, _YEAR_S, "s"),
    _number(
        "prune-empty-directories-interval",
        "prune_interval_s",
        "how often empty folders are removed; 0 = never",
        0,
        _YEAR_S,
        "s",
    ),
    IstatdOption(
        "dont-recursively-create-counters",
        "levels_above",
        "make no counters for the levels of a name",
        "flag",
        sets=False,
        native="make counters for the levels of a name",
    ),
    IstatdOption(
        "allocation-strategy",
        "allocation",
        "room of new files: 1 reserved, 2 taken when written",
        "number",
        1,
        2,
        native="room of new files: reserved, or taken when written",
    ),
    _number("min-space", "min_space_bytes", "warn when less is free; -1 = 100 MiB", -1, 1 << 62, "bytes"),
    _number("rollup", "rollup", "levels above a counter that add its samples up", 0, 100),
    _number("num-files", "num_files", "limit of open files; 0 = as it is", 0),
    IstatdOption("agent", "agent", "host:port to which everything is forwarded; empty = none"),
    _number("agentCount", "agent_connections", "connections for forwarding", 1, 1000),
    _number("agent-interval", "agent_interval_s", "how often is forwarded", 1, _YEAR_S, "s"),
    IstatdOption("replica-of", "replica_of", "host:port of a master to follow; empty = none"),
    IstatdOption(
        "shard",
        "shards",
        "NAME=HOST:SHARD-PORT,HTTP-PORT of a store that shares the counters; once for each, the same for all",
        "texts",
        native="NAME=HOST:SHARD-PORT,HTTP-PORT of all stores that share the counters; the same for all",
    ),
    IstatdOption("shard-name", "shard_name", "which of the shards this is; empty = none: keep nothing, answer for all"),
    _port("shard-port", "shard_port", "port for samples from other shards"),
    _number("shard-copies", "shard_copies", "shards that keep each counter", 1, 100),
    _number("shard-timeout", "shard_timeout_s", "how long a shard may take to answer", 1, 3600, "s"),
    IstatdOption("files-dir", "files_dir", "folder of the web app's files"),
    IstatdOption("settings", "settings", "folder of settings, or redis://host:port/database"),
    IstatdOption(
        "disallow-compressed-responses",
        "compress",
        "never compress answers",
        "flag",
        sets=False,
        reloadable=True,
        native="compress answers for those who accept it",
    ),
    IstatdOption(
        "local-stats", "local_stats", "suffix of counters about this machine; empty = none", aliases=("localstat",)
    ),
    IstatdOption(
        "no-self-counters",
        "self_counters",
        "keep no counters about the daemon itself",
        "flag",
        sets=False,
        native="keep counters about the daemon itself: istatd.*",
    ),
    IstatdOption("blacklist-path", "blacklist_path", "file of host names whose connections are closed"),
    _number("blacklist-period", "blacklist_period_s", "how often it is looked at; 0 = never", -32768, 32767, "s"),
    IstatdOption(
        "dont-translate-metric-names",
        "translate_metric_names",
        "Prometheus: keep names",
        "flag",
        sets=False,
        native="Prometheus: make names that it accepts",
    ),
    IstatdOption("tagnames-path", "tagnames_path", "Prometheus: file of further names of labels"),
    _number("max-matrics-count", "max_metrics", "Prometheus: most metrics; -1 = no limit", -1),
    _number("metrics-cleanup-period", "metrics_cleanup_s", "Prometheus: how long a gauge is shown", 1, _YEAR_S, "s"),
    IstatdOption("user", "process.user", "name or number of the user to become; empty = stay"),
    IstatdOption("log-file", "log_file", "file of a log in istatd's form; empty = istat.log of istatd's commands"),
    IstatdOption(
        "log-level", "log_level", "0 error, 1 warning, 2 notice, 3 debug, 4 everything", "number", 0, 5, reloadable=True
    ),
    IstatdOption("debug", "debug", "comma list of what to tell more about", "names", reloadable=True),
    IstatdOption("daemonize", "process.daemonize", "go to the background once the doors are open", "flag"),
    IstatdOption("pid-file", "process.pid_file", "file for the number of the process"),
    _number("fake-time", "fake_time", "stand still at this time; 0 = the real one", 0, 1 << 53, "epoch s"),
    IstatdOption("compat", "compat", "numbers in answers and forwarded lines with six digits", "flag"),
    _number("thread-count", "", "threads are chosen by what they do, not by number", 0, 384),
    IstatdOption("test", "", "tests are not part of the daemon", "flag"),
)
"""The complete table, in the order in which usage shows it."""


def option_named(name: str) -> IstatdOption | None:
    """Return the option of a name or alias, dashes in front not counted."""
    for option in ISTATD_OPTIONS:
        if name == option.name or name in option.aliases:
            return option
    return None


def _native() -> Iterator[Option]:
    """Yield the row of each field of IstatConfig, in its order."""
    by_field = {option.field: option for option in ISTATD_OPTIONS}
    for field in fields(IstatConfig):
        row = by_field[field.name]
        doc = row.native or row.doc
        if row.kind == "number" and field.type is int:
            low, high = row.low * row.factor, row.high * row.factor
            unit = "bytes" if row.unit == "KiB" else row.unit
            yield Option(f"istat.{field.name}", doc, unit, low, high, row.reloadable)
        else:
            yield Option(f"istat.{field.name}", doc, "", -inf, inf, row.reloadable)


ISTAT_OPTIONS: tuple[Option, ...] = tuple(_native())
"""The same options as keys of `[istat]`."""
