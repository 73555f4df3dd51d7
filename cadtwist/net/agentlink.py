"""Connections to the daemon that gets what is forwarded: a greeting first, istatd's own delays between attempts."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IProtocol

from cadtwist.journal.backlog import Backlog
from cadtwist.net.client import Link, stream_endpoint
from cadtwist.net.destination import Destination, DestinationOptions
from cadtwist.net.outlets import Owner, SocketOptions, SocketOutlet
from cadtwist.telemetry import Account

__all__ = ["AgentDestination", "agent_delays"]

LONGEST_S, SOON_S = 180, 30


def agent_delays(chance: Callable[[int, int], int] = random.randint) -> Callable[[int], float]:
    """Return the seconds to wait before attempt n (from 1) that follows n failures: half as long again each time."""

    def delay(attempt: int) -> float:
        seconds = 1
        for _ in range(min(attempt, 32)):
            seconds = min(LONGEST_S, int((seconds + 1) * 1.5))
        return seconds + chance(0, 3 if seconds < SOON_S else 15)

    return delay


class GreetingOutlet(SocketOutlet):
    """A connection that says who we are before anything else."""

    greeting: Callable[[], bytes]

    def __init__(self, owner: Owner, options: SocketOptions, number: int, greeting: Callable[[], bytes]) -> None:
        super().__init__(owner, options, number)
        self.greeting = greeting

    def begin(self) -> None:
        """Send the greeting; the buffer of a fresh socket has room for it."""
        super().begin()
        try:
            self._socket.send(self.greeting())
        except OSError:
            self.end()


class AgentDestination(Destination):
    """A Destination whose connections begin with `greeting()`."""

    def __init__(
        self,
        reactor: Any,
        key: str,
        options: DestinationOptions,
        account: Account,
        greeting: Callable[[], bytes],
        backlog: Backlog | None = None,
    ) -> None:
        self._greeting = greeting
        super().__init__(reactor, key, options, account, backlog=backlog)

    def _make_links(self, endpoint: Any, _post: Any) -> None:
        options = self.options
        found = endpoint or stream_endpoint(
            self._reactor, options.transport, options.host, options.port, options.path, options.retry.timeout_s
        )
        self._links = [
            Link(self._reactor, found, partial(self._build, number), agent_delays(), self._attempt_failed)
            for number in range(options.connections)
        ]

    def _build(self, number: int) -> IProtocol:
        return GreetingOutlet(self, self._socket_options, number, self._greeting)
