"""Where the bins of accumulators are written: whisper files through a cache of their own, files of lines.

A writer belongs to a driver and a place (`dsn`): accumulators that name both share it.  It lives until the process
ends, whatever a reload says; what can be changed meanwhile is.  A further kind of store is a class with the members of
`SummaryWriter` and a row in `KINDS`.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from msgspec.structs import replace
from twisted.application.service import IService

from cadtwist.cache.bounds import CacheBounds
from cadtwist.config.accumulatormodel import AccumulatorConfig, BinConfig, DriverConfig
from cadtwist.config.accumulatorwriting import file_writing, kept_archives, whisper_writing
from cadtwist.config.model import CacheConfig, Config, TagsConfig, WriterConfig
from cadtwist.errors import CadtwistError, ConfigError
from cadtwist.flow import Gate
from cadtwist.model.cadentstyle import STORED_PATTERNS
from cadtwist.model.retention import AggregationRule, SchemaRule
from cadtwist.model.summary import SummaryBatch
from cadtwist.services.sequence import Sequence, Step
from cadtwist.services.space import Space
from cadtwist.services.syncer import Syncer
from cadtwist.services.turn import Turn
from cadtwist.stages.resolutions import Resolution, SummarySink
from cadtwist.stages.stored import StoredValues
from cadtwist.storage.textfile import SummaryFile
from cadtwist.telemetry import Account, Telemetry

if TYPE_CHECKING:
    from cadtwist.services.cachegraph import CacheGraph

__all__ = ["KINDS", "LineFiles", "SummaryWriter", "WhisperFiles", "Writers", "kept_config"]

LOG_FOLDER = ".wal"
"""Below the folder of whisper files: the log of what is not in them yet."""

_FILES_S = 1.0
Sinks = list[tuple[Resolution, SummarySink]]


class SummaryWriter(Protocol):
    """What takes the bins of accumulators.  Reactor thread."""

    service: IService
    graph: CacheGraph | None

    def sinks(self, bins: tuple[BinConfig, ...]) -> Sinks:
        """Return what takes the bins of each resolution that is to be told."""

    def queued(self, resolution: Resolution) -> int:
        """Return how many bins of a resolution wait to be written."""

    def change(self, config: Config, accumulator: AccumulatorConfig) -> None:
        """Go on as a reloaded configuration says."""


def kept_config(config: Config, driver: DriverConfig, bins: Iterable[BinConfig]) -> Config:
    """Return the Config of a cache whose whisper files are those of a writer; ValueError where that cannot be.

    Every file has an archive for each of `bins`, and the method that Cadent guesses from the name.
    """
    said = whisper_writing(driver.options)
    rules = [AggregationRule(method, re.compile(pattern), said.xff, method) for pattern, method in STORED_PATTERNS]
    plain = AggregationRule("average", re.compile(""), said.xff, "average")
    return replace(
        config,
        listeners=(),
        relays=(),
        destinations=(),
        accumulators=(),
        cache=CacheConfig(),
        limits=replace(config.limits, flow_control=False),
        wal=replace(config.wal, directory=os.path.join(driver.dsn, LOG_FOLDER)),
        writer=WriterConfig(
            max_updates_per_second=said.updates_per_second,
            on_shutdown_updates_per_second=float("inf"),
            low_fruit_rate=said.low_fruit_rate,
            threads=said.threads,
        ),
        storage=replace(config.storage, kind="whisper", root=driver.dsn),
        schemas=(SchemaRule("times", re.compile(""), kept_archives(bins)),),
        aggregation=(*rules, plain),
        tags=TagsConfig(enabled=False),
    )


class _Part(Telemetry):
    """The accounts of one part: their names say whose they are."""

    def __init__(self, whole: Telemetry, label: str) -> None:
        super().__init__()
        self._whole = whole
        self._label = label

    def account(self, name: str) -> Account:
        """Return the account of the whole that stands for `name`."""
        return self._whole.account(f"{name} of {self._label}")


def _metrics(accumulator: AccumulatorConfig) -> DriverConfig:
    """Return the driver of an accumulator that has a writer."""
    if accumulator.writer is None:
        raise ConfigError([f"accumulator {accumulator.name}: there is no writer"])
    return accumulator.writer.metrics


def _existing(accumulator: AccumulatorConfig, folder: str) -> str:
    if not os.path.isdir(folder):
        raise ConfigError([f"accumulator {accumulator.name}: writer: {folder!r} is no folder that exists"])
    return folder


class WhisperFiles:
    """Whisper files below a folder, which must exist: a cache with its log and its writers (`graph`).

    They take the bins of the first resolution; whisper makes the others of them.
    """

    def __init__(
        self, reactor: Any, config: Config, accumulator: AccumulatorConfig, telemetry: Telemetry, turn: Turn,
        names: Space,
    ) -> None:  # fmt: skip
        from cadtwist.services.cachegraph import CacheGraph  # noqa: PLC0415 (only where files are written)

        driver = _metrics(accumulator)
        _existing(accumulator, driver.dsn)
        accounts, said = _Part(telemetry, driver.dsn), whisper_writing(driver.options)
        kept = kept_config(config, driver, accumulator.bins)
        self.graph: CacheGraph | None = CacheGraph(reactor, kept, accounts, Gate(), turn, names, {})
        graph = self.graph
        self._bounds = CacheBounds(
            graph.points, graph.cache, accounts.account("cache bounds"), said.most_metrics, said.most_points
        )
        self._values = StoredValues(names.table, self._bounds, accounts.account("stored values"))
        names.keys.hold(self._values)
        if graph.wal is not None:
            turn.add(graph.wal.turn_ended)
        service = Sequence()
        for part in (*graph.before_doors(), *graph.working()):
            part.setServiceParent(service)
        self.service: IService = service

    def sinks(self, bins: tuple[BinConfig, ...]) -> Sinks:
        """Return what takes the bins of the first resolution."""
        return [(_resolution(bins[0]), self._values)]

    def queued(self, resolution: Resolution) -> int:  # noqa: ARG002 (there is one)
        """Return how many datapoints wait to be written."""
        return 0 if self.graph is None else self.graph.points.points

    def change(self, config: Config, accumulator: AccumulatorConfig) -> None:
        """Take other bounds, rates and retentions; files that exist stay as they are."""
        driver = _metrics(accumulator)
        said = whisper_writing(driver.options)
        self._bounds.most_metrics, self._bounds.most_points = said.most_metrics, said.most_points
        if self.graph is not None:
            self.graph.change(kept_config(config, driver, accumulator.bins))


class LineFiles:
    """A file of lines for each resolution, written every second in a thread.

    `most_points` bins may wait; more are dropped as `queue_full`.
    """

    def __init__(
        self, reactor: Any, config: Config, accumulator: AccumulatorConfig, telemetry: Telemetry, turn: Turn,  # noqa: ARG002
        names: Space,
    ) -> None:  # fmt: skip
        driver = _metrics(accumulator)
        _existing(accumulator, os.path.dirname(driver.dsn) or ".")
        self.graph: CacheGraph | None = None
        self.most_points = 0
        self.account = telemetry.account(f"lines in {driver.dsn}")
        self.account.held = lambda: sum(self._held.values())
        self._path = driver.dsn
        self._table = names.table
        self._now = reactor.seconds
        self._files: dict[Resolution, SummaryFile] = {}
        self._waiting: deque[tuple[SummaryFile, bytes, int]] = deque()
        self._held: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self.change(config, accumulator)
        service = Sequence()
        Step("files of lines", None, self._close).setServiceParent(service)
        syncer = Syncer(reactor, self._write, _FILES_S, self.account, driver.dsn, self._settle)
        syncer.setServiceParent(service)
        self.service: IService = service

    def sinks(self, bins: tuple[BinConfig, ...]) -> Sinks:
        """Return what takes the bins of each resolution."""
        return [(_resolution(each), self) for each in bins]

    def queued(self, resolution: Resolution) -> int:
        """Return how many bins of a resolution wait to be written."""
        return self._held.get(self._files[resolution].path, 0)

    def change(self, config: Config, accumulator: AccumulatorConfig) -> None:  # noqa: ARG002 (others need it)
        """Take other bounds."""
        said = file_writing(_metrics(accumulator).options)
        if accumulator.writer is not None:
            self.most_points = accumulator.writer.input_queue_length
        for each in accumulator.bins:
            found = self._files.setdefault(
                _resolution(each), SummaryFile(self._path, self._table, each.resolution_s, each.ttl_s)
            )
            found.max_bytes, found.rotate_s = said.max_bytes, said.rotate_s

    def accept_summaries(self, batch: SummaryBatch, resolution: Resolution) -> None:
        """Let the lines of a lent SummaryBatch wait for the thread."""
        account = self.account
        room = self.most_points - account.held()
        account.received += len(batch)
        if len(batch) > room:
            account.drop("queue_full", len(batch) - max(0, room))
            batch = batch.select(np.arange(max(0, room)))
        if len(batch):
            file = self._files[resolution]
            self._held[file.path] = self._held.get(file.path, 0) + len(batch)
            self._waiting.append((file, file.lines(batch), len(batch)))

    def _write(self) -> None:
        """Write what waits; in the thread.  OSError where a disk will not: that waits on."""
        fault, left, stuck = "", list[tuple[SummaryFile, bytes, int]](), set[str]()
        for _ in range(len(self._waiting)):
            file, data, points = self._waiting.popleft()
            if file.path not in stuck:
                data, said = file.append(data, self._now())
                fault = said or fault
            if not data:
                self._written[file.path] = self._written.get(file.path, 0) + points
            else:
                stuck.add(file.path)
                left.append((file, data, points))
        self._waiting.extendleft(reversed(left))
        if fault:
            raise OSError(fault)

    def _settle(self) -> None:
        """Count what was written; in the reactor thread, while nothing is being written."""
        written, self._written = self._written, {}
        for path, points in written.items():
            self._held[path] -= points
            self.account.out += points

    def _close(self) -> None:
        for file in self._files.values():
            file.close()


KINDS: dict[str, Callable[..., SummaryWriter]] = {"file": LineFiles, "whisper": WhisperFiles}
"""By the name of the driver."""


def _resolution(found: BinConfig) -> Resolution:
    return Resolution(found.resolution_s, found.ttl_s)


class Writers:
    """All writers of a process, which run as parts of `service`.

    `make(driver, config, accumulator)` makes one.
    """

    def __init__(self, service: Sequence, make: Callable[[str, Config, AccumulatorConfig], SummaryWriter]) -> None:
        self._service = service
        self._make = make
        self._known: dict[tuple[str, str], SummaryWriter] = {}

    @property
    def graphs(self) -> list[CacheGraph]:
        """The caches among them."""
        return [writer.graph for writer in self._known.values() if writer.graph is not None]

    def of(self, accumulator: AccumulatorConfig) -> SummaryWriter | None:
        """Return the writer of an accumulator, which `prepare` has made; None where it has none."""
        return None if accumulator.writer is None else self._known[_place(accumulator)]

    def graph_of(self, accumulator: AccumulatorConfig) -> CacheGraph | None:
        """Return the cache of an accumulator's writer; None where it keeps nothing that could be read."""
        writer = None if accumulator.writer is None else self._known.get(_place(accumulator))
        return None if writer is None else writer.graph

    def prepare(self, config: Config) -> list[SummaryWriter]:
        """Make the writers that are not there yet, change the others; return those that are new.

        ConfigError, StorageError or OSError where one cannot be made; then nothing has changed.
        """
        fresh: dict[tuple[str, str], SummaryWriter] = {}
        try:
            for accumulator in config.accumulators:
                if accumulator.writer is not None and _place(accumulator) not in (*self._known, *fresh):
                    fresh[_place(accumulator)] = self._make(accumulator.writer.metrics.driver, config, accumulator)
        except (CadtwistError, OSError):
            for writer in fresh.values():
                if writer.graph is not None and writer.graph.wal is not None:
                    writer.graph.wal.close()
            raise
        for accumulator in config.accumulators:
            if accumulator.writer is not None and _place(accumulator) in self._known:
                self._known[_place(accumulator)].change(config, accumulator)
        self._known |= fresh
        for writer in fresh.values():
            writer.service.setServiceParent(self._service)
        return list(fresh.values())


def _place(accumulator: AccumulatorConfig) -> tuple[str, str]:
    driver = _metrics(accumulator)
    return driver.driver, os.path.abspath(driver.dsn)
