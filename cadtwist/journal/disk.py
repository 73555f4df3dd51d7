"""The few things that a log asks of the file system, in one place so that a test can make them fail."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["Disk"]


class Disk:
    """Plain system calls; every method raises OSError.  Any thread."""

    def open(self, path: Path, flags: int) -> int:
        """Return a descriptor of `path`."""
        return os.open(path, flags | os.O_CLOEXEC, 0o644)

    def write(self, fd: int, data: bytes | bytearray, offset: int) -> None:
        """Write all of `data` at `offset`."""
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            done += os.pwrite(fd, memoryview(data)[done:], offset + done)

    def unnamed(self, folder: str | None) -> int:
        """Return a descriptor of a new file without a name, in `folder` or that of temporary files."""
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return os.dup(file.fileno())

    def write_all(self, fd: int, buffers: Sequence[bytes], offset: int) -> None:
        """Write all of `buffers` at `offset`, at most IOV_MAX of them."""
        done = os.pwritev(fd, buffers, offset)
        if done < sum(map(len, buffers)):
            self.write(fd, b"".join(buffers)[done:], offset + done)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Return the `size` bytes at `offset`; fewer are an error, too."""
        data = os.pread(fd, size, offset)
        if len(data) < size:
            raise OSError(errno.EIO, f"{len(data)} of {size} bytes at {offset}")
        return data

    def rename(self, path: Path, new: Path) -> None:
        """Give a file a new name in the same folder."""
        os.rename(path, new)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        os.unlink(path)

    def sync(self, path: Path) -> None:
        """Bring the data of a file, or the names of a folder, to the disk."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def fill(self, path: Path, size: int) -> None:
        """Make a file of `size` zeros whose blocks are reserved on the disk."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(fd, 0, size)
            os.fsync(fd)
        finally:
            os.close(fd)
