"""statsrelay's JSON (its C generation): text in, Config out.  Pure.

Everything is in the object `statsd`.  Keys that statsrelay does not know and we do: `strict`, `spool_dir`,
`spool_bytes` (for each backend), `spool_max_bytes` (for all), `http` (host:port of the status pages).
"""

from __future__ import annotations

from math import inf
from typing import Any

from cadtwist.config.checks import faults
from cadtwist.config.errors import Problems
from cadtwist.config.jsonlines import read_json
from cadtwist.config.model import Config, LimitsConfig, Listener, LocalStatsConfig, SelfMetricsConfig
from cadtwist.config.relaychecks import host_and_port
from cadtwist.config.relaymodel import (
    DestinationConfig,
    FloodConfig,
    GroupConfig,
    HealthMetricsConfig,
    LineConfig,
    ProcessesConfig,
    QueueConfig,
    ReconnectConfig,
    RelayConfig,
    SamplingConfig,
    SpoolConfig,
)
from cadtwist.config.tomllines import KeyPath
from cadtwist.config.tree import Source, Table

__all__ = ["DEFAULT_PATH", "NO_BACKENDS", "load_statsrelay"]

DEFAULT_PATH = "/etc/statsrelay.json"
NO_BACKENDS = "statsd has no backends"
_MAX_LINE_BYTES = 65536
_NEXT_GENERATION = "belongs to statsrelay 3, whose configuration is not read"
_FIELDS = {
    "members": "shard_map",
    "input_filter": "input_filter",
    "input_blacklist": "input_blacklist",
    "sampling.counters": "sampling_threshold",
    "sampling.timers": "timer_sampling_threshold",
    "sampling.gauges": "gauge_sampling_threshold",
}


def load_statsrelay(
    text: str, path: str, problems: Problems, instance: str = "a", pid_file: str = "", checking: bool = False
) -> Config:
    """Read `text`; every fault is noted, and the Config only counts if there is none.

    `pid_file` is that of the command line.  `checking`: a configuration without backends is no fault.
    """
    tree, lines = read_json(text, path, problems)
    if tree is None:
        return Config()
    source = Source(path, lines, problems)
    if not isinstance(tree, dict):
        source.error((), "an object is expected: {...}")
        return Config()
    top = Table(source, tree, ())
    statsd = top.table("statsd")
    for key in ("processors", "discovery", "admin"):
        top.has_no_effect(key, _NEXT_GENERATION)
    top.has_no_effect("carbon", "statsrelay relays statsd lines only, since 2016")
    top.note_unknown()
    if statsd is None:
        if not checking:
            source.error((), NO_BACKENDS)
        return Config()
    return _Reader(source, statsd, instance, pid_file, checking).config()


