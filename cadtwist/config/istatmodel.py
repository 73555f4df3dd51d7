"""istatd's part of the Config: doors, store, forwarding, self-knowledge.  Units are in the names."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from cadtwist.model.statretention import DEFAULT_RETENTION

__all__ = ["DEBUG_OPTIONS", "TOLD", "IstatConfig", "IstatdProcess"]

DEBUG_OPTIONS = (
    "admin", "allKeys", "audit", "http", "log_args", "loopback", "promExporter", "promServer", "record",
    "rejectedCounters", "replica_of", "segv", "settings", "statTcp", "statUdp",
)  # fmt: skip
"""What istatd may tell more about."""

TOLD = ("admin", "http")
"""Of which we tell: requests with their status, commands.  The others are known, and counted or logged anyway."""


class IstatConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A counter daemon.  A port of 0 is closed; `store` and `agent` (host:port) are empty where there is none.

    `shards` are `NAME=HOST:SHARD-PORT,HTTP-PORT` of all stores that share the counters (see `model.shard`),
    `shard_name` the one that we are. `settings` is a folder or a `redis://` URL. `num_files` 0: the limit of open
    files stays as it is. `levels_above` says whether empty counters are made for the levels of a name, `rollup` how
    many of them add its samples up. `min_space_bytes` below 0 = 100 MiB. A `fake_time` of 0 = the real one.
    `compat`: answers and forwarded numbers as old clients know them, with six digits.
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
    shards: tuple[str, ...] = ()
    shard_name: str = ""
    shard_port: int = 0
    shard_copies: int = 1
    shard_timeout_s: int = 5
    files_dir: str = "var/istatd/files"
    settings: str = "var/istatd/settings"
    compress: bool = True
    local_stats: str = ""
    self_counters: bool = True
    blacklist_path: str = ""
    blacklist_period_s: int = 60
    translate_metric_names: bool = True
    tagnames_path: str = ""
    max_metrics: int = -1
    metrics_cleanup_s: int = 30
    log_file: str = ""
    log_level: int = 2
    debug: tuple[str, ...] = ()
    fake_time: int = 0
    compat: bool = False

    @property
    def log_folder(self) -> str:
        """The folder of what waits to be written into the store."""
        return f"{self.store.rstrip('/')}.log"

    @property
    def spool_folder(self) -> str:
        """The folder of what waits to be forwarded: beside the store, else among the settings."""
        return f"{(self.store or f'{self.settings}/istatd').rstrip('/')}.spool"

    @property
    def folders(self) -> tuple[str, ...]:
        """Every folder that is written into."""
        kept = (self.store.rstrip("/"), self.log_folder, f"{self.store.rstrip('/')}.bak") if self.store else ()
        sent = (self.spool_folder,) if self.agent or self.shards else ()
        return (*kept, *sent, *(() if "://" in self.settings else (self.settings,)))


class IstatdProcess(Struct, frozen=True, kw_only=True):
    """What istatd's options say of the process; `daemonize` is for its own commands: twistd has an option for it."""

    user: str = ""
    daemonize: bool = False
    pid_file: str = ""
