"""The table of options: one row per value of `config.model.Config`.

A row gives what the types cannot say: unit, range, whether a running process takes a new value, and one sentence for
people.  Types and defaults are those of the model.  Loaders, reload, samples' tests and docs/options.md use this table.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isnan
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from cadtwist.config.dattssoptions import DATTSS_OPTIONS
from cadtwist.config.istatoptions import ISTAT_OPTIONS
from cadtwist.config.model import Config
from cadtwist.config.optionrow import GIB, PORT_MAX, Option
from cadtwist.config.relayoptions import RELAY_OPTIONS
from cadtwist.config.statsdsection import STATSD_OPTIONS

__all__ = ["OPTIONS", "Option", "default_of", "fault_of", "leaves", "option", "struct_of", "text_fault", "type_name"]


OPTIONS: tuple[Option, ...] = (
    Option("program", "name of the service in logs, pid files and own metrics"),
    Option("instance", "name of this instance, for several on one machine"),
    Option("user", "user to become after the listeners are open; empty = stay"),
    Option("pid_directory", "folder of the pid file of the legacy commands; empty = none"),
    Option("listeners.protocol", "what is spoken"),
    Option("listeners.transport", "tcp, udp (line, statsd and dattss), unix, endpoint, or http (line only: POST)"),
    Option("listeners.interface", "IPv4 or IPv6 address, or localhost (tcp, udp, http); of `ops` 127.0.0.1 by default"),
    Option("listeners.port", "port to listen on (tcp, udp, http)", "port", 0, PORT_MAX),
    Option("listeners.path", "path of the unix socket (unix) or of the URL (http)"),
    Option("listeners.endpoint", "Twisted server endpoint text (endpoint)"),
    Option("listeners.tls.certificate", "PEM file with certificate (and chain)"),
    Option("listeners.tls.key", "PEM file with the private key; empty = in the certificate's file"),
    Option("listeners.tls.client_authority", "PEM file: clients must show a certificate of this authority"),
    Option("listeners.proxy_protocol", "expect a PROXY protocol header (v1 or v2) on each connection"),
    Option("listeners.to", "names of the relays that get it, or cache; empty = the cache, else the first relay"),
    Option("limits.max_connections", "metric connections open at once, over all listeners", "", 1, reloadable=True),
    Option("limits.idle_timeout_s", "close a connection that brought no metric for so long", "s", 1, reloadable=True),
    Option("limits.max_line_bytes", "longest line; a longer one is skipped and counted", "bytes", 64, 1 << 24),
    Option("limits.max_pickle_bytes", "largest pickle frame; a larger one ends the connection", "bytes", 64, GIB),
    Option("limits.max_protobuf_bytes", "largest protobuf frame; a larger one ends the connection", "bytes", 64, GIB),
    Option("limits.max_query_bytes", "largest cache query frame; a larger one ends the connection", "bytes", 64, GIB),
    Option("limits.udp_ring_bytes", "datagrams held per UDP socket until they are parsed", "bytes", 1 << 16, GIB),
    Option("limits.udp_receive_bytes", "kernel receive buffer asked for per UDP socket", "bytes", 0, GIB),
    Option("limits.flow_control", "stop reading from stream clients when the cache is full (off: drop)"),
    Option("tcp.keepalive", "send keep-alives on accepted connections"),
    Option("tcp.keepalive_idle_s", "idle seconds before the first keep-alive", "s", 1, 32767),
    Option("tcp.keepalive_interval_s", "seconds between keep-alives", "s", 1, 32767),
    Option("tcp.keepalive_count", "unanswered keep-alives before a connection is given up", "", 1, 127),
    Option("names.max_bytes", "memory for metric names; 0 = no limit; beyond it new names are refused", "bytes", 0),
    Option("names.idle_s", "forget a name unseen for so long, once nothing holds it", "s", 60, reloadable=True),
    Option("stages.blacklist", "patterns; a metric in which one is found is dropped", reloadable=True),
    Option("stages.whitelist", "patterns; if any, a metric in which none is found is dropped", reloadable=True),
    Option("stages.rewrite", "each match of `pattern` in a name becomes `replacement`, in order", reloadable=True),
    Option("stages.post_rewrite", "the same for names that an aggregator makes or passes on", reloadable=True),
    Option("stages.normalise_tags", "sort the tags of tagged names, so that each series has one name"),
    Option("stages.min_resolution_s", "round timestamps down to multiples of this; 0 = off", "s", 0, 86400),
    Option("cache.max_points", "pending datapoints held", "points", 1, reloadable=True),
    Option("cache.max_bytes", "memory for pending datapoints; 0 = no limit", "bytes", 0, reloadable=True),
    Option("wal.enabled", "log datapoints to disk before they are only in memory"),
    Option("wal.directory", "folder of the log; one process each"),
    Option("wal.sync_s", "seconds between syncs; 0 = after every turn that wrote", "s", 0, 3600, reloadable=True),
    Option("wal.segment_bytes", "size of one segment file", "bytes", 1 << 16, 1 << 31),
    Option("wal.max_bytes", "size the log may always have; more only up to twice the pending bytes", "bytes", 1 << 17),
    Option("writer.strategy", "which metric is written next", reloadable=True),
    Option("writer.max_updates_per_second", "file updates per second", "1/s", 1e-3, reloadable=True),
    Option(
        "writer.on_shutdown_updates_per_second",
        "both rates while draining; unset = unchanged",
        "1/s",
        1e-3,
        reloadable=True,
    ),
    Option(
        "writer.max_creates_per_minute", "new files per minute; others wait in the cache", "1/min", 0, reloadable=True
    ),
    Option("writer.min_lag_s", "timesorted: write only metrics whose oldest point is older", "s", 0, reloadable=True),
    Option("writer.low_fruit_rate", "share of the orders that are turned round", "", 0, 1, reloadable=True),
    Option("writer.threads", "writer threads, each with its own share of the metrics", "", 1, 64),
    Option("storage.kind", "whisper files, ceres nodes, or memory for trying things out"),
    Option("storage.root", "folder of the files; what it holds of the other kind is read as well"),
    Option("storage.autoflush", "fsync after each write"),
    Option("storage.sparse_create", "create files as holes (fallocate_create wins)"),
    Option("storage.fallocate_create", "create files with posix_fallocate"),
    Option("storage.lock_writes", "flock each file while it is written"),
    Option("storage.fadvise_random", "tell the kernel that files are read at random"),
    Option("storage.hash_tagged_names", "file names of tagged series are hashes"),
    Option(
        "storage.max_open_files",
        "descriptors kept open for writing; less where the process may not have so many",
        "",
        0,
        1_000_000,
    ),
    Option(
        "storage.rescan_s",
        "seconds between looks for files that others made or removed; 0 = only at start",
        "s",
        0,
        86400 * 365,
        reloadable=True,
    ),
    Option("storage.read_also", "more folders of whisper files, ceres nodes or StatFiles, which are only read"),
    Option("storage.read_only", "another process writes all folders; this one has no [cache] and only answers"),
    Option(
        "storage.ceres_max_slice_gap",
        "missing points that a write fills up; behind more of them a new slice begins",
        "points",
        0,
        1_000_000,
    ),
    Option("storage.ceres_node_caching", "keep in mind what is known of nodes, or look each time"),
    Option("storage.ceres_slice_caching", "keep the newest slice of a node in mind, or look each time"),
    Option("storage.ceres_lock_writes", "flock each slice while it is written"),
    Option("schemas", "which metrics are kept how long; the first match wins, none = 60 s for 7 days", reloadable=True),
    Option("aggregation", "how metrics are consolidated in time; the first match wins", reloadable=True),
    Option("tags.enabled", "tell the tag database of new and updated series", reloadable=True),
    Option("tags.url", "base URL of the tag database", reloadable=True),
    Option("tags.skip_untagged", "tell only of names with tags", reloadable=True),
    Option("tags.update_interval", "of all updates, every n-th is told", "", 1, reloadable=True),
    Option("tags.batch_series", "series in one request", "", 1, 10_000, reloadable=True),
    Option("tags.max_queue_series", "series waiting in each of the two queues", "", 1, 10_000_000, reloadable=True),
    Option("tags.timeout_s", "patience with the tag database", "s", 0.1, 600, reloadable=True),
    Option("tags.database", "where tags of series are kept for /tags: empty = a file in the storage, or redis://..."),
    Option("web.workers", "processes that answer render; 0 = the receiving process does", "", 0, 64),
    Option("web.cors_origins", "origins whose pages may ask; * = all"),
    Option("web.max_request_bytes", "largest request body", "bytes", 1024, GIB),
    Option("web.max_series", "series in one answer", "", 1, 10_000_000),
    Option("web.max_points", "datapoints in one answer", "points", 1, 10**10),
    Option("web.max_seconds", "time that one answer may take to be computed", "s", 0.1, 3600),
    Option("web.find_timeout_s", "patience of a web worker with the owner of the names", "s", 0.1, 3600),
    Option("web.find_cache_bytes", "answers about names, kept while no name comes or goes; 0 = none", "bytes", 0, GIB),
    Option("web.render_cache_bytes", "answers of render, kept for web.cache_s; 0 = none", "bytes", 0, GIB),
    Option("web.cache_s", "how long render's answers may be cached without cacheTimeout; 0 = not", "s", 0, 31_536_000),
    Option("web.cadent_path", "path of Cadent's read API; empty = there is none"),
    Option("web.url_prefix", "what may stand before every path, as behind a front server: /graphite; empty = nothing"),
    Option("web.users", "who may ask, name:password or name:sha256:digest; none and no token = everybody"),
    Option("web.tokens", "tokens (or sha256:digest) of who may ask, sent as Authorization: Bearer"),
    Option("web.log_requests", "log every request with its cost"),
    Option("web.slow_s", "requests that take longer are logged with their cost; 0 = none", "s", 0, 3600),
    Option("cluster.servers", "other servers that are asked too: host:port or URL, ?format=, local=, noTags="),
    Option("cluster.find_timeout_s", "patience with a server that looks for names or tags", "s", 0.05, 600),
    Option("cluster.fetch_timeout_s", "patience with a server that reads series", "s", 0.05, 3600),
    Option("cluster.retry_delay_s", "longest time between two looks whether a dead server lives", "s", 0.1, 3600),
    Option("cluster.max_answer_bytes", "largest answer of a server", "bytes", 1024, GIB),
    Option("cluster.merge", "fill the gaps of a series from its replicas; off: take the fullest replica"),
    Option("cluster.fail_on_error", "refuse a request that a server does not answer; off: answer with what there is"),
    Option("cluster.use_post", "ask by POST always, not only where a question is long"),
    Option("cluster.exclude_local", "leave out servers that are this process itself"),
    Option("cluster.https", "servers without a scheme speak https"),
    Option("cluster.forward_headers", "headers of a request that are passed on to the servers"),
    Option("self_metrics.interval_s", "seconds between our own metrics; 0 = off", "s", 0, 86400, reloadable=True),
    Option("self_metrics.prefix", "first part of the names of our own metrics", reloadable=True),
    Option("self_metrics.host", "host part of the names of our own metrics; empty = this machine's", reloadable=True),
    Option(
        "local_stats.interval_s", "seconds between figures of this machine; 0 = off", "s", 0, 86400, reloadable=True
    ),
    Option("local_stats.prefix", "first part of the names of this machine's figures", reloadable=True),
    Option("log.directory", "folder of the log files; empty = where twistd logs"),
    Option("log.rotate", "begin a new log file each day; off: reopen when the file was moved"),
    Option("log.updates", "a line per file update", reloadable=True),
    Option("log.creates", "a line per created file", reloadable=True),
    Option("log.queue_sorts", "a line per sorting of the write queue", reloadable=True),
    Option("log.queries", "a line per cache query", reloadable=True),
    Option("log.connections", "a line per connect and clean close of a metric client", reloadable=True),
    Option("log.lost_connections", "a line per abnormal end of a metric connection", reloadable=True),
    Option(
        "reload.schemas_s",
        "seconds between looks at the schema files; 0 = only on SIGHUP",
        "s",
        0,
        86400,
        reloadable=True,
    ),
    Option(
        "reload.lists_s",
        "seconds between looks at the black and white lists; 0 = only on SIGHUP",
        "s",
        0,
        86400,
        reloadable=True,
    ),
    *RELAY_OPTIONS,
    *ISTAT_OPTIONS,
    *DATTSS_OPTIONS,
    *STATSD_OPTIONS,
)


_BY_PATH = {row.path: row for row in OPTIONS}


def option(path: str) -> Option:
    """Return the row of `path` (without list numbers); KeyError if there is none."""
    return _BY_PATH[path]


def leaves(struct: type[Struct] = Config, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, type, default) of every value of the model, in its order; NODEFAULT where one must be given."""
    hints = get_type_hints(struct)
    for field in fields(struct):
        path = f"{prefix}{field.name}"
        inner = struct_of(hints[field.name])
        if inner is None:
            yield path, hints[field.name], default_of(field)
        else:
            yield from leaves(inner, f"{path}.")