class _Reader:
    """Reads the object `statsd`."""

    def __init__(self, source: Source, statsd: Table, instance: str, pid_file: str, checking: bool) -> None:
        self._source = source
        self._statsd = statsd
        self._instance = instance
        self._pid_file = pid_file
        self._checking = checking
        self._destinations: dict[str, DestinationConfig] = {}
        self._groups: list[GroupConfig] = []
        self._places: list[KeyPath] = []
        self._health_place: KeyPath = ()

    def config(self) -> Config:
        """Return everything as a Config; its contradictions are noted where they were written."""
        statsd = self._statsd
        queue = self._queue()
        lines = self._lines()
        self._read_groups(lines.validate, queue)
        health = self._health(queue)
        for key in ("servers", "backends"):
            statsd.has_no_effect(key, _NEXT_GENERATION)
        if not self._destinations and not self._checking:
            self._source.error(statsd.path, NO_BACKENDS)
        config = Config(
            program="statsrelay",
            instance=self._instance,
            listeners=self._listeners(),
            limits=LimitsConfig(
                max_line_bytes=_MAX_LINE_BYTES,
                udp_receive_bytes=statsd.whole("udp_receive_buffer_size", 2 << 20, "limits.udp_receive_bytes"),
            ),
            relays=(RelayConfig(name="statsd", lines=lines, groups=tuple(self._groups)),),
            destinations=tuple(self._destinations.values()),
            spool=SpoolConfig(
                directory=statsd.text("spool_dir") or SpoolConfig().directory,
                max_bytes=statsd.whole("spool_max_bytes", SpoolConfig().max_bytes, "spool.max_bytes"),
            ),
            health_metrics=health,
            processes=ProcessesConfig(pid_file=self._pid_file, handover="statsrelay"),
            self_metrics=SelfMetricsConfig(interval_s=0.0),
            local_stats=LocalStatsConfig(interval_s=0.0),
        )
        statsd.note_unknown()
        for place, fault in faults(config):
            self._source.error(self._written(place), fault)
        return config

    def _lines(self) -> LineConfig:
        statsd = self._statsd
        pattern = statsd.regex("point_tag_regex", LineConfig().point_tag_regex)
        return LineConfig(
            format="statsd",
            validate=statsd.flag("validate", True),
            validate_tags=statsd.flag("validate_tags", True),
            point_tag_regex=pattern,
            strict=statsd.flag("strict"),
            status_commands=True,
        )

    def _listeners(self) -> tuple[Listener, ...]:
        bind = self._address("bind", self._statsd.text("bind", "127.0.0.1:8125"))
        http = self._address("http", self._statsd.text("http"))
        found: list[Listener] = []
        if bind is not None:
            found.append(Listener(protocol="line", interface=bind[0], port=bind[1]))
            found.append(Listener(protocol="line", transport="udp", interface=bind[0], port=bind[1]))
        if http is not None:
            found.append(Listener(protocol="ops", interface=http[0], port=http[1]))
        return tuple(found)

    def _address(self, key: str, text: str) -> tuple[str, int] | None:
        if not text:
            return None
        host, _, port = text.rpartition(":")
        bracketed = ":" in host and not host.startswith("[")
        found = host_and_port(f"[{host}]:{port}" if bracketed else text if host else f"everywhere{text}")
        if found is not None and not host:
            return "", found[1]
        if found is None:
            self._statsd.error(key, f"{text!r} is not host:port")
        return found

    def _queue(self) -> QueueConfig:
        statsd = self._statsd
        spelling = "max-send-queue" if "max-send-queue" in statsd else "max_send_queue"
        size = statsd.whole(spelling, 128 << 20, "destinations.queue.max_bytes")
        if spelling == "max-send-queue" and "max_send_queue" in statsd:
            self._source.warning(statsd.here("max_send_queue"), "not used: max-send-queue is there as well")
        statsd.ask("max_send_queue")
        share = statsd.number("reconnect_threshold", 1.0, "destinations.queue.reconnect_share")
        spool = statsd.whole("spool_bytes", 1 << 30, "destinations.queue.spool_bytes")
        return QueueConfig(
            max_bytes=size,
            reconnect_share=share if statsd.flag("auto_reconnect") else inf,
            spool_bytes=spool if statsd.text("spool_dir") else 0,
            resend_window_s=0.0,
            resend_window_bytes=0,
        )

    def _read_groups(self, validate: bool, queue: QueueConfig) -> None:
        statsd = self._statsd
        if "shard_map" in statsd:
            members, written = self._members(statsd, queue, "")
            group = GroupConfig(name="0", method="shards", members=members, hash_keys=written)
            self._add(group, statsd.path)
        statsd.ask("shard_map")
        alone = isinstance(statsd.ask("duplicate_to"), dict)
        for table in statsd.tables("duplicate_to"):
            sampling = self._sampling(table)
            group = self._group(table, str(len(self._groups)), queue, "", sampling)
            table.note_unknown()
            if validate or (sampling.counters.threshold < 0 and sampling.timers.threshold < 0):
                self._add(group, table.path)
            elif alone:
                self._source.error(table.path, "sampling needs `validate`")
            else:
                self._source.warning(table.path, "sampling needs `validate`: nothing is sent there")

    def _add(self, group: GroupConfig, place: KeyPath) -> None:
        self._groups.append(group)
        self._places.append(place)

    def _health(self, queue: QueueConfig) -> HealthMetricsConfig | None:
        statsd = self._statsd
        key = "self_stats" if "self_stats" in statsd and "health_metrics_to" not in statsd else "health_metrics_to"
        for name in ("self_stats", "health_metrics_to"):
            if isinstance(statsd.ask(name), list):
                statsd.error(name, "a list is not possible here: one group alone")
                return None
        table = statsd.table(key)
        if table is None:
            return None
        self._health_place = table.path
        group = self._group(table, "health", queue, "health/", SamplingConfig())
        table.note_unknown()
        return HealthMetricsConfig(group=group)

    def _group(
        self, table: Table, name: str, queue: QueueConfig, namespace: str, sampling: SamplingConfig
    ) -> GroupConfig:
        members, written = self._members(table, queue, namespace)
        return GroupConfig(
            name=name,
            method="shards",
            members=members,
            hash_keys=written,
            prefix=table.text("prefix"),
            suffix=table.text("suffix"),
            input_filter=table.regex("input_filter"),
            input_blacklist=table.regex("input_blacklist"),
            sampling=sampling,
        )

    def _sampling(self, table: Table) -> SamplingConfig:
        prefix = "relays.groups.sampling."
        timers = self._flood(table, "timer_sampling", "timer_cardinality", "timers")
        reservoir = table.whole("reservoir_size", max(100, timers.threshold), f"{prefix}reservoir_size")
        if reservoir < timers.threshold:
            table.source.warning(table.here("reservoir_size"), "is less than timer_sampling_threshold, which counts")
            reservoir = timers.threshold
        return SamplingConfig(
            counters=self._flood(table, "sampling", "counter_cardinality", "counters"),
            timers=timers,
            gauges=self._flood(table, "gauge_sampling", "gauge_cardinality", "gauges"),
            timer_flush_min_max=table.flag("timer_flush_min_max"),
            reservoir_size=reservoir,
            purge_interval_s=table.whole("hm_key_expiration_frequency", 3600, f"{prefix}purge_interval_s"),
            key_ttl_s=table.whole("hm_key_ttl", 21600, f"{prefix}key_ttl_s"),
            old_rate_form=table.flag("old_rate_form"),
        )

    @staticmethod
    def _flood(table: Table, prefix: str, cardinality: str, name: str) -> FloodConfig:
        option = f"relays.groups.sampling.{name}."
        return FloodConfig(
            threshold=table.whole(f"{prefix}_threshold", -1, f"{option}threshold"),
            window_s=table.whole(f"{prefix}_window", -1, f"{option}window_s"),
            cardinality=table.whole(cardinality, 10_000, f"{option}cardinality"),
        )

    def _members(self, table: Table, queue: QueueConfig, namespace: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the destinations of a map of shards, and how each was written; one is made when it is first met."""
        found: list[str] = []
        written: list[str] = []
        for number, text in enumerate(table.texts("shard_map")):
            backend = _backend(text)
            if backend is None:
                self._source.error(
                    (*table.here("shard_map"), number), f"{text!r} is not host:port or host:port:protocol"
                )
                continue
            key, host, port, protocol = backend
            name = f"{namespace}{key}"
            found.append(name)
            written.append(text)
            self._destinations.setdefault(
                name,
                DestinationConfig(
                    name=name,
                    transport="udp" if protocol.startswith("udp") else "tcp",
                    host=host,
                    port=port,
                    cork=self._statsd.flag("tcp_cork", True) and not protocol.startswith("udp"),
                    queue=queue,
                    reconnect=ReconnectConfig(timeout_s=2.0),
                ),
            )
        return tuple(found), tuple(written)

    def _written(self, place: tuple[str | int, ...]) -> KeyPath:
        """Return where the value at `place` in the Config was written."""
        statsd = self._statsd.path
        names: Any = ".".join(part for part in place[2:] if isinstance(part, str))
        if place[:1] == ("health_metrics",):
            return (*self._health_place, *(_FIELDS.get(part, part) for part in place[2:3] if isinstance(part, str)))
        if place[:1] == ("listeners",):
            return (*statsd, "bind")
        if place[:1] == ("relays",) and len(place) > 3 and place[2] == "groups" and isinstance(place[3], int):
            names = ".".join(str(part) for part in place[4:])
            return (*self._places[place[3]], _FIELDS.get(names, names))
        if place[:1] == ("relays",) and place[2:3] == ("lines",):
            return (*statsd, str(place[-1]))
        return (*statsd, names.replace("queue.", "")) if names else statsd


def _backend(text: str) -> tuple[str, str, int, str] | None:
    """Return (key, host, port, protocol) of a backend; None if it is none."""
    host, _, rest = text.partition(":")
    port, colon, protocol = rest.partition(":")
    found = host_and_port(f"{host}:{port}")
    if found is None:
        return None
    return (text if colon else f"{text}:tcp"), host, found[1], protocol or "tcp"
