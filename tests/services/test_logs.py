"""The system's log gets what ours has."""

from __future__ import annotations

import syslog

from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.logs import SystemLog


class SystemLogTests(SynchronousTestCase):
    def test_levels_and_lines(self) -> None:
        sent: list[tuple[int, str]] = []
        publisher = LogPublisher(SystemLog("statsd", "LOG_NOTICE", lambda level, line: sent.append((level, line))))
        ours = Logger(namespace="x", observer=publisher)
        ours.debug("no")
        ours.info("{what}", what="two\nlines")
        ours.warn("bad")
        ours.error("worse")
        wanted = [(syslog.LOG_NOTICE, "two"), (syslog.LOG_NOTICE, "lines")]
        self.assertEqual(sent, [*wanted, (syslog.LOG_WARNING, "bad"), (syslog.LOG_WARNING, "worse")])
        del sent[:]
        urgent = LogPublisher(SystemLog("statsd", "LOG_ERR", lambda level, line: sent.append((level, line))))
        Logger(namespace="x", observer=urgent).warn("bad")
        self.assertEqual(sent, [(syslog.LOG_ERR, "bad")])