def struct_of(hint: Any) -> type[Struct] | None:
    """Return the Struct within `S`, `S | None` or `tuple[S, ...]`, or None for a plain value."""
    candidates = (hint, *get_args(hint))
    return next((part for part in candidates if isinstance(part, type) and issubclass(part, Struct)), None)


def default_of(field: Any) -> Any:
    """Return a field's default, NODEFAULT where there is none."""
    return field.default if field.default is not NODEFAULT else NODEFAULT


def fault_of(path: str, value: Any) -> str | None:
    """Return what is wrong with the size of `value` for the option `path`, or None (also where there is no row)."""
    row = _BY_PATH.get(path)
    if row is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isnan(value):
        return "nan is not a number that can be used here"
    if row.low <= value <= row.high:
        return None
    return f"{_shown(value)} is out of range, {_range(row)}"


def text_fault(value: str) -> str | None:
    """Return what makes a text unusable wherever it is used, or None."""
    if "\0" in value:
        return f"{value!r} has a zero byte"
    try:
        value.encode()
    except UnicodeEncodeError:
        return f"{value!r} has half of a character"
    return None


def _range(row: Option) -> str:
    if row.high == inf:
        return f"at least {_shown(row.low)}"
    return f"{_shown(row.low)} to {_shown(row.high)}"


def _shown(value: float) -> str:
    return f"{int(value)}" if value not in (inf, -inf) and value == int(value) else f"{value:g}"


def type_name(hint: Any) -> str:
    """Return a type as people write it: `number`, `true or false`, `a | b`."""
    if get_origin(hint) is Literal:
        return " | ".join(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(type_name(part) for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is tuple and get_origin(get_args(hint)[0]) is tuple:
        return "list of pairs"
    if get_origin(hint) is tuple:
        return "list of texts" if str in get_args(hint) else "list of tables"
    return {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(hint, "table")
