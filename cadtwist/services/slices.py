"""Long pieces of work, a slice at a time, between which the reactor does everything else."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator

__all__ = ["OneByOne"]

Result = TypeVar("Result")


class OneByOne:
    """Runs generators to their end, in the order in which they came, so that only one holds half of a large result.

    A turn of the reactor runs slices for about ten milliseconds at most, and one slice at least.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._cooperator = Cooperator(scheduler=lambda work: reactor.callLater(0, work))
        self._lock = DeferredLock()

    def __call__(self, slices: Generator[None, None, Result]) -> Deferred[Result]:
        """Return a Deferred of what `slices` return, or of what they raise."""
        return self._lock.run(self._run, slices)

    def _run(self, slices: Generator[None, None, Result]) -> Deferred[Result]:
        results: list[Result] = []

        def keep() -> Iterator[None]:
            results.append((yield from slices))

        ended: Deferred[Any] = self._cooperator.cooperate(keep()).whenDone()
        return ended.addCallback(lambda _: results[0])
