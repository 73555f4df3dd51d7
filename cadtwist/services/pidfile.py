"""Pid files of our own, beside twistd's: they name whoever serves now, also after a hand-over."""

from __future__ import annotations

import contextlib
import fcntl
import os

from twisted.logger import Logger

__all__ = ["PidFile"]


class PidFile:
    """A file with our process id, mode 0644, locked while it is written.  One that cannot be written is only logged."""

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.path = path

    def write(self) -> None:
        """Write our process id."""
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            self._log.error("the pid file cannot be written: {error}", error=error)
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            self._log.error("the pid file {path} cannot be written: {error}", path=self.path, error=error)
        finally:
            os.close(fd)

    def remove(self) -> None:
        """Remove it, if it is still ours."""
        with contextlib.suppress(OSError, ValueError), open(self.path, encoding="ascii") as file:
            if int(file.read(32)) == os.getpid():
                os.unlink(self.path)
