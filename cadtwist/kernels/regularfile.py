"""Opens files that are files: whoever put a pipe, a device or a folder in a file's place makes nobody wait."""

from __future__ import annotations

import errno
import os
import stat

__all__ = ["NotRegularError", "open_regular"]


class NotRegularError(OSError):
    """What lies at a path is no file; `errno` is ENXIO."""


def open_regular(path: bytes | str, flags: int = os.O_RDONLY) -> int:
    """Return a descriptor of a file that is there; never waits.

    NotRegularError for a pipe, a socket, a device or a folder; other OSErrors as `os.open`.
    """
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EISDIR):
            raise NotRegularError(errno.ENXIO, "not a regular file", path) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotRegularError(errno.ENXIO, "not a regular file", path)
    return fd
