from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.storage.reports import FileReport, FileReports, summed


class FileReportsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reports = FileReports({1: "healed", 2: "retry"})

    def test_the_same_of_a_file_is_told_once(self) -> None:
        for name in (b"a", b"a", b"b\xff"):
            self.reports.take(1, name, 0)
        self.assertEqual(self.reports.read(), [FileReport("healed", "a", ""), FileReport("healed", "b\ufffd", "")])
        self.assertEqual(self.reports.read(), [])
        self.assertEqual(self.reports.names("healed"), ["a", "b\ufffd"])

    def test_faults_that_pass_are_told_once_per_error(self) -> None:
        for name, code in ((b"a", errno.ENOSPC), (b"b", errno.ENOSPC), (b"c", errno.EIO)):
            self.reports.take(2, name, code)
        told = [FileReport("retry", "a", os.strerror(errno.ENOSPC)), FileReport("retry", "c", os.strerror(errno.EIO))]
        self.assertEqual(self.reports.read(), told)

    def test_what_is_forgotten_is_told_again(self) -> None:
        self.reports.take(1, b"a", 0)
        self.reports.take(2, b"a", errno.EIO)
        self.reports.read()
        self.reports.tell_again("healed")
        self.reports.take(1, b"a", 0)
        self.reports.take(2, b"a", errno.EIO)
        self.assertEqual([report.kind for report in self.reports.read()], ["retry"])

    def test_few_wait_and_few_are_remembered(self) -> None:
        for number in range(12_000):
            self.reports.take(1, b"m%d" % number, 0)
        self.assertEqual(len(self.reports.names("healed")), 10_000)
        self.assertEqual([report.name for report in self.reports.read()], [f"m{n}" for n in range(11_000, 12_000)])


class _Lane:
    def __init__(self, **counts: int) -> None:
        self.counts = counts

    def counters(self) -> dict[str, int]:
        return self.counts


class SummedTests(SynchronousTestCase):
    def test_lanes_are_added_up(self) -> None:
        self.assertEqual(summed([_Lane(a=1), _Lane(a=2, b=3)], ("a", "c")), {"a": 3, "b": 3, "c": 0})
