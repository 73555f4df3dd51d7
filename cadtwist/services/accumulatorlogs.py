"""The logs of accumulators' open windows: kill -9 loses nothing that came over connections, nor does a hand-over.

A log has what came in since the last flush.  Windows that had closed and were not told to their end are told again.
Bins that are open at a hand-over are logged then, for the next process, which tells them whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, Protocol

from twisted.application.service import IService
from twisted.logger import Logger

from cadtwist.config.model import Config
from cadtwist.errors import StorageError
from cadtwist.journal.feedlog import FeedLog
from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.windowlog import WindowLog
from cadtwist.services.accumulatorlefts import AccumulatorLefts
from cadtwist.services.accumulators import Accumulator
from cadtwist.services.chains import targets_of
from cadtwist.services.feedkeeper import recall_window
from cadtwist.services.sequence import Every, Step
from cadtwist.services.space import Space
from cadtwist.services.syncer import Syncer
from cadtwist.services.windowkeeper import Hands, LoggedSink, WindowKeeper
from cadtwist.stages.aggregate import Window
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.telemetry import Account, Telemetry

__all__ = ["AccumulatorLogs", "BinsLog", "SumsLog"]

_TEND_S = 1.0
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


class OpenLog(Protocol):
    """The log of one open window."""

    @property
    def is_whole(self) -> bool:
        """Whether it has all that is open."""

    def replay(self, now: float) -> None:
        """Put what a former process left into the window, and log what comes from now on."""

    def turn_ended(self) -> None:
        """Write what the turn logged."""

    def sync(self) -> None:
        """Bring to the disk what is written; in a thread."""

    def tend(self) -> None:
        """Let go of what is told."""

    def close(self, keep: bool) -> None:
        """Let go of the folder; without `keep` of the log as well."""


class SumsLog:
    """The log of a statsd accumulator."""

    def __init__(self, segments: SegmentLog, accumulator: Accumulator, series: Space, telemetry: Telemetry) -> None:
        window = accumulator.window
        if not isinstance(window, StatsdWindow):
            raise TypeError("a statsd accumulator is wanted")
        self._accumulator = accumulator
        self._series = series
        account = telemetry.account(f"log of accumulator {accumulator.config.name}")
        self.log = WindowLog(segments, series.table, account)
        self._window = window
        self._keeper = WindowKeeper(self.log, window, series, _Only(account), Hands(int, int))
        self.turn_ended = self.log.turn_ended
        self.sync = self.log.sync
        self.tend = self._keeper.tend

    @property
    def is_whole(self) -> bool:
        """See OpenLog."""
        return not self._keeper.lacks

    def replay(self, now: float) -> None:
        """See OpenLog."""
        self._keeper.replay(now)
        self._accumulator.entry = LoggedSink(self.log, self._window)

    def close(self, keep: bool) -> None:
        """See OpenLog."""
        self._window.journal = None
        self._accumulator.entry = self._window
        self._series.keys.release(self.log)
        if keep:
            self.tend()
            self.log.close(keep=True)
        else:
            self._keeper.close()


class BinsLog:
    """The log of a graphite accumulator: after a flush that has told everything, it begins anew."""

    def __init__(self, segments: SegmentLog, accumulator: Accumulator, names: Space, telemetry: Telemetry) -> None:
        window = accumulator.window
        if not isinstance(window, Window):
            raise TypeError("a graphite accumulator is wanted")
        outputs = window.outputs
        self.log = FeedLog(
            segments, names.table, telemetry.account(f"log of accumulator {accumulator.config.name}"), lambda: outputs
        )
        self._window = window
        self._names = names
        self._flushes = accumulator.flushes
        self._told = self._flushes.count
        self._unlogged = 0
        self.turn_ended = self.log.turn_ended
        self.sync = self.log.sync
        names.keys.hold(self.log)

    @property
    def is_whole(self) -> bool:
        """See OpenLog."""
        return self.log.account.counters.get("unlogged", 0) == self._unlogged

    def replay(self, now: float) -> None:
        """See OpenLog."""
        recall_window(self.log.log, self._window, self._names, self.log.account, now)
        self._window.journal = self.log

    def tend(self) -> None:
        """See OpenLog."""
        if self._flushes.count != self._told and not self._window.outputs.buckets.cells:
            self._told = self._flushes.count
            self.log.log.roll()
            self.log.release(self.log.log.serial)
            self._unlogged = self.log.account.counters.get("unlogged", 0)

    def close(self, keep: bool) -> None:
        """See OpenLog."""
        self.tend()
        self._window.journal = None
        self._names.keys.release(self.log)
        self.log.close(keep)


class _Only(Telemetry):
    """One account under every name."""

    def __init__(self, account: Account) -> None:
        super().__init__()
        self._account = account

    def account(self, name: str) -> Account:  # noqa: ARG002
        """Return it."""
        return self._account


class AccumulatorLogs:
    """The logs of all accumulators that get lines over connections, below the folder of the write-ahead log.

    A folder that cannot be had costs only its log, and is told.  Reactor thread.
    """

    _log = Logger()

    def __init__(self, reactor: Any, telemetry: Telemetry) -> None:
        self._reactor = reactor
        self._telemetry = telemetry
        self._logs: dict[str, tuple[Accumulator, OpenLog]] = {}
        self._lefts = AccumulatorLefts(reactor, telemetry, self._segments)
        self._segment_bytes = Config().wal.segment_bytes
        self._running = False
        self._leaving = False

    def services(
        self, config: Config, accumulators: Callable[[], Mapping[str, Accumulator]]
    ) -> list[IService]:
        """Return what runs from before the first line comes until after the last is told."""
        account = self._telemetry.account("logs of accumulators")
        syncer = Syncer(self._reactor, self._sync, config.wal.sync_s, account, "the log of accumulators")

        def begin() -> None:
            self._running = True
            self.join(config, accumulators())

        return [
            Step("logs of accumulators", begin, self._close),
            syncer,
            Every("release of accumulators' logs", self._reactor, _TEND_S, lambda _: self._tend()),
        ]

    def join(self, config: Config, accumulators: Mapping[str, Accumulator]) -> None:
        """Give each accumulator that has none a log, with what a former process left in it; others' logs go."""
        if not self._running:
            return
        for name in [name for name, (each, _) in self._logs.items() if accumulators.get(name) is not each]:
            self._logs.pop(name)[1].close(keep=False)
        self._segment_bytes = config.wal.segment_bytes
        self._lefts.join(config, accumulators, partial(_folder, config), partial(_is_logged, config))
        for name, accumulator in accumulators.items():
            if name not in self._logs and _is_logged(config, accumulator):
                made = self._made(config, accumulator)
                if made is not None:
                    self._logs[name] = accumulator, made
                    made.replay(self._reactor.seconds())

    @property
    def logged(self) -> Collection[str]:
        """The names of the accumulators of which a log has all that is open, or will have it at a hand-over."""
        return [*self._lefts.windows, *(name for name, (_, log) in self._logs.items() if log.is_whole)]

    def turn_ended(self) -> None:
        """Write what the turn logged."""
        for _, log in self._logs.values():
            log.turn_ended()

    def leave(self) -> None:
        """Let the next process have what is open: windows that have a log are not told."""
        self._leaving = True
        for accumulator, log in self._logs.values():
            accumulator.flushes.left = log.is_whole
        self._lefts.leave()

    def _made(self, config: Config, accumulator: Accumulator) -> OpenLog | None:
        of_statsd = accumulator.config.input_format == "statsd"
        segments = self._segments(_folder(config, "sums" if of_statsd else "bins", accumulator.config.name))
        if segments is None:
            return None
        if of_statsd:
            return SumsLog(segments, accumulator, accumulator.series, self._telemetry)
        return BinsLog(segments, accumulator, accumulator.names, self._telemetry)

    def _segments(self, folder: str) -> SegmentLog | None:
        try:
            return SegmentLog(folder, self._segment_bytes)
        except (OSError, StorageError) as error:
            self._log.error("what is added up is not logged: {folder}: {error}", folder=folder, error=str(error))
            return None

    def _tend(self) -> None:
        for _, log in self._logs.values():
            log.tend()

    def _sync(self) -> None:
        for _, log in list(self._logs.values()):
            log.sync()

    def _close(self) -> None:
        for accumulator, log in self._logs.values():
            log.close(self._leaving and accumulator.flushes.left)
        if self._leaving:
            self._lefts.close()


def _folder(config: Config, kind: str, name: str) -> str:
    return os.path.join(config.wal.directory, f"{kind}-{_UNSAFE.sub('_', name)}")


def _is_logged(config: Config, accumulator: Accumulator) -> bool:
    """Tell whether lines come over connections, which lose nothing on their way; datagrams may be lost anyhow."""
    doors = [door for door in config.listeners if door.protocol in ("line", "pickle", "protobuf")]
    relay = accumulator.config.relay
    streams = any(door.transport != "udp" and relay in targets_of(config, door) for door in doors)
    return streams and config.wal.enabled and bool(config.wal.directory)

