"""Whisper files that somebody compressed to keep them: read, never written."""

from __future__ import annotations

import gzip
import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from cadtwist.errors import StorageError
from cadtwist.kernels.regularfile import open_regular

__all__ = ["ZIPPED", "unzipped"]

ZIPPED = b".gz"
"""What the path of a whisper file has at its end when it is compressed."""

_MOST_BYTES = 1 << 28
_CHUNK = 1 << 20


@contextmanager
def unzipped(path: bytes) -> Iterator[bytes]:
    """Yield a path under which the contents of a compressed file can be read meanwhile.

    OSError where it cannot be opened, StorageError where it is damaged or too large.
    """
    zipped = os.fdopen(open_regular(path), "rb")
    with zipped, gzip.GzipFile(fileobj=zipped) as source, _scratch() as (fd, place):
        size = 0
        try:
            while chunk := source.read(_CHUNK):
                size += len(chunk)
                if size > _MOST_BYTES:
                    raise StorageError(f"{os.fsdecode(path)}: more than {_MOST_BYTES} bytes when unpacked")
                os.write(fd, chunk)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise StorageError(f"{os.fsdecode(path)}: {error}") from error
        yield place


@contextmanager
def _scratch() -> Iterator[tuple[int, bytes]]:
    """Yield a descriptor and a path of a file that nobody else sees and that is gone afterwards."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("whisper")
        try:
            yield fd, b"/proc/self/fd/%d" % fd
        finally:
            os.close(fd)
    else:
        with tempfile.NamedTemporaryFile() as file:
            yield file.fileno(), os.fsencode(file.name)
