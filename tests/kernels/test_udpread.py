"""Both twins read datagrams into one text and know who sent what."""

from __future__ import annotations

import select
import socket
import time
from types import ModuleType
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.twins import native_twin, python_twin


class UdpReadContract:
    """What holds on each twin."""

    kernel: ModuleType

    def setUp(self: Any) -> None:
        self.receiving = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.receiving.close)
        self.receiving.bind(("127.0.0.1", 0))
        self.sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.sending.close)
        self.sending.connect(self.receiving.getsockname())

    def reader(self: Any, ring: int = 1 << 20, most: int = 65535) -> Any:
        found = self.kernel.Reader(self.receiving.fileno(), ring, most)
        self.addCleanup(found.stop)
        return found

    def gather(self: Any, reader: Any, size: int) -> bytes:
        """Take until `size` bytes have come (each wait ends with data, or the test fails after 10 s)."""
        found = b""
        while len(found) < size:
            ready, _, _ = select.select([reader], [], [], 10)
            self.assertTrue(ready, f"only {found!r:.200} came")
            found += reader.take()
        return found

    def test_joins_datagrams_with_line_feeds(self: Any) -> None:
        reader = self.reader()
        for data in (b"a 1 2\nb 1 2\n", b"c 1 2", b"d 1 2\n"):
            self.sending.send(data)
        self.assertEqual(self.gather(reader, 24), b"a 1 2\nb 1 2\nc 1 2\nd 1 2\n")
        self.assertEqual(reader.stats()["datagrams"], 3)
        self.assertEqual(reader.stats()["bytes"], 23)
        self.assertEqual(reader.take(), b"")

    def test_whole_datagrams_have_a_line_feed_behind_their_own(self: Any) -> None:
        reader = self.kernel.Reader(self.receiving.fileno(), 1 << 20, 65535, True)
        self.addCleanup(reader.stop)
        for data in (b"a 1 2\n", b"b 1 2", b"\n"):
            self.sending.send(data)
        self.assertEqual(self.gather(reader, 15), b"a 1 2\n\nb 1 2\n\n\n")
        self.assertEqual((reader.after(0), reader.after(7), reader.after(13)), (7, 13, 15))

    def test_empty_datagrams_leave_no_line(self: Any) -> None:
        reader = self.reader()
        for data in (b"", b"x", b""):
            self.sending.send(data)
        self.assertEqual(self.gather(reader, 2), b"x\n")

    def test_knows_the_peer_of_each_byte(self: Any) -> None:
        reader = self.reader()
        self.sending.send(b"first")
        data = self.gather(reader, 6)
        self.assertEqual([reader.peer(place) for place in (0, 5)], ["127.0.0.1"] * 2)
        self.assertEqual(reader.peer(-1), "")
        self.assertEqual(data, b"first\n")

    def test_tells_where_the_next_datagram_begins(self: Any) -> None:
        reader = self.reader()
        for text in (b"one\ntwo\n", b"three", b"four\nfive"):
            self.sending.send(text)
        reader.stop()
        self.assertEqual(reader.take(), b"one\ntwo\nthree\nfour\nfive\n")
        self.assertEqual([reader.after(place) for place in (0, 7, 8, 13, 14, 23, 99)], [8, 8, 14, 14, 24, 24, 24])

    def test_cuts_and_counts_what_is_too_long(self: Any) -> None:
        reader = self.reader(most=10)
        self.sending.send(b"0123456789")
        self.sending.send(b"0123456789abc")
        self.assertEqual(self.gather(reader, 22), b"0123456789\n" * 2)
        self.assertEqual(reader.stats()["cut"], 1)

    def test_a_small_ring_loses_nothing_that_the_socket_can_hold(self: Any) -> None:
        reader = self.reader(ring=64, most=20)
        for number in range(40):
            self.sending.send(b"datagram %03d" % number)
        expected = b"".join(b"datagram %03d\n" % number for number in range(40))
        self.assertEqual(self.gather(reader, len(expected)), expected)

    def test_stop_is_final_and_idempotent(self: Any) -> None:
        reader = self.reader()
        self.sending.send(b"x")
        self.gather(reader, 2)
        reader.stop()
        reader.stop()
        self.assertEqual(reader.fileno(), -1)
        self.assertEqual(reader.take(), b"")
        self.assertEqual(reader.stats()["datagrams"], 1)

    def test_stop_leaves_what_had_come(self: Any) -> None:
        reader = self.reader()
        for number in range(200):
            self.sending.send(b"%03d" % number)
        reader.stop()
        found = b""
        while data := reader.take():
            self.assertEqual(reader.peer(0), "127.0.0.1")
            found += data
        self.assertEqual(found, b"".join(b"%03d\n" % number for number in range(200)))
        self.assertEqual(reader.stats()["datagrams"], 200)

    def test_stops_while_the_ring_is_full(self: Any) -> None:
        reader = self.reader(ring=32, most=20)
        for _ in range(20):
            self.sending.send(b"0123456789")
        select.select([reader], [], [], 10)
        reader.stop()

    def test_refuses_a_ring_that_is_too_small(self: Any) -> None:
        with self.assertRaises(ValueError):
            self.kernel.Reader(self.receiving.fileno(), 10, 20)
        with self.assertRaises(OSError):
            self.kernel.Reader(1_000_000, 1000, 20)

    def test_ipv6(self: Any) -> None:
        try:
            receiving = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
            self.addCleanup(receiving.close)
            receiving.bind(("::1", 0))
        except OSError as error:
            raise SkipTest(f"no IPv6 here: {error}") from None
        self.receiving.close()
        self.receiving = receiving
        reader = self.reader()
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sending:
            sending.sendto(b"six", receiving.getsockname())
        self.gather(reader, 4)
        self.assertEqual(reader.peer(0), "::1")


