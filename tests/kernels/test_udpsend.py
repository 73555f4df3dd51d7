"""Lines as datagrams, on both twins."""

from __future__ import annotations

import errno
import socket
from types import ModuleType

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.twins import native_twin, python_twin

QUICK = settings(max_examples=60, deadline=None, database=None)


def pair() -> tuple[socket.socket, socket.socket]:
    """Return (receiver, connected non-blocking sender) on loopback."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setblocking(False)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setblocking(False)
    sender.connect(receiver.getsockname())
    return receiver, sender


class SendContract:
    """What holds on each twin."""

    kernel: ModuleType

    def setUp(self) -> None:
        self.receiver, self.sender = pair()
        self.addCleanup(self.receiver.close)  # type: ignore[attr-defined]
        self.addCleanup(self.sender.close)  # type: ignore[attr-defined]

    def send(self, data: bytes, most: int = 1400) -> tuple[int, bool, list[tuple[int, int]]]:
        found: tuple[int, bool, list[tuple[int, int]]] = self.kernel.send_lines(self.sender.fileno(), data, most)
        return found

    def received(self) -> list[bytes]:
        found = []
        while True:
            try:
                found.append(self.receiver.recv(65536))
            except BlockingIOError:
                return found

    def test_lines_are_joined_up_to_the_bound(self: SendContract) -> None:
        assert isinstance(self, SynchronousTestCase)
        data = b"".join(b"%04d:1|c\n" % i for i in range(30))
        self.assertEqual(self.send(data, 100), (270, False, []))
        got = self.received()
        self.assertEqual([len(each) for each in got], [99, 99, 72])
        self.assertEqual(b"".join(got), data)

    def test_each_line_on_its_own_without_line_feed(self: SendContract) -> None:
        assert isinstance(self, SynchronousTestCase)
        self.assertEqual(self.send(b"a:1|c\n\nb:2|c\nc", 0), (14, False, []))
        self.assertEqual(self.received(), [b"a:1|c", b"b:2|c", b"c"])

    def test_a_longer_line_goes_alone(self: SendContract) -> None:
        assert isinstance(self, SynchronousTestCase)
        data = b"a\n" + b"x" * 50 + b"\nb\n"
        self.assertEqual(self.send(data, 10)[0], len(data))
        self.assertEqual(self.received(), [b"a\n", b"x" * 50 + b"\n", b"b\n"])

    def test_what_is_too_long_for_a_datagram_is_refused_alone(self: SendContract) -> None:
        assert isinstance(self, SynchronousTestCase)
        data = b"a\n" + b"x" * 70_000 + b"\nb\n"
        self.assertEqual(self.send(data, 10), (len(data), False, [(errno.EMSGSIZE, 1)]))
        self.assertEqual(self.received(), [b"a\n", b"b\n"])

    def test_nobody_there_costs_no_line_of_ours(self: SendContract) -> None:
        assert isinstance(self, SynchronousTestCase)
        self.receiver.close()
        self.assertEqual(self.send(b"a\n")[2], [])
        self.assertEqual(self.send(b"b\n"), (2, False, [(errno.ECONNREFUSED, 0)]))

    def test_a_full_socket_keeps_the_rest(self: SendContract) -> None:
        """A datagram socket of the unix kind is full when its peer does not read."""
        assert isinstance(self, SynchronousTestCase)
        self.sender.close()
        reader, self.sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sender.setblocking(False)
        data = b"".join(b"%05d\n" % i for i in range(2000))
        settled, full, refused = self.send(data, 0)
        self.assertTrue(full)
        self.assertEqual((refused, settled % 6), ([], 0))
        got = []
        while settled < len(data):
            got.append(reader.recv(100))
            settled += self.send(data[settled:], 0)[0]
        reader.setblocking(False)
        while len(got) < 2000:
            got.append(reader.recv(100))
        self.assertEqual(got, data.split())
        reader.close()

    def test_nothing(self: SendContract) -> None:
        assert isinstance(self, SynchronousTestCase)
        self.assertEqual(self.send(b""), (0, False, []))
        self.assertEqual(self.send(b"\n\n", 0), (2, False, []))
        self.assertEqual(self.received(), [])


class PythonSendTests(SendContract, SynchronousTestCase):
    kernel = python_twin("udpsend")


class NativeSendTests(SendContract, SynchronousTestCase):
    def setUp(self) -> None:
        kernel = native_twin("udpsend")
        if kernel is None:
            raise SkipTest("native kernels are not built")
        self.kernel = kernel
        super().setUp()

    @QUICK
    @given(st.lists(st.binary(max_size=40), max_size=150), st.integers(0, 60), st.booleans())
    def test_both_send_the_same(self, pieces: list[bytes], most: int, ended: bool) -> None:
        data = b"\n".join(pieces) + (b"\n" if ended else b"")
        mine = self.send(memoryview(data), most), self.received()  # type: ignore[arg-type]
        theirs = python_twin("udpsend").send_lines(self.sender.fileno(), memoryview(data), most), self.received()
        self.assertEqual(mine, theirs)
