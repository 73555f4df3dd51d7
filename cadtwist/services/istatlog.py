"""A log file in istatd's form, `YYYY-MM-DDTHH:MM:SS (pid) level :  text`, local time, at a level that may change."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence

from twisted.application.service import Service
from twisted.logger import ILogObserver, LogEvent, LogLevel, LogPublisher
from zope.interface import implementer

from cadtwist.services.logs import ReopenedFile, text_of

__all__ = ["IstatLog"]

_LEVELS = {
    LogLevel.critical: (0, "error"),
    LogLevel.error: (0, "error"),
    LogLevel.warn: (1, "warning"),
    LogLevel.info: (2, "notice"),
    LogLevel.debug: (3, "debug"),
}


@implementer(ILogObserver)
class IstatLog(Service):
    """Writes events of `publisher` while the service runs: those of level `levels[0]` and graver ones, asked each time.

    A file that was moved away is opened anew.  OSError at the start where it cannot be written.
    """

    name = "log file"

    def __init__(self, path: str, levels: Sequence[int], publisher: LogPublisher) -> None:
        self._path = os.path.abspath(path)
        self._levels = levels
        self._publisher = publisher
        self._file: ReopenedFile | None = None

    def startService(self) -> None:
        """Open the file and begin to write."""
        super().startService()
        self._file = ReopenedFile(self._path)
        self._publisher.addObserver(self)

    def stopService(self) -> None:
        """Write no more and close the file."""
        super().stopService()
        self._publisher.removeObserver(self)
        if self._file is not None:
            self._file.close()
            self._file = None

    def __call__(self, event: LogEvent) -> None:
        """Write one event; a full disk loses log lines, never the daemon."""
        number, name = _LEVELS[event.get("log_level", LogLevel.info)]
        if number > self._levels[0] or self._file is None:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(event.get("log_time")))
        with contextlib.suppress(OSError):
            self._file.write(f"{stamp} ({os.getpid()}) {name} :  {text_of(event)}\n")
