"""The base of all system tests: skipped unless asked for, and no process outlives its test."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

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

    def replayed(
        self, make: Callable[[], dict[str, Any]], driver: Callable[[Path, Path], Sequence[str | Path]]
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        """Yield cases that `make` makes, 300 or CADTWIST_CASES of them, each with what a neighbour did with it.

        `driver(cases, answers)` is the command that reads the one file, of JSON, and writes the other.
        """
        given, answers = self.folder / "cases.json", self.folder / "answers.json"
        cases = [make() for _ in range(self.number("CADTWIST_CASES", 300))]
        given.write_text(json.dumps(cases))
        subprocess.run(driver(given, answers), check=True, timeout=300)
        yield from zip(cases, json.loads(answers.read_text()), strict=True)
