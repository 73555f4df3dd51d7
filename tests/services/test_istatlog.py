from __future__ import annotations

import os
import re

from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.istatlog import IstatLog


class IstatLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        publisher = LogPublisher()
        self.levels = [2, 1]
        self.tell = Logger("x", observer=publisher)
        self.service = IstatLog(self.path, self.levels, publisher)

    def lines(self) -> list[str]:
        with open(self.path, encoding="utf-8") as file:
            return file.read().splitlines()

    def test_lines_from_the_level_on(self) -> None:
        self.service.startService()
        self.tell.info("one {n}", n=1)
        self.tell.debug("two")
        self.levels[0] = 1
        self.tell.info("three")
        self.tell.warn("four")
        self.tell.critical("five")
        self.service.stopService()
        self.tell.critical("six")
        stamp = rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d \({os.getpid()}\) "
        expected = ["notice :  one 1", "warning :  four", "error :  five"]
        self.assertEqual([re.sub(f"^{stamp}", "", line) for line in self.lines()], expected)

    def test_a_file_that_was_moved_and_failures(self) -> None:
        self.service.startService()
        self.tell.info("one")
        os.rename(self.path, f"{self.path}.1")
        self.tell.failure("two", Failure(ValueError("why")), LogLevel.error)
        self.service.stopService()
        self.assertIn("error :  two", self.lines()[0])
        self.assertIn("ValueError: why", "\n".join(self.lines()))
