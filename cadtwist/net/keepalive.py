"""Notices peers that vanished: TCP keep-alive."""

from __future__ import annotations

import socket
from dataclasses import dataclass

__all__ = ["KeepAlive"]


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """After `idle_s` seconds of silence ask every `interval_s`; `count` unanswered questions end the connection."""

    enabled: bool = True
    idle_s: int = 10
    interval_s: int = 30
    count: int = 2

    def apply(self, sock: socket.socket) -> None:
        """Set the options; on Linux the connections that a listening socket accepts inherit them."""
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(self.enabled))
        if not self.enabled:
            return
        wanted = (("TCP_KEEPIDLE", self.idle_s), ("TCP_KEEPINTVL", self.interval_s), ("TCP_KEEPCNT", self.count))
        for option, number in wanted:
            if hasattr(socket, option):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), number)
