"""The log hears of each peer at most once per interval."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.model.badinput import BadInput
from cadtwist.protocols.badlog import BadInputLog


class BadInputLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.observer = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)
        self.log = BadInputLog(self.clock.seconds, max_peers=3)

    def tell(self, peer: str, items: int = 1) -> None:
        self.log("line", peer, BadInput("fields", b"only one"), items)

    def told(self) -> list[str]:
        return [event["log_format"].format(**event) for event in self.observer if "kind" in event]

    def test_once_a_minute_with_what_was_kept_silent(self) -> None:
        self.tell("192.0.2.1", 2)
        self.tell("192.0.2.1", 5)
        self.clock.advance(60)
        self.tell("192.0.2.1")
        self.assertEqual(
            self.told(),
            [
                "line: bad input from 192.0.2.1: fields: b'only one' (2 now, 0 since it was told last)",
                "line: bad input from 192.0.2.1: fields: b'only one' (1 now, 5 since it was told last)",
            ],
        )

    def test_peers_do_not_silence_each_other_but_are_bounded(self) -> None:
        for number in range(10):
            self.tell(f"192.0.2.{number}")
        self.assertEqual(len(self.told()), 3)
        self.clock.advance(61)
        self.tell("192.0.2.9")
        self.assertEqual(len(self.told()), 4)
