"""istatd's part of the Config: doors, store, forwarding, self-knowledge.  Units are in the names."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from cadtwist.model.statretention import DEFAULT_RETENTION

__all__ = ["DEBUG_OPTIONS", "IstatConfig"]

DEBUG_OPTIONS = (
    "admin", "allKeys", "audit", "http", "log_args", "loopback", "promExporter", "promServer", "record",
    "rejectedCounters", "replica_of", "segv", "settings", "statTcp", "statUdp",
)  # fmt: skip
"""What may be told more about; `segv` is known and does nothing."""


class IstatConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A counter daemon.  A port of 0 is closed; `store` and `agent` (host:port) are empty where there is none.

    `settings` is a folder or a `redis://` URL.  `levels_above` says whether empty counters are made for the levels of
    a name, `rollup` how many of them add its samples up.  `min_space_bytes` below 0 = 100 MiB.  A `fake_time` of 0 =
    the real one.  `compat`: answers and forwarded numbers as old clients know them, with six digits.
    """

    listen_address: str = ""
    stat_port: int = 8111
    http_port: int = 8000
    admin_port: int = 0
    replica_port: int = 0
    prometheus_port: int = 0
    listen_backlog: int = 4096
    udp_buffer_bytes: int = 1 << 20
    store: str = ""
    retention: str = DEFAULT_RETENTION
    flush_s: int = 300
    prune_interval_s: int = 120
    levels_above: bool = True
    allocation: Literal["reserved", "sparse"] = "reserved"
    min_space_bytes: int = -1
    rollup: int = 0
    num_files: int = 0
    agent: str = ""
    agent_connections: int = 1
    agent_interval_s: int = 10
    replica_of: str = ""
    files_dir: str = "files"
    settings: str = "/tmp"  # noqa: S108 (istatd's default)
    compress: bool = True
    local_stats: str = ""
    blacklist_path: str = ""
    blacklist_period_s: int = 60
    translate_metric_names: bool = True
    tagnames_path: str = ""
    max_metrics: int = -1
    metrics_cleanup_s: int = 30
    user: str = ""
    log_file: str = ""
    log_level: int = 2
    debug: tuple[str, ...] = ()
    daemonize: bool = False
    pid_file: str = ""
    fake_time: int = 0
    compat: bool = False
