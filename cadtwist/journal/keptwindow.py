"""The resend window of a connection: chunks that the peer has confirmed, their bytes in an unnamed file.

They are needed again only when the connection is lost.  So their bytes stand in a ring in a file without a name, which
goes with the process, and only what is known of them stays in memory::

    0 ........ start ======= kept ======= end ........ capacity      or      0 === end ....... start === capacity

A write is one system call for many chunks, and begins anew at 0 where it does not fit behind the last one.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable

from cadtwist.journal.backlog import Chunk
from cadtwist.journal.disk import Disk

__all__ = ["KEEP_BYTES", "KeptWindow", "WindowFolder"]

KEEP_BYTES = 256 << 10
"""So much is written at once, at least: a slow trickle of lines passes before so much has come, and needs no file."""

SLACK_BYTES = 1 << 20
"""How much larger than the window a file may be: for its unused end, and for a chunk that has passed in part."""

RETRY_S = 60.0
"""How long the chunks stay in memory after the disk has refused some."""

_MOST_BUFFERS = 1024
"""What the kernel takes in one call (IOV_MAX)."""


class WindowFolder:
    """Where a queue's windows have their files, and whether that fails.  Reactor thread.

    `folder` None = that of temporary files.  `tell` hears of the first failure after a success, and of bytes that
    cannot be read again.  `failures` counts refused writes and reads.  `keep_bytes` and `slack_bytes`: see the module.
    """

    def __init__(
        self,
        folder: str | None = None,
        tell: Callable[[str], object] | None = None,
        disk: Disk | None = None,
        keep_bytes: int = KEEP_BYTES,
        slack_bytes: int = SLACK_BYTES,
    ) -> None:
        self.folder = folder
        self.disk = disk or Disk()
        self.keep_bytes = keep_bytes
        self.slack_bytes = slack_bytes
        self.failures = 0
        self.tell = tell or (lambda _: None)
        self._told = False
        self._failed_at: float | None = None

    def usable(self, now: float) -> bool:
        """Tell whether to try the disk: not for a while after it has refused."""
        failed = self._failed_at
        return failed is None or not failed <= now < failed + RETRY_S

    def refused(self, error: OSError, now: float) -> None:
        """Take note that the disk took nothing."""
        self.failures += 1
        self._failed_at = now
        if not self._told:
            self._told = True
            self.tell(f"the resend window stays in memory: {error}")

    def worked(self) -> None:
        """Take note that the disk took something."""
        self._failed_at, self._told = None, False

    def unreadable(self, size: int, error: OSError) -> None:
        """Take note that `size` bytes are gone, which would have been sent again."""
        self.failures += 1
        self.tell(f"{size} bytes of the resend window cannot be read, and are not sent again: {error}")


class KeptWindow:
    """The chunks of one connection whose bytes are in its file, oldest first.  Reactor thread; blocks, raises nothing.

    `size` is the number of bytes kept.  The file is made when it is first needed.
    """

    __slots__ = ("_chunks", "_end", "_fd", "_folder", "_start", "size")

    def __init__(self, folder: WindowFolder) -> None:
        self.size = 0
        self._folder = folder
        self._chunks: deque[tuple[Chunk, int, int]] = deque()  # without its bytes, how many there were, their offset
        self._fd = -1
        self._start = 0
        self._end = 0

    @property
    def points(self) -> int:
        """The datapoints of the chunks."""
        return sum(chunk.points for chunk, *_ in self._chunks)

    def take(self, chunks: deque[Chunk], most: int, window_bytes: int, now: float) -> None:
        """Take chunks from the begin of `chunks`, whole ones within the next `most` bytes, as far as that is possible.

        Little, and what finds no room in a file for `window_bytes`, stays where it is.
        """
        folder = self._folder
        while most >= folder.keep_bytes and folder.usable(now):
            batch, size = list[Chunk](), 0
            for chunk in chunks:
                if size >= folder.keep_bytes or len(batch) == _MOST_BUFFERS or size + len(chunk.data) > most:
                    break
                batch.append(chunk)
                size += len(chunk.data)
            enough = size >= folder.keep_bytes or len(batch) == _MOST_BUFFERS
            if not (enough and self._put(batch, size, window_bytes + folder.slack_bytes, now)):
                return
            for _ in batch:
                chunks.popleft()
            most -= size

    def _put(self, chunks: list[Chunk], size: int, capacity: int, now: float) -> bool:
        folder, at = self._folder, self._place(size, capacity)
        if at is None:
            return False
        try:
            if self._fd < 0:
                self._fd = folder.disk.unnamed(folder.folder)
            folder.disk.write_all(self._fd, [chunk.data for chunk in chunks], at)
        except OSError as error:
            folder.refused(error, now)
            if not self._chunks:
                self._close()
            return False
        folder.worked()
        for chunk in chunks:
            length = len(chunk.data)
            self._chunks.append((chunk, length, at))
            chunk.data = b""
            at += length
        self._end = at
        self.size += size
        return True

    def _place(self, size: int, capacity: int) -> int | None:
        """Return the offset of room for `size` bytes, None where there is none."""
        if not self._chunks:
            self._start = self._end = 0
        elif self._end <= self._start:
            return self._end if self._end + size <= self._start else None
        if self._end + size <= capacity:
            return self._end
        return 0 if size <= self._start else None

    def free(self, most: int) -> list[Chunk]:
        """Let go of the oldest chunks, whole ones within the next `most` bytes; return them, without their bytes."""
        freed = list[Chunk]()
        while self._chunks and self._chunks[0][1] <= most:
            chunk, size, at = self._chunks.popleft()
            self._start = at + size
            self.size -= size
            most -= size
            freed.append(chunk)
        return freed

    def recall(self) -> list[tuple[Chunk, int]]:
        """Give all chunks back with their sizes, and the file up; those that cannot be read have no bytes."""
        found = list[tuple[Chunk, int]]()
        missing, why = 0, OSError()
        for chunk, size, at in self._chunks:
            try:
                chunk.data = self._folder.disk.read(self._fd, size, at)
            except OSError as error:
                missing, why = missing + size, error
            found.append((chunk, size))
        if missing:
            self._folder.unreadable(missing, why)
        self._chunks.clear()
        self.size = 0
        self._close()
        return found

    def _close(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1
