"""Flusher: the one timer that drives all windows of a process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

__all__ = ["SLICE_S", "Flusher", "TimedStage"]

SLICE_S = 0.02
"""A flush gives way to the sockets after so many seconds."""


class TimedStage(Protocol):
    """A stage that tells by time."""

    def next_flush(self, now: float) -> float | None:
        """Return when something is to be told; None while there is nothing."""

    def flush(self, now: float, budget_s: float) -> bool:
        """Tell what is due, in slices; False when `budget_s` was over before all was told."""

    def finish(self, now: float) -> None:
        """Tell whatever is open: nothing more will come."""


class Flusher(Service):
    """Flushes `stages()` when they are due, in slices; when it stops, it tells what is still open.  Reactor thread.

    `wake` is a job of the turn: data may have made a stage due sooner.  A stage that fails is logged, and tried again
    a second later.
    """

    _log = Logger()

    def __init__(self, reactor: Any, stages: Callable[[], Iterable[TimedStage]]) -> None:
        self.setName("flushes")
        self._stages = stages
        self._reactor = reactor
        self._call: IDelayedCall | None = None
        self._due = 0.0
        self._held_from = math.inf

    def startService(self) -> None:
        """Begin to flush."""
        super().startService()
        self.wake()

    def stopService(self) -> None:
        """Flush no more by time; tell what is open."""
        super().stopService()
        self._cancel()
        now = self._reactor.seconds()
        for stage in self._stages():
            try:
                stage.finish(now)
            except Exception:  # noqa: BLE001 (what others hold must be told)
                self._log.failure("the last flush of {stage} failed", stage=type(stage).__name__)

    def hold(self, stages: Iterable[TimedStage], latest: float) -> float:
        """Return where the last interval ends that is open in `stages`: at once where none is, or at `latest`.

        Whoever asks stops us then: what is due then or later is told by that alone, once.
        """
        now = float(self._reactor.seconds())
        ends = [due for stage in stages if (due := stage.next_flush(now)) is not None]
        self._held_from = max(now, min(latest, max(ends, default=now)))
        self.wake()
        return self._held_from

    def wake(self) -> None:
        """Look when the next stage is due."""
        if not self.running:
            return
        now = self._reactor.seconds()
        due = min((each for stage in self._stages() if (each := stage.next_flush(now)) is not None), default=None)
        if due is None or due >= self._held_from:
            self._cancel()
        elif self._call is None or due < self._due:
            self._wait(due - now, due)

    def _wait(self, seconds: float, due: float) -> None:
        self._cancel()
        self._due = due
        self._call = self._reactor.callLater(max(0.0, seconds), self._flush)

    def _cancel(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _flush(self) -> None:
        self._call = None
        now, again = self._reactor.seconds(), 0.0
        if now >= self._held_from:
            return
        for stage in self._stages():
            try:
                stage.flush(now, SLICE_S)
            except Exception:  # noqa: BLE001 (one stage's fault must not keep the others from telling)
                self._log.failure("the flush of {stage} failed", stage=type(stage).__name__)
                again = 1.0
        if again:
            self._wait(again, now + again)
        else:
            self.wake()
