"""Work that is due once at the end of a reactor turn in which something happened."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

__all__ = ["Turn"]


class Turn:
    """Runs its jobs once per reactor turn in which `begin` was called; reactor thread.

    The jobs run in the order given (journal before recycling).  One that fails is logged and stops no other.
    """

    _log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._jobs: list[Callable[[], object]] = []
        self._due = False

    def add(self, job: Callable[[], object]) -> None:
        """Run `job` at the end of each turn from now on."""
        self._jobs.append(job)

    def begin(self) -> None:
        """Tell that this turn did something; cheap to call often."""
        if not self._due:
            self._due = True
            self._reactor.callLater(0, self.end)

    def end(self) -> None:
        """Run the jobs now (a stopping service calls it, so that nothing waits for a turn that never comes)."""
        self._due = False
        for job in self._jobs:
            try:
                job()
            except Exception:  # noqa: BLE001 (one part's fault must not keep the journal from being written)
                self._log.failure("a job at the end of the turn failed")
