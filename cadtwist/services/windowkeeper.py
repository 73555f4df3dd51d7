"""What a daemon of windows keeps on the disk: the log of its open window, and the queue of its destination.

A start replays the log: windows that had closed are told again, with their timestamps, what came after the last of
them is in the open window again.  Segments go when all that a flush told has left our hands: a peer's kernel has it,
the spool on the disk has it, or it was dropped and counted.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from twisted.application.service import IService
from twisted.logger import Logger
from zope.interface import implementer

from cadtwist.errors import StorageError
from cadtwist.interfaces import ISink
from cadtwist.journal.backlog import Backlog
from cadtwist.journal.segments import SegmentLog
from cadtwist.journal.windowlog import Closed, Levels, WindowLog, replay_window
from cadtwist.model.batch import Batch, Ids
from cadtwist.services.sequence import Every, Step
from cadtwist.services.space import Space
from cadtwist.services.syncer import Syncer
from cadtwist.stages.statsd import Mask, StatsdWindow
from cadtwist.telemetry import Telemetry

__all__ = ["NOTHING", "Hands", "Keep", "WindowKeeper", "backlog_of", "keeper_of", "recall", "through_log"]

_log = Logger()
_TEND_S = 1.0


@dataclass(frozen=True, slots=True)
class Keep:
    """What is kept, and where: `folder` empty = nothing.  `inputs`: which doors' values are logged.

    `window_bytes` bounds the log of one window, `spool_bytes` the queue of the destination on the disk.
    """

    folder: str = ""
    inputs: Literal["tcp", "all", "none"] = "tcp"
    sync_s: float = 1.0
    segment_bytes: int = 16 << 20
    window_bytes: int = 1 << 30
    spool_bytes: int = 1 << 30

    def logs(self, transport: str) -> bool:
        """Whether the values of doors of a transport are logged."""
        return bool(self.folder) and (self.inputs == "all" or (self.inputs == "tcp" and transport != "udp"))


NOTHING = Keep()


@dataclass(frozen=True, slots=True)
class Hands:
    """How much a flush's teller has been given since the start, and how much of it is out of our hands, in order."""

    given: Callable[[], int]
    safe: Callable[[], int]


class _Mark(NamedTuple):
    """A flush: where the window after it begins, what was given with it, the last frame that it wrote."""

    opened_in: int
    given: int
    sequence: int


@implementer(ISink)
class LoggedSink:
    """Logs what a door takes, then passes it on."""

    def __init__(self, log: WindowLog, downstream: ISink) -> None:
        self._log = log
        self._downstream = downstream

    def accept(self, batch: Batch) -> None:
        """Log and pass on."""
        self._log.append(batch.ids, batch.values, batch.weights)
        self._downstream.accept(batch)


