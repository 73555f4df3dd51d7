"""Hypothesis strategies of whole configurations, built from the model's types and the table's ranges."""

from __future__ import annotations

import re
from math import inf
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields, replace

from cadtwist.config.accumulatormodel import AccumulatorConfig, BinConfig, Pairs
from cadtwist.config.dattssmodel import DattssNode
from cadtwist.config.istatmodel import DEBUG_OPTIONS
from cadtwist.config.model import (
    AggregateRule,
    AggregationRule,
    Config,
    IstatConfig,
    Listener,
    RewriteRule,
    SchemaRule,
    TlsConfig,
    WalConfig,
)
from cadtwist.config.options import option, struct_of
from cadtwist.config.relaymodel import (
    ELTERS,
    HASHES,
    DestinationConfig,
    FilterRule,
    FloodConfig,
    GroupConfig,
    HealthConfig,
    HealthMetricsConfig,
    LineConfig,
    Method,
    RelayConfig,
    RouteRule,
    SamplingConfig,
    SpoolConfig,
)
from cadtwist.config.statsdsection import HistogramConfig
from cadtwist.model.aggregationrules import AGGREGATE_METHODS
from cadtwist.model.consolidation import CERES_METHODS, METHODS
from cadtwist.model.retention import checked_archives
from cadtwist.model.statretention import DEFAULT_RETENTION

__all__ = ["configs"]

_LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_WORDS = st.text(_LETTERS, max_size=8)
_SHORT = st.text(_LETTERS, min_size=1, max_size=9)
_AFFIXES = st.sampled_from(["", "stats.", "é ", "\t"])
_PATTERNS = st.one_of(
    st.sampled_from(["", r"^carbon\.", r"\.(a|b)$", "it's \\d\"+"]), st.text(_LETTERS, max_size=6).map(re.escape)
)
_ARCHIVES = st.sampled_from([[(60, 1440)], [(10, 360), (60, 10080)], [(1, 21600), (60, 43200), (3600, 43800)]])
_SCHEMAS = st.builds(
    SchemaRule,
    name=_WORDS,
    pattern=_PATTERNS.map(re.compile),
    archives=_ARCHIVES.map(checked_archives),
    priority=st.integers(-5, 5),
)
_AGGREGATIONS = st.builds(
    AggregationRule,
    name=_WORDS,
    pattern=_PATTERNS.map(re.compile),
    xff=st.one_of(st.none(), st.floats(0, 1)),
    method=st.one_of(st.none(), st.sampled_from(METHODS)),
)
_ADDRESSES = st.one_of(st.sampled_from(["", "localhost", "fe80::1%eth0"]), st.ip_addresses().map(str))
_TLS = st.builds(TlsConfig, certificate=_WORDS, key=_WORDS, client_authority=_WORDS)
_PROTOCOLS = st.sampled_from(["line", "pickle", "protobuf", "cachequery", "http", "ops", "proxyadmin"])
_REWRITES = st.builds(RewriteRule, pattern=_PATTERNS, replacement=st.sampled_from(["", "a.b", r"\g<0>x", "é\n"]))
_LISTENERS = st.one_of(
    st.builds(
        Listener,
        protocol=_PROTOCOLS,
        interface=_ADDRESSES,
        port=st.integers(1, 65535),
        tls=st.one_of(st.none(), _TLS),
        proxy_protocol=st.booleans(),
    ),
    st.builds(
        Listener, protocol=st.just("line"), transport=st.just("udp"), interface=_ADDRESSES, port=st.integers(1, 65535)
    ),
    st.builds(
        Listener,
        protocol=st.just("line"),
        transport=st.just("http"),
        interface=_ADDRESSES,
        port=st.integers(1, 65535),
        path=_WORDS,
    ),
    st.builds(Listener, protocol=_PROTOCOLS, transport=st.just("unix"), path=_SHORT),
    st.builds(Listener, protocol=_PROTOCOLS, transport=st.just("endpoint"), endpoint=_SHORT.map("tcp:{}".format)),
)
_WAL = st.builds(
    WalConfig,
    enabled=st.booleans(),
    directory=_WORDS,
    sync_s=st.floats(0, 3600),
    segment_bytes=st.integers(1 << 16, 1 << 31),
    max_bytes=st.integers(1 << 32, 1 << 50),
)
_AGGREGATES = st.builds(
    AggregateRule,
    output=st.sampled_from(["sum.<a>", "é", "<a>"]),
    frequency=st.integers(1, 99),
    method=st.sampled_from(AGGREGATE_METHODS),
    pattern=st.sampled_from(["<a>.*", r"x'\d.<<a>>", "<a>"]),
)
_SPOOL = st.builds(
    SpoolConfig,
    directory=st.just("spool é"),
    max_bytes=st.integers(1 << 32, 1 << 50),
    segment_bytes=st.integers(1 << 16, 1 << 31),
    sync_s=st.floats(0, 3600),
)
_HEALTH = st.builds(
    HealthConfig,
    interval_s=st.one_of(st.just(0.0), st.floats(60, 86400)),
    timeout_s=st.floats(0.01, 60),
    failures=st.integers(0, 9),
    retry_checks=st.integers(1, 99),
)
_REGEX = st.sampled_from(["", r"^a\.(b)", "é'\""])
_FLOOD = st.builds(FloodConfig, threshold=st.integers(-1, 9), window_s=st.integers(1, 9), cardinality=st.integers(0, 9))
_SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "web.users": st.lists(st.sampled_from(["a:b", f"é:sha256:{'0a' * 32}"]), max_size=2).map(tuple),
    "web.tokens": st.lists(st.sampled_from(["secret", f"sha256:{'0a' * 32}"]), max_size=2).map(tuple),
    "tags.url": _WORDS.map("http://{}".format),
    "tags.database": st.sampled_from(["", "redis://localhost", "redis://:secret@[::1]:1/7"]),
    "statsd_emission.prefix": _AFFIXES,
    "statsd_emission.server": st.sampled_from(["", "localhost:8125", "[::1]:9"]),
    "relays.lines": st.builds(
        LineConfig,
        format=st.just("regex"),
        regex=st.just(r"(?P<Key>\S+) (?P<Timestamp>\d+)"),
        time_layout=_WORDS,
        cleaning=st.sampled_from(["none", "cadent", "c_relay"]),
        point_tag_regex=st.sampled_from(["", "(x)"]),
        validate_tags=st.booleans(),
        strict=st.booleans(),
        status_commands=st.booleans(),
    ),
    "relays.groups.sampling": st.builds(
        SamplingConfig,
        counters=_FLOOD,
        timers=_FLOOD,
        gauges=_FLOOD,
        timer_flush_min_max=st.booleans(),
        reservoir_size=st.integers(9, 99),
        old_rate_form=st.booleans(),
    ),
    "relays.groups.input_filter": _REGEX,
    "relays.groups.input_blacklist": _REGEX,
    "destinations.check": st.sampled_from(["", "http://h/x", "statsd://h:8126", "unix:///run/x", "tcp://[::1]:1"]),
}


