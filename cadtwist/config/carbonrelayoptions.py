"""The rows of carbon.conf's options that concern relays and aggregators; `config.carbonoptions` joins them."""

from __future__ import annotations

from cadtwist.config.carbonrow import CarbonOption, ours

__all__ = ["AGGREGATING", "FAN_OUT", "METHODS", "RELAYING", "SPOOLING"]

METHODS: dict[str, tuple[str, bool]] = {
    "constant": ("constant", False),
    "rules": ("rules", False),
    "consistent-hashing": ("carbon", False),
    "aggregated-consistent-hashing": ("carbon", True),
    "fast-hashing": ("carbon_fast", False),
    "fast-aggregated-hashing": ("carbon_fast", True),
}
"""RELAY_METHOD: the method of the group, and whether what the aggregation rules make of a name is hashed."""

_NAMES = "each rule is asked once per name; METRIC_NAMES_MAX_BYTES and METRIC_NAMES_IDLE bound what is kept"

FAN_OUT = (
    CarbonOption(
        "RELAY_METHOD", "text", effect=f"how destinations are chosen: {', '.join(METHODS)}", sample="rules", users="R"
    ),
    CarbonOption("DESTINATIONS", "list", effect="host:port or host:port:instance of each destination", users="RA"),
    CarbonOption("ROUTER_HASH_TYPE", "text", target="relays.groups.hash", unset=True, sample="unset", users="RA"),
    CarbonOption("REPLICATION_FACTOR", "int", target="relays.groups.replication", users="RA"),
    CarbonOption("DIVERSE_REPLICAS", "bool", target="relays.groups.diverse_replicas", users="RA"),
    CarbonOption("DYNAMIC_ROUTER", "bool", target="relays.groups.dynamic", users="RA"),
    CarbonOption("DYNAMIC_ROUTER_MAX_RETRIES", "int", target="relays.groups.dynamic_max_retries", users="RA"),
    CarbonOption("DESTINATION_POOL_REPLICAS", "bool", target="relays.groups.pool_replicas", users="RA"),
    CarbonOption(
        "DESTINATIONS_POOL_REPLICAS",
        "bool",
        reason="nothing reads it, in carbon neither; it is called DESTINATION_POOL_REPLICAS",
        harmless=False,
    ),
    CarbonOption(
        "TAG_RELAY_NORMALIZED",
        "bool",
        effect="sort the tags of tagged names before anything is decided about them",
        sample="False",
        users="RA",
    ),
    CarbonOption(
        "RELAY_RULES",
        "text",
        effect="file of rules for RELAY_METHOD = rules, relative to CONF_DIR",
        sample="relay-rules.conf",
        users="R",
    ),
    CarbonOption("CACHE_METRIC_NAMES_MAX", "int", reason=_NAMES, harmless=0),
    CarbonOption("CACHE_METRIC_NAMES_TTL", "int", reason=_NAMES, harmless=0),
)

RELAYING = (
    CarbonOption(
        "DESTINATION_PROTOCOL",
        "text",
        effect="what destinations are sent: pickle, line or protobuf",
        sample="pickle",
        users="RA",
    ),
    CarbonOption("DESTINATION_TRANSPORT", "text", effect="none, or ssl for TLS", unset=True, sample="none", users="RA"),
    CarbonOption(
        "DESTINATION_SSL_CA",
        "path",
        effect="PEM authority that destinations must show a certificate of; default the system's",
        unset=True,
        users="RA",
    ),
    CarbonOption("MAX_QUEUE_SIZE", "float", target="destinations.queue.max_points", sample="10000", users="RA"),
    CarbonOption("QUEUE_LOW_WATERMARK_PCT", "float", target="destinations.queue.low_watermark", users="RA"),
    CarbonOption("MAX_QUEUE_SIZE_HARD_PCT", "float", target="destinations.queue.hard_share", users="RA"),
    CarbonOption("MAX_DATAPOINTS_PER_MESSAGE", "int", target="destinations.queue.message_points", users="RA"),
    CarbonOption("TIME_TO_DEFER_SENDING", "float", target="destinations.queue.defer_s", users="RA"),
    CarbonOption("USE_RATIO_RESET", "bool", target="destinations.ratio_reset.enabled", users="RA"),
    CarbonOption("MIN_RESET_STAT_FLOW", "int", target="destinations.ratio_reset.min_points", users="RA"),
    CarbonOption("MIN_RESET_RATIO", "float", target="destinations.ratio_reset.ratio", users="RA"),
    CarbonOption("MIN_RESET_INTERVAL", "float", target="destinations.ratio_reset.interval_s", users="RA"),
)

