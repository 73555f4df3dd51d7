"""The common part of statsd and statsite: one window, its log, and doors that the next process may take over."""

from __future__ import annotations

from collections.abc import Sequence as Several
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed

from cadtwist.flow import Gate
from cadtwist.net.handover import Inheritance, Passed
from cadtwist.services.flushing import Flusher
from cadtwist.services.passing import PassedDoors
from cadtwist.services.sequence import Every, Sequence, Step
from cadtwist.services.space import Space
from cadtwist.services.statsdintakes import StatsdIntakes
from cadtwist.services.turn import Turn
from cadtwist.services.windowkeeper import Hands, Keep, WindowKeeper, keeper_of
from cadtwist.stages.statsd import StatsdWindow
from cadtwist.telemetry import Telemetry

__all__ = ["WINDOW_BYTES", "WindowDaemon"]

NAMES_BYTES = 1 << 30
WINDOW_BYTES = 2 << 30
IDLE_S = 3600
SWEEP_S = 1.0


class WindowDaemon:
    """Subclasses make the window and call `_begin`, then give `_sequence` what they send and listen with.

    `keep`: what is kept on the disk.  `inherited`: what a former process passed.  Reactor thread.
    """

    def __init__(self, reactor: Any, protocol: str, keep: Keep, inherited: Inheritance | None) -> None:
        self.reactor = reactor
        self.keep = keep
        self.telemetry = Telemetry()
        self.turn = Turn(reactor)
        self.gate = Gate()
        self.space = Space("statsd names", NAMES_BYTES, self.telemetry)
        self.intakes = StatsdIntakes(protocol, reactor, self.telemetry, self.gate, self.turn)
        self._inherited = inherited or Inheritance()
        self.doors = PassedDoors(reactor, self.telemetry, self._inherited)
        self._leaving = False

    def _begin(self, window: StatsdWindow, hands: Hands, logged: Several[bool]) -> None:
        """Take the window, with a log if what comes through some of the doors is logged."""
        self.window = window
        self.space.keys.hold(window)
        self._hands = hands
        self.keeper = self._keeper() if any(logged) else None
        self._logs_all = all(logged)
        self.flusher = Flusher(self.reactor, lambda: () if self._leaving and self._is_whole else (self.window,))
        logging = [] if self.keeper is None else [self.keeper.log.turn_ended]
        for job in (self.intakes.flush, *logging, self.flusher.wake, self.space.keys.turn_ended):
            self.turn.add(job)

    def _keeper(self) -> WindowKeeper | None:
        return keeper_of(self.keep, self.window, self.space, self.telemetry, self._hands)

    def _sequence(self, sending: Several[IService], listening: Several[IService]) -> Sequence:
        """Return the parts in the order in which they start; they stop in the reverse order."""
        sequence = Sequence()
        for part in (
            Step("end of the window log", None, self._close_log),
            *self._log_services(),
            *sending,
            self.flusher,
            Step("what was read", None, self.intakes.flush),
            Step("connections", None, lambda: self.doors.disconnect(self.gate)),
            *listening,
            Every("sweep", self.reactor, SWEEP_S, lambda now: self.space.sweep(now, IDLE_S)),
        ):
            part.setServiceParent(sequence)
        return sequence

    def _log_services(self) -> list[IService]:
        return [] if self.keeper is None else self.keeper.services(self.reactor, self.keep.sync_s)

    def _close_log(self) -> None:
        if self.keeper is not None:
            self.keeper.close()

    # when another process takes its place

    @property
    def _is_whole(self) -> bool:
        """Whether the log has all that is open."""
        return self.keeper is not None and self._logs_all and not self.keeper.lacks

    def passable_at(self, latest: float) -> float:
        """Return when all may be passed on: at the end of the interval, where the log has not all of it."""
        return self.flusher.hold(() if self._is_whole else (self.window,), latest)

    def drain(self, most_s: float) -> Deferred[None]:  # noqa: ARG002 (for others it may take a while)
        """Let connections end that cannot be passed on: there are none."""
        return succeed(None)

    def pass_on(self) -> list[Passed]:
        """Stop reading and give the sockets away; what was received is handed over first."""
        passed = [*self.doors.pass_on(), *self._unread()]
        self.turn.end()
        return passed

    def _unread(self) -> list[Passed]:
        """Stop reading elsewhere, and return what was read of an unfinished line."""
        return []

    def leave(self) -> None:
        """Let the next process have the log, where it has all that is open; else it is told."""
        self._leaving = True
        if self.keeper is not None and self._is_whole:
            self.keeper.keep = True

    def remains(self) -> list[Passed]:
        """Return what could not be given away before the stop: nothing, unless a subclass has such."""
        return []
