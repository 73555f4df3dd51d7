"""With what status, and which words, a process ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import Any, NoReturn

from twisted.internet.error import ReactorNotRunning

__all__ = ["EXIT_CONFIG", "EXIT_LEGACY", "exit_with", "fail_with", "signals_end_with_zero", "stop_reactor"]

EXIT_CONFIG = 2
EXIT_LEGACY = 1


def fail_with(problems: list[str], status: int) -> NoReturn:
    """Print all problems to stderr and exit with `status`."""
    for problem in problems:
        print(problem, file=sys.stderr)  # noqa: T201 (before there is a log)
    raise SystemExit(status)


def exit_with(status: int) -> None:
    """End the process with `status`: the reactor's end knows no other than zero."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def stop_reactor(reactor: Any) -> None:
    """Stop the reactor, if it runs."""
    with contextlib.suppress(ReactorNotRunning):
        reactor.stop()


def signals_end_with_zero(reactor: Any, *more: int) -> None:
    """Let SIGTERM, SIGINT and `more` end the process with 0: the reactor's own handlers make twistd end by the signal.

    To be called when the reactor runs, which sets its own at its start.
    """
    for number in (signal.SIGTERM, signal.SIGINT, *more):
        signal.signal(number, lambda *_: reactor.callFromThread(stop_reactor, reactor))
