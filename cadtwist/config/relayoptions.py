"""The rows of the table of options that concern relays; `config.options` joins them to the others."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from cadtwist.config.optionrow import GIB, PORT_MAX, Option

__all__ = ["RELAY_OPTIONS"]

_YEAR_S = 86400 * 365
_MANY = 1_000_000_000


def _lines(prefix: str) -> Iterator[Option]:
    for name, doc in (
        ("format", "kind of lines: graphite, statsd or regex"),
        ("regex", "regex: pattern whose group Key is the metric name (and Timestamp its time)"),
        ("time_layout", "regex: how the group Timestamp is written, as Go's reference time; empty = seconds"),
        ("cleaning", "graphite: how names are cleaned: none, cadent or c_relay"),
        ("validate", "check each line; off: a name is enough"),
        ("validate_tags", "statsd: refuse point tags of reserved names"),
        ("point_tag_regex", "statsd: finds point tags; its first group is the tag's name"),
        ("strict", "a bad line closes its connection, or ends its datagram"),
        ("status_commands", "over TCP answer the lines `status` and `shards`"),
    ):
        yield Option(f"{prefix}{name}", doc)


def _flood(prefix: str, what: str) -> Iterator[Option]:
    yield Option(
        f"{prefix}threshold", f"sample a {what} seen more often in a window; -1 = off", "", -1, _MANY, reloadable=True
    )
    yield Option(f"{prefix}window_s", f"window of sampled {what}s", "s", -1, 86400, reloadable=True)
    yield Option(f"{prefix}cardinality", f"most {what}s known while sampling is on", "", 0, _MANY, reloadable=True)


def _sampling(prefix: str) -> Iterator[Option]:
    for name in ("counter", "timer", "gauge"):
        yield from _flood(f"{prefix}{name}s.", name)
    yield Option(f"{prefix}timer_flush_min_max", "tell largest and smallest value of a sampled timer", reloadable=True)
    yield Option(f"{prefix}reservoir_size", "values kept of a sampled timer", "", 1, 1_000_000, reloadable=True)
    yield Option(f"{prefix}purge_interval_s", "how often idle keys are looked for", "s", 1, _YEAR_S, reloadable=True)
    yield Option(f"{prefix}key_ttl_s", "forget a key idle for so long", "s", 1, _YEAR_S, reloadable=True)
    yield Option(f"{prefix}old_rate_form", "write sampled counters as `|c@0.1`, without a bar", reloadable=True)


def _group(prefix: str) -> Iterator[Option]:
    def row(name: str, doc: str, unit: str = "", low: float = -_MANY, high: float = _MANY) -> Option:
        return Option(f"{prefix}{name}", doc, unit, low, high, reloadable=True)

    def plain(name: str, doc: str) -> Option:
        return Option(f"{prefix}{name}", doc, reloadable=True)

    yield plain("name", "name of the group in counters")
    yield plain("method", "how a line's destinations are chosen")
    yield plain("members", "names of destinations, in their order on the ring or map")
    yield plain("hash", "hash of a ring; empty = the method's default")
    yield plain("elter", "cadent: what is hashed for a point on the ring: simple, graphite or statsd")
    yield row("vnodes", "cadent: points on the ring for each member", "", 1, 100_000)
    yield plain(
        "hash_keys",
        "cadent: what is put on the ring for each member; empty = its address",
    )
    yield row("replication", "destinations that get each line", "", 1, 1000)
    yield plain("diverse_replicas", "carbon: copies go to distinct hosts")
    yield plain("pool_replicas", "of destinations of one host and port the least busy gets the line")
    yield plain("aggregated", "hash what the aggregation rules make of the name")
    yield plain("rules.name", "name of the rule")
    yield plain("rules.pattern", "regular expression, regardless of case; unset = the default rule")
    yield plain("rules.destinations", "names of destinations that get a matching line")
    yield plain("rules.continues", "go on to further rules after a match")
    yield plain("down_policy", "keep a dead destination on the ring, or remove_node")
    yield plain("dynamic", "a destination is on the ring only while it is connected")
    yield row("dynamic_max_retries", "failed attempts after which it leaves the ring", "", 0, 1_000_000)
    yield plain("prefix", "text before each name")
    yield plain("suffix", "text behind each name")
    yield plain("input_filter", "regular expression: only names in which it is found")
    yield plain("input_blacklist", "regular expression: no name in which it is found")
    yield from _sampling(f"{prefix}sampling.")


def _relays() -> Iterator[Option]:
    yield Option("relays.name", "name of the relay, for `to` and `relay`", reloadable=True)
    yield from _lines("relays.lines.")
    yield Option("relays.filters.kind", "regex, prefix, substring, or noop, which meets every name", reloadable=True)
    yield Option("relays.filters.pattern", "what is looked for in the name", reloadable=True)
    yield Option("relays.filters.action", "the first rule met decides: pass, reject or redirect", reloadable=True)
    yield Option("relays.filters.relay", "redirect: the relay that gets the line", reloadable=True)
    yield Option("relays.default_relay", "the relay of lines that no filter meets; empty = this", reloadable=True)
    yield Option("relays.sample_share", "share of the lines that is relayed", "", 0, 1, reloadable=True)
    yield from _group("relays.groups.")


def _health(prefix: str) -> Iterator[Option]:
    yield Option(f"{prefix}interval_s", "seconds between health checks; 0 = none", "s", 0, 86400, reloadable=True)
    yield Option(f"{prefix}timeout_s", "patience with one health check", "s", 0.01, 3600, reloadable=True)
    yield Option(f"{prefix}failures", "failures in a row that are borne", "", 0, 1_000_000, reloadable=True)
    yield Option(f"{prefix}retry_checks", "a dead one is tried every n-th time", "", 1, 1_000_000, reloadable=True)


def _queue(prefix: str) -> Iterator[Option]:
    def row(name: str, doc: str, unit: str, low: float, high: float) -> Option:
        return Option(f"{prefix}{name}", doc, unit, low, high, reloadable=True)

    yield Option(f"{prefix}max_points", "datapoints that wait in memory", "points", 1, reloadable=True)
    yield row("max_bytes", "memory for what waits", "bytes", 1, 1 << 40)
    yield Option(f"{prefix}policy", "at the bound: block, drop_oldest or drop_new", reloadable=True)
    yield row("low_watermark", "block: read on when less than this share waits", "", 0, 1)
    yield row("hard_share", "block: share up to which what comes nevertheless is kept", "", 1, 1000)
    yield Option(
        f"{prefix}reconnect_share", "connect anew when so much of max_bytes waits", "", 0.000001, reloadable=True
    )
    yield row("spool_bytes", "disk for what outgrows memory; 0 = none", "bytes", 0, 1 << 50)
    yield row("resend_window_s", "what was sent within this is sent again after a loss", "s", 0, 3600)
    yield row("resend_window_bytes", "at most so much is sent again", "bytes", 0, GIB)
    yield Option(f"{prefix}resend_window_in", "where that is kept: an unnamed file, or memory", reloadable=True)
    yield Option(f"{prefix}replay_bytes_per_s", "pace of the backlog behind live data", "bytes/s", 1, reloadable=True)
    yield row("message_points", "datapoints in one message", "points", 1, 1_000_000)
    yield row("defer_s", "wait for more datapoints before a message", "s", 0, 60)
    yield row("drain_s", "patience with the destination at stop", "s", 0, 86400)


def _destinations() -> Iterator[Option]:
    def plain(name: str, doc: str) -> Option:
        return Option(f"destinations.{name}", doc, reloadable=True)

    def row(name: str, doc: str, unit: str, low: float, high: float) -> Option:
        return Option(f"destinations.{name}", doc, unit, low, high, reloadable=True)

    yield plain("name", "name of the destination, for `members`")
    yield plain("transport", "tcp, udp, unix or http")
    yield plain("host", "host name or address (tcp, udp)")
    yield row("port", "port (tcp, udp)", "port", 0, PORT_MAX)
    yield plain("path", "path of the unix socket, or URL (http)")
    yield plain("instance", "carbon's instance, part of its place on the ring")
    yield plain("protocol", "what is spoken: line, pickle or protobuf")
    yield plain("crlf", "lines end with CR LF")
    yield plain("tls.authority", "PEM file: the server must show a certificate of it; empty = the system's")
    yield plain("tls.certificate", "PEM file with our certificate")
    yield plain("tls.key", "PEM file with our private key; empty = in the certificate's file")
    yield plain("tls.verify", "check the server's certificate and name")
    yield row("connections", "connections that share the lines", "", 1, 1000)
    yield row("datagram_bytes", "udp: lines joined up to this; 0 = one line each", "bytes", 0, PORT_MAX)
    yield plain("cork", "let the kernel gather small writes (TCP_CORK)")
    yield Option("destinations.recycle_s", "connect anew, and look the name up, so often", "s", 0.1, reloadable=True)
    yield plain("check", "URL asked for its health; empty = connect")
    yield from _health("destinations.health.")
    yield from _queue("destinations.queue.")
    yield row("reconnect.initial_s", "first wait before a new attempt", "s", 0.001, 3600)
    yield row("reconnect.factor", "each further wait is so much longer", "", 1, 1000)
    yield row("reconnect.max_s", "longest wait", "s", 0.001, 86400)
    yield row("reconnect.jitter", "random part of each wait", "", 0, 1)
    yield row("reconnect.timeout_s", "patience with one attempt", "s", 0.01, 3600)
    yield row("reconnect.unanswered_s", "patience with a TCP peer that is silent; 0 = the system's", "s", 0, 9999)
    yield plain("ratio_reset.enabled", "connect anew when too little is taken")
    yield row("ratio_reset.min_points", "only with so many datapoints per interval", "points", 0, _MANY)
    yield row("ratio_reset.ratio", "smallest share that must be taken", "", 0, 1)
    yield row("ratio_reset.interval_s", "not more often than this", "s", 0, _YEAR_S)


def _driver(prefix: str) -> Iterator[Option]:
    yield Option(f"{prefix}driver", "kind of store", reloadable=True)
    yield Option(f"{prefix}dsn", "file, folder, hosts or database, as the driver wants it", reloadable=True)
    yield Option(f"{prefix}options", "name and value of each option of the driver", reloadable=True)


def _accumulators() -> Iterator[Option]:
    def row(name: str, doc: str, unit: str = "", low: float = -inf, high: float = inf) -> Option:
        return Option(f"accumulators.{name}", doc, unit, low, high, reloadable=True)

    yield row("name", "name of the accumulator")
    yield row("relay", "the relay whose lines are added up")
    yield row("backend", "the relay that gets what is made of them, or cache; empty = none")
    yield row("input_format", "lines that come in: statsd or graphite")
    yield row("output_format", "lines that are made: statsd or graphite")
    yield row("flush_s", "seconds between flushes", "s", 0.001, _YEAR_S)
    yield row("aligned", "flush at whole multiples of that, not counted from the start")
    yield row("keep_keys", "tell what was not seen again as zero")
    yield row("bins.resolution_s", "length of a bin for writers", "s", 0.001, _YEAR_S)
    yield row("bins.ttl_s", "how long such bins are kept", "s", 0.001)
    yield row("options", "name and value of each option of the format")
    yield row("tags", "name and value of each tag")
    yield from _driver("accumulators.writer.metrics.")
    yield from _driver("accumulators.writer.indexer.")
    yield row("writer.input_queue_length", "bins that may wait for files of lines", "points", 1, _MANY)
    yield row("api.listen", "host:port of the HTTP API over what is written")
    yield row("api.base_path", "what the paths of the API begin with")
    yield row("api.log_file", "access log: a path, stdout, stderr or none")
    yield from _driver("accumulators.api.metrics.")
    yield from _driver("accumulators.api.indexer.")


def _process() -> Iterator[Option]:
    yield Option("spool.directory", "folder of what waits for destinations; one process each")
    yield Option("spool.max_bytes", "disk for all destinations together", "bytes", 1 << 16, 1 << 50)
    yield Option("spool.segment_bytes", "size of one segment file", "bytes", 1 << 16, 1 << 31)
    yield Option("spool.sync_s", "seconds between syncs", "s", 0, 3600, reloadable=True)
    yield from _health("health.")
    yield from _group("health_metrics.group.")
    yield Option("health_metrics.first_s", "first time after the start", "s", 0, 86400, reloadable=True)
    yield Option("health_metrics.interval_s", "seconds between", "s", 0.1, 86400, reloadable=True)
    yield Option("aggregator.forward_all", "what comes in goes on as well as what is made of it", reloadable=True)
    yield Option("aggregator.max_intervals", "open intervals of a metric", "", 1, 1_000_000, reloadable=True)
    yield Option(
        "aggregator.write_back_s",
        "seconds between tellings of an interval; unset = the rule's frequency",
        "s",
        0.001,
        86400,
        reloadable=True,
    )
    yield Option("aggregator.log_misses", "a log line per datapoint that no rule is about", reloadable=True)
    yield Option("aggregate_rules", "which metrics are made of which, how, and how often", reloadable=True)
    yield from _accumulators()
    yield Option("statsd_emission.server", "host:port that gets our own metrics as statsd lines; empty = none")
    yield Option("statsd_emission.prefix", "first part of their names")
    yield Option("statsd_emission.interval_s", "seconds between", "s", 0.1, 86400)
    yield Option("statsd_emission.sample_rate", "share of what is counted that is told", "", 0.000001, 1)
    yield Option("statsd_emission.timer_sample_rate", "share of the durations that is told", "", 0.000001, 1)
    yield Option("ops.history_points", "length of the lists in /stats, every 5 s one", "points", 1, 1_000_000)
    yield Option("ops.page_directory", "folder whose index.html is served at /; empty = our own page")
    yield Option("ops.debug", "answer /debug/*, to clients on loopback only")
    yield Option("ops.log_stats_s", "seconds between log lines of the counters; 0 = none", "s", 0, 86400)
    yield Option("processes.workers", "processes that share the listeners by SO_REUSEPORT", "", 1, 256)
    yield Option("processes.udp_spread", "what chooses a datagram's worker: its first name, or its source")
    yield Option("processes.move_connections", "let loud connections go from a busy worker to one with less work")
    yield Option("processes.pid_file", "file that holds the pid of the process that receives; empty = none")
    yield Option("processes.handover", "on SIGUSR2: pass sockets on, statsrelay's sequence, or none")
    yield Option("processes.handover_drain_s", "how long a hand-over waits for what is on its way", "s", 0, 3600)


RELAY_OPTIONS: tuple[Option, ...] = (*_relays(), *_destinations(), *_process())
"""In the order of the model."""
