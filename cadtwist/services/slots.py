"""Processes of our own: one that dies is started again, after a delay that grows while they die young."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["ChildProcess", "Slot", "child_environment", "one_protocol"]

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
_STEADY_S = 60.0
_KILL_AFTER_S = 5.0
_LONGEST_LINE = 8192


class Slot:
    """The place of one process: who is in it now, and when the next comes.  Reactor thread.

    `spawn(child)` starts the process whose protocol is `child`, gives `child.link` the connection to it, and returns
    the IProcessTransport; `what` is its name in the log.  One that does not leave in `patience_s` is killed.
    """

    def __init__(
        self, reactor: Any, spawn: Callable[[ChildProcess], Any], what: str, patience_s: float = _KILL_AFTER_S
    ) -> None:
        self._reactor = reactor
        self._spawn = spawn
        self._what = what
        self._patience_s = patience_s
        self._worker: ChildProcess | None = None
        self._process: Any = None
        self._again: IDelayedCall | None = None
        self._kill: IDelayedCall | None = None
        self._delay = _FIRST_DELAY_S
        self._born = 0.0
        self._ended: Deferred[None] | None = None
        self._log = Logger()

    @property
    def pid(self) -> int:
        """The process id, 0 while none runs."""
        return 0 if self._process is None else int(self._process.pid or 0)

    def start(self) -> None:
        """Start the worker."""
        self._again = None
        self._born = self._reactor.seconds()
        self._worker = ChildProcess(self._gone, self._what)
        try:
            self._process = self._spawn(self._worker)
        except OSError:
            self._log.failure("Starting a {what}", what=self._what)
            self._gone("not started")

    def stop(self) -> Deferred[None]:
        """End the worker; fires when it is gone."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._process is None or self._worker is None:
            return succeed(None)
        self._ended = Deferred()
        self._worker.leave()
        self._kill = self._reactor.callLater(self._patience_s, self._process.signalProcess, "KILL")
        return self._ended

    def _gone(self, why: str) -> None:
        self._process = None
        if self._worker is not None:
            self._worker.leave()
        if self._ended is not None:
            if self._kill is not None and self._kill.active():
                self._kill.cancel()
            self._ended.callback(None)
            return
        if self._reactor.seconds() - self._born > _STEADY_S:
            self._delay = _FIRST_DELAY_S
        self._log.error(
            "A {what} ended ({why}); the next comes in {delay} s", what=self._what, why=why, delay=self._delay
        )
        self._again = self._reactor.callLater(self._delay, self.start)
        self._delay = min(self._delay * 2, _LONGEST_DELAY_S)


class ChildProcess(ProcessProtocol):
    """One process: its words go to our log, its end to `gone`."""

    def __init__(self, gone: Callable[[str], object], what: str) -> None:
        self._gone = gone
        self._what = what
        self._log = Logger()
        self._begun: dict[bool, bytes] = {False: b"", True: b""}
        self.link: Protocol | None = None

    def leave(self) -> None:
        """Close our end of its socket, which it takes as the request to end."""
        if self.link is not None and self.link.transport is not None:
            self.link.transport.loseConnection()

    def outReceived(self, data: bytes) -> None:
        """Log what the worker says, line by line."""
        self._said(data, False)

    def errReceived(self, data: bytes) -> None:
        """Log what the worker says, line by line."""
        self._said(data, True)

    def _said(self, data: bytes, to_stderr: bool) -> None:
        *lines, rest = (self._begun[to_stderr] + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._begun[to_stderr] = rest
        self._tell(lines)

    def _tell(self, lines: list[bytes]) -> None:
        for line in lines:
            self._log.info("{what}: {line}", what=self._what, line=line.decode("utf-8", "replace").rstrip("\r"))

    def processEnded(self, reason: Failure) -> None:
        """Tell of the end, and of a last line that has none."""
        self._tell([rest for rest in self._begun.values() if rest])
        self._gone(reason.getErrorMessage())


def one_protocol(protocol: Protocol) -> Factory:
    """Return a factory that builds `protocol`, for a connection that is there already."""

    class _One(Factory):
        noisy = False

        def buildProtocol(self, addr: object) -> Protocol:  # noqa: ARG002
            return protocol

    return _One()


def child_environment() -> dict[str, str]:
    """Return our environment, so that a child finds the package where we found it."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": root + os.pathsep + known if known else root}
