"""The relay's part of the Config: lines, filters, groups of destinations, queues, spool, health.

The units are in the names, as in `config.model`.  What refers to what: a listener's `to` names relays; a relay has
groups; a group's `members` and its rules name destinations; a filter's `relay` names a relay.
"""

from __future__ import annotations

from math import inf
from typing import Literal

from msgspec import Struct

__all__ = [
    "ELTERS",
    "HASHES",
    "ClientTlsConfig",
    "DestinationConfig",
    "FilterRule",
    "FloodConfig",
    "GroupConfig",
    "HealthConfig",
    "HealthMetricsConfig",
    "LineConfig",
    "Method",
    "OpsConfig",
    "ProcessesConfig",
    "QueueConfig",
    "QueuePolicy",
    "RatioResetConfig",
    "ReconnectConfig",
    "RelayConfig",
    "RouteRule",
    "SamplingConfig",
    "SpoolConfig",
    "StatsdEmissionConfig",
    "WindowPlace",
]

LineFormat = Literal["graphite", "statsd", "regex"]
Cleaning = Literal["none", "cadent", "c_relay"]
Method = Literal[
    "constant",  # every member gets every line
    "rules",  # the group's `rules`, as relay-rules.conf has them
    "carbon",  # carbon's ring
    "carbon_fast",  # carbon's fast-hashing
    "c_relay",  # carbon-c-relay's rings
    "cadent",  # hash x elter x vnodes over hash_keys
    "hashring",  # the ring of the statsd cluster proxy
    "shards",  # statsrelay's map; members repeat
    "any_of",
    "failover",
    "balance",
]
DestinationTransport = Literal["tcp", "udp", "unix", "http"]
DestinationProtocol = Literal["line", "pickle", "protobuf"]
QueuePolicy = Literal["block", "drop_oldest", "drop_new"]
WindowPlace = Literal["file", "memory"]

HASHES: dict[Method, tuple[str, ...]] = {
    "carbon": ("carbon_ch", "fnv1a_ch", "mmh3_ch"),
    "carbon_fast": ("mmh3_ch", "carbon_ch", "fnv1a_ch"),
    "c_relay": ("carbon_ch", "fnv1a_ch", "jump_fnv1a_ch"),
    "cadent": ("mmh3", "crc32", "md5", "sha1", "fnv", "fnva", "nodejs-hashring"),
}
"""The hashes that a method knows, its default first; the others have one of their own."""

ELTERS = ("simple", "graphite", "statsd")
"""What Cadent's ring hashes for a point of a server, the default first."""


class LineConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the lines of a relay are read; they leave as they came unless a stage renames them.

    `regex` (format `regex`) has a group `Key`, which is the metric name, and perhaps `Timestamp`, whose layout is
    `time_layout` in Go's reference time.  `strict`: a bad line closes its connection, or ends its datagram.
    `validate`, `validate_tags` and `point_tag_regex` concern statsd lines, as statsrelay checks them;
    `status_commands`: over TCP the lines `status` and `shards` are answered, as statsrelay does.
    """

    format: LineFormat = "graphite"
    regex: str = ""
    time_layout: str = ""
    cleaning: Cleaning = "none"
    validate: bool = True
    validate_tags: bool = True
    point_tag_regex: str = r"\.__([a-zA-Z][a-zA-Z0-9_]+)=[^.]+"
    strict: bool = False
    status_commands: bool = False


class FilterRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first rule whose pattern is met in a name decides (Cadent's PreReg); `noop` meets every name.

    `redirect` sends the line to `relay`, whose own filters it meets.
    """

    kind: Literal["regex", "prefix", "substring", "noop"]
    pattern: str = ""
    action: Literal["pass", "reject", "redirect"] = "pass"
    relay: str = ""


class RouteRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One section of relay-rules.conf; `pattern` (searched regardless of case) None = the default rule."""

    name: str
    pattern: str | None = None
    destinations: tuple[str, ...] = ()
    continues: bool = False


class FloodConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """statsrelay's flood control of one metric type in a group: threshold -1 = off."""

    threshold: int = -1
    window_s: int = -1
    cardinality: int = 10_000


class SamplingConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """statsrelay's flood control of a group; `old_rate_form`: write `|c@0.1` as the original does."""

    counters: FloodConfig = FloodConfig()
    timers: FloodConfig = FloodConfig()
    gauges: FloodConfig = FloodConfig()
    timer_flush_min_max: bool = False
    reservoir_size: int = 100
    purge_interval_s: int = 3600
    key_ttl_s: int = 21600
    old_rate_form: bool = False


class GroupConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Destinations among which one method chooses; every line of a relay goes to each of its groups.

    `members` are names of destinations, in the order that the method's placement depends on.  `hash` empty = the
    method's default.  `hash_keys` (Cadent's) stand for the members on the ring; without, it is their address.  In a
    map of shards they are how each entry was written, for reports.
    `replication` is how many destinations get a line (carbon's replicas, Cadent's num_dupe_replicas).
    `aggregated`: what is hashed is what the aggregation rules make of the name.  `dynamic`: a destination is on the
    ring while it is connected.  `pool_replicas`: of destinations of one host and port, that with the shortest queue
    takes what any of them should get.  `prefix` and `suffix` are put around the name without a dot.
    """

    name: str = ""
    method: Method = "carbon"
    members: tuple[str, ...] = ()
    hash: str = ""
    elter: str = "simple"
    vnodes: int = 4
    hash_keys: tuple[str, ...] = ()
    replication: int = 1
    diverse_replicas: bool = True
    pool_replicas: bool = False
    aggregated: bool = False
    rules: tuple[RouteRule, ...] = ()
    down_policy: Literal["keep", "remove_node"] = "keep"
    dynamic: bool = False
    dynamic_max_retries: int = 5
    prefix: str = ""
    suffix: str = ""
    input_filter: str = ""
    input_blacklist: str = ""
    sampling: SamplingConfig = SamplingConfig()


class RelayConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What listeners with `to = [name]` receive goes through `filters` to every group.

    `default_relay` gets what no filter matches; empty = this one.  `sample_share` < 1 lets only that part through.
    """

    name: str = "relay"
    lines: LineConfig = LineConfig()
    filters: tuple[FilterRule, ...] = ()
    default_relay: str = ""
    sample_share: float = 1.0
    groups: tuple[GroupConfig, ...] = ()


class ClientTlsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Client side of TLS: PEM files; `authority` empty = the system's.  `verify` off trusts anybody."""

    authority: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


class ReconnectConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a lost destination is tried again, without end; `timeout_s` bounds one attempt.

    A TCP peer that confirms nothing of what is sent for `unanswered_s` is lost; 0 = when the system says so.
    """

    initial_s: float = 1.0
    factor: float = 2.718281828459045
    max_s: float = 5.0
    jitter: float = 0.119626565582
    timeout_s: float = 5.0
    unanswered_s: float = 70.0


class RatioResetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reconnect a destination that takes less than `ratio` of what is meant for it."""

    enabled: bool = False
    min_points: int = 1000
    ratio: float = 0.9
    interval_s: float = 121.0


class QueueConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What waits for a destination: in memory up to `max_bytes` (and `max_points`), then in the spool.

    `spool_bytes` 0 = memory only.  At the bound `policy` decides; `block` shuts the gate at full, opens it below
    `low_watermark` of full, and takes what comes nevertheless up to `hard_share` of full.  `reconnect_share`: when
    so much of `max_bytes` waits, the connection is given up and made again.  `message_points` datapoints at most go
    into one message, `defer_s` after they came.  `drain_s` is the patience with a destination at stop.
    """

    max_points: float = inf
    max_bytes: int = 8 << 20
    policy: QueuePolicy = "drop_new"
    low_watermark: float = 0.8
    hard_share: float = 1.25
    reconnect_share: float = inf
    spool_bytes: int = 0
    resend_window_s: float = 1.0
    resend_window_bytes: int = 8 << 20
    resend_window_in: WindowPlace = "file"
    replay_bytes_per_s: float = 8 << 20
    message_points: int = 500
    defer_s: float = 0.0001
    drain_s: float = 5.0


class HealthConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Asking destinations whether they live; `interval_s` 0 = no checks.

    A destination is down after more than `failures` in a row, and tried again every `retry_checks` checks.
    """

    interval_s: float = 0.0
    timeout_s: float = 5.0
    failures: int = 3
    retry_checks: int = 12


class DestinationConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where datapoints are sent to.  `name` is unique; `instance` only matters to rings and names of counters.

    `transport` tells which address counts: `tcp` and `udp`: `host` and `port`; `unix`: `path`, a stream socket;
    `http`: `path`, the URL to which lines are posted.  `connections` share the lines.  `datagram_bytes` (udp): lines
    are joined up to so many bytes; 0 = one line each.  `recycle_s`: connect anew, and look the name up, so often.
    `check` is asked for its health: a URL (http, https: GET; tcp, unix: connect; `statsd://host:port`: the admin
    port's `health`); empty = connect, as the transport is.  `health` None = as the Config's.
    """

    name: str
    transport: DestinationTransport = "tcp"
    host: str = ""
    port: int = 0
    path: str = ""
    instance: str | None = None
    protocol: DestinationProtocol = "line"
    crlf: bool = False
    tls: ClientTlsConfig | None = None
    connections: int = 1
    datagram_bytes: int = 1400
    cork: bool = False
    recycle_s: float = inf
    check: str = ""
    health: HealthConfig | None = None
    queue: QueueConfig = QueueConfig()
    reconnect: ReconnectConfig = ReconnectConfig()
    ratio_reset: RatioResetConfig = RatioResetConfig()

    @property
    def address(self) -> str:
        """Return where it is as a URL."""
        if self.transport == "http":
            return self.path
        if self.transport == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}"


class SpoolConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where what waits for destinations goes when it outgrows memory; `max_bytes` bounds all of them together."""

    directory: str = "var/spool"
    max_bytes: int = 4 << 30
    segment_bytes: int = 16 << 20
    sync_s: float = 1.0


class HealthMetricsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """statsrelay's own counters as statsd lines through a group of their own."""

    group: GroupConfig = GroupConfig(method="shards")
    first_s: float = 1.0
    interval_s: float = 30.0


class StatsdEmissionConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Own metrics as statsd lines over UDP (Cadent's names); `server` is host:port, empty = off."""

    server: str = ""
    prefix: str = ""
    interval_s: float = 2.0
    sample_rate: float = 1.0
    timer_sample_rate: float = 1.0


class OpsConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP pages of listeners with protocol `ops`; `debug`: /debug/*, on loopback only."""

    history_points: int = 256
    page_directory: str = ""
    debug: bool = False
    log_stats_s: float = 0.0


class ProcessesConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`workers` > 1: so many processes behind SO_REUSEPORT.  `pid_file` is rewritten by a hand-over.

    `udp_spread`: a datagram reaches the worker of the name that it begins with, or that of its sender.
    `move_connections`: loud ones go from a worker with much work to one with less.
    """

    workers: int = 1
    udp_spread: Literal["name", "source"] = "name"
    move_connections: bool = True
    pid_file: str = ""
    handover: Literal["none", "sockets", "statsrelay"] = "sockets"
    handover_drain_s: float = 0.3
