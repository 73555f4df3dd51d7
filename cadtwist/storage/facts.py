"""Asks the disk about files."""

from __future__ import annotations

import os
from collections.abc import Iterable

from cadtwist.errors import StorageError
from cadtwist.model.filefacts import FileFacts

__all__ = ["disk_space", "facts_of"]

_BLOCK_BYTES = 512  # what st_blocks counts in, whatever the disk's own blocks are


def facts_of(paths: Iterable[str | bytes]) -> FileFacts | None:
    """Return the facts of all files of these that are there; None for none.  Blocks on the disk."""
    joined: FileFacts | None = None
    for path in paths:
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            continue
        one = FileFacts(found.st_size, found.st_blocks * _BLOCK_BYTES, int(found.st_mtime), int(found.st_atime))
        joined = one if joined is None else joined.joined(one)
    return joined


def disk_space(root: str) -> tuple[int, int]:
    """Return the bytes that are free for us on the disk of a folder, and all; StorageError where none can be asked.

    A folder that nobody has made yet will be where the next one above is.
    """
    folder = os.path.abspath(root)
    try:
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        found = os.statvfs(folder)
    except OSError as error:
        raise StorageError(f"{root}: {error.strerror}") from error
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