class WindowKeeper:
    """Keeps the log of one window; its journal.  Reactor thread.

    `keep`: the next process goes on with the window, so that the log stays when this one ends.
    """

    def __init__(self, log: WindowLog, window: StatsdWindow, space: Space, telemetry: Telemetry, hands: Hands) -> None:
        self.log = log
        self._window = window
        self._space = space
        self._account = telemetry.account("window log")
        self._hands = hands
        self._opened_in = log.log.serial
        self._marks: deque[_Mark] = deque()
        self._unlogged = 0
        self.keep = False
        window.journal = self
        space.keys.hold(log)

    def services(self, reactor: Any, sync_s: float) -> list[IService]:
        """Return what runs from before the first value comes until after the last is told; it does not close us."""
        replay = Step("window log", lambda: self.replay(reactor.seconds()))
        syncer = Syncer(reactor, self.log.sync, sync_s, self._account, "the log of the window")
        return [replay, syncer, Every("release of the log", reactor, _TEND_S, lambda _: self.tend())]

    def replay(self, now: float) -> None:
        """Read what a former process left: tell its flushes again, and go on with its open window."""
        for found in replay_window(self.log.log, self._space.table, self._account, int(now)):
            if isinstance(found, Closed):
                self._window.retell(found.timestamp)
            elif isinstance(found, Levels):
                self._window.restore_levels(found.ids, found.levels, found.moved)
            else:
                self._window.restore(found.ids, found.values, found.weights)
        values = self._account.counters.get("replayed", 0)
        if values:
            _log.info("{values} values of a former process are in the window again", values=values)

    @property
    def lacks(self) -> bool:
        """Whether the log lacks values of the open window that it was given: it is full, or the disk refused them."""
        return self.log.account.counters.get("unlogged", 0) != self._unlogged

    def closed(self, timestamp: float) -> None:
        """The window closed: the next one begins in a segment of its own."""
        self._opened_in = self.log.closed(timestamp)
        self._unlogged = self.log.account.counters.get("unlogged", 0)

    def levels(self, ids: Ids, levels: Any, moved: Mask) -> None:
        """Log the levels of gauges."""
        self.log.levels(ids, levels, moved)

    def told(self) -> None:
        """The flush is told: what its window logged may go as soon as that is safe."""
        self.log.turn_ended()
        self._marks.append(_Mark(self._opened_in, self._hands.given(), self.log.log.sequence))
        self.tend()

    def tend(self) -> None:
        """Let go of the log of flushes that are out of our hands, once the levels that go on are synced."""
        safe, synced = self._hands.safe(), self.log.log.synced_sequence
        while self._marks and self._marks[0].given <= safe and (synced < 0 or self._marks[0].sequence <= synced):
            self.log.release(self._marks.popleft().opened_in)

    def close(self, safe: bool = False) -> None:
        """Everything is told and the destination is closed: keep the log only if something could not be given away.

        `safe`: nothing is in our hands any more, whatever `hands` says.
        """
        if safe and self._marks:
            self.log.release(self._marks[-1].opened_in)
            self._marks.clear()
        self.tend()
        self.log.close(keep=self.keep or bool(self._marks))

    def forget(self) -> None:
        """Let go of the log for good: the window goes on without one."""
        self._window.journal = None
        self._space.keys.release(self.log)
        self._marks.clear()
        self.close()


def through_log(keeper: WindowKeeper | None, keep: Keep, transport: str, sink: ISink) -> ISink:
    """Return what a door delivers into: `sink`, behind the log where that takes what comes over `transport`."""
    return LoggedSink(keeper.log, sink) if keeper is not None and keep.logs(transport) else sink


def keeper_of(
    keep: Keep, window: StatsdWindow, space: Space, telemetry: Telemetry, hands: Hands
) -> WindowKeeper | None:
    """Return the keeper of a window's log; None where none is wanted, or the folder cannot be had, which is logged.

    Whoever runs it lets the log end each turn.
    """
    if not keep.folder or keep.inputs == "none":
        return None
    folder = os.path.join(keep.folder, "window")
    try:
        segments = SegmentLog(folder, keep.segment_bytes)
    except (OSError, StorageError) as error:
        _log.error("there is no log of the window, so kill -9 loses it: {folder}: {error}", folder=folder, error=error)
        return None
    log = WindowLog(segments, space.table, telemetry.account("window log"), keep.window_bytes)
    return WindowKeeper(log, window, space, telemetry, hands)


def recall(keep: Keep, window: StatsdWindow, space: Space, telemetry: Telemetry, now: float) -> None:
    """Read what a former process left of a window that has no log now: levels of gauges, or what it still logged."""
    if keep.folder and os.path.isdir(os.path.join(keep.folder, "window")):
        keeper = keeper_of(keep, window, space, telemetry, Hands(int, int))
        if keeper is not None:
            keeper.replay(now)
            keeper.forget()


def backlog_of(keep: Keep, name: str) -> Backlog | None:
    """Return the queue on the disk of the destination `name`; None where none is wanted, or can be had (logged)."""
    if not keep.folder or not keep.spool_bytes:
        return None
    folder = os.path.join(keep.folder, "spool", name)
    try:
        return Backlog(folder, keep.segment_bytes)
    except (OSError, StorageError) as error:
        _log.error("what waits for {name} stays in memory: {folder}: {error}", name=name, folder=folder, error=error)
        return None
