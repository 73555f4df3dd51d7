"""Descriptors and bytes from one process to the next."""

from __future__ import annotations

import os
import socket
import threading

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.net.handover import FdChannel, Inheritance, Passed, receive_all, send_all


def pair() -> tuple[FdChannel, FdChannel]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return FdChannel(ours), FdChannel(theirs)


class ChannelTests(SynchronousTestCase):
    """Messages keep their borders and their descriptors."""

    def setUp(self) -> None:
        self.ours, self.theirs = pair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def test_messages_of_any_length(self) -> None:
        for size in (0, 1, 32 << 10, (32 << 10) + 1, 1 << 20):
            message = os.urandom(size)
            sender = threading.Thread(target=self.ours.send, args=(message,))
            sender.start()
            self.assertEqual(self.theirs.receive(), (message, []))
            sender.join()

    def test_an_end_is_told(self) -> None:
        self.ours.close()
        self.assertIsNone(self.theirs.receive())

    def test_what_is_too_much_is_refused(self) -> None:
        self.assertRaises(ValueError, self.ours.send, b"", range(9))

    def test_sockets_and_bytes_arrive(self) -> None:
        door = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(door.close)
        client = socket.create_connection(door.getsockname())
        self.addCleanup(client.close)
        accepted, _ = door.accept()
        client.sendall(b"more\n")
        sent = [
            Passed(kind="listener", key="line tcp:1", fd=os.dup(door.fileno())),
            Passed(kind="connection", key="line tcp:1", data=b"half a ", fd=accepted.detach()),
            Passed(kind="chunk", key="host:1", data=b"x" * 100_000, points=7),
        ]
        sender = threading.Thread(target=send_all, args=(self.ours, sent))
        sender.start()
        found = receive_all(self.theirs)
        sender.join()
        assert found is not None
        inherited = Inheritance(found)
        listening = inherited.socket("listener", "line tcp:1")
        assert listening is not None
        self.addCleanup(listening.close)
        self.assertEqual(listening.getsockname(), door.getsockname())
        (connection,) = inherited.take("connection", "line tcp:1")
        with socket.socket(fileno=connection.fd) as mine:
            self.assertEqual((connection.data, mine.recv(100)), (b"half a ", b"more\n"))
        (chunk,) = inherited.close()
        self.assertEqual((chunk.key, chunk.points, len(chunk.data)), ("host:1", 7, 100_000))

    def test_half_an_inheritance_is_none(self) -> None:
        """The old process died while it sent: the new one starts as if there had been nobody."""
        read_end, write_end = os.pipe()
        self.addCleanup(os.close, write_end)
        self.addCleanup(os.close, read_end)
        thing = Passed(kind="datagrams", key="line udp:1", fd=read_end)
        sender = threading.Thread(target=self.send_one, args=(thing,))
        sender.start()
        self.assertIsNone(receive_all(self.theirs))
        sender.join()

    def send_one(self, thing: Passed) -> None:
        with self.assertRaises(ValueError):
            send_all(self.ours, [thing, Passed(kind="chunk", key="", data=bytes(257 << 20))])
        self.ours.close()