class PythonUdpReadTests(UdpReadContract, SynchronousTestCase):
    kernel = python_twin("udpread")


class NativeUdpReadTests(UdpReadContract, SynchronousTestCase):
    def setUp(self) -> None:
        kernel = native_twin("udpread")
        if kernel is None:
            raise SkipTest("the native twin is not built")
        self.kernel = kernel
        super().setUp()

    def test_lends_pieces_of_whole_datagrams(self) -> None:
        reader = self.reader(ring=16 << 20)
        lines = b"".join(b"metric.%05d 1 2\n" % number for number in range(3000))
        found, pieces, end = b"", 0, time.monotonic() + 30
        for number in range(40):
            self.sending.send(lines)
            while reader.stats()["datagrams"] <= number:
                self.assertLess(time.monotonic(), end, f"{number} datagrams came")
        while len(found) < 40 * len(lines):
            ready, _, _ = select.select([reader], [], [], 10)
            self.assertTrue(ready)
            piece = reader.take()
            self.assertLessEqual(len(piece), 1 << 19)
            self.assertTrue(piece.endswith(b"\n"))
            self.assertEqual([reader.peer(0), reader.peer(len(piece) - 1)], ["127.0.0.1"] * 2)
            self.assertEqual(reader.peer(len(piece)), "")
            self.assertEqual([reader.after(0), reader.after(len(piece) - 1)], [len(lines), len(piece)])
            self.assertEqual(len(piece) % len(lines), 0)
            if reader.more:
                self.assertTrue(select.select([reader], [], [], 0)[0])
            pieces += reader.more
            found += piece
        self.assertEqual((found, pieces), (lines * 40, 3))
        self.assertFalse(reader.more)
        self.assertFalse(select.select([reader], [], [], 0)[0])

    def test_counts_what_the_kernel_dropped(self) -> None:
        self.receiving.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader = self.reader(ring=2048, most=1000)
        for _ in range(200):
            self.sending.send(b"x" * 999)
        found = 0
        while select.select([reader], [], [], 0.2)[0]:
            found += len(reader.take()) // 1000
        self.sending.send(b"after")  # the count of lost datagrams comes with the next one
        self.gather(reader, 6)
        stats = reader.stats()
        self.assertEqual(stats["datagrams"], found + 1)
        self.assertEqual(stats["dropped"], 200 - found)
        self.assertGreater(stats["waits"], 0)
