"""What all writers of jobs have in common; jobs themselves are tested with each of them."""

from __future__ import annotations

import errno
import os

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels.jobwriter_py import Reporting, check_offsets, whole_file, write_all
from cadtwist.kernels.whisperformat import BAD_NAME, QUARANTINED, REPORT_QUARANTINED, REPORT_RETRY, RETRY


class WholeFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = os.fsencode(self.mktemp())
        os.mkdir(self.folder)
        self.path = os.path.join(self.folder, b"file")

    def write(self, data: bytes, replace: bool = False) -> None:
        with whole_file(self.path, b".hidden", replace) as fd:
            write_all(fd, data, 0)
            self.assertEqual(os.listdir(self.folder).count(b".hidden"), 1)

    def there(self) -> dict[bytes, bytes]:
        found = {}
        for name in os.listdir(self.folder):
            with open(os.path.join(self.folder, name), "rb") as file:
                found[name] = file.read()
        return found

    def test_it_stands_there_when_it_is_whole(self) -> None:
        self.write(b"one")
        self.assertEqual(self.there(), {b"file": b"one"})

    def test_another_one_stays_unless_it_is_to_be_replaced(self) -> None:
        self.write(b"one")
        self.assertRaises(FileExistsError, self.write, b"two")
        self.assertEqual(self.there(), {b"file": b"one"})
        self.write(b"three", replace=True)
        self.assertEqual(self.there(), {b"file": b"three"})

    def test_nothing_stays_of_one_that_failed(self) -> None:
        with self.assertRaises(OSError), whole_file(self.path, b".hidden", replace=True) as fd:
            write_all(fd, b"half", 0)
            raise OSError(errno.ENOSPC, "full")
        self.assertEqual(self.there(), {})


class ReportingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.writer = Reporting(("retried", "quarantined", "bad_names"))

    def test_errors_have_statuses_and_are_counted(self) -> None:
        errors = (OSError(errno.ENAMETOOLONG, ""), OSError(errno.EISDIR, ""), KeyError(), OSError(errno.ENOSPC, ""))
        self.assertEqual(
            [self.writer._failed(b"name", error) for error in errors], [BAD_NAME, QUARANTINED, QUARANTINED, RETRY]
        )
        self.assertEqual(self.writer.counters(), {"retried": 1, "quarantined": 2, "bad_names": 1})
        reports = [(REPORT_QUARANTINED, b"name", errno.EISDIR), (REPORT_QUARANTINED, b"name", 0)]
        self.assertEqual(self.writer.reports(), [*reports, (REPORT_RETRY, b"name", errno.ENOSPC)])
        self.assertEqual(self.writer.reports(), [])

    def test_reports_are_bounded(self) -> None:
        for _ in range(2000):
            self.writer._failed(b"name", OSError(errno.EIO, ""))
        self.assertEqual((len(self.writer.reports()), self.writer.counters()["retried"]), (1024, 2000))


class OffsetsTests(SynchronousTestCase):
    def test_they_ascend_from_nothing_to_the_end(self) -> None:
        check_offsets(([0, 2, 2, 5], 5), ([0], 0))
        for wrong in ([1, 5], [0, 4], [0, 6], [0, 3, 2, 5]):
            self.assertRaises(ValueError, check_offsets, (wrong, 5))
