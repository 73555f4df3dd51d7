"""A client for Twisted: a service whose timers and requests belong to the reactor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import treq
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed, ResponseNeverReceived

from cadtwist.client.blocking import told
from cadtwist.client.core import KILLED, POLL_TIMEOUT_S, Backoff, Core
from cadtwist.client.settings import ClientSettings, client_settings
from cadtwist.client.threads import end_process

__all__ = ["TwistedAsk", "TwistedClient", "ask_by_reactor"]

TwistedAsk = Callable[[str, bytes, float], "Deferred[tuple[int, bytes]]"]
"""As `client.blocking.Ask`, by a Deferred; any failure means that there was no answer."""

_RESET = (ConnectionLost, ConnectionResetError, ResponseFailed, ResponseNeverReceived)


def ask_by_reactor(reactor: Any, settings: ClientSettings) -> TwistedAsk:
    """Return what puts to the server of `settings`, each time over a connection of its own."""
    agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
    client = treq.client.HTTPClient(agent)
    base = f"http://{settings.http_host}:{settings.http_port}"

    def ask(path: str, body: bytes, seconds: float) -> Deferred[tuple[int, bytes]]:
        headers: dict[bytes | str, bytes | str] = {"Content-Type": "application/json"}
        asked: Deferred[Any] = client.put(base + path, data=body, headers=headers, timeout=seconds)
        return asked.addCallback(_read).addTimeout(seconds, reactor)

    return ask


def _read(response: Any) -> Deferred[tuple[int, bytes]]:
    code: int = response.code
    read: Deferred[Any] = treq.content(response)
    return read.addCallback(lambda body: (code, body))


class TwistedClient(Service):
    """Start and stop it as any service; `stopService` sends the rest.  While it is stopped, values are ignored."""

    name = "dattss client"

    def __init__(
        self,
        reactor: Any,
        settings: ClientSettings | None = None,
        ask: TwistedAsk | None = None,
        on_kill: Callable[[], object] = end_process,
        **given: Any,
    ) -> None:
        self.settings = settings or client_settings(os.environ, sys.argv, **given)
        self.core = Core(self.settings, told)
        self._reactor = reactor
        self._ask = ask or ask_by_reactor(reactor, self.settings)
        self._on_kill = on_kill
        self._loop = LoopingCall(self.push)
        self._loop.clock = reactor
        self._backoff = Backoff()
        self._again: IDelayedCall | None = None
        self._polling: Deferred[Any] | None = None
        self._pushing: Deferred[Any] | None = None

    def agg(self, path: str, value: str) -> bool:
        """Count a value such as `1c`."""
        return bool(self.running) and self.core.agg(path, value)

    def startService(self) -> None:
        """Begin to send."""
        super().startService()
        self._loop.start(self.settings.push_period_s, now=False)
        if self.core.polls:
            self._poll()

    def stopService(self) -> Deferred[Any]:
        """Send the rest and end; the Deferred fires when that is done."""
        super().stopService()
        self._loop.stop()
        if self._again is not None and self._again.active():
            self._again.cancel()
        under_way = [each for each in (self._pushing,) if each is not None]
        if self._polling is not None:
            self._polling.cancel()
        return DeferredList(under_way).addCallback(lambda _: self.push())

    def push(self) -> Deferred[bool]:
        """Send what there is now; False when the server does not take it, then it is kept.  Never fails."""
        partials, body = self.core.take()
        asked: Deferred[Any] = self._ask(self.core.put_path, body, self.settings.timeout_s)
        done: Deferred[bool] = Deferred()
        self._pushing = done

        def settle(answer: tuple[int, bytes] | Failure) -> None:
            if self._pushing is done:
                self._pushing = None
            done.callback(self.core.settle(partials, None if isinstance(answer, Failure) else answer[0]))

        asked.addBoth(settle)
        return done

    def _poll(self) -> None:
        asked: Deferred[Any] = self._ask(self.core.poll_path, self.core.poll_body(), POLL_TIMEOUT_S)
        self._polling = asked.addBoth(self._polled)

    def _polled(self, answer: tuple[int, bytes] | Failure) -> None:
        self._polling = None
        if not self.running:
            return
        if isinstance(answer, Failure):
            reached = answer.check(*_RESET) is not None
        else:
            reached = answer[0] == 200
            if self.core.kills(answer[1]):
                told(KILLED)
                self._on_kill()
                return
        self._again = self._reactor.callLater(self._backoff.after(reached), self._poll)
