"""Starting and stopping in order: a later part is started when the earlier one runs, and stopped before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, inlineCallbacks, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

__all__ = ["Every", "Sequence", "Step"]


_NEARLY = 0.001


class Sequence(MultiService):
    """A MultiService whose children stop one after the other, last one first, each waited for.

    A child that was not started is not stopped.  One child's failure to stop is logged and never keeps the others
    from stopping: what comes last in the sequence (closing the log and the files) must happen.
    """

    _log = Logger()

    @inlineCallbacks
    def stopService(self) -> Any:
        """Stop all children in reverse order; the Deferred fires when the last one is done."""
        Service.stopService(self)
        for child in reversed(list(self)):
            yield self._stop_one(child)

    def _stop_one(self, child: IService) -> Deferred[Any]:
        if not getattr(child, "running", True):
            return succeed(None)
        stopped = maybeDeferred(child.stopService)
        stopped.addErrback(
            lambda failure: self._log.failure("stopping {name} failed", failure, name=getattr(child, "name", child))
        )
        return stopped


class Step(Service):
    """Two callables as a service: `on_start()` and `on_stop()`, the latter may return a Deferred."""

    def __init__(
        self,
        name: str,
        on_start: Callable[[], object] | None = None,
        on_stop: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self._on_start = on_start
        self._on_stop = on_stop

    def startService(self) -> None:
        """Call `on_start`."""
        super().startService()
        if self._on_start is not None:
            self._on_start()

    def stopService(self) -> Any:
        """Call `on_stop` and hand on what it returns."""
        super().stopService()
        return self._on_stop() if self._on_stop is not None else None


class Every(Service):
    """Calls `job(now)` every `interval_s`, first after one interval; a failing job is logged and called again."""

    _log = Logger()

    def __init__(self, name: str, clock: Any, interval_s: float, job: Callable[[float], object]) -> None:
        self.name = name
        self._clock = clock
        self._interval_s = interval_s
        self._job = job
        self._call: IDelayedCall | None = None

    def startService(self) -> None:
        """Begin to call."""
        super().startService()
        self._schedule()

    def stopService(self) -> None:
        """Call no more."""
        super().stopService()
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _schedule(self) -> None:
        """Wait for the next multiple of the interval since the epoch, so that nothing drifts.

        One that is (nearly) now is the one that was just told, by a clock that is a little behind.
        """
        now = self._clock.seconds()
        wait_s = self._interval_s - now % self._interval_s
        if wait_s < _NEARLY * self._interval_s:
            wait_s += self._interval_s
        self._call = self._clock.callLater(wait_s, self._due)

    def _due(self) -> None:
        try:
            self._job(round(self._clock.seconds(), 3))
        except Exception:  # noqa: BLE001 (one failure must not end a timer)
            self._log.failure("{name} failed", name=self.name)
        if self.running:
            self._schedule()
