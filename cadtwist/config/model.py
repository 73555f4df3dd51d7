"""The one typed configuration, whatever dialect it was written in.

Every dialect loader makes a `Config`; `cadtwist.services.build` is its only reader.  All values are frozen, compare
by value and survive `config.native.to_toml` and back.  The units are in the names: `_s` seconds, `_bytes` bytes,
`_points` datapoints.  `inf` means that there is no limit.  Paths are kept as the loader settled them (carbon.conf:
absolute; native: as written, relative to the working directory).

The parts of relays are in `config.relaymodel`.  What an option is called in each dialect, its range and whether a
running process takes a new value is in the tables `config.options` and `config.carbonoptions`.
"""

from __future__ import annotations

from math import inf
from typing import Literal

from msgspec import Struct

from cadtwist.config.accumulatormodel import AccumulatorConfig
from cadtwist.config.aggregatormodel import AggregatorConfig
from cadtwist.config.clustermodel import ClusterConfig
from cadtwist.config.dattssmodel import DattssConfig
from cadtwist.config.istatmodel import IstatConfig
from cadtwist.config.relaymodel import (
    DestinationConfig,
    HealthConfig,
    HealthMetricsConfig,
    OpsConfig,
    ProcessesConfig,
    RelayConfig,
    SpoolConfig,
    StatsdEmissionConfig,
)
from cadtwist.config.statsdsection import StatsdSection
from cadtwist.model.aggregationrules import AggregateRule
from cadtwist.model.retention import AggregationRule, SchemaRule
from cadtwist.model.rules import RewriteRule

__all__ = [
    "AggregateRule",
    "AggregationRule",
    "CacheConfig",
    "ClusterConfig",
    "Config",
    "IstatConfig",
    "LimitsConfig",
    "Listener",
    "LocalStatsConfig",
    "LogConfig",
    "NamesConfig",
    "Protocol",
    "ReloadConfig",
    "RewriteRule",
    "SchemaRule",
    "SelfMetricsConfig",
    "StagesConfig",
    "StorageConfig",
    "Strategy",
    "TagsConfig",
    "TcpConfig",
    "TlsConfig",
    "Transport",
    "WalConfig",
    "WebConfig",
    "WriterConfig",
]

Protocol = Literal["line", "pickle", "protobuf", "cachequery", "http", "ops", "proxyadmin", "dattss", "statsd"]
Transport = Literal["tcp", "udp", "unix", "endpoint", "http"]
Strategy = Literal["sorted", "timesorted", "max", "bucketmax", "naive", "random"]


class TlsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Server side of TLS: PEM files.  With `client_authority` every client must show a certificate of it."""

    certificate: str
    key: str = ""
    client_authority: str = ""


class Listener(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One open door.

    `transport` tells which of the address fields counts: `tcp`, `udp`: `interface` (an IPv4 or IPv6 address, empty =
    every IPv4 one) and `port` (1..65535; a door with port 0 is never in a Config); `unix`: `path`; `endpoint`: a
    Twisted server endpoint text such as `systemd:domain=INET:index=0`; `http` (lines as bodies of requests):
    `interface`, `port` and `path`, the URL's path.  `to` names the relays that get what comes in, `cache` the cache;
    empty = the cache where there is one, else the first relay.
    """

    protocol: Protocol
    transport: Transport = "tcp"
    interface: str = "0.0.0.0"  # noqa: S104 (carbon listens everywhere; the operator narrows it)
    port: int = 0
    path: str = ""
    endpoint: str = ""
    tls: TlsConfig | None = None
    proxy_protocol: bool = False
    to: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """Return the door as people write it, without the protocol."""
        if self.transport == "unix":
            return f"unix:{self.path}"
        if self.transport == "endpoint":
            return self.endpoint
        host = f"[{self.interface}]" if ":" in self.interface else self.interface
        if self.transport == "http":
            return f"http://{host}:{self.port}{self.path or '/'}"
        return f"{self.transport}:{host}:{self.port}"


class LimitsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client, and all of them together, may take."""

    max_connections: float = inf
    idle_timeout_s: float = inf
    max_line_bytes: int = 16384
    max_pickle_bytes: int = 1 << 20
    max_protobuf_bytes: int = 1 << 20
    max_query_bytes: int = 1 << 20
    udp_ring_bytes: int = 16 << 20
    udp_receive_bytes: int = 4 << 20
    flow_control: bool = True


class TcpConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keep-alive of accepted connections."""

    keepalive: bool = True
    keepalive_idle_s: int = 10
    keepalive_interval_s: int = 30
    keepalive_count: int = 2


class NamesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table of metric names.

    A new name beyond `max_bytes` is refused and counted; one unseen for `idle_s`, which nothing holds, goes.
    """

    max_bytes: int = 1 << 30
    idle_s: float = 3600.0


class StagesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to a datapoint between its receiver and the cache or relay.

    The patterns are regular expressions searched anywhere in the name; a datapoint passes when no `blacklist` entry
    matches and, where there is a `whitelist`, one of it does.  `rewrite` rules then change the name, each the result
    of the one before; `post_rewrite` rules change the names that an aggregator makes or passes on.
    `min_resolution_s` rounds timestamps down (0 = off).
    """

    blacklist: tuple[str, ...] = ()
    whitelist: tuple[str, ...] = ()
    rewrite: tuple[RewriteRule, ...] = ()
    post_rewrite: tuple[RewriteRule, ...] = ()
    normalise_tags: bool = True
    min_resolution_s: int = 0


class CacheConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The datapoints that wait for their file; whichever of the two bounds is reached first counts."""

    max_points: float = inf
    max_bytes: int = 1 << 30


class WalConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The write-ahead log: written each turn, synced every `sync_s` (0 = after each turn that wrote).

    `max_bytes` is the bound under which the log may always grow; beyond the larger of it and twice the pending bytes
    the oldest segments are folded together.
    """

    enabled: bool = True
    directory: str = "var/wal"
    sync_s: float = 1.0
    segment_bytes: int = 64 << 20
    max_bytes: int = 256 << 20


class WriterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast, and in which order, pending datapoints go to their files.

    `on_shutdown_updates_per_second` replaces both rates while the process drains; None leaves them.
    With the probability `low_fruit_rate` an order is turned round, so that metrics of few datapoints have their turn.
    """

    strategy: Strategy = "sorted"
    max_updates_per_second: float = 500.0
    on_shutdown_updates_per_second: float | None = None
    max_creates_per_minute: float = inf
    min_lag_s: float = 0.0
    low_fruit_rate: float = 0.0
    threads: int = 1


class StorageConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where series live: whisper files, ceres nodes, or memory for trying things out.

    `sparse_create`, `fallocate_create`, `lock_writes`, `fadvise_random` and `max_open_files` concern whisper files.
    The folders of `read_also` are only read.  Every `rescan_s` (0 = never) all folders are looked through for files
    that others made or removed.  `read_only`: another process writes all of it.

    A write into a ceres node that begins at most `ceres_max_slice_gap` points behind the end of a slice fills the
    gap, any other begins a new slice.  What is known of nodes, and of their slices, is kept in mind (`latest` and
    `all` are the same here) and counts as long as their folder does not change.
    """

    kind: Literal["whisper", "ceres", "memory"] = "whisper"
    root: str = "var/whisper"
    autoflush: bool = False
    sparse_create: bool = False
    fallocate_create: bool = False
    lock_writes: bool = False
    fadvise_random: bool = False
    hash_tagged_names: bool = True
    max_open_files: int = 20_000
    rescan_s: float = 3600.0
    read_also: tuple[str, ...] = ()
    read_only: bool = False
    ceres_max_slice_gap: int = 80
    ceres_node_caching: Literal["all", "none"] = "all"
    ceres_slice_caching: Literal["latest", "all", "none"] = "latest"
    ceres_lock_writes: bool = False


class TagsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Telling a tag database (graphite-web) of new and updated series, and where our own keeps what it knows.

    `database` is empty for a file in the storage, or a `redis://` URL.
    """

    enabled: bool = True
    url: str = "http://127.0.0.1:80"
    skip_untagged: bool = True
    update_interval: int = 100
    batch_series: int = 100
    max_queue_series: int = 10_000
    timeout_s: float = 5.0
    database: str = ""


class WebConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP API behind the listeners of protocol `http`.

    `workers` processes answer render and find (0: the owner answers inline).  `cors_origins` holds origins or `*`.
    Cadent's read API is below `cadent_path` (empty: nowhere).  Every path is also there behind `url_prefix`.
    """

    workers: int = 1
    cors_origins: tuple[str, ...] = ()
    max_request_bytes: int = 1 << 20
    max_series: int = 10_000
    max_points: int = 20_000_000
    max_seconds: float = 10.0
    find_timeout_s: float = 30.0
    find_cache_bytes: int = 8 << 20
    render_cache_bytes: int = 0
    cache_s: int = 60
    cadent_path: str = "/cadent/"
    url_prefix: str = ""
    users: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    log_requests: bool = False
    slow_s: float = 5.0


class SelfMetricsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Our own metrics, fed to ourselves every `interval_s` (0 = off).

    They are named `<prefix>.agents.<host>-<instance>.<metric>`; `host` empty = this machine's short name.
    """

    interval_s: float = 60.0
    prefix: str = "carbon"
    host: str = ""


class LocalStatsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The machine's figures (processor, memory, disks, network), fed to ourselves every `interval_s` (0 = off)."""

    interval_s: float = 0.0
    prefix: str = "local"


class LogConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is logged, and where: `directory` empty = where twistd logs.  `rotate`: a new file each day."""

    directory: str = ""
    rotate: bool = True
    updates: bool = False
    creates: bool = False
    queue_sorts: bool = False
    queries: bool = False
    connections: bool = True
    lost_connections: bool = False


class ReloadConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often the rule files are looked at (0 = only when told by SIGHUP)."""

    schemas_s: float = 60.0
    lists_s: float = 10.0


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything one process needs to know.

    `program` and `instance` name it in self-metrics, logs and pid files.  `user` empty = stay who we are.  `cache`
    None = datapoints are not kept here (then wal, writer, storage, schemas and aggregation are not read).  `relays`
    send datapoints on to `destinations`.  `health_metrics` None = off.  `aggregator` None = nothing is aggregated
    (then `aggregate_rules` only matter to groups that are `aggregated`).  `accumulators` are Cadent's.  `istat` None =
    no counter daemon is part of it, `dattss` None = no DaTtSs server, `statsd` None = no statsd.
    """

    program: str = "cadtwist"
    instance: str = "a"
    user: str = ""
    pid_directory: str = ""
    listeners: tuple[Listener, ...] = ()
    limits: LimitsConfig = LimitsConfig()
    tcp: TcpConfig = TcpConfig()
    names: NamesConfig = NamesConfig()
    stages: StagesConfig = StagesConfig()
    cache: CacheConfig | None = None
    wal: WalConfig = WalConfig()
    writer: WriterConfig = WriterConfig()
    storage: StorageConfig = StorageConfig()
    schemas: tuple[SchemaRule, ...] = ()
    aggregation: tuple[AggregationRule, ...] = ()
    tags: TagsConfig = TagsConfig()
    web: WebConfig = WebConfig()
    cluster: ClusterConfig = ClusterConfig()
    self_metrics: SelfMetricsConfig = SelfMetricsConfig()
    local_stats: LocalStatsConfig = LocalStatsConfig()
    log: LogConfig = LogConfig()
    reload: ReloadConfig = ReloadConfig()
    relays: tuple[RelayConfig, ...] = ()
    destinations: tuple[DestinationConfig, ...] = ()
    spool: SpoolConfig = SpoolConfig()
    health: HealthConfig = HealthConfig()
    health_metrics: HealthMetricsConfig | None = None
    aggregator: AggregatorConfig | None = None
    aggregate_rules: tuple[AggregateRule, ...] = ()
    accumulators: tuple[AccumulatorConfig, ...] = ()
    statsd_emission: StatsdEmissionConfig = StatsdEmissionConfig()
    ops: OpsConfig = OpsConfig()
    processes: ProcessesConfig = ProcessesConfig()
    istat: IstatConfig | None = None
    dattss: DattssConfig | None = None
    statsd: StatsdSection | None = None

    def listeners_of(self, protocol: Protocol) -> tuple[Listener, ...]:
        """Return the doors that speak `protocol`, in their order."""
        return tuple(listener for listener in self.listeners if listener.protocol == protocol)
