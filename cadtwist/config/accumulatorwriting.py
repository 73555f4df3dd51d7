"""What the options of an accumulator's writer mean: texts in, values with units out.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf, isfinite
from typing import TypeVar

from msgspec import Struct

from cadtwist.config.accumulatormodel import BinConfig, DriverConfig, Pairs
from cadtwist.config.durations import seconds
from cadtwist.model.retention import Archive, checked_archives

__all__ = [
    "INDEXED_DRIVERS",
    "WRITTEN_DRIVERS",
    "FileWriting",
    "WhisperWriting",
    "file_writing",
    "kept_archives",
    "whisper_bytes",
    "whisper_writing",
    "writing_faults",
]

WRITTEN_DRIVERS = ("file", "whisper")
"""The drivers of metrics that something is written to."""

INDEXED_DRIVERS = ("noop", "whisper")
"""The drivers of indexes that need nothing: whisper's is the tree of its files."""

_LARGEST_BYTES = 1 << 60
_Number = TypeVar("_Number", int, float)


class WhisperWriting(Struct, frozen=True, kw_only=True):
    """How whisper files are written.

    `updates_per_second` counts metrics.  The cache has at most `most_metrics` metrics of `most_points` datapoints
    each; those with the most datapoints are written first, but with the probability `low_fruit_rate` the others.
    """

    xff: float = 0.3
    threads: int = 8
    updates_per_second: float = 1000.0
    most_metrics: int = 102_400
    most_points: int = 1024
    low_fruit_rate: float = 0.25


class FileWriting(Struct, frozen=True, kw_only=True):
    """How files of lines are written: one of more than `max_bytes` is begun anew; looked at every `rotate_s`."""

    max_bytes: int = 104_857_600
    rotate_s: float = 10.0


def whisper_writing(options: Pairs) -> WhisperWriting:
    """Return what the options of the driver whisper say; ValueError for one that says nothing usable."""
    read = dict(options)
    plain = WhisperWriting()
    rate = _read(read, "writes_per_second", float, plain.updates_per_second, -inf, 1e9)
    return WhisperWriting(
        xff=_read(read, "xFilesFactor", float, plain.xff, 0.0, 1.0),
        threads=_read(read, "write_workers", _whole, plain.threads, 1, 64),
        updates_per_second=rate if rate > 0 else inf,
        most_metrics=_read(read, "cache_metric_size", _whole, plain.most_metrics, 1, 1 << 31),
        most_points=_read(read, "cache_points_size", _whole, plain.most_points, 1, 1 << 31),
        low_fruit_rate=_read(read, "cache_low_fruit_rate", float, plain.low_fruit_rate, 0.0, 1.0),
    )


def file_writing(options: Pairs) -> FileWriting:
    """Return what the options of the driver file say; ValueError for one that says nothing usable."""
    read = dict(options)
    plain = FileWriting()
    return FileWriting(
        max_bytes=_read(read, "max_file_size", _whole, plain.max_bytes, 1, _LARGEST_BYTES),
        rotate_s=_read(read, "rotate_every", _span, plain.rotate_s, 0.0, 1e9),
    )


def kept_archives(bins: Iterable[BinConfig]) -> tuple[Archive, ...]:
    """Return the archives of whisper files that keep all bins; ValueError where whisper cannot."""
    archives = []
    for each in bins:
        if each.resolution_s != int(each.resolution_s):
            raise ValueError(f"whisper keeps whole seconds, not bins of {each.resolution_s:g} s")
        archives.append(Archive(int(each.resolution_s), int(each.ttl_s // each.resolution_s)))
    return checked_archives(archives)


def whisper_bytes(archives: Iterable[Archive]) -> int:
    """Return the size of a whisper file with these archives."""
    return 16 + sum(12 + 12 * archive.points for archive in archives)


def writing_faults(driver: DriverConfig, bins: Iterable[BinConfig]) -> Iterator[str]:
    """Yield why what an accumulator makes cannot be written like this."""
    if driver.driver not in WRITTEN_DRIVERS:
        possible = ", ".join(WRITTEN_DRIVERS)
        yield f"{driver.driver!r} cannot be written to: further stores come later; possible now are {possible}"
        return
    if not driver.dsn:
        yield "dsn is missing"
    try:
        if driver.driver == "file":
            file_writing(driver.options)
        else:
            whisper_writing(driver.options)
    except ValueError as error:
        yield str(error)
    if driver.driver == "whisper":
        try:
            kept_archives(bins)
        except ValueError as error:
            yield f"whisper cannot keep these times: {error}"


def _read(
    options: dict[str, str], name: str, kind: Callable[[str], _Number], plain: _Number, low: float, high: float
) -> _Number:
    text = options.get(name)
    if text is None:
        return plain
    try:
        found = kind(text.strip())
    except (ValueError, OverflowError):
        raise ValueError(f"{name}: {text!r} does not fit, expected: a number like {plain:g}") from None
    if not low <= found <= high:
        raise ValueError(f"{name}: {text} is out of range")
    return found


def _whole(text: str) -> int:
    found = float(text)
    if not isfinite(found) or found != int(found):
        raise ValueError(text)
    return int(found)


def _span(text: str) -> float:
    """Return the seconds of a span, or of a number of seconds."""
    try:
        return float(text)
    except ValueError:
        return seconds(text)