def _socket(listener: Listener) -> str:
    family = "udp" if listener.transport == "udp" else "tcp"
    path = listener.path if listener.transport == "unix" else ""
    return f"{family}:{listener.interface}:{listener.port}{listener.endpoint}{path}"


_TYPES: dict[Any, st.SearchStrategy[Any]] = {
    tuple[SchemaRule, ...]: st.lists(_SCHEMAS, max_size=2).map(tuple),
    tuple[AggregationRule, ...]: st.lists(_AGGREGATIONS, max_size=2).map(tuple),
    tuple[Listener, ...]: st.lists(_LISTENERS, max_size=3, unique_by=_socket).map(tuple),
    tuple[AggregateRule, ...]: st.lists(_AGGREGATES, max_size=2).map(tuple),
    tuple[RewriteRule, ...]: st.lists(_REWRITES, max_size=2).map(tuple),
    WalConfig: _WAL,
    SpoolConfig: _SPOOL,
    HealthConfig: _HEALTH,
    HealthConfig | None: st.one_of(st.none(), _HEALTH),
    HealthMetricsConfig | None: st.none(),
}


def _of(hint: Any, path: str) -> st.SearchStrategy[Any]:
    if hint in _TYPES:
        return _TYPES[hint]
    if path in _SPECIAL:
        return _SPECIAL[path]
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return st.one_of(*(st.none() if part is type(None) else _of(part, path) for part in get_args(hint)))
    if hint == Pairs:
        return st.lists(st.tuples(_WORDS, _WORDS), max_size=2).map(tuple)
    if get_origin(hint) is tuple and struct_of(hint) is not None:
        return st.just(())
    if path.startswith("stages.") and get_origin(hint) is tuple:
        return st.lists(_PATTERNS, max_size=3).map(tuple)
    if get_origin(hint) is tuple:
        return st.lists(_WORDS, max_size=3).map(tuple)
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _struct(hint, f"{path}.")
    return _plain(hint, path)


def _plain(hint: Any, path: str) -> st.SearchStrategy[Any]:
    if hint is bool:
        return st.booleans()
    if hint is str:
        return _WORDS
    row = option(path)
    if hint is int:
        return st.integers(int(row.low), int(row.high) if row.high != inf else 1 << 60)
    return st.floats(row.low, row.high)


