"""The logs of aggregation windows: one for each, replayed at a start, kept when another process takes over."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService
from twisted.logger import Logger

from cadtwist.config.model import WalConfig
from cadtwist.errors import StorageError
from cadtwist.journal.feedlog import FeedLog, Kept, replay_feeds
from cadtwist.journal.segments import SegmentLog
from cadtwist.model.opencells import OpenCells
from cadtwist.services.sequence import Step
from cadtwist.services.space import Space
from cadtwist.services.syncer import Syncer
from cadtwist.stages.aggregate import Window
from cadtwist.telemetry import Account, Telemetry

__all__ = ["FeedKeeper", "recall_window"]

Targets = tuple[str, ...]
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


class FeedKeeper:
    """Keeps the logs of windows over the names of `space`, in folders below that of the write-ahead log.

    A folder that cannot be had costs only its log, and is told.  Reactor thread.
    """

    _log = Logger()

    def __init__(self, reactor: Any, config: WalConfig, space: Space, telemetry: Telemetry) -> None:
        self._reactor = reactor
        self._config = config
        self._space = space
        self._telemetry = telemetry
        self._logs: dict[Targets, FeedLog] = {}
        self._running = False
        self._leaving = False

    def services(self, windows: Callable[[], dict[Targets, Window]]) -> list[IService]:
        """Return what runs from before the first datapoint comes until after the last is told."""
        account = self._telemetry.account("aggregation log")
        syncer = Syncer(self._reactor, self._sync, self._config.sync_s, account, "the log of aggregation windows")
        return [Step("aggregation log", lambda: self._open(windows()), self._close), syncer]

    def join(self, windows: dict[Targets, Window]) -> None:
        """Give each window that has no log one, with what a former process left in it; others' logs go."""
        if not self._running:
            return
        for targets in [targets for targets in self._logs if targets not in windows]:
            self._end(self._logs.pop(targets), keep=False)
        for targets, window in windows.items():
            if window.journal is None and self._config.enabled:
                log = self._opened(targets, window)
                if log is not None:
                    self._logs[targets] = log
                    self._replay(log, window)
                    window.journal = log

    def turn_ended(self) -> None:
        """Write what the turn logged."""
        for log in self._logs.values():
            log.turn_ended()

    def leave(self, windows: dict[Targets, Window]) -> None:
        """Let the next process have what is open: take the windows that have a log out of `windows`."""
        self._leaving = True
        for targets in self._logs:
            windows.pop(targets, None)

    def _open(self, windows: dict[Targets, Window]) -> None:
        self._running = True
        self.join(windows)

    def _opened(self, targets: Targets, window: Window) -> FeedLog | None:
        folder = os.path.join(self._config.directory, "feeds-" + _UNSAFE.sub("_", "-".join(targets)))
        try:
            segments = SegmentLog(folder, self._config.segment_bytes)
        except (OSError, StorageError) as error:
            self._log.error("open aggregates are not logged: {folder}: {error}", folder=folder, error=error)
            return None
        account = self._telemetry.account(" ".join(("aggregation log", *targets)))
        outputs = window.outputs
        log = FeedLog(segments, self._space.table, account, lambda: outputs, self._config.max_bytes)
        self._space.keys.hold(log)
        return log

    def _replay(self, log: FeedLog, window: Window) -> None:
        recall_window(log.log, window, self._space, log.account, self._reactor.seconds())
        points = log.account.counters.get("replayed", 0)
        if points:
            self._log.info("{points} datapoints of a former process feed their outputs again", points=points)

    def _sync(self) -> None:
        for log in list(self._logs.values()):
            log.sync()

    def _close(self) -> None:
        for log in self._logs.values():
            self._end(log, self._leaving)

    def _end(self, log: FeedLog, keep: bool) -> None:
        self._space.keys.release(log)
        log.close(keep)


def recall_window(segments: SegmentLog, window: Window, names: Space, account: Account, now: float) -> None:
    """Put what a former process left, or had logged, into a window of Graphite lines."""
    for found in replay_feeds(segments, names.table, account, int(now)):
        if isinstance(found, OpenCells):
            window.restore_cells(found)
        elif isinstance(found, Kept):
            window.restore_values(found.values)
        else:
            window.restore(found)
