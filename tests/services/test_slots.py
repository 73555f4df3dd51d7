"""What processes of our own say."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ProcessDone
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.slots import ChildProcess


class WordsTests(SynchronousTestCase):
    """Lines in our log are lines of the worker, however they come."""

    def setUp(self) -> None:
        self.said: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.ends: list[str] = []
        self.child = ChildProcess(self.ends.append, "worker")

    def observe(self, event: Any) -> None:
        if "what" in event:
            self.said.append(event["line"])

    def test_pieces_are_put_together(self) -> None:
        for piece in (b"one\ntw", b"o\r\nthr"):
            self.child.errReceived(piece)
        self.child.outReceived(b"beside\n")
        self.child.errReceived(b"ee \xff\n\n")
        self.assertEqual(self.said, ["one", "two", "beside", "three \ufffd", ""])

    def test_the_end_ends_a_line(self) -> None:
        self.child.errReceived(b"last wor")
        self.child.errReceived(b"ds")
        self.assertEqual(self.said, [])
        self.child.processEnded(Failure(ProcessDone(0)))
        self.assertEqual((self.said, len(self.ends)), (["last words"], 1))

    def test_a_line_without_an_end_is_not_kept_for_ever(self) -> None:
        for _ in range(5):
            self.child.outReceived(b"x" * 3000)
        self.assertEqual([len(line) for line in self.said], [9000])
