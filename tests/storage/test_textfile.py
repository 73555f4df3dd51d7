"""Tests of `cadtwist.storage.textfile`."""

from __future__ import annotations

import os
import resource
import signal
import time

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels import active
from cadtwist.model.summary import SummaryBatch
from cadtwist.storage.textfile import SummaryFile

NOW = 1_795_215_603.0


class SummaryFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = self.mktemp()
        self.table = active.table.MetricTable(1)

    def file(self, **options: float) -> SummaryFile:
        file = SummaryFile(self.path, self.table, 3.0, 315_360_000.0, **options)  # type: ignore[arg-type]
        self.addCleanup(file.close)
        return file

    def batch(self, *names: str) -> SummaryBatch:
        ids = np.array([self.table.intern(name.encode(), 1) for name in names], np.uint32)
        one = np.ones(len(ids))
        return SummaryBatch(ids, one * 1_795_215_603.5, one * 2, one * 7, one * 25, one * 2, one * 3)

    def read(self, path: str = "") -> list[str]:
        with open(path or self.path + "_3s", encoding="utf-8") as file:
            return file.read().splitlines()

    def write(self, file: SummaryFile, now: float, *names: str) -> tuple[bytes, str]:
        return file.append(file.lines(self.batch(*names)), now)

    def test_a_line_as_recorded(self) -> None:
        self.assertEqual(self.write(self.file(), NOW, "cnt"), (b"", ""))
        line = "cnt\t7.000000\t3.500000\t2.000000\t3.000000\t2\t3.00\t1795215603500000000\t315360000"
        self.assertEqual(self.read(), [line])

    def test_an_existing_file_is_continued(self) -> None:
        first = self.file()
        self.write(first, NOW, "a", "b")
        first.close()
        self.write(self.file(), NOW, "c")
        self.assertEqual([line.split("\t")[0] for line in self.read()], ["a", "b", "c"])

    def test_a_large_file_is_begun_anew(self) -> None:
        file = self.file(max_bytes=100, rotate_s=10.0)
        for step in range(4):
            self.write(file, NOW + 4 * step, "a", "b")
        old = self.path + "_3s." + time.strftime("%Y%m%d%H%M%S", time.localtime(NOW + 12))
        self.assertEqual((len(self.read(old)), len(self.read())), (6, 2))

    def test_a_disk_that_will_not(self) -> None:
        file = self.file()
        os.mkdir(self.path + "_3s")
        lines = file.lines(self.batch("a", "b"))
        left, fault = file.append(lines, NOW)
        self.assertEqual(left, lines)
        self.assertIn("directory", fault)
        os.rmdir(self.path + "_3s")
        self.assertEqual(file.append(left, NOW + 1), (b"", ""))
        self.assertEqual(len(self.read()), 2)

    def test_a_torn_line_is_ended_before_a_file_is_begun_anew(self) -> None:
        small, before = 1 << 12, resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        self.addCleanup(signal.signal, signal.SIGXFSZ, signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
        file = self.file(max_bytes=1, rotate_s=0.0)
        lines = file.lines(self.batch(*[f"metric.{number}" for number in range(100)]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (small, before[1]))
        left, fault = file.append(lines, NOW)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        self.assertEqual((len(left), bool(fault)), (len(lines) - small, True))
        self.assertEqual(file.append(left, NOW + 1), (b"", ""))
        self.assertEqual(len(self.read()), 100)

    def test_a_file_that_others_removed_is_made_again(self) -> None:
        file = self.file(rotate_s=0.0)
        self.write(file, NOW, "a")
        os.remove(self.path + "_3s")
        self.write(file, NOW + 1, "b")
        self.assertEqual(len(self.read()), 1)
