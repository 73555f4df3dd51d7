"""`[NAME.accumulator]` of Cadent's PreReg file: what is added up, and the writers and the API behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cadtwist.config.accumulatormodel import (
    INDEX_DRIVERS,
    METRIC_DRIVERS,
    STATSD_OPTIONS,
    AccumulatorApiConfig,
    AccumulatorConfig,
    AccumulatorFormat,
    AccumulatorWriterConfig,
    BinConfig,
    DriverConfig,
    Pairs,
    option_fault,
)
from cadtwist.config.accumulatorwriting import (
    INDEXED_DRIVERS,
    WRITTEN_DRIVERS,
    kept_archives,
    whisper_bytes,
    writing_faults,
)
from cadtwist.config.durations import seconds
from cadtwist.config.relaychecks import host_and_port
from cadtwist.config.tree import Table

__all__ = ["BLACKHOLE", "read_accumulator"]

BLACKHOLE = "BLACKHOLE"
_LATER = "belongs to Cadent 0.4"
_WHISPER = ("carbon", "graphite")
_SPELLINGS = {"metric_table": "metrics_table", "compress": "compression"}
"""Of the README and of the code; `compress` is cassandra's own option as well."""

_WRITING = ("write_workers", "write_queue_length", "writes_per_second", "cache_metric_size", "cache_points_size")
_CASSANDRA = (
    *("keyspace", "metrics_table", "path_table", "segment_table", "write_consistency", "read_consistency", "port"),
    *("numcons", "timeout", "user", "pass", "compress", "cache_low_fruit_rate", "cache_index_size"),
)
_OPTIONS: dict[str, tuple[str, ...]] = {
    "file": ("max_file_size", "rotate_every"),
    "mysql": ("table", "path_table", "batch_count", "periodic_flush"),
    "cassandra": (*_CASSANDRA, *_WRITING),
    "whisper": ("xFilesFactor", "cache_low_fruit_rate", *_WRITING),
    "kafka": (
        *("index_topic", "metric_topic", "compression", "max_retry", "ack_type", "flush_time", "batch_count"),
        "write_index",
    ),
    "noop": (),
}
_LARGE_BYTES = 64 << 20
_OWN_KEYS = ("driver", "dsn", "options", "input_queue_length", "metrics", "indexer")


def read_accumulator(table: Table, name: str, relay: str, formats: Mapping[str, str]) -> AccumulatorConfig:
    """Read the table of the PreReg `name`, which sits before the section `relay`; faults are noted.

    `formats` tells what the lines of each section are.
    """
    bins = _bins(table)
    config = AccumulatorConfig(
        name=name,
        relay=relay,
        backend=_backend(table, formats),
        input_format=_format(table, "input_format"),
        output_format=_format(table, "output_format"),
        flush_s=_span(table, "accumulate_flush", bins[0].resolution_s),
        aligned=not table.flag("random_ticker_start"),
        keep_keys=table.flag("keep_keys"),
        bins=bins,
        options=_options(table),
        tags=_tags(table),
        writer=_writer(table, bins),
        api=_api(table),
    )
    for key in ("tag_mode", "hash_mode", "bypass", "show_line_errors", "tcpapi"):
        table.has_no_effect(key, _LATER, False)
    if config.tags:
        table.source.notice(table.here("tags"), "has no effect: neither lines nor files have room for them")
    table.note_unknown()
    for section, key, wanted in (
        (config.relay, "input_format", config.input_format),
        (config.backend, "output_format", config.output_format),
    ):
        if formats.get(section, wanted) not in (wanted, "regex"):
            text = f"lines of {section!r} are {formats[section]}: they will be refused"
            table.source.warning(table.here(key), text)
    if config.api is not None and (config.writer is None or config.writer.metrics.driver != "whisper"):
        reason = "there is no writer" if config.writer is None else "only whisper files are read"
        table.source.warning(table.here("api"), f"not opened: {reason}")
    elif config.api is not None and (config.api.metrics or config.api.indexer):
        table.source.notice(table.here("api"), "metrics and indexer have no effect: what the writer keeps is read")
    return config


