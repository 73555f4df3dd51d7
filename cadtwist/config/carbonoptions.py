"""The table of carbon.conf's options: what each `[cache]` option is, and what it becomes.

One row per option.  A row with a `target` sets that value of the Config as it is; one with an `effect` is put to
use by `config.carbon` in a way that needs more than a copy; one with a `reason` is known and has no effect.
Defaults are those of the target unless the row says otherwise; the sources are carbon 1.1.10 and its master.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from cadtwist.config.model import Protocol

__all__ = ["CARBON_OPTIONS", "DOORS", "GROUPS", "CarbonOption", "Door", "Kind", "parse_value"]

Kind = Literal["bool", "int", "float", "text", "list", "path"]


class CarbonOption(Struct, frozen=True):
    """One option.

    `unset`: `None` and an empty value mean the default.  `harmless` is a value that is worth no notice.  `sample` is
    the default of a row without target, as documents show it.  `ours`: carbon does not know it.
    """

    name: str
    kind: Kind
    target: str = ""
    effect: str = ""
    reason: str = ""
    unset: bool = False
    harmless: Any = None
    sample: str = ""
    ours: bool = False


class Door(Struct, frozen=True):
    """A listener of carbon: options `<prefix>_INTERFACE`, `<prefix>_PORT`; `port` 0 = off unless the port is given."""

    prefix: str
    protocol: Protocol
    port: int
    udp: bool = False


DOORS = (
    Door("LINE_RECEIVER", "line", 2003),
    Door("UDP_RECEIVER", "line", 2003, udp=True),
    Door("PICKLE_RECEIVER", "pickle", 2004),
    Door("PROTOBUF_RECEIVER", "protobuf", 0),
    Door("CACHE_QUERY", "cachequery", 7002),
    Door("HTTP", "http", 0),
)

_RELAYS = "belongs to relays and aggregators"
_CERES = "only concerns the ceres database"
_AMQP = "AMQP is not supported"
_MANHOLE = "there is no manhole"
_OWN_METRICS_RELAY = "own metrics go into the own cache"

_TRUE = frozenset(("1", "yes", "true", "on"))
_FALSE = frozenset(("0", "no", "false", "off"))


def _door_options(door: Door) -> list[CarbonOption]:
    ours = door.prefix == "HTTP"
    everywhere = "0.0.0.0"  # noqa: S104 (carbon's default, shown)
    rows = [
        CarbonOption(f"{door.prefix}_INTERFACE", "text", effect="address to listen on", sample=everywhere, ours=ours),
        CarbonOption(
            f"{door.prefix}_PORT",
            "int",
            effect="port to listen on; 0 = off",
            unset=True,
            sample=f"{door.port}",
            ours=ours,
        ),
    ]
    if door.udp:
        return rows
    return [
        *rows,
        CarbonOption(
            f"{door.prefix}_ENDPOINT",
            "text",
            effect="one more listener, as a Twisted endpoint text such as systemd:domain=INET:index=0",
            ours=True,
        ),
        CarbonOption(
            f"{door.prefix}_TLS_CERTIFICATE",
            "path",
            effect="PEM certificate (and chain): the port speaks TLS",
            ours=True,
        ),
        CarbonOption(
            f"{door.prefix}_TLS_KEY",
            "path",
            effect="PEM private key, if it is not in the certificate's file",
            ours=True,
        ),
        CarbonOption(
            f"{door.prefix}_TLS_CLIENT_AUTHORITY",
            "path",
            effect="PEM authority: clients must show a certificate of it",
            ours=True,
        ),
        CarbonOption(
            f"{door.prefix}_PROXY_PROTOCOL",
            "bool",
            effect="every connection begins with a PROXY protocol header, v1 or v2",
            sample="False",
            ours=True,
        ),
    ]


_DIRECTORIES = (
    CarbonOption(
        "STORAGE_DIR",
        "path",
        effect="parent of the folders below; default GRAPHITE_STORAGE_DIR",
        sample="/opt/graphite/storage",
    ),
    CarbonOption(
        "CONF_DIR", "path", effect="folder of the rule files; default that of carbon.conf", sample="/opt/graphite/conf"
    ),
    CarbonOption(
        "LOG_DIR",
        "path",
        effect="log folder; `/<program>-<instance>` is added",
        sample="/opt/graphite/storage/log/carbon-cache",
    ),
    CarbonOption("PID_DIR", "path", target="pid_directory", sample="/opt/graphite/storage"),
    CarbonOption("LOCAL_DATA_DIR", "path", target="storage.root", sample="/opt/graphite/storage/whisper"),
    CarbonOption("WHITELISTS_DIR", "path", reason="nothing reads it, in carbon neither"),
)

_PROCESS = (
    CarbonOption("USER", "text", target="user"),
    CarbonOption("DATABASE", "text", effect="whisper is the only database", sample="whisper"),
    CarbonOption("ENABLE_LOGROTATION", "bool", target="log.rotate"),
    CarbonOption("LOG_LISTENER_CONN_SUCCESS", "bool", target="log.connections"),
    CarbonOption("LOG_LISTENER_CONN_LOST", "bool", target="log.lost_connections"),
    CarbonOption("LOG_CACHE_HITS", "bool", target="log.queries"),
    CarbonOption("LOG_UPDATES", "bool", target="log.updates"),
    CarbonOption("LOG_CREATES", "bool", target="log.creates"),
    CarbonOption("LOG_CACHE_QUEUE_SORTS", "bool", target="log.queue_sorts"),
    CarbonOption("CARBON_METRIC_PREFIX", "text", target="self_metrics.prefix"),
    CarbonOption("CARBON_METRIC_INTERVAL", "float", target="self_metrics.interval_s"),
    CarbonOption("RAVEN_DSN", "text", reason="failures are not sent to Sentry", unset=True),
)

_RECEIVERS = (
    CarbonOption("ENABLE_UDP_LISTENER", "bool", effect="opens the UDP listener", sample="False"),
    CarbonOption("PICKLE_RECEIVER_MAX_LENGTH", "int", target="limits.max_pickle_bytes"),
    CarbonOption("MAX_RECEIVER_CONNECTIONS", "float", target="limits.max_connections"),
    CarbonOption("METRIC_CLIENT_IDLE_TIMEOUT", "float", target="limits.idle_timeout_s", unset=True),
    CarbonOption(
        "USE_INSECURE_UNPICKLER", "bool", effect="refused: pickles are never executed", harmless=False, sample="False"
    ),
    CarbonOption("USE_WHITELIST", "bool", effect="reads whitelist.conf and blacklist.conf", sample="False"),
    CarbonOption("USE_FLOW_CONTROL", "bool", target="limits.flow_control"),
    CarbonOption("TCP_KEEPALIVE", "bool", target="tcp.keepalive"),
    CarbonOption("TCP_KEEPIDLE", "int", target="tcp.keepalive_idle_s"),
    CarbonOption("TCP_KEEPINTVL", "int", target="tcp.keepalive_interval_s"),
    CarbonOption("TCP_KEEPCNT", "int", target="tcp.keepalive_count"),
    CarbonOption("MIN_TIMESTAMP_RESOLUTION", "int", target="stages.min_resolution_s"),
)

_CACHE = (
    CarbonOption("MAX_CACHE_SIZE", "float", target="cache.max_points"),
    CarbonOption("CACHE_WRITE_STRATEGY", "text", target="writer.strategy"),
    CarbonOption("MIN_TIMESTAMP_LAG", "float", target="writer.min_lag_s"),
    CarbonOption("MAX_UPDATES_PER_SECOND", "float", target="writer.max_updates_per_second"),
    CarbonOption(
        "MAX_UPDATES_PER_SECOND_ON_SHUTDOWN", "float", target="writer.on_shutdown_updates_per_second", unset=True
    ),
    CarbonOption("MAX_CREATES_PER_MINUTE", "float", target="writer.max_creates_per_minute"),
    CarbonOption("WHISPER_AUTOFLUSH", "bool", target="storage.autoflush"),
    CarbonOption("WHISPER_SPARSE_CREATE", "bool", target="storage.sparse_create"),
    CarbonOption("WHISPER_FALLOCATE_CREATE", "bool", target="storage.fallocate_create"),
    CarbonOption("WHISPER_LOCK_WRITES", "bool", target="storage.lock_writes"),
    CarbonOption("WHISPER_FADVISE_RANDOM", "bool", target="storage.fadvise_random"),
    CarbonOption("CERES_MAX_SLICE_GAP", "int", reason=_CERES),
    CarbonOption("CERES_NODE_CACHING_BEHAVIOR", "text", reason=_CERES),
    CarbonOption("CERES_SLICE_CACHING_BEHAVIOR", "text", reason=_CERES),
    CarbonOption("CERES_LOCK_WRITES", "bool", reason=_CERES),
    CarbonOption("GRAPHITE_URL", "text", target="tags.url"),
    CarbonOption("ENABLE_TAGS", "bool", target="tags.enabled"),
    CarbonOption("SKIP_TAGS_FOR_NONTAGGED", "bool", target="tags.skip_untagged"),
    CarbonOption("TAG_UPDATE_INTERVAL", "int", target="tags.update_interval"),
    CarbonOption("TAG_BATCH_SIZE", "int", target="tags.batch_series"),
    CarbonOption("TAG_QUEUE_SIZE", "int", target="tags.max_queue_series"),
    CarbonOption("TAG_HASH_FILENAMES", "bool", target="storage.hash_tagged_names"),
    CarbonOption("RELAY_CACHE_METRICS", "bool", reason=_OWN_METRICS_RELAY, harmless=False, sample="False"),
)


def _without_effect(reason: str, kind: Kind, *names: str) -> tuple[CarbonOption, ...]:
    return tuple(CarbonOption(name, kind, reason=reason, unset=True) for name in names)


_RELAY = (
    *_without_effect(_RELAYS, "text", "RELAY_METHOD", "ROUTER_HASH_TYPE", "DESTINATION_PROTOCOL"),
    *_without_effect(_RELAYS, "text", "DESTINATION_TRANSPORT", "RELAY_RULES", "AGGREGATION_RULES", "REWRITE_RULES"),
    *_without_effect(_RELAYS, "path", "DESTINATION_SSL_CA"),
    *_without_effect(_RELAYS, "list", "DESTINATIONS"),
    *_without_effect(_RELAYS, "bool", "DIVERSE_REPLICAS", "DYNAMIC_ROUTER", "DESTINATION_POOL_REPLICAS"),
    *_without_effect(_RELAYS, "bool", "DESTINATIONS_POOL_REPLICAS", "TAG_RELAY_NORMALIZED", "USE_RATIO_RESET"),
    *_without_effect(_RELAYS, "bool", "FORWARD_ALL", "LOG_AGGREGATOR_MISSES"),
    *_without_effect(_RELAYS, "int", "REPLICATION_FACTOR", "DYNAMIC_ROUTER_MAX_RETRIES", "MAX_QUEUE_SIZE"),
    *_without_effect(_RELAYS, "int", "MAX_DATAPOINTS_PER_MESSAGE", "MAX_AGGREGATION_INTERVALS"),
    *_without_effect(_RELAYS, "int", "CACHE_METRIC_NAMES_MAX", "CACHE_METRIC_NAMES_TTL", "MIN_RESET_INTERVAL"),
    *_without_effect(_RELAYS, "float", "QUEUE_LOW_WATERMARK_PCT", "MAX_QUEUE_SIZE_HARD_PCT", "MIN_RESET_RATIO"),
    *_without_effect(_RELAYS, "float", "TIME_TO_DEFER_SENDING", "MIN_RESET_STAT_FLOW", "WRITE_BACK_FREQUENCY"),
)

_ABSENT = (
    CarbonOption("ENABLE_AMQP", "bool", effect="refused: AMQP is not supported", harmless=False, sample="False"),
    *_without_effect(_AMQP, "bool", "AMQP_VERBOSE", "AMQP_METRIC_NAME_IN_BODY"),
    *_without_effect(_AMQP, "text", "AMQP_HOST", "AMQP_USER", "AMQP_PASSWORD", "AMQP_VHOST", "AMQP_EXCHANGE"),
    *_without_effect(_AMQP, "text", "AMQP_SPEC"),
    *_without_effect(_AMQP, "int", "AMQP_PORT"),
    *_without_effect(_AMQP, "list", "BIND_PATTERNS"),
    CarbonOption("ENABLE_MANHOLE", "bool", effect="refused: there is no manhole", harmless=False, sample="False"),
    *_without_effect(_MANHOLE, "text", "MANHOLE_INTERFACE", "MANHOLE_USER", "MANHOLE_PUBLIC_KEY"),
    *_without_effect(_MANHOLE, "text", "MANHOLE_HOST_KEY_DIR"),
    *_without_effect(_MANHOLE, "int", "MANHOLE_PORT"),
)


def _ours(name: str, kind: Kind, target: str = "", effect: str = "") -> CarbonOption:
    return CarbonOption(name, kind, target, effect, ours=True)


_OURS = (
    _ours("UNIX_RECEIVER_PATH", "path", effect="one more line listener: a unix stream socket"),
    _ours("HTTP_WORKERS", "int", "web.workers"),
    _ours("HTTP_CORS_ORIGINS", "list", "web.cors_origins"),
    _ours("HTTP_MAX_REQUEST_BYTES", "int", "web.max_request_bytes"),
    _ours("HTTP_MAX_SERIES", "int", "web.max_series"),
    _ours("HTTP_MAX_POINTS", "int", "web.max_points"),
    _ours("HTTP_FIND_TIMEOUT", "float", "web.find_timeout_s"),
    _ours("LINE_RECEIVER_MAX_LENGTH", "int", "limits.max_line_bytes"),
    _ours("PROTOBUF_RECEIVER_MAX_LENGTH", "int", "limits.max_protobuf_bytes"),
    _ours("CACHE_QUERY_MAX_LENGTH", "int", "limits.max_query_bytes"),
    _ours("UDP_RING_BYTES", "int", "limits.udp_ring_bytes"),
    _ours("UDP_RECEIVE_BYTES", "int", "limits.udp_receive_bytes"),
    _ours("METRIC_NAMES_MAX_BYTES", "int", "names.max_bytes"),
    _ours("METRIC_NAMES_IDLE", "float", "names.idle_s"),
    _ours("CACHE_MAX_BYTES", "int", "cache.max_bytes"),
    _ours("WAL_ENABLED", "bool", "wal.enabled"),
    _ours("WAL_DIR", "path", effect="folder of the log; default STORAGE_DIR/wal/<program>-<instance>"),
    _ours("WAL_SYNC", "float", "wal.sync_s"),
    _ours("WAL_SEGMENT_BYTES", "int", "wal.segment_bytes"),
    _ours("WAL_MAX_BYTES", "int", "wal.max_bytes"),
    _ours("WRITER_THREADS", "int", "writer.threads"),
    _ours("MAX_OPEN_FILES", "int", "storage.max_open_files"),
    _ours("FILES_RESCAN_INTERVAL", "float", "storage.rescan_s"),
    _ours("TAG_TIMEOUT", "float", "tags.timeout_s"),
    _ours("CARBON_METRIC_HOST", "text", "self_metrics.host"),
    _ours("LOCAL_STATS_INTERVAL", "float", "local_stats.interval_s"),
    _ours("LOCAL_STATS_PREFIX", "text", "local_stats.prefix"),
    _ours("SCHEMAS_RELOAD_INTERVAL", "float", "reload.schemas_s"),
    _ours("LISTS_RELOAD_INTERVAL", "float", "reload.lists_s"),
)

GROUPS: tuple[tuple[str, tuple[CarbonOption, ...]], ...] = (
    ("Folders", _DIRECTORIES),
    ("The process, its logs and its own metrics", _PROCESS),
    ("Listeners", tuple(row for door in DOORS for row in _door_options(door))),
    ("Receiving", _RECEIVERS),
    ("Cache, writer, files and tags", _CACHE),
    ("Options of relays and aggregators", _RELAY),
    ("Options of what does not exist here", _ABSENT),
    ("Options that carbon does not know", _OURS),
)
"""All rows, under the titles that documents give them."""

CARBON_OPTIONS: dict[str, CarbonOption] = {row.name: row for _, rows in GROUPS for row in rows}
"""Every option of `[cache]` by its upper-case name, in the order of docs/options.md."""


def parse_value(kind: Kind, text: str) -> Any:
    """Read the text of an option; ValueError tells what was expected."""
    if kind == "bool":
        if text.lower() not in _TRUE | _FALSE:
            raise ValueError(f"{text!r} is neither True nor False (nor yes, no, on, off, 1, 0)")
        return text.lower() in _TRUE
    if kind == "list":
        return tuple(item.strip() for item in text.split(",") if item.strip())
    if kind in ("int", "float"):
        return _number(kind, text)
    return text


def _number(kind: Kind, text: str) -> int | float:
    try:
        number = float(text)
        if kind == "float":
            return number
        whole = int(number) if "." in text or "e" in text.lower() else int(text)
    except (ValueError, OverflowError):
        wanted = "number" if kind == "float" else "whole number"
        raise ValueError(f"{text!r} is not a {wanted}") from None
    if whole != number and abs(number) < float(1 << 53):
        raise ValueError(f"{text!r} is not a whole number")
    return whole