def _struct(kind: type[Struct], prefix: str) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: _of(hints[field.name], f"{prefix}{field.name}") for field in fields(kind)})


@st.composite
def _destinations(draw: st.DrawFn) -> tuple[DestinationConfig, ...]:
    found = list[DestinationConfig]()
    for number in range(draw(st.integers(0, 3))):
        drawn: DestinationConfig = draw(_struct(DestinationConfig, "destinations."))
        host = drawn.host if drawn.host not in {"", *(other.host for other in found)} else f"h{number}"
        drawn = replace(
            drawn,
            name=f"{number}{drawn.name}",
            host=host,  # no ring could tell twins apart
            port=drawn.port or 1,
            path=f"https://h{number}/x" if drawn.transport == "http" else f"{drawn.path or '/run/x'}{number}",
            protocol=drawn.protocol if drawn.transport in ("tcp", "unix") else "line",
            tls=drawn.tls if drawn.transport in ("tcp", "http") else None,
            queue=replace(drawn.queue, spool_bytes=drawn.queue.spool_bytes << 16 & (1 << 50) - 1),
            reconnect=replace(drawn.reconnect, max_s=max(drawn.reconnect.initial_s, drawn.reconnect.max_s)),
        )
        found.append(drawn)
    return tuple(found)


@st.composite
def _group(draw: st.DrawFn, names: list[str]) -> GroupConfig:
    method = draw(st.sampled_from(get_args(Method)))
    members = tuple(draw(st.lists(st.sampled_from(names), min_size=1, unique=method != "shards", max_size=4)))
    keys = tuple(f"{number}" for number, _ in enumerate(members))
    group: GroupConfig = draw(_struct(GroupConfig, "relays.groups."))
    rules = tuple(
        RouteRule(name=draw(_WORDS), pattern=draw(_PATTERNS), destinations=members, continues=draw(st.booleans()))
        for _ in range(draw(st.integers(0, 2)))
    )
    return replace(
        group,
        method=method,
        members=members,
        hash=draw(st.sampled_from(("", *HASHES.get(method, ())))),
        elter=draw(st.sampled_from(ELTERS)),
        prefix=draw(_AFFIXES),
        suffix=draw(_AFFIXES),
        hash_keys=keys if draw(st.booleans()) else (),
        rules=(*rules, RouteRule(name="default", destinations=members)) if method == "rules" else (),
    )


@st.composite
def _relays(draw: st.DrawFn, names: list[str]) -> tuple[RelayConfig, ...]:
    found: list[RelayConfig] = []
    for number in range(draw(st.integers(0, 2))):
        relay: RelayConfig = draw(_struct(RelayConfig, "relays."))
        onward = [earlier.name for earlier in found]
        filters = [FilterRule(kind="noop"), FilterRule(kind="regex", pattern="(é|a)", action="reject")]
        filters += [FilterRule(kind="prefix", pattern="a'\\b", action="redirect", relay=name) for name in onward]
        relay = replace(
            relay,
            name=f"{number}{relay.name}",
            filters=tuple(draw(st.lists(st.sampled_from(filters), max_size=3))),
            default_relay=draw(st.sampled_from(["", *onward])),
            groups=tuple(draw(st.lists(_group(names), max_size=2))) if names else (),
        )
        found.append(relay)
    return tuple(found)


