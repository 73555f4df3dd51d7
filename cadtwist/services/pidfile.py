"""Pid files of our own, beside twistd's: they name whoever serves now, also after a hand-over."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from twisted.logger import Logger

__all__ = ["PidFile"]


class PidFile:
    """A file with our process id, mode 0644; one that somebody has locked, or that cannot be written, is only logged.

    It appears whole, and whole is put in the place of the former one: arbiters look at it all the time.
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.path = path

    def write(self) -> None:
        """Write our process id."""
        try:
            self._write(b"%d\n" % os.getpid())
        except OSError as error:
            self._log.error("the pid file {path} cannot be written: {error}", path=self.path, error=error)

    def _write(self, text: bytes) -> None:
        fd = -1
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if fd >= 0:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_plain(fd) and self._replaced(text):
                return
            if fd < 0:
                fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            os.pwrite(fd, text, 0)
            if self._is_plain(fd):
                os.ftruncate(fd, len(text))
        finally:
            if fd >= 0:
                os.close(fd)

    def _is_plain(self, fd: int) -> bool:
        """Tell whether the path is a file, or nothing yet: no link and no device."""
        return not os.path.islink(self.path) and (fd < 0 or stat.S_ISREG(os.fstat(fd).st_mode))

    def _replaced(self, text: bytes) -> bool:
        """Put a new file in its place, whole; False where the folder is not ours to write in."""
        fresh = f"{self.path}.{os.getpid()}"
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError:
            return False
        try:
            os.write(fd, text)
            os.replace(fresh, self.path)
        except OSError:
            os.unlink(fresh)
            return False
        finally:
            os.close(fd)
        return True

    def remove(self) -> None:
        """Remove it, if it is still ours."""
        with contextlib.suppress(OSError, ValueError), open(self.path, encoding="ascii") as file:
            if int(file.read(32)) == os.getpid():
                os.unlink(self.path)
