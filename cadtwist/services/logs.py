"""carbon's log files, and the system's log.

carbon's are console.log, listener.log, creates.log ... in one folder, lines `DD/MM/YYYY HH:MM:SS :: text`.

An event goes to the file that its `log_file` field names, else to the one of its namespace, else to console.log.
Files are made on first use; with rotation a new one is begun each day, without it a file that was moved away (by
logrotate) is opened anew.
"""

from __future__ import annotations

import contextlib
import os
import syslog
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.logger import ILogObserver, LogEvent, LogLevel, LogPublisher, formatEvent
from twisted.python.logfile import DailyLogFile
from zope.interface import implementer

__all__ = ["CarbonLogs", "ReopenedFile", "SystemLog", "file_of", "text_of"]

_BY_NAMESPACE = (
    ("cadtwist.protocols.cachequery", "query"),
    ("cadtwist.protocols", "listener"),
    ("cadtwist.net.tagdb", "tagdb"),
    ("cadtwist.cache", "cache"),
)


def file_of(event: LogEvent) -> str:
    """Return the log file (without `.log`) that `event` belongs to."""
    named = event.get("log_file")
    if isinstance(named, str):
        return named
    namespace = str(event.get("log_namespace", ""))
    for prefix, name in _BY_NAMESPACE:
        if namespace == prefix or namespace.startswith(prefix + "."):
            return name
    return "console"


def text_of(event: LogEvent) -> str:
    """Return what an event says, with the traceback that it may have."""
    text, failure = formatEvent(event), event.get("log_failure")
    return text if failure is None else f"{text}\n{failure.getTraceback()}"


class ReopenedFile:
    """A log file that notices that somebody moved it away."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (kept open)

    def write(self, text: str) -> None:
        """Append whole lines."""
        try:
            same = os.stat(self._path).st_ino == os.fstat(self._file.fileno()).st_ino
        except OSError:
            same = False
        if not same:
            self._file.close()
            self._file = open(self._path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._file.write(text)

    def close(self) -> None:
        """Write no more."""
        self._file.close()


@implementer(ILogObserver)
class CarbonLogs(Service):
    """Writes every event of `publisher` into its file while the service runs.  Below `level` nothing is written."""

    name = "logs"

    def __init__(self, directory: str, rotate: bool, publisher: LogPublisher, level: Any = LogLevel.info) -> None:
        self._directory = directory
        self._rotate = rotate
        self._publisher = publisher
        self._level = level
        self._files: dict[str, Any] = {}

    def startService(self) -> None:
        """Make the folder and begin to write."""
        super().startService()
        os.makedirs(self._directory, exist_ok=True)
        self._publisher.addObserver(self)

    def stopService(self) -> None:
        """Write no more and close the files."""
        super().stopService()
        self._publisher.removeObserver(self)
        for opened in self._files.values():
            opened.close()
        self._files.clear()

    def __call__(self, event: LogEvent) -> None:
        """Write one event; a full disk loses log lines, never the daemon."""
        if event.get("log_level", LogLevel.info) < self._level:
            return
        stamp = time.strftime("%d/%m/%Y %H:%M:%S", time.localtime(event.get("log_time")))
        with contextlib.suppress(OSError):
            self._file(file_of(event)).write(f"{stamp} :: {text_of(event)}\n")

    def _file(self, name: str) -> Any:
        found = self._files.get(name)
        if found is None:
            if self._rotate:
                found = DailyLogFile(f"{name}.log", self._directory)
            else:
                found = ReopenedFile(os.path.join(self._directory, f"{name}.log"))
            self._files[name] = found
        return found


@implementer(ILogObserver)
class SystemLog:
    """Gives what is logged to the system's log, under the name `application`.

    `level` (`LOG_INFO`) is that of what happens; what is wrong has at least that of a warning.  `send` is syslog(3).
    """

    def __init__(self, application: str, level: str, send: Callable[[int, str], object] = syslog.syslog) -> None:
        self._level = int(getattr(syslog, level))
        self._send = send
        syslog.openlog(application, syslog.LOG_PID, syslog.LOG_LOCAL0)

    def __call__(self, event: LogEvent) -> None:
        """Send the lines of an event."""
        level = event.get("log_level", LogLevel.info)
        if level == LogLevel.debug:
            return
        urgent = level in (LogLevel.warn, LogLevel.error, LogLevel.critical)
        for line in text_of(event).splitlines():
            self._send(min(self._level, syslog.LOG_WARNING) if urgent else self._level, line)
