"""The observer of the commands in the foreground."""

from __future__ import annotations

import io

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.cli.consolelog import FIRST, LEVEL, STDERR, SYSLOG, ConsoleLog


class ConsoleLogTests(SynchronousTestCase):
    def _written(self, environ: dict[str, str]) -> tuple[list[str], list[tuple[str, str]]]:
        stderr = io.StringIO()
        sent: list[tuple[str, str]] = []
        events = Logger(observer=ConsoleLog(environ, stderr, lambda name, text: sent.append((name, text))))
        events.debug("a {x}", x=1)
        events.info("b")
        events.warn("c")
        events.error("d")
        return stderr.getvalue().splitlines(), sent

    def test_errors_go_to_stderr_whatever_is_asked_for(self) -> None:
        self.assertEqual(self._written({}), (["ERROR: d"], []))
        self.assertEqual(self._written({STDERR: "error", LEVEL: "error"}), (["ERROR: d"], []))

    def test_everything_from_a_level_on(self) -> None:
        self.assertEqual(self._written({STDERR: "all"})[0], ["b", "c", "ERROR: d"])
        self.assertEqual(self._written({STDERR: "all", LEVEL: "debug"})[0], ["DEBUG: a 1", "b", "c", "ERROR: d"])
        self.assertEqual(self._written({STDERR: "all", LEVEL: "warn"})[0], ["c", "ERROR: d"])

    def test_syslog(self) -> None:
        found = self._written({SYSLOG: "statsrelay", STDERR: "error"})
        self.assertEqual(found, (["ERROR: d"], [("statsrelay", "b"), ("statsrelay", "c"), ("statsrelay", "ERROR: d")]))

    def test_what_the_log_begins_with(self) -> None:
        for level, begin in (("info", ["who 1"]), ("warn", [])):
            stderr, sent = self._written({STDERR: "all", SYSLOG: "who", FIRST: "who 1", LEVEL: level})
            self.assertEqual([text for _, text in sent], stderr)
            self.assertEqual(stderr[: len(begin) + 1], [*begin, "b" if begin else "c"])

    def test_a_failure_shows_where_it_happened(self) -> None:
        stderr = io.StringIO()
        Logger(observer=ConsoleLog({}, stderr)).failure("lost", Failure(ValueError("x")))
        self.assertIn("ERROR: lost\n", stderr.getvalue())
        self.assertIn("ValueError: x", stderr.getvalue())
