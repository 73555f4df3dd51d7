"""Opens the doors when the write-ahead log has been read, and closes them first of all at the stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import CooperativeTask, Cooperator
from twisted.logger import Logger

from cadtwist.services.passing import DRAIN_S
from cadtwist.services.sequence import Sequence

__all__ = ["Admission"]


class Admission(Service):
    """Replays the logs in slices, so that queries are answered meanwhile, then starts every listener.

    `daemon` is a `services.build.Daemon`.  A listener that cannot be opened stops the process: a cache that hears
    nothing must not look healthy.
    """

    name = "admission"
    _log = Logger()

    def __init__(self, daemon: Any) -> None:
        self._daemon = daemon
        self._task: CooperativeTask[Any] | None = None
        self._doors = Sequence()
        for door in daemon.doors.services():
            door.setServiceParent(self._doors)

    def startService(self) -> None:
        """Begin with the logs; without one the doors open at once."""
        super().startService()
        if all(graph.log is None for graph in self._daemon.graphs):
            self._open_doors()
            return
        self._cooperator = Cooperator(scheduler=lambda work: self._daemon.reactor.callLater(0, work))
        self._task = self._cooperator.cooperate(self._replayed())
        self._task.whenDone().addCallbacks(self._open, self._not_replayed)

    def stopService(self) -> Deferred[Any]:
        """Close the doors, hand over what has been received, write it to the log.

        A stop while the log is read leaves everything in the log: the next start reads it again.
        """
        super().stopService()
        unread = [graph for graph in self._daemon.graphs if graph.replaying]
        if self._task is not None and unread:
            self._cooperator.stop()
            for graph in unread:
                graph.writer.leave()
        closed = self._doors.stopService()
        closed.addCallback(lambda _: self._daemon.doors.drain(DRAIN_S, stays=False))
        closed.addCallback(lambda _: self._hand_over())
        return closed

    def _hand_over(self) -> None:
        self._daemon.doors.disconnect()
        self._daemon.turn.end()

    def _replayed(self) -> Iterator[None]:
        for graph in self._daemon.graphs:
            yield from graph.replayed()

    def _open(self, _: object) -> None:
        for graph in self._daemon.graphs:
            graph.ready()
        if not self.running:
            return
        try:
            self._open_doors()
        except Exception as error:  # noqa: BLE001 (whatever it is, we cannot serve)
            self._daemon.fail(f"a listener cannot be opened, so we stop: {error}")

    def _open_doors(self) -> None:
        self._doors.startService()
        for left in self._daemon.inherited.close():
            self._log.warn(
                "{kind} {key} of the former process is closed: nobody wants it", kind=left.kind, key=left.key
            )

    def _not_replayed(self, failure: Any) -> None:
        if self.running:
            self._log.failure("reading the write-ahead log", failure)
            self._daemon.fail(f"the write-ahead log cannot be read, so we stop: {failure.getErrorMessage()}")