def _backend(table: Table, sections: Mapping[str, str]) -> str:
    name = table.text("backend")
    if not name:
        table.source.error(table.path, f"backend is missing: a section, or {BLACKHOLE}")
    elif name not in (*sections, BLACKHOLE):
        table.error("backend", f"there is no section {name!r}")
    return "" if name == BLACKHOLE else name


def _format(table: Table, key: str) -> AccumulatorFormat:
    if key not in table:
        table.source.error(table.path, f"{key} is missing: statsd or graphite")
    return "graphite" if table.choice(key, ("statsd", "graphite")) == "graphite" else "statsd"


def _span(table: Table, key: str, default: float) -> float:
    text = table.text(key)
    try:
        found = seconds(text) if text else default
    except ValueError as error:
        table.error(key, str(error))
        return default
    if found <= 0:
        table.error(key, f"{text!r} is no time at all")
        return default
    return found


def _bins(table: Table) -> tuple[BinConfig, ...]:
    found: list[BinConfig] = []
    place = table.here("times")
    for text in table.texts("times", ("5s",)):
        resolution, colon, ttl = text.partition(":")
        try:
            made = BinConfig(resolution_s=seconds(resolution))
            made = BinConfig(resolution_s=made.resolution_s, ttl_s=seconds(ttl)) if colon else made
        except ValueError as error:
            table.source.error(place, str(error))
            continue
        if made.resolution_s <= 0 or made.ttl_s <= 0:
            table.source.error(place, f"{text!r} is no time at all")
        elif found and made.resolution_s <= found[-1].resolution_s:
            table.source.error(place, f"{text!r} is not longer than the one before it")
        else:
            if found and made.resolution_s % found[-1].resolution_s:
                table.source.warning(place, f"{text!r} is not a multiple of the one before it")
            found.append(made)
    return tuple(found) or (BinConfig(resolution_s=5.0),)


def _options(table: Table) -> Pairs:
    found = []
    given = table.ask("options")
    if given is not None and not isinstance(given, list):
        table.error("options", "a list of pairs is expected: [[name, value], ...]")
        given = None
    for number, pair in enumerate(given or ()):
        place = (*table.here("options"), number)
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str) or isinstance(pair[1], list):
            table.source.error(place, f"{pair!r} is not a pair of name and value")
            continue
        name, value = pair[0], _text(pair[1])
        fault = option_fault(name, value)
        if fault is not None:
            (table.source.error if name in STATSD_OPTIONS else table.source.warning)(place, fault)
            continue
        found.append((name, value))
    return tuple(found)


def _tags(table: Table) -> Pairs:
    given = table.ask("tags")
    if isinstance(given, str):
        pairs = [part.partition("=") for part in given.split(",") if part.strip()]
        for name, equals, _ in pairs:
            if not equals or not name.strip():
                table.error("tags", f"{given!r} is not a=b,c=d")
                return ()
        return tuple((name.strip(), value.strip()) for name, _, value in pairs)
    found = []
    for entry in table.tables("tags"):
        name, value = entry.text("key"), _text(entry.ask("value"))
        entry.note_unknown()
        if not name:
            table.source.error(entry.path, "key is missing")
            continue
        found.append((name, value))
    return tuple(found)