AGGREGATING = (
    CarbonOption(
        "AGGREGATION_RULES",
        "text",
        effect="file of aggregation rules, relative to CONF_DIR",
        sample="aggregation-rules.conf",
        users="RAB",
    ),
    CarbonOption(
        "REWRITE_RULES",
        "text",
        effect="file of rewrite rules, relative to CONF_DIR; a relay rewrites only where this is set",
        sample="rewrite-rules.conf",
        users="RAB",
    ),
    CarbonOption("FORWARD_ALL", "bool", target="aggregator.forward_all", users="AB"),
    CarbonOption("MAX_AGGREGATION_INTERVALS", "int", target="aggregator.max_intervals", users="AB"),
    CarbonOption("WRITE_BACK_FREQUENCY", "float", target="aggregator.write_back_s", unset=True, users="AB"),
    CarbonOption("LOG_AGGREGATOR_MISSES", "bool", target="aggregator.log_misses", users="AB"),
)

SPOOLING = (
    ours(
        "QUEUE_POLICY",
        "text",
        effect="when a queue is full: block, drop_oldest or drop_new; unset = as USE_FLOW_CONTROL says",
        users="RA",
        sample="unset",
    ),
    ours("QUEUE_MAX_BYTES", "int", "destinations.queue.max_bytes", users="RA"),
    ours("SPOOL_DIR", "path", effect="folder of the spool; default STORAGE_DIR/spool/<program>-<instance>", users="RA"),
    ours("SPOOL_MAX_BYTES", "int", "spool.max_bytes", users="RA"),
    ours("SPOOL_DESTINATION_MAX_BYTES", "int", "destinations.queue.spool_bytes", users="RA", sample="1073741824"),
    ours("SPOOL_SEGMENT_BYTES", "int", "spool.segment_bytes", users="RA"),
    ours("SPOOL_SYNC", "float", "spool.sync_s", users="RA"),
    ours("SPOOL_REPLAY_BYTES_PER_SECOND", "float", "destinations.queue.replay_bytes_per_s", users="RA"),
    ours("RESEND_WINDOW", "float", "destinations.queue.resend_window_s", users="RA"),
    ours("RESEND_WINDOW_BYTES", "int", "destinations.queue.resend_window_bytes", users="RA"),
    ours("RESEND_WINDOW_IN", "text", "destinations.queue.resend_window_in", users="RA"),
    ours("DESTINATION_DRAIN_TIME", "float", "destinations.queue.drain_s", users="RA"),
    ours("DESTINATION_CONNECTIONS", "int", "destinations.connections", users="RA"),
    ours("DESTINATION_RECYCLE_INTERVAL", "float", "destinations.recycle_s", users="RA"),
    ours("DESTINATION_TLS_CERTIFICATE", "path", "destinations.tls.certificate", users="RA"),
    ours("DESTINATION_TLS_KEY", "path", "destinations.tls.key", users="RA"),
    ours("DESTINATION_CONNECT_TIMEOUT", "float", "destinations.reconnect.timeout_s", users="RA"),
    ours("DESTINATION_RETRY_MAX", "float", "destinations.reconnect.max_s", users="RA"),
    ours("WORKERS", "int", "processes.workers", users="R"),
    ours("HTTP_DEBUG", "bool", "ops.debug", users="RA"),
)
