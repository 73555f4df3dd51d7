"""What keeps a process small."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.footprint import give_back_files, settle_allocator

_LOOK = """
import hashlib, sys
import numpy
from cadtwist.services.footprint import give_back_files
def of_files():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssFile")) << 10
before = of_files()
given = give_back_files()
after = of_files()
print(before, given, after, numpy.linalg.det(numpy.eye(3)), hashlib.md5(b"a").hexdigest())
"""


class AllocatorTests(SynchronousTestCase):
    """glibc takes them, others are left alone."""

    def test_glibc_takes_the_settings(self) -> None:
        self.assertEqual(settle_allocator(), platform.libc_ver()[0] == "glibc")


class FilesTests(SynchronousTestCase):
    """Pages of files."""

    @skipUnless(sys.platform.startswith("linux"), "pages are told apart by Linux only")
    def test_less_memory_is_taken_and_everything_runs_on(self) -> None:
        """What is needed comes back: a library's code gives the same results."""
        ran = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True, timeout=60)
        before, given, after, determinant, digest = ran.stdout.split()
        self.assertLess(int(after), int(before) // 2)
        self.assertGreater(int(given), int(before) // 2)
        self.assertEqual((determinant, digest), ("1.0", "0cc175b9c0f1b6a831c399e269772661"))

    def test_own_memory_stays(self) -> None:
        """Nothing that was written is touched."""
        own = ctypes.create_string_buffer(b"x" * 100_000)
        give_back_files()
        self.assertEqual(own.raw, b"x" * 100_000 + b"\0")
