"""Guesses how much a TCP peer has not read of what its kernel has confirmed.

The kernel of a peer confirms what it has put aside, up to tens of megabytes; when the peer is killed, all that is lost.
It also tells how much more it would take (the window).  The widest window seen, less the one now, is what waits there
to be read, as far as can be known.
"""

from __future__ import annotations

import socket
import struct

__all__ = ["PeerWindow", "offered_window", "silence_s"]

STEADY_S = 5.0
ENOUGH_PROBES = 3
_NUMBER = struct.Struct("@I")
_SND_WND_AT = 228  # in struct tcp_info of Linux 5.4 and later
_RETRANSMITS_AT = 2
_LAST_ACK_MS_AT = 56
_INFO_BYTES = _SND_WND_AT + _NUMBER.size


def offered_window(sock: socket.socket) -> int | None:
    """Return how many bytes more the peer of a TCP socket would take, None where the system does not tell."""
    if not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return None
    window: int | None = _NUMBER.unpack_from(info, _SND_WND_AT)[0] if len(info) >= _INFO_BYTES else None
    return window


def silence_s(sock: socket.socket) -> float:
    """Return for how many seconds a TCP peer has confirmed nothing of what is sent to it again and again.

    0 while nothing is repeated: a peer that does not read, but whose kernel answers, is not silent.
    """
    if not hasattr(socket, "TCP_INFO"):
        return 0.0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return 0.0
    if len(info) < _LAST_ACK_MS_AT + _NUMBER.size or not info[_RETRANSMITS_AT]:
        return 0.0
    return float(_NUMBER.unpack_from(info, _LAST_ACK_MS_AT)[0]) / 1000


class PeerWindow:
    """What one peer offers.  `unread` bytes wait to be read there; `held` while these are more than `most`.

    What is known is as old as the peer's last answer: it tells of a wider window by itself only when that has doubled.
    So who is held writes a little now and then (`probed`), and gets an answer.  A kernel that runs short of memory
    narrows its window for good: when nothing has changed for `STEADY_S` through several probes, all has been read.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.unread = 0
        self.held = False
        self._widest = 0
        self._window = 0
        self._steady_since = 0.0
        self._probes = 0

    def look(self, window: int, all_confirmed: bool, now: float) -> None:
        """Take note of the window that the peer offers at `now`; `all_confirmed`: it has all that was written."""
        self._steady_since = min(self._steady_since, now)
        if window != self._window:
            self._window, self._steady_since, self._probes = window, now, 0
        elif all_confirmed and self._probes >= ENOUGH_PROBES and now - self._steady_since >= STEADY_S:
            self._widest = window
        self._widest = max(self._widest, window)
        self.unread = self._widest - window
        self.held = self.unread > self.most

    def probed(self) -> None:
        """Tell that a little was written."""
        self._probes += 1
