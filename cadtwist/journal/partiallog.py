"""The log of partial aggregates: what a restart takes over of minutes that were not stored, and of the last one.

Payloads of the frames::

    PUT = 1   MessagePack [user, time (epoch s), process, uptime (s) or nil, [partials as maps]]

An uptime of `GONE` tells that the process was taken off.

A frame is written before its sender is answered.  The store tells with each minute up to which frame (epoch, sequence)
it has everything.  Frames of the last minute that are stored already are replayed as well, for the averages.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from cadtwist.journal.segments import SegmentLog
from cadtwist.model.partial import Partial
from cadtwist.model.summaryjob import Place
from cadtwist.telemetry import Account

__all__ = ["GONE", "LoggedPut", "PartialLog"]

GONE = float("-inf")
"""The uptime of a process that was taken off the current state."""

_PUT = 1


class LoggedPut(Struct, frozen=True, array_like=True):
    """What one sender brought at a time."""

    user: str
    now: float
    process: str
    uptime_s: float | None
    partials: list[Partial]


class PartialLog:
    """Reactor thread, save `sync`.  `account` counts `logged` and `unlogged` partials.

    Frames are needed until they are stored and older than `window_s`.  Beyond `most_bytes` (a store that is away for
    long) nothing more is logged.
    """

    def __init__(self, log: SegmentLog, account: Account, window_s: float, most_bytes: int = 256 << 20) -> None:
        self._log = log
        self._account = account
        self._window_s = window_s
        self._most_bytes = most_bytes
        self._newest: dict[int, tuple[float, int]] = {}
        self._former_until = 0.0
        self._encode = msgspec.msgpack.Encoder().encode
        account.gauge("bytes", lambda: float(log.used_bytes))
        account.gauge("failing", lambda: float(log.failing))

    @property
    def place(self) -> Place:
        """Where the last frame stands."""
        return Place(self._log.epoch, self._log.sequence)

    def append(self, put: LoggedPut) -> None:
        """Write a frame at once."""
        if self._log.used_bytes > self._most_bytes:
            self._account.count("unlogged", len(put.partials))
            return
        serial = self._log.append(_PUT, self._encode(put))
        written = self._log.write() and serial > 0
        self._account.count("logged" if written else "unlogged", len(put.partials))
        if serial:
            self._newest[serial] = put.now, self._log.sequence

    def replay(self, stored: Place) -> Iterator[tuple[LoggedPut, bool]]:
        """Yield what an earlier life logged, in order, and whether it is stored; what cannot be read is counted."""
        decode = msgspec.msgpack.Decoder(LoggedPut).decode
        for frame in self._log.read(before=self._log.first_serial):
            try:
                put = decode(frame.payload)
            except (msgspec.DecodeError, msgspec.ValidationError):
                self._account.count("damaged")
                continue
            self._former_until = max(self._former_until, put.now)
            yield put, (frame.epoch, frame.sequence) <= stored
        if self._log.torn or self._log.damaged:
            self._account.count("damaged", self._log.torn + self._log.damaged)

    def stored(self, place: Place, now: float) -> None:
        """Tell that everything up to `place` is stored: let go of what nobody needs any more.

        `place` is of this life; when it is told, what an earlier life left is stored as well.
        """
        oldest, former = now - self._window_s, (self._former_until, 0)
        for serial in self._log.serials:
            newest, sequence = self._newest.get(serial, former)
            if newest > oldest or sequence > place.sequence:
                break
            self._log.release(serial + 1)
            self._newest.pop(serial, None)

    def sync(self) -> None:
        """Bring to the disk what is written.  Blocks; any one thread; raises OSError."""
        self._log.sync()

    def close(self) -> None:
        """Let go of the folder."""
        self._log.close()
