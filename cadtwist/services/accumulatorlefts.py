"""What is open of accumulators and in no log: it is logged at a hand-over, for the next process, which tells it whole.

That are the bins of writers, and the windows of Graphite lines that come in datagrams alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from cadtwist.config.model import Config
from cadtwist.errors import StorageError
from cadtwist.journal.feedlog import FeedLog, StateSource, replay_feeds
from cadtwist.journal.segments import SegmentLog
from cadtwist.model.opencells import OpenCells
from cadtwist.services.accumulators import Accumulator, TimedFlushes
from cadtwist.services.feedkeeper import recall_window
from cadtwist.services.space import Space
from cadtwist.stages.aggregate import Window
from cadtwist.stages.resolutions import Resolutions
from cadtwist.telemetry import Account, Telemetry

__all__ = ["AccumulatorLefts"]

Open = Callable[[str], SegmentLog | None]


class _Left(NamedTuple):
    """One of them: `folder` gets it, `flushes` told it so far."""

    accumulator: Accumulator
    stage: Window | Resolutions
    flushes: TimedFlushes
    folder: str
    account: Account

    def keep(self, segments: SegmentLog) -> bool:
        """Log all that is open; False where the disk refuses."""
        names, stage = self.accumulator.names, self.stage
        if isinstance(stage, Window):
            outputs = stage.outputs
            log = FeedLog(segments, names.table, self.account, lambda: outputs)
            log.whole()
        else:
            log = FeedLog(segments, names.table, self.account, _no_source)
            for cells in stage.open_cells():
                log.cells(cells)
        log.turn_ended()
        log.close(keep=True)
        return not segments.failing

    def recall(self, segments: SegmentLog, now: float) -> None:
        """Go on with what a former process left."""
        if isinstance(self.stage, Window):
            recall_window(segments, self.stage, self.accumulator.names, self.account, now)
        else:
            recall_bins(segments, self.stage, self.accumulator.names, self.account, now)
        segments.discard()


class AccumulatorLefts:
    """All of them.  Reactor thread.

    `segments_of(folder)` opens a log, None where that cannot be, which it tells.
    """

    def __init__(self, reactor: Any, telemetry: Telemetry, segments_of: Open) -> None:
        self._reactor = reactor
        self._telemetry = telemetry
        self._segments_of = segments_of
        self._lefts: dict[str, _Left] = {}

    @property
    def windows(self) -> Collection[str]:
        """The names of the accumulators whose window will be left."""
        return [left.accumulator.config.name for left in self._lefts.values() if isinstance(left.stage, Window)]

    def join(
        self,
        config: Config,
        accumulators: Mapping[str, Accumulator],
        folder_of: Callable[[str, str], str],
        is_logged: Callable[[Accumulator], bool],
    ) -> None:
        """Let accumulators have what a former process left them, and know what to leave in turn."""
        before, self._lefts = self._lefts, {}
        if not config.wal.enabled or not config.wal.directory:
            return
        for name, accumulator in accumulators.items():
            window, bins = accumulator.window, accumulator.bins
            if bins is not None and accumulator.bin_flushes is not None:
                self._join("times", name, accumulator, bins, accumulator.bin_flushes, folder_of)
            if isinstance(window, Window) and not is_logged(accumulator):
                self._join("bins", name, accumulator, window, accumulator.flushes, folder_of)
        for key, left in self._lefts.items():
            if (key not in before or before[key].stage is not left.stage) and os.path.isdir(left.folder):
                segments = self._segments_of(left.folder)
                if segments is not None:
                    left.recall(segments, self._reactor.seconds())

    def _join(
        self,
        kind: str,
        name: str,
        accumulator: Accumulator,
        stage: Window | Resolutions,
        flushes: TimedFlushes,
        folder_of: Callable[[str, str], str],
    ) -> None:
        account = self._telemetry.account(f"log of accumulator {name}{' bins' if kind == 'times' else ''}")
        self._lefts[f"{kind} {name}"] = _Left(accumulator, stage, flushes, folder_of(kind, name), account)

    def leave(self) -> None:
        """The next process tells what is open."""
        for left in self._lefts.values():
            left.flushes.left = True

    def close(self) -> None:
        """Log what is open, after all else was told; what the disk refuses is told."""
        for left in self._lefts.values():
            segments = self._segments_of(left.folder) if left.flushes.left else None
            if left.flushes.left and (segments is None or not left.keep(segments)):
                left.flushes.left = False
                left.flushes.finish(self._reactor.seconds())


def recall_bins(segments: SegmentLog, bins: Resolutions, names: Space, account: Account, now: float) -> None:
    """Put what a former process left into bins."""
    for found in replay_feeds(segments, names.table, account, int(now)):
        if isinstance(found, OpenCells):
            bins.restore(found)


def _no_source() -> StateSource:
    raise StorageError("bins are logged once, whole")