def _writer(table: Table, bins: tuple[BinConfig, ...]) -> AccumulatorWriterConfig | None:
    writer = table.table("writer")
    if writer is None:
        return None
    metrics, indexer = writer.table("metrics"), writer.table("indexer")
    if metrics is None and "driver" not in writer:
        table.source.error(writer.path, "[metrics] with a driver is missing")
        return None
    at = metrics if metrics is not None else writer
    found = _driver(at, METRIC_DRIVERS)
    if found.driver in METRIC_DRIVERS and found.dsn:
        faults = list(writing_faults(found, bins))
        for text in faults:
            table.source.error(at.path, text)
        if found.driver == "whisper" and not faults:
            size = whisper_bytes(kept_archives(bins))
            if size > _LARGE_BYTES:
                text = f"each file takes {size >> 20} MiB: give each of `times` how long it is kept"
                table.source.warning(at.path, text)
    if indexer is not None:
        index = _driver(indexer, INDEX_DRIVERS)
    elif metrics is None:  # the one-table form: what has an index of its own keeps it
        index = DriverConfig(driver=found.driver if found.driver in INDEX_DRIVERS else "noop", dsn=found.dsn)
    else:
        table.source.error(writer.path, "[metrics] needs an [indexer] beside it")
        return None
    if index.driver not in INDEXED_DRIVERS and found.driver in WRITTEN_DRIVERS and indexer is not None:
        text = f"has no effect: no index is written; {', '.join(INDEXED_DRIVERS)} need none"
        table.source.notice(indexer.path, text)
        index = DriverConfig(driver="noop")
    queue = at.whole("input_queue_length", 1_048_576, "accumulators.writer.input_queue_length")
    for key in ("metric_queue_length", "indexer_queue_length"):
        writer.has_no_effect(key, "bins wait in the queue of input_queue_length, or in the cache")
    for part in (metrics, indexer, writer):
        if part is not None:
            part.note_unknown(*_OWN_KEYS)
    return AccumulatorWriterConfig(metrics=found, indexer=index, input_queue_length=queue)


def _driver(table: Table, known: tuple[str, ...]) -> DriverConfig:
    """Read driver, dsn and options; options stand in a table of their own or beside the driver."""
    name = table.text("driver")
    driver = "whisper" if name in _WHISPER else name
    dsn = table.text("dsn")
    if driver not in known:
        text = f"{name!r} is unknown; known are {', '.join(known)}" if name else "driver is missing"
        table.source.error(table.here("driver") if name else table.path, text)
        return DriverConfig(driver="noop", dsn=dsn)
    if not dsn and driver != "noop":
        table.source.error(table.path, "dsn is missing")
    options: dict[str, str] = {}
    for part in (table, table.table("options")):
        if part is not None:
            options.update(_driver_options(part, driver))
    return DriverConfig(driver=driver, dsn=dsn, options=tuple(options.items()))


def _driver_options(table: Table, driver: str) -> dict[str, str]:
    found = {}
    known = _OPTIONS[driver]
    spellings = {other: name for other, name in _SPELLINGS.items() if name in known and other not in known}
    for key in (*known, *spellings):
        value: Any = table.ask(key)
        if value is None:
            continue
        if isinstance(value, (list, dict)):
            table.error(key, f"{value!r} does not fit, expected: a text or a number")
            continue
        if key == "write_queue_length" and driver == "whisper":
            table.has_no_effect(key, "metrics wait in the cache, nowhere else")
            continue
        found[spellings.get(key, key)] = _text(value)
    if table.path[-1:] == ("options",):
        table.note_unknown()
    return found


def _api(table: Table) -> AccumulatorApiConfig | None:
    api = table.table("api")
    if api is None:
        return None
    listen = api.text("listen")
    base = api.text("base_path", "/")
    if host_and_port(f"everywhere{listen}" if listen.startswith(":") else listen) is None:
        api.error("listen", f"{listen!r} is not host:port")
    metrics, indexer = api.table("metrics"), api.table("indexer")
    found = AccumulatorApiConfig(
        listen=listen,
        base_path=f"/{base.strip('/')}/" if base.strip("/") else "/",
        log_file=api.text("log_file", "stdout"),
        metrics=_driver(metrics, METRIC_DRIVERS) if metrics is not None else None,
        indexer=_driver(indexer, INDEX_DRIVERS) if indexer is not None else None,
    )
    for part in (metrics, indexer):
        if part is not None:
            part.note_unknown(*_OWN_KEYS)
    for key in ("use_metrics", "use_indexer", "enable_gzip", "gzip", "key", "cert"):
        api.has_no_effect(key, _LATER)
    api.note_unknown()
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
