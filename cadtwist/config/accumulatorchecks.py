"""Faults of accumulators that only show when values are seen together."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from cadtwist.config.accumulatormodel import AccumulatorConfig, BinConfig, Pairs, option_fault
from cadtwist.config.accumulatorwriting import INDEXED_DRIVERS, writing_faults
from cadtwist.config.model import Config
from cadtwist.config.relaychecks import CACHE, Place, host_and_port

__all__ = ["accumulator_faults", "api_address", "writer_conflicts"]


def accumulator_faults(config: Config) -> Iterator[tuple[Place, str]]:
    """Yield (where, what) of each contradiction in what concerns accumulators."""
    formats: dict[str, str] = {relay.name: relay.lines.format for relay in config.relays}
    names, fed = set[str](), set[str]()
    doors = {(door.interface, door.port) for door in config.listeners if door.transport in ("tcp", "http")}
    for number, accumulator in enumerate(config.accumulators):
        place = ("accumulators", number)
        if not accumulator.name or accumulator.name in names:
            yield (*place, "name"), f"{accumulator.name!r} is there twice" if accumulator.name else "a name is needed"
        if accumulator.relay not in formats:
            yield (*place, "relay"), f"there is no relay {accumulator.relay!r}"
        if accumulator.relay in fed:
            yield (*place, "relay"), f"{accumulator.relay!r} has an accumulator already"
        known = {**formats, CACHE: "graphite"} if config.cache is not None else formats
        if accumulator.backend and accumulator.backend not in known:
            yield (*place, "backend"), f"there is no relay {accumulator.backend!r}"
        for key, lines, wanted in (
            ("input_format", formats.get(accumulator.relay), accumulator.input_format),
            ("output_format", known.get(accumulator.backend), accumulator.output_format),
        ):
            if lines not in (None, wanted, "regex"):
                yield (*place, key), f"{wanted!r} does not fit, as the relay has lines of {lines}"
        for where, text in _accumulated(accumulator):
            yield (*place, *where), text
        address = None if accumulator.api is None else api_address(accumulator.api.listen)
        if address is not None:
            if address in doors:
                yield (*place, "api", "listen"), f"{address[0]}:{address[1]} is taken twice"
            doors.add(address)
        names.add(accumulator.name)
        fed.add(accumulator.relay)
    for number, text in writer_conflicts(config):
        yield ("accumulators", number, "writer", "metrics"), text
    if config.accumulators and config.processes.workers > 1:
        yield ("processes", "workers"), "more than one only without accumulators: one has all lines that are added up"


def _accumulated(accumulator: AccumulatorConfig) -> Iterator[tuple[Place, str]]:
    lengths = [found.resolution_s for found in accumulator.bins]
    if not lengths or sorted(set(lengths)) != lengths:
        yield ("bins",), "at least one is needed, each longer than the one before"
    for number, (name, value) in enumerate(accumulator.options):
        fault = option_fault(name, value)
        if fault is not None:
            yield ("options", number), fault
    if accumulator.writer is not None:
        for text in writing_faults(accumulator.writer.metrics, accumulator.bins):
            yield ("writer", "metrics"), text
        index = accumulator.writer.indexer.driver
        if index not in INDEXED_DRIVERS:
            text = f"{index!r} is no index that is kept; possible are {', '.join(INDEXED_DRIVERS)}"
            yield ("writer", "indexer"), text
    if accumulator.api is not None and api_address(accumulator.api.listen) is None:
        yield ("api", "listen"), f"{accumulator.api.listen!r} is not host:port"


def api_address(listen: str) -> tuple[str, int] | None:
    """Return (interface, port) of an API's `listen`, None if it is none; without a host it is all IPv4 addresses."""
    return host_and_port(f"0.0.0.0{listen}" if listen.startswith(":") else listen)  # noqa: S104 (as it is written)


def writer_conflicts(config: Config) -> Iterator[tuple[int, str]]:
    """Yield (number of the accumulator, text) where two writers would write to one place in different ways."""
    kept = config.cache is not None and config.storage.kind == "whisper"
    root = posixpath.normpath(config.storage.root) if kept else ""
    known: dict[tuple[str, str], tuple[str, Pairs, tuple[BinConfig, ...]]] = {}
    for number, accumulator in enumerate(config.accumulators):
        if accumulator.writer is None:
            continue
        metrics = accumulator.writer.metrics
        path = posixpath.normpath(metrics.dsn)
        if metrics.driver == "whisper" and path == root:
            yield number, f"{metrics.dsn!r} is the folder of [storage]: let the backend be {CACHE}"
        name, *way = known.setdefault((metrics.driver, path), (accumulator.name, metrics.options, accumulator.bins))
        if way != [metrics.options, accumulator.bins]:
            yield number, f"{metrics.dsn!r} is written by {name!r} with other options or times"
