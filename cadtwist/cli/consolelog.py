"""twistd's observer for the commands that stay in the foreground: stderr and syslog, from a level on.

`twistd --logger` makes its observer without arguments, so it is told by environment variables what it should do.
"""

from __future__ import annotations

import os
import sys
import syslog
from collections.abc import Callable, Mapping
from typing import TextIO

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

__all__ = ["FIRST", "LEVEL", "STDERR", "SYSLOG", "ConsoleLog"]

FIRST = "CADTWIST_LOG_FIRST"
"""What is said before all else, as what happens; empty = nothing."""

LEVEL = "CADTWIST_LOG_LEVEL"
"""The name of the lowest level that is shown: debug, info, warn, error or critical."""

STDERR = "CADTWIST_LOG_STDERR"
"""`all`, or `error`: only errors go to stderr."""

SYSLOG = "CADTWIST_LOG_SYSLOG"
"""The name under which everything goes to syslog; unset = nothing does."""

_ORDER = [LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical]
_PREFIXES = {LogLevel.debug: "DEBUG: ", LogLevel.error: "ERROR: ", LogLevel.critical: "ERROR: "}


@implementer(ILogObserver)
class ConsoleLog:
    """Writes one line per event; errors are always written to stderr, with the prefix `ERROR: `."""

    def __init__(
        self,
        environ: Mapping[str, str] = os.environ,
        stderr: TextIO | None = None,
        to_syslog: Callable[[str, str], object] | None = None,
    ) -> None:
        self._stderr = stderr
        self._level = LogLevel.lookupByName(environ.get(LEVEL, "info"))
        self._all = environ.get(STDERR, "error") == "all"
        self._name = environ.get(SYSLOG, "")
        self._to_syslog = to_syslog or _syslog
        first = environ.get(FIRST, "")
        if first:
            self({"log_level": LogLevel.info, "log_format": "{text}", "text": first})

    def __call__(self, event: LogEvent) -> None:
        """Write `event`, if it is important enough."""
        level = event.get("log_level", LogLevel.info)
        if _ORDER.index(level) < _ORDER.index(self._level):
            return
        text = _PREFIXES.get(level, "") + formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}".strip()
        if self._name:
            self._to_syslog(self._name, text)
        if self._all or level in (LogLevel.error, LogLevel.critical):
            print(text, file=self._stderr or sys.__stderr__, flush=True)


def _syslog(name: str, text: str) -> None:
    """Write each line at LOG_INFO, whatever its level, as statsrelay does."""
    syslog.openlog(name, syslog.LOG_PID, syslog.LOG_DAEMON)
    for line in text.split("\n"):
        syslog.syslog(syslog.LOG_INFO, line.replace("\0", ""))
