"""What one connection has taken of a queue: chunks to write, chunks that were written, until they have passed."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from cadtwist.journal.backlog import Chunk
from cadtwist.journal.keptwindow import KeptWindow, WindowFolder
from cadtwist.journal.queuelimits import QueueLimits
from cadtwist.telemetry import Account

__all__ = ["Flight", "Source"]


class Source(Protocol):
    """What a flight asks of its queue, and tells it."""

    account: Account
    limits: QueueLimits
    divisible: bool
    window: WindowFolder

    def take(self, now: float) -> Chunk | None:
        """Return the next chunk to send, or None."""

    def taken(self) -> None:
        """Tell that a connection took what it could."""

    def settle(self, chunk: Chunk) -> None:
        """Count a chunk as passed."""

    def settle_head(self, chunk: Chunk, size: int) -> Chunk:
        """Count the lines in the first `size` bytes of a chunk as passed; return the rest."""

    def forget(self, chunk: Chunk) -> None:
        """Count a chunk as lost: it cannot be read again."""

    def give_back(self, flight: Flight, chunks: list[Chunk], now: float) -> None:
        """Queue again, before all others, what a connection did not deliver."""


class Flight:
    """What one connection has taken: bytes to write, and bytes that were written but have not passed.

    Offsets count the bytes of this connection.  Invariant: at `_base` begin the chunks that are `_kept` in the file,
    and behind them `_chunks`; `_base <= _edge <= written`, and everything before `_edge` has passed (of a chunk that
    lies across it, the lines before it).
    """

    __slots__ = (
        "_base", "_chunks", "_confirmed", "_edge", "_kept", "_loads", "_marks", "_pieces", "_spool", "_taken", "ended",
        "written",
    )  # fmt: skip

    def __init__(self, spool: Source) -> None:
        self.written = 0
        self.ended = False
        self._spool = spool
        self._kept = KeptWindow(spool.window)
        self._chunks: deque[Chunk] = deque()
        self._pieces: deque[memoryview] = deque()
        self._loads: deque[int] = deque()
        self._base = 0
        self._edge = 0
        self._taken = 0
        self._confirmed = 0
        self._marks: deque[tuple[float, int]] = deque()

    @property
    def unwritten_bytes(self) -> int:
        """Bytes taken that were not written."""
        return self._taken - self.written

    @property
    def unsafe_bytes(self) -> int:
        """Bytes written that have not passed."""
        return self.written - self._edge

    @property
    def held_bytes(self) -> int:
        """Bytes in memory, of the chunks that were taken and have not passed."""
        return self._taken - self._base - self._kept.size

    @property
    def kept_bytes(self) -> int:
        """Bytes in the file, of the chunks that were confirmed and have not passed."""
        return self._kept.size

    @property
    def window_bytes(self) -> int:
        """The most confirmed bytes that are kept for sending again; 0 where bytes pass as they are written."""
        limits = self._spool.limits
        return limits.window_bytes if limits.window_s else 0

    @property
    def points(self) -> int:
        """Datapoints taken that have not passed."""
        return self._kept.points + sum(chunk.points for chunk in self._chunks)

    def fill(self, most: int, now: float) -> deque[memoryview]:
        """Return the bytes to write next, about `most` of them, taking more from the queue where that is needed."""
        spool, pieces = self._spool, self._pieces
        while self._taken - self.written < most:
            chunk = spool.take(now)
            if chunk is None:
                break
            self._chunks.append(chunk)
            pieces.append(memoryview(chunk.data))
            self._loads.append(chunk.points)
            self._taken += len(chunk.data)
        spool.taken()
        return pieces

    def wrote(self, size: int) -> None:
        """Tell that the kernel took the next `size` bytes."""
        self.written += size
        pieces, sent = self._pieces, 0
        while size:
            piece = pieces[0]
            if len(piece) > size:
                pieces[0] = piece[size:]
                break
            size -= len(piece)
            pieces.popleft()
            sent += self._loads.popleft()
        if sent:
            self._spool.account.count("sent", sent)
        if not self._spool.limits.window_s:
            self._pass_to(self.written)

    def acknowledged(self, offset: int, now: float, keeps_up: bool, unread: int = 0) -> None:
        """Tell up to where the peer's kernel has confirmed the bytes.

        `keeps_up`: the peer takes what is sent; `unread`: so many of the confirmed bytes it has not read.
        """
        limits, marks = self._spool.limits, self._marks
        edge = offset - max(limits.window_bytes, unread)
        if marks and marks[-1][0] > now:
            marks.clear()
        if not keeps_up:
            marks.clear()
        else:
            quiet = offset == self._confirmed  # then `unread` may be old: who has read does not say so
            marks.append((now, offset if quiet else offset - unread))
            while marks and marks[0][0] <= now - limits.window_s:
                edge = max(edge, marks.popleft()[1])
        self._confirmed = offset
        self._pass_to(edge)
        if limits.window_in_file and limits.window_s:
            kept = self._kept
            kept.take(self._chunks, offset - self._base - kept.size, limits.window_bytes, now)

    def finished(self) -> None:
        """Tell that all written bytes were confirmed before we closed the connection: the peer reads to the end."""
        self._pass_to(self.written)

    def _pass_to(self, edge: int) -> None:
        if edge <= self._edge:
            return
        self._edge = edge
        chunks, kept = self._chunks, self._kept
        if kept.size:
            before = kept.size
            for chunk in kept.free(edge - self._base):
                self._spool.settle(chunk)
            self._base += before - kept.size
        while not kept.size and chunks and self._base + len(chunks[0].data) <= edge:
            chunk = chunks.popleft()
            self._base += len(chunk.data)
            self._spool.settle(chunk)

    def lost(self, now: float) -> None:
        """Tell that the connection is gone: what has not passed is queued again, from the begin of a line."""
        if self.ended:
            return
        self.ended = True
        spool, chunks = self._spool, self._chunks
        self._recall()
        if spool.divisible and chunks and self._edge > self._base:
            chunk = chunks[0]
            cut = chunk.data.rfind(b"\n", 0, self._edge - self._base) + 1
            if cut:
                chunks[0] = spool.settle_head(chunk, cut)
                self._base += cut
        spool.account.count("resent", self._repeated())
        spool.give_back(self, list(chunks), now)
        chunks.clear()
        self._pieces.clear()
        self._loads.clear()

    def _recall(self) -> None:
        """Bring back what is in the file."""
        found = list[Chunk]()
        for chunk, size in self._kept.recall():
            if len(chunk.data) == size:
                found.append(chunk)
                continue
            self._spool.forget(chunk)
            if not found:
                self._base += size
        self._chunks.extendleft(reversed(found))

    def _repeated(self) -> int:
        """Return how many datapoints the peer may have got already of what is given back.

        Counted from the end, as chunks may be missing: all before such a one was written.
        """
        end, points = self._taken, 0
        for chunk in reversed(self._chunks):
            begin = end - len(chunk.data)
            if end <= self.written:
                points += chunk.points
            elif self._spool.divisible and begin < self.written:
                points += min(chunk.points, chunk.data.count(b"\n", 0, self.written - begin))
            end = begin
        return points
