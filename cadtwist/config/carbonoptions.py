"""The table of carbon.conf's options: what each is, whose it is, and what it becomes.

One row per option.  A row with a `target` sets that value of the Config as it is; one with an `effect` is put to
use by `config.carbon` in a way that needs more than a copy; one with a `reason` is known and has no effect.
Defaults are those of the target unless the row says otherwise; the sources are carbon 1.1.10 and its master.
"""

from __future__ import annotations

from cadtwist.config.carbonrelayoptions import AGGREGATING, FAN_OUT, RELAYING, SPOOLING
from cadtwist.config.carbonrow import CarbonOption, Door, Kind, ours, without_effect

__all__ = ["CARBON_OPTIONS", "DOORS", "GROUPS"]

DOORS = (
    Door("LINE_RECEIVER", "line", 2003),
    Door("UDP_RECEIVER", "line", 2003, udp=True),
    Door("PICKLE_RECEIVER", "pickle", 2004),
    Door("PROTOBUF_RECEIVER", "protobuf", 0),
    Door("CACHE_QUERY", "cachequery", 7002, users="CB"),
    Door("HTTP", "http", 0),
)

_AMQP = "AMQP is not supported"
_MANHOLE = "there is no manhole"
_OWN_METRICS_RELAY = "own metrics go into the own cache"


def _door_options(door: Door) -> list[CarbonOption]:
    own = door.prefix == "HTTP"
    everywhere = "0.0.0.0"  # noqa: S104 (carbon's default, shown)

    def row(name: str, kind: Kind, effect: str, sample: str = "", added: bool = True) -> CarbonOption:
        return CarbonOption(
            f"{door.prefix}_{name}",
            kind,
            effect=effect,
            unset=name == "PORT",
            sample=sample,
            ours=own or added,
            users=door.users,
        )

    rows = [
        row("INTERFACE", "text", "address to listen on", everywhere, added=False),
        row("PORT", "int", "port to listen on; 0 = off", f"{door.port}", added=False),
    ]
    if door.udp:
        return rows
    endpoint = "one more listener, as a Twisted endpoint text such as systemd:domain=INET:index=0"
    return [
        *rows,
        row("ENDPOINT", "text", endpoint),
        row("TLS_CERTIFICATE", "path", "PEM certificate (and chain): the port speaks TLS"),
        row("TLS_KEY", "path", "PEM private key, if it is not in the certificate's file"),
        row("TLS_CLIENT_AUTHORITY", "path", "PEM authority: clients must show a certificate of it"),
        row("PROXY_PROTOCOL", "bool", "every connection begins with a PROXY protocol header, v1 or v2", "False"),
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
    CarbonOption("LOCAL_DATA_DIR", "path", target="storage.root", sample="/opt/graphite/storage/whisper", users="CB"),
    CarbonOption("WHITELISTS_DIR", "path", reason="nothing reads it, in carbon neither"),
)

