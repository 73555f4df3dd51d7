"""Keep-alive options of a socket."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.net.keepalive import KeepAlive


class KeepAliveTests(SynchronousTestCase):
    def test_sets_all_of_them(self) -> None:
        with socket.socket() as sock:
            KeepAlive(True, 21, 22, 4).apply(sock)
            self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1)
            found = [
                sock.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            ]
            self.assertEqual(found, [21, 22, 4])

    def test_off(self) -> None:
        with socket.socket() as sock:
            KeepAlive(False).apply(sock)
            self.assertEqual(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), 0)
