"""Cadent's accumulators as a part of the Config: what is added up, how it leaves, and where it is written.

All spans are seconds.  Options that belong to a format or a driver are pairs of texts, under the names of the code.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

__all__ = [
    "INDEX_DRIVERS",
    "METRIC_DRIVERS",
    "STATSD_OPTIONS",
    "AccumulatorApiConfig",
    "AccumulatorConfig",
    "AccumulatorWriterConfig",
    "BinConfig",
    "DriverConfig",
    "Pairs",
    "option_fault",
]

Pairs = tuple[tuple[str, str], ...]
AccumulatorFormat = Literal["statsd", "graphite"]

METRIC_DRIVERS = ("file", "mysql", "cassandra", "whisper", "kafka")
INDEX_DRIVERS = ("noop", "mysql", "cassandra", "whisper", "kafka")


STATSD_OPTIONS = (
    *("legacyNamespace", "prefixGauge", "prefixTimer", "prefixCounter", "prefixSet", "globalPrefix", "globalSuffix"),
    "percentThreshold",
)
"""What `options` may name."""


def option_fault(name: str, value: str) -> str | None:
    """Return what is wrong with one of an accumulator's `options`, or None."""
    if name not in STATSD_OPTIONS:
        return f"{name!r} is unknown; known are {', '.join(STATSD_OPTIONS)}"
    if name != "percentThreshold":
        return None
    try:
        fits = all(-100 <= float(part) <= 100 for part in value.split(","))
    except ValueError:
        fits = False
    return None if fits else f"{value!r} is not a list of numbers from -100 to 100"


class BinConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of `times`: how long a bin is, and how long it is kept."""

    resolution_s: float
    ttl_s: float = 315_360_000.0


class DriverConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A store of metrics or of their index; `dsn` is a file, a folder, hosts or a database, as the driver wants it."""

    driver: str
    dsn: str = ""
    options: Pairs = ()


class AccumulatorWriterConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where flushed bins go; so many of them may wait for files of lines."""

    metrics: DriverConfig
    indexer: DriverConfig
    input_queue_length: int = 1_048_576


class AccumulatorApiConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The HTTP API over what is written: `listen` is host:port, `log_file` a path, stdout, stderr or none."""

    listen: str
    base_path: str = "/"
    log_file: str = "stdout"
    metrics: DriverConfig | None = None
    indexer: DriverConfig | None = None


class AccumulatorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the relay `relay` receives, and no filter rejects or redirects, is added up.

    Every `flush_s` the lines that are made of it go through the filters of the relay `backend` to its groups, or into
    the `cache` (empty: nowhere, only writers see them).
    `aligned`: at whole multiples of `flush_s`, else counted from the start.  `bins` are the resolutions for writers.
    `keep_keys`: what was not seen again is told as zero.
    """

    name: str
    relay: str
    backend: str = ""
    input_format: AccumulatorFormat = "statsd"
    output_format: AccumulatorFormat = "graphite"
    flush_s: float = 5.0
    aligned: bool = True
    keep_keys: bool = False
    bins: tuple[BinConfig, ...] = (BinConfig(resolution_s=5.0),)
    options: Pairs = ()
    tags: Pairs = ()
    writer: AccumulatorWriterConfig | None = None
    api: AccumulatorApiConfig | None = None
