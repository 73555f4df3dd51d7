"""What is known of bytes that a peer has not read."""

from __future__ import annotations

import contextlib
import socket

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from cadtwist.net.peerwindow import ENOUGH_PROBES, STEADY_S, PeerWindow, offered_window, silence_s


class PeerWindowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.peer = PeerWindow(1000)

    def test_the_widest_window_less_the_one_now(self) -> None:
        for window, unread in ((500, 0), (4000, 0), (3500, 500), (3000, 1000), (4000, 0), (9000, 0), (7000, 2000)):
            self.peer.look(window, True, 0.0)
            self.assertEqual((self.peer.unread, self.peer.held), (unread, unread > 1000))

    def held_at(self, window: int) -> None:
        self.peer.look(5000, True, 0.0)
        self.peer.look(window, True, 1.0)
        self.assertTrue(self.peer.held)

    def test_a_window_that_stays_narrow_through_probes_is_all_there_is(self) -> None:
        self.held_at(2000)
        for i in range(ENOUGH_PROBES):
            self.peer.probed()
            self.peer.look(2000, True, 2.0 + i)
        self.assertTrue(self.peer.held)
        self.peer.look(2000, False, 1.0 + STEADY_S)
        self.assertTrue(self.peer.held)
        self.peer.look(2000, True, 1.0 + STEADY_S)
        self.assertEqual((self.peer.unread, self.peer.held), (0, False))

    def test_not_without_probes(self) -> None:
        self.held_at(2000)
        self.peer.look(2000, True, 100.0)
        self.assertTrue(self.peer.held)

    def test_a_peer_that_does_not_read_narrows_it_with_each_probe(self) -> None:
        self.held_at(2000)
        for i in range(20):
            self.peer.probed()
            self.peer.look(1990 - 10 * i, True, 2.0 + STEADY_S * i)
            self.assertTrue(self.peer.held)

    def test_of_a_real_socket(self) -> None:
        with socket.socket() as listening, socket.socket() as ours:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            ours.connect(listening.getsockname())
            before = offered_window(ours)
            if before is None:
                raise SkipTest("the kernel does not tell the window of a peer")
            self.assertGreater(before, 1000)
            theirs, _ = listening.accept()
            ours.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                while True:
                    ours.send(b"x" * 65536)
            after = offered_window(ours)
            self.assertEqual(silence_s(ours), 0.0, "its kernel answers, though nobody reads")
            theirs.close()
        assert after is not None
        self.assertLess(after, before)

    def test_of_something_else(self) -> None:
        with socket.socket(socket.AF_UNIX) as other:
            self.assertIsNone(offered_window(other))
            self.assertEqual(silence_s(other), 0.0)