@st.composite
def _accumulators(draw: st.DrawFn, relay: RelayConfig, port: int) -> AccumulatorConfig:
    found: AccumulatorConfig = draw(_struct(AccumulatorConfig, "accumulators."))
    if relay.lines.format != "regex":
        found = replace(found, input_format=relay.lines.format, output_format=relay.lines.format)
    writer, api = found.writer, found.api
    if writer is not None:
        options = (("max_file_size", "1e3"), ("rotate_every", "1m"))
        metrics = replace(writer.metrics, driver="file", dsn=f"é{relay.name}", options=options)
        writer = replace(writer, metrics=metrics, indexer=replace(writer.indexer, driver="noop"))
    if api is not None:
        api = replace(api, listen=f"[::1]:{port}")
    bins = (BinConfig(resolution_s=0.5), BinConfig(resolution_s=10.0, ttl_s=60.0))[: draw(st.integers(1, 2))]
    backend = draw(st.sampled_from(["", relay.name]))
    return replace(
        found, name=f"x{relay.name}", relay=relay.name, backend=backend, bins=bins, writer=writer, api=api,
        options=(("globalPrefix", "é"),),
    )  # fmt: skip


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any usable Config."""
    config: Config = draw(_struct(Config, ""))
    if config.istat is not None:
        config = replace(config, istat=_usable_counters(config.istat))
    if config.storage.kind == "ceres":
        kept = tuple(rule for rule in config.aggregation if rule.method is None or rule.method in CERES_METHODS)
        config = replace(config, aggregation=kept)
    servers = draw(st.lists(st.sampled_from(["h:1", "http://[::1]/x?format=pickle&noTags=1", "h?local=0"]), max_size=3))
    config = replace(config, cluster=replace(config.cluster, servers=tuple(servers), forward_headers=("X-A",)))
    if config.cache is not None:
        config = replace(config, storage=replace(config.storage, read_only=False))
    if config.storage.kind == "ceres":
        usable = tuple(rule for rule in config.aggregation if rule.method in (None, *CERES_METHODS))
        config = replace(config, aggregation=usable)
    if config.cache is not None or config.istat is not None or config.aggregator is not None:
        config = replace(config, processes=replace(config.processes, workers=1))
    destinations = draw(_destinations())
    names = [destination.name for destination in destinations]
    relays = draw(_relays(names))
    metrics = draw(st.one_of(st.none(), st.builds(HealthMetricsConfig, group=_group(names)))) if names else None
    if relays:
        destinations = tuple(replace(destination, protocol="line") for destination in destinations)
    to = tuple(relay.name for relay in relays) or (("cache",) if config.cache is not None else ())
    listeners = tuple(
        replace(listener, to=to, protocol="line")
        if listener.protocol in ("line", "pickle", "protobuf")
        else replace(listener, to=())
        for listener in config.listeners
        if listener.protocol in _answered(config, bool(relays))
    )
    summing = (pair for pair in enumerate(relays, 80) if draw(st.booleans()))
    accumulators = [draw(_accumulators(relay, port)) for port, relay in summing]
    if accumulators:
        config = replace(config, processes=replace(config.processes, workers=1))
    config = replace(config, accumulators=tuple(accumulators))
    config = replace(config, destinations=destinations, relays=relays, health_metrics=metrics, listeners=listeners)
    return _with_statsd(_with_dattss(draw, config))


def _answered(config: Config, relayed: bool) -> set[str]:
    """Return the protocols of doors at which somebody answers; those of statsd and DaTtSs are not among them."""
    known = {"http"} | ({"cachequery"} if config.cache is not None else set())
    known |= {"ops", "proxyadmin"} if relayed else set()
    return known | ({"line", "pickle", "protobuf"} if relayed or config.cache is not None else set())


def _usable_counters(istat: IstatConfig) -> IstatConfig:
    """Return a counter daemon whose texts have the form that they must have; its doors are at ports of their own."""
    return replace(
        istat,
        listen_address="::1" if istat.listen_address else "",
        retention=DEFAULT_RETENTION,
        store=istat.store or "var/store",
        agent="localhost:1" if istat.agent else "",
        replica_of="[::1]:2" if istat.replica_of else "",
        stat_port=0,
        http_port=0,
        admin_port=0,
        replica_port=0,
        prometheus_port=0,
        shards=tuple(f"s{number}=localhost:1,{number + 2}" for number in range(len(istat.shards))),
        shard_name="s0" if istat.shards else "",
        shard_port=64999 if istat.shards else 0,
        debug=DEBUG_OPTIONS[: len(istat.debug)],
    )


def _with_statsd(config: Config) -> Config:
    """Return a Config whose statsd, if it has one, is usable."""
    known = [relay.name for relay in config.relays] + (["cache"] if config.cache is not None else [])
    if config.statsd is None or not known:
        return replace(config, statsd=None)
    histograms = (HistogramConfig(metric="a", bins=(0.5, 10.0, float("inf"))),)
    section = replace(
        config.statsd, to=tuple(known[:1]), histograms=histograms[: len(config.statsd.histograms)],
        percent_thresholds=(90.0, -10.0), quantiles=(0.5,), timers_include=("sum", "count"),
    )  # fmt: skip
    door = Listener(protocol="statsd", transport="udp", interface="127.0.0.2", port=1)
    processes = replace(config.processes, workers=1)
    return replace(config, statsd=section, processes=processes, listeners=(*config.listeners, door))


def _with_dattss(draw: st.DrawFn, config: Config) -> Config:
    """Return a Config whose DaTtSs, if it has one, is usable."""
    if config.dattss is None:
        return config
    nodes = tuple(DattssNode(host=f"h{number}", port=number + 1) for number in range(draw(st.integers(0, 3))))
    node = draw(st.sampled_from([each.name for each in nodes])) if nodes else ""
    door = Listener(protocol="dattss", transport=draw(st.sampled_from(["tcp", "udp"])), interface="127.0.0.3", port=1)
    dattss = replace(config.dattss, secret=config.dattss.secret or "secret", nodes=nodes, node=node)
    processes = replace(config.processes, workers=1)
    return replace(config, dattss=dattss, processes=processes, listeners=(*config.listeners, door))
