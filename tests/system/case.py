"""The base of all system tests: skipped unless asked for, and no process outlives its test."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TypeVar

from twisted.trial.unittest import SynchronousTestCase

from tests.system.environment import Missing, build
from tests.system.process import Process

__all__ = ["SystemTestCase"]

P = TypeVar("P", bound=Process)


class SystemTestCase(SynchronousTestCase):
    """A test with real processes."""

    if os.environ.get("CADTWIST_SYSTEM") != "1":
        skip = "real processes: set CADTWIST_SYSTEM=1 (or: make system)"
    timeout = 600

    def setUp(self) -> None:
        """Give every test a folder of its own and the moment it began."""
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.now = int(time.time())

    def started(self, process: P) -> P:
        """Start `process`; it is killed when the test is over, however that ends."""
        self.addCleanup(process.kill)
        process.start()
        return process

    def needs(self, neighbour: str) -> None:
        """Build `neighbour`, or skip the test saying why it cannot be had."""
        try:
            build(neighbour)
        except Missing as reason:
            self.skipTest(str(reason))

    @staticmethod
    def number(name: str, default: int) -> int:
        """Return the whole number in the environment variable `name`, which scales a test up."""
        return int(os.environ.get(name) or default)
