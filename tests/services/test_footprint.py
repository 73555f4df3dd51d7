"""What keeps a process small."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from cadtwist.services.footprint import Ebb, give_back_files, give_back_heap, settle_allocator

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

_HOLES = """
import sys
from cadtwist.services.footprint import give_back_heap, settle_allocator
def taken():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))
settle_allocator()
texts = [bytes([number % 256]) * 80_000 for number in range(600)]
kept = [texts[number] for number in range(0, 600, 60)]
del texts
before = taken()
given = give_back_heap()
print(given, before - taken(), all(len(set(text)) == 1 and len(text) == 80_000 for text in kept))
"""
MIB = 1 << 20


class AllocatorTests(SynchronousTestCase):
    """glibc takes them, others are left alone."""

    def test_glibc_takes_the_settings(self) -> None:
        self.assertEqual(settle_allocator(), platform.libc_ver()[0] == "glibc")

    @skipUnless(platform.libc_ver()[0] == "glibc" and sys.platform.startswith("linux"), "it is about glibc's heap")
    def test_holes_in_the_heap_are_given_back(self) -> None:
        """48 MB come and go, but for some texts between them."""
        ran = subprocess.run([sys.executable, "-c", _HOLES], capture_output=True, text=True, check=True, timeout=60)
        given, less, whole = ran.stdout.split()
        self.assertEqual((given, whole), ("True", "True"))
        self.assertGreater(int(less), 40_000)

    def test_another_heap_gives_nothing_or_something(self) -> None:
        """It can be called anywhere, at any time."""
        self.assertIn(give_back_heap(), (False, True))


class EbbTests(SynchronousTestCase):
    """When it is told that less is held."""

    def look(self, *held: int) -> list[int]:
        """Return the places, from 0, of the looks at which something is given back, where so many bytes are held."""
        given, place = list[int](), 0
        levels = iter(held)
        ebb = Ebb(lambda: next(levels), lambda: given.append(place))
        for place in range(len(held)):  # noqa: B007 (what is given back tells its place)
            ebb.look()
        return given

    def test_only_half_of_the_most_is_an_ebb(self) -> None:
        self.assertEqual(self.look(0, 10 * MIB, 30 * MIB, 16 * MIB, 20 * MIB, 15 * MIB, 15 * MIB, 0), [5, 7])

    def test_a_steady_state_gives_nothing_back(self) -> None:
        self.assertEqual(self.look(*([13 * MIB, 14 * MIB, 20 * MIB, 12 * MIB] * 50)), [])

    def test_little_is_no_ebb(self) -> None:
        self.assertEqual(self.look(0, 4 * MIB - 1, 0, 3 * MIB, 0, 4 * MIB, 0, 0), [6])

    def test_each_ebb_is_measured_from_the_last_one(self) -> None:
        self.assertEqual(self.look(40 * MIB, 20 * MIB, 10 * MIB, 6 * MIB, 5 * MIB, 0), [1, 2, 4, 5])


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