_PROCESS = (
    CarbonOption("USER", "text", target="user"),
    CarbonOption("DATABASE", "text", target="storage.kind", users="CB"),
    CarbonOption("ENABLE_LOGROTATION", "bool", target="log.rotate"),
    CarbonOption("LOG_LISTENER_CONN_SUCCESS", "bool", target="log.connections"),
    CarbonOption("LOG_LISTENER_CONN_LOST", "bool", target="log.lost_connections"),
    CarbonOption("LOG_CACHE_HITS", "bool", target="log.queries", users="CB"),
    CarbonOption("LOG_UPDATES", "bool", target="log.updates", users="CB"),
    CarbonOption("LOG_CREATES", "bool", target="log.creates", users="CB"),
    CarbonOption("LOG_CACHE_QUEUE_SORTS", "bool", target="log.queue_sorts", users="CB"),
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
    CarbonOption("MAX_CACHE_SIZE", "float", target="cache.max_points", users="CB"),
    CarbonOption("CACHE_WRITE_STRATEGY", "text", target="writer.strategy", users="CB"),
    CarbonOption("MIN_TIMESTAMP_LAG", "float", target="writer.min_lag_s", users="CB"),
    CarbonOption("MAX_UPDATES_PER_SECOND", "float", target="writer.max_updates_per_second", users="CB"),
    CarbonOption(
        "MAX_UPDATES_PER_SECOND_ON_SHUTDOWN",
        "float",
        target="writer.on_shutdown_updates_per_second",
        unset=True,
        users="CB",
    ),
    CarbonOption("MAX_CREATES_PER_MINUTE", "float", target="writer.max_creates_per_minute", users="CB"),
    CarbonOption("WHISPER_AUTOFLUSH", "bool", target="storage.autoflush", users="CB"),
    CarbonOption("WHISPER_SPARSE_CREATE", "bool", target="storage.sparse_create", users="CB"),
    CarbonOption("WHISPER_FALLOCATE_CREATE", "bool", target="storage.fallocate_create", users="CB"),
    CarbonOption("WHISPER_LOCK_WRITES", "bool", target="storage.lock_writes", users="CB"),
    CarbonOption("WHISPER_FADVISE_RANDOM", "bool", target="storage.fadvise_random", users="CB"),
    CarbonOption("CERES_MAX_SLICE_GAP", "int", target="storage.ceres_max_slice_gap", users="CB"),
    CarbonOption("CERES_NODE_CACHING_BEHAVIOR", "text", target="storage.ceres_node_caching", users="CB"),
    CarbonOption("CERES_SLICE_CACHING_BEHAVIOR", "text", target="storage.ceres_slice_caching", users="CB"),
    CarbonOption("CERES_LOCK_WRITES", "bool", target="storage.ceres_lock_writes", users="CB"),
    CarbonOption("GRAPHITE_URL", "text", target="tags.url", users="CB"),
    CarbonOption("ENABLE_TAGS", "bool", target="tags.enabled", users="CB"),
    CarbonOption("SKIP_TAGS_FOR_NONTAGGED", "bool", target="tags.skip_untagged", users="CB"),
    CarbonOption("TAG_UPDATE_INTERVAL", "int", target="tags.update_interval", users="CB"),
    CarbonOption("TAG_BATCH_SIZE", "int", target="tags.batch_series", users="CB"),
    CarbonOption("TAG_QUEUE_SIZE", "int", target="tags.max_queue_series", users="CB"),
    CarbonOption("TAG_HASH_FILENAMES", "bool", target="storage.hash_tagged_names", users="CB"),
    CarbonOption("RELAY_CACHE_METRICS", "bool", reason=_OWN_METRICS_RELAY, harmless=False, sample="False"),
)


_ABSENT = (
    CarbonOption("ENABLE_AMQP", "bool", effect="refused: AMQP is not supported", harmless=False, sample="False"),
    *without_effect(_AMQP, "bool", "AMQP_VERBOSE", "AMQP_METRIC_NAME_IN_BODY"),
    *without_effect(_AMQP, "text", "AMQP_HOST", "AMQP_USER", "AMQP_PASSWORD", "AMQP_VHOST", "AMQP_EXCHANGE"),
    *without_effect(_AMQP, "text", "AMQP_SPEC"),
    *without_effect(_AMQP, "int", "AMQP_PORT"),
    *without_effect(_AMQP, "list", "BIND_PATTERNS"),
    CarbonOption("ENABLE_MANHOLE", "bool", effect="refused: there is no manhole", harmless=False, sample="False"),
    *without_effect(_MANHOLE, "text", "MANHOLE_INTERFACE", "MANHOLE_USER", "MANHOLE_PUBLIC_KEY"),
    *without_effect(_MANHOLE, "text", "MANHOLE_HOST_KEY_DIR"),
    *without_effect(_MANHOLE, "int", "MANHOLE_PORT"),
)


