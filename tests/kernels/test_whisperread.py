"""Many whisper files read in one call: both twins."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from cadtwist.kernels.whisperfile_py import create, fetch, set_metadata, update_many
from cadtwist.kernels.whisperformat import CORRUPT, NOTHING, TOO_MANY_POINTS, relative_path
from tests.twins import native_twin, python_twin

NATIVE = native_twin("whisperread")
NOW = 1_700_000_040
SCHEMAS = ([(60, 20)], [(1, 60), (10, 60), (60, 20)], [(10, 6), (60, 20)])
ENOUGH = 1 << 30


def plain(rows: list[Any]) -> list[Any]:
    """Return rows that can be compared."""
    shown = []
    for failed, first, last, step, values, method, xff in rows:
        texts = None if values is None else [repr(value) for value in values.tolist()]
        shown.append((failed, first, last, step, texts, method, xff))
    return shown


class ManyContract(SynchronousTestCase):
    """What each twin reads."""

    kernel: ModuleType

    def setUp(self) -> None:
        self.root = self.mktemp().encode()
        os.makedirs(self.root)

        self.reader = self.kernel.Reader(self.root, True, 3)
        self.addCleanup(self.reader.close)

    def make(self, name: str, archives: list[tuple[int, int]], points: int = 0, method: int = 1) -> Path:
        """Make the file of a metric, with a point for each of the last seconds."""
        file = os.path.join(self.root, relative_path(name.encode()))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        create(file, archives, 0.25, method)
        if points:
            ages = range(0, points * 7, 7)
            update_many(file, [NOW - age for age in ages], [float(age) for age in ages], NOW)
        return Path(os.fsdecode(file))

    def read(self, names: list[str], start: int, end: int, now: int = NOW, most: int = ENOUGH) -> list[Any]:
        """Read the files of metrics."""
        return self.reader.fetch_many([name.encode() for name in names], start, end, now, most)

    def test_each_is_what_reading_it_alone_gives(self) -> None:
        files = [self.make(f"a.m{n}", archives, 100, 1 + n) for n, archives in enumerate(SCHEMAS)]
        files.append(self.make("a.empty", SCHEMAS[1]))
        names = ["a.m0", "a.m1", "a.m2", "a.empty"]

        @settings(max_examples=100, deadline=None, database=None)
        @given(st.integers(-50, 1500), st.integers(-50, 1500), st.integers(-5, 400))
        def check(a: int, b: int, later: int) -> None:
            start, end = NOW - max(a, b), NOW - min(a, b)
            rows = self.read(names, start, end, NOW + later)
            alone = [fetch(os.fsencode(file), start, end, NOW + later) for file in files]
            nothing = (NOTHING, 0, 0, 0, None, 0, 0.0)
            self.assertEqual(plain(rows), plain([nothing if one is None else (0, *one) for one in alone]))

        check()

    def test_faults_are_told_file_by_file(self) -> None:
        self.make("good", SCHEMAS[0], 5)
        self.make("torn", SCHEMAS[0]).write_bytes(b"\0" * 20)
        self.make("short", SCHEMAS[0]).write_bytes(b"")
        Path(os.fsdecode(self.root), "folder.wsp").mkdir()
        rows = self.read(["good", "torn", "none", "short", "folder", "x" * 300, "", "good"], NOW - 60, NOW)
        self.assertEqual([row[0] for row in rows][:4], [0, CORRUPT, errno.ENOENT, CORRUPT])
        self.assertIn(rows[4][0], (CORRUPT, errno.EISDIR))
        self.assertEqual([row[0] for row in rows][5:], [errno.ENOENT, errno.ENOENT, 0])
        self.assertEqual(rows[0][4].tolist(), rows[-1][4].tolist())
        self.assertTrue(all(row[4] is None for row in rows[1:7]))

    def test_no_more_points_than_allowed(self) -> None:
        for name in "abc":
            self.make(name, SCHEMAS[0], 5)
        rows = self.read(["a", "b", "c"], NOW - 180, NOW, most=6)
        self.assertEqual([row[0] for row in rows], [0, 0, TOO_MANY_POINTS])
        self.assertEqual([len(row[4]) for row in rows[:2]], [3, 3])
        self.assertEqual([row[0] for row in self.read(["a"], NOW - 180, NOW, most=2)], [TOO_MANY_POINTS])

    def test_tagged_names(self) -> None:
        self.make("m;a=b", SCHEMAS[0], 1)
        self.assertEqual([row[0] for row in self.read(["m;a=b", "m;a=c"], NOW - 60, NOW)], [0, errno.ENOENT])

    def test_nothing_to_read(self) -> None:
        self.assertEqual(self.read([], NOW - 60, NOW), [])
        self.assertRaises(ValueError, self.read, ["a"], NOW, NOW - 1)

    def test_what_happens_to_files_elsewhere_is_seen(self) -> None:
        file = self.make("a", SCHEMAS[0], 1)
        rows = [self.read(["a"], NOW - 60, NOW)[0]]
        update_many(os.fsencode(file), [NOW], [5.0], NOW)
        rows.append(self.read(["a"], NOW - 60, NOW)[0])
        set_metadata(os.fsencode(file), 4)
        rows.append(self.read(["a"], NOW - 60, NOW)[0])
        self.assertEqual([(row[4].tolist(), row[5]) for row in rows], [([0.0], 1), ([5.0], 1), ([5.0], 4)])
        os.rename(self.make("b", SCHEMAS[1], 2), file)
        self.assertEqual(self.read(["a"], NOW - 10, NOW)[0][3], 1)
        file.unlink()
        self.assertEqual(self.read(["a"], NOW - 10, NOW)[0][0], errno.ENOENT)
        self.make("a", SCHEMAS[2])
        row = self.read(["a"], NOW - 10, NOW)[0]
        self.assertEqual((row[0], row[3], np.isnan(row[4]).all()), (0, 10, True))
        update_many(os.fsencode(file), [NOW], [6.0], NOW)
        self.assertEqual(self.read(["a"], NOW - 10, NOW)[0][4].tolist(), [6.0])

    def test_no_more_files_stay_open_than_allowed(self) -> None:
        names = [f"many.m{n}" for n in range(20)]
        for n, name in enumerate(names):
            self.make(name, SCHEMAS[n % 3], n)
        for _ in range(2):
            rows = self.read(names, NOW - 100, NOW)
            self.assertEqual([row[0] for row in rows], [0] * 20)
            self.assertLessEqual(self.reader.open_files, 3)
        self.reader.close()
        self.assertEqual(self.reader.open_files, 0)
        self.assertEqual(plain(self.read(names, NOW - 100, NOW)), plain(rows))

    def test_every_flipped_header_is_harmless(self) -> None:
        file = self.make("a", SCHEMAS[2], 9)
        whole = file.read_bytes()
        python = python_twin("whisperread").Reader(self.root, True)
        for at in range(40):
            for flip in (0x01, 0x80, 0xFF):
                data = bytearray(whole)
                data[at] ^= flip
                file.write_bytes(data)
                rows = self.read(["a"], NOW - 200, NOW, most=1000)
                expected = python.fetch_many([b"a"], NOW - 200, NOW, NOW, 1000)
                np.testing.assert_equal(plain(rows), plain(expected), f"byte {at} ^ {flip}")


class PythonManyTests(ManyContract):
    """The readable twin."""

    kernel = python_twin("whisperread")


class NativeManyTests(ManyContract):
    """The compiled twin."""

    if NATIVE is None:
        skip = "the native kernel is not built"
    else:
        kernel = NATIVE

    def test_a_file_that_has_not_changed_is_not_opened_again(self) -> None:
        file = self.make("a", SCHEMAS[1], 5)
        before = self.read(["a"], NOW - 10, NOW)
        links = [(int(fd), os.path.join("/proc/self/fd", fd)) for fd in os.listdir("/proc/self/fd")]
        (kept,) = [fd for fd, link in links if os.path.lexists(link) and os.path.samefile(link, file)]
        os.lseek(kept, 7, os.SEEK_SET)
        self.assertEqual(plain(self.read(["a"], NOW - 10, NOW)), plain(before))
        self.assertEqual(os.lseek(kept, 0, os.SEEK_CUR), 7)


del ManyContract
