"""Workers with uneven work: the loudest connections go to those that have less to do.

A new connection goes to the worker that has the fewest, whatever it will send.  So now and then each worker tells how
much it has heard, and from whom; where one hears much more than the others, connections whose rate makes the
difference smaller are taken from it, with the bytes of an unfinished line, and given to another.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from cadtwist.net.handover import Passed, detached, has_unsent
from cadtwist.protocols.factory import Connection, ReceiverFactory
from cadtwist.services.passing import within

__all__ = ["LOOK_S", "Balance", "Load", "Loudest", "Move", "moves"]

LOOK_S = 2.0
"""How often to look; what is uneven at two looks in a row is moved."""

_WORTH_BYTES = 4 << 20
"""What all workers must have heard since the last look: where there is little work, nobody needs to share it."""

_FAIR = 1.15
"""One that hears so many times the mean does not hear too much."""

_GAIN = 0.75
"""A move must leave no more than this part of the difference."""

_PATIENCE_S = 2.0
_MOST_TOLD = 32
_MOST_MOVES = 8


class Load(NamedTuple):
    """What a worker has heard since the last look: all of it, and its loudest connections, in bytes."""

    total: int
    loud: Sequence[int]


class Move(NamedTuple):
    """The connection `number` (its place in `loud`) goes from the worker `source` to `target`."""

    source: int
    target: int
    number: int


def moves(loads: Sequence[Load]) -> list[Move]:
    """Return which connections should change their workers, so that all hear about the same."""
    totals = [load.total for load in loads]
    whole, found = sum(totals), list[Move]()
    left = [dict(enumerate(load.loud)) for load in loads]
    while whole >= _WORTH_BYTES and len(found) < _MOST_MOVES:
        source = max(range(len(totals)), key=totals.__getitem__)
        target = min(range(len(totals)), key=totals.__getitem__)
        gap = totals[source] - totals[target]
        if totals[source] * len(totals) <= _FAIR * whole or not left[source]:
            break
        number, rate = min(left[source].items(), key=lambda item: (abs(gap - 2 * item[1]), item[1]))
        if abs(gap - 2 * rate) > _GAIN * gap:
            break
        del left[source][number]
        totals[source] -= rate
        totals[target] += rate
        found.append(Move(source, target, number))
    return found


class Loudest:
    """A worker's side: what the connections at its `doors` (by name) were heard to say.  Reactor thread."""

    def __init__(self, doors: Mapping[str, Any]) -> None:
        self._doors = doors
        self._told: list[tuple[str, Connection]] = []

    def look(self) -> Load:
        """Return what was heard since the last look."""
        heard: list[tuple[int, str, Connection]] = []
        for name, door in self._doors.items():
            if isinstance(door, ReceiverFactory):
                for connection in door.passable():
                    if connection.heard_bytes:
                        heard.append((connection.heard_bytes, name, connection))
                        connection.heard_bytes = 0
        loud = heapq.nlargest(_MOST_TOLD, heard, key=lambda each: each[0])
        self._told = [(name, connection) for _, name, connection in loud]
        return Load(sum(each[0] for each in heard), [each[0] for each in loud])

    def let_go(self, numbers: Sequence[int]) -> list[tuple[int, Passed]]:
        """Take connections out of our hands, by their places in what was told last; not those that have ended.

        One to which an answer is still being written stays.
        """
        found = []
        for number in numbers:
            name, connection = self._told[number]
            transport: Any = connection.transport
            if connection in self._doors[name].connections and transport.connected and not has_unsent(transport):
                unread, skipping = connection.unread()
                fd = detached(transport, connection)
                found.append((number, Passed(kind="connection", key=name, data=unread, skipping=skipping, fd=fd)))
        self._told = []
        return found


class Balance(Service):
    """Looks and moves, for the supervisor.  Reactor thread.

    `ask()` gives what each worker's `Loudest.look` told, None for one that does not answer; `move(source, targets)`
    lets connections go from one worker, by number, to others, and fires when they are there.
    """

    name = "balance of workers"
    _log = Logger()

    def __init__(
        self,
        clock: Any,
        ask: Callable[[], Deferred[list[Any]]],
        move: Callable[[int, dict[int, int]], Deferred[Any]],
    ) -> None:
        self._clock = clock
        self._ask = ask
        self._move = move
        self._call: IDelayedCall | None = None
        self._uneven: int | None = None
        self._work: Deferred[Any] | None = None

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._schedule()

    def stopService(self) -> Deferred[Any]:
        """Look no more; fires when nothing is on its way any more, or when a worker does not answer.

        May be called again.
        """
        if self.running:
            super().stopService()
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._work is None:
            return succeed(None)
        ended: Deferred[Any] = Deferred()
        self._work.addBoth(lambda _: ended.callback(None))
        return within(self._clock, _PATIENCE_S, ended)

    def _schedule(self) -> None:
        if self.running:
            self._call = self._clock.callLater(LOOK_S, self._look)

    def _look(self) -> None:
        self._call = None
        self._work = self._ask().addCallback(self._told)
        self._work.addErrback(lambda failure: self._log.failure("Balancing workers", failure))
        self._work.addBoth(self._looked)

    def _looked(self, _: object) -> None:
        self._work = None
        self._schedule()

    def _told(self, told: list[Any]) -> Deferred[Any] | None:
        """Move where the same worker has heard too much twice in a row."""
        if not self.running or any(each is None for each in told):
            return None
        wanted = moves([Load(total, loud) for total, loud in told])
        before, self._uneven = self._uneven, wanted[0].source if wanted else None
        if self._uneven is None or self._uneven != before:
            return None
        self._uneven = None
        by_source: dict[int, dict[int, int]] = {}
        for source, target, number in wanted:
            by_source.setdefault(source, {})[number] = target
        return DeferredList([self._move(source, targets) for source, targets in by_source.items()])