_OURS = (
    ours("UNIX_RECEIVER_PATH", "path", effect="one more line listener: a unix stream socket"),
    ours("HTTP_WORKERS", "int", "web.workers", users="CB"),
    ours("HTTP_CORS_ORIGINS", "list", "web.cors_origins", users="CB"),
    ours("HTTP_MAX_REQUEST_BYTES", "int", "web.max_request_bytes", users="CB"),
    ours("HTTP_MAX_SERIES", "int", "web.max_series", users="CB"),
    ours("HTTP_MAX_POINTS", "int", "web.max_points", users="CB"),
    ours("HTTP_MAX_SECONDS", "float", "web.max_seconds", users="CB"),
    ours("HTTP_FIND_TIMEOUT", "float", "web.find_timeout_s", users="CB"),
    ours("HTTP_FIND_CACHE_BYTES", "int", "web.find_cache_bytes", users="CB"),
    ours("HTTP_RENDER_CACHE_BYTES", "int", "web.render_cache_bytes", users="CB"),
    ours("HTTP_CACHE_DURATION", "int", "web.cache_s", users="CB"),
    ours("HTTP_CADENT_PATH", "text", "web.cadent_path", users="CB"),
    ours("HTTP_URL_PREFIX", "text", "web.url_prefix", users="CB"),
    ours("HTTP_USERS", "list", "web.users", users="CB"),
    ours("HTTP_TOKENS", "list", "web.tokens", users="CB"),
    ours("HTTP_LOG_REQUESTS", "bool", "web.log_requests", users="CB"),
    ours("HTTP_SLOW_SECONDS", "float", "web.slow_s", users="CB"),
    ours("CLUSTER_SERVERS", "list", "cluster.servers", users="CB"),
    ours("REMOTE_FIND_TIMEOUT", "float", "cluster.find_timeout_s", users="CB"),
    ours("REMOTE_FETCH_TIMEOUT", "float", "cluster.fetch_timeout_s", users="CB"),
    ours("REMOTE_RETRY_DELAY", "float", "cluster.retry_delay_s", users="CB"),
    ours("REMOTE_MAX_ANSWER_BYTES", "int", "cluster.max_answer_bytes", users="CB"),
    ours("REMOTE_STORE_MERGE_RESULTS", "bool", "cluster.merge", users="CB"),
    ours("STORE_FAIL_ON_ERROR", "bool", "cluster.fail_on_error", users="CB"),
    ours("REMOTE_STORE_USE_POST", "bool", "cluster.use_post", users="CB"),
    ours("REMOTE_EXCLUDE_LOCAL", "bool", "cluster.exclude_local", users="CB"),
    ours("INTRACLUSTER_HTTPS", "bool", "cluster.https", users="CB"),
    ours("REMOTE_STORE_FORWARD_HEADERS", "list", "cluster.forward_headers", users="CB"),
    ours("LINE_RECEIVER_MAX_LENGTH", "int", "limits.max_line_bytes"),
    ours("PROTOBUF_RECEIVER_MAX_LENGTH", "int", "limits.max_protobuf_bytes"),
    ours("CACHE_QUERY_MAX_LENGTH", "int", "limits.max_query_bytes", users="CB"),
    ours("UDP_RING_BYTES", "int", "limits.udp_ring_bytes"),
    ours("UDP_RECEIVE_BYTES", "int", "limits.udp_receive_bytes"),
    ours("METRIC_NAMES_MAX_BYTES", "int", "names.max_bytes"),
    ours("METRIC_NAMES_IDLE", "float", "names.idle_s"),
    ours("CACHE_MAX_BYTES", "int", "cache.max_bytes", users="CB"),
    ours("WAL_ENABLED", "bool", "wal.enabled", users="CAB"),
    ours("WAL_DIR", "path", effect="folder of the log; default STORAGE_DIR/wal/<program>-<instance>", users="CAB"),
    ours("WAL_SYNC", "float", "wal.sync_s", users="CAB"),
    ours("WAL_SEGMENT_BYTES", "int", "wal.segment_bytes", users="CAB"),
    ours("WAL_MAX_BYTES", "int", "wal.max_bytes", users="CAB"),
    ours("WRITER_THREADS", "int", "writer.threads", users="CB"),
    ours("MAX_OPEN_FILES", "int", "storage.max_open_files", users="CB"),
    ours("FILES_RESCAN_INTERVAL", "float", "storage.rescan_s", users="CB"),
    ours("READ_ALSO_DIRS", "list", "storage.read_also", users="CB"),
    ours("TAG_TIMEOUT", "float", "tags.timeout_s", users="CB"),
    ours("TAGDB", "text", "tags.database", users="CB"),
    ours("CARBON_METRIC_HOST", "text", "self_metrics.host"),
    ours("LOCAL_STATS_INTERVAL", "float", "local_stats.interval_s"),
    ours("LOCAL_STATS_PREFIX", "text", "local_stats.prefix"),
    ours("SCHEMAS_RELOAD_INTERVAL", "float", "reload.schemas_s", users="CB"),
    ours("LISTS_RELOAD_INTERVAL", "float", "reload.lists_s"),
)

GROUPS: tuple[tuple[str, tuple[CarbonOption, ...]], ...] = (
    ("Folders", _DIRECTORIES),
    ("The process, its logs and its own metrics", _PROCESS),
    ("Listeners", tuple(row for door in DOORS for row in _door_options(door))),
    ("Receiving", _RECEIVERS),
    ("Cache, writer, files and tags", _CACHE),
    ("Relaying", FAN_OUT),
    ("Sending", RELAYING),
    ("Aggregating", AGGREGATING),
    ("Options of what does not exist here", _ABSENT),
    ("Options that carbon does not know", _OURS),
    ("What waits for destinations (carbon does not know these)", SPOOLING),
)
"""All rows, under the titles that documents give them."""

CARBON_OPTIONS: dict[str, CarbonOption] = {row.name: row for _, rows in GROUPS for row in rows}
"""Every option of `[cache]` by its upper-case name, in the order of docs/options.md."""
